/* Quantized rows: the block formats of ggml (ggml-common.h there), and what each weight stands for.
 * The dequantize_row functions are the specification: every kernel must produce exactly their
 * float32 values before it multiplies. */
#ifndef QUANT_H
#define QUANT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "floats.h"
#include "gguf.h"

#define QK_K 256 // weights in a block of a K-quant
#define QK 32    // weights in a block of the older formats

typedef uint16_t ggml_half; // IEEE binary16, as bits

typedef float block_f32;
typedef ggml_half block_f16;
typedef uint16_t block_bf16; // the upper half of a float32

typedef struct {
    ggml_half d;
    uint8_t qs[QK / 2];
} block_q4_0;

typedef struct {
    ggml_half d, m;
    uint8_t qs[QK / 2];
} block_q4_1;

typedef struct {
    ggml_half d;
    uint8_t qh[4];
    uint8_t qs[QK / 2];
} block_q5_0;

typedef struct {
    ggml_half d, m;
    uint8_t qh[4];
    uint8_t qs[QK / 2];
} block_q5_1;

typedef struct {
    ggml_half d;
    int8_t qs[QK];
} block_q8_0;

typedef struct {
    uint8_t e; // the scale's exponent
    uint8_t qs[QK / 2];
} block_mxfp4;

typedef struct {
    uint8_t d[4]; // a scale for each 16 weights
    uint8_t qs[32];
} block_nvfp4;

typedef struct {
    ggml_half d;
    uint8_t qs[QK / 2];
} block_iq4_nl;

typedef struct {
    uint8_t scales[QK_K / 16]; // low nibble: scale, high nibble: min
    uint8_t qs[QK_K / 4];
    ggml_half d, dmin;
} block_q2_K;

typedef struct {
    uint8_t hmask[QK_K / 8];
    uint8_t qs[QK_K / 4];
    uint8_t scales[12];
    ggml_half d;
} block_q3_K;

typedef struct {
    ggml_half d, dmin;
    uint8_t scales[12];
    uint8_t qs[QK_K / 2];
} block_q4_K;

typedef struct {
    ggml_half d, dmin;
    uint8_t scales[12];
    uint8_t qh[QK_K / 8];
    uint8_t qs[QK_K / 2];
} block_q5_K;

typedef struct {
    uint8_t ql[QK_K / 2];
    uint8_t qh[QK_K / 4];
    int8_t scales[QK_K / 16];
    ggml_half d;
} block_q6_K;

typedef struct {
    ggml_half d;
    uint8_t scales_h[2], scales_l[4];
    uint8_t qs[QK_K / 2];
} block_iq4_xs;

typedef struct {
    ggml_half d;
    uint8_t qs[QK_K / 4]; // for each 32 weights: 4 bytes of numbers, 4 of signs and scale
} block_iq2_xxs;

typedef struct {
    ggml_half d;
    uint8_t qs[QK_K / 4]; // for each 8 weights 16 bits: a number and signs
    uint8_t scales[QK_K / 32];
} block_iq2_xs;

typedef struct {
    ggml_half d;
    uint8_t qs[QK_K / 8], signs[QK_K / 8];
    uint8_t qh[QK_K / 32], scales[QK_K / 32];
} block_iq2_s;

typedef struct {
    ggml_half d;
    uint8_t qs[QK_K / 4];
    uint8_t signs[QK_K / 8]; // and scales
} block_iq3_xxs;

typedef struct {
    ggml_half d;
    uint8_t qs[QK_K / 4], qh[QK_K / 32];
    uint8_t signs[QK_K / 8];
    uint8_t scales[QK_K / 64];
} block_iq3_s;

/* Exact. Masks instead of branches, so that loops over it vectorize; a subnormal half (the scale
 * of a small K-quant block often is one) never meets a subnormal float, which is slow on some
 * processors. NaN keeps its payload. */
static inline float fp16_to_fp32(ggml_half h) {
    uint32_t magnitude = h & 0x7fffu;
    uint32_t is_special = 0u - (magnitude >= 0x7c00), is_subnormal = 0u - (magnitude < 0x400);
    uint32_t normal = (magnitude << 13) + (112u << 23) + (is_special & 112u << 23); // 15 -> 127
    float subnormal = float_from_bits(126u << 23 | magnitude) - 0.5f; // 0.5 has an ulp of 2^-24
    uint32_t bits = (normal & ~is_subnormal) | (float_bits(subnormal) & is_subnormal);
    return float_from_bits(bits | (h & 0x8000u) << 16);
}

/* Rounds to nearest even; from 65520 on it is infinity, NaN stays NaN (quiet). */
static inline ggml_half fp32_to_fp16(float f) {
    uint32_t bits = float_bits(f), magnitude = bits & 0x7fffffff;
    uint32_t normal = (magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
    uint32_t subnormal = float_bits(float_from_bits(magnitude) + 0.5f) - (126u << 23);
    uint32_t nan = 0x7e00 | (magnitude >> 13 & 0x3ff);
    uint32_t half = magnitude < 113u << 23 ? subnormal : normal;
    half = magnitude >= 0x477ff000 ? 0x7c00 : half;
    half = magnitude > 0x7f800000 ? nan : half;
    return (ggml_half)(half | bits >> 31 << 15);
}

/* bfloat16 is the upper half of a float32; rounding as above. */
static inline float bf16_to_fp32(uint16_t h) {
    return float_from_bits((uint32_t)h << 16);
}

/* The scale of an MXFP4 block, 2^(e - 127), halved, because mxfp4_values are doubled to be
 * integers. Exact; subnormal for e below 2. */
static inline float e8m0_half_to_fp32(uint8_t e) {
    return float_from_bits(e < 2 ? 1u << (21 + e) : (e - 1u) << 23);
}
/* Twice what 4 bits stand for: a sign, two bits of exponent, one of mantissa, in this order. */
extern const int8_t mxfp4_values[16];

/* What 4 bits of IQ4_NL and IQ4_XS stand for. */
extern const int8_t iq4_values[16];

/* The scale of 16 weights of NVFP4, halved for the same reason: 4 bits of exponent with a bias of
 * 7, 3 of mantissa; the sign is passed over. NaN, 0x7f, counts as 0 (but 0xff as 480), as in ggml.
 */
static inline float ue4m3_half_to_fp32(uint8_t e) {
    uint32_t exponent = e >> 3 & 15, mantissa = e & 7;
    if (e == 0x7f) return 0;
    if (exponent == 0) return (float)mantissa * 0x1p-10f;
    return float_from_bits((exponent + 119) << 23 | mantissa << 20);
}

static inline uint16_t fp32_to_bf16(float f) {
    uint32_t bits = float_bits(f);
    uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
    bool nan = (bits & 0x7fffffff) > 0x7f800000;
    return (uint16_t)(nan ? bits >> 16 | 0x40 : rounded >> 16);
}

/* Unpacks the 6-bit scale and min of sub-block j (0..7) of a Q4_K or Q5_K block. */
void get_scale_min_k4(int j, const uint8_t scales[12], uint8_t *sc, uint8_t *m);

/* k weights, a multiple of the block length, from the blocks at x to y:
 * dequantize_row_q5_K(const block_q5_K *x, float *y, int64_t k) and so on. */
#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN(dequantize, void dequantize_row_##name(const block_##name *x, float *y, int64_t k);)
#include "types.def"

/* The same by type, which must be one that the engine computes with. x is aligned as its block
 * struct is: to 4 bytes for F32, to 1 for MXFP4, to 2 for the others. Every row of a file is, as
 * gguf.c refuses a general.alignment below 8. */
bool dequantize_supported(uint32_t type);
void dequantize_row(uint32_t type, const void *x, float *y, int64_t k);

/* Quantizes k weights, a multiple of the block length, to a type for which quantize_supported. The
 * bytes depend on the input alone, not on the platform. No block has a larger squared error than
 * the one that ggml's reference quantizer writes, nor a larger error in the weights by which that
 * one counts it. What is outside the limits counts as the limit, NaN as 0: who must not
 * change weights in silence looks first. */
bool quantize_supported(uint32_t type);
void quantize_row(uint32_t type, const float *x, void *y, int64_t k);

/* The range of weights that blocks of the type can hold, whatever else is in the block: scales are
 * halves, and so at most 65504. All finite numbers for a type that is not written in blocks. */
void quantize_limits(uint32_t type, float *lowest, float *highest);

#endif
