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

/* One factor for n / factors' n numbers that follow each other. */
static void mul_token(struct pass *p, const struct step *s, int i) {
    const float *x = row(p, s->in[0], i), *by = row(p, s->in[1], i);
    float *y = row(p, s->out[0], i);
    int each = s->in[0].n / s->in[1].n;
    for (int k = 0; k < s->in[1].n; k++) {
        for (int j = 0; j < each; j++) y[k * each + j] = x[k * each + j] * by[k];
    }
}

static const struct step_kind mul_kind = {
    .name = "mul", .does = EACH_TOKEN, .in_place = true, .token = mul_token};

value mul(value x, value by) {
    if (by.n == 0 || x.n % by.n != 0) {
        PLAN_FAIL(x.p, KQ_BAD_FILE, "%d values times %d in layer %d", x.n, by.n, x.p->il);
    }
    struct step *s = plan_step(x.p, &mul_kind, x, NULL);
    step_reads(s, by);
    return step_makes_like(s, x);
}

struct gain_args {
    const float *w; // (n / each)
    int each;
};

static void gain_token(struct pass *p, const struct step *s, int i) {
    const struct gain_args *a = s->args;
    const float *x = row(p, s->in[0], i);
    float *y = row(p, s->out[0], i);
    for (int k = 0; k < s->in[0].n / a->each; k++) {
        for (int j = 0; j < a->each; j++) y[k * a->each + j] = x[k * a->each + j] * a->w[k];
    }
}

static const struct step_kind gain_kind = {
    .name = "gain", .does = EACH_TOKEN, .in_place = true, .token = gain_token};

static value gain_of(value x, const float *w, int each, const char *name) {
    struct gain_args *a = plan_keep(x.p, 1, sizeof *a);
    *a = (struct gain_args){w, each};
    struct step *s = plan_step(x.p, &gain_kind, x, a);
    s->name = tensor_full_name(x.p, name);
    return step_makes_like(s, x);
}

value gain(value x, const float *w, const char *name) {
    return gain_of(x, w, 1, name);
}

value head_gain(value x, const float *w, const char *name) {
    return gain_of(x, w, x.dim, name);
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

struct clamp_args {
    float least, most;
};

static void clamp_token(struct pass *p, const struct step *s, int i) {
    const struct clamp_args *a = s->args;
    const float *x = row(p, s->in[0], i);
    float *y = row(p, s->out[0], i);
    for (int k = 0; k < s->in[0].n; k++) { // a NaN stays
        y[k] = x[k] < a->least ? a->least : x[k] > a->most ? a->most : x[k];
    }
}

static const struct step_kind clamp_kind = {.name = "clamp",
                                            .does = EACH_TOKEN,
                                            .in_place = true,
                                            .not_finite = "a number that has limits is not finite",
                                            .token = clamp_token};

value clamped(value x, float least, float most) {
    struct clamp_args *a = plan_keep(x.p, 1, sizeof *a);
    *a = (struct clamp_args){least, most};
    return step_makes_like(plan_step(x.p, &clamp_kind, x, a), x);
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

struct plane_scale_args {
    const float *w; // (n_planes)
};

static void plane_scale_token(struct pass *p, const struct step *s, int i) {
    const struct plane_scale_args *a = s->args;
    const float *x = row(p, s->in[0], i);
    float *y = row(p, s->out[0], i), w = a->w[p->round];
    for (int k = 0; k < s->in[0].n; k++) y[k] = x[k] * w;
}

static const struct step_kind plane_scale_kind = {
    .name = "tensor scale", .does = EACH_TOKEN, .in_place = true, .token = plane_scale_token};

value plane_scaled(value x, const float *w, const char *name) {
    if (!w) return x;
    struct plane_scale_args *a = plan_keep(x.p, 1, sizeof *a);
    a->w = w;
    struct step *s = plan_step(x.p, &plane_scale_kind, x, a);
    s->name = tensor_full_name(x.p, name);
    return step_makes_like(s, x);
}

/* ---- some of the numbers --------------------------------------------------------------------- */

struct part_args {
    int of, first, n; // of each `of`, n from the first on
};

static void part_token(struct pass *p, const struct step *s, int i) {
    const struct part_args *a = s->args;
    const float *x = row(p, s->in[0], i) + a->first;
    float *y = row(p, s->out[0], i);
    size_t n = (size_t)a->n;
    for (int at = 0; at < s->in[0].n; at += a->of, y += n) memcpy(y, x + at, n * sizeof *y);
}

static const struct step_kind part_kind = {.name = "part", .does = EACH_TOKEN, .token = part_token};

value head_part(value x, int64_t first, int64_t n) {
    if (first < 0 || n < 1 || first + n > x.dim) {
        PLAN_FAIL(x.p, KQ_BAD_FILE, "no %lld values from %lld on in heads of %d in layer %d",
                  (long long)n, (long long)first, x.dim, x.p->il);
    }
    struct part_args *a = plan_keep(x.p, 1, sizeof *a);
    *a = (struct part_args){x.dim, (int)first, (int)n};
    struct step *s = plan_step(x.p, &part_kind, x, a);
    value y = step_makes(x.p, s, 0, n_heads(x) * n);
    y.dim = (int)n;
    return y;
}

value part(value x, int64_t first, int64_t n) {
    return head_part(heads(x, x.n), first, n);
}

struct join_args {
    int n_heads, dim_x, dim_y;
    bool one; // y for all heads of x
};

static void join_token(struct pass *p, const struct step *s, int i) {
    const struct join_args *a = s->args;
    const float *x = row(p, s->in[0], i), *y = row(p, s->in[1], i);
    float *out = row(p, s->out[0], i);
    size_t nx = (size_t)a->dim_x, ny = (size_t)a->dim_y;
    for (int h = 0; h < a->n_heads; h++, out += nx + ny, x += nx, y += a->one ? 0 : ny) {
        memcpy(out, x, nx * sizeof *out);
        memcpy(out + nx, y, ny * sizeof *out);
    }
}

static const struct step_kind join_kind = {.name = "join", .does = EACH_TOKEN, .token = join_token};

value join(value x, value y) {
    if (n_heads(y) != n_heads(x) && n_heads(y) != 1) {
        PLAN_FAIL(x.p, KQ_BAD_FILE, "%d heads and %d to join in layer %d", n_heads(x), n_heads(y),
                  x.p->il);
    }
    struct join_args *a = plan_keep(x.p, 1, sizeof *a);
    *a = (struct join_args){n_heads(x), x.dim, y.dim, n_heads(y) == 1};
    struct step *s = plan_step(x.p, &join_kind, x, a);
    step_reads(s, y);
    value z = step_makes(x.p, s, 0, (int64_t)n_heads(x) * (x.dim + y.dim));
    z.dim = x.dim + y.dim;
    return z;
}

/* ---- functions ------------------------------------------------------------------------------- */

/* An infinity stays one: it comes of a broken weight or of an overflow, and the cap would make it a
 * number like any other. */
static void softcap_token(struct pass *p, const struct step *s, int i) {
    const struct number_args *a = s->args;
    float *x = row_copied(p, s, i);
    int n = s->in[0].n;
    if (all_finite(x, n)) {
        p->ops->softcap(x, n, a->by);
        return;
    }
    for (int k = 0; k < n; k++) {
        if (all_finite(x + k, 1)) p->ops->softcap(x + k, 1, a->by);
    }
}

static const struct step_kind softcap_kind = {
    .name = "softcap", .does = EACH_TOKEN, .in_place = true, .token = softcap_token};

value softcapped(value x, float cap) {
    return cap > 0 ? with_number(&softcap_kind, x, cap) : x;
}

struct act_args {
    enum function f;
};

static void act_token(struct pass *p, const struct step *s, int i) {
    const struct act_args *a = s->args;
    const float *x = row(p, s->in[0], i);
    float *y = row(p, s->out[0], i);
    const struct ops *ops = p->ops;
    void (*const functions[])(float *, const float *, int64_t) = {
        [F_EXP] = ops->exp,   [F_SIGMOID] = ops->sigmoid, [F_SOFTPLUS] = ops->softplus,
        [F_TANH] = ops->tanh, [F_SILU] = ops->silu,       [F_GELU] = ops->gelu};
    functions[a->f](y, x, s->in[0].n);
}

static const struct step_kind act_kind = {.name = "act",
                                          .does = EACH_TOKEN,
                                          .in_place = true,
                                          .not_finite = "the argument of a function is not finite",
                                          .token = act_token};

value act(value x, enum function f) {
    struct act_args *a = plan_keep(x.p, 1, sizeof *a);
    a->f = f;
    return step_makes_like(plan_step(x.p, &act_kind, x, a), x);
}

static void relu2_token(struct pass *p, const struct step *s, int i) {
    const float *x = row(p, s->in[0], i);
    float *y = row(p, s->out[0], i);
    for (int k = 0; k < s->in[0].n; k++) y[k] = x[k] <= 0 ? 0 : x[k] * x[k]; // a NaN stays
}

static const struct step_kind relu2_kind = {.name = "relu2",
                                            .does = EACH_TOKEN,
                                            .in_place = true,
                                            .not_finite =
                                                "the argument of a function is not finite",
                                            .token = relu2_token};

value relu_squared(value x) {
    return step_makes_like(plan_step(x.p, &relu2_kind, x, NULL), x);
}

/* In pieces that fit on the stack, because the result may lie where x does. */
static void xielu_token(struct pass *p, const struct step *s, int i) {
    enum { PIECE = 64 };
    const struct xielu *f = s->args;
    const float *x = row(p, s->in[0], i);
    float *y = row(p, s->out[0], i);
    for (int n = s->in[0].n, piece; n > 0; n -= piece, x += piece, y += piece) {
        float power[PIECE];
        piece = n < PIECE ? n : PIECE;
        for (int k = 0; k < piece; k++) power[k] = x[k] < f->eps ? x[k] : f->eps;
        p->ops->expm1(power, power, piece);
        for (int k = 0; k < piece; k++) { // a NaN stays
            float curved = x[k] > 0 ? f->alpha_p * x[k] * x[k] : (power[k] - x[k]) * f->alpha_n;
            y[k] = curved + f->beta * x[k];
        }
    }
}

static const struct step_kind xielu_kind = {
    .name = "xielu", .does = EACH_TOKEN, .in_place = true, .token = xielu_token};

value xielu(value x, struct xielu f) {
    struct xielu *a = plan_keep(x.p, 1, sizeof *a);
    *a = f;
    return step_makes_like(plan_step(x.p, &xielu_kind, x, a), x);
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
    case RELU:
        for (int k = 0; k < s->in[0].n; k++) gate[k] = (gate[k] < 0 ? 0 : gate[k]) * up[k];
        break;
    }
}

static const struct step_kind glu_kind = {.name = "glu",
                                          .does = EACH_TOKEN,
                                          .in_place = true,
                                          .not_finite = "a gate of the feed-forward is not finite",
                                          .token = glu_token};

value glu(value gate, value up, enum activation act) {
    same_width("a gate", gate, up);
    struct glu_args *a = plan_keep(gate.p, 1, sizeof *a);
    a->act = act;
    struct step *s = plan_step(gate.p, &glu_kind, gate, a);
    step_reads(s, up);
    return step_makes_like(s, gate);
}
