/* simd.h on AVX-512: two rows of a matrix to a register. What each function does is said here, or
 * in simd_avx2.h where only ops.h needs it. */
#ifndef SIMD_AVX512_H
#define SIMD_AVX512_H

#define SIMD_ROWS 2
typedef __m512 vf;
typedef __m512i vi;

INLINE vf vf_zero(void) {
    return _mm512_setzero_ps();
}
INLINE vf vf_load(const float *p) {
    return _mm512_loadu_ps(p);
}
INLINE void vf_store(float *p, vf v) {
    _mm512_storeu_ps(p, v);
}
/* The first row's 8 floats. */
INLINE void vf_store8(float *p, vf v) {
    _mm256_storeu_ps(p, _mm512_castps512_ps256(v));
}
/* 8 floats, the same for every row. */
INLINE vf vf_load8(const float *p) {
    return _mm512_castpd_ps(
        _mm512_broadcast_f64x4(_mm256_loadu_pd((const double *)(const void *)p)));
}
INLINE vf vf_fma(vf a, vf b, vf c) {
    return _mm512_fmadd_ps(a, b, c);
}
INLINE vf vf_mul(vf a, vf b) {
    return _mm512_mul_ps(a, b);
}
INLINE vf vf_from_vi(vi a) {
    return _mm512_cvtepi32_ps(a);
}
INLINE vi vi_set1(int32_t a) {
    return _mm512_set1_epi32(a);
}
INLINE vi vi_and(vi a, vi b) {
    return _mm512_and_si512(a, b);
}
INLINE vi vi_or(vi a, vi b) {
    return _mm512_or_si512(a, b);
}
INLINE vi vi_sub8(vi a, vi b) {
    return _mm512_sub_epi8(a, b);
}
/* Shifts as the compilers' own operators: immediate once n is a constant, and right before that. */
typedef uint32_t simd_u32 __attribute__((vector_size(64)));
INLINE vi vi_shr(vi a, int n) {
    return (vi)((simd_u32)a >> n);
}
INLINE vi vi_shl(vi a, int n) {
    return (vi)((simd_u32)a << n);
}
#define VI_SHR(a, n) vi_shr(a, n)
#define VI_SHL(a, n) vi_shl(a, n)
#define VI_SAR(a, n) _mm512_srai_epi32(a, n)
/* Within each 4 lanes, all become lane n. */
#define VF_SPLAT4(v, n) _mm512_permute_ps(v, (n)*0x55)

/* 32 bytes of each row. */
INLINE vi vi_load32(const uint8_t *p, size_t stride) {
    __m512i first = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)p));
    return _mm512_inserti64x4(first,
                              _mm256_loadu_si256((const __m256i *)(const void *)(p + stride)), 1);
}
/* A half of each row, in all 8 lanes of the row. */
INLINE vf vf_half(const uint8_t *p, size_t stride) {
    int16_t a, b;
    memcpy(&a, p, 2);
    memcpy(&b, p + stride, 2);
    return _mm512_cvtph_ps(_mm256_set_m128i(_mm_set1_epi16(b), _mm_set1_epi16(a)));
}
/* A float for each row, in all 8 lanes of the row. */
INLINE vf vf_rows(float a, float b) {
    return _mm512_insertf32x8(_mm512_set1_ps(a), _mm256_set1_ps(b), 1);
}
/* Two neighbouring halves of each row, likewise. */
INLINE void vf_half2(const uint8_t *p, size_t stride, vf *first, vf *second) {
    int32_t a, b;
    memcpy(&a, p, 4);
    memcpy(&b, p + stride, 4);
    vf both = _mm512_cvtph_ps(_mm256_set_m128i(_mm_set1_epi32(b), _mm_set1_epi32(a)));
    *first = _mm512_moveldup_ps(both);
    *second = _mm512_movehdup_ps(both);
}
/* 16 bytes of each row, the same in both halves of its lanes. */
INLINE vi vi_load16(const uint8_t *p, size_t stride) {
    __m256i a = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p));
    __m256i b =
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)(p + stride)));
    return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
}
#define SIMD_FOUR_TIMES(v) _mm512_broadcast_i32x4(v)
#define SIMD_TWICE(lo, hi)                                                                         \
    _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_set_m128i(hi, lo)), _mm256_set_m128i(hi, lo), \
                       1)
/* Four integers, repeated. */
INLINE vi vi_set4(int a, int b, int c, int d) {
    return SIMD_FOUR_TIMES(_mm_setr_epi32(a, b, c, d));
}
INLINE vi vi_shrv(vi a, vi n) {
    return _mm512_srlv_epi32(a, n);
}
/* Byte n of every integer: one shuffle where shift and mask would be two. */
INLINE vi vi_byte(vi v, int n) {
    const int zero = (int)0x80808000 | n;
    return _mm512_shuffle_epi8(v, vi_set4(zero, zero + 4, zero + 8, zero + 12));
}
/* Byte n of every integer, times 2^-133: at bits 16 .. 23 of a float. */
INLINE vf vf_byte_subnormal(vi v, int n) {
    const int at = (int)0x80008080 | n << 16;
    return _mm512_castsi512_ps(
        _mm512_shuffle_epi8(v, vi_set4(at, at + (4 << 16), at + (8 << 16), at + (12 << 16))));
}
/* Of every 4 integers: a, b, c, d (0..3). */
#define VI_PICK4(v, a, b, c, d) \
    _mm512_shuffle_epi32(v, (_MM_PERM_ENUM)((a) | (b) << 2 | (c) << 4 | (d) << 6))
/* Bytes n .. n + 3 of every 16, as unsigned integers. */
INLINE vi vi_widen4(vi v, int n) {
    const int zero = (int)0x80808000;
    return _mm512_shuffle_epi8(v,
                               vi_set4(zero | n, zero | (n + 1), zero | (n + 2), zero | (n + 3)));
}
/* Bytes n, n + 2, n + 4, n + 6 of every 16, then in the row's other half n + 1, n + 3 ..., as
 * signed integers. */
INLINE vi vi_widen_pairs(vi v, int n) {
    const int at = n << 24 | 0x808080, two = 2 << 24, one = 1 << 24;
    __m128i even = _mm_setr_epi32(at, at + two, at + 2 * two, at + 3 * two);
    vi order = SIMD_TWICE(even, _mm_add_epi32(even, _mm_set1_epi32(one)));
    return _mm512_srai_epi32(_mm512_shuffle_epi8(v, order), 24);
}
/* 16 bytes of each row, and the same shifted right by 4 bits: numbers of 4 bits are the low ones
 * of each byte, what the high ones are is not said. */
INLINE vi vi_nibbles(const uint8_t *p, size_t stride) {
    __m128i a = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(p + stride));
    __m512i v = _mm512_castsi128_si512(a);
    v = _mm512_inserti32x4(v, _mm_srli_epi32(a, 4), 1);
    v = _mm512_inserti32x4(v, b, 2);
    return _mm512_inserti32x4(v, _mm_srli_epi32(b, 4), 3);
}
/* Each byte, 0 to 15, becomes table[byte]. */
INLINE vi vi_lookup(vi q, const int8_t table[16]) {
    __m128i t = _mm_loadu_si128((const __m128i *)(const void *)table);
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), q);
}
/* Byte k becomes 0x10 if bit k of the row's 32-bit word is set, otherwise 0. */
INLINE vi vi_bits_to_16(const uint8_t *p, size_t stride) {
    uint32_t a, b;
    memcpy(&a, p, 4);
    memcpy(&b, p + stride, 4);
    return _mm512_maskz_set1_epi8((__mmask64)a | (__mmask64)b << 32, 16);
}
/* Register i: floats 4i.. of both halves of both rows. A 4x4 transpose in each chunk. */
INLINE void vf_transpose(const __m512 r[4], vf w[4]) {
    __m512 a = _mm512_unpacklo_ps(r[0], r[1]), b = _mm512_unpackhi_ps(r[0], r[1]);
    __m512 c = _mm512_unpacklo_ps(r[2], r[3]), d = _mm512_unpackhi_ps(r[2], r[3]);
    w[0] = _mm512_shuffle_ps(a, c, 0x44);
    w[1] = _mm512_shuffle_ps(a, c, 0xee);
    w[2] = _mm512_shuffle_ps(b, d, 0x44);
    w[3] = _mm512_shuffle_ps(b, d, 0xee);
}
/* 32 floats of each row in lane order. */
INLINE void vf_lanes(const float *p, size_t stride, vf w[4]) {
    const float *q = (const float *)(const void *)((const uint8_t *)p + stride);
    __m512 r[4];
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_castps128_ps512(_mm_loadu_ps(p + 4 * i));
        r[i] = _mm512_insertf32x4(r[i], _mm_loadu_ps(p + 16 + 4 * i), 1);
        r[i] = _mm512_insertf32x4(r[i], _mm_loadu_ps(q + 4 * i), 2);
        r[i] = _mm512_insertf32x4(r[i], _mm_loadu_ps(q + 16 + 4 * i), 3);
    }
    vf_transpose(r, w);
}
INLINE __m256i vi_words(const uint8_t *p, const uint8_t *q) {
    __m128i a = _mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *)(const void *)p),
                                   _mm_loadl_epi64((const __m128i *)(const void *)(p + 32)));
    __m128i b = _mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *)(const void *)q),
                                   _mm_loadl_epi64((const __m128i *)(const void *)(q + 32)));
    return _mm256_set_m128i(b, a);
}
INLINE void vf_lanes_f16(const uint8_t *p, size_t stride, vf w[4]) {
    __m512 r[4];
    for (int i = 0; i < 4; i++) r[i] = _mm512_cvtph_ps(vi_words(p + 8 * i, p + stride + 8 * i));
    vf_transpose(r, w);
}
INLINE void vf_lanes_bf16(const uint8_t *p, size_t stride, vf w[4]) {
    __m512 r[4];
    for (int i = 0; i < 4; i++) {
        __m512i words = _mm512_cvtepu16_epi32(vi_words(p + 8 * i, p + stride + 8 * i));
        r[i] = _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
    }
    vf_transpose(r, w);
}
INLINE float simd_sum8(__m256 a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
/* The tree over each row's lanes: ((0+4)+(2+6)) + ((1+5)+(3+7)). */
INLINE void vf_sums(vf v, float sums[SIMD_ROWS]) {
    sums[0] = simd_sum8(_mm512_castps512_ps256(v));
    sums[1] = simd_sum8(_mm512_extractf32x8_ps(v, 1));
}

#endif
