#include "quant.h"

#include <assert.h>
#include <math.h>

#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN(dequantize, static_assert(sizeof(block_##name) == (bytes),         \
                                   #NAME ": block_" #name " has the size of types.def");)
#include "types.def"

/* ---- dequantize ------------------------------------------------------------------------------ */

/* In the layouts i counts the weights of a block from 0, [a..b] are bits of a byte; each line is
 * proved for every i by the function of test/test_quant.c named after it. */

/* Older formats: 32 weights, one scale d (and one offset m).
 *
 *   Q4_0  w = d * (q - 8)     q = qs[i % 16][4h..4h+3], h = i / 16       layout_q4_0
 *   Q4_1  w = d * q + m       q as in Q4_0                               layout_q4_1
 *   Q5_0  w = d * (q - 16)    q as in Q4_0, + 16 * bit i of qh           layout_q5_0
 *   Q5_1  w = d * q + m       q as in Q5_0                               layout_q5_1
 *   Q8_0  w = d * qs[i]                                                  layout_q8_0
 *   IQ4_NL w = d * v[q]                    q as in Q4_0, v iq4_values    layout_iq4_nl
 *   MXFP4 w = 2^(e - 128) * v[q]           q as in Q4_0, v mxfp4_values  layout_mxfp4
 *   NVFP4 w = half the scale d[j] * v[q]   64 weights, j = i / 16        layout_nvfp4
 *         q = qs[8 * j + i % 8][4h..4h+3], h = i / 8 % 2
 *
 * qh is 32 bits, little-endian: bit i is qh[i / 8][i % 8]. MXFP4: OCP Microscaling formats 1.0. */
void dequantize_row_q4_0(const block_q4_0 *x, float *y, int64_t k) {
    for (; k > 0; k -= QK, x++, y += QK) {
        float d = fp16_to_fp32(x->d);
        for (int j = 0; j < QK / 2; j++) {
            y[j] = d * (float)((x->qs[j] & 15) - 8);
            y[j + QK / 2] = d * (float)((x->qs[j] >> 4) - 8);
        }
    }
}

void dequantize_row_q4_1(const block_q4_1 *x, float *y, int64_t k) {
    for (; k > 0; k -= QK, x++, y += QK) {
        float d = fp16_to_fp32(x->d), m = fp16_to_fp32(x->m);
        for (int j = 0; j < QK / 2; j++) {
            y[j] = d * (float)(x->qs[j] & 15) + m;
            y[j + QK / 2] = d * (float)(x->qs[j] >> 4) + m;
        }
    }
}

static uint32_t load_u32(const uint8_t b[4]) {
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

void dequantize_row_q5_0(const block_q5_0 *x, float *y, int64_t k) {
    for (; k > 0; k -= QK, x++, y += QK) {
        float d = fp16_to_fp32(x->d);
        uint32_t qh = load_u32(x->qh);
        for (int j = 0; j < QK / 2; j++) {
            int lo = (x->qs[j] & 15) | (int)(qh >> j & 1) << 4;
            int hi = (x->qs[j] >> 4) | (int)(qh >> (j + QK / 2) & 1) << 4;
            y[j] = d * (float)(lo - 16);
            y[j + QK / 2] = d * (float)(hi - 16);
        }
    }
}

void dequantize_row_q5_1(const block_q5_1 *x, float *y, int64_t k) {
    for (; k > 0; k -= QK, x++, y += QK) {
        float d = fp16_to_fp32(x->d), m = fp16_to_fp32(x->m);
        uint32_t qh = load_u32(x->qh);
        for (int j = 0; j < QK / 2; j++) {
            int lo = (x->qs[j] & 15) | (int)(qh >> j & 1) << 4;
            int hi = (x->qs[j] >> 4) | (int)(qh >> (j + QK / 2) & 1) << 4;
            y[j] = d * (float)lo + m;
            y[j + QK / 2] = d * (float)hi + m;
        }
    }
}

void dequantize_row_q8_0(const block_q8_0 *x, float *y, int64_t k) {
    for (; k > 0; k -= QK, x++, y += QK) {
        float d = fp16_to_fp32(x->d);
        for (int j = 0; j < QK; j++) y[j] = d * (float)x->qs[j];
    }
}

const int8_t mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void dequantize_row_mxfp4(const block_mxfp4 *x, float *y, int64_t k) {
    for (; k > 0; k -= QK, x++, y += QK) {
        float d = e8m0_half_to_fp32(x->e);
        for (int j = 0; j < QK / 2; j++) {
            y[j] = d * (float)mxfp4_values[x->qs[j] & 15];
            y[j + QK / 2] = d * (float)mxfp4_values[x->qs[j] >> 4];
        }
    }
}

void dequantize_row_nvfp4(const block_nvfp4 *x, float *y, int64_t k) {
    for (; k > 0; k -= 64, x++) {
        for (int j = 0; j < 4; j++, y += 16) {
            float d = ue4m3_half_to_fp32(x->d[j]);
            for (int l = 0; l < 8; l++) {
                y[l] = d * (float)mxfp4_values[x->qs[8 * j + l] & 15];
                y[l + 8] = d * (float)mxfp4_values[x->qs[8 * j + l] >> 4];
            }
        }
    }
}

const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                               1,    13,   25,  38,  53,  69,  89,  113};

/* 32 weights, two in a byte. */
static void scale_iq4(float *y, const uint8_t *qs, float scale) {
    for (int j = 0; j < QK / 2; j++) {
        y[j] = scale * (float)iq4_values[qs[j] & 15];
        y[j + QK / 2] = scale * (float)iq4_values[qs[j] >> 4];
    }
}

void dequantize_row_iq4_nl(const block_iq4_nl *x, float *y, int64_t k) {
    for (; k > 0; k -= QK, x++, y += QK) scale_iq4(y, x->qs, fp16_to_fp32(x->d));
}

/* IQ4_XS: 256 weights in 8 sub-blocks j = i / 32.
 *
 *   w = (d * (sc - 32)) * v[q]   v iq4_values                            layout_iq4_xs
 *   q = qs[16 * j + i % 16][4h..4h+3], h = i / 16 % 2
 *   sc: low bits scales_l[j / 2][4s..4s+3], s = j % 2, high bits scales_h[j / 4][2t..2t+1],
 *       t = j % 4 */
void dequantize_row_iq4_xs(const block_iq4_xs *x, float *y, int64_t k) {
    for (; k > 0; k -= QK_K, x++) {
        float d = fp16_to_fp32(x->d);
        for (int j = 0; j < QK_K / 32; j++, y += 32) {
            int low = x->scales_l[j / 2] >> 4 * (j % 2) & 15;
            int high = x->scales_h[j / 4] >> 2 * (j % 4) & 3;
            scale_iq4(y, x->qs + 16 * j, d * (float)((low | high << 4) - 32));
        }
    }
}

/* Q2_K and Q3_K: 256 weights in 16 sub-blocks j = i / 16. Two bits of each weight:
 *
 *   q2 = qs[32 * (i / 128) + i % 32][2s..2s+1], s = i / 32 % 4
 *
 *   Q2_K  w = (d * sc) * q2 - dmin * m      sc = scales[j][0..3], m = scales[j][4..7]
 *                                                                        layout_q2_K
 *   Q3_K  w = (d * (sc - 32)) * (q2 - 4 + 4 * hmask[i % 32][i / 32])     layout_q3_K
 *         sc: low bits scales[j % 8][0..3] for j < 8, [4..7] from 8 on,
 *             high bits scales[8 + j % 4][2t..2t+1], t = j / 4           */
void dequantize_row_q2_K(const block_q2_K *x, float *y, int64_t k) {
    for (; k > 0; k -= QK_K, x++) {
        float d = fp16_to_fp32(x->d), dmin = fp16_to_fp32(x->dmin);
        for (int j = 0; j < QK_K / 16; j++, y += 16) {
            const uint8_t *qs = x->qs + 32 * (j / 8) + 16 * (j % 2);
            int shift = 2 * (j / 2 % 4);
            float scale = d * (float)(x->scales[j] & 15);
            float min = dmin * (float)(x->scales[j] >> 4);
            for (int l = 0; l < 16; l++) y[l] = scale * (float)(qs[l] >> shift & 3) - min;
        }
    }
}

static int scale_q3_K(int j, const uint8_t scales[12]) {
    int low = scales[j % 8] >> 4 * (j / 8) & 15;
    int high = scales[8 + j % 4] >> 2 * (j / 4) & 3;
    return (low | high << 4) - 32;
}

static void scale_16(float *y, const int8_t *q, float scale) {
    for (int l = 0; l < 16; l++) y[l] = scale * (float)q[l];
}

void dequantize_row_q3_K(const block_q3_K *x, float *y, int64_t k) {
    for (; k > 0; k -= QK_K, x++) {
        float d = fp16_to_fp32(x->d);
        for (int g = 0; g < QK_K / 32; g++, y += 32) {
            const uint8_t *qs = x->qs + 32 * (g / 4);
            int shift = 2 * (g % 4);
            int8_t q[32];
            for (int l = 0; l < 32; l++) {
                q[l] = (int8_t)((qs[l] >> shift & 3) + (x->hmask[l] >> g & 1) * 4 - 4);
            }
            scale_16(y, q, d * (float)scale_q3_K(2 * g, x->scales));
            scale_16(y + 16, q + 16, d * (float)scale_q3_K(2 * g + 1, x->scales));
        }
    }
}

/* Q4_K and Q5_K: 256 weights in 8 sub-blocks j = i / 32, each with a 6-bit scale and min.
 *
 *   w = (d * sc) * q - dmin * m
 *   Q4_K  q = qs[32 * (j / 2) + i % 32][4h..4h+3], h = j % 2             layout_q4_K
 *   Q5_K  q as in Q4_K, + 16 * qh[i % 32][j]                             layout_q5_K
 *
 *   j < 4   sc = scales[j][0..5]                        m = scales[j + 4][0..5]
 *   j >= 4  sc = scales[j + 4][0..3], scales[j - 4][6..7] as bits 4 and 5
 *           m  = scales[j + 4][4..7], scales[j][6..7]     as bits 4 and 5
 *                                                                        layout_scales_k4 */
void get_scale_min_k4(int j, const uint8_t scales[12], uint8_t *sc, uint8_t *m) {
    if (j < 4) {
        *sc = scales[j] & 63;
        *m = scales[j + 4] & 63;
    } else {
        *sc = (uint8_t)((scales[j + 4] & 15) | scales[j - 4] >> 6 << 4);
        *m = (uint8_t)(scales[j + 4] >> 4 | scales[j] >> 6 << 4);
    }
}

void dequantize_row_q4_K(const block_q4_K *x, float *y, int64_t k) {
    for (; k > 0; k -= QK_K, x++) {
        float d = fp16_to_fp32(x->d), dmin = fp16_to_fp32(x->dmin);
        for (int j = 0; j < QK_K / 32; j++, y += 32) {
            uint8_t sc, m;
            get_scale_min_k4(j, x->scales, &sc, &m);
            const uint8_t *qs = x->qs + 32 * (j / 2);
            int shift = 4 * (j % 2);
            float scale = d * (float)sc, min = dmin * (float)m;
            for (int l = 0; l < 32; l++) y[l] = scale * (float)(qs[l] >> shift & 15) - min;
        }
    }
}

void dequantize_row_q5_K(const block_q5_K *x, float *y, int64_t k) {
    for (; k > 0; k -= QK_K, x++) {
        float d = fp16_to_fp32(x->d), dmin = fp16_to_fp32(x->dmin);
        for (int j = 0; j < QK_K / 32; j++, y += 32) {
            uint8_t sc, m;
            get_scale_min_k4(j, x->scales, &sc, &m);
            const uint8_t *qs = x->qs + 32 * (j / 2);
            int shift = 4 * (j % 2);
            float scale = d * (float)sc, min = dmin * (float)m;
            for (int l = 0; l < 32; l++) {
                int q = (qs[l] >> shift & 15) | (x->qh[l] >> j & 1) << 4;
                y[l] = scale * (float)q - min;
            }
        }
    }
}

/* Q6_K: 256 weights in 16 sub-blocks j = i / 16, each with a signed 8-bit scale.
 *
 *   w = (d * scales[j]) * (q - 32)
 *   q: low bits  ql[64 * (i / 128) + i % 64][4h..4h+3], h = i / 64 % 2
 *      high bits qh[32 * (i / 128) + i % 32][2s..2s+1], s = i / 32 % 4   layout_q6_K */
void dequantize_row_q6_K(const block_q6_K *x, float *y, int64_t k) {
    for (; k > 0; k -= QK_K, x++) {
        float d = fp16_to_fp32(x->d);
        for (int g = 0; g < QK_K / 32; g++, y += 32) {
            const uint8_t *ql = x->ql + 64 * (g / 4) + 32 * (g % 2);
            const uint8_t *qh = x->qh + 32 * (g / 4);
            int low = 4 * (g / 2 % 2), high = 2 * (g % 4);
            int8_t q[32];
            for (int l = 0; l < 32; l++) {
                q[l] = (int8_t)(((ql[l] >> low & 15) | (qh[l] >> high & 3) << 4) - 32);
            }
            scale_16(y, q, d * (float)x->scales[2 * g]);
            scale_16(y + 16, q + 16, d * (float)x->scales[2 * g + 1]);
        }
    }
}

void dequantize_row_f16(const block_f16 *x, float *y, int64_t k) {
    for (int64_t i = 0; i < k; i++) y[i] = fp16_to_fp32(x[i]);
}

void dequantize_row_bf16(const block_bf16 *x, float *y, int64_t k) {
    for (int64_t i = 0; i < k; i++) y[i] = bf16_to_fp32(x[i]);
}

void dequantize_row_f32(const block_f32 *x, float *y, int64_t k) {
    for (int64_t i = 0; i < k; i++) y[i] = x[i];
}

/* One type's part of a switch. */
#define CASE(number, action) \
    case number:             \
        action;              \
        break;

bool dequantize_supported(uint32_t type) {
    switch (type) {
#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN(dequantize, CASE(number, return true))
#include "types.def"
    default:
        return false;
    }
}

void dequantize_row(uint32_t type, const void *x, float *y, int64_t k) {
    switch (type) {
#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN(dequantize, CASE(number, dequantize_row_##name(x, y, k)))
#include "types.def"
    default:
        assert(dequantize_supported(type));
    }
}

/* ---- quantize -------------------------------------------------------------------------------- */

/* Only +, -, *, / and sqrtf, each rounded once and in a fixed order: the same bytes on every
 * platform. */

/* To the nearest integer of lo..hi, halves away from zero; NaN becomes lo. */
static inline int round_clamped(float v, float lo, float hi) {
    v = v > lo ? v : lo;
    v = v < hi ? v : hi;
    int whole = (int)v;
    float rest = v - (float)whole;
    return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

/* What a block can hold: NaN becomes 0 and everything else the nearest finite half, so that every
 * scale and offset derived below is finite and no sum of squares overflows. */
static void make_storable(const float *x, float *y, int n) {
    for (int i = 0; i < n; i++) {
        float v = x[i] == x[i] ? x[i] : 0;
        v = v > -65504 ? v : -65504;
        y[i] = v < 65504 ? v : 65504;
    }
}

static float inverse_or_zero(float d) {
    return d != 0 ? 1 / d : 0;
}

static void quantize_block_q8_0(const float *weights, block_q8_0 *y) {
    float x[QK];
    make_storable(weights, x, QK);
    float max = 0;
    for (int i = 0; i < QK; i++) max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
    float d = max / 127, inverse = inverse_or_zero(d);
    y->d = fp32_to_fp16(d);
    for (int i = 0; i < QK; i++) y->qs[i] = (int8_t)round_clamped(x[i] * inverse, -127, 127);
}

static void range(const float *x, int n, float *min, float *max) {
    *min = *max = x[0];
    for (int i = 1; i < n; i++) {
        *min = x[i] < *min ? x[i] : *min;
        *max = x[i] > *max ? x[i] : *max;
    }
}

static void quantize_block_q5_1(const float *weights, block_q5_1 *y) {
    float x[QK];
    make_storable(weights, x, QK);
    float min, max;
    range(x, QK, &min, &max);
    float d = (max - min) / 31, inverse = inverse_or_zero(d);
    y->d = fp32_to_fp16(d);
    y->m = fp32_to_fp16(min);
    memset(y->qh, 0, sizeof y->qh);
    for (int j = 0; j < QK / 2; j++) {
        int lo = round_clamped((x[j] - min) * inverse, 0, 31);
        int hi = round_clamped((x[j + QK / 2] - min) * inverse, 0, 31);
        y->qs[j] = (uint8_t)((lo & 15) | (hi & 15) << 4);
        y->qh[j / 8] |= (uint8_t)(lo >> 4 << j % 8);
        y->qh[j / 8 + 2] |= (uint8_t)(hi >> 4 << j % 8);
    }
}

/* The K-quants try several step widths for a sub-block: round with each, correct the scale (and
 * offset) for those integers by weighted least squares, keep the trial with the least weighted
 * error. All sums are of the rest r that rounding left, in steps, so nothing large cancels. The
 * inner loop runs over the trials: that vectorizes, and fixes the order of every sum. */
enum { N_TRIALS = 16 };

struct trials {
    float inverse[N_TRIALS];                                                  // steps per unit of x
    float q[N_TRIALS], qq[N_TRIALS], r[N_TRIALS], rq[N_TRIALS], rr[N_TRIALS]; // weighted sums
};

/* q = (x - base) * inverse rounded to lo..hi; inverse is set, the sums are made. */
static void try_steps(struct trials *s, const float *x, const float *weight, int n, float base,
                      float lo, float hi) {
    struct trials sum = {.q = {0}};
    memcpy(sum.inverse, s->inverse, sizeof sum.inverse);
    for (int i = 0; i < n; i++) {
        for (int t = 0; t < N_TRIALS; t++) {
            float v = (x[i] - base) * sum.inverse[t];
            float q = (float)round_clamped(v, lo, hi), r = v - q;
            sum.q[t] += weight[i] * q;
            sum.qq[t] += weight[i] * q * q;
            sum.r[t] += weight[i] * r;
            sum.rq[t] += weight[i] * r * q;
            sum.rr[t] += weight[i] * r * r;
        }
    }
    *s = sum;
}

/* How much an error of each weight of a Q4_K or Q5_K sub-block counts: |x[i]| plus the root mean
 * square, as in ggml. */
static void weights_k4(const float x[32], float weight[32]) {
    float sum_x2 = 0;
    for (int i = 0; i < 32; i++) sum_x2 += x[i] * x[i];
    for (int i = 0; i < 32; i++) weight[i] = sqrtf(sum_x2 / 32) + fabsf(x[i]);
}

/* Fits x[i] ~ scale * q[i] - min with q[i] in 0..nmax and min >= 0. Trial t has
 * nmax + first + t * step steps in the range. */
static float fit_affine(const float x[32], const float weight[32], float nmax, float first,
                        float step, float *min) {
    float lo, hi, sum_w = 0;
    range(x, 32, &lo, &hi);
    if (lo > 0) lo = 0;
    *min = -lo;
    if (!(hi > lo)) return 0;

    for (int i = 0; i < 32; i++) sum_w += weight[i];
    struct trials s;
    for (int t = 0; t < N_TRIALS; t++) s.inverse[t] = (nmax + first + (float)t * step) / (hi - lo);
    try_steps(&s, x, weight, 32, lo, 0, nmax);

    /* (x - lo) * inverse ~ (1 + a) * q + b, that is r ~ a * q + b. */
    float best = INFINITY, scale = (hi - lo) / nmax;
    for (int t = 0; t < N_TRIALS; t++) {
        float det = sum_w * s.qq[t] - s.q[t] * s.q[t];
        if (!(det > 0)) continue;
        float a = (sum_w * s.rq[t] - s.q[t] * s.r[t]) / det;
        float b = (s.qq[t] * s.r[t] - s.q[t] * s.rq[t]) / det, b_max = -lo * s.inverse[t];
        if (b > b_max) { // the min would be negative, which the format cannot say
            b = b_max;
            a = (s.rq[t] - b * s.q[t]) / s.qq[t];
        }
        float error = s.rr[t] - 2 * (a * s.rq[t] + b * s.r[t]) + a * a * s.qq[t] +
                      2 * a * b * s.q[t] + b * b * sum_w;
        error /= s.inverse[t] * s.inverse[t];
        if (error < best) {
            best = error;
            scale = (1 + a) / s.inverse[t];
            *min = -lo - b / s.inverse[t];
        }
    }
    return scale;
}

/* Fits x[i] ~ scale * q[i] with q[i] in -32..31, weighted by x[i] squared, as in ggml. The weight
 * furthest from 0 goes to -32, where there is one step more: the scale may be negative. */
static float fit_symmetric(const float x[16]) {
    float weight[16], furthest = 0;
    for (int i = 0; i < 16; i++) {
        weight[i] = x[i] * x[i];
        if (fabsf(x[i]) > fabsf(furthest)) furthest = x[i];
    }
    if (furthest == 0) return 0;
    struct trials s;
    for (int t = 0; t < N_TRIALS; t++) s.inverse[t] = -(31.2f + 0.1f * (float)t) / furthest;
    try_steps(&s, x, weight, 16, 0, -32, 31);

    float best = INFINITY, scale = furthest / -32;
    for (int t = 0; t < N_TRIALS; t++) {
        float a = s.rq[t] / s.qq[t];
        float error = (s.rr[t] - a * s.rq[t]) / (s.inverse[t] * s.inverse[t]);
        if (error < best) {
            best = error;
            scale = (1 + a) / s.inverse[t];
        }
    }
    return scale;
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

/* The scale a half can hold that brings `max` to nmax steps. */
static float storable_scale(float max, float nmax, ggml_half *half) {
    *half = fp32_to_fp16(max / nmax);
    return fp16_to_fp32(*half);
}

/* q[i] in 0..nmax nearest to x[i] ~ scale * q[i] - min; returns the weighted error. */
static float round_sub_block(const float x[32], const float weight[32], float nmax, float scale,
                             float min, uint8_t q[32]) {
    float inverse = inverse_or_zero(scale), error = 0;
    for (int i = 0; i < 32; i++) {
        q[i] = (uint8_t)round_clamped((x[i] + min) * inverse, 0, nmax);
        float e = scale * (float)q[i] - min - x[i];
        error += weight[i] * e * e;
    }
    return error;
}

/* The fitted scale and min in 6 bits each. Rounding one shifts what is best for the other, so the
 * neighbours of both are tried (Q5_K: 4 % less error for it). */
static void round_scale_min(const float x[32], const float weight[32], float nmax, float d,
                            float dmin, int *sc, int *m, uint8_t q[32]) {
    int sc0 = *sc, m0 = *m;
    float best = INFINITY;
    for (int i = 0; i < 9; i++) {
        uint8_t trial[32];
        int sc1 = sc0 + i / 3 - 1, m1 = m0 + i % 3 - 1;
        if (sc1 < 0 || sc1 > 63 || m1 < 0 || m1 > 63) continue;
        float error = round_sub_block(x, weight, nmax, d * (float)sc1, dmin * (float)m1, trial);
        if (error < best) {
            best = error;
            *sc = sc1;
            *m = m1;
            memcpy(q, trial, sizeof trial);
        }
    }
}

/* What Q4_K and Q5_K share: d, dmin and scales as stored, and the q[i] that go with them. */
static void quantize_k4(const float x[QK_K], float nmax, float first, float step, ggml_half *d_out,
                        ggml_half *dmin_out, uint8_t scales[12], uint8_t q[QK_K]) {
    float weight[QK_K], scale[8], min[8], max_scale = 0, max_min = 0;
    for (int j = 0; j < 8; j++) {
        weights_k4(x + 32 * j, weight + 32 * j);
        scale[j] = fit_affine(x + 32 * j, weight + 32 * j, nmax, first, step, &min[j]);
        max_scale = scale[j] > max_scale ? scale[j] : max_scale;
        max_min = min[j] > max_min ? min[j] : max_min;
    }
    float d = storable_scale(max_scale, 63, d_out);
    float dmin = storable_scale(max_min, 63, dmin_out);
    for (int j = 0; j < 8; j++) {
        int sc = round_clamped(scale[j] * inverse_or_zero(d), 0, 63);
        int m = round_clamped(min[j] * inverse_or_zero(dmin), 0, 63);
        round_scale_min(x + 32 * j, weight + 32 * j, nmax, d, dmin, &sc, &m, q + 32 * j);
        set_scale_min_k4(j, scales, sc, m);
    }
}

static void quantize_block_q4_K(const float *weights, block_q4_K *y) {
    float x[QK_K];
    make_storable(weights, x, QK_K);
    uint8_t q[QK_K];
    quantize_k4(x, 15, -1, 0.125f, &y->d, &y->dmin, y->scales, q);
    for (int i = 0; i < QK_K / 2; i++) {
        const uint8_t *pair = q + 64 * (i / 32) + i % 32;
        y->qs[i] = (uint8_t)(pair[0] | pair[32] << 4);
    }
}

static void quantize_block_q5_K(const float *weights, block_q5_K *y) {
    float x[QK_K];
    make_storable(weights, x, QK_K);
    uint8_t q[QK_K];
    quantize_k4(x, 31, -0.5f, 0.1f, &y->d, &y->dmin, y->scales, q);
    for (int i = 0; i < QK_K / 2; i++) {
        const uint8_t *pair = q + 64 * (i / 32) + i % 32;
        y->qs[i] = (uint8_t)((pair[0] & 15) | (pair[32] & 15) << 4);
    }
    memset(y->qh, 0, sizeof y->qh);
    for (int i = 0; i < QK_K; i++) y->qh[i % 32] |= (uint8_t)(q[i] >> 4 << i / 32);
}

static void quantize_block_q6_K(const float *weights, block_q6_K *y) {
    float x[QK_K];
    make_storable(weights, x, QK_K);
    float scale[16], furthest = 0;
    for (int j = 0; j < 16; j++) {
        scale[j] = fit_symmetric(x + 16 * j);
        if (fabsf(scale[j]) > fabsf(furthest)) furthest = scale[j];
    }
    float d = storable_scale(furthest, -128, &y->d);
    uint8_t q[QK_K];
    for (int j = 0; j < 16; j++) {
        int sc = round_clamped(scale[j] * inverse_or_zero(d), -128, 127);
        float inverse = inverse_or_zero(d * (float)sc);
        y->scales[j] = (int8_t)sc;
        for (int i = 16 * j; i < 16 * j + 16; i++) {
            q[i] = (uint8_t)(round_clamped(x[i] * inverse, -32, 31) + 32);
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

static void quantize_block_f32(const float *x, block_f32 *y) {
    *y = *x;
}

static void quantize_block_f16(const float *x, block_f16 *y) {
    *y = fp32_to_fp16(*x);
}

static void quantize_block_bf16(const float *x, block_bf16 *y) {
    *y = fp32_to_bf16(*x);
}

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
