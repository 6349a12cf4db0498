/* State-space models, and those that mix them with attention. A layer's memory is a state of fixed
 * size, whatever the length of the text. */
#include "families.h"
#include "parts.h"

/* ---- Mamba: arXiv 2312.00752 ----------------------------------------------------------------- */

/* Norms of dt, B and C: Jamba's have weights, Falcon Mamba's (arXiv 2410.05355) have none. */
enum inner_norms { NO_NORMS, PLAIN_NORMS, WEIGHTED_NORMS };

/* The step sizes, B and C come from the input: the state selects what it keeps. */
static value mamba_mixer(value h, enum inner_norms norms) {
    struct plan *p = h.p;
    int n = count(p, "ssm.inner_size", 1, NEEDED), state = count(p, "ssm.state_size", 1, NEEDED);
    int n_dt = count(p, "ssm.time_step_rank", 1, NEEDED);
    int n_taps = count(p, "ssm.conv_kernel", 1, NEEDED);
    value in[2], parts[3]; // x and z; dt, B and C
    products(h, "ssm_in", 2, (const int64_t[]){n, n}, in);
    value x = convolve(in[0], "ssm_conv1d", n_taps);
    x = act(biased(x, vector_named(p, "ssm_conv1d.bias", n), "ssm_conv1d"), F_SILU);
    products(x, "ssm_x", 3, (const int64_t[]){n_dt, state, state}, parts);
    static const char *const names[] = {"ssm_dt_norm", "ssm_b_norm", "ssm_c_norm"};
    for (int i = 0; norms != NO_NORMS && i < 3; i++) {
        parts[i] = norm(parts[i], norms == WEIGHTED_NORMS ? names[i] : NULL);
    }
    value dt = act(product(parts[0], "ssm_dt", n), F_SOFTPLUS);
    const float *a = tensor_transposed(p, "ssm_a", "", state, n);
    value y = selective_scan(x, parts[1], parts[2], dt, a, vector_named(p, "ssm_d", n));
    return product(glu(in[1], y, SILU), "ssm_out", h.n);
}

/* Mamba, without attention; Falcon Mamba, with norms inside. */
void mamba(struct plan *p) {
    rms(p);
    enum inner_norms norms = flag(p, "ssm.dt_b_c_rms", false) ? PLAIN_NORMS : NO_NORMS;
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) x = add(x, mamba_mixer(norm(x, "attn_norm"), norms));
    logits(head(x));
}

/* Jamba (arXiv 2403.19887): one layer in eight attends, without positions; Mamba with norms of its
 * dt, B and C; experts in every other layer. */
void jamba(struct plan *p) {
    rms(p);
    struct gating g = {.gate = SOFTMAX, .scale = 1};
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        value h = norm(x, "attn_norm");
        if (count_at(p, "attention.head_count_kv", il, 0, NEEDED) == 0) {
            x = add(x, mamba_mixer(h, WEIGHTED_NORMS));
        } else {
            struct heads hd = read_heads_at(p, il);
            x = add(x, attention(h, &hd, NO_TURNS, 0));
        }
        h = norm(x, "ffn_norm");
        x = add(x, has(p, "ffn_gate_inp") ? experts(h, g, SILU) : gated(h, SILU));
    }
    logits(head(x));
}

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

/* ---- Mamba-2: arXiv 2405.21060 --------------------------------------------------------------- */

/* One decay a head, heads as wide as those of attention, B and C shared by groups of them. */
value mamba2_mixer(value h) {
    struct plan *p = h.p;
    int n = count(p, "ssm.inner_size", 1, NEEDED), groups = count(p, "ssm.group_count", 1, NEEDED);
    int heads_ = count(p, "ssm.time_step_rank", 1, NEEDED);
    int64_t state = count(p, "ssm.state_size", 1, NEEDED), nb = groups * state, n_conv = n + 2 * nb;
    int n_taps = count(p, "ssm.conv_kernel", 1, NEEDED);
    value in[3]; // z; x, B and C; dt
    products(h, "ssm_in", 3, (const int64_t[]){n, n_conv, heads_}, in);
    value xbc = convolve(in[1], "ssm_conv1d", n_taps);
    xbc = act(biased(xbc, vector_named(p, "ssm_conv1d.bias", n_conv), "ssm_conv1d"), F_SILU);
    value x = heads(part(xbc, 0, n), n / heads_);
    value b = heads(part(xbc, n, nb), (int)state);
    value c = heads(part(xbc, n + nb, nb), (int)state);
    value dt = act(biased(in[2], vector_named(p, "ssm_dt.bias", heads_), "ssm_dt"), F_SOFTPLUS);
    value decay = act(gain(dt, vector_named(p, "ssm_a", heads_), "ssm_a"), F_EXP);
    value y = scan(x, b, c, dt, decay, vector_named(p, "ssm_d", heads_));
    y = glu(in[0], y, SILU);
    if (has(p, "ssm_norm")) y = group_norm(heads(y, n / groups), "ssm_norm");
    return product(y, "ssm_out", h.n);
}

/* Mamba-2, without attention (Mamba Codestral). */
void mamba2(struct plan *p) {
    rms(p);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) x = add(x, mamba2_mixer(norm(x, "attn_norm")));
    logits(head(x));
}

/* Falcon-H1 (arXiv 2507.22448): attention and Mamba-2 side by side in every layer. */
void falcon_h1(struct plan *p) {
    rms(p);
    struct heads hd = read_heads(p);
    struct turns t = turns(p, read_rope(p, hd.dim_k), HALVES);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        value h = norm(x, "attn_norm");
        value a = attention(h, &hd, t, 0);
        value m = mamba2_mixer(h);
        x = add(x, add(a, m));
        h = gain(norm(x, NULL), vector_named(p, "ffn_norm", x.n), "ffn_norm"); // without ".weight"
        x = add(x, gated(h, SILU));
    }
    logits(head(x));
}

/* Granite 4 H: nine layers of Mamba-2 to each with attention, mostly without positions; the scales
 * of Granite 3; experts with a shared one. */
void granite_hybrid(struct plan *p) {
    rms(p);
    bool turned = flag(p, "rope.scaling.finetuned", true);
    float scale = number(p, "attention.scale", 0, 0), divisor = number(p, "logit_scale", 0, 0);
    float residual = number(p, "residual_scale", 0, 1);
    int dim = count(p, "attention.key_length", 1,
                    p->n_embd / count(p, "attention.head_count", 1, NEEDED));
    int n_shared = count(p, "expert_shared_feed_forward_length", 0, 0);
    struct rope r = read_rope(p, dim);
    struct turns t = turned ? turns(p, r, NEIGHBOURS) : NO_TURNS;
    struct gating g = {.gate = SOFTMAX, .normed = true, .scale = 1};
    value x = embed(p, "token_embd", p->n_embd, number(p, "embedding_scale", 0, 1));
    for (int il = 0; layer(p, il); il++) {
        value h = norm(x, "attn_norm"), y;
        if (count_at(p, "attention.head_count_kv", il, 0, NEEDED) == 0) {
            y = mamba2_mixer(h);
        } else {
            struct heads hd = read_heads_at(p, il);
            if (scale > 0) hd.scale = scale;
            y = attention(h, &hd, t, 0);
        }
        x = add_scaled(x, y, residual);
        h = norm(x, "ffn_norm");
        if (p->n_expert == 0) {
            y = gated(h, SILU);
        } else {
            y = experts(h, g, SILU);
            if (n_shared) y = add(y, shared_expert(h, n_shared, SILU));
        }
        x = add_scaled(x, y, residual);
    }
    logits(scaled(head(x), divisor > 0 ? 1 / divisor : 1));
}

/* ---- Nemotron-H: arXiv 2504.03624 ------------------------------------------------------------ */

/* W_down max(0, W_up h)^2 */
static value relu2_network(value h, const char *up, const char *down, int n_ff) {
    return product(relu_squared(product(h, up, n_ff)), down, h.n);
}

/* Experts without gates; in Nemotron 3 Super in a smaller space than the router and the shared one.
 */
static value nemotron_moe(value h, struct gating g, int n_latent) {
    struct plan *p = h.p;
    int n_ff = expert_width(p);
    int n_shared = count(p, "expert_shared_feed_forward_length", 1, NEEDED);
    g.bias = vector_named_if(p, "exp_probs_b.bias", p->n_expert);
    struct choice c = choose(product(h, "ffn_gate_inp", p->n_expert), p->n_expert_used, g);
    value z = n_latent ? product(h, "ffn_latent_down", n_latent) : h;
    z = experts_begin(z, &c);
    value y = experts_end(relu2_network(z, "ffn_up_exps", "ffn_down_exps", n_ff), &c);
    if (n_latent) y = product(y, "ffn_latent_up", h.n);
    return add(y, relu2_network(h, "ffn_up_shexp", "ffn_down_shexp", n_shared));
}

/* Nemotron-H, Nemotron Nano 2 and, with experts, Nemotron 3: one mixer a layer, Mamba-2, attention
 * without positions, or a feed-forward; which one, the widths of heads and feed-forward say. */
void nemotron_h(struct plan *p) {
    rms(p);
    skip_prediction(p);
    struct gating g = read_gating(p, SIGMOID, true);
    int n_latent = count(p, "moe_latent_size", 0, 0);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        value h = norm(x, "attn_norm"), y;
        int n_kv = count_at(p, "attention.head_count_kv", il, 0, NEEDED);
        int n_ff = count_at(p, "feed_forward_length", il, 0, NEEDED);
        if (n_ff == 0 && n_kv == 0) {
            y = mamba2_mixer(h);
        } else if (n_ff == 0) {
            struct heads hd = read_heads_at(p, il);
            y = attention(h, &hd, NO_TURNS, 0);
        } else if (has(p, "ffn_gate_inp")) {
            y = nemotron_moe(h, g, n_latent);
        } else {
            y = relu2_network(h, "ffn_up", "ffn_down", n_ff);
        }
        x = add(x, y);
    }
    logits(head(x));
}
