/* Arcee's models. */
#include <math.h>

#include "families.h"
#include "parts.h"

/* AFM 4.5B (2025, no arXiv number): llama with feed-forwards of squared ReLUs, without gates (arXiv
 * 2109.08668). */
void arcee(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), NEIGHBOURS);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, attention(norm(x, "attn_norm"), &hd, t, 0));
        x = add(x, ungated(norm(x, "ffn_norm"), relu_squared));
    }
    logits(head(x));
}

/* Trinity (AFMoE, 2025, no arXiv number): norms in front of the branches and behind them, a gate on
 * attention (arXiv 2505.06708), windows that turn in three of four layers, the fourth does neither.
 */
void afmoe(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct gating g = read_gating(p, SIGMOID, false);
    g.needs_bias = true;
    int n_dense = count(p, "leading_dense_block_count", 0, 0);
    struct windows w = read_windows(p, 4, NEEDED);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, sqrtf((float)p->n_embd));
    for (int il = 0; layer(p, il); il++) {
        int window = window_at(&w, il);
        struct turns mine = (il + 1) % 4 ? t : NO_TURNS;
        value h = norm(x, "attn_norm");
        struct qkv a = qkv(h, &hd);
        a.q = rope(head_norm(a.q, "attn_q_norm"), mine);
        a.k = rope(head_norm(a.k, "attn_k_norm"), mine);
        value o = attend(a.q, remember(a.k, a.v, window), &hd);
        o = mul(o, act(product(h, "attn_gate", o.n), F_SIGMOID));
        x = add(x, norm(product(o, "attn_output", x.n), "post_attention_norm"));
        h = norm(x, "ffn_norm");
        value y = il < n_dense ? gated(h, SILU) : deepseek_moe(h, g);
        x = add(x, norm(y, "post_ffw_norm"));
    }
    logits(head(x));
}
