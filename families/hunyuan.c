/* Tencent's Hunyuan. */
#include "families.h"
#include "parts.h"

/* Attention whose queries and keys have norms, and those come after rope. */
static value late_normed(value h, const struct heads *hd, struct turns t) {
    struct qkv a = qkv(h, hd);
    a.q = head_norm(rope(a.q, t), "attn_q_norm");
    a.k = head_norm(rope(a.k, t), "attn_k_norm");
    return product(attend(a.q, remember(a.k, a.v, 0), hd), "attn_output", h.n);
}

/* Hunyuan-A13B (2025, no arXiv number). Norms after rope; one expert is shared. */
void hunyuan_moe(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, late_normed(norm(x, "attn_norm"), &hd, t));
        x = add(x, deepseek_moe(norm(x, "ffn_norm"), MIXTRAL));
    }
    logits(head(x));
}

/* Hunyuan 0.5B to 7B (2025, no arXiv number). Norms after rope. */
void hunyuan_dense(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, late_normed(norm(x, "attn_norm"), &hd, t));
        x = add(x, gated(norm(x, "ffn_norm"), SILU));
    }
    logits(head(x));
}

/* Hy 3 (2026, no arXiv number). DeepSeek-V3's experts, where a layer has a router. */
void hy_v3(struct plan *p) {
    rms(p);
    skip_prediction(p);
    struct heads hd = read_heads(p);
    struct gating g = read_gating(p, SIGMOID, false);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        x = add(x, normed_attention(norm(x, "attn_norm"), &hd, t, 0));
        value h = norm(x, "ffn_norm");
        x = add(x, has(p, "ffn_gate_inp") ? deepseek_moe(h, g) : gated(h, SILU));
    }
    logits(head(x));
}
