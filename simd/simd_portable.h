/* simd.h in portable C, what ops.h needs of it. What each function does: simd_avx512.h. */
#ifndef SIMD_PORTABLE_H
#define SIMD_PORTABLE_H

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
INLINE vf vf_fms(vf a, vf b, vf c) {
    VF_EACH(fmaf(a.f[i], b.f[i], -c.f[i]));
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
INLINE vf vf_if_ge(vf a, vf b, vf yes, vf no) {
    VF_EACH(a.f[i] >= b.f[i] ? yes.f[i] : no.f[i]);
}
INLINE vf vf_abs(vf a) {
    VF_EACH(fabsf(a.f[i]));
}
INLINE vf vf_or_sign(vf a, vf sign) {
    VF_EACH(copysignf(a.f[i], sign.f[i]));
}
INLINE float simd_power2(float n) {
    uint32_t bits;
    memcpy(&bits, &n, sizeof bits);
    bits <<= 23;
    memcpy(&n, &bits, sizeof bits);
    return n;
}
INLINE vf vf_power2(vf n) {
    VF_EACH(simd_power2(n.f[i]));
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
