/* Steps that treat each number of a token for itself. */
#include "../build.h"
#include "../pass.h"

static void same_width(const char *what, value x, value y) {
    if (x.n == y.n) return;
    PLAN_FAIL(x.p, KQ_BAD_FILE, "%s of %d and %d values in layer %d", what, x.n, y.n, x.p->il);
}

value heads(value x, int dim) {
    if (dim <= 0 || x.n % dim != 0) {
        PLAN_FAIL(x.p, KQ_BAD_FILE, "heads of %d in %d values in layer %d", dim, x.n, x.p->il);
    }
    x.dim = dim;
    return x;
}

struct number_args {
    float by;
};

static value with_number(const struct step_kind *kind, value x, float by) {
    struct number_args *a = plan_keep(x.p, 1, sizeof *a);
    a->by = by;
    return step_makes_like(plan_step(x.p, kind, x, a), x);
}

/* ---- sums and products ----------------------------------------------------------------------- */

static void add_token(struct pass *p, const struct step *s, int i) {
    const struct number_args *a = s->args;
    const float *x = row(p, s->in[0], i), *d = row(p, s->in[1], i);
    float *y = row(p, s->out[0], i);
    if (a->by == 1) {
        for (int k = 0; k < s->in[0].n; k++) y[k] = x[k] + d[k];
    } else {
        for (int k = 0; k < s->in[0].n; k++) y[k] = x[k] + d[k] * a->by;
    }
}

static const struct step_kind add_kind = {
    .name = "add", .does = EACH_TOKEN, .in_place = true, .token = add_token};

value add_scaled(value x, value y, float scale) {
    same_width("a sum", x, y);
    struct number_args *a = plan_keep(x.p, 1, sizeof *a);
    a->by = scale;
    struct step *s = plan_step(x.p, &add_kind, x, a);
    step_reads(s, y);
    return step_makes_like(s, x);
}

value add(value x, value y) {
    return add_scaled(x, y, 1);
}

static void scale_token(struct pass *p, const struct step *s, int i) {
    const struct number_args *a = s->args;
    const float *x = row(p, s->in[0], i);
    float *y = row(p, s->out[0], i);
    for (int k = 0; k < s->in[0].n; k++) y[k] = x[k] * a->by;
}

static const struct step_kind scale_kind = {
    .name = "scale", .does = EACH_TOKEN, .in_place = true, .token = scale_token};

value scaled(value x, float by) {
    return by == 1 ? x : with_number(&scale_kind, x, by);
}

/* Between experts_begin and experts_end a bias has a row for each of them. */
struct bias_args {
    const float *b; // (n_planes, n)
};

static void bias_token(struct pass *p, const struct step *s, int i) {
    const struct bias_args *a = s->args;
    int n = s->in[0].n;
    const float *x = row(p, s->in[0], i), *b = a->b + (size_t)p->round * (size_t)n;
    float *y = row(p, s->out[0], i);
    for (int k = 0; k < n; k++) y[k] = x[k] + b[k];
}

static const struct step_kind bias_kind = {
    .name = "bias", .does = EACH_TOKEN, .in_place = true, .token = bias_token};

value biased(value x, const float *b, const char *name) {
    if (!b) return x;
    struct bias_args *a = plan_keep(x.p, 1, sizeof *a);
    a->b = b;
    struct step *s = plan_step(x.p, &bias_kind, x, a);
    s->name = tensor_full_name(x.p, name);
    return step_makes_like(s, x);
}

/* ---- functions ------------------------------------------------------------------------------- */

static void softcap_token(struct pass *p, const struct step *s, int i) {
    const struct number_args *a = s->args;
    p->ops->softcap(row_copied(p, s, i), s->in[0].n, a->by);
}

static const struct step_kind softcap_kind = {
    .name = "softcap", .does = EACH_TOKEN, .in_place = true, .token = softcap_token};

value softcapped(value x, float cap) {
    return cap > 0 ? with_number(&softcap_kind, x, cap) : x;
}

struct glu_args {
    enum activation act;
};

static void glu_token(struct pass *p, const struct step *s, int i) {
    const struct glu_args *a = s->args;
    float *gate = row_copied(p, s, i);
    const float *up = row(p, s->in[1], i);
    switch (a->act) {
    case SILU:
        p->ops->swiglu(gate, up, s->in[0].n);
        break;
    case GELU:
        p->ops->geglu(gate, up, s->in[0].n);
        break;
    case SWIGLU_OAI:
        p->ops->swiglu_oai(gate, up, s->in[0].n);
        break;
    }
}

static const struct step_kind glu_kind = {
    .name = "glu", .does = EACH_TOKEN, .in_place = true, .token = glu_token};

value glu(value gate, value up, enum activation act) {
    same_width("a gate", gate, up);
    struct glu_args *a = plan_keep(gate.p, 1, sizeof *a);
    a->act = act;
    struct step *s = plan_step(gate.p, &glu_kind, gate, a);
    step_reads(s, up);
    return step_makes_like(s, gate);
}
