/* Products of one to four tokens with a row of the matrix in each lane (simd_avx512_rows.h): the
 * sink of the decoders in decode.h, and the scales of their blocks. A register is one of the
 * contract's 8 chains for 16 rows: scales are plain vectors, made once and used for 32 columns, and
 * an activation is the same for all lanes, which an FMA reads from memory for nothing. What it
 * costs is to turn 32 bytes of 16 rows around, 32 shuffles for 32 x 16 weights. */
#ifndef ROWS_H
#define ROWS_H

#define CHAINS 8

/* The numbers of a block become floats in one of two ways. As an integer: masked and converted. Or
 * as they are: the bits of an integer n below 2^24, as a float, are n * 2^-149, and an FMA with a
 * scale times 2^149 gives the same weight, rounded once, without a conversion. That needs a
 * processor on which subnormal numbers cost nothing. So that no scale overflows, weights then carry
 * 2^-64 and activations 2^64. */
#define UP(s) ((s)->subnormal ? 0x1p85f : 1.f)
#define DOWN(s) ((s)->subnormal ? 0x1p-64f : 1.f)

struct sink {
    vf acc[GEMV_TOKENS][CHAINS];
    const float *x[GEMV_TOKENS]; // activations of the block, from the first chain on
    /* These are constants wherever this is used. All chains of several tokens do not fit the
     * registers: then half of them are computed at a time. */
    int n_tokens, chains;
    bool subnormal;
    int fetch_bytes; // of 32 columns of all rows
    uintptr_t fetch; // what to fetch next
};

struct block {
    const uint8_t *p;
    size_t stride;
    float up, down;    // what scales and offsets carry
    int chains, half;  // all 8, or one half of them: chains 4 * half .. 4 * half + 3
    __m512i header[2]; // dwords of each row: struct header
    vf scale[16], offset[16];
    vi high, quants; // high bits and quants not used yet
};

/* What 32 columns are multiplied by: the first four chains at hand, and the next four. */
typedef struct {
    vf lo, hi;
} vs;

INLINE vs vs_pick(const struct block *b, const vf *v, int lo, int hi) {
    if (b->chains == CHAINS) return (vs){v[lo], v[hi]};
    int one = lo + b->half * (hi - lo); // no condition, for which compilers would write all twice
    return (vs){v[one], v[one]};
}
INLINE vs one_scale(const struct block *b) {
    return vs_pick(b, b->scale, 0, 0);
}
INLINE vs one_offset(const struct block *b) {
    return vs_pick(b, b->offset, 0, 0);
}
/* Of columns 32 j .. 32 j + 32, if 32 share a scale, and if 16 do. */
INLINE vs scale32(const struct block *b, int j) {
    return vs_pick(b, b->scale, j, j);
}
INLINE vs offset32(const struct block *b, int j) {
    return vs_pick(b, b->offset, j, j);
}
INLINE vs scale16(const struct block *b, int j) {
    return vs_pick(b, b->scale, 2 * j, 2 * j + 1);
}
INLINE vs offset16(const struct block *b, int j) {
    return vs_pick(b, b->offset, 2 * j, 2 * j + 1);
}

/* 32 bytes at `at` in the block, of which half the chains take 16. */
INLINE vi load32(const struct block *b, size_t at) {
    if (b->chains == CHAINS) return vi_load32(b->p + at, b->stride);
    vi v = vi_set1(0);
    simd_load16(b->p + at + 16 * (size_t)b->half, b->stride, v.k);
    return v;
}
/* 16 bytes there, and for the last four chains the same shifted right by 4 bits: numbers of 4 bits
 * are the low ones of each byte, what the high ones are is not said. */
INLINE vi nibbles(const struct block *b, size_t at) {
    vi v = vi_set1(0);
    simd_load16(b->p + at, b->stride, v.k);
    if (b->chains < CHAINS) return vi_shr(v, 4 * b->half);
    _Pragma("GCC unroll 4") for (int k = 0; k < 4; k++) v.k[k + 4] = simd_shr(v.k[k], 4);
    return v;
}
/* Byte i of dword k becomes 0x10 if bit 4 k + i of the word at `at` in the header is set. */
INLINE vi bits_to_16(const struct block *b, size_t at) {
    __m512i word = b->header[at / 4];
    if (at % 4 == 2) {
        word = _mm512_or_si512(simd_shr(word, 16), simd_shl(b->header[at / 4 + 1], 16));
    }
    return vi_bits_to_16(word, 16 * b->half);
}

INLINE vi bytes_set1(uint8_t b) {
    return vi_set1((int32_t)(b * 0x01010101u));
}
INLINE vf times(vf a, float b) {
    return _mm512_mul_ps(a, _mm512_set1_ps(b));
}
INLINE vs vs_times(vs a, float b) {
    return (vs){times(a.lo, b), times(a.hi, b)};
}

/* Keep the compiler from computing ahead more than there are registers for. */
#define HOLD4(q, i)                                                                   \
    __asm__ volatile(""                                                               \
                     : "+v"((q)->k[i]), "+v"((q)->k[(i) + 1]), "+v"((q)->k[(i) + 2]), \
                       "+v"((q)->k[(i) + 3]))
INLINE void hold(const struct sink *s, vi *q) {
    HOLD4(q, 0);
    if (s->chains == CHAINS) HOLD4(q, 4);
}
/* The next rows come line by line between the FMAs, in the order of their addresses: many lines at
 * a time would stall. Types of more than 24 bytes for 32 weights go into L2 only, as L1 cannot hold
 * these rows and the next. */
INLINE void prefetch_line(const struct sink *s, int line) {
    const void *p = (const void *)(s->fetch + (size_t)line);
    if (s->fetch_bytes > 24 * SIMD_ROWS) {
        __builtin_prefetch(p, 0, 2);
    } else {
        __builtin_prefetch(p);
    }
}

#define EACH_CHAIN(s) _Pragma("GCC unroll 8") for (int k = 0; k < (s)->chains; k++)

#define EACH_TOKEN(s) _Pragma("GCC unroll 4") for (int t = 0; t < (s)->n_tokens; t++)

/* The weights of one step, a column of each chain, times the activations of every token. */
INLINE void emit(struct sink *s, int step, const vf w[CHAINS]) {
    EACH_CHAIN(s) {
        EACH_TOKEN(s) {
            vf x = _mm512_set1_ps(s->x[t][step * LANES + k]);
            s->acc[t][k] = _mm512_fmadd_ps(w[k], x, s->acc[t][k]);
        }
    }
    for (int line = step % 4 * CACHE_LINE; line < s->fetch_bytes; line += 4 * CACHE_LINE) {
        prefetch_line(s, line);
    }
    if (step % 4 == 3) s->fetch += (size_t)s->fetch_bytes;
}

/* w = scale * (dword & mask) + offset */
INLINE void emit_masked(struct sink *s, int step, vi q, int mask, vs scale, vs offset) {
    vf w[CHAINS];
    EACH_CHAIN(s) {
        __m512i n = mask ? _mm512_and_si512(q.k[k], _mm512_set1_epi32(mask)) : q.k[k];
        vf f = s->subnormal ? _mm512_castsi512_ps(n) : _mm512_cvtepi32_ps(n);
        w[k] = _mm512_fmadd_ps(f, k < 4 ? scale.lo : scale.hi, k < 4 ? offset.lo : offset.hi);
    }
    emit(s, step, w);
}

#define POWER2(n) (1.f / (float)(1 << (n)))

/* 32 weights w = scale * (q >> shift & mask) + offset, q bytes. The numbers stay where they are in
 * their dwords, the scale makes up for it; the highest byte has to come down. */
INLINE void emit_unsigned(struct sink *s, int step, vi q, int shift, int mask, vs scale,
                          vs offset) {
    hold(s, &q);
    emit_masked(s, step, q, mask << shift, shift ? vs_times(scale, POWER2(shift)) : scale, offset);
    hold(s, &q);
    emit_masked(s, step + 1, q, mask << (8 + shift), vs_times(scale, POWER2(8 + shift)), offset);
    hold(s, &q);
    vs third = vs_times(scale, POWER2(16 + shift));
    emit_masked(s, step + 2, q, mask << (16 + shift), third, offset);
    hold(s, &q);
    if (mask << shift >= 128) {
        emit_masked(s, step + 3, VI_SHR(q, 24 + shift), 0, scale, offset);
    } else {
        emit_masked(s, step + 3, VI_SHR(q, 8), mask << (16 + shift), third, offset);
    }
}

/* 32 weights w = scale * ((q >> shift & mask) - bias); minus is -scale, an offset. A weight of 0 is
 * +0 here, also where the scale is below 0. */
INLINE void emit_biased(struct sink *s, int step, vi q, int shift, int mask, int bias, vs scale,
                        vs minus) {
    emit_unsigned(s, step, q, shift, mask, scale, vs_times(minus, (float)bias));
}

/* 32 weights w = scale * q, q signed bytes. */
INLINE void emit_signed(struct sink *s, int step, vi q, vs scale, vs minus) {
    emit_biased(s, step, vi_xor(q, bytes_set1(128)), 0, 255, 128, scale, minus);
}

/* 32 weights w = scale * table[low 4 bits of q], q bytes */
INLINE void emit_table(struct sink *s, int step, vi q, const int8_t table[16], vs scale) {
    vf t = _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)table)));
    _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) {
        vf w[CHAINS];
        hold(s, &q);
        EACH_CHAIN(s) {
            __m512i n = simd_shr(q.k[k], 8 * i); // 4 bits of it count
            w[k] = _mm512_mul_ps(_mm512_permutexvar_ps(n, t), k < 4 ? scale.lo : scale.hi);
        }
        emit(s, step + i, w);
    }
}

/* ---- scales ---------------------------------------------------------------------------------- */

/* Each type's begin_fn; the ones for lanes of columns stand in columns.h. Scales come out times up,
 * offsets times down. */
INLINE void begin_scale(struct block *b) {
    b->scale[0] = times(simd_low_halves(b->header[0]), b->up);
}
INLINE void begin_biased(struct block *b) {
    vf d = simd_low_halves(b->header[0]);
    b->scale[0] = times(d, b->up);
    b->offset[0] = times(d, -b->down);
}
INLINE void begin_scale_offset(struct block *b) {
    begin_scale(b);
    b->offset[0] = times(simd_low_halves(simd_shr(b->header[0], 16)), b->down);
}

/* e8m0_half_to_fp32 */
INLINE void mxfp4_begin(struct block *b) {
    __m512i e = _mm512_and_si512(b->header[0], _mm512_set1_epi32(255));
    __m512i normal = simd_shl(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    __m512i subnormal = _mm512_sllv_epi32(_mm512_set1_epi32(1 << 21), e);
    __mmask16 small = _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2));
    b->scale[0] = _mm512_castsi512_ps(_mm512_mask_mov_epi32(normal, small, subnormal));
}

/* The layout: columns.h. A scale of 0 is +0 here. */
INLINE void iq4_xs_begin(struct block *b) {
    const __m512i four = _mm512_set1_epi32(15), two = _mm512_set1_epi32(48);
    vf d = times(simd_low_halves(b->header[0]), b->up), d32 = times(d, -32);
    _Pragma("GCC unroll 8") for (int j = 0; j < 8; j++) {
        __m512i low = _mm512_and_si512(simd_shr(b->header[1], 4 * j), four);
        __m512i high = _mm512_and_si512(simd_shr(b->header[0], 12 + 2 * j), two);
        b->scale[j] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_or_si512(low, high)), d, d32);
    }
}

INLINE void q2_K_begin(struct block *b) {
    __m512i both[4];
    vf d = times(simd_low_halves(b->header[0]), b->up);
    vf dmin = times(simd_low_halves(simd_shr(b->header[0], 16)), -b->down);
    simd_load16(b->p + offsetof(block_q2_K, scales), b->stride, both);
    _Pragma("GCC unroll 16") for (int j = 0; j < 16; j++) {
        b->scale[j] = _mm512_mul_ps(d, simd_bits(both[j / 4], j % 4 * 8, 15));
        b->offset[j] = _mm512_mul_ps(dmin, simd_bits(both[j / 4], j % 4 * 8 + 4, 15));
    }
}

/* The layout: columns.h. A scale of 0 is +0 here. */
INLINE void q3_K_begin(struct block *b) {
    __m512i w[4];
    vf half = simd_low_halves(simd_shr(b->header[0], 16));
    vf d = times(half, b->up), d32 = times(d, -32), m = times(half, -b->down), m32 = times(m, -32);
    simd_load16(b->p + offsetof(block_q3_K, scales) - 4, b->stride, w);
    _Pragma("GCC unroll 16") for (int j = 0; j < 16; j++) {
        int g = j / 4;
        __m512i low =
            _mm512_and_si512(simd_shr(w[1 + g % 2], j % 4 * 8 + g / 2 * 4), _mm512_set1_epi32(15));
        __m512i high = _mm512_and_si512(simd_shr(w[3], j % 4 * 8 + 2 * g), _mm512_set1_epi32(3));
        __m512i six = _mm512_or_si512(low, simd_shl(high, 4));
        b->scale[j] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(six), d, d32);
        b->offset[j] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(six), m, m32);
    }
    b->high = load32(b, offsetof(block_q3_K, hmask));
}

/* get_scale_min_k4 of 16 rows: both words of scales, both of mins. */
INLINE void k4_scales(struct block *b) {
    const __m512i low4 = _mm512_set1_epi32(0x0f0f0f0f), top2 = _mm512_set1_epi32(0x30303030);
    __m512i w[4];
    simd_load16(b->p, b->stride, w); // d and dmin, and the 12 bytes
    vf d = times(simd_low_halves(w[0]), b->up);
    vf dmin = times(simd_low_halves(simd_shr(w[0], 16)), -b->down);
    __m512i sc =
        _mm512_or_si512(_mm512_and_si512(w[3], low4), _mm512_and_si512(simd_shr(w[1], 2), top2));
    __m512i m = _mm512_or_si512(_mm512_and_si512(simd_shr(w[3], 4), low4),
                                _mm512_and_si512(simd_shr(w[2], 2), top2));
    _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++) {
        b->scale[j] = _mm512_mul_ps(d, simd_bits(w[1], 8 * j, 63));
        b->scale[j + 4] = _mm512_mul_ps(d, simd_bits(sc, 8 * j, 63));
        b->offset[j] = _mm512_mul_ps(dmin, simd_bits(w[2], 8 * j, 63));
        b->offset[j + 4] = _mm512_mul_ps(dmin, simd_bits(m, 8 * j, 63));
    }
}
INLINE void q4_K_begin(struct block *b) {
    k4_scales(b);
}
INLINE void q5_K_begin(struct block *b) {
    k4_scales(b);
    b->high = load32(b, offsetof(block_q5_K, qh));
}

/* A scale of 0 is +0 here. */
INLINE void q6_K_begin(struct block *b) {
    __m512i sc[4];
    vf half = simd_low_halves(simd_shr(b->header[0], 16));
    vf d = times(half, b->up), d128 = times(d, -128);
    vf m = times(half, -b->down), m128 = times(m, -128);
    simd_load16(b->p + offsetof(block_q6_K, scales), b->stride, sc);
    _Pragma("GCC unroll 16") for (int j = 0; j < 16; j++) {
        __m512i biased = _mm512_xor_si512(sc[j / 4], _mm512_set1_epi32((int)0x80808080));
        vf n = simd_bits(biased, j % 4 * 8, 255);
        b->scale[j] = _mm512_fmadd_ps(n, d, d128);
        b->offset[j] = _mm512_fmadd_ps(n, m, m128);
    }
}

#endif
