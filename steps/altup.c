/* Steps of Gemma 3n alone: the magnitude of one value for another, and a cut by deviations. */
#include <math.h>

#include "../build.h"
#include "../pass.h"

/* In 8 lanes and the tree of the products (matmul_q.h). */
static float sum_lanes(const float l[LANES]) {
    return ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
}

static float sum_of_squares(const float *x, int n, float from) {
    float l[LANES] = {0};
    for (int i = 0; i < n; i++) {
        float d = x[i] - from;
        l[i % LANES] = fmaf(d, d, l[i % LANES]);
    }
    return sum_lanes(l);
}

/* ---- like ------------------------------------------------------------------------------------ */

static void like_token(struct pass *p, const struct step *s, int i) {
    const float *x = row(p, s->in[0], i);
    float *y = row(p, s->out[0], i);
    int n = s->in[0].n;
    float target = sqrtf(sum_of_squares(row(p, s->in[1], i), n, 0));
    float length = sqrtf(sum_of_squares(x, n, 0));
    float by = length < INFINITY ? target / length : NAN; // no zeros by an overflow
    for (int k = 0; k < n; k++) y[k] = x[k] * by;
}

static const struct step_kind like_kind = {
    .name = "like", .does = EACH_TOKEN, .in_place = true, .token = like_token};

value like(value x, value y) {
    if (x.n != y.n) {
        PLAN_FAIL(x.p, KQ_BAD_FILE, "%d values for %d in layer %d", y.n, x.n, x.p->il);
    }
    struct step *s = plan_step(x.p, &like_kind, x, NULL);
    step_reads(s, y);
    return step_makes_like(s, x);
}

/* ---- sparse ---------------------------------------------------------------------------------- */

struct sparse_args {
    float n_deviations;
};

static void sparse_token(struct pass *p, const struct step *s, int i) {
    const struct sparse_args *a = s->args;
    const float *x = row(p, s->in[0], i);
    float *y = row(p, s->out[0], i), l[LANES] = {0};
    int n = s->in[0].n;
    for (int k = 0; k < n; k++) l[k % LANES] += x[k];
    float mean = sum_lanes(l) / (float)n;
    float deviation = sqrtf(sum_of_squares(x, n, mean) / (float)(n - 1));
    float cut = deviation < INFINITY ? mean + a->n_deviations * deviation : NAN; // as above
    for (int k = 0; k < n; k++) y[k] = x[k] <= cut ? 0 : x[k] - cut;             // a NaN stays
}

static const struct step_kind sparse_kind = {
    .name = "sparse", .does = EACH_TOKEN, .in_place = true, .token = sparse_token};

value sparse(value x, float n_deviations) {
    struct sparse_args *a = plan_keep(x.p, 1, sizeof *a);
    a->n_deviations = n_deviations;
    return step_makes_like(plan_step(x.p, &sparse_kind, x, a), x);
}
