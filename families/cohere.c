/* Cohere: one norm in front of attention and feed-forward, which stand side by side (as in GPT-J).
 */
#include "families.h"
#include "parts.h"

/* Command A with experts: LayerNorm without bias; windows in all but the first of four layers,
 * which turn, as the leading dense layers do; the mean of the experts' sum and a shared one. */
void cohere2moe(struct plan *p) {
    centred(p);
    struct heads hd = read_heads(p);
    struct gating g = read_gating(p, SIGMOID, false);
    int n_dense = count(p, "leading_dense_block_count", 0, 0);
    struct windows w = read_windows(p, 4, 0);
    w.full_first = true;
    struct turns t = turns(p, read_rope(p, hd.dim_k), NEIGHBOURS);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        int window = window_at(&w, il);
        bool dense = il < n_dense;
        value h = norm(x, "attn_norm");
        value a = attention(h, &hd, window || dense ? t : NO_TURNS, window);
        value y = dense ? gated(h, SILU) : scaled(deepseek_moe(h, g), 0.5f);
        x = add(add(x, a), y);
    }
    logits(scaled(head(x), number(p, "logit_scale", 0, 1)));
}
