/* AVX-512, one to four tokens: a gemv for each type of blocks, with 16 rows of the matrix in a
 * register (rows.h). */
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

/* How many units are written out one after the other. All of a block keep its high bits in
 * registers; with conversions gcc would then compute ahead more than there are registers for; and
 * code for several tokens is long enough as it is. */
INLINE int units_at_once(const struct sink *s, struct shape shape) {
    if (shape.len < 128) return 1;
    if (s->subnormal) return shape.len / 64;
    return s->n_tokens == 1 ? 2 : unit_cycle(shape.type);
}

/* Some chains of SIMD_ROWS rows from p on; the sink says which, and for which tokens. Headers are
 * read two blocks ahead: see simd_copy. */
INLINE void chains_of_rows(struct sink *s, const uint8_t *p, size_t stride, int64_t n_blocks,
                           int half, struct shape shape, begin_fn *begin, unit_fn *unit) {
    uint32_t headers[4][2 * SIMD_ROWS] __attribute__((aligned(64)));
    const struct header h = header_of(shape.type);
    const int at_once = units_at_once(s, shape);
    int n_units = (shape.len + 63) / 64;
    if (at_once < n_units) __asm__("" : "+r"(n_units)); // or compilers would unroll the loop
    struct block b = {.p = p,
                      .stride = stride,
                      .up = UP(s),
                      .down = DOWN(s),
                      .chains = s->chains,
                      .half = s->chains == CHAINS ? 0 : half};
    for (int64_t i = 0; i < 2 && h.bytes; i++) {
        simd_copy(headers[i], p + (i < n_blocks ? i * shape.bytes : 0) + h.at, stride, h.bytes);
    }
    for (int64_t i = 0; i < n_blocks; i++) {
        if (h.bytes) {
            int64_t ahead = i + 2 < n_blocks ? 2 * shape.bytes : 0;
            b.header[0] = _mm512_load_si512(headers[i % 4]);
            if (h.bytes == 8) b.header[1] = _mm512_load_si512(headers[i % 4] + 16);
            simd_copy(headers[(i + 2) % 4], b.p + ahead + h.at, stride, h.bytes);
        }
        begin(&b);
        for (int u = 0; u < n_units; u += at_once) {
            unit(&b, u, s);
            if (at_once >= 2) unit(&b, u + 1, s);
            if (at_once == 4) {
                unit(&b, u + 2, s);
                unit(&b, u + 3, s);
            }
        }
        b.p += shape.bytes;
        for (int t = 0; t < s->n_tokens; t++) s->x[t] += shape.len;
    }
}

/* SIMD_ROWS rows times n_tokens tokens, a constant, of which some may be the same. */
INLINE void dot_rows(vf y[GEMV_TOKENS], const struct matrix *w, int64_t row, const float *const *x,
                     int n_tokens, struct shape shape, bool subnormal, begin_fn *begin,
                     unit_fn *unit) {
    vf acc[GEMV_TOKENS][CHAINS];
    const uint8_t *p = w->data + (size_t)row * w->row_bytes;
    const int chains = n_tokens > 1 ? CHAINS / 2 : CHAINS;
    int end = CHAINS;
    if (chains < CHAINS) __asm__("" : "+r"(end)); // as above
    for (int first = 0; first < end; first += chains) {
        struct sink s = {.n_tokens = n_tokens, .chains = chains, .subnormal = subnormal};
        s.fetch_bytes = shape.bytes * SIMD_ROWS * LANE_GROUP / shape.len;
        s.fetch = (uintptr_t)p + SIMD_ROWS * w->row_bytes;
        EACH_TOKEN(&s) {
            s.x[t] = x[t] + first;
            EACH_CHAIN(&s) s.acc[t][k] = _mm512_setzero_ps();
        }
        chains_of_rows(&s, p, w->row_bytes, w->n_cols / shape.len, first / 4, shape, begin, unit);
        EACH_TOKEN(&s) {
            EACH_CHAIN(&s) acc[t][first + k] = s.acc[t][k];
        }
    }
    _Pragma("GCC unroll 4") for (int t = 0; t < n_tokens; t++) {
        const vf *a = acc[t];
        vf even = _mm512_add_ps(_mm512_add_ps(a[0], a[4]), _mm512_add_ps(a[2], a[6]));
        vf odd = _mm512_add_ps(_mm512_add_ps(a[1], a[5]), _mm512_add_ps(a[3], a[7]));
        y[t] = _mm512_add_ps(even, odd);
    }
}

/* n_tokens of the call, computed as those of a kernel for kernel_tokens. */
INLINE void gemv_rows(const struct matrix *w, int64_t row, int n_rows, const float *x,
                      size_t x_stride, int n_tokens, float *y, size_t y_stride, int kernel_tokens,
                      struct shape shape, bool subnormal, begin_fn *begin, unit_fn *unit) {
    const float *token[GEMV_TOKENS];
    for (int t = 0; t < kernel_tokens; t++) {
        token[t] = x + (size_t)(t < n_tokens ? t : n_tokens - 1) * x_stride;
        if (subnormal) token[t] += w->n_cols;
    }
    for (int r = 0; r < n_rows; r += SIMD_ROWS) {
        vf sums[GEMV_TOKENS];
        int64_t first = row + r;
        if (first > w->n_rows - SIMD_ROWS) first = w->n_rows - SIMD_ROWS;
        int skip = (int)(row + r - first);
        dot_rows(sums, w, first, token, kernel_tokens, shape, subnormal, begin, unit);
        for (int t = 0; t < n_tokens; t++) {
            float sum[SIMD_ROWS], *to = y + (size_t)t * y_stride + r;
            _mm512_storeu_ps(sum, sums[t]);
            unsigned again = _mm512_fpclass_ps_mask(sums[t], 0x9f); // NaN, zero, infinite
            for (int i = 0; i + skip < SIMD_ROWS && r + i < n_rows; i++) {
                to[i] = sum[i + skip];
                if (!(again >> (i + skip) & 1)) continue;
                isa_avx512.gemv_any(w, row + r + i, 1, x + (size_t)t * x_stride, 0, 1, to + i, 0);
            }
        }
    }
}

#define SHAPE(type, len, bytes) ((struct shape){type, len, bytes})
#define CALL(kernel_tokens, subnormal, shape, name)                                                \
    gemv_rows(w, row, n_rows, x, x_stride, n_tokens, y, y_stride, kernel_tokens, shape, subnormal, \
              name##_begin, name##_unit)

/* clang makes megabytes of the kernels for several tokens, in minutes. */
#if defined(__clang__)
#define ONE_BY_ONE true
#else
#define ONE_BY_ONE false
#endif

/* Where the FMAs of several tokens take longer, a conversion costs nothing. */
#define DEFINE_GEMV(name, shape, by_table)                                                      \
    void gemv_rows_##name(const struct matrix *w, int64_t row, int n_rows, const float *x,      \
                          size_t x_stride, int n_tokens, float *y, size_t y_stride) {           \
        if (w->n_rows < SIMD_ROWS) {                                                            \
            isa_avx512.gemv_any(w, row, n_rows, x, x_stride, n_tokens, y, y_stride);            \
        } else if (ONE_BY_ONE || n_tokens == 1) {                                               \
            for (int t = 0; t < n_tokens; t++) {                                                \
                gemv_rows(w, row, n_rows, x + (size_t)t * x_stride, 0, 1,                       \
                          y + (size_t)t * y_stride, 0, 1, shape, false, name##_begin,           \
                          name##_unit);                                                         \
            }                                                                                   \
        } else if (n_tokens == 2) {                                                             \
            CALL(2, false, shape, name);                                                        \
        } else {                                                                                \
            CALL(GEMV_TOKENS, false, shape, name);                                              \
        }                                                                                       \
    }                                                                                           \
    void subnormal_rows_##name(const struct matrix *w, int64_t row, int n_rows, const float *x, \
                               size_t x_stride, int n_tokens, float *y, size_t y_stride) {      \
        if (w->n_rows < SIMD_ROWS || n_tokens > 1 || (by_table)) {                              \
            gemv_rows_##name(w, row, n_rows, x, x_stride, n_tokens, y, y_stride);               \
        } else {                                                                                \
            CALL(1, true, shape, name);                                                         \
        }                                                                                       \
    }

#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN(kernels, IF_BLOCKS_##len(DEFINE_GEMV(name, SHAPE(number, len, bytes), by_table(number))))
#include "../types.def"

SIMD_END
#else
typedef int translation_unit_must_not_be_empty;
#endif
