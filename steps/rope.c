/* Rotary positions: RoFormer (arXiv 2104.09864), with the scalings that came later: linear
 * interpolation (2306.15595), YaRN (2309.00071), longrope (2402.13753). */
#include <math.h>

#include "../build.h"
#include "../elementary.h"
#include "../pass.h"

/* ---- angles: a value, made once a pass ------------------------------------------------------- */

struct turns_args {
    struct rope r;             // what they were made from
    float scale;               // of cosines and sines: the attention factor of YaRN and longrope
    const double *inv_freq[2]; // of contexts up to ctx_orig, and of longer ones: (n_dims / 2)
};

/* Tables are made in double and rounded once. */
static void turns_token(struct pass *p, const struct step *s, int i) {
    const struct turns_args *a = s->args;
    int n = a->r.n_dims / 2, pos = position(p, i);
    const double *inv_freq = a->inv_freq[p->run_of[i]->seq->n_ctx_asked > a->r.ctx_orig];
    float *cosine = row(p, s->out[0], i), *sine = cosine + n;
    for (int k = 0; k < n; k++) {
        double sin_theta, cos_theta;
        elementary_sin_cos(pos * inv_freq[k], &sin_theta, &cos_theta);
        cosine[k] = (float)(cos_theta * (double)a->scale);
        sine[k] = (float)(sin_theta * (double)a->scale);
    }
}

static const struct step_kind turns_kind = {
    .name = "turns", .does = EACH_TOKEN, .token = turns_token};

/* YaRN: the dimension whose wavelength makes n_rot turns in the original context. */
static double yarn_dim(const struct rope *r, double n_rot) {
    double pi = 3.14159265358979323846;
    double wavelength = r->ctx_orig / (n_rot * 2 * pi); // of 2 pi
    return r->n_dims * elementary_log(wavelength) / (2 * elementary_log((double)r->base));
}

/* 1: this pair keeps its frequency; 0: it is divided by the factor. */
static double yarn_ramp(const struct rope *r, int pair) {
    double low = fmax(0, floor(yarn_dim(r, (double)r->beta_fast)));
    double high = fmin(r->n_dims - 1, ceil(yarn_dim(r, (double)r->beta_slow)));
    double y = (pair - low) / fmax(0.001, high - low);
    return 1 - fmin(1, fmax(0, y));
}

static double frequency_scale(const struct rope *r) {
    return r->scaling != ROPE_NONE && r->factor > 0 ? 1 / (double)r->factor : 1;
}

static const double *frequencies(struct plan *p, const struct rope *r, const float *factors) {
    double *inv_freq = plan_keep(p, (size_t)r->n_dims / 2 + 1, sizeof *inv_freq);
    double scale = frequency_scale(r);
    for (int i = 0; i < r->n_dims / 2; i++) {
        double factor = factors ? (double)factors[i] : 1;
        double f = elementary_pow((double)r->base, -2.0 * i / r->n_dims);
        f /= isfinite(factor) ? factor : NAN;
        double kept = r->scaling == ROPE_YARN ? yarn_ramp(r, i) : 0;
        inv_freq[i] = f * (scale * (1 - kept) + kept);
    }
    return inv_freq;
}

static bool same_rope(const struct rope *a, const struct rope *b) {
    return a->n_dims == b->n_dims && a->base == b->base && a->scaling == b->scaling &&
           a->factor == b->factor && a->ctx_orig == b->ctx_orig &&
           a->attn_factor == b->attn_factor && a->beta_fast == b->beta_fast &&
           a->beta_slow == b->beta_slow && a->log_multiplier == b->log_multiplier &&
           a->factors == b->factors && a->factors_long == b->factors_long &&
           a->factors_short == b->factors_short;
}

/* The angles of r if they are made already. */
static value find_turns(struct plan *p, const struct rope *r) {
    for (int i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->steps[i];
        if (s->kind != &turns_kind) continue;
        if (!same_rope(&((const struct turns_args *)s->args)->r, r)) continue;
        return (value){p, s->out[0].id, s->out[0].n, s->out[0].n};
    }
    return NO_VALUE;
}

struct turns turns(struct plan *p, struct rope r, enum pairs pairs) {
    if (!(r.base > 0)) {
        PLAN_FAIL(p, KQ_BAD_FILE, "%s.rope.freq_base is not above 0", p->arch);
    }
    if ((uint64_t)r.n_dims > p->g->mapped_bytes) { // a head of queries has at least as many bytes
        PLAN_FAIL(p, KQ_BAD_FILE, "%s: rope over %d dimensions in a file of %zu bytes", p->arch,
                  r.n_dims, p->g->mapped_bytes);
    }
    if (r.n_dims == 0) return NO_TURNS;
    if (r.n_dims % 2 != 0) {
        PLAN_FAIL(p, KQ_BAD_FILE, "rope over %d numbers of a head of %s, expected pairs", r.n_dims,
                  p->arch);
    }
    value found = find_turns(p, &r);
    if (found.id) return (struct turns){found, pairs};
    struct turns_args *a = plan_keep(p, 1, sizeof *a);
    *a = (struct turns_args){.r = r, .scale = r.attn_factor};
    if (r.scaling == ROPE_YARN) {
        double tenth = 0.1 * elementary_log(1 / frequency_scale(&r));
        a->scale *= (float)((1 + tenth) / (1 + (double)r.log_multiplier * tenth));
    }
    a->inv_freq[0] = frequencies(p, &r, r.factors ? r.factors : r.factors_short);
    a->inv_freq[1] = frequencies(p, &r, r.factors ? r.factors : r.factors_long);
    p->ctx_matters |= !r.factors && r.factors_short != r.factors_long;
    struct step *s = plan_step(p, &turns_kind, NO_VALUE, a);
    return (struct turns){step_makes(p, s, 0, r.n_dims), pairs};
}

/* ---- temperature ----------------------------------------------------------------------------- */

struct temperature_args {
    float scale;
    int length, offset;
};

static void temperature_token(struct pass *p, const struct step *s, int i) {
    const struct temperature_args *a = s->args;
    int64_t times = ((int64_t)position(p, i) + a->offset) / a->length;
    *row(p, s->out[0], i) = (float)(1 + (double)a->scale * elementary_log((double)(times + 1)));
}

static const struct step_kind temperature_kind = {
    .name = "temperature", .does = EACH_TOKEN, .token = temperature_token};

value temperature(struct plan *p, float scale, int length, int offset) {
    struct temperature_args *a = plan_keep(p, 1, sizeof *a);
    *a = (struct temperature_args){scale, length, offset};
    return step_makes(p, plan_step(p, &temperature_kind, NO_VALUE, a), 0, 1);
}

/* ---- rope ------------------------------------------------------------------------------------ */

struct rope_args {
    int head_dim;
    enum pairs pairs;
};

static void rope_token(struct pass *p, const struct step *s, int i) {
    const struct rope_args *a = s->args;
    int n = s->in[1].n / 2, n_all = s->in[0].n;
    const float *cosine = row(p, s->in[1], i), *sine = cosine + n;
    float *x = row_copied(p, s, i);
    int step = a->pairs == HALVES ? 1 : 2, partner = a->pairs == HALVES ? n : 1;
    for (const float *end = x + n_all; x < end; x += a->head_dim) {
        for (int k = 0; k < n; k++) {
            float u = x[k * step], v = x[k * step + partner];
            x[k * step] = u * cosine[k] - v * sine[k];
            x[k * step + partner] = u * sine[k] + v * cosine[k];
        }
    }
}

static const struct step_kind rope_kind = {
    .name = "rope", .does = EACH_TOKEN, .in_place = true, .token = rope_token};

value rope(value x, struct turns t) {
    if (t.angles.id == 0) return x;
    if (t.angles.n > x.dim) {
        PLAN_FAIL(x.p, KQ_BAD_FILE, "rope over %d of %d in layer %d", t.angles.n, x.dim, x.p->il);
    }
    struct rope_args *a = plan_keep(x.p, 1, sizeof *a);
    *a = (struct rope_args){x.dim, t.pairs};
    struct step *s = plan_step(x.p, &rope_kind, x, a);
    step_reads(s, t.angles);
    return step_makes_like(s, x);
}
