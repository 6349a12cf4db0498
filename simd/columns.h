/* Products with the columns of a row in the lanes of a register, in the order of matmul_q.h (8 of
 * them; wider registers hold several rows side by side): the sink of the decoders in decode.h, and
 * the scales of their blocks. */
#ifndef COLUMNS_H
#define COLUMNS_H

/* The numbers of a block become floats in one of two ways, as rows.h explains: by a conversion, or
 * as they are, subnormal. Here a byte goes to bits 16 .. 23 of its dword for that, and as a float
 * is itself times 2^-133. */
#define UP(subnormal) ((subnormal) ? 0x1p69f : 1.f)
#define DOWN(subnormal) ((subnormal) ? 0x1p-64f : 1.f)

struct sink {
    vf acc[GEMV_TOKENS];         // gemv: the running sums
    const float *x[GEMV_TOKENS]; // gemv: activations of the block
    float *panel;                // panel: where the block goes
    int panel_step;              // floats from one step to the next there
    /* These are constants wherever this is used. */
    int n_tokens;
    bool subnormal;
    bool store; // panel or gemv?
};

/* SIMD_ROWS rows at one block: p the first, p + stride the second. */
struct block {
    const uint8_t *p;
    size_t stride;
    float up, down;         // what scales and offsets carry
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
        return;
    }
    _Pragma("GCC unroll 4") for (int t = 0; t < s->n_tokens; t++) {
        s->acc[t] = vf_fma(w, vf_load8(s->x[t] + step * LANES), s->acc[t]);
    }
}

INLINE vf times(vf a, float b) {
    return b == 1 ? a : vf_mul(a, vf_rows(b, b));
}
INLINE vi bytes_set1(uint8_t b) {
    return vi_set1((int32_t)(b * 0x01010101u));
}
/* 32 bytes at `at` in the block. */
INLINE vi load32(const struct block *b, size_t at) {
    return vi_load32(b->p + at, b->stride);
}
/* 16 bytes there, and the same shifted right by 4 bits: numbers of 4 bits are the low ones of each
 * byte, what the high ones are is not said. */
INLINE vi nibbles(const struct block *b, size_t at) {
    return vi_nibbles(b->p + at, b->stride);
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

/* Byte n of every integer, as a float or as a subnormal one. */
INLINE vf byte_number(const struct sink *s, vi q, int n) {
    if (s->subnormal) return vf_byte_subnormal(q, n);
    return vf_from_vi(n == 3 ? VI_SHR(q, 24) : vi_byte(q, n));
}

/* 32 weights w = scale * (q >> shift & mask) + offset, q bytes. */
INLINE void emit_unsigned(struct sink *s, int step, vi q, int shift, int mask, vs scale,
                          vs offset) {
    q = bytes_bits(q, shift, mask);
    for (int n = 0; n < 4; n++) emit(s, step + n, vf_fma(scale, byte_number(s, q, n), offset));
}

/* 32 weights w = scale * q, q signed bytes, with the sign that a zero has. */
INLINE void emit_exact(struct sink *s, int step, vi q, vs scale) {
    emit(s, step, vf_mul(scale, vf_from_vi(VI_SAR(VI_SHL(q, 24), 24))));
    emit(s, step + 1, vf_mul(scale, vf_from_vi(VI_SAR(VI_SHL(q, 16), 24))));
    emit(s, step + 2, vf_mul(scale, vf_from_vi(VI_SAR(VI_SHL(q, 8), 24))));
    emit(s, step + 3, vf_mul(scale, vf_from_vi(VI_SAR(q, 24))));
}

/* 32 weights w = scale * ((q >> shift & mask) - bias); minus is -scale, an offset. In a gemv a
 * weight of 0 is +0, also where the scale is below 0. */
INLINE void emit_biased(struct sink *s, int step, vi q, int shift, int mask, int bias, vs scale,
                        vs minus) {
    if (s->store) {
        q = vi_sub8(bytes_bits(q, shift, mask), bytes_set1((uint8_t)bias));
        emit_exact(s, step, q, scale);
    } else {
        emit_unsigned(s, step, q, shift, mask, scale, times(minus, (float)bias));
    }
}

/* 32 weights w = scale * q, q signed bytes. */
INLINE void emit_signed(struct sink *s, int step, vi q, vs scale, vs minus) {
    if (s->store) {
        emit_exact(s, step, q, scale);
    } else {
        emit_biased(s, step, vi_sub8(q, bytes_set1(128)), 0, 255, 128, scale, minus);
    }
}

/* 32 weights w = scale * table[the low 4 bits of q], q bytes. */
INLINE void emit_table(struct sink *s, int step, vi q, const int8_t table[16], vs scale) {
    emit_exact(s, step, vi_lookup(bytes_bits(q, 0, 15), table), scale);
}

/* ---- what a block begins with ---------------------------------------------------------------- */

/* Scales come out times up, offsets times down; types with a bias have minus the scale as one. */
INLINE void begin_nothing(struct block *b) {
    (void)b;
}
INLINE void begin_scale(struct block *b) {
    b->scale[0] = times(vf_half(b->p, b->stride), b->up);
}
INLINE void begin_biased(struct block *b) {
    vf d = vf_half(b->p, b->stride);
    b->scale[0] = times(d, b->up);
    b->offset[0] = times(d, -b->down);
}
INLINE void begin_scale_offset(struct block *b) {
    vf d, m;
    vf_half2(b->p, b->stride, &d, &m);
    b->scale[0] = times(d, b->up);
    b->offset[0] = times(m, b->down);
}
/* d and -dmin. */
INLINE void begin_d_dmin(const struct block *b, size_t at, vf *d, vf *dmin) {
    vf_half2(b->p + at, b->stride, d, dmin);
    *d = times(*d, b->up);
    *dmin = times(*dmin, -b->down);
}
/* Numbers with d as their scale, the first and the second four of them. */
INLINE void begin_scales(struct block *b, vf d, vf first, vf second) {
    vf up = times(d, b->up), down = times(d, -b->down);
    b->scale[0] = vf_mul(up, first);
    b->scale[1] = vf_mul(up, second);
    b->offset[0] = vf_mul(down, first);
    b->offset[1] = vf_mul(down, second);
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
    begin_d_dmin(b, offsetof(block_q2_K, d), &d, &dmin);
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
    begin_scales(b, d, vf_from_vi(vi_widen_pairs(scales, 0)),
                 vf_from_vi(vi_widen_pairs(scales, 8)));
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
    begin_d_dmin(b, 0, &d, &dmin);
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
    begin_scales(b, d, vf_from_vi(vi_widen_pairs(scales, 0)),
                 vf_from_vi(vi_widen_pairs(scales, 8)));
}

#endif
