/* simd.h on AVX2 + FMA + F16C: one row to a register. What each function does: simd_avx512.h. */
#ifndef SIMD_AVX2_H
#define SIMD_AVX2_H

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
/* Of two equal ones, and if one is NaN: b. So what may be NaN and is to stay so comes second. */
INLINE vf vf_max(vf a, vf b) {
    return _mm256_max_ps(a, b);
}
INLINE vf vf_min(vf a, vf b) {
    return _mm256_min_ps(a, b);
}
/* a >= b ? yes : no */
INLINE vf vf_if_ge(vf a, vf b, vf yes, vf no) {
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_GE_OQ));
}
INLINE vf vf_abs(vf a) {
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
/* a, which is not negative, with the sign of the other. */
INLINE vf vf_or_sign(vf a, vf sign) {
    return _mm256_or_ps(a, _mm256_and_ps(sign, _mm256_set1_ps(-0.0f)));
}
/* The float whose sign and exponent are the low 9 bits of n. */
INLINE vf vf_power2(vf n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(n), 23));
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
/* Shifts as the compilers' own operators: immediate once n is a constant, and right before that. */
typedef uint32_t simd_u32 __attribute__((vector_size(32)));
INLINE vi vi_shr(vi a, int n) {
    return (vi)((simd_u32)a >> n);
}
INLINE vi vi_shl(vi a, int n) {
    return (vi)((simd_u32)a << n);
}
#define VI_SHR(a, n) vi_shr(a, n)
#define VI_SHL(a, n) vi_shl(a, n)
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
/* Byte n of every integer, times 2^-133: at bits 16 .. 23 of a float. */
INLINE vf vf_byte_subnormal(vi v, int n) {
    const int at = (int)0x80008080 | n << 16;
    if (n == 2) return _mm256_castsi256_ps(_mm256_and_si256(v, _mm256_set1_epi32(255 << 16)));
    return _mm256_castsi256_ps(
        _mm256_shuffle_epi8(v, vi_set4(at, at + (4 << 16), at + (8 << 16), at + (12 << 16))));
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
    return _mm256_set_m128i(_mm_srli_epi32(a, 4), a);
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
INLINE void vf_transpose(const __m256 r[4], vf w[4]) {
    __m256 a = _mm256_unpacklo_ps(r[0], r[1]), b = _mm256_unpackhi_ps(r[0], r[1]);
    __m256 c = _mm256_unpacklo_ps(r[2], r[3]), d = _mm256_unpackhi_ps(r[2], r[3]);
    w[0] = _mm256_shuffle_ps(a, c, 0x44);
    w[1] = _mm256_shuffle_ps(a, c, 0xee);
    w[2] = _mm256_shuffle_ps(b, d, 0x44);
    w[3] = _mm256_shuffle_ps(b, d, 0xee);
}
INLINE void vf_lanes(const float *p, size_t stride, vf w[4]) {
    (void)stride;
    __m256 r[4];
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p + 4 * i)),
                                    _mm_loadu_ps(p + 16 + 4 * i), 1);
    }
    vf_transpose(r, w);
}
INLINE __m128i vi_words(const uint8_t *p) {
    return _mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *)(const void *)p),
                              _mm_loadl_epi64((const __m128i *)(const void *)(p + 32)));
}
INLINE void vf_lanes_f16(const uint8_t *p, size_t stride, vf w[4]) {
    (void)stride;
    __m256 r[4];
    for (int i = 0; i < 4; i++) r[i] = _mm256_cvtph_ps(vi_words(p + 8 * i));
    vf_transpose(r, w);
}
INLINE void vf_lanes_bf16(const uint8_t *p, size_t stride, vf w[4]) {
    (void)stride;
    __m256 r[4];
    for (int i = 0; i < 4; i++) {
        __m256i words = _mm256_cvtepu16_epi32(vi_words(p + 8 * i));
        r[i] = _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
    }
    vf_transpose(r, w);
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

#endif
