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
    need(p, "ssm_dt.bias");
    value dt = act(product(parts[0], "ssm_dt", n), F_SOFTPLUS);
    const float *a = tensor_transposed(p, "ssm_a", "", state, n);
    value y = selective_scan(x, parts[1], parts[2], dt, a, vector_named(p, "ssm_d", n));
    return product(glu(in[1], y, SILU), "ssm_out", h.n);
}

/* Mamba (arXiv 2312.00752), without attention; Falcon Mamba (2410.05355), with norms inside. */
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

/* Mamba-2 without attention (arXiv 2405.21060), Mamba Codestral: the state decays by one number a
 * head, which makes the scan a product of matrices. */
void mamba2(struct plan *p) {
    rms(p);
    value x = embed(p, "token_embd", p->n_embd, 1);
    for (int il = 0; layer(p, il); il++) {
        need(p, "ssm_norm.weight");
        x = add(x, mamba2_mixer(norm(x, "attn_norm")));
    }
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

/* Granite 4 H (2025, no arXiv number): nine layers of Mamba-2 to each with attention, mostly
 * without positions; the scales of Granite 3; experts with a shared one. */
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
            need(p, "ssm_norm.weight");
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
