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
    int n_ff = count(h.p, "feed_forward_length", 1, NEEDED);
    value y[2];
    if (has(h.p, "ffn_gate")) {
        y[0] = product(h, "ffn_gate", n_ff);
        y[1] = product(h, "ffn_up", n_ff);
    } else {
        products(h, "ffn_up", 2, (const int64_t[]){n_ff, n_ff}, y);
    }
    return product(glu(y[0], y[1], act), "ffn_down", h.n);
}

value experts(value h, enum activation act) {
    struct plan *p = h.p;
    if (p->n_expert == 0) PLAN_FAIL(p, KQ_BAD_FILE, "%s.expert_count is missing or 0", p->arch);
    int n_ff = count(p, "feed_forward_length", 1, 0);
    n_ff = count(p, "expert_feed_forward_length", 1, n_ff > 0 ? n_ff : NEEDED);
    struct choice c = choose(product(h, "ffn_gate_inp", p->n_expert), p->n_expert_used);
    value x = experts_begin(h, &c);
    value gate = product(x, "ffn_gate_exps", n_ff);
    value up = product(x, "ffn_up_exps", n_ff);
    return experts_end(product(glu(gate, up, act), "ffn_down_exps", h.n), &c);
}

value feed_forward(value h, enum activation act) {
    return h.p->n_expert > 0 ? experts(h, act) : gated(h, act);
}

value head(value x) {
    struct plan *p = x.p;
    value h = norm(wanted(x), "output_norm");
    return product(h, has(p, "output") ? "output" : "token_embd", p->n_vocab);
}
