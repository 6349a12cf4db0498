/* Liquid's. */
#include "families.h"
#include "parts.h"

/* Two gates around a short convolution: W_out (c * conv(b * u)), with b, c and u from one matrix.
 */
static value short_convolution(value h, int n_taps) {
    value in[3];
    products(h, "shortconv.in_proj", 3, (const int64_t[]){h.n, h.n, h.n}, in);
    value y = mul(in[1], convolve(mul(in[0], in[2]), "shortconv.conv", n_taps));
    return product(y, "shortconv.out_proj", h.n);
}

/* LFM2 and 2.5 (arXiv 2511.23404), with experts as lfm2moe: most layers are short convolutions,
 * those with heads of keys attend. */
void lfm2(struct plan *p) {
    rms(p);
    int n_taps = count(p, "shortconv.l_cache", 1, NEEDED);
    int n_dense = count(p, "leading_dense_block_count", 0, 0);
    int window = p->n_expert == 0 ? count(p, "attention.sliding_window", 0, 0) : 0;
    int dim = p->n_embd / count(p, "attention.head_count", 1, NEEDED);
    struct gating g = {
        .gate = read_gate(p, SOFTMAX), .normed = true, .scale = 1, .needs_bias = true};
    struct turns t = turns(p, read_rope(p, dim), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        value h = norm(x, "attn_norm");
        if (count_at(p, "attention.head_count_kv", il, 0, NEEDED) == 0) {
            x = add(x, short_convolution(h, n_taps));
        } else {
            struct heads hd = read_heads_at(p, il);
            struct qkv a = qkv(h, &hd);
            a.q = rope(head_norm(a.q, "attn_q_norm"), t);
            a.k = rope(head_norm(a.k, "attn_k_norm"), t);
            value o = attend(a.q, remember(a.k, a.v, window), &hd);
            x = add(x, product(o, "attn_output", x.n));
        }
        h = norm(x, "ffn_norm");
        x = add(x, p->n_expert > 0 && il >= n_dense ? experts(h, g, SILU) : gated(h, SILU));
    }
    logits(product(norm(wanted(x), "token_embd_norm"), "token_embd", p->n_vocab));
}
