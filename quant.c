#include "quant.h"

#include <assert.h>
#include <math.h>

static_assert(sizeof(block_q4_0) == 2 + 16, "Q4_0: 4.5 bits per weight");
static_assert(sizeof(block_q4_1) == 2 + 2 + 16, "Q4_1: 5 bits per weight");
static_assert(sizeof(block_q5_0) == 2 + 4 + 16, "Q5_0: 5.5 bits per weight");
static_assert(sizeof(block_q5_1) == 2 + 2 + 4 + 16, "Q5_1: 6 bits per weight");
static_assert(sizeof(block_q8_0) == 2 + 32, "Q8_0: 8.5 bits per weight");
static_assert(sizeof(block_q2_K) == 16 + 64 + 2 + 2, "Q2_K: 2.625 bits per weight");
static_assert(sizeof(block_q3_K) == 32 + 64 + 12 + 2, "Q3_K: 3.4375 bits per weight");
static_assert(sizeof(block_q4_K) == 2 + 2 + 12 + 128, "Q4_K: 4.5 bits per weight");
static_assert(sizeof(block_q5_K) == 2 + 2 + 12 + 32 + 128, "Q5_K: 5.5 bits per weight");
static_assert(sizeof(block_q6_K) == 128 + 64 + 16 + 2, "Q6_K: 6.5625 bits per weight");

/* ---------------------------------------------------------------------------------------------
 * Dequantize. In the layouts i counts the weights of a block from 0, [a..b] are bits of a byte;
 * each line is proved for every i by the function of test/test_quant.c named after it.
 * ------------------------------------------------------------------------------------------- */

/* Older formats: 32 weights, one scale d (and one offset m).
 *
 *   Q4_0  w = d * (q - 8)     q = qs[i % 16][4h..4h+3], h = i / 16       layout_q4_0
 *   Q4_1  w = d * q + m       q as in Q4_0                               layout_q4_1
 *   Q5_0  w = d * (q - 16)    q as in Q4_0, + 16 * bit i of qh           layout_q5_0
 *   Q5_1  w = d * q + m       q as in Q5_0                               layout_q5_1
 *   Q8_0  w = d * qs[i]                                                  layout_q8_0
 *
 * qh is 32 bits, little-endian: bit i is qh[i / 8][i % 8]. */
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

static void dequantize_row_f16(const ggml_half *x, float *y, int64_t k) {
    for (int64_t i = 0; i < k; i++) y[i] = fp16_to_fp32(x[i]);
}

static void dequantize_row_bf16(const uint16_t *x, float *y, int64_t k) {
    for (int64_t i = 0; i < k; i++) y[i] = bf16_to_fp32(x[i]);
}

static void dequantize_row_f32(const float *x, float *y, int64_t k) {
    for (int64_t i = 0; i < k; i++) y[i] = x[i];
}

/* False if the type is not one of ours; with k = 0 that is all it tells. */
static bool dequantize_by_type(uint32_t type, const void *x, float *y, int64_t k) {
    switch (type) {
    case GGML_TYPE_F32:
        dequantize_row_f32(x, y, k);
        return true;
    case GGML_TYPE_F16:
        dequantize_row_f16(x, y, k);
        return true;
    case GGML_TYPE_BF16:
        dequantize_row_bf16(x, y, k);
        return true;
    case GGML_TYPE_Q4_0:
        dequantize_row_q4_0(x, y, k);
        return true;
    case GGML_TYPE_Q4_1:
        dequantize_row_q4_1(x, y, k);
        return true;
    case GGML_TYPE_Q5_0:
        dequantize_row_q5_0(x, y, k);
        return true;
    case GGML_TYPE_Q5_1:
        dequantize_row_q5_1(x, y, k);
        return true;
    case GGML_TYPE_Q8_0:
        dequantize_row_q8_0(x, y, k);
        return true;
    case GGML_TYPE_Q2_K:
        dequantize_row_q2_K(x, y, k);
        return true;
    case GGML_TYPE_Q3_K:
        dequantize_row_q3_K(x, y, k);
        return true;
    case GGML_TYPE_Q4_K:
        dequantize_row_q4_K(x, y, k);
        return true;
    case GGML_TYPE_Q5_K:
        dequantize_row_q5_K(x, y, k);
        return true;
    case GGML_TYPE_Q6_K:
        dequantize_row_q6_K(x, y, k);
        return true;
    default:
        return false;
    }
}

bool dequantize_supported(uint32_t type) {
    return dequantize_by_type(type, NULL, NULL, 0);
}

void dequantize_row(uint32_t type, const void *x, float *y, int64_t k) {
    bool supported = dequantize_by_type(type, x, y, k);
    assert(supported);
    (void)supported;
}
