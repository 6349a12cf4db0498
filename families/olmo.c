/* OLMo, of the Allen Institute for AI: models whose training data are public. */
#include "families.h"
#include "parts.h"

/* OLMo (arXiv 2402.00838): LayerNorm without weights; some trainings keep queries, keys and values
 * within limits. */
void olmo(struct plan *p) {
    centred(p);
    struct heads hd = read_heads(p);
    float limit = number(p, "attention.clamp_kqv", 0, 0);
    struct turns t = turns(p, read_rope(p, hd.dim_k), NEIGHBOURS);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        struct qkv a = limited(qkv(norm(x, NULL), &hd), limit);
        a.q = rope(a.q, t);
        a.k = rope(a.k, t);
        value o = attend(a.q, remember(a.k, a.v, 0), &hd);
        x = add(x, product(o, "attn_output", x.n));
        x = add(x, gated(norm(x, NULL), SILU));
    }
    value h = norm(wanted(x), NULL);
    logits(product(h, has(p, "output") ? "output" : "token_embd", p->n_vocab));
}

/* OLMoE (arXiv 2409.02060): 64 small experts, whose weights are not normed; norms of queries and
 * keys over all heads together. */
void olmoe(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct gating g = {.gate = SOFTMAX, .scale = 1};
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        struct qkv a = qkv(norm(x, "attn_norm"), &hd);
        a.q = rope(norm(a.q, "attn_q_norm"), t);
        a.k = rope(norm(a.k, "attn_k_norm"), t);
        value o = attend(a.q, remember(a.k, a.v, 0), &hd);
        x = add(x, product(o, "attn_output", x.n));
        x = add(x, experts(norm(x, "ffn_norm"), g, SILU));
    }
    logits(head(x));
}

/* OLMo 2 and 3 (arXiv 2501.00656, 2512.13961): norms behind the branches and none in front, as in
 * Swin v2 (2111.09883); those of queries and keys run over all heads together. OLMo 3 has windows
 * in three of four layers, which turn without scaling. */
void olmo2(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct windows w = read_windows(p, 4, 0);
    struct rope r = read_rope(p, hd.dim_k);
    struct turns far = turns(p, r, HALVES);
    struct turns near = w.n ? turns(p, unscaled(r), HALVES) : far;
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        int window = window_at(&w, il);
        struct turns t = window ? near : far;
        struct qkv a = qkv(x, &hd);
        a.q = rope(norm(a.q, "attn_q_norm"), t);
        a.k = rope(norm(a.k, "attn_k_norm"), t);
        value o = attend(a.q, remember(a.k, a.v, window), &hd);
        x = add(x, norm(product(o, "attn_output", x.n), "post_attention_norm"));
        x = add(x, norm(gated(x, SILU), "post_ffw_norm"));
    }
    logits(head(x));
}
