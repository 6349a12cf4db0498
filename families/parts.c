#include "parts.h"

void rms(struct plan *p) {
    p->eps = epsilon(p, "attention.layer_norm_rms_epsilon");
}

value attention(value h, const struct heads *hd, struct turns t, int window) {
    struct qkv a = qkv(h, hd);
    a.q = rope(a.q, t);
    a.k = rope(a.k, t);
    value o = attend(a.q, remember(a.k, a.v, window), hd);
    return product(o, "attn_output", h.n);
}

value gated(value h, enum activation act) {
    int n_ff = count_at(h.p, "feed_forward_length", h.p->il, 1, NEEDED);
    value y[2];
    if (has(h.p, "ffn_gate")) {
        y[0] = product(h, "ffn_gate", n_ff);
        y[1] = product(h, "ffn_up", n_ff);
    } else {
        products(h, "ffn_up", 2, (const int64_t[]){n_ff, n_ff}, y);
    }
    return product(glu(y[0], y[1], act), "ffn_down", h.n);
}

struct gating read_gating(struct plan *p, enum gate otherwise, bool normed) {
    static const enum gate gates[] = {SOFTMAX, SIGMOID, SOFTMAX_OF_CHOSEN};
    struct gating g = {.gate = otherwise, .normed = flag(p, "expert_weights_norm", normed)};
    int func = count(p, "expert_gating_func", 0, 0);
    if (func > 3) {
        PLAN_FAIL(p, KQ_UNSUPPORTED, "%s.expert_gating_func is %d, expected 1 to 3", p->arch, func);
    }
    if (func > 0) g.gate = gates[func - 1];
    g.scale = number(p, "expert_weights_scale", 0, 1);
    if (g.scale == 0) g.scale = 1;
    g.n_groups = count(p, "expert_group_count", 0, 0);
    g.n_groups_used = count(p, "expert_group_used_count", 0, 0);
    return g;
}

int expert_width(struct plan *p) {
    if (p->n_expert == 0) PLAN_FAIL(p, KQ_BAD_FILE, "%s.expert_count is missing or 0", p->arch);
    int n_ff = count(p, "expert_feed_forward_length", 1, 0);
    return n_ff > 0 ? n_ff : count(p, "feed_forward_length", 1, NEEDED);
}

value chosen_experts(value h, const struct choice *c, enum activation act) {
    int n_ff = expert_width(h.p);
    value x = experts_begin(h, c), y[2];
    if (has(h.p, "ffn_gate_up_exps")) {
        products(x, "ffn_gate_up_exps", 2, (const int64_t[]){n_ff, n_ff}, y);
    } else {
        y[0] = product(x, "ffn_gate_exps", n_ff);
        y[1] = product(x, "ffn_up_exps", n_ff);
    }
    return experts_end(product(glu(y[0], y[1], act), "ffn_down_exps", h.n), c);
}

value experts(value h, struct gating g, enum activation act) {
    struct plan *p = h.p;
    expert_width(p);
    if (!g.bias) g.bias = vector_named_if(p, "exp_probs_b.bias", p->n_expert);
    struct choice c = choose(product(h, "ffn_gate_inp", p->n_expert), p->n_expert_used, g);
    return chosen_experts(h, &c, act);
}

value shared_expert(value h, int n_ff, enum activation act) {
    value gate = product(h, "ffn_gate_shexp", n_ff);
    value up = product(h, "ffn_up_shexp", n_ff);
    return product(glu(gate, up, act), "ffn_down_shexp", h.n);
}

value deepseek_moe(value h, struct gating g, int n_shared) {
    value y = experts(h, g, SILU);
    if (n_shared == 0) return y;
    if (n_shared > INT32_MAX / expert_width(h.p)) {
        PLAN_FAIL(h.p, KQ_BAD_FILE, "%s.expert_shared_count is %d", h.p->arch, n_shared);
    }
    return add(y, shared_expert(h, n_shared * expert_width(h.p), SILU));
}

void skip_prediction(struct plan *p) {
    skip_last_layers(p, count(p, "nextn_predict_layers", 0, 0));
}

value feed_forward(value h, enum activation act) {
    return h.p->n_expert > 0 ? experts(h, MIXTRAL, act) : gated(h, act);
}

value head(value x) {
    struct plan *p = x.p;
    value h = norm(wanted(x), "output_norm");
    return product(h, has(p, "output") ? "output" : "token_embd", p->n_vocab);
}
