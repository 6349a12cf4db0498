/* GLM. */
#include "families.h"
#include "parts.h"

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
