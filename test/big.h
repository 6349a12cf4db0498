/* Floating-point numbers of 192 bits, from integer arithmetic alone: what test_elementary.c
 * compares with. Operations cut off what does not fit, an error of some 2^-190 each; series, pi and
 * logarithm of 2 included, are plain Taylor series. Slow and simple. */
#ifndef BIG_H
#define BIG_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#define BIG_LIMBS 6

/* sign * m * 2^(exp - 192), the least limb first; the topmost bit is set, or all is 0. */
struct big {
    int sign, exp; // 1 or -1; the number is from 2^(exp - 1) to 2^exp
    uint32_t m[BIG_LIMBS];
};

static const struct big big_zero = {1, 0, {0}};

static inline bool big_is_zero(struct big a) {
    return a.m[BIG_LIMBS - 1] == 0;
}

/* From n limbs, the binary point exp bits below the top. */
static inline struct big big_normal(int sign, int exp, const uint32_t *limb, int n) {
    struct big a = {sign, exp, {0}};
    while (n > 0 && limb[n - 1] == 0) {
        n--;
        a.exp -= 32;
    }
    if (n == 0) return big_zero;
    int shift = 0;
    while (!(limb[n - 1] << shift & 0x80000000u)) shift++;
    a.exp -= shift;
    for (int i = 0; i < BIG_LIMBS; i++) { // from the top
        int at = n - 1 - i;
        uint64_t two = at < 0 ? 0 : (uint64_t)limb[at] << 32;
        if (at > 0) two |= limb[at - 1];
        a.m[BIG_LIMBS - 1 - i] = (uint32_t)(two << shift >> 32);
    }
    return a;
}

static inline struct big big_from(double x) {
    int exp;
    uint64_t m = (uint64_t)ldexp(frexp(fabs(x), &exp), 53);
    return big_normal(signbit(x) ? -1 : 1, exp + 11, (uint32_t[]){(uint32_t)m, (uint32_t)(m >> 32)},
                      2);
}

/* Within a part in 2^53. */
static inline double big_to_double(struct big a) {
    double top = a.m[BIG_LIMBS - 1] * 0x1p-32 + (a.m[BIG_LIMBS - 2] >> 11 << 11) * 0x1p-64;
    return a.sign * ldexp(top, a.exp);
}

static inline struct big big_scaled(struct big a, int k) {
    if (!big_is_zero(a)) a.exp += k;
    return a;
}

static inline struct big big_negative(struct big a) {
    a.sign = -a.sign;
    return a;
}

static inline struct big big_mul(struct big a, struct big b) {
    uint32_t p[2 * BIG_LIMBS] = {0};
    for (int i = 0; i < BIG_LIMBS; i++) {
        uint64_t carry = 0;
        for (int j = 0; j < BIG_LIMBS; j++) {
            carry += (uint64_t)a.m[i] * b.m[j] + p[i + j];
            p[i + j] = (uint32_t)carry;
            carry >>= 32;
        }
        p[i + BIG_LIMBS] = (uint32_t)carry;
    }
    return big_normal(a.sign * b.sign, a.exp + b.exp, p, 2 * BIG_LIMBS);
}

/* The 32 bits of m * 2^-shift from limb i on, the limb below it being i - 1 and so on. */
static inline uint32_t big_shifted(const struct big *a, int i, int shift) {
    int at = i + shift / 32;
    uint64_t two = at >= 0 && at < BIG_LIMBS ? a->m[at] : 0;
    if (at + 1 >= 0 && at + 1 < BIG_LIMBS) two |= (uint64_t)a->m[at + 1] << 32;
    return (uint32_t)(two >> shift % 32);
}

static inline struct big big_add(struct big a, struct big b) {
    if (big_is_zero(a)) return b;
    if (big_is_zero(b)) return a;
    bool b_larger = b.exp > a.exp;
    for (int i = BIG_LIMBS - 1; i >= 0 && a.exp == b.exp; i--) {
        if (a.m[i] == b.m[i]) continue;
        b_larger = b.m[i] > a.m[i];
        break;
    }
    struct big large = b_larger ? b : a, small = b_larger ? a : b;
    int shift = large.exp - small.exp;
    if (shift > 32 * BIG_LIMBS) return large;
    uint32_t sum[BIG_LIMBS + 2]; // a limb below, and one for the carry
    uint64_t carry = 0;
    for (int i = -1; i < BIG_LIMBS; i++) {
        uint64_t x = i < 0 ? 0 : large.m[i], y = big_shifted(&small, i, shift);
        uint64_t s = large.sign == small.sign ? x + y + carry : x - y - carry;
        sum[i + 1] = (uint32_t)s;
        carry = s >> 32 & 1;
    }
    sum[BIG_LIMBS + 1] = large.sign == small.sign ? (uint32_t)carry : 0;
    return big_normal(large.sign, large.exp + 32, sum, BIG_LIMBS + 2);
}

static inline struct big big_sub(struct big a, struct big b) {
    return big_add(a, big_negative(b));
}

static inline struct big big_div_small(struct big a, uint32_t by) {
    uint32_t q[BIG_LIMBS + 1];
    uint64_t rest = 0;
    for (int i = BIG_LIMBS; i >= 0; i--) {
        rest = rest << 32 | (i > 0 ? a.m[i - 1] : 0);
        q[i] = (uint32_t)(rest / by);
        rest %= by;
    }
    return big_normal(a.sign, a.exp, q, BIG_LIMBS + 1);
}

/* By Newton's iteration for 1 / b, from 53 bits over 106 to 212. */
static inline struct big big_div(struct big a, struct big b) {
    struct big m = big_scaled(b, -b.exp), one = big_from(1), r = big_from(1 / big_to_double(m));
    for (int i = 0; i < 2; i++) r = big_add(r, big_mul(r, big_sub(one, big_mul(m, r))));
    return big_mul(a, big_scaled(r, -b.exp));
}

/* ---- functions ------------------------------------------------------------------------------- */

/* Is it too small to change what it is added to? */
static inline bool big_negligible(struct big term, struct big sum) {
    return big_is_zero(term) || term.exp < sum.exp - 32 * BIG_LIMBS;
}

/* 2 atanh(s) = 2 (s + s^3 / 3 + s^5 / 5 + ...) */
static inline struct big big_log_ratio(struct big s) {
    struct big square = big_mul(s, s), power = s, sum = s;
    for (uint32_t n = 3;; n += 2) {
        power = big_mul(power, square);
        struct big term = big_div_small(power, n);
        if (big_negligible(term, sum)) return big_scaled(sum, 1);
        sum = big_add(sum, term);
    }
}

static inline struct big big_ln2(void) {
    static struct big ln2;
    if (big_is_zero(ln2)) ln2 = big_log_ratio(big_div_small(big_from(1), 3));
    return ln2;
}

/* log x = k log 2 + log m, x > 0 */
static inline struct big big_log(struct big x) {
    int k = x.exp;
    struct big m = big_scaled(x, -k), one = big_from(1);
    if (big_to_double(m) < 0.7) {
        m = big_scaled(m, 1);
        k--;
    }
    struct big log_m = big_log_ratio(big_div(big_sub(m, one), big_add(m, one)));
    return big_add(big_mul(big_from(k), big_ln2()), log_m);
}

/* e^x = 2^k (1 + p), |x| < 2^20. For the series x = k log 2 + 2^8 r; e^2r - 1 = p (2 + p) for p =
 * e^r - 1. */
static inline struct big big_expm1_reduced(struct big x, int *k) {
    *k = (int)rint(big_to_double(x) / big_to_double(big_ln2()));
    struct big r = big_scaled(big_sub(x, big_mul(big_from(*k), big_ln2())), -8);
    if (big_is_zero(r)) return r;
    struct big term = r, p = r;
    for (uint32_t n = 2;; n++) {
        term = big_div_small(big_mul(term, r), n);
        if (big_negligible(term, p)) break;
        p = big_add(p, term);
    }
    for (int i = 0; i < 8; i++) p = big_mul(p, big_add(big_from(2), p));
    return p;
}

static inline struct big big_exp(struct big x) {
    int k;
    struct big p = big_expm1_reduced(x, &k);
    return big_scaled(big_add(p, big_from(1)), k);
}

static inline struct big big_expm1(struct big x) {
    int k;
    struct big p = big_expm1_reduced(x, &k);
    return k == 0 ? p : big_sub(big_scaled(big_add(p, big_from(1)), k), big_from(1));
}

/* start + ... - ... of x^n / n!, every other n */
static inline struct big big_alternating(struct big start, uint32_t n, struct big x) {
    struct big square = big_mul(x, x), term = start, sum = start;
    for (;; n += 2) {
        term = big_negative(big_div_small(big_mul(term, square), (n + 1) * (n + 2)));
        if (big_negligible(term, sum)) return sum;
        sum = big_add(sum, term);
    }
}

/* ---- pi to 1344 bits ------------------------------------------------------------------------- */

/* Numbers from 0 to 2^32 with WIDE - 1 limbs behind the point, the least first. */
#define BIG_WIDE 43

static inline void wide_div(uint32_t *q, const uint32_t *a, uint32_t by) {
    uint64_t rest = 0;
    for (int i = BIG_WIDE - 1; i >= 0; i--) {
        rest = rest << 32 | a[i];
        q[i] = (uint32_t)(rest / by);
        rest %= by;
    }
}

/* a += b * sign */
static inline void wide_add(uint32_t *a, const uint32_t *b, int sign) {
    uint64_t carry = 0;
    for (int i = 0; i < BIG_WIDE; i++) {
        uint64_t s = sign > 0 ? (uint64_t)a[i] + b[i] + carry : (uint64_t)a[i] - b[i] - carry;
        a[i] = (uint32_t)s;
        carry = s >> 32 & 1;
    }
}

/* sum += factor atan(1 / n) */
static inline void wide_add_atan(uint32_t *sum, uint32_t factor, int sign, uint32_t n) {
    uint32_t power[BIG_WIDE] = {0}, term[BIG_WIDE];
    power[BIG_WIDE - 1] = factor;
    wide_div(power, power, n);
    for (uint32_t k = 1; k < 32 * BIG_WIDE; k += 2, sign = -sign) {
        wide_div(term, power, k);
        wide_add(sum, term, sign);
        wide_div(power, power, n * n);
    }
}

/* pi (Machin), and 2 / pi by long division; made once. */
struct wide_constants {
    uint32_t pi[BIG_WIDE], two_over_pi[BIG_WIDE];
};

static inline const struct wide_constants *wide_constants(void) {
    static struct wide_constants w;
    if (w.pi[0] != 0) return &w;
    wide_add_atan(w.pi, 16, 1, 5);
    wide_add_atan(w.pi, 4, -1, 239);
    uint32_t rest[BIG_WIDE] = {0};
    rest[BIG_WIDE - 1] = 2;
    for (int bit = 32 * (BIG_WIDE - 1) - 1; bit >= 0; bit--) { // 2 / pi is below 1
        wide_add(rest, rest, 1);
        int i = BIG_WIDE - 1;
        while (i > 0 && rest[i] == w.pi[i]) i--;
        if (rest[i] < w.pi[i]) continue;
        wide_add(rest, w.pi, -1);
        w.two_over_pi[bit / 32] |= 1u << bit % 32;
    }
    return &w;
}

static inline struct big big_pi(void) {
    return big_normal(1, 32, wide_constants()->pi, BIG_WIDE);
}

/* x >= 0 is the quadrant times pi / 2 and what is returned, up to pi / 4 in size. */
static inline struct big big_reduce(double x, int *quadrant) {
    const uint32_t *two_over_pi = wide_constants()->two_over_pi;
    int exp;
    uint64_t m = (uint64_t)ldexp(frexp(x, &exp), 53);
    uint32_t product[BIG_WIDE + 2] = {0};
    for (int half = 0; half < 2; half++) {
        uint64_t carry = 0, factor = half ? m >> 32 : m & 0xffffffff;
        for (int i = 0; i < BIG_WIDE; i++) {
            carry += factor * two_over_pi[i] + product[i + half];
            product[i + half] = (uint32_t)carry;
            carry >>= 32;
        }
        product[BIG_WIDE + half] = (uint32_t)carry;
    }
    int point = 32 * (BIG_WIDE - 1) + 53 - exp; // the place of the digit for 1
    *quadrant = 0;
    for (int bit = 0; bit < 2; bit++) {
        int at = point + bit;
        if (at < 32 * (BIG_WIDE + 2)) *quadrant |= (int)(product[at / 32] >> at % 32 & 1) << bit;
    }
    for (int at = point; at < 32 * (BIG_WIDE + 2); at++) product[at / 32] &= ~(1u << at % 32);
    int top = 32 * (BIG_WIDE + 2) - point;
    struct big fraction = big_normal(1, top, product, BIG_WIDE + 2);
    if (fraction.exp == 0 && !big_is_zero(fraction)) { // 1/2 or more
        *quadrant = (*quadrant + 1) & 3;
        fraction = big_sub(fraction, big_from(1));
    }
    return big_mul(fraction, big_scaled(big_pi(), -1));
}

static inline struct big big_sin(double x) {
    int quadrant;
    struct big r = big_reduce(fabs(x), &quadrant);
    if (big_is_zero(r)) return r;
    struct big s = quadrant & 1 ? big_alternating(big_from(1), 0, r) : big_alternating(r, 1, r);
    if (quadrant & 2) s.sign = -s.sign;
    if (signbit(x)) s.sign = -s.sign;
    return s;
}

static inline struct big big_cos(double x) {
    int quadrant;
    struct big r = big_reduce(fabs(x), &quadrant);
    if (big_is_zero(r)) return big_from(1);
    struct big c = quadrant & 1 ? big_alternating(r, 1, r) : big_alternating(big_from(1), 0, r);
    if (quadrant == 1 || quadrant == 2) c.sign = -c.sign;
    return c;
}

#endif
