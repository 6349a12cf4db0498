/* AVX-512, one token: a gemv for each type of blocks, with 16 rows of the matrix in a register
 * (rows.h).
 */
#if defined(__x86_64__)
#define SIMD_AVX512_ROWS
#include "avx512_rows.h"
#include "decode.h"

SIMD_BEGIN

/* What of a block is read ahead: `bytes` (0, 4, 8) at `at`, d first, but for a half at the block's
 * end, which is the upper one there, as no byte behind the block may be read. */
struct header {
    int at, bytes;
};
INLINE struct header header_of(uint32_t type) {
    switch (type) {
    case GGML_TYPE_Q2_K:
        return (struct header){(int)offsetof(block_q2_K, d), 4};
    case GGML_TYPE_Q3_K:
        return (struct header){(int)offsetof(block_q3_K, d) - 2, 4};
    case GGML_TYPE_Q6_K:
        return (struct header){(int)offsetof(block_q6_K, d) - 2, 4};
    case GGML_TYPE_Q4_K:
    case GGML_TYPE_Q5_K: // they load it together with their scales
        return (struct header){0, 0};
    case GGML_TYPE_Q5_0:
    case GGML_TYPE_Q5_1:
    case GGML_TYPE_IQ4_XS:
        return (struct header){0, 8};
    default:
        return (struct header){0, 4};
    }
}

struct shape {
    uint32_t type;
    int len, bytes; // of a block
};

/* SIMD_ROWS rows from p on. Headers are read two blocks ahead: see simd_copy. */
INLINE vf dot_rows(const uint8_t *p, size_t stride, int64_t n_blocks, const float *x,
                   struct shape t, bool subnormal, begin_fn *begin, unit_fn *unit) {
    uint32_t headers[4][2 * SIMD_ROWS] __attribute__((aligned(64)));
    const struct header h = header_of(t.type);
    struct sink s = {.x = x,
                     .subnormal = subnormal,
                     .fetch_bytes = t.bytes * SIMD_ROWS * LANE_GROUP / t.len,
                     .fetch = (uintptr_t)p + SIMD_ROWS * stride};
    struct block b = {.p = p, .stride = stride, .up = UP(&s), .down = DOWN(&s)};
    _Pragma("GCC unroll 8") for (int k = 0; k < CHAINS; k++) s.acc[k] = _mm512_setzero_ps();
    for (int64_t i = 0; i < 2 && h.bytes; i++) {
        simd_copy(headers[i], p + (i < n_blocks ? i * t.bytes : 0) + h.at, stride, h.bytes);
    }
    for (int64_t i = 0; i < n_blocks; i++) {
        if (h.bytes) {
            int64_t ahead = i + 2 < n_blocks ? 2 * t.bytes : 0;
            b.header[0] = _mm512_load_si512(headers[i % 4]);
            if (h.bytes == 8) b.header[1] = _mm512_load_si512(headers[i % 4] + 16);
            simd_copy(headers[(i + 2) % 4], b.p + ahead + h.at, stride, h.bytes);
        }
        begin(&b);
        if (t.len == LANE_GROUP) {
            unit(&b, 0, &s);
        } else {
            for (int u = 0; u < t.len / 64; u += 2) {
                unit(&b, u, &s);
                unit(&b, u + 1, &s);
            }
        }
        b.p += t.bytes;
        s.x += t.len;
    }
    vf even = _mm512_add_ps(_mm512_add_ps(s.acc[0], s.acc[4]), _mm512_add_ps(s.acc[2], s.acc[6]));
    vf odd = _mm512_add_ps(_mm512_add_ps(s.acc[1], s.acc[5]), _mm512_add_ps(s.acc[3], s.acc[7]));
    return _mm512_add_ps(even, odd);
}

INLINE void gemv_rows(const struct matrix *w, int64_t row, int n_rows, const float *x, float *y,
                      struct shape t, bool subnormal, begin_fn *begin, unit_fn *unit) {
    if (w->n_rows < SIMD_ROWS) {
        isa_avx512.gemv_any(w, row, n_rows, x, y);
        return;
    }
    const float *scaled = subnormal ? x + w->n_cols : x;
    for (int r = 0; r < n_rows; r += SIMD_ROWS) {
        float sums[SIMD_ROWS];
        int64_t first = row + r;
        if (first > w->n_rows - SIMD_ROWS) first = w->n_rows - SIMD_ROWS;
        int skip = (int)(row + r - first);
        vf v = dot_rows(w->data + (size_t)first * w->row_bytes, w->row_bytes, w->n_cols / t.len,
                        scaled, t, subnormal, begin, unit);
        _mm512_storeu_ps(sums, v);
        unsigned again = _mm512_fpclass_ps_mask(v, 0x9f); // NaN, zero, infinite
        for (int i = 0; i + skip < SIMD_ROWS && r + i < n_rows; i++) {
            y[r + i] = sums[i + skip];
            if (again >> (i + skip) & 1) isa_avx512.gemv_any(w, row + r + i, 1, x, y + r + i);
        }
    }
}

/* Values from a table are signed and come as floats; the scale of MXFP4 times DOWN could be too
 * small for one. */
INLINE bool by_table(uint32_t type) {
    return type == GGML_TYPE_MXFP4 || type == GGML_TYPE_IQ4_NL || type == GGML_TYPE_IQ4_XS;
}

#define DEFINE_GEMV(kind, name, shape, subnormal)                                            \
    void kind##_rows_##name(const struct matrix *w, int64_t row, int n_rows, const float *x, \
                            float *y) {                                                      \
        gemv_rows(w, row, n_rows, x, y, shape, subnormal, name##_begin, name##_unit);        \
    }
#define SHAPE(type, len, bytes) ((struct shape){type, len, bytes})

#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize)                     \
    WHEN(kernels,                                                                               \
         IF_BLOCKS_##len(DEFINE_GEMV(gemv, name, SHAPE(number, len, bytes), false) DEFINE_GEMV( \
             subnormal, name, SHAPE(number, len, bytes), !by_table(number))))
#include "../types.def"

SIMD_END
#else
typedef int translation_unit_must_not_be_empty;
#endif
