/* integers.h on AVX2, 8 rows to a register. What each function does: int_avx512.h. */
#ifndef INT_AVX2_H
#define INT_AVX2_H

#define INT_ROWS 8
typedef __m256i ri;
typedef __m256 rf;

INLINE ri ri_set1(int32_t a) {
    return _mm256_set1_epi32(a);
}
INLINE ri ri_load1(const void *p) {
    int32_t v;
    memcpy(&v, p, 4);
    return _mm256_set1_epi32(v);
}
INLINE ri ri_and(ri a, ri b) {
    return _mm256_and_si256(a, b);
}
INLINE ri ri_or(ri a, ri b) {
    return _mm256_or_si256(a, b);
}
INLINE ri ri_add(ri a, ri b) {
    return _mm256_add_epi32(a, b);
}
INLINE ri ri_add8(ri a, ri b) {
    return _mm256_add_epi8(a, b);
}
INLINE ri ri_mul(ri a, ri b) {
    return _mm256_mullo_epi32(a, b);
}
INLINE ri ri_shr(ri a, int n) {
    return _mm256_srli_epi32(a, n);
}
INLINE ri ri_shl(ri a, int n) {
    return _mm256_slli_epi32(a, n);
}
INLINE ri ri_sar(ri a, int n) {
    return _mm256_srai_epi32(a, n);
}
/* A line to L2. Compilers collect prefetches in one place, where they stall; this one stays behind
 * what `after` needed. */
INLINE void ri_fetch(ri *after, const uint8_t *p) {
    __asm__ volatile("prefetcht1 %1" : "+x"(*after) : "m"(*p));
}
INLINE rf rf_set1(float a) {
    return _mm256_set1_ps(a);
}
INLINE rf rf_load(const float *p) {
    return _mm256_loadu_ps(p);
}
INLINE void rf_store(float *p, rf a) {
    _mm256_storeu_ps(p, a);
}
INLINE rf rf_fma(rf a, rf b, rf c) {
    return _mm256_fmadd_ps(a, b, c);
}
INLINE rf rf_from_ri(ri a) {
    return _mm256_cvtepi32_ps(a);
}
INLINE rf rf_low_half(ri a) {
    ri words = _mm256_packus_epi32(ri_and(a, ri_set1(0xffff)), _mm256_setzero_si256());
    return _mm256_cvtph_ps(
        _mm_unpacklo_epi64(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}
INLINE rf rf_halves(const uint8_t *p, size_t stride) {
    uint16_t h[INT_ROWS];
    for (int r = 0; r < INT_ROWS; r++) memcpy(h + r, p + (size_t)r * stride, 2);
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)h));
}
INLINE ri ri_dwords(const uint8_t *p, size_t stride) {
    int32_t d[INT_ROWS];
    for (int r = 0; r < INT_ROWS; r++) memcpy(d + r, p + (size_t)r * stride, 4);
    return _mm256_loadu_si256((const __m256i *)(const void *)d);
}
INLINE ri ri_lookup(ri q, const int8_t table[16]) {
    __m128i t = _mm_loadu_si128((const __m128i *)(const void *)table);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), q);
}
INLINE ri ri_two(const uint8_t *p, size_t step) {
    return _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p)),
        _mm_loadu_si128((const __m128i *)(const void *)(p + step)), 1);
}
INLINE void ri_rows16(const uint8_t *p, size_t stride, ri out[4]) {
    ri in[4];
    for (int i = 0; i < 4; i++) in[i] = ri_two(p + (size_t)i * stride, 4 * stride);
    ri a = _mm256_unpacklo_epi32(in[0], in[1]), b = _mm256_unpackhi_epi32(in[0], in[1]);
    ri c = _mm256_unpacklo_epi32(in[2], in[3]), d = _mm256_unpackhi_epi32(in[2], in[3]);
    out[0] = _mm256_unpacklo_epi64(a, c);
    out[1] = _mm256_unpackhi_epi64(a, c);
    out[2] = _mm256_unpacklo_epi64(b, d);
    out[3] = _mm256_unpackhi_epi64(b, d);
}
INLINE void ri_rows32(const uint8_t *p, size_t stride, ri d[8]) {
    ri_rows16(p, stride, d);
    ri_rows16(p + 16, stride, d + 4);
}

#define TILE_VECTORS 4

/* maddubs adds pairs of unsigned times signed bytes to int16, which must hold them (it would
 * saturate): weights up to 127, as 2 * 127 * 128 = 32512 fits. Sums of several still do:
 *     largest weight     dwords together
 *     3, 7, 15           8                   8 * 2 * 15 * 128 = 30720
 *     28, 31             4                   4 * 2 * 31 * 128 = 31744
 *     63                 2                   2 * 2 * 63 * 128 = 32256
 * Then one pmaddwd with the scale twice makes them int32 and multiplies them. */
#define HAS_WIDE true
#define SIGNED_SHIFT 0
INLINE ri ri_from_signed(ri q) {
    return q;
}

INLINE void add_sub_block(ri *sum, const ri *q, const int8_t *x, const int32_t *less,
                          const ri *scale, const struct form f, const int n) {
    const int together = f.largest > 63 ? 1 : f.largest > 31 ? 2 : f.largest > 15 ? 4 : 8;
    ri twice =
        f.scaled ? ri_or(ri_and(*scale, ri_set1(0xffff)), ri_shl(*scale, 16)) : ri_set1(0x00010001);
    UNROLL for (int i = 0; i < n; i++) {
        if (!f.shift) continue;
        ri offset = ri_shl(ri_load1(less + i * N_LESS(f)), f.shift);
        sum[i] = ri_add(sum[i], f.scaled ? ri_mul(offset, *scale) : offset);
    }
    for (int k0 = 0; k0 < f.sub; k0 += together) {
        ri s[TILE_VECTORS];
        UNROLL for (int k = k0; k < k0 + (together < f.sub ? together : f.sub); k++) {
            UNROLL for (int i = 0; i < n; i++) {
                ri pairs = _mm256_maddubs_epi16(q[k], ri_load1(x + i * ACT_PART + 4 * k));
                s[i] = k == k0 ? pairs : _mm256_add_epi16(s[i], pairs);
            }
        }
        UNROLL for (int i = 0; i < n; i++) sum[i] = ri_add(sum[i], _mm256_madd_epi16(s[i], twice));
    }
}

/* Signed bytes times activations that are whole: 128 * 32639 * 32 = 133,689,344 fits int32. Of four
 * activations the first and third come first (lay_out), for the even bytes. A sub-block's scale
 * would make that too large: with 16 bits the low and the high bits of the sum are scaled apart and
 * become two sums, to be joined like those of planes. */
INLINE void add_wide(ri *sum, const ri *q, const int16_t *x, const ri *scale, const struct form f,
                     const int n, int planes) {
    ri s[TILE_VECTORS];
    UNROLL for (int i = 0; i < n; i++) s[i] = ri_set1(0);
    UNROLL for (int k = 0; k < 8; k++) {
        ri even = _mm256_srai_epi16(_mm256_slli_epi16(q[k], 8), 8);
        ri odd = _mm256_srai_epi16(q[k], 8);
        UNROLL for (int i = 0; i < n; i++) {
            const int16_t *four = x + i * ACT_PART + 4 * k;
            s[i] = ri_add(s[i], _mm256_madd_epi16(even, ri_load1(four)));
            s[i] = ri_add(s[i], _mm256_madd_epi16(odd, ri_load1(four + 2)));
        }
    }
    UNROLL for (int i = 0; i < n; i++) {
        if (!f.scaled) {
            sum[i] = s[i];
        } else if (planes == 1) {
            sum[i] = ri_add(sum[i], ri_mul(s[i], *scale));
        } else {
            ri low = ri_and(s[i], ri_set1(255));
            sum[2 * i] = ri_add(sum[2 * i], ri_mul(low, *scale));
            sum[2 * i + 1] = ri_add(sum[2 * i + 1], ri_mul(ri_sar(s[i], 8), *scale));
        }
    }
}

#endif
