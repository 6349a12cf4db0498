/* Gemma: the embedding is multiplied by sqrt(n_embd), the gate is a GELU, the output is tied. */
#include <math.h>

#include "families.h"
#include "parts.h"

/* Gemma 1 (arXiv 2403.08295). */
void gemma(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, sqrtf((float)p->n_embd));
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        x = add(x, gated(norm(x, "ffn_norm"), GELU));
    }
    logits(head(x));
}

/* Gemma 2 (arXiv 2408.00118): windows in every other layer, norms behind the branches too, scores
 * and logits with soft caps, whose defaults are for files older than their keys. The model of 46
 * layers (27B) scales attention by the embedding. */
void gemma2(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    if (p->n_layer == 46) hd.scale = 1.0f / sqrtf((float)(p->n_embd / hd.n));
    hd.softcap = number(p, "attn_logit_softcapping", 0, 50);
    float cap = number(p, "final_logit_softcapping", 0, 30);
    struct windows w = read_windows(p, 2, 4096);
    struct rope r = read_rope(p, hd.dim_k);
    struct turns far = turns(p, r, HALVES);
    struct turns near = w.n ? turns(p, near_rope(p, r), HALVES) : far;
    value x = embed(p, "token_embd", p->n_embd, sqrtf((float)p->n_embd));
    for (int il = 0; layer(p, il); il++) {
        int window = window_at(&w, il);
        value o = attention(norm(x, "attn_norm"), &hd, window ? near : far, window);
        x = add(x, norm(o, "post_attention_norm"));
        x = add(x, norm(gated(norm(x, "ffn_norm"), GELU), "post_ffw_norm"));
    }
    logits(softcapped(head(x), cap));
}

/* Gemma 3 (arXiv 2503.19786): five layers with a window to each without; those turn with a base of
 * their own and without scaling. Norms of queries and keys. The model of 62 layers (27B) scales
 * attention by the embedding. */
void gemma3(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    if (p->n_layer == 62) hd.scale = 1.0f / sqrtf((float)(p->n_embd / hd.n));
    float cap = number(p, "final_logit_softcapping", 0, 0);
    struct windows w = read_windows(p, 6, 0);
    struct rope r = read_rope(p, hd.dim_k), r_near = unscaled(r);
    r_near.base = number(p, "rope.freq_base_swa", 0, 10000);
    struct turns far = turns(p, r, HALVES);
    struct turns near = w.n ? turns(p, r_near, HALVES) : far;
    value x = embed(p, "token_embd", p->n_embd, sqrtf((float)p->n_embd));
    for (int il = 0; layer(p, il); il++) {
        int window = window_at(&w, il);
        struct turns t = window ? near : far;
        struct qkv a = qkv(norm(x, "attn_norm"), &hd);
        a.q = rope(head_norm(a.q, "attn_q_norm"), t);
        a.k = rope(head_norm(a.k, "attn_k_norm"), t);
        value o = attend(a.q, remember(a.k, a.v, window), &hd);
        x = add(x, norm(product(o, "attn_output", x.n), "post_attention_norm"));
        x = add(x, norm(gated(norm(x, "ffn_norm"), GELU), "post_ffw_norm"));
    }
    logits(softcapped(head(x), cap));
}
