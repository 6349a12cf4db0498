/* Models with scales of their own for the embedding, the residual branches, attention and logits
 * (after muP, arXiv 2203.03466). */
#include "families.h"
#include "parts.h"

/* Granite 3 (arXiv 2405.04324), with experts as granitemoe; MiniCPM (2404.06395). */
void granite(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    float scale = number(p, "attention.scale", 0, 0);
    float residual = number(p, "residual_scale", 0, 1);
    float divisor = number(p, "logit_scale", 0, 0);
    if (scale > 0) hd.scale = scale;
    struct turns t = turns(p, read_rope(p, hd.dim_k), NEIGHBOURS);
    value x = embed(p, "token_embd", p->n_embd, number(p, "embedding_scale", 0, 1));
    for (int il = 0; layer(p, il); il++) {
        x = add_scaled(x, attention(norm(x, "attn_norm"), &hd, t, 0), residual);
        x = add_scaled(x, feed_forward(norm(x, "ffn_norm"), SILU), residual);
    }
    logits(scaled(head(x), divisor > 0 ? 1 / divisor : 1));
}
