/* The products of matmul_q.h on the vector layer of simd.h, included once per instruction set.
 *
 * A type that has kernels (types.def says so) is two functions: name_begin unpacks the scales of a
 * block, name_unit unpacks its next 64 weights (all 32 if there are no more) in lane order and
 * emits them 8 at a time, step by step. What happens to an emitted vector is the sink's business: a
 * gemv multiplies it at once, a panel stores it. Everything is inlined into one loop per type and
 * use. Types without kernels are dequantized a few hundred weights at a time. */
#ifndef PRODUCTS_H
#define PRODUCTS_H

#include "../round.h"
#include "isa.h"
#include "simd.h"

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

SIMD_BEGIN

struct sink {
    vf acc;         // gemv: the running sums
    const float *x; // gemv: activations of the block
    float *panel;   // panel: where the block goes
    bool store;     // panel or gemv? A constant, so that one of the two is compiled
};

/* SIMD_ROWS rows at one block: p the first, p + stride the second. */
struct block {
    const uint8_t *p;
    size_t stride;
    vf scale[2], offset[2]; // four sub-blocks each, the same in both halves of a row's lanes
    vi high;                // high bits not used yet
};

INLINE void emit(struct sink *s, int step, vf w) {
    if (s->store) {
        vf_store(s->panel + step * TILE_VECS * VEC_FLOATS, w);
    } else {
        s->acc = vf_fma(w, vf_load8(s->x + step * LANES), s->acc);
    }
}

/* 32 weights w = scale * q + offset, q unsigned bytes. */
INLINE void emit_unsigned(struct sink *s, int step, vi q, vf scale, vf offset) {
    emit(s, step, vf_fma(scale, vf_from_vi(vi_byte(q, 0)), offset));
    emit(s, step + 1, vf_fma(scale, vf_from_vi(vi_byte(q, 1)), offset));
    emit(s, step + 2, vf_fma(scale, vf_from_vi(vi_byte(q, 2)), offset));
    emit(s, step + 3, vf_fma(scale, vf_from_vi(VI_SHR(q, 24)), offset));
}

/* 32 weights w = scale * q, q signed bytes. */
INLINE void emit_signed(struct sink *s, int step, vi q, vf scale) {
    emit(s, step, vf_mul(scale, vf_from_vi(VI_SAR(VI_SHL(q, 24), 24))));
    emit(s, step + 1, vf_mul(scale, vf_from_vi(VI_SAR(VI_SHL(q, 16), 24))));
    emit(s, step + 2, vf_mul(scale, vf_from_vi(VI_SAR(VI_SHL(q, 8), 24))));
    emit(s, step + 3, vf_mul(scale, vf_from_vi(VI_SAR(q, 24))));
}

/* n is a constant wherever this is called; the switch makes it an immediate at -O0 too. */
INLINE vf splat4(vf v, int n) {
    switch (n) {
    case 0:
        return VF_SPLAT4(v, 0);
    case 1:
        return VF_SPLAT4(v, 1);
    case 2:
        return VF_SPLAT4(v, 2);
    default:
        return VF_SPLAT4(v, 3);
    }
}

INLINE vi bytes_set1(uint8_t b) {
    return vi_set1((int32_t)(b * 0x01010101u));
}

/* ---- block types ----------------------------------------------------------------------------- */

/* What several types have before their weights: nothing, a scale, a scale and an offset. */
INLINE void begin_nothing(struct block *b) {
    (void)b;
}
INLINE void begin_scale(struct block *b) {
    b->scale[0] = vf_half(b->p, b->stride);
}
INLINE void begin_scale_offset(struct block *b) {
    vf_half2(b->p, b->stride, &b->scale[0], &b->offset[0]);
}

#define f32_begin begin_nothing
INLINE void f32_unit(struct block *b, int u, struct sink *s) {
    (void)u;
    vf w[4];
    vf_lanes((const float *)(const void *)b->p, b->stride, w);
    for (int i = 0; i < 4; i++) emit(s, i, w[i]);
}

#define f16_begin begin_nothing
INLINE void f16_unit(struct block *b, int u, struct sink *s) {
    (void)u;
    vf w[4];
    vf_lanes_f16(b->p, b->stride, w);
    for (int i = 0; i < 4; i++) emit(s, i, w[i]);
}

#define bf16_begin begin_nothing
INLINE void bf16_unit(struct block *b, int u, struct sink *s) {
    (void)u;
    vf w[4];
    vf_lanes_bf16(b->p, b->stride, w);
    for (int i = 0; i < 4; i++) emit(s, i, w[i]);
}

#define q8_0_begin begin_scale
INLINE void q8_0_unit(struct block *b, int u, struct sink *s) {
    (void)u;
    emit_signed(s, 0, vi_load32(b->p + offsetof(block_q8_0, qs), b->stride), b->scale[0]);
}

INLINE void mxfp4_begin(struct block *b) {
    b->scale[0] = vf_rows(e8m0_half_to_fp32(b->p[0]), e8m0_half_to_fp32(b->p[b->stride]));
}
INLINE void mxfp4_unit(struct block *b, int u, struct sink *s) {
    (void)u;
    vi q = vi_nibbles(b->p + offsetof(block_mxfp4, qs), b->stride);
    emit_signed(s, 0, vi_lookup(q, mxfp4_values), b->scale[0]);
}

#define iq4_nl_begin begin_scale
INLINE void iq4_nl_unit(struct block *b, int u, struct sink *s) {
    (void)u;
    vi q = vi_nibbles(b->p + offsetof(block_iq4_nl, qs), b->stride);
    emit_signed(s, 0, vi_lookup(q, iq4_values), b->scale[0]);
}

/* Of the eight 6-bit scales, the low 4 bits are the nibbles of the second word, the high 2 bits lie
 * in the upper half of the first. */
INLINE vf iq4_xs_scales(vi low, vi high) {
    vi six = vi_or(vi_and(low, vi_set1(15)), vi_and(high, vi_set1(48)));
    vi biased = vi_sub8(six, vi_set1(32)); // in the lowest byte
    return vf_from_vi(VI_SAR(VI_SHL(biased, 24), 24));
}
INLINE void iq4_xs_begin(struct block *b) {
    vi w = vi_load16(b->p, b->stride); // the last two words are the quants' and are not used
    vi low = vi_shrv(VI_PICK4(w, 1, 1, 1, 1), vi_set4(0, 4, 8, 12));
    vi high = vi_shrv(VI_PICK4(w, 0, 0, 0, 0), vi_set4(12, 14, 16, 18)); // to bits 4 and 5
    vf d = vf_half(b->p + offsetof(block_iq4_xs, d), b->stride);
    b->scale[0] = vf_mul(d, iq4_xs_scales(low, high));
    b->scale[1] = vf_mul(d, iq4_xs_scales(VI_SHR(low, 16), VI_SHR(high, 8)));
}
INLINE void iq4_xs_unit(struct block *b, int u, struct sink *s) {
    const uint8_t *qs = b->p + offsetof(block_iq4_xs, qs) + 32 * u;
    vi q0 = vi_nibbles(qs, b->stride), q1 = vi_nibbles(qs + 16, b->stride);
    int j = 2 * (u % 2);
    emit_signed(s, 8 * u, vi_lookup(q0, iq4_values), splat4(b->scale[u / 2], j));
    emit_signed(s, 8 * u + 4, vi_lookup(q1, iq4_values), splat4(b->scale[u / 2], j + 1));
}

#define q4_0_begin begin_scale
INLINE void q4_0_unit(struct block *b, int u, struct sink *s) {
    (void)u;
    vi q = vi_nibbles(b->p + offsetof(block_q4_0, qs), b->stride);
    emit_signed(s, 0, vi_sub8(q, bytes_set1(8)), b->scale[0]);
}

#define q4_1_begin begin_scale_offset
INLINE void q4_1_unit(struct block *b, int u, struct sink *s) {
    (void)u;
    vi q = vi_nibbles(b->p + offsetof(block_q4_1, qs), b->stride);
    emit_unsigned(s, 0, q, b->scale[0], b->offset[0]);
}

#define q5_0_begin begin_scale
INLINE void q5_0_unit(struct block *b, int u, struct sink *s) {
    (void)u;
    vi low = vi_nibbles(b->p + offsetof(block_q5_0, qs), b->stride);
    vi high = vi_bits_to_16(b->p + offsetof(block_q5_0, qh), b->stride);
    emit_signed(s, 0, vi_sub8(vi_or(low, high), bytes_set1(16)), b->scale[0]);
}

#define q5_1_begin begin_scale_offset
INLINE void q5_1_unit(struct block *b, int u, struct sink *s) {
    (void)u;
    vi low = vi_nibbles(b->p + offsetof(block_q5_1, qs), b->stride);
    vi high = vi_bits_to_16(b->p + offsetof(block_q5_1, qh), b->stride);
    emit_unsigned(s, 0, vi_or(low, high), b->scale[0], b->offset[0]);
}

/* 16 weights share a scale and a min: the first four lanes have one, the last four the next. */
INLINE void q2_K_begin(struct block *b) {
    const vi nibble = bytes_set1(15);
    vi both = vi_load16(b->p + offsetof(block_q2_K, scales), b->stride);
    vi scales = vi_and(both, nibble), mins = vi_and(VI_SHR(both, 4), nibble);
    vf d, dmin;
    vf_half2(b->p + offsetof(block_q2_K, d), b->stride, &d, &dmin);
    dmin = vf_mul(dmin, vf_from_vi(vi_set1(-1)));
    b->scale[0] = vf_mul(d, vf_from_vi(vi_widen_pairs(scales, 0)));
    b->scale[1] = vf_mul(d, vf_from_vi(vi_widen_pairs(scales, 8)));
    b->offset[0] = vf_mul(dmin, vf_from_vi(vi_widen_pairs(mins, 0)));
    b->offset[1] = vf_mul(dmin, vf_from_vi(vi_widen_pairs(mins, 8)));
}
INLINE void q2_K_unit(struct block *b, int u, struct sink *s) {
    const vi two = bytes_set1(3);
    vi q = vi_load32(b->p + offsetof(block_q2_K, qs) + 32 * (u / 2), b->stride);
    if (u % 2) q = VI_SHR(q, 4);
    vf scale = b->scale[u / 2], offset = b->offset[u / 2];
    int j = 2 * (u % 2);
    emit_unsigned(s, 8 * u, vi_and(q, two), splat4(scale, j), splat4(offset, j));
    emit_unsigned(s, 8 * u + 4, vi_and(VI_SHR(q, 2), two), splat4(scale, j + 1),
                  splat4(offset, j + 1));
}

/* Of the 16 scales, the low 4 bits are the nibbles of two words, first the low ones, and the high 2
 * bits all in the third. Loaded with the word before them, as 16 bytes from the first on would end
 * behind the block. */
INLINE void q3_K_begin(struct block *b) {
    vi w = vi_load16(b->p + offsetof(block_q3_K, scales) - 4, b->stride);
    vi low = vi_and(vi_shrv(VI_PICK4(w, 1, 2, 1, 2), vi_set4(0, 0, 4, 4)), bytes_set1(15));
    vi high = vi_and(vi_shrv(VI_PICK4(w, 3, 3, 3, 3), vi_set4(0, 2, 4, 6)), bytes_set1(3));
    vi scales = vi_sub8(vi_or(low, VI_SHL(high, 4)), bytes_set1(32));
    vf d = vf_half(b->p + offsetof(block_q3_K, d), b->stride);
    b->scale[0] = vf_mul(d, vf_from_vi(vi_widen_pairs(scales, 0)));
    b->scale[1] = vf_mul(d, vf_from_vi(vi_widen_pairs(scales, 8)));
    b->high = vi_load32(b->p + offsetof(block_q3_K, hmask), b->stride);
}
INLINE void q3_K_unit(struct block *b, int u, struct sink *s) {
    const vi two = bytes_set1(3), bit2 = bytes_set1(4);
    vi q = vi_load32(b->p + offsetof(block_q3_K, qs) + 32 * (u / 2), b->stride);
    if (u % 2) q = VI_SHR(q, 4);
    vi q0 = vi_or(vi_and(q, two), vi_and(VI_SHL(b->high, 2), bit2));
    vi q1 = vi_or(vi_and(VI_SHR(q, 2), two), vi_and(VI_SHL(b->high, 1), bit2));
    b->high = VI_SHR(b->high, 2);
    int j = 2 * (u % 2);
    emit_signed(s, 8 * u, vi_sub8(q0, bit2), splat4(b->scale[u / 2], j));
    emit_signed(s, 8 * u + 4, vi_sub8(q1, bit2), splat4(b->scale[u / 2], j + 1));
}

/* The eight 6-bit scales and mins of Q4_K and Q5_K: of the 12 bytes, as three words w0 w1 w2, w0
 * and w1 hold the low four scales and mins in 6 bits of each byte; the high four have their low 4
 * bits in w2 and their high 2 bits on top of w0 and w1 (get_scale_min_k4 in quant.c). Unpacked in
 * place into scales 0-3, scales 4-7, mins 0-3, mins 4-7. Offsets are -(dmin * m). */
INLINE void k4_scales(struct block *b, size_t scales_at) {
    const int six = 0x3f3f3f3f, four = 0x0f0f0f0f, top = 0x30303030;
    vi w = vi_load16(b->p + scales_at, b->stride); // the last word is the quants' and is not used
    vi low = vi_and(vi_shrv(VI_PICK4(w, 0, 2, 1, 2), vi_set4(0, 0, 0, 4)),
                    vi_set4(six, four, six, four));
    vi high = vi_and(VI_SHR(VI_PICK4(w, 0, 0, 1, 1), 2), vi_set4(0, top, 0, top));
    vi all = vi_or(low, high);
    vf d, dmin;
    vf_half2(b->p, b->stride, &d, &dmin);
    dmin = vf_mul(dmin, vf_from_vi(vi_set1(-1)));
    b->scale[0] = vf_mul(d, vf_from_vi(vi_widen4(all, 0)));
    b->scale[1] = vf_mul(d, vf_from_vi(vi_widen4(all, 4)));
    b->offset[0] = vf_mul(dmin, vf_from_vi(vi_widen4(all, 8)));
    b->offset[1] = vf_mul(dmin, vf_from_vi(vi_widen4(all, 12)));
}

INLINE void q4_K_begin(struct block *b) {
    k4_scales(b, offsetof(block_q4_K, scales));
}
INLINE void q4_K_unit(struct block *b, int u, struct sink *s) {
    const vi nibble = bytes_set1(15);
    vi q = vi_load32(b->p + offsetof(block_q4_K, qs) + 32 * u, b->stride);
    vf scale = b->scale[u / 2], offset = b->offset[u / 2];
    int j = 2 * (u % 2);
    emit_unsigned(s, 8 * u, vi_and(q, nibble), splat4(scale, j), splat4(offset, j));
    emit_unsigned(s, 8 * u + 4, vi_and(VI_SHR(q, 4), nibble), splat4(scale, j + 1),
                  splat4(offset, j + 1));
}

INLINE void q5_K_begin(struct block *b) {
    k4_scales(b, offsetof(block_q5_K, scales));
    b->high = vi_load32(b->p + offsetof(block_q5_K, qh), b->stride);
}
INLINE void q5_K_unit(struct block *b, int u, struct sink *s) {
    const vi nibble = bytes_set1(15), bit4 = bytes_set1(16);
    vi q = vi_load32(b->p + offsetof(block_q5_K, qs) + 32 * u, b->stride);
    vi lo = vi_or(vi_and(q, nibble), vi_and(VI_SHL(b->high, 4), bit4));
    vi hi = vi_or(vi_and(VI_SHR(q, 4), nibble), vi_and(VI_SHL(b->high, 3), bit4));
    b->high = VI_SHR(b->high, 2);
    vf scale = b->scale[u / 2], offset = b->offset[u / 2];
    int j = 2 * (u % 2);
    emit_unsigned(s, 8 * u, lo, splat4(scale, j), splat4(offset, j));
    emit_unsigned(s, 8 * u + 4, hi, splat4(scale, j + 1), splat4(offset, j + 1));
}

/* 16 weights share a scale: the first four lanes have one, the last four the next. */
INLINE void q6_K_begin(struct block *b) {
    vf d = vf_half(b->p + offsetof(block_q6_K, d), b->stride);
    vi scales = vi_load16(b->p + offsetof(block_q6_K, scales), b->stride);
    b->scale[0] = vf_mul(d, vf_from_vi(vi_widen_pairs(scales, 0)));
    b->scale[1] = vf_mul(d, vf_from_vi(vi_widen_pairs(scales, 8)));
}
INLINE void q6_K_unit(struct block *b, int u, struct sink *s) {
    const vi nibble = bytes_set1(15), bits45 = bytes_set1(0x30), bias = bytes_set1(32);
    const uint8_t *ql = b->p + offsetof(block_q6_K, ql) + 64 * (u / 2);
    vi q0 = vi_load32(ql, b->stride), q1 = vi_load32(ql + 32, b->stride);
    if (u % 2 == 0) {
        b->high = vi_load32(b->p + offsetof(block_q6_K, qh) + 32 * (u / 2), b->stride);
        q0 = vi_or(vi_and(q0, nibble), vi_and(VI_SHL(b->high, 4), bits45));
        q1 = vi_or(vi_and(q1, nibble), vi_and(VI_SHL(b->high, 2), bits45));
    } else {
        q0 = vi_or(vi_and(VI_SHR(q0, 4), nibble), vi_and(b->high, bits45));
        q1 = vi_or(vi_and(VI_SHR(q1, 4), nibble), vi_and(VI_SHR(b->high, 2), bits45));
    }
    int j = 2 * (u % 2);
    emit_signed(s, 8 * u, vi_sub8(q0, bias), splat4(b->scale[u / 2], j));
    emit_signed(s, 8 * u + 4, vi_sub8(q1, bias), splat4(b->scale[u / 2], j + 1));
}

/* ---- loops over the blocks ------------------------------------------------------------------- */

typedef void begin_fn(struct block *b);
typedef void unit_fn(struct block *b, int u, struct sink *s);

/* The blocks of row and the next one, `offset` bytes into them; no row beyond the last. */
INLINE struct block block_at(const struct matrix *w, int64_t row, int64_t last, size_t offset) {
    struct block b = {.p = w->data + (size_t)(row < last ? row : last) * w->row_bytes + offset,
                      .stride = row < last ? w->row_bytes : 0};
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

/* Two vectors of rows side by side: their chains of FMAs hide each other's latency. Written out
 * twice, as compilers keep variables in registers, but not always arrays. */
INLINE void gemv_blocks(const struct matrix *w, int64_t row, int n_rows, const float *x, float *y,
                        int block_len, size_t block_bytes, begin_fn *begin, unit_fn *unit) {
    int64_t last = row + n_rows - 1, n_blocks = w->n_cols / block_len;
    size_t group = 2 * SIMD_ROWS * w->row_bytes, ahead = (size_t)round_up_u64(AHEAD_BYTES, group);
    for (int r = 0; r < n_rows; r += 2 * SIMD_ROWS) {
        struct block b0 = block_at(w, row + r, last, 0);
        struct block b1 = block_at(w, row + r + SIMD_ROWS, last, 0);
        struct sink s0 = {.acc = vf_zero(), .x = x}, s1 = s0;
        for (int64_t i = 0; i < n_blocks; i++) {
            begin_ahead(&b0, block_bytes, ahead, begin);
            begin_ahead(&b1, block_bytes, ahead, begin);
            unit(&b0, 0, &s0);
            unit(&b1, 0, &s1);
            if (block_len >= 128) {
                unit(&b0, 1, &s0);
                unit(&b1, 1, &s1);
            }
            if (block_len >= 256) {
                unit(&b0, 2, &s0);
                unit(&b1, 2, &s1);
                unit(&b0, 3, &s0);
                unit(&b1, 3, &s1);
            }
            b0.p += block_bytes;
            b1.p += block_bytes;
            s0.x += block_len;
            s1.x += block_len;
        }
        float sums[2 * SIMD_ROWS];
        vf_sums(s0.acc, sums);
        vf_sums(s1.acc, sums + SIMD_ROWS);
        for (int i = 0; i < 2 * SIMD_ROWS && r + i < n_rows; i++) y[r + i] = sums[i];
    }
}

/* Where vector v of rows begins: tile after tile, step after step, vector after vector. */
INLINE float *panel_vec(float *panel, int v, int kc) {
    int padded = round_up(kc, LANE_GROUP);
    return panel + v / TILE_VECS * padded * TILE_VECS * SIMD_ROWS + v % TILE_VECS * VEC_FLOATS;
}

INLINE void panel_blocks(const struct matrix *w, int64_t row, int n_rows, int64_t k0, int kc,
                         float *panel, int block_len, size_t block_bytes, begin_fn *begin,
                         unit_fn *unit) {
    for (int v = 0; v < PANEL_VECS; v++) {
        struct sink s = {.panel = panel_vec(panel, v, kc), .store = true};
        struct block b = block_at(w, row + v * SIMD_ROWS, row + n_rows - 1,
                                  (size_t)(k0 / block_len) * block_bytes);
        for (int k = 0; k < kc; k += block_len) {
            begin(&b);
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

static void gemv_any(const struct matrix *w, int64_t row, int n_rows, const float *x, float *y) {
    for (int r = 0; r < n_rows; r += SIMD_ROWS) {
        struct sink s = {.acc = vf_zero(), .x = x};
        for (int64_t k = 0; k < w->n_cols; k += KC) {
            any_columns(w, row + r, row + n_rows - 1, k, columns_left(w->n_cols, k), &s);
            s.x += KC;
        }
        float sums[SIMD_ROWS];
        vf_sums(s.acc, sums);
        for (int i = 0; i < SIMD_ROWS && r + i < n_rows; i++) y[r + i] = sums[i];
    }
}

static void panel_any(const struct matrix *w, int64_t row, int n_rows, int64_t k0, int kc,
                      float *panel) {
    for (int v = 0; v < PANEL_VECS; v++) {
        struct sink s = {.panel = panel_vec(panel, v, kc), .store = true};
        any_columns(w, row + v * SIMD_ROWS, row + n_rows - 1, k0, kc, &s);
    }
}

/* ---- a kernel for each type ------------------------------------------------------------------ */

/* Blocks of fewer than 32 weights are taken as many as make 32 at a time. Rows that do not come out
 * even are left to gemv_any and panel_any. */
#define AT_ONCE(len) ((len) < LANE_GROUP ? LANE_GROUP : (len))
#define FITS(len, n) (AT_ONCE(len) == (len) || (n) % AT_ONCE(len) == 0)

#define DEFINE_KERNELS(name, len, bytes)                                                          \
    static void gemv_##name(const struct matrix *w, int64_t row, int n_rows, const float *x,      \
                            float *y) {                                                           \
        if (FITS(len, w->n_cols)) {                                                               \
            gemv_blocks(w, row, n_rows, x, y, AT_ONCE(len), AT_ONCE(len) / (len) * (bytes),       \
                        name##_begin, name##_unit);                                               \
        } else {                                                                                  \
            gemv_any(w, row, n_rows, x, y);                                                       \
        }                                                                                         \
    }                                                                                             \
    static void panel_##name(const struct matrix *w, int64_t row, int n_rows, int64_t k0, int kc, \
                             float *panel) {                                                      \
        if (FITS(len, kc)) {                                                                      \
            panel_blocks(w, row, n_rows, k0, kc, panel, AT_ONCE(len),                             \
                         AT_ONCE(len) / (len) * (bytes), name##_begin, name##_unit);              \
        } else {                                                                                  \
            panel_any(w, row, n_rows, k0, kc, panel);                                             \
        }                                                                                         \
    }

#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN(kernels, DEFINE_KERNELS(name, len, bytes))
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
static float fma_loop(int64_t n) {
    vf sum[TILE_TOKENS][TILE_VECS], a = vf_load8((const float[LANES]){1, 1, 1, 1, 1, 1, 1, 1});
    for (int t = 0; t < TILE_TOKENS; t++) {
        for (int v = 0; v < TILE_VECS; v++) sum[t][v] = vf_zero();
    }
    for (int64_t i = 0; i < n; i++) {
        for (int t = 0; t < TILE_TOKENS; t++) {
            for (int v = 0; v < TILE_VECS; v++) sum[t][v] = vf_fma(a, a, sum[t][v]);
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
    WHEN(kernels, [number] = gemv_##name, )
#include "../types.def"
};
static panel_fn *const panel_kernels[GGML_N_TYPES] = {
#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN(kernels, [number] = panel_##name, )
#include "../types.def"
};

/* The members of struct isa that this file provides. */
#define PRODUCTS_SIMD                                                                           \
    .gemv = gemv_kernels, .panel = panel_kernels, .gemv_any = gemv_any, .panel_any = panel_any, \
    .panel_rows = PANEL_ROWS, .tile_tokens = TILE_TOKENS, .tile = tile, .sum_rows = sum_rows,   \
    .to_lanes = to_lanes, .fma_loop = fma_loop,                                                 \
    .fma_loop_macs = TILE_TOKENS * TILE_VECS * VEC_FLOATS

#endif
