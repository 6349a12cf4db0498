/* How each block type is taken apart, once for every layout of lanes and for every use.
 *
 * A type that has kernels (types.def says so) is two functions: name_begin unpacks the scales of a
 * block, as the layout wants them (columns.h, rows.h); name_unit unpacks its next 64 weights (all
 * 32 if there are no more) in lane order and emits them a step, 8 weights of a row, at a time. What
 * happens to what is emitted is the sink's business. Everything is inlined into one loop per type
 * and use. */
#ifndef DECODE_H
#define DECODE_H

#include "isa.h"
#include "simd.h"

SIMD_BEGIN

struct block;
struct sink;
typedef void begin_fn(struct block *b);
typedef void unit_fn(struct block *b, int u, struct sink *s);

#if defined(SIMD_AVX512_ROWS)
#include "rows.h"
#else
#include "columns.h"
#endif

/* How many units in a row a type's name_unit is different for. */
INLINE int unit_cycle(uint32_t type) {
    return type == GGML_TYPE_Q2_K || type == GGML_TYPE_Q3_K || type == GGML_TYPE_Q6_K ? 2 : 1;
}

/* Values from a table are signed and come as floats, with plain scales: that of MXFP4 times DOWN
 * could be too small for a float. */
INLINE bool by_table(uint32_t type) {
    return type == GGML_TYPE_MXFP4 || type == GGML_TYPE_IQ4_NL || type == GGML_TYPE_IQ4_XS;
}

/* ---- floats: with lanes of columns only ------------------------------------------------------ */

#if !defined(SIMD_AVX512_ROWS)
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
#endif

/* ---- blocks of 32 ---------------------------------------------------------------------------- */

#define q8_0_begin begin_biased
INLINE void q8_0_unit(struct block *b, int u, struct sink *s) {
    (void)u;
    emit_signed(s, 0, load32(b, offsetof(block_q8_0, qs)), one_scale(b), one_offset(b));
}

INLINE void mxfp4_unit(struct block *b, int u, struct sink *s) {
    (void)u;
    vi q = nibbles(b, offsetof(block_mxfp4, qs));
    emit_table(s, 0, q, mxfp4_values, one_scale(b));
}

#define iq4_nl_begin begin_scale
INLINE void iq4_nl_unit(struct block *b, int u, struct sink *s) {
    (void)u;
    vi q = nibbles(b, offsetof(block_iq4_nl, qs));
    emit_table(s, 0, q, iq4_values, one_scale(b));
}

#define q4_0_begin begin_biased
INLINE void q4_0_unit(struct block *b, int u, struct sink *s) {
    (void)u;
    vi q = nibbles(b, offsetof(block_q4_0, qs));
    emit_biased(s, 0, q, 0, 15, 8, one_scale(b), one_offset(b));
}

#define q4_1_begin begin_scale_offset
INLINE void q4_1_unit(struct block *b, int u, struct sink *s) {
    (void)u;
    vi q = nibbles(b, offsetof(block_q4_1, qs));
    emit_unsigned(s, 0, q, 0, 15, one_scale(b), one_offset(b));
}

/* 4 bits at qs in the block, and the highest of 5 in a word at qh. */
INLINE vi five_bits(const struct block *b, size_t qs, size_t qh) {
    vi low = vi_and(nibbles(b, qs), bytes_set1(15));
    return vi_or(low, bits_to_16(b, qh));
}

#define q5_0_begin begin_biased
INLINE void q5_0_unit(struct block *b, int u, struct sink *s) {
    (void)u;
    vi q = five_bits(b, offsetof(block_q5_0, qs), offsetof(block_q5_0, qh));
    emit_biased(s, 0, q, 0, 255, 16, one_scale(b), one_offset(b));
}

#define q5_1_begin begin_scale_offset
INLINE void q5_1_unit(struct block *b, int u, struct sink *s) {
    (void)u;
    vi q = five_bits(b, offsetof(block_q5_1, qs), offsetof(block_q5_1, qh));
    emit_unsigned(s, 0, q, 0, 255, one_scale(b), one_offset(b));
}

/* ---- blocks of 256 --------------------------------------------------------------------------- */

INLINE void q2_K_unit(struct block *b, int u, struct sink *s) {
    int shift = u % 2 * 4;
    if (!shift) b->quants = load32(b, offsetof(block_q2_K, qs) + 16 * (size_t)u);
    emit_unsigned(s, 8 * u, b->quants, shift, 3, scale16(b, 2 * u), offset16(b, 2 * u));
    emit_unsigned(s, 8 * u + 4, b->quants, shift + 2, 3, scale16(b, 2 * u + 1),
                  offset16(b, 2 * u + 1));
}

INLINE void q3_K_unit(struct block *b, int u, struct sink *s) {
    const vi two = bytes_set1(3), bit2 = bytes_set1(4);
    if (u % 2) {
        b->quants = VI_SHR(b->quants, 4);
    } else {
        b->quants = load32(b, offsetof(block_q3_K, qs) + 16 * (size_t)u);
    }
    vi q0 = vi_or(vi_and(b->quants, two), vi_and(VI_SHL(b->high, 2), bit2));
    vi q1 = vi_or(vi_and(VI_SHR(b->quants, 2), two), vi_and(VI_SHL(b->high, 1), bit2));
    b->high = VI_SHR(b->high, 2);
    emit_biased(s, 8 * u, q0, 0, 255, 4, scale16(b, 2 * u), offset16(b, 2 * u));
    emit_biased(s, 8 * u + 4, q1, 0, 255, 4, scale16(b, 2 * u + 1), offset16(b, 2 * u + 1));
}

INLINE void q4_K_unit(struct block *b, int u, struct sink *s) {
    vi q = load32(b, offsetof(block_q4_K, qs) + 32 * (size_t)u);
    emit_unsigned(s, 8 * u, q, 0, 15, scale32(b, 2 * u), offset32(b, 2 * u));
    emit_unsigned(s, 8 * u + 4, q, 4, 15, scale32(b, 2 * u + 1), offset32(b, 2 * u + 1));
}

INLINE void q5_K_unit(struct block *b, int u, struct sink *s) {
    const vi nibble = bytes_set1(15), bit4 = bytes_set1(16);
    vi q = load32(b, offsetof(block_q5_K, qs) + 32 * (size_t)u);
    vi lo = vi_or(vi_and(q, nibble), vi_and(VI_SHL(b->high, 4), bit4));
    vi hi = vi_or(vi_and(VI_SHR(q, 4), nibble), vi_and(VI_SHL(b->high, 3), bit4));
    b->high = VI_SHR(b->high, 2);
    emit_unsigned(s, 8 * u, lo, 0, 255, scale32(b, 2 * u), offset32(b, 2 * u));
    emit_unsigned(s, 8 * u + 4, hi, 0, 255, scale32(b, 2 * u + 1), offset32(b, 2 * u + 1));
}

INLINE void q6_K_unit(struct block *b, int u, struct sink *s) {
    const vi nibble = bytes_set1(15), bits45 = bytes_set1(0x30);
    size_t ql = offsetof(block_q6_K, ql) + 64 * (size_t)(u / 2);
    vi q0 = load32(b, ql), q1 = load32(b, ql + 32);
    if (u % 2 == 0) {
        b->high = load32(b, offsetof(block_q6_K, qh) + 32 * (size_t)(u / 2));
        q0 = vi_or(vi_and(q0, nibble), vi_and(VI_SHL(b->high, 4), bits45));
        q1 = vi_or(vi_and(q1, nibble), vi_and(VI_SHL(b->high, 2), bits45));
    } else {
        q0 = vi_or(vi_and(VI_SHR(q0, 4), nibble), vi_and(b->high, bits45));
        q1 = vi_or(vi_and(VI_SHR(q1, 4), nibble), vi_and(VI_SHR(b->high, 2), bits45));
    }
    emit_biased(s, 8 * u, q0, 0, 255, 32, scale16(b, 2 * u), offset16(b, 2 * u));
    emit_biased(s, 8 * u + 4, q1, 0, 255, 32, scale16(b, 2 * u + 1), offset16(b, 2 * u + 1));
}

INLINE void iq4_xs_unit(struct block *b, int u, struct sink *s) {
    size_t qs = offsetof(block_iq4_xs, qs) + 32 * (size_t)u;
    vi q0 = nibbles(b, qs), q1 = nibbles(b, qs + 16);
    emit_table(s, 8 * u, q0, iq4_values, scale32(b, 2 * u));
    emit_table(s, 8 * u + 4, q1, iq4_values, scale32(b, 2 * u + 1));
}

SIMD_END

#endif
