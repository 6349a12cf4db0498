/* integers.h on AVX-512 VNNI, 16 rows to a register. What each function does is said here. */
#ifndef INT_AVX512_H
#define INT_AVX512_H

#define INT_ROWS 16
typedef __m512i ri; // a dword of each row
typedef __m512 rf;

INLINE ri ri_set1(int32_t a) {
    return _mm512_set1_epi32(a);
}
/* The dword at p for all rows. */
INLINE ri ri_load1(const void *p) {
    int32_t v;
    memcpy(&v, p, 4);
    return _mm512_set1_epi32(v);
}
INLINE ri ri_and(ri a, ri b) {
    return _mm512_and_si512(a, b);
}
INLINE ri ri_or(ri a, ri b) {
    return _mm512_or_si512(a, b);
}
INLINE ri ri_add(ri a, ri b) {
    return _mm512_add_epi32(a, b);
}
INLINE ri ri_add8(ri a, ri b) {
    return _mm512_add_epi8(a, b);
}
INLINE ri ri_mul(ri a, ri b) {
    return _mm512_mullo_epi32(a, b);
}
INLINE ri ri_shr(ri a, int n) {
    return _mm512_srli_epi32(a, (unsigned)n);
}
INLINE ri ri_shl(ri a, int n) {
    return _mm512_slli_epi32(a, (unsigned)n);
}
INLINE ri ri_sar(ri a, int n) {
    return _mm512_srai_epi32(a, (unsigned)n);
}
/* A line to L2. Compilers collect prefetches in one place, where they stall; this one stays behind
 * what `after` needed. */
INLINE void ri_fetch(ri *after, const uint8_t *p) {
    __asm__ volatile("prefetcht1 %1" : "+v"(*after) : "m"(*p));
}
INLINE rf rf_set1(float a) {
    return _mm512_set1_ps(a);
}
INLINE rf rf_load(const float *p) {
    return _mm512_loadu_ps(p);
}
INLINE void rf_store(float *p, rf a) {
    _mm512_storeu_ps(p, a);
}
INLINE rf rf_fma(rf a, rf b, rf c) {
    return _mm512_fmadd_ps(a, b, c);
}
INLINE rf rf_from_ri(ri a) {
    return _mm512_cvtepi32_ps(a);
}
/* The halves in the low words of the dwords. */
INLINE rf rf_low_half(ri a) {
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a));
}
/* Of every row the half, or the dword, at p. */
INLINE rf rf_halves(const uint8_t *p, size_t stride) {
    uint16_t h[INT_ROWS];
    for (int r = 0; r < INT_ROWS; r++) memcpy(h + r, p + (size_t)r * stride, 2);
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)h));
}
INLINE ri ri_dwords(const uint8_t *p, size_t stride) {
    int32_t d[INT_ROWS];
    for (int r = 0; r < INT_ROWS; r++) memcpy(d + r, p + (size_t)r * stride, 4);
    return _mm512_loadu_si512(d);
}
/* Each byte, 0 to 15, becomes table[byte]. */
INLINE ri ri_lookup(ri q, const int8_t table[16]) {
    __m128i t = _mm_loadu_si128((const __m128i *)(const void *)table);
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), q);
}
/* Bytes at p of four rows, each `step` after the one before. */
INLINE ri ri_four(const uint8_t *p, size_t step) {
    ri v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)p));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(p + step)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(p + 2 * step)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(p + 3 * step)), 3);
}
INLINE ri ri_two(const uint8_t *p, size_t step) {
    return _mm512_inserti64x4(
        _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)p)),
        _mm256_loadu_si256((const __m256i *)(const void *)(p + step)), 1);
}
INLINE void ri_transpose(const ri in[4], ri out[4]) {
    ri a = _mm512_unpacklo_epi32(in[0], in[1]), b = _mm512_unpackhi_epi32(in[0], in[1]);
    ri c = _mm512_unpacklo_epi32(in[2], in[3]), d = _mm512_unpackhi_epi32(in[2], in[3]);
    out[0] = _mm512_unpacklo_epi64(a, c);
    out[1] = _mm512_unpackhi_epi64(a, c);
    out[2] = _mm512_unpacklo_epi64(b, d);
    out[3] = _mm512_unpackhi_epi64(b, d);
}
/* 16 bytes of every row: dword k of row r becomes lane r of d[k]. */
INLINE void ri_rows16(const uint8_t *p, size_t stride, ri d[4]) {
    ri in[4];
    UNROLL for (int i = 0; i < 4; i++) in[i] = ri_four(p + (size_t)i * stride, 4 * stride);
    ri_transpose(in, d);
}
/* 32 bytes likewise. */
INLINE void ri_rows32(const uint8_t *p, size_t stride, ri d[8]) {
    ri in[2][4], t[2][4];
    UNROLL for (int i = 0; i < 4; i++) {
        in[0][i] = ri_two(p + (size_t)i * stride, 4 * stride);
        in[1][i] = ri_two(p + (size_t)(8 + i) * stride, 4 * stride);
    }
    ri_transpose(in[0], t[0]);
    ri_transpose(in[1], t[1]);
    UNROLL for (int k = 0; k < 4; k++) {
        d[k] = _mm512_shuffle_i32x4(t[0][k], t[1][k], 0x88);
        d[k + 4] = _mm512_shuffle_i32x4(t[0][k], t[1][k], 0xdd);
    }
}

/* vpdpbusd takes unsigned weights. Of 255 * 128 * 256 columns a sum is below 2^23. */
#define SIGNED_SHIFT 7
#define HAS_WIDE false
#define TILE_VECTORS 12 // sums of a sub-block and of the block: 24 of 32 registers
INLINE ri ri_from_signed(ri q) {
    return _mm512_xor_si512(q, _mm512_set1_epi32((int)0x80808080));
}

/* sum[i] += scale * (q times bytes i), i < n. The bytes lie ACT_PART apart, minus their sums, which
 * the offset of q is multiplied with, N_LESS(f). */
INLINE void add_sub_block(ri *sum, const ri *q, const int8_t *x, const int32_t *less,
                          const ri *scale, const struct form f, const int n) {
    ri s[TILE_VECTORS];
    UNROLL for (int i = 0; i < n; i++) {
        s[i] = f.shift ? ri_shl(ri_load1(less + i * N_LESS(f)), f.shift) : ri_set1(0);
    }
    UNROLL for (int k = 0; k < f.sub; k++) {
        UNROLL for (int i = 0; i < n; i++) {
            s[i] = _mm512_dpbusd_epi32(s[i], q[k], ri_load1(x + i * ACT_PART + 4 * k));
        }
    }
    UNROLL for (int i = 0; i < n; i++) {
        sum[i] = f.scaled ? ri_add(sum[i], ri_mul(s[i], *scale)) : s[i];
    }
}
INLINE void add_wide(ri *sum, const ri *q, const int16_t *x, const ri *scale, const struct form f,
                     const int n, int planes) {
    (void)sum, (void)q, (void)x, (void)scale, (void)f, (void)n, (void)planes;
}

#endif
