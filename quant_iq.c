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

/* What the digits of the grids stand for: three values of 2 bits, eight of 3. */
static const int8_t iq2_values[4] = {8, 25, 43, 0};
static const int8_t iq3_xxs_values[8] = {4, 12, 20, 28, 36, 44, 52, 62};
static const int8_t iq3_s_values[8] = {1, 3, 5, 7, 9, 11, 13, 15};

/* n weights of a group, digits of so many bits. */
static void scale_group(float *y, int n, uint32_t group, int bits, const int8_t *values,
                        uint32_t signs, float scale) {
    for (int l = 0; l < n; l++) {
        int v = values[group >> bits * l & ((1u << bits) - 1)];
        y[l] = scale * (float)(signs >> l & 1 ? -v : v);
    }
}

static void scale_8(float *y, uint32_t group, uint32_t signs, float scale) {
    scale_group(y, 8, group, 2, iq2_values, signs, scale);
}

static void scale_4(float *y, uint32_t group, const int8_t *values, uint32_t signs, float scale) {
    scale_group(y, 4, group, 3, values, signs, scale);
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
                scale_8(y, iq2_xxs_grid[qs[s]], signs_8(u >> 7 * s & 127), scale);
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
            scale_8(y, iq2_xs_grid[u & 511], signs_8(u >> 9), scale_iq2(d, x->scales, g));
        }
    }
}

void dequantize_row_iq2_s(const block_iq2_s *x, float *y, int64_t k) {
    for (; k > 0; k -= QK_K, x++) {
        float d = fp16_to_fp32(x->d);
        for (int g = 0; g < QK_K / 8; g++, y += 8) {
            uint32_t high = x->qh[g / 4] >> 2 * (g % 4) & 3;
            scale_8(y, iq2_s_grid[x->qs[g] | high << 8], x->signs[g], scale_iq2(d, x->scales, g));
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
                uint32_t signs = signs_8(u >> 7 * s & 127);
                scale_4(y, iq3_xxs_grid[qs[2 * s]], iq3_xxs_values, signs, scale);
                scale_4(y + 4, iq3_xxs_grid[qs[2 * s + 1]], iq3_xxs_values, signs >> 4, scale);
            }
        }
    }
}

void dequantize_row_iq3_s(const block_iq3_s *x, float *y, int64_t k) {
    for (; k > 0; k -= QK_K, x++) {
        float d = fp16_to_fp32(x->d);
        for (int g = 0; g < QK_K / 4; g++, y += 4) {
            uint32_t high = x->qh[g / 8] >> g % 8 & 1, signs = x->signs[g / 2] >> 4 * (g % 2);
            int sc = x->scales[g / 16] >> 4 * (g / 8 % 2) & 15;
            scale_4(y, iq3_s_grid[x->qs[g] | high << 8], iq3_s_values, signs,
                    d * (float)(1 + 2 * sc));
        }
    }
}
