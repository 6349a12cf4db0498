/* The products of matmul_q.h with a row's columns in the lanes (columns.h), included once per
 * instruction set: a loop per type and use over the decoders of decode.h. Types without kernels are
 * dequantized a few hundred weights at a time. */
#ifndef PRODUCTS_H
#define PRODUCTS_H

#include "../round.h"
#include "decode.h"

/* A gemv fetches whole groups of rows ahead, at least so many bytes: the files' 4 kB pages stop the
 * hardware's own prefetching at every page. */
#define AHEAD_BYTES 6144
#define VEC_FLOATS (SIMD_ROWS * LANES)
/* A tile is TILE_VECS vectors of rows x TILE_TOKENS tokens, its sums in registers; a panel is
 * several tiles of rows, so that activations come from L2 once for all of them: 12 or 24 kB of
 * weights in L1. */
#if defined(SIMD_AVX512)
#define TILE_VECS 6 // x 4 tokens = 24 sums of 32 registers
#define PANEL_TILES 2
#else
#define TILE_VECS 3 // x 4 tokens = 12 sums of 16 registers
#define PANEL_TILES 4
#endif
#define PANEL_VECS (TILE_VECS * PANEL_TILES)
#define PANEL_ROWS (PANEL_VECS * SIMD_ROWS)
#define TILE_TOKENS 4

/* Tokens of one gemv kernel at most, and of a product by gemv: beyond, panels are faster. */
#if defined(SIMD_AVX512)
#define COLUMNS_TOKENS 4
#define GEMV_MOST 8
#else
#define COLUMNS_TOKENS 2
#define GEMV_MOST 2
#endif

SIMD_BEGIN

/* ---- loops over the blocks ------------------------------------------------------------------- */

/* The blocks of row and the next one, `offset` bytes into them; no row beyond the last. */
INLINE struct block block_at(const struct matrix *w, int64_t row, int64_t last, size_t offset) {
    struct block b = {.p = w->data + (size_t)(row < last ? row : last) * w->row_bytes + offset,
                      .stride = row < last ? w->row_bytes : 0,
                      .up = 1,
                      .down = 1};
    return b;
}

/* begin(), after fetching the block that lies `ahead` bytes further on. */
INLINE void begin_ahead(struct block *b, size_t block_bytes, size_t ahead, begin_fn *begin) {
    for (size_t line = 0; line < block_bytes; line += CACHE_LINE) {
        prefetch(b->p, ahead + line);
        if (SIMD_ROWS > 1) prefetch(b->p, b->stride + ahead + line);
    }
    begin(b);
}

/* What a gemv is made for, all constants. */
struct gemv {
    uint32_t type;
    int len, bytes; // of a block, or of as many as make 32 weights
    int n_tokens;   // computed at a time
    bool subnormal; // numbers are taken as subnormal floats
    bool exact;     // also zeros' signs and what is no number
};

/* Vectors of rows side by side: their chains of FMAs hide each other's latency. Unrolled, so that
 * all is kept in registers. */
#define GEMV_WAYS(n_tokens) ((n_tokens) > 2 ? 2 : 4)
#define EACH(i, n) _Pragma("GCC unroll 4") for (int i = 0; i < (n); i++)

INLINE void units(struct block *b, struct sink *s, int ways, int u, unit_fn *unit) {
    EACH(v, ways) unit(&b[v], u, &s[v]);
}

/* Up to ways * SIMD_ROWS rows from `row` on, none beyond `last`. */
INLINE void dot_blocks(float sums[][4 * SIMD_ROWS], const struct matrix *w, int64_t row,
                       int64_t last, const float *const *x, struct gemv g, int ways,
                       begin_fn *begin, unit_fn *unit) {
    struct block b[4];
    struct sink s[4];
    size_t group = (size_t)ways * SIMD_ROWS * w->row_bytes;
    size_t ahead = (size_t)round_up_u64(AHEAD_BYTES, group), block_bytes = (size_t)g.bytes;
    EACH(v, ways) {
        b[v] = block_at(w, row + v * SIMD_ROWS, last, 0);
        b[v].up = UP(g.subnormal);
        b[v].down = DOWN(g.subnormal);
        s[v] = (struct sink){.n_tokens = g.n_tokens, .subnormal = g.subnormal};
        EACH(t, g.n_tokens) {
            s[v].x[t] = x[t];
            s[v].acc[t] = vf_zero();
        }
    }
    /* One token: all units of a block written out; several: code is long enough as it is. */
    const int at_once = g.n_tokens == 1 && g.len == QK_K ? 4 : g.len > LANE_GROUP ? 2 : 1;
    int n_units = (g.len + 63) / 64;
    if (at_once < n_units) __asm__("" : "+r"(n_units)); // or compilers would unroll the loop
    for (int64_t i = 0; i < w->n_cols / g.len; i++) {
        EACH(v, ways) begin_ahead(&b[v], block_bytes, ahead, begin);
        for (int u = 0; u < n_units; u += at_once) {
            units(b, s, ways, u, unit);
            if (at_once >= 2) units(b, s, ways, u + 1, unit);
            if (at_once == 4) {
                units(b, s, ways, u + 2, unit);
                units(b, s, ways, u + 3, unit);
            }
        }
        EACH(v, ways) {
            b[v].p += block_bytes;
            EACH(t, g.n_tokens) s[v].x[t] += g.len;
        }
    }
    EACH(v, ways) {
        EACH(t, g.n_tokens) vf_sums(s[v].acc[t], sums[t] + v * SIMD_ROWS);
    }
}

static gemv_fn gemv_any;

/* g.n_tokens tokens, of which the first n_tokens count: a kernel for more takes the last one again.
 */
INLINE void gemv_lot(const struct matrix *w, int64_t row, int n_rows, const float *x,
                     size_t x_stride, int n_tokens, float *y, size_t y_stride, struct gemv g,
                     begin_fn *begin, unit_fn *unit) {
    const float *token[GEMV_TOKENS];
    const int ways = GEMV_WAYS(g.n_tokens), rows = ways * SIMD_ROWS;
    for (int t = 0; t < g.n_tokens; t++) {
        token[t] = x + (size_t)(t < n_tokens ? t : n_tokens - 1) * x_stride;
        if (g.subnormal) token[t] += w->n_cols;
    }
    for (int r = 0; r < n_rows; r += rows) {
        float sums[GEMV_TOKENS][4 * SIMD_ROWS];
        dot_blocks(sums, w, row + r, row + n_rows - 1, token, g, ways, begin, unit);
        for (int t = 0; t < n_tokens; t++) {
            float *to = y + (size_t)t * y_stride + r;
            for (int i = 0; i < rows && r + i < n_rows; i++) {
                to[i] = sums[t][i];
                bool sure = (to[i] > 0 || to[i] < 0) && to[i] - to[i] == 0;
                if (sure || g.exact) continue;
                gemv_any(w, row + r + i, 1, x + (size_t)t * x_stride, 0, 1, to + i, 0);
            }
        }
    }
}

INLINE void gemv_blocks(const struct matrix *w, int64_t row, int n_rows, const float *x,
                        size_t x_stride, int n_tokens, float *y, size_t y_stride, struct gemv g,
                        begin_fn *begin, unit_fn *unit) {
    for (int t = 0; t < n_tokens; t += g.n_tokens) {
        int n = n_tokens - t < g.n_tokens ? n_tokens - t : g.n_tokens;
        gemv_lot(w, row, n_rows, x + (size_t)t * x_stride, x_stride, n, y + (size_t)t * y_stride,
                 y_stride, g, begin, unit);
    }
}

/* Where vector v of rows begins: tile after tile, step after step, vector after vector. */
INLINE float *panel_vec(float *panel, int v, int kc) {
    int padded = round_up(kc, LANE_GROUP);
    return panel + v / TILE_VECS * padded * TILE_VECS * SIMD_ROWS + v % TILE_VECS * VEC_FLOATS;
}

INLINE struct sink panel_sink(float *panel, int v, int kc) {
    return (struct sink){
        .panel = panel_vec(panel, v, kc), .panel_step = TILE_VECS * VEC_FLOATS, .store = true};
}

INLINE void panel_blocks(const struct matrix *w, int64_t row, int n_rows, int64_t k0, int kc,
                         float *panel, int block_len, size_t block_bytes, begin_fn *begin,
                         unit_fn *unit) {
    for (int v = 0; v < PANEL_VECS; v++) {
        struct sink s = panel_sink(panel, v, kc);
        struct block b = block_at(w, row + v * SIMD_ROWS, row + n_rows - 1,
                                  (size_t)(k0 / block_len) * block_bytes);
        for (int k = 0; k < kc; k += block_len) { // the next panel is that of the next columns
            begin_ahead(&b, block_bytes, (size_t)(KC / block_len) * block_bytes, begin);
            unit(&b, 0, &s);
            if (block_len >= 128) unit(&b, 1, &s);
            if (block_len >= 256) {
                unit(&b, 2, &s);
                unit(&b, 3, &s);
            }
            b.p += block_bytes;
            s.panel += block_len / LANES * TILE_VECS * VEC_FLOATS;
        }
    }
}

/* ---- any type, any number of columns --------------------------------------------------------- */

/* Columns k0 .. k0 + kc of SIMD_ROWS rows, KC at most: dequantized into a buffer that stays in L1,
 * the end padded with zeros, then emitted in lane order. */
INLINE void any_columns(const struct matrix *w, int64_t row, int64_t last, int64_t k0, int kc,
                        struct sink *s) {
    float buffer[SIMD_ROWS][KC];
    const struct ggml_type_info *t = ggml_type_info(w->type);
    size_t offset = (size_t)(k0 / t->block_len) * (size_t)t->block_bytes;
    int padded = round_up(kc, LANE_GROUP);
    for (int r = 0; r < SIMD_ROWS; r++) {
        int64_t from = row + r < last ? row + r : last;
        dequantize_row(w->type, w->data + (size_t)from * w->row_bytes + offset, buffer[r], kc);
        for (int k = kc; k < padded; k++) buffer[r][k] = 0;
    }
    for (int k = 0; k < padded; k += LANE_GROUP) {
        vf v[4];
        vf_lanes(buffer[0] + k, sizeof buffer[0], v);
        for (int i = 0; i < 4; i++) emit(s, k / LANES + i, v[i]);
    }
}

INLINE int columns_left(int64_t n_cols, int64_t k) {
    return (int)(n_cols - k < KC ? n_cols - k : KC);
}

static void gemv_any(const struct matrix *w, int64_t row, int n_rows, const float *x,
                     size_t x_stride, int n_tokens, float *y, size_t y_stride) {
    for (int r = 0; r < n_rows; r += SIMD_ROWS) {
        struct sink s = {.n_tokens = GEMV_TOKENS};
        for (int t = 0; t < GEMV_TOKENS; t++) {
            s.acc[t] = vf_zero();
            s.x[t] = x + (size_t)(t < n_tokens ? t : n_tokens - 1) * x_stride;
        }
        for (int64_t k = 0; k < w->n_cols; k += KC) {
            any_columns(w, row + r, row + n_rows - 1, k, columns_left(w->n_cols, k), &s);
            for (int t = 0; t < GEMV_TOKENS; t++) s.x[t] += KC;
        }
        for (int t = 0; t < n_tokens; t++) {
            float sums[SIMD_ROWS];
            vf_sums(s.acc[t], sums);
            for (int i = 0; i < SIMD_ROWS && r + i < n_rows; i++) {
                y[(size_t)t * y_stride + (size_t)(r + i)] = sums[i];
            }
        }
    }
}

static void panel_any(const struct matrix *w, int64_t row, int n_rows, int64_t k0, int kc,
                      float *panel) {
    for (int v = 0; v < PANEL_VECS; v++) {
        struct sink s = panel_sink(panel, v, kc);
        any_columns(w, row + v * SIMD_ROWS, row + n_rows - 1, k0, kc, &s);
    }
}

/* ---- a kernel for each type ------------------------------------------------------------------ */

/* Blocks of fewer than 32 weights are taken as many as make 32 at a time. Rows that do not come out
 * even are left to gemv_any and panel_any. */
#if defined(SIMD_AVX512)
#define IN_COLUMNS(len, ...) IF_NUMBERS_##len(__VA_ARGS__)
#define IN_ROWS(len, ...) IF_BLOCKS_##len(__VA_ARGS__)
#else
#define IN_COLUMNS(len, ...) __VA_ARGS__
#define IN_ROWS(len, ...)
#endif

#define AT_ONCE(len) ((len) < LANE_GROUP ? LANE_GROUP : (len))
#define FITS(len, n) (AT_ONCE(len) == (len) || (n) % AT_ONCE(len) == 0)

#define GEMV(name, type, len, bytes, kernel_tokens, subnormal)                                   \
    gemv_blocks(w, row, n_rows, x, x_stride, n_tokens, y, y_stride,                              \
                (struct gemv){type, AT_ONCE(len), AT_ONCE(len) / (len) * (bytes), kernel_tokens, \
                              subnormal, (len) == 1},                                            \
                name##_begin, name##_unit)

/* Where the FMAs of several tokens take longer, a conversion costs little. */
#define DEFINE_GEMV(name, type, len, bytes)                                                  \
    static void gemv_##name(const struct matrix *w, int64_t row, int n_rows, const float *x, \
                            size_t x_stride, int n_tokens, float *y, size_t y_stride) {      \
        if (!FITS(len, w->n_cols)) {                                                         \
            gemv_any(w, row, n_rows, x, x_stride, n_tokens, y, y_stride);                    \
        } else if (n_tokens == 1) {                                                          \
            GEMV(name, type, len, bytes, 1, false);                                          \
        } else if (n_tokens == 2) {                                                          \
            GEMV(name, type, len, bytes, 2, false);                                          \
        } else {                                                                             \
            GEMV(name, type, len, bytes, COLUMNS_TOKENS, false);                             \
        }                                                                                    \
    }
/* Blocks of 32 gain nothing: what conversions cost goes into two more products for their scale. */
#define DEFINE_SUBNORMAL(name, type, len, bytes)                                                  \
    static void subnormal_##name(const struct matrix *w, int64_t row, int n_rows, const float *x, \
                                 size_t x_stride, int n_tokens, float *y, size_t y_stride) {      \
        if (n_tokens > 1 || by_table(type) || (len) < QK_K) {                                     \
            gemv_##name(w, row, n_rows, x, x_stride, n_tokens, y, y_stride);                      \
        } else {                                                                                  \
            GEMV(name, type, len, bytes, 1, true);                                                \
        }                                                                                         \
    }
#define DEFINE_PANEL(name, len, bytes)                                                            \
    static void panel_##name(const struct matrix *w, int64_t row, int n_rows, int64_t k0, int kc, \
                             float *panel) {                                                      \
        if (FITS(len, kc)) {                                                                      \
            panel_blocks(w, row, n_rows, k0, kc, panel, AT_ONCE(len),                             \
                         AT_ONCE(len) / (len) * (bytes), name##_begin, name##_unit);              \
        } else {                                                                                  \
            panel_any(w, row, n_rows, k0, kc, panel);                                             \
        }                                                                                         \
    }

#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize)                        \
    WHEN(kernels, IN_COLUMNS(len, DEFINE_GEMV(name, number, len, bytes)                            \
                                      IF_BLOCKS_##len(DEFINE_SUBNORMAL(name, number, len, bytes))) \
                      DEFINE_PANEL(name, len, bytes))
#include "../types.def"

/* ---- batches of tokens ----------------------------------------------------------------------- */

/* One line of the next tokens' activations is fetched a step: they lie in L2 and go on where this
 * tile's end, and their first use would stall all sums at once. */
INLINE void tile_n(float *acc, const float *panel, const float *x, size_t next, size_t x_stride,
                   int kc, int n_tokens) {
    vf sum[TILE_TOKENS][TILE_VECS];
    for (int t = 0; t < n_tokens; t++) {
        for (int v = 0; v < TILE_VECS; v++) {
            sum[t][v] = vf_load(acc + (t * PANEL_VECS + v) * VEC_FLOATS);
        }
    }
    for (int k = 0; k < kc; k += LANES) {
        prefetch(x, next + (size_t)k / LANES * CACHE_LINE);
        vf w[TILE_VECS]; // with one x and the sums: all registers there are
        for (int v = 0; v < TILE_VECS; v++) w[v] = vf_load(panel + v * VEC_FLOATS);
        for (int t = 0; t < n_tokens; t++) {
            vf xt = vf_load8(x + (size_t)t * x_stride + k);
            for (int v = 0; v < TILE_VECS; v++) sum[t][v] = vf_fma(w[v], xt, sum[t][v]);
        }
        panel += TILE_VECS * VEC_FLOATS;
    }
    for (int t = 0; t < n_tokens; t++) {
        for (int v = 0; v < TILE_VECS; v++) {
            vf_store(acc + (t * PANEL_VECS + v) * VEC_FLOATS, sum[t][v]);
        }
    }
}

static void tile(float *acc, const float *panel, const float *x, size_t x_stride, int kc,
                 int n_tokens) {
    size_t next = TILE_TOKENS * x_stride * sizeof(float);
    for (int i = 0; i < PANEL_TILES; i++) {
        switch (n_tokens) {
        case 1:
            tile_n(acc, panel, x, next, x_stride, kc, 1);
            break;
        case 2:
            tile_n(acc, panel, x, next, x_stride, kc, 2);
            break;
        case 3:
            tile_n(acc, panel, x, next, x_stride, kc, 3);
            break;
        default:
            tile_n(acc, panel, x, next, x_stride, kc, TILE_TOKENS);
            break;
        }
        acc += TILE_VECS * VEC_FLOATS;
        panel += kc * TILE_VECS * SIMD_ROWS;
        next += (size_t)kc / LANES * CACHE_LINE;
    }
}

static void sum_rows(const float *acc, int n_rows, float *y) {
    for (int r = 0; r < n_rows; r += SIMD_ROWS) {
        float sums[SIMD_ROWS];
        vf_sums(vf_load(acc + r * LANES), sums);
        for (int i = 0; i < SIMD_ROWS && r + i < n_rows; i++) y[r + i] = sums[i];
    }
}

/* As many independent FMAs as a tile has, without a load. */
static float fma_loop(int64_t n, float a, float b) {
    vf sum[TILE_TOKENS][TILE_VECS], va = vf_rows(a, a), vb = vf_rows(b, b);
    for (int t = 0; t < TILE_TOKENS; t++) {
        for (int v = 0; v < TILE_VECS; v++) sum[t][v] = vf_zero();
    }
    for (int64_t i = 0; i < n; i++) {
        for (int t = 0; t < TILE_TOKENS; t++) {
            for (int v = 0; v < TILE_VECS; v++) sum[t][v] = vf_fma(va, vb, sum[t][v]);
        }
    }
    float all[SIMD_ROWS], total = 0;
    for (int t = 0; t < TILE_TOKENS; t++) {
        for (int v = 0; v < TILE_VECS; v++) {
            vf_sums(sum[t][v], all);
            total += all[0];
        }
    }
    return total;
}

static void to_lanes(float *dst, const float *x, int64_t k) {
    vf v[4];
    int64_t whole = k - k % LANE_GROUP;
    for (int64_t i = 0; i < whole; i += LANE_GROUP) {
        vf_lanes(x + i, 0, v);
        for (int j = 0; j < 4; j++) vf_store8(dst + i + LANES * j, v[j]);
    }
    if (whole < k) {
        float end[LANE_GROUP] = {0};
        memcpy(end, x + whole, (size_t)(k - whole) * sizeof(float));
        to_lanes(dst + whole, end, LANE_GROUP);
    }
}

SIMD_END

static gemv_fn *const gemv_kernels[GGML_N_TYPES] = {
#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN(kernels,                                                           \
         IN_COLUMNS(len, [number] = gemv_##name, ) IN_ROWS(len, [number] = gemv_rows_##name, ))
#include "../types.def"
};
static gemv_fn *const subnormal_kernels[GGML_N_TYPES] = {
#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize)       \
    WHEN(kernels, IF_BLOCKS_##len(IN_COLUMNS(len, [number] = subnormal_##name, )) \
                      IN_ROWS(len, [number] = subnormal_rows_##name, ))
#include "../types.def"
};
static panel_fn *const panel_kernels[GGML_N_TYPES] = {
#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN(kernels, [number] = panel_##name, )
#include "../types.def"
};

/* The members of struct isa that this file provides. */
#define PRODUCTS_SIMD                                                                         \
    .gemv = gemv_kernels, .gemv_most = GEMV_MOST, .gemv_subnormal = subnormal_kernels,        \
    .panel = panel_kernels, .gemv_any = gemv_any, .panel_any = panel_any,                     \
    .panel_rows = PANEL_ROWS, .tile_tokens = TILE_TOKENS, .tile = tile, .sum_rows = sum_rows, \
    .to_lanes = to_lanes, .fma_loop = fma_loop,                                               \
    .fma_loop_macs = TILE_TOKENS * TILE_VECS * VEC_FLOATS

#endif
