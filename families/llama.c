/* Llama, and the models that are built like it. */
#include "families.h"
#include "parts.h"

/* Llama 1 to 3 (arXiv 2302.13971, 2307.09288, 2407.21783), Mistral (2310.06825), Mixtral with its
 * experts (2401.04088), TinyLlama, SmolLM2, Yi; under names of their own InternLM 2 (2403.17297),
 * XVERSE, ERNIE 4.5, Ministral 3. RMS norms in front of the branches, rotary positions, a gated
 * feed-forward, heads that share keys and values. Converters have permuted the rows of W_q and W_k
 * so that neighbours turn together. */
void llama(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), NEIGHBOURS);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        x = add(x, feed_forward(norm(x, "ffn_norm"), SILU));
    }
    logits(head(x));
}

/* SmolLM3. Every fourth layer goes without rope (NoPE, arXiv 2501.18795). */
void smollm3(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), NEIGHBOURS);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        bool nope = (il + 1) % 4 == 0;
        x = add(x, attention(norm(x, "attn_norm"), &hd, nope ? NO_TURNS : t, 0));
        x = add(x, feed_forward(norm(x, "ffn_norm"), SILU));
    }
    logits(head(x));
}

/* Seed-OSS. A llama whose second norm has another name in the files. */
void seed_oss(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        x = add(x, gated(norm(x, "post_attention_norm"), SILU));
    }
    logits(head(x));
}

/* Hunyuan 1.8 B to 7 B. Queries and keys have norms, and those come after rope. */
void hunyuan_dense(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        struct qkv a = qkv(norm(x, "attn_norm"), &hd);
        a.q = head_norm(rope(a.q, t), "attn_q_norm");
        a.k = head_norm(rope(a.k, t), "attn_k_norm");
        value o = attend(a.q, remember(a.k, a.v, 0), &hd);
        x = add(x, product(o, "attn_output", x.n));
        x = add(x, gated(norm(x, "ffn_norm"), SILU));
    }
    logits(head(x));
}
