/* integers.h on NEON, with SIMD_DOTPROD also on its dot products and with SIMD_I8MM on its products
 * of small matrices: 4 rows to a register. What each function does: int_avx512.h. */
#ifndef INT_NEON_H
#define INT_NEON_H

#define INT_ROWS 4
typedef int32x4_t ri;
typedef float32x4_t rf;

INLINE ri ri_set1(int32_t a) {
    return vdupq_n_s32(a);
}
INLINE ri ri_load1(const void *p) {
    int32_t v;
    memcpy(&v, p, 4);
    return vdupq_n_s32(v);
}
INLINE ri ri_and(ri a, ri b) {
    return vandq_s32(a, b);
}
INLINE ri ri_or(ri a, ri b) {
    return vorrq_s32(a, b);
}
INLINE ri ri_add(ri a, ri b) {
    return vaddq_s32(a, b);
}
INLINE ri ri_add8(ri a, ri b) {
    return vreinterpretq_s32_s8(vaddq_s8(vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b)));
}
INLINE ri ri_mul(ri a, ri b) {
    return vmulq_s32(a, b);
}
INLINE ri ri_shr(ri a, int n) {
    return vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a), vdupq_n_s32(-n)));
}
INLINE ri ri_shl(ri a, int n) {
    return vshlq_s32(a, vdupq_n_s32(n));
}
INLINE ri ri_sar(ri a, int n) {
    return vshlq_s32(a, vdupq_n_s32(-n));
}
INLINE void ri_fetch(ri *after, const uint8_t *p) {
    (void)after;
    __builtin_prefetch(p);
}
INLINE rf rf_set1(float a) {
    return vdupq_n_f32(a);
}
INLINE rf rf_load(const float *p) {
    return vld1q_f32(p);
}
INLINE void rf_store(float *p, rf a) {
    vst1q_f32(p, a);
}
INLINE rf rf_fma(rf a, rf b, rf c) {
    return vfmaq_f32(c, a, b);
}
INLINE rf rf_from_ri(ri a) {
    return vcvtq_f32_s32(a);
}
INLINE rf rf_low_half(ri a) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(vreinterpretq_u32_s32(a))));
}
INLINE ri ri_dwords(const uint8_t *p, size_t stride) {
    int32_t d[INT_ROWS];
    for (int r = 0; r < INT_ROWS; r++) memcpy(d + r, p + (size_t)r * stride, 4);
    return vld1q_s32(d);
}
INLINE rf rf_halves(const uint8_t *p, size_t stride) {
    uint16_t h[INT_ROWS];
    for (int r = 0; r < INT_ROWS; r++) memcpy(h + r, p + (size_t)r * stride, 2);
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(h)));
}
INLINE ri ri_lookup(ri q, const int8_t table[16]) {
    return vreinterpretq_s32_s8(vqtbl1q_s8(vld1q_s8(table), vreinterpretq_u8_s32(q)));
}
INLINE ri ri_sixteen(const uint8_t *p) {
    return vreinterpretq_s32_u8(vld1q_u8(p));
}
INLINE ri ri_join64(int32x2_t low, int32x2_t high) {
    return vcombine_s32(low, high);
}
INLINE void ri_rows16(const uint8_t *p, size_t stride, ri out[4]) {
    int32x4x2_t ab = vtrnq_s32(ri_sixteen(p), ri_sixteen(p + stride));
    int32x4x2_t cd = vtrnq_s32(ri_sixteen(p + 2 * stride), ri_sixteen(p + 3 * stride));
    out[0] = ri_join64(vget_low_s32(ab.val[0]), vget_low_s32(cd.val[0]));
    out[1] = ri_join64(vget_low_s32(ab.val[1]), vget_low_s32(cd.val[1]));
    out[2] = ri_join64(vget_high_s32(ab.val[0]), vget_high_s32(cd.val[0]));
    out[3] = ri_join64(vget_high_s32(ab.val[1]), vget_high_s32(cd.val[1]));
}
INLINE void ri_rows32(const uint8_t *p, size_t stride, ri d[8]) {
    ri_rows16(p, stride, d);
    ri_rows16(p + 16, stride, d + 4);
}

/* Weights are signed here: those with an offset are below 128. */
#define SIGNED_SHIFT 0
#define HAS_WIDE false
#define TILE_VECTORS 8
INLINE ri ri_from_signed(ri q) {
    return q;
}

/* s[0] and s[1] together: the four products of bytes of each row, added to what is there. Two
 * products of -128 make 32768, so pairs are widened as they are added; 32 of them are below 2^19.
 */
INLINE void add_bytes(ri s[2], ri q, ri x) {
#if defined(SIMD_DOTPROD)
    s[0] = vdotq_s32(s[0], vreinterpretq_s8_s32(q), vreinterpretq_s8_s32(x));
#else
    int8x16_t a = vreinterpretq_s8_s32(q), b = vreinterpretq_s8_s32(x);
    s[0] = vpadalq_s16(s[0], vmull_s8(vget_low_s8(a), vget_low_s8(b)));
    s[1] = vpadalq_s16(s[1], vmull_high_s8(a, b));
#endif
}
INLINE ri all_bytes(const ri s[2]) {
#if defined(SIMD_DOTPROD)
    return s[0];
#else
    return vpaddq_s32(s[0], s[1]);
#endif
}

/* s[i][0], s[i][1]: a sub-block's sums for vector i, as all_bytes takes them. */
INLINE void add_dwords(ri s[][2], const ri *q, const int8_t *x, const struct form f, const int n) {
    UNROLL for (int k = 0; k < f.sub; k++) {
        UNROLL for (int i = 0; i < n; i++)
            add_bytes(s[i], q[k], ri_load1(x + i * ACT_PART + 4 * k));
    }
}

/* The same for pairs of vectors: one instruction multiplies two rows of eight columns by two
 * vectors, four sums of twice as many products as of a dot product. */
#if defined(SIMD_I8MM)
#define HAS_PAIRS true
INLINE void add_pairs(ri s[][2], const ri *q, const int8_t *x, const struct form f, const int n) {
    UNROLL for (int k = 0; k < f.sub; k += 2) {
        int8x16_t rows01 = vreinterpretq_s8_s32(vzip1q_s32(q[k], q[k + 1]));
        int8x16_t rows23 = vreinterpretq_s8_s32(vzip2q_s32(q[k], q[k + 1]));
        UNROLL for (int i = 0; i < n; i += 2) {
            const int8_t *p = x + i * ACT_PART + 4 * k;
            int8x16_t both = vcombine_s8(vld1_s8(p), vld1_s8(p + ACT_PART));
            s[i][0] = vmmlaq_s32(s[i][0], rows01, both);
            s[i + 1][0] = vmmlaq_s32(s[i + 1][0], rows23, both);
        }
    }
    UNROLL for (int i = 0; i < n; i += 2) { // rows of vector i, then i + 1, in turn
        ri first = vuzp1q_s32(s[i][0], s[i + 1][0]);
        s[i + 1][0] = vuzp2q_s32(s[i][0], s[i + 1][0]);
        s[i][0] = first;
    }
}
#else
#define HAS_PAIRS false
#define add_pairs add_dwords
#endif

INLINE void add_sub_block(ri *sum, const ri *q, const int8_t *x, const int32_t *less,
                          const ri *scale, const struct form f, const int n) {
    ri s[TILE_VECTORS][2];
    UNROLL for (int i = 0; i < n; i++) s[i][0] = s[i][1] = ri_set1(0);
    if (HAS_PAIRS && n % 2 == 0) {
        add_pairs(s, q, x, f, n);
    } else {
        add_dwords(s, q, x, f, n);
    }
    UNROLL for (int i = 0; i < n; i++) {
        ri all = all_bytes(s[i]);
        if (f.shift) all = ri_add(all, ri_shl(ri_load1(less + i * N_LESS(f)), f.shift));
        sum[i] = f.scaled ? ri_add(sum[i], ri_mul(all, *scale)) : all;
    }
}
INLINE void add_wide(ri *sum, const ri *q, const int16_t *x, const ri *scale, const struct form f,
                     const int n, int planes) {
    (void)sum, (void)q, (void)x, (void)scale, (void)f, (void)n, (void)planes;
}

#endif
