/* Ling, which files call by its working name. */
#include "families.h"
#include "parts.h"

/* Ling Lite and Plus (arXiv 2503.05139): DeepSeekMoE in every layer. */
void bailingmoe(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct gating g = {.gate = SOFTMAX, .scale = expert_scale(p)};
    g.normed = flag(p, "expert_weights_norm", false);
    struct turns t = turns(p, read_rope(p, hd.dim_k), NEIGHBOURS);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        x = add(x, deepseek_moe(norm(x, "ffn_norm"), g));
    }
    logits(head(x));
}

/* Ling and Ring 2.0 (arXiv 2510.22115): DeepSeek-V3's router with groups, norms of queries and
 * keys, half of each head turns. */
void bailingmoe2(struct plan *p) {
    rms(p);
    skip_prediction(p);
    struct heads hd = read_heads(p);
    struct gating g = read_gating(p, SIGMOID, false);
    int n_dense = count(p, "leading_dense_block_count", 0, 0);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, normed_attention(norm(x, "attn_norm"), &hd, t, 0));
        value h = norm(x, "ffn_norm");
        x = add(x, il < n_dense ? gated(h, SILU) : deepseek_moe(h, g));
    }
    logits(head(x));
}
