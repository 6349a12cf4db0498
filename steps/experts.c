/* Mixtures of experts (arXiv 1701.06538): a router chooses, each expert computes the tokens that
 * chose it as one batch. */
#include <float.h>
#include <math.h>

#include "../build.h"
#include "../pass.h"
#include "../round.h"

/* ---- choose ---------------------------------------------------------------------------------- */

struct choose_args {
    int n, n_used;
};

static int32_t *ids_of(const struct pass *p, struct ref v, int i) {
    return (int32_t *)(void *)row(p, v, i);
}

/* The experts with the largest logits (ties: the first), kept in ascending order, the order in
 * which their outputs are added. */
static void choose_token(struct pass *p, const struct step *s, int i) {
    const struct choose_args *a = s->args;
    float *logit = row_copied(p, s, i), *weights = row(p, s->out[2], i);
    int32_t *ids = ids_of(p, s->out[1], i);
    for (int e = 0; e < a->n; e++) {
        if (!(logit[e] > -FLT_MAX)) logit[e] = -FLT_MAX; // NaN too: only a taken one is below
    }
    for (int u = 0; u < a->n_used; u++) {
        int best = 0;
        for (int e = 1; e < a->n; e++) best = logit[e] > logit[best] ? e : best;
        int at = u;
        for (; at > 0 && ids[at - 1] > best; at--) {
            ids[at] = ids[at - 1];
            weights[at] = weights[at - 1];
        }
        ids[at] = best;
        weights[at] = logit[best];
        logit[best] = -INFINITY;
    }
    float sum = p->ops->softmax(weights, s->out[2].n, 0, a->n_used);
    for (int u = 0; u < a->n_used; u++) weights[u] /= sum;
}

static const struct step_kind choose_kind = {
    .name = "choose", .does = EACH_TOKEN, .in_place = true, .token = choose_token};

struct choice choose(value logits, int n_used) {
    struct plan *p = logits.p;
    struct choose_args *a = plan_keep(p, 1, sizeof *a);
    *a = (struct choose_args){logits.n, n_used};
    struct step *s = plan_step(p, &choose_kind, logits, a);
    step_makes(p, s, 0, logits.n); // what is chosen by, of those not taken yet
    struct choice c = {.n = logits.n, .n_used = n_used};
    c.ids = step_makes(p, s, 1, n_used);
    c.weights = step_makes(p, s, 2, round_up(n_used, LANES));
    return c;
}

/* ---- a round for each expert ----------------------------------------------------------------- */

struct experts_args {
    int n_used;
};

static void experts_clear(struct pass *p, const struct step *s, int n_steps) {
    (void)n_steps;
    memset(row(p, s->out[1], 0), 0, (size_t)p->n * (size_t)s->out[1].n * sizeof(float));
}

/* The tokens that chose expert `round`, one after the other. */
static int experts_gather(struct pass *p, const struct step *s, int round) {
    const struct experts_args *a = s->args;
    int found = 0;
    for (int i = 0; i < p->n; i++) {
        const int32_t *ids = ids_of(p, s->in[1], i);
        for (int u = 0; u < a->n_used; u++) {
            if (ids[u] != round) continue;
            memcpy(row(p, s->out[0], found++), row(p, s->in[0], i),
                   (size_t)s->in[0].n * sizeof(float));
        }
    }
    return found;
}

static const struct step_kind experts_kind = {.name = "experts",
                                              .does = ALL_TOKENS,
                                              .role = ROUNDS,
                                              .group = experts_clear,
                                              .begin_round = experts_gather};

value experts_begin(value x, const struct choice *c) {
    struct plan *p = x.p;
    struct experts_args *a = plan_keep(p, 1, sizeof *a);
    a->n_used = c->n_used;
    struct step *s = plan_step(p, &experts_kind, x, a);
    step_reads(s, c->ids);
    step_reads(s, c->weights);
    s->n_rounds = c->n;
    p->in_rounds = true;
    p->n_planes = c->n;
    value mine = step_makes(p, s, 0, x.n);
    p->round_sum = step_makes(p, s, 1, x.n);
    return mine;
}

/* A token's outputs are added in ascending order of experts, whichever tokens share its batch. */
static void experts_add(struct pass *p, const struct step *s, int n_steps) {
    (void)n_steps;
    const struct experts_args *a = s->args;
    const float *y = row(p, s->in[0], 0);
    int n = s->in[0].n;
    for (int i = 0; i < p->n; i++) {
        const int32_t *ids = ids_of(p, s->in[1], i);
        const float *weights = row(p, s->in[2], i);
        float *sum = row(p, s->in[3], i);
        for (int u = 0; u < a->n_used; u++) {
            if (ids[u] != p->round) continue;
            for (int k = 0; k < n; k++) sum[k] += y[k] * weights[u];
            y += n;
        }
    }
}

static const struct step_kind experts_end_kind = {
    .name = "experts end", .does = ALL_TOKENS, .role = ROUNDS_END, .group = experts_add};

value experts_end(value y, const struct choice *c) {
    struct plan *p = y.p;
    value sum = p->round_sum;
    if (y.n != sum.n) {
        PLAN_FAIL(p, KQ_BAD_FILE, "experts make %d values of %d in layer %d", y.n, sum.n, p->il);
    }
    struct experts_args *a = plan_keep(p, 1, sizeof *a);
    a->n_used = c->n_used;
    struct step *s = plan_step(p, &experts_end_kind, y, a);
    step_reads(s, c->ids);
    step_reads(s, c->weights);
    step_reads(s, sum);
    p->in_rounds = false;
    p->n_planes = 1;
    return sum;
}
