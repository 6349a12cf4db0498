/* From weights to blocks. A block is found in two steps. First the one that ggml's reference
 * quantizer writes, by the same arithmetic. Then others are tried, and one of them is taken only if
 * neither its squared error nor its error in ggml's own weights is larger: so whatever weights look
 * like (normal, on a lattice, with outliers), no block is worse than ggml's in either measure.
 *
 * Only +, -, *, / and sqrtf, each rounded once and in a fixed order: the same bytes on every
 * platform. */
#include "quant.h"

#include <assert.h>
#include <float.h>
#include <math.h>

/* ---- what all share -------------------------------------------------------------------------- */

static inline float smaller(float a, float b) {
    return a < b ? a : b;
}

static inline float larger(float a, float b) {
    return a > b ? a : b;
}

/* To the nearest integer of lo..hi, halves to even; NaN becomes lo. Without a conversion to int, so
 * that loops over it vectorize: floats from 2^23 on have no fraction. */
static inline float round_clamped(float v, float lo, float hi) {
    const float magic = 0x1.8p23f;
    return smaller(larger(v, lo), hi) + magic - magic;
}

/* A scale or an offset as it is stored: a fit can lie a little beyond what a half can hold. */
static ggml_half finite_half(float v) {
    return fp32_to_fp16(smaller(larger(v, -65504), 65504));
}

/* The half for a scale v: the nearest, but away from 0 where halves are coarse (a few times 2^-24),
 * so that the steps reach the weights. Small weights would become 0. */
static ggml_half scale_half(float v) {
    ggml_half half = finite_half(v);
    bool is_coarse = (half & 0x7fff) < 64;
    return is_coarse && fabsf(fp16_to_fp32(half)) < fabsf(v) ? (ggml_half)(half + 1) : half;
}

static float inverse_or_zero(float d) {
    return d != 0 ? 1 / d : 0;
}

void quantize_limits(uint32_t type, float *lowest, float *highest) {
    const float half = 65504;
    *lowest = -FLT_MAX;
    *highest = FLT_MAX;
    switch (type) {
    case GGML_TYPE_F16:
        *highest = 65519; // rounds to 65504, 65520 to infinity
        *lowest = -65519;
        break;
    case GGML_TYPE_Q5_0:
        *highest = 15 * half;
        *lowest = -15 * half;
        break;
    case GGML_TYPE_Q5_1: // d * 31 + m with m = -65504
        *highest = 30 * half;
        *lowest = -half;
        break;
    case GGML_TYPE_Q8_0:
        *highest = 127 * half;
        *lowest = -127 * half;
        break;
    case GGML_TYPE_Q4_K: // d * 63 * 15 - dmin * 63 with dmin = 65504
        *highest = 14 * 63 * half;
        *lowest = -63 * half;
        break;
    case GGML_TYPE_Q5_K:
        *highest = 30 * 63 * half;
        *lowest = -63 * half;
        break;
    case GGML_TYPE_Q6_K:
        *highest = 31 * 127 * half;
        *lowest = -31 * 127 * half;
        break;
    }
}

/* The weights as far as the type can hold them. */
static void clamp_weights(uint32_t type, const float *x, float *y, int n) {
    float lowest, highest;
    quantize_limits(type, &lowest, &highest);
    for (int i = 0; i < n; i++) {
        float v = x[i] == x[i] ? x[i] : 0;
        y[i] = smaller(larger(v, lowest), highest);
    }
}

static void range(const float *x, int n, float *min, float *max) {
    *min = *max = x[0];
    for (int i = 1; i < n; i++) {
        *min = smaller(x[i], *min);
        *max = larger(x[i], *max);
    }
}

/* The weight furthest from 0, the first of those. */
static float furthest_from_zero(const float *x, int n) {
    float furthest = 0;
    for (int i = 0; i < n; i++) furthest = fabsf(x[i]) > fabsf(furthest) ? x[i] : furthest;
    return furthest;
}

/* ---- Q8_0, Q5_0, Q5_1 ------------------------------------------------------------------------ */

/* 32 weights w ~ d * q + m with q in lo..hi; ggml counts every error the same. Lane t of a loop is
 * a trial: other steps per unit of x, with d (and m) by least squares for the integers that they
 * give. */
enum { N_TRIALS = 8 };

struct old_format {
    float x[QK], lo, hi;
    bool has_offset;
};

/* Squared errors of q rounded to what d and m, given as stored, stand for. */
static void errors_of(const struct old_format *f, const float d[N_TRIALS], const float m[N_TRIALS],
                      float error[N_TRIALS]) {
    float inverse[N_TRIALS], sum[N_TRIALS] = {0};
    for (int t = 0; t < N_TRIALS; t++) inverse[t] = inverse_or_zero(d[t]);
    for (int i = 0; i < QK; i++) {
        for (int t = 0; t < N_TRIALS; t++) {
            float q = round_clamped((f->x[i] - m[t]) * inverse[t], f->lo, f->hi);
            float e = d[t] * q + m[t] - f->x[i];
            sum[t] += e * e;
        }
    }
    memcpy(error, sum, sizeof sum);
}

/* The best d and m for the q that the trial's steps give; what the rounding left is r, in steps:
 * (1 + a) * q + b ~ (x - base) * inverse. */
static void fit_trials(const struct old_format *f, float base, const float inverse[N_TRIALS],
                       float d[N_TRIALS], float m[N_TRIALS]) {
    float sum_q[N_TRIALS] = {0}, sum_qq[N_TRIALS] = {0}, sum_r[N_TRIALS] = {0};
    float sum_rq[N_TRIALS] = {0};
    for (int i = 0; i < QK; i++) {
        for (int t = 0; t < N_TRIALS; t++) {
            float v = (f->x[i] - base) * inverse[t];
            float q = round_clamped(v, f->lo, f->hi), r = v - q;
            sum_q[t] += q;
            sum_qq[t] += q * q;
            sum_r[t] += r;
            sum_rq[t] += r * q;
        }
    }
    for (int t = 0; t < N_TRIALS; t++) {
        float det = QK * sum_qq[t] - sum_q[t] * sum_q[t], a = 0, b = 0;
        if (f->has_offset && det > 0) {
            a = (QK * sum_rq[t] - sum_q[t] * sum_r[t]) / det;
            b = (sum_qq[t] * sum_r[t] - sum_q[t] * sum_rq[t]) / det;
        } else if (!f->has_offset && sum_qq[t] > 0) {
            a = sum_rq[t] / sum_qq[t];
        }
        d[t] = (1 + a) / inverse[t];
        m[t] = base + b / inverse[t];
    }
}

/* Takes d and m of the best trial, if it beats those given, which stand in for trial 0. */
static void try_steps(const struct old_format *f, float base, const float inverse[N_TRIALS],
                      ggml_half *d, ggml_half *m) {
    float trial_d[N_TRIALS], trial_m[N_TRIALS], error[N_TRIALS];
    ggml_half half_d[N_TRIALS], half_m[N_TRIALS];
    fit_trials(f, base, inverse, trial_d, trial_m);
    for (int t = 0; t < N_TRIALS; t++) {
        half_d[t] = t == 0 ? *d : scale_half(trial_d[t]);
        half_m[t] = t == 0 ? *m : finite_half(trial_m[t]);
        trial_d[t] = fp16_to_fp32(half_d[t]);
        trial_m[t] = fp16_to_fp32(half_m[t]);
    }
    errors_of(f, trial_d, trial_m, error);
    int best = 0;
    for (int t = 1; t < N_TRIALS; t++) best = error[t] < error[best] ? t : best;
    *d = half_d[best];
    *m = half_m[best];
}

/* Whether at most half of the weights differ from all before them: they lie on a lattice, because
 * they were trained on it or stored in fewer bits before. */
static bool takes_few_values(const float x[QK]) {
    float values[QK / 2] = {0};
    int n = 0;
    for (int i = 0; i < QK; i++) {
        int k = 0;
        while (k < n && values[k] != x[i]) k++;
        if (k == n && n == QK / 2) return false;
        if (k == n) values[n++] = x[i];
    }
    return true;
}

/* Improves d and m, which are ggml's: it cuts the range of the weights, which begins at `base` and
 * has `width`, into n_steps. For a lattice every number of steps down to the half of that is tried:
 * one that fits leaves hardly any error. */
static void choose(const struct old_format *f, float base, float width, float n_steps, ggml_half *d,
                   ggml_half *m) {
    float inverse[N_TRIALS];
    for (int t = 0; t < N_TRIALS; t++) inverse[t] = (n_steps + 0.3f - 0.2f * (float)t) / width;
    try_steps(f, base, inverse, d, m);
    if (!takes_few_values(f->x)) return;
    for (int n = 0; n < 128; n += N_TRIALS - 1) {
        for (int t = 0; t < N_TRIALS; t++) {
            inverse[t] = n_steps * (1 - (float)(n + t) / 256) / width;
        }
        try_steps(f, base, inverse, d, m);
    }
}

/* q of each weight, nearest to it as d and m are stored, less `lowest`. */
static void round_block(const struct old_format *f, ggml_half half_d, ggml_half half_m,
                        float lowest, uint8_t q[QK]) {
    float d = fp16_to_fp32(half_d), m = fp16_to_fp32(half_m), inverse = inverse_or_zero(d);
    for (int i = 0; i < QK; i++) {
        q[i] = (uint8_t)(int)(round_clamped((f->x[i] - m) * inverse, f->lo, f->hi) - lowest);
    }
}

static void quantize_block_q8_0(const float *weights, block_q8_0 *y) {
    struct old_format f = {.lo = -127, .hi = 127};
    ggml_half no_offset = 0;
    uint8_t q[QK];
    clamp_weights(GGML_TYPE_Q8_0, weights, f.x, QK);
    float furthest = fabsf(furthest_from_zero(f.x, QK));
    y->d = finite_half(furthest / 127);
    if (furthest > 0) choose(&f, 0, furthest, 127, &y->d, &no_offset);
    round_block(&f, y->d, 0, -128, q);
    for (int i = 0; i < QK; i++) y->qs[i] = (int8_t)(q[i] - 128);
}

/* The low 4 bits of q in qs, the fifth in qh. */
static void put_5_bits(const uint8_t q[QK], uint8_t qs[QK / 2], uint8_t qh[4]) {
    memset(qh, 0, 4);
    for (int j = 0; j < QK / 2; j++) {
        qs[j] = (uint8_t)((q[j] & 15) | (q[j + QK / 2] & 15) << 4);
        qh[j / 8] |= (uint8_t)(q[j] >> 4 << j % 8);
        qh[j / 8 + 2] |= (uint8_t)(q[j + QK / 2] >> 4 << j % 8);
    }
}

/* The weight furthest from 0 goes to -16, where there is one step more: d may be negative. */
static void quantize_block_q5_0(const float *weights, block_q5_0 *y) {
    struct old_format f = {.lo = -16, .hi = 15};
    ggml_half no_offset = 0;
    uint8_t q[QK];
    clamp_weights(GGML_TYPE_Q5_0, weights, f.x, QK);
    float furthest = furthest_from_zero(f.x, QK);
    y->d = finite_half(furthest / -16);
    if (furthest != 0) choose(&f, 0, -furthest, 16, &y->d, &no_offset);
    round_block(&f, y->d, 0, -16, q);
    put_5_bits(q, y->qs, y->qh);
}

static void quantize_block_q5_1(const float *weights, block_q5_1 *y) {
    struct old_format f = {.lo = 0, .hi = 31, .has_offset = true};
    uint8_t q[QK];
    float min, max;
    clamp_weights(GGML_TYPE_Q5_1, weights, f.x, QK);
    range(f.x, QK, &min, &max);
    min = smaller(min, 65504); // as m will be
    y->d = finite_half((max - min) / 31);
    y->m = finite_half(min);
    if (max > min) choose(&f, min, max - min, 31, &y->d, &y->m);
    round_block(&f, y->d, y->m, 0, q);
    put_5_bits(q, y->qs, y->qh);
}

/* ---- Q4_K and Q5_K --------------------------------------------------------------------------- */

/* 256 weights in 8 sub-blocks: w ~ scale * q - min, scale = d * sc, min = dmin * m, with q in
 * 0..n_max, sc and m in 0..63. Everything is done for the sub-blocks side by side: weight i of
 * sub-block j is x[i][j], so that loops over j vectorize. */
enum { N_SUB = 8, SUB = 32 };

struct k4_weights {
    float x[SUB][N_SUB];
    float weight[SUB][N_SUB]; // how much its error counts in ggml
    float rms[N_SUB], n_max;
};

struct k4_block {
    ggml_half d, dmin;
    float sc[N_SUB], m[N_SUB]; // integers
    float error, weighted;     // of all weights: squares, and squares times weight
    float score;               // what the search minimises, made of both
};

static void k4_read(const float x[QK_K], struct k4_weights *b) {
    float sum[N_SUB] = {0};
    for (int i = 0; i < SUB; i++) {
        for (int j = 0; j < N_SUB; j++) {
            b->x[i][j] = x[SUB * j + i];
            sum[j] += b->x[i][j] * b->x[i][j];
        }
    }
    for (int j = 0; j < N_SUB; j++) b->rms[j] = sqrtf(sum[j] / SUB);
    for (int i = 0; i < SUB; i++) {
        for (int j = 0; j < N_SUB; j++) b->weight[i][j] = b->rms[j] + fabsf(b->x[i][j]);
    }
}

/* What is known of the best fit so far, and the sums that all trials share. */
struct k4_fit {
    float lo[N_SUB], hi[N_SUB], sum_w[N_SUB], sum_x[N_SUB]; // weighted
    float scale[N_SUB], min[N_SUB], best[N_SUB];
};

static void k4_fit_begin(const struct k4_weights *b, struct k4_fit *f) {
    memset(f, 0, sizeof *f);
    for (int j = 0; j < N_SUB; j++) f->lo[j] = f->hi[j] = b->x[0][j];
    for (int i = 0; i < SUB; i++) {
        for (int j = 0; j < N_SUB; j++) {
            f->lo[j] = smaller(b->x[i][j], f->lo[j]);
            f->hi[j] = larger(b->x[i][j], f->hi[j]);
            f->sum_w[j] += b->weight[i][j];
            f->sum_x[j] += b->weight[i][j] * b->x[i][j];
        }
    }
    float inverse[N_SUB];
    for (int j = 0; j < N_SUB; j++) {
        f->min[j] = f->lo[j] = smaller(f->lo[j], 0);
        inverse[j] = b->n_max / (f->hi[j] - f->lo[j]);
        f->scale[j] = 1 / inverse[j];
    }
    for (int i = 0; i < SUB; i++) {
        for (int j = 0; j < N_SUB; j++) {
            float q = round_clamped(inverse[j] * (b->x[i][j] - f->min[j]), 0, b->n_max);
            float e = f->scale[j] * q + f->min[j] - b->x[i][j];
            f->best[j] += b->weight[i][j] * (e * e);
        }
    }
}

/* One trial of ggml's search: n_steps in the range (from the best fit's min on), scale and min by
 * weighted least squares for the integers that they give. */
static void k4_fit_trial(const struct k4_weights *b, struct k4_fit *f, float n_steps) {
    float q[SUB][N_SUB], sum_q[N_SUB] = {0}, sum_qq[N_SUB] = {0}, sum_qx[N_SUB] = {0};
    float inverse[N_SUB], scale[N_SUB], min[N_SUB], error[N_SUB] = {0};
    for (int j = 0; j < N_SUB; j++) inverse[j] = n_steps / (f->hi[j] - f->min[j]);
    for (int i = 0; i < SUB; i++) {
        for (int j = 0; j < N_SUB; j++) {
            q[i][j] = round_clamped(inverse[j] * (b->x[i][j] - f->min[j]), 0, b->n_max);
            float wq = b->weight[i][j] * q[i][j];
            sum_q[j] += wq;
            sum_qq[j] += wq * q[i][j];
            sum_qx[j] += wq * b->x[i][j];
        }
    }
    for (int j = 0; j < N_SUB; j++) {
        float det = f->sum_w[j] * sum_qq[j] - sum_q[j] * sum_q[j];
        scale[j] = (f->sum_w[j] * sum_qx[j] - f->sum_x[j] * sum_q[j]) / det;
        min[j] = (sum_qq[j] * f->sum_x[j] - sum_q[j] * sum_qx[j]) / det;
        scale[j] = min[j] > 0 ? sum_qx[j] / sum_qq[j] : scale[j];
        min[j] = min[j] > 0 ? 0 : min[j];
        scale[j] = det > 0 ? scale[j] : NAN; // then the error is no smaller
    }
    for (int i = 0; i < SUB; i++) {
        for (int j = 0; j < N_SUB; j++) {
            float e = scale[j] * q[i][j] + min[j] - b->x[i][j];
            error[j] += b->weight[i][j] * (e * e);
        }
    }
    for (int j = 0; j < N_SUB; j++) {
        bool better = error[j] < f->best[j];
        f->best[j] = better ? error[j] : f->best[j];
        f->scale[j] = better ? scale[j] : f->scale[j];
        f->min[j] = better ? min[j] : f->min[j];
    }
}

/* Errors of the sub-blocks with this scale and min, every weight rounded to the nearest q. */
static void k4_errors(const struct k4_weights *b, const float scale[N_SUB], const float min[N_SUB],
                      float error[N_SUB], float weighted[N_SUB]) {
    float inverse[N_SUB], sum[N_SUB] = {0}, sum_w[N_SUB] = {0};
    for (int j = 0; j < N_SUB; j++) inverse[j] = scale[j] != 0 ? 1 / scale[j] : 0;
    for (int i = 0; i < SUB; i++) {
        for (int j = 0; j < N_SUB; j++) {
            float q = round_clamped((b->x[i][j] + min[j]) * inverse[j], 0, b->n_max);
            float e = scale[j] * q - min[j] - b->x[i][j];
            sum[j] += e * e;
            sum_w[j] += b->weight[i][j] * (e * e);
        }
    }
    memcpy(error, sum, sizeof sum);
    memcpy(weighted, sum_w, sizeof sum_w);
}

/* y takes what is x's wherever the score is below the best. */
static inline void keep_better(int n, const float *score, const float *best, const float *x,
                               float *y) {
    for (int j = 0; j < n; j++) y[j] = score[j] < best[j] ? x[j] : y[j];
}

/* Adds up the errors of the block's sub-blocks, of which sc and m are replaced by those of their
 * neighbours up to `reach` away that have the least score. */
static void k4_search(const struct k4_weights *b, struct k4_block *block, int reach) {
    float d = fp16_to_fp32(block->d), dmin = fp16_to_fp32(block->dmin);
    float best[N_SUB], best_sc[N_SUB] = {0}, best_m[N_SUB] = {0};
    float best_error[N_SUB] = {0}, best_weighted[N_SUB] = {0};
    for (int j = 0; j < N_SUB; j++) best[j] = INFINITY;
    const int side = 2 * reach + 1;
    for (int k = 0; k < side * side; k++) {
        const int d_sc = k / side - reach, d_m = k % side - reach;
        float sc[N_SUB], m[N_SUB], scale[N_SUB], min[N_SUB], error[N_SUB], weighted[N_SUB];
        float score[N_SUB];
        for (int j = 0; j < N_SUB; j++) {
            sc[j] = block->sc[j] + (float)d_sc;
            m[j] = block->m[j] + (float)d_m;
            sc[j] = smaller(larger(sc[j], 0), 63);
            m[j] = smaller(larger(m[j], 0), 63);
            scale[j] = d * sc[j];
            min[j] = dmin * m[j];
        }
        k4_errors(b, scale, min, error, weighted);
        for (int j = 0; j < N_SUB; j++) score[j] = weighted[j] + b->rms[j] * error[j];
        keep_better(N_SUB, score, best, sc, best_sc);
        keep_better(N_SUB, score, best, m, best_m);
        keep_better(N_SUB, score, best, error, best_error);
        keep_better(N_SUB, score, best, weighted, best_weighted);
        keep_better(N_SUB, score, best, score, best);
    }
    block->error = block->weighted = block->score = 0;
    for (int j = 0; j < N_SUB; j++) {
        block->sc[j] = best_sc[j];
        block->m[j] = best_m[j];
        block->error += best_error[j];
        block->weighted += best_weighted[j];
        block->score += best[j];
    }
}

/* sc and m nearest to the fits, in steps of 1 / inverse. */
static void k4_round(const struct k4_fit *f, float inverse, float inverse_min, struct k4_block *y) {
    for (int j = 0; j < N_SUB; j++) {
        y->sc[j] = round_clamped(inverse * f->scale[j], 0, 63);
        y->m[j] = round_clamped(inverse_min * -f->min[j], 0, 63);
    }
}

/* Takes the trial if it has less of both errors. */
static void k4_take(struct k4_block *best, const struct k4_block *ggml,
                    const struct k4_block *trial) {
    bool no_worse = trial->error <= ggml->error && trial->weighted <= ggml->weighted;
    if (no_worse && trial->score < best->score) *best = *trial;
}

/* Other steps for sc and m: the largest of either becomes 63, 62, ... Which d and dmin are best
 * depends on how all eight round, and on a lattice of weights on how near a half comes to it. The
 * neighbours are searched for the best pair alone. */
static void k4_improve(const struct k4_weights *b, const struct k4_fit *f, float max_scale,
                       float max_min, struct k4_block *best) {
    enum { N_D = 8, N_DMIN = 4 };
    struct k4_block ggml = *best, pair = *best;
    for (int i = 0; i < N_D * N_DMIN; i++) {
        const int less = i / N_DMIN, less_min = i % N_DMIN;
        struct k4_block trial = {.d = scale_half(max_scale / (float)(63 - less)),
                                 .dmin = scale_half(max_min / (float)(63 - less_min))};
        k4_round(f, inverse_or_zero(fp16_to_fp32(trial.d)),
                 inverse_or_zero(fp16_to_fp32(trial.dmin)), &trial);
        k4_search(b, &trial, 0);
        k4_take(best, &ggml, &trial);
        if (trial.score < pair.score) pair = trial;
    }
    k4_search(b, &pair, 1);
    k4_take(best, &ggml, &pair);
}

/* What Q4_K and Q5_K share. ggml tries so many steps in the range of a sub-block: n_max + first,
 * and n_trials more, each `step` further. */
static void k4_choose(const struct k4_weights *b, float first, float step, int n_trials,
                      struct k4_block *best) {
    struct k4_fit f;
    k4_fit_begin(b, &f);
    for (int t = 0; t <= n_trials; t++) k4_fit_trial(b, &f, first + step * (float)t + b->n_max);
    float max_scale = 0, max_min = 0;
    for (int j = 0; j < N_SUB; j++) {
        if (!(f.hi[j] > f.lo[j])) { // all the same, and not above 0
            f.scale[j] = 0;
            f.min[j] = f.lo[j];
        }
        max_scale = larger(f.scale[j], max_scale);
        max_min = larger(-f.min[j], max_min);
    }
    best->d = finite_half(max_scale / 63);
    best->dmin = finite_half(max_min / 63);
    k4_round(&f, max_scale > 0 ? 63 / max_scale : 0, max_min > 0 ? 63 / max_min : 0, best);
    k4_search(b, best, 0); // the errors of ggml's block
    k4_improve(b, &f, max_scale, max_min, best);
}

static void set_scale_min_k4(int j, uint8_t scales[12], int sc, int m) {
    if (j < 4) {
        scales[j] = (uint8_t)sc;
        scales[j + 4] = (uint8_t)m;
    } else {
        scales[j + 4] = (uint8_t)((sc & 15) | (m & 15) << 4);
        scales[j - 4] |= (uint8_t)(sc >> 4 << 6);
        scales[j] |= (uint8_t)(m >> 4 << 6);
    }
}

/* The block's scales as stored, and the q that go with them. */
static void k4_write(const struct k4_weights *b, const struct k4_block *block, uint8_t scales[12],
                     uint8_t q[QK_K]) {
    float d = fp16_to_fp32(block->d), dmin = fp16_to_fp32(block->dmin);
    for (int j = 0; j < N_SUB; j++) {
        float scale = d * block->sc[j], min = dmin * block->m[j], inverse = inverse_or_zero(scale);
        for (int i = 0; i < SUB; i++) {
            q[SUB * j + i] = (uint8_t)(int)round_clamped((b->x[i][j] + min) * inverse, 0, b->n_max);
        }
        set_scale_min_k4(j, scales, (int)block->sc[j], (int)block->m[j]);
    }
}

static void quantize_block_q4_K(const float *weights, block_q4_K *y) {
    struct k4_weights b = {.n_max = 15};
    struct k4_block block;
    float x[QK_K];
    uint8_t q[QK_K];
    clamp_weights(GGML_TYPE_Q4_K, weights, x, QK_K);
    k4_read(x, &b);
    k4_choose(&b, -1, 0.1f, 20, &block);
    k4_write(&b, &block, y->scales, q);
    y->d = block.d;
    y->dmin = block.dmin;
    for (int i = 0; i < QK_K / 2; i++) {
        const uint8_t *pair = q + 64 * (i / 32) + i % 32;
        y->qs[i] = (uint8_t)(pair[0] | pair[32] << 4);
    }
}

static void quantize_block_q5_K(const float *weights, block_q5_K *y) {
    struct k4_weights b = {.n_max = 31};
    struct k4_block block;
    float x[QK_K];
    uint8_t q[QK_K];
    clamp_weights(GGML_TYPE_Q5_K, weights, x, QK_K);
    k4_read(x, &b);
    k4_choose(&b, -0.5f, 0.1f, 15, &block);
    k4_write(&b, &block, y->scales, q);
    y->d = block.d;
    y->dmin = block.dmin;
    for (int i = 0; i < QK_K / 2; i++) {
        const uint8_t *pair = q + 64 * (i / 32) + i % 32;
        y->qs[i] = (uint8_t)((pair[0] & 15) | (pair[32] & 15) << 4);
    }
    memset(y->qh, 0, sizeof y->qh);
    for (int i = 0; i < QK_K; i++) y->qh[i % 32] |= (uint8_t)(q[i] >> 4 << i / 32);
}

/* ---- Q6_K ------------------------------------------------------------------------------------ */

/* 256 weights in 16 sub-blocks: w ~ scale * q, scale = d * sc, with q in -32..31, sc in -128..127.
 * Weight i of sub-block j is x[i][j], in units of the power of two below the largest: ggml counts
 * an error as often as the weight's square says, and products of such sums overflow. */
enum { N_SUB6 = 16, SUB6 = 16 };

struct k6_weights {
    float x[SUB6][N_SUB6];
    float weight[SUB6][N_SUB6];
    float mean[N_SUB6]; // of the weights' squares
    float unit;
};

struct k6_block {
    ggml_half d;
    float sc[N_SUB6]; // integers
    float error, weighted, score;
};

static void k6_read(const float x[QK_K], float furthest, struct k6_weights *b) {
    b->unit = float_from_bits(float_bits(furthest) & 0x7f800000);
    float inverse = 1 / b->unit;
    memset(b->mean, 0, sizeof b->mean);
    for (int i = 0; i < SUB6; i++) {
        for (int j = 0; j < N_SUB6; j++) {
            b->x[i][j] = x[SUB6 * j + i] * inverse;
            b->weight[i][j] = b->x[i][j] * b->x[i][j];
            b->mean[j] += b->weight[i][j] / SUB6;
        }
    }
}

/* ggml's search: trial t has 32 + steps[t] steps from 0 to the weight furthest from it, which goes
 * to the negative end, where there is one step more: the scale may be negative. */
static void k6_fit(const struct k6_weights *b, float scale[N_SUB6]) {
    static const float steps[19] = {0,     -0.9f, -0.8f, -0.7f, -0.6f, -0.5f, -0.4f,
                                    -0.3f, -0.2f, -0.1f, 0.1f,  0.2f,  0.3f,  0.4f,
                                    0.5f,  0.6f,  0.7f,  0.8f,  0.9f};
    float furthest[N_SUB6] = {0}, best[N_SUB6] = {0};
    for (int i = 0; i < SUB6; i++) {
        for (int j = 0; j < N_SUB6; j++) {
            bool further = fabsf(b->x[i][j]) > fabsf(furthest[j]);
            furthest[j] = further ? b->x[i][j] : furthest[j];
        }
    }
    for (int t = 0; t < 19; t++) {
        float inverse[N_SUB6], sum_qx[N_SUB6] = {0}, sum_qq[N_SUB6] = {0};
        for (int j = 0; j < N_SUB6; j++) inverse[j] = -(32 + steps[t]) / furthest[j];
        for (int i = 0; i < SUB6; i++) {
            for (int j = 0; j < N_SUB6; j++) {
                float q = round_clamped(inverse[j] * b->x[i][j], -32, 31);
                sum_qx[j] += b->weight[i][j] * b->x[i][j] * q;
                sum_qq[j] += b->weight[i][j] * q * q;
            }
        }
        for (int j = 0; j < N_SUB6; j++) {
            bool better = t == 0 || sum_qx[j] * sum_qx[j] > best[j] * sum_qq[j];
            float fitted = sum_qq[j] > 0 ? sum_qx[j] / sum_qq[j] : 0;
            better = better && (t == 0 || sum_qq[j] > 0);
            scale[j] = better ? fitted : scale[j];
            best[j] = better ? fitted * sum_qx[j] : best[j];
        }
    }
    for (int j = 0; j < N_SUB6; j++) scale[j] = furthest[j] != 0 ? scale[j] : 0;
}

static void k6_errors(const struct k6_weights *b, const float scale[N_SUB6], float error[N_SUB6],
                      float weighted[N_SUB6]) {
    float inverse[N_SUB6], sum[N_SUB6] = {0}, sum_w[N_SUB6] = {0};
    for (int j = 0; j < N_SUB6; j++) inverse[j] = scale[j] != 0 ? 1 / scale[j] : 0;
    for (int i = 0; i < SUB6; i++) {
        for (int j = 0; j < N_SUB6; j++) {
            float q = round_clamped(b->x[i][j] * inverse[j], -32, 31);
            float e = scale[j] * q - b->x[i][j];
            sum[j] += e * e;
            sum_w[j] += b->weight[i][j] * (e * e);
        }
    }
    memcpy(error, sum, sizeof sum);
    memcpy(weighted, sum_w, sizeof sum_w);
}

/* As k4_search. */
static void k6_search(const struct k6_weights *b, struct k6_block *block, int reach) {
    float d = fp16_to_fp32(block->d) / b->unit;
    float best[N_SUB6], best_sc[N_SUB6] = {0};
    float best_error[N_SUB6] = {0}, best_weighted[N_SUB6] = {0};
    for (int j = 0; j < N_SUB6; j++) best[j] = INFINITY;
    for (int k = -reach; k <= reach; k++) {
        float sc[N_SUB6], scale[N_SUB6], error[N_SUB6], weighted[N_SUB6], score[N_SUB6];
        for (int j = 0; j < N_SUB6; j++) {
            sc[j] = smaller(larger(block->sc[j] + (float)k, -128), 127);
            scale[j] = d * sc[j];
        }
        k6_errors(b, scale, error, weighted);
        for (int j = 0; j < N_SUB6; j++) score[j] = weighted[j] + b->mean[j] * error[j];
        keep_better(N_SUB6, score, best, sc, best_sc);
        keep_better(N_SUB6, score, best, error, best_error);
        keep_better(N_SUB6, score, best, weighted, best_weighted);
        keep_better(N_SUB6, score, best, score, best);
    }
    block->error = block->weighted = block->score = 0;
    for (int j = 0; j < N_SUB6; j++) {
        block->sc[j] = best_sc[j];
        block->error += best_error[j];
        block->weighted += best_weighted[j];
        block->score += best[j];
    }
}

static void k6_take(struct k6_block *best, const struct k6_block *ggml,
                    const struct k6_block *trial) {
    bool no_worse = trial->error <= ggml->error && trial->weighted <= ggml->weighted;
    if (no_worse && trial->score < best->score) *best = *trial;
}

/* As k4_improve: the scale furthest from 0 becomes -128, -127, ... */
static void k6_improve(const struct k6_weights *b, const float scale[N_SUB6], float furthest,
                       struct k6_block *best) {
    struct k6_block ggml = *best, step = *best;
    for (int i = 0; i < 16; i++) {
        struct k6_block trial = {.d = scale_half(furthest * b->unit / (float)(i - 128))};
        float inverse = inverse_or_zero(fp16_to_fp32(trial.d) / b->unit);
        for (int j = 0; j < N_SUB6; j++) trial.sc[j] = round_clamped(inverse * scale[j], -128, 127);
        k6_search(b, &trial, 0);
        k6_take(best, &ggml, &trial);
        if (trial.score < step.score) step = trial;
    }
    k6_search(b, &step, 1);
    k6_take(best, &ggml, &step);
}

static void k6_choose(const struct k6_weights *b, struct k6_block *best) {
    float scale[N_SUB6], furthest = 0;
    k6_fit(b, scale);
    for (int j = 0; j < N_SUB6; j++) {
        furthest = fabsf(scale[j]) > fabsf(furthest) ? scale[j] : furthest;
    }
    float inverse = -128 / furthest;
    best->d = finite_half(b->unit / inverse);
    for (int j = 0; j < N_SUB6; j++) best->sc[j] = round_clamped(inverse * scale[j], -128, 127);
    k6_search(b, best, 0); // the errors of ggml's block
    k6_improve(b, scale, furthest, best);
}

static void quantize_block_q6_K(const float *weights, block_q6_K *y) {
    float x[QK_K], furthest;
    uint8_t q[QK_K];
    clamp_weights(GGML_TYPE_Q6_K, weights, x, QK_K);
    furthest = furthest_from_zero(x, QK_K);
    if (fabsf(furthest) < 1e-15f) { // as in ggml: nothing that a half could scale
        memset(y, 0, sizeof *y);
        return;
    }
    struct k6_weights b;
    struct k6_block block;
    k6_read(x, furthest, &b);
    k6_choose(&b, &block);
    float d = fp16_to_fp32(block.d);
    y->d = block.d;
    for (int j = 0; j < N_SUB6; j++) {
        float inverse = inverse_or_zero(d * block.sc[j]);
        y->scales[j] = (int8_t)block.sc[j];
        for (int i = SUB6 * j; i < SUB6 * (j + 1); i++) {
            q[i] = (uint8_t)(int)(round_clamped(x[i] * inverse, -32, 31) + 32);
        }
    }
    for (int i = 0; i < QK_K / 2; i++) {
        const uint8_t *pair = q + 128 * (i / 64) + i % 64;
        y->ql[i] = (uint8_t)((pair[0] & 15) | (pair[64] & 15) << 4);
    }
    for (int i = 0; i < QK_K / 4; i++) {
        const uint8_t *four = q + 128 * (i / 32) + i % 32;
        y->qh[i] =
            (uint8_t)(four[0] >> 4 | four[32] >> 4 << 2 | four[64] >> 4 << 4 | four[96] >> 4 << 6);
    }
}

/* ---- by type --------------------------------------------------------------------------------- */

static void quantize_block_f32(const float *x, block_f32 *y) {
    *y = *x;
}

static void quantize_block_f16(const float *x, block_f16 *y) {
    *y = fp32_to_fp16(*x);
}

static void quantize_block_bf16(const float *x, block_bf16 *y) {
    *y = fp32_to_bf16(*x);
}

#define CASE(number, action) \
    case number:             \
        action;              \
        break;

bool quantize_supported(uint32_t type) {
    switch (type) {
#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN(quantize, CASE(number, return true))
#include "types.def"
    default:
        return false;
    }
}

#define QUANTIZE_ROW(name, len) \
    for (block_##name *b = y; k > 0; k -= (len), x += (len)) quantize_block_##name(x, b++)

void quantize_row(uint32_t type, const float *x, void *y, int64_t k) {
    switch (type) {
#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN(quantize, CASE(number, QUANTIZE_ROW(name, len)))
#include "types.def"
    default:
        assert(quantize_supported(type));
    }
}
