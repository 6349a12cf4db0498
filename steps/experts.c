/* Mixtures of experts (arXiv 1701.06538): a router chooses, each expert computes the tokens that
 * chose it as one batch. */
#include <float.h>
#include <math.h>

#include "../build.h"
#include "../pass.h"
#include "../round.h"

#define MAX_GROUPS 64
#define NO_EXPERT INT32_MIN // in the place of an id

/* ---- choose ---------------------------------------------------------------------------------- */

/* Sums of chosen weights are not divided by less: the smallest normal half. */
#define LEAST_SUM 0x1p-14f

struct choose_args {
    int n, n_used;
    struct gating g;
};

static int32_t *ids_of(const struct pass *p, struct ref v, int i) {
    return (int32_t *)(void *)row(p, v, i);
}

/* Logits become scores; by[e] is what expert e is chosen by, never -infinity, which is left for
 * those that are out. What is NaN becomes infinite, as each expert may be taken once only. */
static void score(const struct pass *p, const struct choose_args *a, float *scores, float *by) {
    const struct gating *g = &a->g;
    memcpy(by, scores, (size_t)a->n * sizeof *by);
    if (g->gate == SIGMOID) p->ops->sigmoid(scores, scores, a->n);
    if (g->gate == SOFTMAX) {
        float sum = p->ops->softmax(scores, round_up(a->n, LANES), 0, a->n);
        for (int e = 0; e < a->n; e++) scores[e] /= sum;
    }
    for (int e = 0; e < a->n; e++) {
        if (g->gate == SIGMOID || g->gate == SOFTMAX) by[e] = scores[e];
        if (g->bias) by[e] += g->bias[e];
        if (isnan(by[e])) by[e] = INFINITY;
        if (by[e] < -FLT_MAX) by[e] = -FLT_MAX;
    }
}

/* The sum of the two largest of n; of one, that one. */
static float two_largest(const float *x, int n) {
    float first = -INFINITY, second = -INFINITY;
    for (int i = 0; i < n; i++) {
        if (x[i] > first) {
            second = first;
            first = x[i];
        } else if (x[i] > second) {
            second = x[i];
        }
    }
    return n > 1 ? first + second : first;
}

/* Experts lie in groups (arXiv 2412.19437); those outside of the best groups are out. Of equal
 * groups the first ones are the best. */
static void leave_groups(const struct choose_args *a, float *by) {
    int each = a->n / a->g.n_groups;
    float worth[MAX_GROUPS];
    bool out[MAX_GROUPS] = {false};
    for (int i = 0; i < a->g.n_groups; i++) worth[i] = two_largest(by + i * each, each);
    for (int left = a->g.n_groups - a->g.n_groups_used; left > 0; left--) {
        int worst = -1;
        for (int i = 0; i < a->g.n_groups; i++) {
            if (!out[i] && (worst < 0 || worth[i] <= worth[worst])) worst = i;
        }
        if (worst < 0) return;
        out[worst] = true;
        for (int e = worst * each; e < (worst + 1) * each; e++) by[e] = -INFINITY;
    }
}

/* The experts with the largest values (ties: the first), kept in ascending order, the order in
 * which their outputs are added. */
static void take(const struct choose_args *a, const float *scores, float *by, int32_t *ids,
                 float *weights) {
    for (int u = 0; u < a->n_used; u++) {
        int best = 0;
        for (int e = 1; e < a->n; e++) best = by[e] > by[best] ? e : best;
        int at = u;
        for (; at > 0 && ids[at - 1] > best; at--) {
            ids[at] = ids[at - 1];
            weights[at] = weights[at - 1];
        }
        ids[at] = best;
        weights[at] = scores[best];
        by[best] = -INFINITY;
    }
}

static void weigh(const struct pass *p, const struct choose_args *a, const int32_t *ids,
                  float *weights) {
    const struct gating *g = &a->g;
    int n = a->n_used, room = round_up(n, LANES);
    float sum = 1;
    if (g->gate == SIGMOID_OF_CHOSEN) p->ops->sigmoid(weights, weights, n);
    if (g->gate == SOFTMAX_OF_CHOSEN) {
        sum = p->ops->softmax(weights, room, 0, n);
    } else if (g->normed) {
        sum = 0;
        for (int u = 0; u < n; u++) sum += weights[u];
        if (sum < LEAST_SUM) sum = LEAST_SUM;
    }
    for (int u = 0; u < n; u++) {
        weights[u] /= sum;
        if (g->scale != 1) weights[u] *= g->scale;
        if (g->gains) weights[u] *= g->gains[ids[u]];
    }
}

/* A logit of -infinity means "not this one"; others that are not finite end the pass. */
static void choose_token(struct pass *p, const struct step *s, int i) {
    const struct choose_args *a = s->args;
    float *scores = row_copied(p, s, i), *weights = row(p, s->out[2], i),
          *by = row(p, s->out[3], i);
    int32_t *ids = ids_of(p, s->out[1], i);
    bool usable = unusable_logits(scores, a->n) == 0;
    score(p, a, scores, by);
    if (!usable || unusable_logits(by, a->n) > 0) {
        pass_fail(p, s, i, "the router gives no finite numbers");
    }
    if (a->g.n_groups > 1) leave_groups(a, by);
    take(a, scores, by, ids, weights);
    weigh(p, a, ids, weights);
}

static const struct step_kind choose_kind = {
    .name = "choose", .does = EACH_TOKEN, .in_place = true, .token = choose_token};

static void check_groups(struct plan *p, const struct gating *g, int n, int n_used) {
    if (g->n_groups <= 1) return;
    bool fits = g->n_groups <= MAX_GROUPS && n % g->n_groups == 0 && g->n_groups_used >= 1 &&
                g->n_groups_used <= g->n_groups && n_used <= n / g->n_groups * g->n_groups_used;
    if (fits) return;
    PLAN_FAIL(p, KQ_BAD_FILE, "%d of %d experts from %d of %d groups (at most %d)", n_used, n,
              g->n_groups_used, g->n_groups, MAX_GROUPS);
}

struct choice choose(value logits, int n_used, struct gating g) {
    struct plan *p = logits.p;
    check_groups(p, &g, logits.n, n_used);
    struct choose_args *a = plan_keep(p, 1, sizeof *a);
    *a = (struct choose_args){logits.n, n_used, g};
    struct step *s = plan_step(p, &choose_kind, logits, a);
    struct choice c = {.n = logits.n, .n_used = n_used};
    c.scores = step_makes(p, s, 0, round_up(logits.n, LANES));
    c.ids = step_makes(p, s, 1, n_used);
    c.weights = step_makes(p, s, 2, round_up(n_used, LANES));
    step_makes(p, s, 3, logits.n); // what is chosen by, of those not taken yet
    return c;
}

/* ---- groups of what was chosen --------------------------------------------------------------- */

struct groups_args {
    int each, n, n_used; // experts of a group; those chosen; those of which a group is taken
};

/* Of chosen expert u: how many others come before it. */
static int rank_of(const int32_t *chosen, const float *scores, int n, int u) {
    int rank = 0;
    for (int v = 0; v < n; v++) {
        float x = scores[chosen[v]], y = scores[chosen[u]];
        rank += x > y || (x == y && v < u);
    }
    return rank;
}

/* Of the chosen experts those with the largest scores; each stands for its group, whose weight is
 * the score of the expert that has the group's number. Groups are in ascending order, since experts
 * are; one that was taken several times is there once, with the sum of its weights. */
static void groups_token(struct pass *p, const struct step *s, int i) {
    const struct groups_args *a = s->args;
    const int32_t *chosen = ids_of(p, s->in[0], i);
    const float *scores = row(p, s->in[1], i);
    int32_t *ids = ids_of(p, s->out[0], i);
    float *weights = row(p, s->out[1], i), sum = 0;
    int n = 0;
    for (int u = 0; u < a->n; u++) {
        int group = chosen[u] / a->each;
        if (rank_of(chosen, scores, a->n, u) >= a->n_used) continue;
        if (n == 0 || ids[n - 1] != group) {
            ids[n] = group;
            weights[n++] = 0;
        }
        weights[n - 1] += scores[group];
        sum += scores[group];
    }
    if (sum < LEAST_SUM) sum = LEAST_SUM;
    for (int u = 0; u < n; u++) weights[u] /= sum;
    for (; n < a->n_used; n++) {
        ids[n] = NO_EXPERT;
        weights[n] = 0;
    }
}

static const struct step_kind groups_kind = {
    .name = "groups", .does = EACH_TOKEN, .token = groups_token};

struct choice choose_groups(const struct choice *c, int each) {
    struct plan *p = c->ids.p;
    if (each < 1 || c->n % each != 0) {
        PLAN_FAIL(p, KQ_BAD_FILE, "%d experts in groups of %d in layer %d", c->n, each, p->il);
    }
    struct choice g = {.scores = c->scores, .n = c->n / each};
    g.n_used = c->n_used < g.n ? c->n_used : g.n;
    struct groups_args *a = plan_keep(p, 1, sizeof *a);
    *a = (struct groups_args){each, c->n_used, g.n_used};
    struct step *s = plan_step(p, &groups_kind, c->ids, a);
    step_reads(s, c->scores);
    g.ids = step_makes(p, s, 0, g.n_used);
    g.weights = step_makes(p, s, 1, g.n_used);
    return g;
}

/* ---- a round for each expert ----------------------------------------------------------------- */

struct experts_args {
    int n_used;
    bool on_input; // weights go onto what experts read, not onto what they make
};

static struct experts_args *experts_args(struct plan *p, const struct choice *c) {
    struct experts_args *a = plan_keep(p, 1, sizeof *a);
    *a = (struct experts_args){c->n_used, c->on_input};
    return a;
}

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
        const float *weights = row(p, s->in[2], i), *x = row(p, s->in[0], i);
        for (int u = 0; u < a->n_used; u++) {
            if (ids[u] != round) continue;
            float *mine = row(p, s->out[0], found++);
            memcpy(mine, x, (size_t)s->in[0].n * sizeof *mine);
            for (int k = 0; a->on_input && k < s->in[0].n; k++) mine[k] *= weights[u];
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
    struct step *s = plan_step(p, &experts_kind, x, experts_args(p, c));
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
            float weight = a->on_input ? 1 : weights[u];
            for (int k = 0; k < n; k++) sum[k] += y[k] * weight;
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
    struct step *s = plan_step(p, &experts_end_kind, y, experts_args(p, c));
    step_reads(s, c->ids);
    step_reads(s, c->weights);
    step_reads(s, sum);
    p->in_rounds = false;
    p->n_planes = 1;
    return sum;
}
