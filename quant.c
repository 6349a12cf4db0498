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
