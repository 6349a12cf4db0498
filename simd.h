/* A thin layer over vector registers, so that kernels are written once (matmul_q_simd.h,
 * ops_simd.h) and every instruction set performs the same operations on the same lanes in the same
 * order.
 *
 * Define one of SIMD_AVX512, SIMD_AVX2, SIMD_NEON, SIMD_PORTABLE before including this.
 * A vf holds SIMD_ROWS groups of 8 floats: with AVX-512 two rows of a matrix share a register, each
 * in its own 8 lanes, so the order of summation is that of the other instruction sets. A vi holds
 * as many 32-bit integers. */
#ifndef SIMD_H
#define SIMD_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "quant.h"

#define INLINE static inline __attribute__((always_inline, unused))

#if defined(SIMD_AVX512) || defined(SIMD_AVX2)
#include <immintrin.h>
#if defined(SIMD_AVX512)
#define SIMD_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq"
#else
#define SIMD_TARGET "avx2,fma,f16c"
#endif
#elif defined(SIMD_NEON)
#include <arm_neon.h>
#endif

/* Functions between SIMD_BEGIN and SIMD_END may use the instruction set, whatever -march says. */
#define SIMD_PRAGMA(text) _Pragma(#text)
#define SIMD_PRAGMA_TARGET(text) SIMD_PRAGMA(text)
#if !defined(SIMD_TARGET)
#define SIMD_BEGIN
#define SIMD_END
#elif defined(__clang__)
#define SIMD_BEGIN      \
    SIMD_PRAGMA_TARGET( \
        clang attribute push(__attribute__((target(SIMD_TARGET))), apply_to = function))
#define SIMD_END _Pragma("clang attribute pop")
#else
#define SIMD_BEGIN _Pragma("GCC push_options") SIMD_PRAGMA_TARGET(GCC target(SIMD_TARGET))
#define SIMD_END _Pragma("GCC pop_options")
#endif

SIMD_BEGIN

/* ---------------------------------------------------------------------------- AVX-512: two rows */
#if defined(SIMD_AVX512)

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
INLINE vf vf_fms(vf a, vf b, vf c) {
    return _mm512_fmsub_ps(a, b, c);
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
#define VI_SHR(a, n) _mm512_srli_epi32(a, n)
#define VI_SHL(a, n) _mm512_slli_epi32(a, n)
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
/* 16 bytes of each row, and the same again shifted right by 4 bits. */
INLINE vi vi_nibbles(const uint8_t *p, size_t stride) {
    __m128i a = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(p + stride));
    __m512i v = _mm512_castsi128_si512(a);
    v = _mm512_inserti32x4(v, _mm_srli_epi32(a, 4), 1);
    v = _mm512_inserti32x4(v, b, 2);
    v = _mm512_inserti32x4(v, _mm_srli_epi32(b, 4), 3);
    return _mm512_and_si512(v, _mm512_set1_epi8(15));
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
/* 32 floats of each row in lane order. */
INLINE void vf_lanes(const float *p, size_t stride, vf w[4]) {
    const float *q = (const float *)(const void *)((const uint8_t *)p + stride);
    /* Register i: floats 4i.. of both halves of both rows; then a 4x4 transpose in each chunk. */
    __m512 r[4];
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_castps128_ps512(_mm_loadu_ps(p + 4 * i));
        r[i] = _mm512_insertf32x4(r[i], _mm_loadu_ps(p + 16 + 4 * i), 1);
        r[i] = _mm512_insertf32x4(r[i], _mm_loadu_ps(q + 4 * i), 2);
        r[i] = _mm512_insertf32x4(r[i], _mm_loadu_ps(q + 16 + 4 * i), 3);
    }
    __m512 a = _mm512_unpacklo_ps(r[0], r[1]), b = _mm512_unpackhi_ps(r[0], r[1]);
    __m512 c = _mm512_unpacklo_ps(r[2], r[3]), d = _mm512_unpackhi_ps(r[2], r[3]);
    w[0] = _mm512_shuffle_ps(a, c, 0x44);
    w[1] = _mm512_shuffle_ps(a, c, 0xee);
    w[2] = _mm512_shuffle_ps(b, d, 0x44);
    w[3] = _mm512_shuffle_ps(b, d, 0xee);
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

/* ------------------------------------------------------------------------------- AVX2: one row */
#elif defined(SIMD_AVX2)

#define SIMD_ROWS 1
typedef __m256 vf;
typedef __m256i vi;

INLINE vf vf_zero(void) {
    return _mm256_setzero_ps();
}
INLINE vf vf_set1(float a) {
    return _mm256_set1_ps(a);
}
INLINE vf vf_load(const float *p) {
    return _mm256_loadu_ps(p);
}
INLINE void vf_store(float *p, vf v) {
    _mm256_storeu_ps(p, v);
}
INLINE void vf_store8(float *p, vf v) {
    _mm256_storeu_ps(p, v);
}
INLINE vf vf_load8(const float *p) {
    return _mm256_loadu_ps(p);
}
INLINE vf vf_load_f16(const ggml_half *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}
INLINE void vf_store_f16(ggml_half *p, vf a) {
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(a, 0));
}
INLINE vf vf_fma(vf a, vf b, vf c) {
    return _mm256_fmadd_ps(a, b, c);
}
INLINE vf vf_fms(vf a, vf b, vf c) {
    return _mm256_fmsub_ps(a, b, c);
}
INLINE vf vf_add(vf a, vf b) {
    return _mm256_add_ps(a, b);
}
INLINE vf vf_sub(vf a, vf b) {
    return _mm256_sub_ps(a, b);
}
INLINE vf vf_mul(vf a, vf b) {
    return _mm256_mul_ps(a, b);
}
INLINE vf vf_div(vf a, vf b) {
    return _mm256_div_ps(a, b);
}
INLINE vf vf_max(vf a, vf b) {
    return _mm256_max_ps(a, b);
}
INLINE vf vf_min(vf a, vf b) {
    return _mm256_min_ps(a, b);
}
/* v where x >= bound, otherwise 0 */
INLINE vf vf_keep_ge(vf v, vf x, vf bound) {
    return _mm256_and_ps(v, _mm256_cmp_ps(x, bound, _CMP_GE_OQ));
}
/* v * 2^n, by adding n to the exponent */
INLINE vf vf_scale2(vf v, vf magic_n) {
    return _mm256_castsi256_ps(_mm256_add_epi32(
        _mm256_castps_si256(v), _mm256_slli_epi32(_mm256_castps_si256(magic_n), 23)));
}
INLINE vf vf_from_vi(vi a) {
    return _mm256_cvtepi32_ps(a);
}
INLINE vi vi_set1(int32_t a) {
    return _mm256_set1_epi32(a);
}
INLINE vi vi_and(vi a, vi b) {
    return _mm256_and_si256(a, b);
}
INLINE vi vi_or(vi a, vi b) {
    return _mm256_or_si256(a, b);
}
INLINE vi vi_sub8(vi a, vi b) {
    return _mm256_sub_epi8(a, b);
}
#define VI_SHR(a, n) _mm256_srli_epi32(a, n)
#define VI_SHL(a, n) _mm256_slli_epi32(a, n)
#define VI_SAR(a, n) _mm256_srai_epi32(a, n)
#define VF_SPLAT4(v, n) _mm256_permute_ps(v, (n)*0x55)

INLINE vi vi_load32(const uint8_t *p, size_t stride) {
    (void)stride;
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}
INLINE vf vf_half(const uint8_t *p, size_t stride) {
    (void)stride;
    int16_t a;
    memcpy(&a, p, 2);
    return _mm256_cvtph_ps(_mm_set1_epi16(a));
}
INLINE vf vf_rows(float a, float b) {
    (void)b;
    return _mm256_set1_ps(a);
}
INLINE void vf_half2(const uint8_t *p, size_t stride, vf *first, vf *second) {
    (void)stride;
    int32_t a;
    memcpy(&a, p, 4);
    vf both = _mm256_cvtph_ps(_mm_set1_epi32(a));
    *first = _mm256_moveldup_ps(both);
    *second = _mm256_movehdup_ps(both);
}
INLINE vi vi_load16(const uint8_t *p, size_t stride) {
    (void)stride;
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p));
}
INLINE vi vi_set4(int a, int b, int c, int d) {
    return _mm256_setr_epi32(a, b, c, d, a, b, c, d);
}
INLINE vi vi_shrv(vi a, vi n) {
    return _mm256_srlv_epi32(a, n);
}
INLINE vi vi_byte(vi v, int n) {
    const int zero = (int)0x80808000 | n;
    return _mm256_shuffle_epi8(v, vi_set4(zero, zero + 4, zero + 8, zero + 12));
}
#define VI_PICK4(v, a, b, c, d) _mm256_shuffle_epi32(v, (a) | (b) << 2 | (c) << 4 | (d) << 6)
INLINE vi vi_widen4(vi v, int n) {
    const int zero = (int)0x80808000;
    return _mm256_shuffle_epi8(v,
                               vi_set4(zero | n, zero | (n + 1), zero | (n + 2), zero | (n + 3)));
}
INLINE vi vi_widen_pairs(vi v, int n) {
    const int at = n << 24 | 0x808080, two = 2 << 24, one = 1 << 24;
    vi order = _mm256_setr_epi32(at, at + two, at + 2 * two, at + 3 * two, at + one, at + one + two,
                                 at + one + 2 * two, at + one + 3 * two);
    return _mm256_srai_epi32(_mm256_shuffle_epi8(v, order), 24);
}
INLINE vi vi_nibbles(const uint8_t *p, size_t stride) {
    (void)stride;
    __m128i a = _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi32(a, 4), a), _mm256_set1_epi8(15));
}
INLINE vi vi_lookup(vi q, const int8_t table[16]) {
    __m128i t = _mm_loadu_si128((const __m128i *)(const void *)table);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), q);
}
INLINE vi vi_bits_to_16(const uint8_t *p, size_t stride) {
    (void)stride;
    int32_t a;
    memcpy(&a, p, 4);
    const __m256i byte_of =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit_of = _mm256_set1_epi64x((int64_t)0x8040201008040201);
    __m256i bits = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(a), byte_of), bit_of);
    return _mm256_and_si256(_mm256_cmpeq_epi8(bits, bit_of), _mm256_set1_epi8(16));
}
INLINE void vf_lanes(const float *p, size_t stride, vf w[4]) {
    (void)stride;
    __m256 r[4];
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p + 4 * i)),
                                    _mm_loadu_ps(p + 16 + 4 * i), 1);
    }
    __m256 a = _mm256_unpacklo_ps(r[0], r[1]), b = _mm256_unpackhi_ps(r[0], r[1]);
    __m256 c = _mm256_unpacklo_ps(r[2], r[3]), d = _mm256_unpackhi_ps(r[2], r[3]);
    w[0] = _mm256_shuffle_ps(a, c, 0x44);
    w[1] = _mm256_shuffle_ps(a, c, 0xee);
    w[2] = _mm256_shuffle_ps(b, d, 0x44);
    w[3] = _mm256_shuffle_ps(b, d, 0xee);
}
INLINE float vf_sum(vf a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
INLINE void vf_sums(vf v, float sums[SIMD_ROWS]) {
    sums[0] = vf_sum(v);
}
INLINE float vf_max_of(vf a) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

/* ------------------------------------------------------------------- NEON: two registers a row */
#elif defined(SIMD_NEON)

#define SIMD_ROWS 1
typedef struct {
    float32x4_t lo, hi;
} vf;
typedef struct {
    int32x4_t lo, hi;
} vi;

INLINE vf vf_zero(void) {
    return (vf){vdupq_n_f32(0), vdupq_n_f32(0)};
}
INLINE vf vf_set1(float a) {
    return (vf){vdupq_n_f32(a), vdupq_n_f32(a)};
}
INLINE vf vf_load(const float *p) {
    return (vf){vld1q_f32(p), vld1q_f32(p + 4)};
}
INLINE void vf_store(float *p, vf v) {
    vst1q_f32(p, v.lo);
    vst1q_f32(p + 4, v.hi);
}
INLINE void vf_store8(float *p, vf v) {
    vf_store(p, v);
}
INLINE vf vf_load8(const float *p) {
    return vf_load(p);
}
INLINE vf vf_load_f16(const ggml_half *p) {
    float16x8_t h = vreinterpretq_f16_u16(vld1q_u16(p));
    return (vf){vcvt_f32_f16(vget_low_f16(h)), vcvt_high_f32_f16(h)};
}
INLINE void vf_store_f16(ggml_half *p, vf a) {
    vst1q_u16(p, vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(a.lo), a.hi)));
}
INLINE vf vf_fma(vf a, vf b, vf c) {
    return (vf){vfmaq_f32(c.lo, a.lo, b.lo), vfmaq_f32(c.hi, a.hi, b.hi)};
}
INLINE vf vf_fms(vf a, vf b, vf c) {
    return (vf){vfmaq_f32(vnegq_f32(c.lo), a.lo, b.lo), vfmaq_f32(vnegq_f32(c.hi), a.hi, b.hi)};
}
INLINE vf vf_add(vf a, vf b) {
    return (vf){vaddq_f32(a.lo, b.lo), vaddq_f32(a.hi, b.hi)};
}
INLINE vf vf_sub(vf a, vf b) {
    return (vf){vsubq_f32(a.lo, b.lo), vsubq_f32(a.hi, b.hi)};
}
INLINE vf vf_mul(vf a, vf b) {
    return (vf){vmulq_f32(a.lo, b.lo), vmulq_f32(a.hi, b.hi)};
}
INLINE vf vf_div(vf a, vf b) {
    return (vf){vdivq_f32(a.lo, b.lo), vdivq_f32(a.hi, b.hi)};
}
/* Compare and select, as x86 does: with a NaN, or zeros of both signs, the result is b. */
INLINE float32x4_t simd_max4(float32x4_t a, float32x4_t b) {
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}
INLINE float32x4_t simd_min4(float32x4_t a, float32x4_t b) {
    return vbslq_f32(vcltq_f32(a, b), a, b);
}
INLINE vf vf_max(vf a, vf b) {
    return (vf){simd_max4(a.lo, b.lo), simd_max4(a.hi, b.hi)};
}
INLINE vf vf_min(vf a, vf b) {
    return (vf){simd_min4(a.lo, b.lo), simd_min4(a.hi, b.hi)};
}
INLINE float32x4_t simd_keep4(float32x4_t v, float32x4_t x, float32x4_t bound) {
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), vcgeq_f32(x, bound)));
}
INLINE vf vf_keep_ge(vf v, vf x, vf bound) {
    return (vf){simd_keep4(v.lo, x.lo, bound.lo), simd_keep4(v.hi, x.hi, bound.hi)};
}
INLINE float32x4_t simd_scale4(float32x4_t v, float32x4_t n) {
    return vreinterpretq_f32_s32(
        vaddq_s32(vreinterpretq_s32_f32(v), vshlq_n_s32(vreinterpretq_s32_f32(n), 23)));
}
INLINE vf vf_scale2(vf v, vf magic_n) {
    return (vf){simd_scale4(v.lo, magic_n.lo), simd_scale4(v.hi, magic_n.hi)};
}
INLINE vf vf_from_vi(vi a) {
    return (vf){vcvtq_f32_s32(a.lo), vcvtq_f32_s32(a.hi)};
}
INLINE vi vi_set1(int32_t a) {
    return (vi){vdupq_n_s32(a), vdupq_n_s32(a)};
}
INLINE vi vi_and(vi a, vi b) {
    return (vi){vandq_s32(a.lo, b.lo), vandq_s32(a.hi, b.hi)};
}
INLINE vi vi_or(vi a, vi b) {
    return (vi){vorrq_s32(a.lo, b.lo), vorrq_s32(a.hi, b.hi)};
}
INLINE int32x4_t simd_sub8(int32x4_t a, int32x4_t b) {
    return vreinterpretq_s32_s8(vsubq_s8(vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b)));
}
INLINE vi vi_sub8(vi a, vi b) {
    return (vi){simd_sub8(a.lo, b.lo), simd_sub8(a.hi, b.hi)};
}
INLINE int32x4_t simd_shr4(int32x4_t a, int n) {
    return vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a), vdupq_n_s32(-n)));
}
INLINE vi vi_shr(vi a, int n) {
    return (vi){simd_shr4(a.lo, n), simd_shr4(a.hi, n)};
}
INLINE vi vi_shl(vi a, int n) {
    return (vi){vshlq_s32(a.lo, vdupq_n_s32(n)), vshlq_s32(a.hi, vdupq_n_s32(n))};
}
INLINE vi vi_sar(vi a, int n) {
    return (vi){vshlq_s32(a.lo, vdupq_n_s32(-n)), vshlq_s32(a.hi, vdupq_n_s32(-n))};
}
#define VI_SHR(a, n) vi_shr(a, n)
#define VI_SHL(a, n) vi_shl(a, n)
#define VI_SAR(a, n) vi_sar(a, n)
#define VF_SPLAT4(v, n) ((vf){vdupq_laneq_f32((v).lo, n), vdupq_laneq_f32((v).hi, n)})

INLINE vi vi_load32(const uint8_t *p, size_t stride) {
    (void)stride;
    return (vi){vreinterpretq_s32_u8(vld1q_u8(p)), vreinterpretq_s32_u8(vld1q_u8(p + 16))};
}
INLINE vf vf_half(const uint8_t *p, size_t stride) {
    (void)stride;
    uint16_t a;
    memcpy(&a, p, 2);
    float32x4_t v = vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(a)));
    return (vf){v, v};
}
INLINE vf vf_rows(float a, float b) {
    (void)b;
    return vf_set1(a);
}
INLINE void vf_half2(const uint8_t *p, size_t stride, vf *first, vf *second) {
    *first = vf_half(p, stride);
    *second = vf_half(p + 2, stride);
}
INLINE vi vi_load16(const uint8_t *p, size_t stride) {
    (void)stride;
    int32x4_t v = vreinterpretq_s32_u8(vld1q_u8(p));
    return (vi){v, v};
}
INLINE vi vi_set4(int a, int b, int c, int d) {
    const int32_t four[4] = {a, b, c, d};
    return (vi){vld1q_s32(four), vld1q_s32(four)};
}
INLINE int32x4_t simd_shrv4(int32x4_t a, int32x4_t n) {
    return vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a), vnegq_s32(n)));
}
INLINE vi vi_shrv(vi a, vi n) {
    return (vi){simd_shrv4(a.lo, n.lo), simd_shrv4(a.hi, n.hi)};
}
INLINE int32x4_t simd_table(int32x4_t v, int32x4_t order) {
    return vreinterpretq_s32_u8(vqtbl1q_u8(vreinterpretq_u8_s32(v), vreinterpretq_u8_s32(order)));
}
INLINE vi vi_table(vi v, vi order) {
    return (vi){simd_table(v.lo, order.lo), simd_table(v.hi, order.hi)};
}
INLINE vi vi_byte(vi v, int n) {
    const int zero = (int)0x80808000 | n;
    return vi_table(v, vi_set4(zero, zero + 4, zero + 8, zero + 12));
}
#define SIMD_DWORD(n) (0x03020100 + 0x04040404 * (n))
#define VI_PICK4(v, a, b, c, d) \
    vi_table(v, vi_set4(SIMD_DWORD(a), SIMD_DWORD(b), SIMD_DWORD(c), SIMD_DWORD(d)))
INLINE vi vi_widen4(vi v, int n) {
    const int zero = (int)0x80808000;
    return vi_table(v, vi_set4(zero | n, zero | (n + 1), zero | (n + 2), zero | (n + 3)));
}
INLINE vi vi_widen_pairs(vi v, int n) {
    const int at = n << 24 | 0x808080, two = 2 << 24, one = 1 << 24;
    vi order = vi_set4(at, at + two, at + 2 * two, at + 3 * two);
    order.hi = vaddq_s32(order.hi, vdupq_n_s32(one));
    return vi_sar(vi_table(v, order), 24);
}
INLINE vi vi_nibbles(const uint8_t *p, size_t stride) {
    (void)stride;
    uint8x16_t a = vld1q_u8(p);
    return (vi){vreinterpretq_s32_u8(vandq_u8(a, vdupq_n_u8(15))),
                vreinterpretq_s32_u8(vshrq_n_u8(a, 4))};
}
INLINE vi vi_lookup(vi q, const int8_t table[16]) {
    int8x16_t t = vld1q_s8(table);
    return (vi){vreinterpretq_s32_s8(vqtbl1q_s8(t, vreinterpretq_u8_s32(q.lo))),
                vreinterpretq_s32_s8(vqtbl1q_s8(t, vreinterpretq_u8_s32(q.hi)))};
}
INLINE vi vi_bits_to_16(const uint8_t *p, size_t stride) {
    (void)stride;
    const uint8x16_t bit_of = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
    uint8x16_t lo = vcombine_u8(vdup_n_u8(p[0]), vdup_n_u8(p[1]));
    uint8x16_t hi = vcombine_u8(vdup_n_u8(p[2]), vdup_n_u8(p[3]));
    const uint8x16_t sixteen = vdupq_n_u8(16);
    return (vi){vreinterpretq_s32_u8(vandq_u8(vtstq_u8(lo, bit_of), sixteen)),
                vreinterpretq_s32_u8(vandq_u8(vtstq_u8(hi, bit_of), sixteen))};
}
INLINE void vf_lanes(const float *p, size_t stride, vf w[4]) {
    (void)stride;
    float32x4x4_t lo = vld4q_f32(p), hi = vld4q_f32(p + 16);
    for (int i = 0; i < 4; i++) w[i] = (vf){lo.val[i], hi.val[i]};
}
INLINE float vf_sum(vf a) {
    float32x4_t s = vaddq_f32(a.lo, a.hi);
    float32x2_t t = vadd_f32(vget_low_f32(s), vget_high_f32(s));
    return vget_lane_f32(t, 0) + vget_lane_f32(t, 1);
}
INLINE void vf_sums(vf v, float sums[SIMD_ROWS]) {
    sums[0] = vf_sum(v);
}
INLINE float vf_max_of(vf a) {
    float32x4_t s = simd_max4(a.lo, a.hi);
    s = simd_max4(s, vextq_f32(s, s, 2));
    float x = vgetq_lane_f32(s, 0), y = vgetq_lane_f32(s, 1);
    return x > y ? x : y;
}

/* ------------------------------------------------------------- portable C: for ops_simd.h alone */
#else

#define SIMD_ROWS 1
typedef struct {
    float f[8];
} vf;

#define VF_EACH(expression)                            \
    vf r;                                              \
    for (int i = 0; i < 8; i++) r.f[i] = (expression); \
    return r

INLINE vf vf_set1(float a) {
    VF_EACH(a);
}
INLINE vf vf_zero(void) {
    return vf_set1(0);
}
INLINE vf vf_load(const float *p) {
    VF_EACH(p[i]);
}
INLINE void vf_store(float *p, vf v) {
    memcpy(p, v.f, sizeof v.f);
}
INLINE vf vf_load_f16(const ggml_half *p) {
    VF_EACH(fp16_to_fp32(p[i]));
}
INLINE void vf_store_f16(ggml_half *p, vf a) {
    for (int i = 0; i < LANES; i++) p[i] = fp32_to_fp16(a.f[i]);
}
INLINE vf vf_fma(vf a, vf b, vf c) {
    VF_EACH(fmaf(a.f[i], b.f[i], c.f[i]));
}
INLINE vf vf_add(vf a, vf b) {
    VF_EACH(a.f[i] + b.f[i]);
}
INLINE vf vf_sub(vf a, vf b) {
    VF_EACH(a.f[i] - b.f[i]);
}
INLINE vf vf_mul(vf a, vf b) {
    VF_EACH(a.f[i] * b.f[i]);
}
INLINE vf vf_div(vf a, vf b) {
    VF_EACH(a.f[i] / b.f[i]);
}
INLINE vf vf_max(vf a, vf b) {
    VF_EACH(a.f[i] > b.f[i] ? a.f[i] : b.f[i]);
}
INLINE vf vf_min(vf a, vf b) {
    VF_EACH(a.f[i] < b.f[i] ? a.f[i] : b.f[i]);
}
INLINE vf vf_keep_ge(vf v, vf x, vf bound) {
    VF_EACH(x.f[i] >= bound.f[i] ? v.f[i] : 0);
}
INLINE float simd_scale2(float v, float magic_n) {
    uint32_t a, n;
    memcpy(&a, &v, 4);
    memcpy(&n, &magic_n, 4);
    a += n << 23;
    memcpy(&v, &a, 4);
    return v;
}
INLINE vf vf_scale2(vf v, vf magic_n) {
    VF_EACH(simd_scale2(v.f[i], magic_n.f[i]));
}
INLINE float vf_sum(vf a) {
    return ((a.f[0] + a.f[4]) + (a.f[2] + a.f[6])) + ((a.f[1] + a.f[5]) + (a.f[3] + a.f[7]));
}
INLINE float vf_max_of(vf a) {
    for (int n = 4; n > 0; n /= 2) { // this order matters if there are NaNs
        for (int i = 0; i < n; i++) a.f[i] = a.f[i] > a.f[i + n] ? a.f[i] : a.f[i + n];
    }
    return a.f[0];
}

#endif

#define CACHE_LINE 64

/* May point beyond the array, hence the detour over an integer. */
INLINE void prefetch(const void *p, size_t ahead) {
    __builtin_prefetch((const void *)((uintptr_t)p + ahead));
}

SIMD_END

#endif
