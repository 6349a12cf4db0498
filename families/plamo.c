/* PLaMo, of Preferred Networks: norms in front of the branches and behind them. */
#include "families.h"
#include "parts.h"

/* PLaMo 2's tensors of vectors are named without ".weight". */
static value named_norm(value x, const char *name) {
    return gain(norm(x, NULL), vector_named(x.p, name, x.n), name);
}

/* One decay for each head, which makes the scan that of Mamba-2; norms of B, C and dt. */
static value plamo2_mixer(value h) {
    struct plan *p = h.p;
    int n = count(p, "ssm.inner_size", 1, NEEDED), state = count(p, "ssm.state_size", 1, NEEDED);
    int n_heads_ = count(p, "ssm.time_step_rank", 1, NEEDED), dim = n / n_heads_;
    int n_dt = p->n_embd / 16 > 64 ? p->n_embd / 16 : 64;
    value zx = product_heads(h, "ssm_in", n_heads_, 2 * dim), parts[3]; // B, C and dt
    value z = head_part(zx, 0, dim), x = head_part(zx, dim, dim);
    x = act(convolve(x, "ssm_conv1d", count(p, "ssm.conv_kernel", 1, NEEDED)), F_SILU);
    products(x, "ssm_x", 3, (const int64_t[]){state, state, n_dt}, parts);
    value b = named_norm(parts[0], "ssm_b_norm"), c = named_norm(parts[1], "ssm_c_norm");
    value dt = named_norm(parts[2], "ssm_dt_norm");
    need(p, "ssm_dt.bias");
    dt = act(product(dt, "ssm_dt", n_heads_), F_SOFTPLUS);
    value decay = act(gain(dt, vector_named(p, "ssm_a", n_heads_), "ssm_a"), F_EXP);
    value y = scan(heads(x, dim), b, c, dt, decay, vector_named(p, "ssm_d", n_heads_));
    return product(glu(z, y, SILU), "ssm_out", h.n);
}

/* PLaMo 2 (arXiv 2509.04897): Mamba and attention in turn, norms behind the branches, too. */
void plamo2(struct plan *p) {
    rms(p);
    int dim = count(p, "attention.key_length", 1, NEEDED);
    struct turns t = turns(p, read_rope(p, dim), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        value h = norm(x, "attn_norm"), y;
        if (count_at(p, "attention.head_count_kv", il, 0, NEEDED) == 0) {
            y = plamo2_mixer(h);
        } else {
            struct heads hd = read_heads_at(p, il);
            struct qkv a = qkv(h, &hd);
            a.q = rope(group_norm(a.q, "attn_q_norm"), t);
            a.k = rope(group_norm(a.k, "attn_k_norm"), t);
            y = product(attend(a.q, remember(a.k, a.v, 0), &hd), "attn_output", x.n);
        }
        x = add(x, named_norm(y, "post_attention_norm"));
        x = add(x, named_norm(gated(norm(x, "ffn_norm"), SILU), "post_ffw_norm"));
    }
    logits(head(x));
}

/* PLaMo 3 (2025, no arXiv number): attention alone, whose values are shorter than keys; windows in
 * seven of eight layers, which turn with a base of their own. */
void plamo3(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct windows w = read_windows(p, 8, 0);
    struct rope r = read_rope(p, hd.dim_k), r_near = unscaled(r);
    r_near.attn_factor = r.attn_factor;
    r_near.base = number(p, "rope.freq_base_swa", 0, 10000);
    struct turns far = turns(p, r, HALVES), near = w.n ? turns(p, r_near, HALVES) : far;
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        int window = window_at(&w, il);
        value y = normed_attention(norm(x, "attn_norm"), &hd, window ? near : far, window);
        x = add(x, named_norm(y, "post_attention_norm"));
        x = add(x, named_norm(gated(norm(x, "ffn_norm"), SILU), "post_ffw_norm"));
    }
    logits(head(x));
}
