/* simd.h on AVX-512 with a row of the matrix in each lane: what the decoders of products.h need. A
 * vf holds one number for each of 16 rows. A vi holds 32 bytes of each: dword k of row r is lane r
 * of register k, so a register is one of the contract's 8 chains. */
#ifndef SIMD_AVX512_ROWS_H
#define SIMD_AVX512_ROWS_H

#define SIMD_ROWS 16
typedef __m512 vf;
typedef struct {
    __m512i k[8];
} vi;

/* Shifts as the compilers' own operators: immediate once n is a constant, and right before that. */
typedef uint32_t simd_u32 __attribute__((vector_size(64)));
INLINE __m512i simd_shr(__m512i a, int n) {
    return (__m512i)((simd_u32)a >> n);
}
INLINE __m512i simd_shl(__m512i a, int n) {
    return (__m512i)((simd_u32)a << n);
}

#define VI_EACH(expression)                               \
    vi each;                                              \
    _Pragma("GCC unroll 8") for (int k = 0; k < 8; k++) { \
        each.k[k] = (expression);                         \
    }                                                     \
    return each

INLINE vi vi_set1(int32_t a) {
    VI_EACH(_mm512_set1_epi32(a));
}
INLINE vi vi_and(vi a, vi b) {
    VI_EACH(_mm512_and_si512(a.k[k], b.k[k]));
}
INLINE vi vi_or(vi a, vi b) {
    VI_EACH(_mm512_or_si512(a.k[k], b.k[k]));
}
INLINE vi vi_xor(vi a, vi b) {
    VI_EACH(_mm512_xor_si512(a.k[k], b.k[k]));
}
INLINE vi vi_shr(vi a, int n) {
    VI_EACH(simd_shr(a.k[k], n));
}
INLINE vi vi_shl(vi a, int n) {
    VI_EACH(simd_shl(a.k[k], n));
}
#define VI_SHR(a, n) vi_shr(a, n)
#define VI_SHL(a, n) vi_shl(a, n)

/* In each 16 bytes of d: dword 0 of a, b, c and d, then their dwords 1, 2, 3. */
INLINE void simd_transpose4(__m512i a, __m512i b, __m512i c, __m512i d, __m512i t[4]) {
    __m512i ab = _mm512_unpacklo_epi32(a, b), ab_high = _mm512_unpackhi_epi32(a, b);
    __m512i cd = _mm512_unpacklo_epi32(c, d), cd_high = _mm512_unpackhi_epi32(c, d);
    t[0] = _mm512_unpacklo_epi64(ab, cd);
    t[1] = _mm512_unpackhi_epi64(ab, cd);
    t[2] = _mm512_unpacklo_epi64(ab_high, cd_high);
    t[3] = _mm512_unpackhi_epi64(ab_high, cd_high);
}
/* 32 bytes at p, and 32 at p + apart. */
INLINE __m512i simd_load2(const uint8_t *p, size_t apart) {
    __m512i v = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)p));
    return _mm512_inserti64x4(v, _mm256_loadu_si256((const __m256i *)(const void *)(p + apart)), 1);
}
/* 16 bytes at each of four places. */
INLINE __m512i simd_load4(const uint8_t *p, size_t apart) {
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)p));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(p + apart)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(p + 2 * apart)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(p + 3 * apart)),
                              3);
}
/* 32 bytes of each row. */
INLINE vi vi_load32(const uint8_t *p, size_t stride) {
    vi v;
    __m512i t[4], s[4];
    const uint8_t *q = p + 8 * stride;
    simd_transpose4(simd_load2(p, 4 * stride), simd_load2(p + stride, 4 * stride),
                    simd_load2(p + 2 * stride, 4 * stride), simd_load2(p + 3 * stride, 4 * stride),
                    t);
    simd_transpose4(simd_load2(q, 4 * stride), simd_load2(q + stride, 4 * stride),
                    simd_load2(q + 2 * stride, 4 * stride), simd_load2(q + 3 * stride, 4 * stride),
                    s);
    _Pragma("GCC unroll 4") for (int k = 0; k < 4; k++) {
        v.k[k] = _mm512_shuffle_i32x4(t[k], s[k], 0x88);
        v.k[k + 4] = _mm512_shuffle_i32x4(t[k], s[k], 0xdd);
    }
    return v;
}
/* 16 bytes of each row. */
INLINE void simd_load16(const uint8_t *p, size_t stride, __m512i d[4]) {
    simd_transpose4(simd_load4(p, 4 * stride), simd_load4(p + stride, 4 * stride),
                    simd_load4(p + 2 * stride, 4 * stride), simd_load4(p + 3 * stride, 4 * stride),
                    d);
}
/* Byte i of dword k becomes 0x10 if bit first + 4 k + i of the row's word is set, otherwise 0. */
INLINE vi vi_bits_to_16(__m512i word, int first) {
    const int a = 0x10, b = 0x1000, c = 0x100000, d = 0x10000000; // each 4 bits choose of 16 dwords
    const __m512i spread =
        _mm512_setr_epi32(0, a, b, a | b, c, a | c, b | c, a | b | c, d, a | d, b | d, a | b | d,
                          c | d, a | c | d, b | c | d, a | b | c | d);
    VI_EACH(_mm512_permutexvar_epi32(simd_shr(word, first + 4 * k), spread));
}
/* 4 or 8 bytes of each row, from memory to memory: gcc would make insertions of it, which compete
 * with the shuffles. A vector can be loaded from there once the stores have left the store buffer.
 */
INLINE void simd_copy(uint32_t to[32], const uint8_t *p, size_t stride, int bytes) {
    _Pragma("GCC unroll 16") for (int r = 0; r < 16; r++) {
        uint32_t low, high;
        memcpy(&low, p + (size_t)r * stride, 4);
        *(volatile uint32_t *)(to + r) = low;
        if (bytes == 4) continue;
        memcpy(&high, p + (size_t)r * stride + 4, 4);
        *(volatile uint32_t *)(to + 16 + r) = high;
    }
}
/* The halves in the low bits of dwords. */
INLINE vf simd_low_halves(__m512i v) {
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}
/* The bits `mask` of dwords shifted right by n, as a float. */
INLINE vf simd_bits(__m512i v, int n, int mask) {
    __m512i bits = _mm512_and_si512(simd_shr(v, n), _mm512_set1_epi32(mask));
    return _mm512_cvtepi32_ps(bits);
}

#endif
