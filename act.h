/* Products with activations as integers of 16 or 8 bits, the setting --act: the definition, in
 * portable C. It is a second contract beside the one of matmul_q.h: other bits than float32
 * products, but again the same ones for any number of threads, tokens that share a batch, and
 * instruction sets. A kernel is right when its floats equal act_dot's bit for bit (a NaN equals any
 * NaN).
 *
 * Activations become integers X, a part of 256 columns at a time (act_quantize). A block of weights
 * is w_i = d * scale_j * q_i + m * min_j, j the sub-block of column i, with q signed where the type
 * has an offset. Then
 *     S = sum_j scale_j * sum_i q_i X_i      M = sum_j min_j * sum_i X_i
 * are exact integers: how they are made and in which order is free. F(S) is S rounded once to
 * float32, to nearest even. Nothing else is rounded but what act_dot rounds, one chain a row.
 *
 * The largest sums, with all quants, scales, mins and X at their ends:
 *             |q|   scale   columns   |S| 16 bits       |S| 8 bits     |M| 16 bits    |M| 8 bits
 *     Q2_K      3     15      256         376,001,280      1,463,040     125,333,760      487,680
 *     Q3_K      4     32      256       1,069,514,752      4,161,536
 *     Q4_K     15     63      256       7,896,026,880     30,723,840     526,401,792    2,048,256
 *     Q5_K     31     63      256      16,318,455,552     63,495,936     526,401,792    2,048,256
 *     Q6_K     32    128      256      34,224,472,064    133,169,152
 *     Q4_0      8      1       32           8,355,584         32,512
 *     Q4_1     15      1       32          15,666,720         60,960       1,044,448        4,064
 *     Q5_0     16      1       32          16,711,168         65,024
 *     Q5_1     31      1       32          32,377,888        125,984       1,044,448        4,064
 *     Q8_0    128      1       32         133,689,344        520,192
 *     MXFP4    12      1       32          12,533,376         48,768
 *     IQ4_NL  127      1       32         132,644,896        516,128
 *     IQ4_XS  127     32      256      33,957,093,376    132,128,768
 * So S fits 36 bits with its sign; with 8 bits, and but for Q4_K, Q5_K, Q6_K and IQ4_XS with 16
 * bits too, S and M fit int32. F rounds from 2^24 = 16,777,216 on. */
#ifndef ACT_H
#define ACT_H

#include <math.h>

#include "quant.h"

#define ACT_PART 256 // columns that share a scale; a multiple of every block length

/* X goes from -act_limit to act_limit: what 8 bits hold, or two bytes of which each holds -128 to
 * 127 (127 * 256 + 127). */
static inline int act_limit(int bits) {
    return bits == 16 ? 32639 : 127;
}

/* True for types whose weights are integers times scales; the others' products are float32
 * whatever --act says. */
bool act_supported(uint32_t type);

/* The scale of a part whose largest |x| this is: 0 where it is too small to be inverted. */
static inline float act_scale(float largest, int bits) {
    float s = largest / (float)act_limit(bits);
    return float_bits(1 / s) >= 0x7f800000 ? 0 : s;
}

/* n <= ACT_PART activations: X[i] is x[i] / scale to the nearest integer, ties to even, scale the
 * largest |x| divided by act_limit(bits). Where the scale is too small to be inverted all X and the
 * scale are 0; where some x is infinite or NaN all X are 0 and the scale is NaN. */
static inline void act_quantize(const float *x, int n, int bits, int16_t *X, float *scale) {
    const float limit = (float)act_limit(bits);
    uint32_t largest = 0; // as bits, which are in the order of the numbers
    for (int i = 0; i < n; i++) {
        uint32_t magnitude = float_bits(x[i]) & 0x7fffffff;
        largest = magnitude > largest ? magnitude : largest;
    }
    bool finite = largest < 0x7f800000;
    float s = act_scale(float_from_bits(finite ? largest : 0), bits), inverse = s > 0 ? 1 / s : 0;
    for (int i = 0; i < n; i++) {
        float v = rintf((finite ? x[i] : 0) * inverse);
        v = v > limit ? limit : v;
        X[i] = (int16_t)(v < -limit ? -limit : v);
    }
    *scale = finite ? s : float_from_bits(0x7fc00000);
}

/* One row of n_cols weights of a supported type times n_cols activations X, with the scale of each
 * part in s. */
float act_dot(uint32_t type, const uint8_t *row, int64_t n_cols, const int16_t *X, const float *s);

/* A block of weights: weight i is d * scale[i / sub] * q[i] + m * min[i / sub]. */
struct integers {
    int sub; // columns of a sub-block
    float d, m;
    bool mins; // without them m and min count for nothing
    int8_t q[QK_K], scale[QK_K / 16], min[QK_K / 16];
};

/* The blocks of n columns, ACT_PART at most, to o, room for ACT_PART / QK. Returns how many. */
int act_unpack(struct integers *o, uint32_t type, const uint8_t *blocks, int64_t n);

/* act_dot, a part: sum + those blocks times X, times s. */
float act_add_part(float sum, const struct integers *blocks, int n_blocks, int block_len,
                   const int16_t *X, float s);

/* The same row times n_cols activations as they are, in double, and how far act_dot with `bits` may
 * be from it: half a scale for each activation (the part's largest where the scale is 0), times its
 * weight, and the roundings of act_dot. Infinite or NaN where some x or weight is. */
struct act_bound {
    double product, bound;
    double terms; // the sizes of what act_dot adds up: what its roundings are in proportion to
};
/* Of n_tokens tokens, at x + t * x_stride, to bounds[t]. */
void act_bounds(struct act_bound *bounds, uint32_t type, const uint8_t *row, int64_t n_cols,
                const float *x, size_t x_stride, int n_tokens, int bits);

#endif
