/* GLM. */
#include "families.h"
#include "parts.h"

/* ChatGLM 2 and 3, GLM-4 9B (arXiv 2406.12793): one matrix for queries, keys and values, one for
 * gate and up; half of each head turns. */
void chatglm(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), NEIGHBOURS);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        x = add(x, gated(norm(x, "ffn_norm"), SILU));
    }
    logits(head(x));
}

/* GLM-4 0414 and GLM-Z1 (after arXiv 2406.12793): norms in front of the branches and behind them;
 * half of each head turns. */
void glm4(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), NEIGHBOURS);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        value o = attention(norm(x, "attn_norm"), &hd, t, 0);
        x = add(x, norm(o, "post_attention_norm"));
        x = add(x, norm(gated(norm(x, "ffn_norm"), SILU), "post_ffw_norm"));
    }
    logits(head(x));
}

/* GLM-4.5 to 4.7 with experts (arXiv 2508.06471): DeepSeek-V3's experts, half of each head turns,
 * queries, keys and values have biases, in the larger models norms, too. */
void glm4moe(struct plan *p) {
    rms(p);
    skip_prediction(p);
    struct heads hd = read_heads(p);
    struct gating g = read_gating(p, SIGMOID, false);
    g.needs_bias = true;
    int n_dense = count(p, "leading_dense_block_count", 0, 0);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        struct qkv a = qkv(norm(x, "attn_norm"), &hd);
        a.q = rope(head_norm_if(a.q, "attn_q_norm"), t);
        a.k = rope(head_norm_if(a.k, "attn_k_norm"), t);
        value o = attend(a.q, remember(a.k, a.v, 0), &hd);
        x = add(x, product(o, "attn_output", x.n));
        value h = norm(x, "post_attention_norm");
        x = add(x, il < n_dense ? gated(h, SILU) : deepseek_moe(h, g));
    }
    logits(head(x));
}
