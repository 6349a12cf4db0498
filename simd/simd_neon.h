/* simd.h on NEON: two registers to a row. What each function does: simd_avx512.h. */
#ifndef SIMD_NEON_H
#define SIMD_NEON_H

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
/* Compare and select, as x86 does. */
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
INLINE vf vf_if_ge(vf a, vf b, vf yes, vf no) {
    return (vf){vbslq_f32(vcgeq_f32(a.lo, b.lo), yes.lo, no.lo),
                vbslq_f32(vcgeq_f32(a.hi, b.hi), yes.hi, no.hi)};
}
INLINE vf vf_abs(vf a) {
    return (vf){vabsq_f32(a.lo), vabsq_f32(a.hi)};
}
INLINE float32x4_t simd_or_sign4(float32x4_t a, float32x4_t sign) {
    uint32x4_t bit = vandq_u32(vreinterpretq_u32_f32(sign), vdupq_n_u32(0x80000000u));
    return vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(a), bit));
}
INLINE vf vf_or_sign(vf a, vf sign) {
    return (vf){simd_or_sign4(a.lo, sign.lo), simd_or_sign4(a.hi, sign.hi)};
}
INLINE float32x4_t simd_power4(float32x4_t n) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vreinterpretq_s32_f32(n), 23));
}
INLINE vf vf_power2(vf n) {
    return (vf){simd_power4(n.lo), simd_power4(n.hi)};
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
INLINE vf vf_byte_subnormal(vi v, int n) {
    const int at = (int)0x80008080 | n << 16;
    vi r = vi_table(v, vi_set4(at, at + (4 << 16), at + (8 << 16), at + (12 << 16)));
    return (vf){vreinterpretq_f32_s32(r.lo), vreinterpretq_f32_s32(r.hi)};
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
    return (vi){vreinterpretq_s32_u8(a), vreinterpretq_s32_u8(vshrq_n_u8(a, 4))};
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
INLINE void vf_lanes_f16(const uint8_t *p, size_t stride, vf w[4]) {
    (void)stride;
    uint16x8x4_t words = vld4q_u16((const uint16_t *)(const void *)p);
    for (int i = 0; i < 4; i++) {
        float16x8_t h = vreinterpretq_f16_u16(words.val[i]);
        w[i] = (vf){vcvt_f32_f16(vget_low_f16(h)), vcvt_high_f32_f16(h)};
    }
}
INLINE void vf_lanes_bf16(const uint8_t *p, size_t stride, vf w[4]) {
    (void)stride;
    uint16x8x4_t words = vld4q_u16((const uint16_t *)(const void *)p);
    for (int i = 0; i < 4; i++) {
        w[i] = (vf){vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(words.val[i]), 16)),
                    vreinterpretq_f32_u32(vshll_high_n_u16(words.val[i], 16))};
    }
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

#endif
