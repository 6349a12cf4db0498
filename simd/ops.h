/* The rest of the forward pass (struct ops in isa.h) on the vector layer of simd.h. One source for
 * every instruction set: the order of every sum is fixed here, and all arithmetic is the basic
 * operations and FMA, which IEEE 754 defines to the last bit. */
#ifndef OPS_SIMD_H
#define OPS_SIMD_H

#include <float.h>

#include "isa.h"
#include "simd.h"

SIMD_BEGIN

/* ---- elementary functions -------------------------------------------------------------------- */

/* Right for every float: at infinity the limit, of NaN NaN, and results below the normal floats are
 * rounded once. isa.h states the largest errors, test_functions.c measures them. Clamps keep NaN
 * because vf_max and vf_min then give their second argument.
 *
 * All rest on e^-y = 2^n e^r, |r| <= ln2 / 2. Adding MAGIC rounds to an integer, which then lies in
 * the low bits of the sum, there as n + bias + 127, the exponent of the power 2^(n + bias). A bias
 * keeps the power a normal float where 2^n may be none; whoever asks for one takes it out at the
 * end. */
#define MAGIC(bias) (0x1.8p23f + 127 + (bias))

/* e^r - 1 and the power, which must be a normal float. The polynomial is that of Cephes' expf. */
INLINE vf vf_expm1_reduced(vf y, vf magic, vf *power) {
    vf shifted = vf_fma(y, vf_set1(-0x1.715476p0f), magic);
    vf n = vf_sub(shifted, magic);
    vf r = vf_fms(n, vf_set1(-0x1.62e4p-1f), y);
    r = vf_fma(n, vf_set1(-0x1.7f7d1cp-20f), r);
    vf p = vf_set1(1.9875691500e-4f);
    p = vf_fma(p, r, vf_set1(1.3981999507e-3f));
    p = vf_fma(p, r, vf_set1(8.3334519073e-3f));
    p = vf_fma(p, r, vf_set1(4.1665795894e-2f));
    p = vf_fma(p, r, vf_set1(1.6666665459e-1f));
    p = vf_fma(p, r, vf_set1(5.0000001201e-1f));
    *power = vf_power2(shifted);
    return vf_fma(p, vf_mul(r, r), r);
}

/* e^x; beyond the clamps 0 or infinite */
INLINE vf vf_exp(vf x) {
    vf y = vf_max(vf_set1(-89), vf_min(vf_set1(104), vf_sub(vf_zero(), x))), power;
    vf magic = vf_if_ge(y, vf_zero(), vf_set1(MAGIC(64)), vf_set1(MAGIC(-64)));
    vf e = vf_add(vf_expm1_reduced(y, magic, &power), vf_set1(1));
    vf unbias = vf_if_ge(y, vf_zero(), vf_set1(0x1p-64f), vf_set1(0x1p64f));
    return vf_mul(vf_mul(e, power), unbias);
}

/* e^-y for y >= 0: the bits of vf_exp in fewer operations. */
INLINE vf vf_exp_decay(vf y) {
    vf power;
    vf q = vf_expm1_reduced(vf_min(vf_set1(104), y), vf_set1(MAGIC(64)), &power);
    return vf_mul(vf_mul(vf_add(q, vf_set1(1)), power), vf_set1(0x1p-64f));
}

/* e^x - 1 = 2^n (e^r - 1) + (2^n - 1), computed in halves because 2^128 is no float. Next to 0 it
 * is x, whose sign and last bits would get lost on the way. */
INLINE vf vf_expm1(vf x) {
    vf y = vf_max(vf_set1(-89), vf_min(vf_set1(20), vf_sub(vf_zero(), x))), power;
    vf q = vf_expm1_reduced(y, vf_set1(MAGIC(-1)), &power);
    vf half = vf_fma(power, q, vf_sub(power, vf_set1(0.5f)));
    return vf_if_ge(vf_abs(x), vf_set1(0x1p-25f), vf_add(half, half), x);
}

/* x / (1 + e^-z) for z >= -111. Where e^-z is large, both terms of the sum are biased by 2^-64: the
 * quotient may be as small as a float can be. */
INLINE vf vf_sigmoid_mul(vf x, vf z) {
    vf magic = vf_if_ge(z, vf_set1(-64), vf_set1(MAGIC(0)), vf_set1(MAGIC(-64))), power;
    vf q = vf_expm1_reduced(vf_min(vf_set1(64), z), magic, &power);
    vf one = vf_power2(magic);
    vf sum = vf_fma(vf_add(q, vf_set1(1)), power, one);
    return vf_mul(vf_div(x, sum), one);
}

INLINE vf vf_sigmoid(vf x) {
    return vf_sigmoid_mul(vf_set1(1), vf_max(vf_set1(-110), x));
}

INLINE vf vf_silu(vf x) {
    x = vf_max(vf_set1(-110), x); // -110 sigmoid(-110) rounds to 0
    return vf_sigmoid_mul(x, x);
}

/* tanh(a) = (e^2a - 1) / (e^2a + 1), which rounds to 1 from 9.02 on */
INLINE vf vf_tanh(vf x) {
    vf a = vf_min(vf_set1(10), vf_abs(x)), power;
    vf q = vf_expm1_reduced(vf_add(a, a), vf_set1(MAGIC(0)), &power);
    vf m = vf_fma(power, q, vf_sub(power, vf_set1(1)));
    return vf_or_sign(vf_div(vf_sub(vf_zero(), m), vf_add(m, vf_set1(2))), x);
}

/* ln(1 + e^x) = max(x, 0) + log1p(t), t = e^-|x|. With s = 2t / (2 + t) <= 2/3, log1p(t) =
 * 2 atanh(s / 2) = s + s^3 P(s^2); P is the minimax polynomial, good to 2^-33 of the whole. */
INLINE vf vf_softplus(vf x) {
    vf t = vf_exp_decay(vf_abs(x));
    vf s = vf_div(vf_add(t, t), vf_add(t, vf_set1(2))), w = vf_mul(s, s);
    vf p = vf_set1(1.1860135e-4f);
    p = vf_fma(p, w, vf_set1(4.1856916e-4f));
    p = vf_fma(p, w, vf_set1(2.2356716e-3f));
    p = vf_fma(p, w, vf_set1(1.2499653e-2f));
    p = vf_fma(p, w, vf_set1(8.3333344e-2f));
    return vf_add(vf_fma(vf_mul(s, w), p, s), vf_max(vf_zero(), x));
}

/* By gelu_table() between -10 and 10; beyond, 0 or x. */
INLINE vf vf_gelu(vf x, const ggml_half *table) {
    ggml_half h[LANES];
    vf_store_f16(h, x);
    for (int l = 0; l < LANES; l++) h[l] = table[h[l]];
    vf y = vf_if_ge(x, vf_set1(10), x, vf_load_f16(h));
    return vf_if_ge(vf_set1(-10), x, vf_zero(), y);
}

/* Where tanh(x / cap) is x / cap, x itself: the quotient may be too small for a normal float. */
INLINE vf vf_softcap(vf x, vf cap) {
    vf z = vf_div(x, cap);
    return vf_if_ge(vf_abs(z), vf_set1(0x1p-12f), vf_mul(vf_tanh(z), cap), x);
}

/* Loads and stores that stop at the end of a row. */
INLINE vf load_part(const float *p, int64_t left) {
    if (left >= LANES) return vf_load(p);
    float part[LANES] = {0};
    memcpy(part, p, (size_t)left * sizeof(float));
    return vf_load(part);
}
INLINE void store_part(float *p, int64_t left, vf v) {
    float part[LANES];
    if (left >= LANES) {
        vf_store(p, v);
    } else {
        vf_store(part, v);
        memcpy(p, part, (size_t)left * sizeof(float));
    }
}

static void rms_norm(float *y, const float *x, const float *w, int n, float eps) {
    vf squares = vf_zero();
    for (int i = 0; i < n; i += LANES) {
        vf v = load_part(x + i, n - i);
        squares = vf_fma(v, v, squares);
    }
    float mean = vf_sum(squares) / (float)n + eps;
    vf scale = vf_set1(mean < INFINITY ? 1.0f / sqrtf(mean) : NAN); // no zeros by an overflow
    for (int i = 0; i < n; i += LANES) {
        vf v = vf_mul(load_part(x + i, n - i), scale);
        store_part(y + i, n - i, w ? vf_mul(v, load_part(w + i, n - i)) : v);
    }
}

static void layer_norm(float *y, const float *x, const float *w, int n, float eps) {
    vf sum = vf_zero(), squares = vf_zero();
    for (int i = 0; i < n; i += LANES) sum = vf_add(sum, load_part(x + i, n - i));
    vf mean = vf_set1(vf_sum(sum) / (float)n);
    for (int i = 0; i < n; i += LANES) {
        store_part(y + i, n - i, vf_sub(load_part(x + i, n - i), mean));
        vf v = load_part(y + i, n - i); // 0 beyond the row
        squares = vf_fma(v, v, squares);
    }
    vf scale = vf_set1(1.0f / sqrtf(vf_sum(squares) / (float)n + eps));
    for (int i = 0; i < n; i += LANES) {
        vf v = vf_mul(load_part(y + i, n - i), scale);
        store_part(y + i, n - i, w ? vf_mul(v, load_part(w + i, n - i)) : v);
    }
}

static void swiglu(float *gate, const float *up, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES) {
        vf g = vf_silu(load_part(gate + i, n - i));
        store_part(gate + i, n - i, vf_mul(g, load_part(up + i, n - i)));
    }
}

static void swiglu_oai(float *gate, const float *up, int64_t n) {
    const vf alpha = vf_set1(1.702f), limit = vf_set1(7), one = vf_set1(1);
    const vf lowest = vf_set1(-65); // of g: g sigmoid(1.702 g) rounds to 0
    for (int64_t i = 0; i < n; i += LANES) {
        vf g = vf_min(limit, vf_max(lowest, load_part(gate + i, n - i)));
        vf u = vf_min(limit, vf_max(vf_set1(-7), load_part(up + i, n - i)));
        store_part(gate + i, n - i, vf_mul(vf_sigmoid_mul(g, vf_mul(alpha, g)), vf_add(u, one)));
    }
}

static void geglu(float *gate, const float *up, int64_t n) {
    const ggml_half *table = gelu_table();
    for (int64_t i = 0; i < n; i += LANES) {
        vf g = vf_gelu(load_part(gate + i, n - i), table);
        store_part(gate + i, n - i, vf_mul(g, load_part(up + i, n - i)));
    }
}

static void softcap(float *x, int64_t n, float cap) {
    for (int64_t i = 0; i < n; i += LANES) {
        store_part(x + i, n - i, vf_softcap(load_part(x + i, n - i), vf_set1(cap)));
    }
}

#define MAP(name, f)                                              \
    static void name(float *y, const float *x, int64_t n) {       \
        for (int64_t i = 0; i < n; i += LANES) {                  \
            store_part(y + i, n - i, f(load_part(x + i, n - i))); \
        }                                                         \
    }
MAP(map_exp, vf_exp)
MAP(map_expm1, vf_expm1)
MAP(map_tanh, vf_tanh)
MAP(map_sigmoid, vf_sigmoid)
MAP(map_silu, vf_silu)
MAP(map_softplus, vf_softplus)

static void map_gelu(float *y, const float *x, int64_t n) {
    const ggml_half *table = gelu_table();
    for (int64_t i = 0; i < n; i += LANES) {
        store_part(y + i, n - i, vf_gelu(load_part(x + i, n - i), table));
    }
}

/* ---- attention ------------------------------------------------------------------------------- */

INLINE vf load_cached(const void *base, size_t i, bool f16) {
    return f16 ? vf_load_f16((const ggml_half *)base + i) : vf_load((const float *)base + i);
}

/* What comes next is asked for evenly, a little with each vector: a burst of requests waits for the
 * memory as the numbers themselves would (docs/measurements.md). */
INLINE void prefetch_cached(const void *base, size_t i, bool f16) {
    prefetch(base, i * (f16 ? sizeof(ggml_half) : sizeof(float)));
}

/* n_q queries x n_g groups of 8 positions; every score is its own chain of FMAs. */
INLINE void scores_tile(float *s, size_t s_stride, const float *const *q, int n_q, const void *k,
                        size_t group0, size_t group1, int n_g, bool f16, int head_dim, vf scale) {
    vf sum[ATTN_QUERIES][2];
    for (int i = 0; i < n_q; i++) sum[i][0] = sum[i][1] = vf_zero();
    size_t next = (group1 + 1) * (size_t)head_dim * LANES; // the next tile's keys
    for (int d = 0; d < head_dim; d++) {
        prefetch_cached(k, next + (size_t)d * 2 * LANES, f16);
        vf k0 = load_cached(k, (group0 * (size_t)head_dim + (size_t)d) * LANES, f16);
        vf k1 = n_g > 1 ? load_cached(k, (group1 * (size_t)head_dim + (size_t)d) * LANES, f16) : k0;
        for (int i = 0; i < n_q; i++) {
            vf qd = vf_set1(q[i][d]);
            sum[i][0] = vf_fma(qd, k0, sum[i][0]);
            if (n_g > 1) sum[i][1] = vf_fma(qd, k1, sum[i][1]);
        }
    }
    for (int i = 0; i < n_q; i++) {
        vf_store(s + (size_t)i * s_stride, vf_mul(sum[i][0], scale));
        if (n_g > 1) vf_store(s + (size_t)i * s_stride + LANES, vf_mul(sum[i][1], scale));
    }
}

INLINE void scores_n(float *s, size_t s_stride, const float *const *q, int n_q,
                     const struct kv_head *kv, bool f16, int64_t first, int n, float scale) {
    size_t n_groups = (size_t)(kv->n_slots / LANES), group = (size_t)(first / LANES) % n_groups;
    for (int i = 0; i < n;) {
        int n_g = n - i >= 2 * LANES ? 2 : 1;
        size_t next = group + 1 < n_groups ? group + 1 : 0;
        if (n_g == 2) {
            scores_tile(s + i, s_stride, q, n_q, kv->k, group, next, 2, f16, kv->head_dim_k,
                        vf_set1(scale));
            group = next + 1 < n_groups ? next + 1 : 0;
        } else {
            scores_tile(s + i, s_stride, q, n_q, kv->k, group, group, 1, f16, kv->head_dim_k,
                        vf_set1(scale));
            group = next;
        }
        i += n_g * LANES;
    }
}

/* A call with the number of queries and the cache's type as constants, N_Q and F16. */
_Static_assert(ATTN_QUERIES == 4, "ATTN_SHAPES has a case for every number of queries");
#define ATTN_CASE(n, is_f16, call)          \
    case 2 * (n) + (is_f16): {              \
        enum { N_Q = (n), F16 = (is_f16) }; \
        call;                               \
        break;                              \
    }
#define ATTN_SHAPES(n_q, kv, call)       \
    switch (2 * (n_q) + (kv)->f16) {     \
        ATTN_CASE(1, 0, call)            \
        ATTN_CASE(1, 1, call)            \
        ATTN_CASE(2, 0, call)            \
        ATTN_CASE(2, 1, call)            \
        ATTN_CASE(3, 0, call)            \
        ATTN_CASE(3, 1, call)            \
        ATTN_CASE(ATTN_QUERIES, 0, call) \
        ATTN_CASE(ATTN_QUERIES, 1, call) \
    default:                             \
        break;                           \
    }

static void attn_scores(float *s, size_t s_stride, const float *const *q, int n_q,
                        const struct kv_head *kv, int64_t first, int n, float scale) {
    ATTN_SHAPES(n_q, kv, scores_n(s, s_stride, q, N_Q, kv, F16, first, n, scale))
}

static float softmax(float *s, int n, int begin, int end) {
    for (int i = 0; i < begin; i++) s[i] = -INFINITY;
    for (int i = end; i < n; i++) s[i] = -INFINITY;
    vf max = vf_load(s);
    for (int i = LANES; i < n; i += LANES) max = vf_max(max, vf_load(s + i));
    vf top = vf_set1(vf_max_of(max)), sum = vf_zero();
    for (int i = 0; i < n; i += LANES) {
        vf e = vf_exp_decay(vf_sub(top, vf_load(s + i)));
        vf_store(s + i, e);
        sum = vf_add(sum, e);
    }
    return vf_sum(sum);
}

/* Blocks of positions whose values fit L1: 64 x 128 halves are 16 kB. */
#define VALUE_BLOCK 64

/* n_q queries x n_v vectors of dimensions from d0 on, over n positions that lie one after the other
 * in the ring; sums are kept in out between calls. */
INLINE void values_tile(float *const *out, const float *s, size_t s_stride, int n_q, const void *v,
                        bool f16, int head_dim, size_t slot, int n, int d0, int n_v) {
    vf sum[ATTN_QUERIES][2];
    for (int i = 0; i < n_q; i++) {
        for (int j = 0; j < n_v; j++) sum[i][j] = vf_load(out[i] + d0 + j * LANES);
    }
    size_t next = (slot + VALUE_BLOCK) * (size_t)head_dim + (size_t)(d0 * VALUE_BLOCK);
    for (int p = 0; p < n; p++) {
        size_t at = (slot + (size_t)p) * (size_t)head_dim + (size_t)d0;
        prefetch_cached(v, next + (size_t)(p * 2 * LANES), f16);
        vf v0 = load_cached(v, at, f16), v1 = n_v > 1 ? load_cached(v, at + LANES, f16) : v0;
        for (int i = 0; i < n_q; i++) {
            vf weight = vf_set1(s[(size_t)i * s_stride + (size_t)p]);
            sum[i][0] = vf_fma(weight, v0, sum[i][0]);
            if (n_v > 1) sum[i][1] = vf_fma(weight, v1, sum[i][1]);
        }
    }
    for (int i = 0; i < n_q; i++) {
        for (int j = 0; j < n_v; j++) vf_store(out[i] + d0 + j * LANES, sum[i][j]);
    }
}

INLINE void values_n(float *const *out, const float *s, size_t s_stride, int n_q,
                     const struct kv_head *kv, bool f16, int64_t first, int n) {
    int head_dim = kv->head_dim_v;
    size_t slot = (size_t)first % (size_t)kv->n_slots;
    for (int p = 0; p < n;) {
        int left = kv->n_slots - (int)slot, block = n - p < VALUE_BLOCK ? n - p : VALUE_BLOCK;
        if (block > left) block = left;
        int d = 0;
        for (; d + 2 * LANES <= head_dim; d += 2 * LANES) {
            values_tile(out, s + p, s_stride, n_q, kv->v, f16, head_dim, slot, block, d, 2);
        }
        if (d < head_dim) {
            values_tile(out, s + p, s_stride, n_q, kv->v, f16, head_dim, slot, block, d, 1);
        }
        p += block;
        slot = (slot + (size_t)block) % (size_t)kv->n_slots;
    }
}

/* n_q queries x n_d numbers of the keys, over n_groups groups of 8 positions that lie one after the
 * other in the ring. Sums, 8 lanes for each number, are kept in out between calls. */
INLINE void key_values_tile(float *const *out, const float *s, size_t s_stride, int n_q,
                            const void *k, bool f16, int head_dim, size_t group, size_t n_groups,
                            int d, int n_d) {
    vf sum[ATTN_QUERIES][2];
    for (int i = 0; i < n_q; i++) {
        for (int j = 0; j < n_d; j++) sum[i][j] = vf_load(out[i] + (d + j) * LANES);
    }
    for (size_t g = 0; g < n_groups; g++) {
        size_t at = ((group + g) * (size_t)head_dim + (size_t)d) * LANES;
        vf k0 = load_cached(k, at, f16), k1 = n_d > 1 ? load_cached(k, at + LANES, f16) : k0;
        for (int i = 0; i < n_q; i++) {
            vf weight = vf_load(s + (size_t)i * s_stride + g * LANES);
            sum[i][0] = vf_fma(weight, k0, sum[i][0]);
            if (n_d > 1) sum[i][1] = vf_fma(weight, k1, sum[i][1]);
        }
    }
    for (int i = 0; i < n_q; i++) {
        for (int j = 0; j < n_d; j++) vf_store(out[i] + (d + j) * LANES, sum[i][j]);
    }
}

INLINE void key_values_n(float *const *out, const float *s, size_t s_stride, int n_q,
                         const struct kv_head *kv, bool f16, int64_t first, int n) {
    size_t slots = (size_t)kv->n_slots / LANES, group = (size_t)(first / LANES) % slots;
    for (size_t g = 0, all = (size_t)n / LANES; g < all;) {
        size_t left = slots - group,
               block = all - g < VALUE_BLOCK / LANES ? all - g : VALUE_BLOCK / LANES;
        if (block > left) block = left;
        int d = 0;
        for (; d + 2 <= kv->head_dim_v; d += 2) {
            key_values_tile(out, s + g * LANES, s_stride, n_q, kv->k, f16, kv->head_dim_k, group,
                            block, d, 2);
        }
        if (d < kv->head_dim_v) {
            key_values_tile(out, s + g * LANES, s_stride, n_q, kv->k, f16, kv->head_dim_k, group,
                            block, d, 1);
        }
        g += block;
        group = (group + block) % slots;
    }
}

/* Values that are part of the keys lie with 8 positions in a vector: so a sum has 8 lanes. */
static void key_values(float *const *out, const float *s, size_t s_stride, const float *inv_sum,
                       int n_q, const struct kv_head *kv, int64_t first, int n) {
    for (int i = 0; i < n_q; i++) {
        memset(out[i], 0, (size_t)kv->head_dim_v * LANES * sizeof(float));
    }
    ATTN_SHAPES(n_q, kv, key_values_n(out, s, s_stride, N_Q, kv, F16, first, n))
    for (int i = 0; i < n_q; i++) { // + 0: see attn_values
        for (int d = 0; d < kv->head_dim_v; d++) {
            out[i][d] = vf_sum(vf_load(out[i] + d * LANES)) * inv_sum[i] + 0.0f;
        }
    }
}

static void attn_values(float *const *out, const float *s, size_t s_stride, const float *inv_sum,
                        int n_q, const struct kv_head *kv, int64_t first, int n) {
    int head_dim = kv->head_dim_v;
    if (!kv->v) {
        key_values(out, s, s_stride, inv_sum, n_q, kv, first, n);
        return;
    }
    for (int i = 0; i < n_q; i++) memset(out[i], 0, (size_t)head_dim * sizeof(float));
    ATTN_SHAPES(n_q, kv, values_n(out, s, s_stride, N_Q, kv, F16, first, n))
    /* + 0 turns -0 into 0: positions with weight 0 that another query's range brought in, and
     * that could only have changed the sign of a zero, leave no trace. */
    for (int i = 0; i < n_q; i++) {
        for (int d = 0; d < head_dim; d += LANES) {
            vf scaled = vf_mul(vf_load(out[i] + d), vf_set1(inv_sum[i]));
            vf_store(out[i] + d, vf_add(scaled, vf_zero()));
        }
    }
}

SIMD_END

#include "recurrent.h"

#define OPS_SIMD                                                                          \
    {                                                                                     \
        .rms_norm = rms_norm, .layer_norm = layer_norm, .swiglu = swiglu, .geglu = geglu, \
        .swiglu_oai = swiglu_oai, .softcap = softcap, .exp = map_exp, .expm1 = map_expm1, \
        .tanh = map_tanh, .sigmoid = map_sigmoid, .silu = map_silu, .gelu = map_gelu,     \
        .softplus = map_softplus, .attn_scores = attn_scores, .softmax = softmax,         \
        .attn_values = attn_values, OPS_RECURRENT                                         \
    }

#endif
