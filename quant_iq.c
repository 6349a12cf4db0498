/* Blocks that hold numbers of groups of weights, which stand in a table (the IQ2 and IQ3 types).
 *
 * Like quant.c: i counts the weights of a block from 0, j = i / 32 its sub-blocks, [a..b] are bits,
 * of a byte or of several, the first the lowest; each line is proved for every i by the function of
 * test/test_quant.c named after it. A group is 8 weights g = i / 8 (IQ2) or 4 weights g = i / 4
 * (IQ3); |w| is scale * grid[n], weight i % 8 or i % 4 of it; where a bit of the signs is set, w is
 * negative. Where signs are 7 bits of 8 weights, the eighth makes the number of ones even.
 *
 *   IQ2_XXS  scale = d * (1/2 + sc) / 4                                  layout_iq2_xxs
 *     n = qs[8j + g % 4], signs u[7s..7s+6], s = g % 4, sc = u[28..31], where u = qs[8j+4 .. 8j+7]
 *   IQ2_XS   scale = d * (1/2 + sc) / 4                                  layout_iq2_xs
 *     n = u[0..8], signs u[9..15], where u = qs[2g .. 2g+1]
 *     sc = scales[j][4h..4h+3], h = i / 16 % 2
 *   IQ2_S    scale and sc as in IQ2_XS                                   layout_iq2_s
 *     n: low bits qs[g], high bits qh[j][2s..2s+1], s = g % 4; signs signs[g]
 *   IQ3_XXS  scale = d * (1/2 + sc) / 2                                  layout_iq3_xxs
 *     n = qs[g], signs u[7s..7s+6], s = i / 8 % 4, sc = u[28..31], where u = signs[4j .. 4j+3]
 *   IQ3_S    scale = d * (1 + 2 sc)                                      layout_iq3_s
 *     n: low bits qs[g], high bit qh[j][g % 8]; signs signs[i / 8], sc = scales[j / 2][4h..4h+3],
 *     h = j % 2
 *
 * The products are exact: 11 bits of d, 5 of the factor beside it, 6 of the grid. */
#include "quant.h"
#include "quant_grids.h"

/* Eight weights are worked on in the bytes of a word, the first in the lowest. */
#define EACH(byte) ((byte)*UINT64_C(0x0101010101010101))

/* 8 digits of 2 bits, or 4 of 3, one a byte: the upper half moves away, of both halves the upper
 * half, and so on. */
static inline uint64_t spread_8(uint64_t x) {
    x = (x | x << 24) & UINT64_C(0x000000ff000000ff);
    x = (x | x << 12) & UINT64_C(0x000f000f000f000f);
    return (x | x << 6) & EACH(3);
}
static inline uint64_t spread_4(uint64_t x) {
    x = (x | x << 10) & 0x003f003f;
    return (x | x << 5) & 0x07070707;
}

/* 8, 25, 43 for 0, 1, 2 */
static inline uint64_t iq2_values(uint32_t digits) {
    uint64_t q = spread_8(digits);
    return EACH(8) + 17 * q + (q >> 1 & EACH(1));
}

/* 4, 12, 20, 28, 36, 44, 52, 62 for 0 to 7, of two groups */
static inline uint64_t iq3_xxs_values(uint32_t first, uint32_t second) {
    uint64_t q = spread_4(first) | spread_4(second) << 32;
    return EACH(4) + 8 * q + 2 * ((q + EACH(1)) >> 3 & EACH(1));
}

/* 1, 3 ... 15 */
static inline uint64_t iq3_s_values(uint32_t first, uint32_t second) {
    return EACH(1) + 2 * (spread_4(first) | spread_4(second) << 32);
}

/* Those whose bit is set are negative: -v is ~v + 1, and no value is 0, so that nothing is carried
 * into the next byte. */
static inline void scale_8(float *y, uint64_t values, uint32_t signs, float scale) {
    uint64_t bits = EACH((uint64_t)signs) & UINT64_C(0x8040201008040201);
    uint64_t ones = (bits + EACH(0x7f)) >> 7 & EACH(1); // in the bytes that are not 0
    values = (values ^ ones * 255) + ones;
    int8_t v[8];
    memcpy(v, &values, sizeof v);
    for (int l = 0; l < 8; l++) y[l] = scale * (float)v[l];
}

static uint32_t load_u32(const uint8_t b[4]) {
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* The eighth sign of seven. */
static uint32_t signs_8(uint32_t signs) {
    uint32_t ones = signs ^ signs >> 4;
    ones ^= ones >> 2;
    ones ^= ones >> 1;
    return signs | (ones & 1) << 7;
}

void dequantize_row_iq2_xxs(const block_iq2_xxs *x, float *y, int64_t k) {
    for (; k > 0; k -= QK_K, x++) {
        float d = fp16_to_fp32(x->d);
        for (int j = 0; j < QK_K / 32; j++) {
            const uint8_t *qs = x->qs + 8 * j;
            uint32_t u = load_u32(qs + 4);
            float scale = d * (0.5f + (float)(u >> 28)) * 0.25f;
            for (int s = 0; s < 4; s++, y += 8) {
                scale_8(y, iq2_values(iq2_xxs_grid[qs[s]]), signs_8(u >> 7 * s & 127), scale);
            }
        }
    }
}

/* Of group g: two groups share a scale. */
static float scale_iq2(float d, const uint8_t *scales, int g) {
    return d * (0.5f + (float)(scales[g / 4] >> 4 * (g / 2 % 2) & 15)) * 0.25f;
}

void dequantize_row_iq2_xs(const block_iq2_xs *x, float *y, int64_t k) {
    for (; k > 0; k -= QK_K, x++) {
        float d = fp16_to_fp32(x->d);
        for (int g = 0; g < QK_K / 8; g++, y += 8) {
            uint32_t u = (uint32_t)x->qs[2 * g] | (uint32_t)x->qs[2 * g + 1] << 8;
            scale_8(y, iq2_values(iq2_xs_grid[u & 511]), signs_8(u >> 9),
                    scale_iq2(d, x->scales, g));
        }
    }
}

void dequantize_row_iq2_s(const block_iq2_s *x, float *y, int64_t k) {
    for (; k > 0; k -= QK_K, x++) {
        float d = fp16_to_fp32(x->d);
        for (int g = 0; g < QK_K / 8; g++, y += 8) {
            uint32_t high = x->qh[g / 4] >> 2 * (g % 4) & 3;
            scale_8(y, iq2_values(iq2_s_grid[x->qs[g] | high << 8]), x->signs[g],
                    scale_iq2(d, x->scales, g));
        }
    }
}

void dequantize_row_iq3_xxs(const block_iq3_xxs *x, float *y, int64_t k) {
    for (; k > 0; k -= QK_K, x++) {
        float d = fp16_to_fp32(x->d);
        for (int j = 0; j < QK_K / 32; j++) {
            const uint8_t *qs = x->qs + 8 * j;
            uint32_t u = load_u32(x->signs + 4 * j);
            float scale = d * (0.5f + (float)(u >> 28)) * 0.5f;
            for (int s = 0; s < 4; s++, y += 8) {
                uint64_t w = iq3_xxs_values(iq3_xxs_grid[qs[2 * s]], iq3_xxs_grid[qs[2 * s + 1]]);
                scale_8(y, w, signs_8(u >> 7 * s & 127), scale);
            }
        }
    }
}

void dequantize_row_iq3_s(const block_iq3_s *x, float *y, int64_t k) {
    for (; k > 0; k -= QK_K, x++) {
        float d = fp16_to_fp32(x->d);
        for (int g = 0; g < QK_K / 4; g += 2, y += 8) {
            int high = x->qh[g / 8] >> g % 8, sc = x->scales[g / 16] >> 4 * (g / 8 % 2) & 15;
            uint64_t w = iq3_s_values(iq3_s_grid[x->qs[g] | (high & 1) << 8],
                                      iq3_s_grid[x->qs[g + 1] | (high & 2) << 7]);
            scale_8(y, w, x->signs[g / 2], d * (float)(1 + 2 * sc));
        }
    }
}
