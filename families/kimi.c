/* Kimi, where it is not DeepSeek-V3 (deepseek.c). */
#include "families.h"
#include "parts.h"

/* Kimi Delta Attention: queries, keys and values each pass a short convolution; the delta rule's
 * state forgets in each of its rows at a rate of its own, made by a small network, as the gate of
 * the output is. */
static value delta_attention(value h, int n, int dim, int n_taps) {
    static const char *const names[][2] = {
        {"attn_q", "ssm_conv1d_q"}, {"attn_k", "ssm_conv1d_k"}, {"attn_v", "ssm_conv1d_v"}};
    struct plan *p = h.p;
    int64_t n_all = (int64_t)n * dim;
    value a[3];
    for (int i = 0; i < 3; i++) {
        a[i] = convolve(product_heads(h, names[i][0], n, dim), names[i][1], n_taps);
        a[i] = act(a[i], F_SILU);
    }
    value beta = act(product(h, "ssm_beta", n), F_SIGMOID);
    value f = product_heads(product(h, "ssm_f_a", dim), "ssm_f_b", n, dim);
    f = act(biased(f, vector_named(p, "ssm_dt.bias", n_all), "ssm_dt"), F_SOFTPLUS);
    value decay = act(head_gain(f, vector_named(p, "ssm_a", n), "ssm_a"), F_EXP);
    value o = delta_rule(l2_norm(a[0]), l2_norm(a[1]), a[2], beta, decay, GROUPED);
    value gate = act(product(product(h, "ssm_g_a", dim), "ssm_g_b", n_all), F_SIGMOID);
    return product(mul(head_norm(o, "ssm_norm"), gate), "attn_output", h.n);
}

/* Kimi Linear (arXiv 2510.26692): three layers of delta attention to each of DeepSeek's latent
 * attention, which has no positions: the recurrent layers know the order. */
void kimi_linear(struct plan *p) {
    rms(p);
    int n = count(p, "attention.head_count", 1, NEEDED), dim = count(p, "kda.head_dim", 1, NEEDED);
    int n_taps = count(p, "ssm.conv_kernel", 1, NEEDED);
    int n_dense = count(p, "leading_dense_block_count", 0, 0);
    struct gating g = {.gate = read_gate(p, SIGMOID),
                       .normed = true,
                       .scale = expert_scale(p),
                       .needs_bias = true};
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        value h = norm(x, "attn_norm");
        if (count_at(p, "attention.head_count_kv", il, 0, NEEDED) == 0) {
            x = add(x, delta_attention(h, n, dim, n_taps));
        } else {
            struct latent l = read_latent(p);
            x = add(x, latent_attention(h, &l, NO_TURNS, NO_VALUE));
        }
        h = norm(x, "ffn_norm");
        x = add(x, il < n_dense ? gated(h, SILU) : deepseek_moe(h, g));
    }
    logits(head(x));
}
