/* Quantized rows: the block formats of ggml (ggml-common.h there), and what each weight stands for.
 * The dequantize_row functions are the specification: every kernel must produce exactly their
 * float32 values before it multiplies. */
#ifndef QUANT_H
#define QUANT_H

#include <stdint.h>

#include "gguf.h"

#define QK_K 256 // weights in a block of a K-quant
#define QK 32    // weights in a block of the older formats

typedef uint16_t ggml_half; // IEEE binary16, as bits

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

/* Halves are rounded to nearest even; NaN stays NaN. */
float fp16_to_fp32(ggml_half h);
ggml_half fp32_to_fp16(float f);
float bf16_to_fp32(uint16_t h);
uint16_t fp32_to_bf16(float f);

/* Unpacks the 6-bit scale and min of sub-block j (0..7) of a Q4_K or Q5_K block. */
void get_scale_min_k4(int j, const uint8_t scales[12], uint8_t *sc, uint8_t *m);

/* k weights, a multiple of the block length, from the blocks at x to y. */
void dequantize_row_q4_0(const block_q4_0 *x, float *y, int64_t k);
void dequantize_row_q4_1(const block_q4_1 *x, float *y, int64_t k);
void dequantize_row_q5_0(const block_q5_0 *x, float *y, int64_t k);
void dequantize_row_q5_1(const block_q5_1 *x, float *y, int64_t k);
void dequantize_row_q8_0(const block_q8_0 *x, float *y, int64_t k);
void dequantize_row_q2_K(const block_q2_K *x, float *y, int64_t k);
void dequantize_row_q3_K(const block_q3_K *x, float *y, int64_t k);
void dequantize_row_q4_K(const block_q4_K *x, float *y, int64_t k);
void dequantize_row_q5_K(const block_q5_K *x, float *y, int64_t k);
void dequantize_row_q6_K(const block_q6_K *x, float *y, int64_t k);

/* The same by type, for any pointer (blocks in a file need not be aligned): the one place where
 * types are told apart. False if this engine does not compute with the type. */
bool dequantize_supported(uint32_t type);
void dequantize_row(uint32_t type, const void *x, float *y, int64_t k);

/* Quantizes k weights; true for F32, F16, BF16, Q8_0, Q5_1, Q4_K, Q5_K, Q6_K. The scale search
 * minimises the squared error weighted as ggml's reference quantizers do. */
bool quantize_supported(uint32_t type);
void quantize_row(uint32_t type, const float *x, void *y, int64_t k);

#endif
