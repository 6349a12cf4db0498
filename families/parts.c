#include "parts.h"

#include <math.h>

void rms(struct plan *p) {
    p->eps = epsilon(p, "attention.layer_norm_rms_epsilon");
}

void centred(struct plan *p) {
    p->eps = epsilon(p, "attention.layer_norm_epsilon");
    p->centred = true;
}

void need_biases(struct plan *p, enum biases which) {
    p->biases = which;
}

value attention(value h, const struct heads *hd, struct turns t, int window) {
    struct qkv a = qkv(h, hd);
    a.q = rope(a.q, t);
    a.k = rope(a.k, t);
    value o = attend(a.q, remember(a.k, a.v, window), hd);
    return product(o, "attn_output", h.n);
}

struct qkv limited(struct qkv a, float most) {
    if (most == 0) return a;
    a.q = clamped(a.q, -most, most);
    a.k = clamped(a.k, -most, most);
    a.v = clamped(a.v, -most, most);
    return a;
}

value normed_attention(value h, const struct heads *hd, struct turns t, int window) {
    struct qkv a = qkv(h, hd);
    a.q = rope(head_norm(a.q, "attn_q_norm"), t);
    a.k = rope(head_norm(a.k, "attn_k_norm"), t);
    value o = attend(a.q, remember(a.k, a.v, window), hd);
    return product(o, "attn_output", h.n);
}

struct latent read_latent(struct plan *p) {
    struct latent l = {.n = count(p, "attention.head_count", 1, NEEDED),
                       .n_rope = count(p, "rope.dimension_count", 0, NEEDED),
                       .rank = count(p, "attention.kv_lora_rank", 1, NEEDED),
                       .q_rank = count(p, "attention.q_lora_rank", 0, 0)};
    int n_kv = count_at(p, "attention.head_count_kv", p->il, 1, l.n);
    int dim = count(p, "attention.key_length", 1, p->n_embd / l.n);
    dim = count(p, "attention.key_length_mla", 1, dim);
    l.n_v = count(p, "attention.value_length", 1, p->n_embd / l.n);
    l.n_v = count(p, "attention.value_length_mla", 1, l.n_v);
    l.n_nope = dim - l.n_rope;
    if (l.n_nope < 1) {
        PLAN_FAIL(p, KQ_BAD_FILE, "%s.rope.dimension_count is %d of keys of %d", p->arch, l.n_rope,
                  dim);
    }
    if (l.n_v < 1) {
        PLAN_FAIL(p, KQ_BAD_FILE, "%s.attention.head_count is %d for an embedding of %d", p->arch,
                  l.n, p->n_embd);
    }
    if (n_kv != 1 && n_kv != l.n) {
        PLAN_FAIL(p, KQ_BAD_FILE, "%s.attention.head_count_kv is %d, expected 1 or %d", p->arch,
                  n_kv, l.n);
    }
    l.scale = 1 / sqrtf((float)dim);
    return l;
}

value latent_attention(value h, const struct latent *l, struct turns t, value temper) {
    int dim = l->n_nope + l->n_rope;
    bool small = has(h.p, "attn_q_a");
    if (small && l->q_rank == 0) {
        PLAN_FAIL(h.p, KQ_BAD_FILE, "%s.attention.q_lora_rank is 0 or missing", h.p->arch);
    }
    value q = small ? norm(product(h, "attn_q_a", l->q_rank), "attn_q_a_norm") : h;
    q = product_heads(q, small ? "attn_q_b" : "attn_q", l->n, dim);
    value q_rope = rope(head_part(q, l->n_nope, l->n_rope), t);
    value ck = product(h, "attn_kv_a_mqa", (int64_t)l->rank + l->n_rope), o;
    value c = norm(part(ck, 0, l->rank), "attn_kv_a_norm");
    value k_rope = rope(part(ck, l->rank, l->n_rope), t);
    struct heads hd = {.scale = l->scale};
    if (has(h.p, "attn_k_b")) {
        q = join(head_products(q, 0, l->n_nope, "attn_k_b", l->rank), q_rope);
        if (temper.id) q = mul(q, temper);
        o = attend(q, remember_latent(join(c, k_rope), l->rank), &hd);
        o = head_products(o, 0, l->rank, "attn_v_b", l->n_v);
    } else {
        q = join(head_part(q, 0, l->n_nope), q_rope);
        if (temper.id) q = mul(q, temper);
        value kv = product_heads(c, "attn_kv_b", l->n, l->n_nope + l->n_v);
        value k = join(head_part(kv, 0, l->n_nope), k_rope);
        o = attend(q, remember(k, head_part(kv, l->n_nope, l->n_v), 0), &hd);
    }
    return product(o, "attn_output", h.n);
}

value position_temper(struct plan *p, int length) {
    float scale = number(p, "attention.temperature_scale", 0, 0);
    length = count(p, "attention.temperature_length", 1, length);
    return scale > 0 ? temperature(p, scale, length, 0) : NO_VALUE;
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

value ungated(value h, value (*f)(value x)) {
    int n_ff = count_at(h.p, "feed_forward_length", h.p->il, 1, NEEDED);
    return product(f(product(h, "ffn_up", n_ff)), "ffn_down", h.n);
}

value gelu(value x) {
    return act(x, F_GELU);
}

enum gate read_gate(struct plan *p, enum gate otherwise) {
    static const enum gate gates[] = {SOFTMAX, SIGMOID, SOFTMAX_OF_CHOSEN};
    int func = count(p, "expert_gating_func", 0, 0);
    if (func > 3) {
        PLAN_FAIL(p, KQ_UNSUPPORTED, "%s.expert_gating_func is %d, expected 1 to 3", p->arch, func);
    }
    return func > 0 ? gates[func - 1] : otherwise;
}

float expert_scale(struct plan *p) {
    float scale = number(p, "expert_weights_scale", 0, 1);
    return scale > 0 ? scale : 1;
}

struct gating read_gating(struct plan *p, enum gate otherwise, bool normed) {
    struct gating g = {.gate = read_gate(p, otherwise), .scale = expert_scale(p)};
    g.normed = flag(p, "expert_weights_norm", normed);
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
    g.bias = vector_named_if(p, "exp_probs_b.bias", p->n_expert);
    if (!g.bias) g.bias = vector_named_if(p, "exp_probs_b", p->n_expert);
    if (!g.bias && g.needs_bias) need(p, "exp_probs_b.bias");
    struct choice c = choose(product(h, "ffn_gate_inp", p->n_expert), p->n_expert_used, g);
    return chosen_experts(h, &c, act);
}

value shared_expert(value h, int n_ff, enum activation act) {
    value gate = product(h, "ffn_gate_shexp", n_ff);
    value up = product(h, "ffn_up_shexp", n_ff);
    return product(glu(gate, up, act), "ffn_down_shexp", h.n);
}

int shared_width(struct plan *p) {
    int n = count(p, "expert_shared_count", 0, 0);
    int n_ff = count(p, "expert_shared_feed_forward_length", 0, 0);
    if (n_ff > 0 || n == 0) return n_ff;
    if (n > INT32_MAX / expert_width(p)) {
        PLAN_FAIL(p, KQ_BAD_FILE, "%s.expert_shared_count is %d", p->arch, n);
    }
    return n * expert_width(p);
}

value deepseek_moe(value h, struct gating g) {
    int n_shared = shared_width(h.p);
    value y = experts(h, g, SILU);
    return n_shared > 0 ? add(y, shared_expert(h, n_shared, SILU)) : y;
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
