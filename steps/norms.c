/* Norms of a token's values, or of each of its heads. */
#include <math.h>

#include "../build.h"
#include "../pass.h"

/* In 8 lanes and the tree of the products (matmul_q.h), as rms_norm sums. */
static float sum_of_squares(const float *x, int n) {
    float l[LANES] = {0};
    for (int i = 0; i < n; i++) l[i % LANES] = fmaf(x[i], x[i], l[i % LANES]);
    return ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
}

struct norm_args {
    int n; // floats of one norm
    const float *weight;
    float eps;
    bool weight_each; // a weight for each norm, one after the other
    bool centred;     // LayerNorm, not RMS
};

static void norm_token(struct pass *p, const struct step *s, int i) {
    const struct norm_args *a = s->args;
    const float *x = row(p, s->in[0], i);
    float *y = row(p, s->out[0], i);
    for (int at = 0; at < s->in[0].n; at += a->n) {
        const float *w = a->weight_each ? a->weight + at : a->weight;
        (a->centred ? p->ops->layer_norm : p->ops->rms_norm)(y + at, x + at, w, a->n, a->eps);
    }
}

static const struct step_kind norm_kind = {
    .name = "norm", .does = EACH_TOKEN, .in_place = true, .token = norm_token};

static value norm_of(value x, int n, const char *name) {
    struct plan *p = x.p;
    struct norm_args *a = plan_keep(p, 1, sizeof *a);
    *a = (struct norm_args){n, name ? vector(p, name, n) : NULL, p->eps, false, p->centred};
    struct step *s = plan_step(p, &norm_kind, x, a);
    if (name) s->name = tensor_full_name(p, name);
    return step_makes_like(s, x);
}

value norm(value x, const char *name) {
    bool needed = x.p->biases != NO_BIASES_NEEDED;
    const float *b = name ? tensor_vectors(x.p, name, ".bias", x.n, 1, needed) : NULL;
    return biased(norm_of(x, x.n, name), b, name);
}

value group_norm(value x, const char *name) {
    struct plan *p = x.p;
    struct norm_args *a = plan_keep(p, 1, sizeof *a);
    *a = (struct norm_args){x.dim, tensor_groups(p, name, x.dim, n_heads(x)), p->eps, true,
                            p->centred};
    struct step *s = plan_step(p, &norm_kind, x, a);
    s->name = tensor_full_name(p, name);
    return step_makes_like(s, x);
}

value head_norm(value x, const char *name) {
    return norm_of(x, x.dim, name);
}

value head_norm_if(value x, const char *name) {
    return has(x.p, name) ? head_norm(x, name) : x;
}

/* ---- length 1 -------------------------------------------------------------------------------- */

static void l2_token(struct pass *p, const struct step *s, int i) {
    const struct norm_args *a = s->args;
    const float *x = row(p, s->in[0], i);
    float *y = row(p, s->out[0], i);
    for (int at = 0; at < s->in[0].n; at += a->n) {
        float length = sqrtf(sum_of_squares(x + at, a->n) + a->eps);
        float scale = length < INFINITY ? 1 / length : NAN; // no zeros by an overflow
        for (int k = 0; k < a->n; k++) y[at + k] = x[at + k] * scale;
    }
}

static const struct step_kind l2_kind = {
    .name = "l2 norm", .does = EACH_TOKEN, .in_place = true, .token = l2_token};

value l2_norm(value x) {
    struct norm_args *a = plan_keep(x.p, 1, sizeof *a);
    *a = (struct norm_args){.n = x.dim, .eps = x.p->eps};
    return step_makes_like(plan_step(x.p, &l2_kind, x, a), x);
}
