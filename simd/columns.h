/* Products with the columns of a row in the lanes of a register, in the order of matmul_q.h (8 of
 * them; wider registers hold several rows side by side): the sink of the decoders in decode.h, and
 * the scales of their blocks. */
#ifndef COLUMNS_H
#define COLUMNS_H

struct sink {
    vf acc;         // gemv: the running sums
    const float *x; // gemv: activations of the block
    float *panel;   // panel: where the block goes
    int panel_step; // floats from one step to the next there
    bool store;     // panel or gemv? A constant, so that one of the two is compiled
};

/* SIMD_ROWS rows at one block: p the first, p + stride the second. */
struct block {
    const uint8_t *p;
    size_t stride;
    vf scale[2], offset[2]; // four sub-blocks each, the same in both halves of a row's lanes
    vi high, quants;        // high bits and quants not used yet
};

/* What 32 columns are multiplied by. */
typedef vf vs;

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
/* Of a block that has one. */
INLINE vs one_scale(const struct block *b) {
    return b->scale[0];
}
INLINE vs one_offset(const struct block *b) {
    return b->offset[0];
}
/* Of columns 32 j .. 32 j + 32, if 32 share a scale, and if 16 do: the first four lanes have one,
 * the last four the next. */
INLINE vs scale32(const struct block *b, int j) {
    return splat4(b->scale[j / 4], j % 4);
}
INLINE vs offset32(const struct block *b, int j) {
    return splat4(b->offset[j / 4], j % 4);
}
#define scale16 scale32
#define offset16 offset32

/* 8 weights, one of each lane. */
INLINE void emit(struct sink *s, int step, vf w) {
    if (s->store) {
        vf_store(s->panel + step * s->panel_step, w);
    } else {
        s->acc = vf_fma(w, vf_load8(s->x + step * LANES), s->acc);
    }
}

INLINE vi bytes_set1(uint8_t b) {
    return vi_set1((int32_t)(b * 0x01010101u));
}
/* Byte k becomes 0x10 if bit k of the 32-bit word at `at` in the block is set, otherwise 0. */
INLINE vi bits_to_16(const struct block *b, size_t at) {
    return vi_bits_to_16(b->p + at, b->stride);
}
/* q >> shift & mask in each byte; a mask of 255 says that there is nothing to take away. */
INLINE vi bytes_bits(vi q, int shift, int mask) {
    if (shift) q = VI_SHR(q, shift);
    return mask == 255 ? q : vi_and(q, bytes_set1((uint8_t)mask));
}

/* 32 weights w = scale * (q >> shift & mask) + offset, q bytes. */
INLINE void emit_unsigned(struct sink *s, int step, vi q, int shift, int mask, vs scale,
                          vs offset) {
    q = bytes_bits(q, shift, mask);
    emit(s, step, vf_fma(scale, vf_from_vi(vi_byte(q, 0)), offset));
    emit(s, step + 1, vf_fma(scale, vf_from_vi(vi_byte(q, 1)), offset));
    emit(s, step + 2, vf_fma(scale, vf_from_vi(vi_byte(q, 2)), offset));
    emit(s, step + 3, vf_fma(scale, vf_from_vi(VI_SHR(q, 24)), offset));
}

/* 32 weights w = scale * q, q signed bytes. */
INLINE void emit_signed(struct sink *s, int step, vi q, vs scale) {
    emit(s, step, vf_mul(scale, vf_from_vi(VI_SAR(VI_SHL(q, 24), 24))));
    emit(s, step + 1, vf_mul(scale, vf_from_vi(VI_SAR(VI_SHL(q, 16), 24))));
    emit(s, step + 2, vf_mul(scale, vf_from_vi(VI_SAR(VI_SHL(q, 8), 24))));
    emit(s, step + 3, vf_mul(scale, vf_from_vi(VI_SAR(q, 24))));
}

/* 32 weights w = scale * ((q >> shift & mask) - bias). */
INLINE void emit_biased(struct sink *s, int step, vi q, int shift, int mask, int bias, vs scale) {
    emit_signed(s, step, vi_sub8(bytes_bits(q, shift, mask), bytes_set1((uint8_t)bias)), scale);
}

/* 32 weights w = scale * table[the low 4 bits of q], q bytes. */
INLINE void emit_table(struct sink *s, int step, vi q, const int8_t table[16], vs scale) {
    emit_signed(s, step, vi_lookup(bytes_bits(q, 0, 15), table), scale);
}

/* ---- what a block begins with ---------------------------------------------------------------- */

/* Nothing, a scale, a scale and an offset. */
INLINE void begin_nothing(struct block *b) {
    (void)b;
}
INLINE void begin_scale(struct block *b) {
    b->scale[0] = vf_half(b->p, b->stride);
}
INLINE void begin_scale_offset(struct block *b) {
    vf_half2(b->p, b->stride, &b->scale[0], &b->offset[0]);
}

INLINE void mxfp4_begin(struct block *b) {
    b->scale[0] = vf_rows(e8m0_half_to_fp32(b->p[0]), e8m0_half_to_fp32(b->p[b->stride]));
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

INLINE void q5_K_begin(struct block *b) {
    k4_scales(b, offsetof(block_q5_K, scales));
    b->high = vi_load32(b->p + offsetof(block_q5_K, qh), b->stride);
}

/* 16 weights share a scale: the first four lanes have one, the last four the next. */
INLINE void q6_K_begin(struct block *b) {
    vf d = vf_half(b->p + offsetof(block_q6_K, d), b->stride);
    vi scales = vi_load16(b->p + offsetof(block_q6_K, scales), b->stride);
    b->scale[0] = vf_mul(d, vf_from_vi(vi_widen_pairs(scales, 0)));
    b->scale[1] = vf_mul(d, vf_from_vi(vi_widen_pairs(scales, 8)));
}

#endif
