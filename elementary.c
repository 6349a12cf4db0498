#include "elementary.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "exact.h"

/* ---- twice the precision --------------------------------------------------------------------- */

/* The number hi + lo, |lo| <= half a unit in the last place of hi: 106 bits (Dekker, A
 * floating-point technique for extending the available precision, 1971). */
struct dd {
    double hi, lo;
};

/* a + b without error, if |a| >= |b| or a = 0. */
static struct dd fast_two_sum(double a, double b) {
    double s = a + b;
    return (struct dd){s, b - (s - a)};
}

/* a + b without error. */
static struct dd two_sum(double a, double b) {
    double s = a + b, b_in_s = s - a;
    return (struct dd){s, (a - (s - b_in_s)) + (b - b_in_s)};
}

/* a * b without error: halves of 26 bits have exact products. Not beyond 2^995, and not where the
 * error is below the normal numbers. */
static struct dd two_product(double a, double b) {
    double a_scaled = a * 0x8000001p0, b_scaled = b * 0x8000001p0;
    double a_hi = a_scaled - (a_scaled - a), b_hi = b_scaled - (b_scaled - b);
    double a_lo = a - a_hi, b_lo = b - b_hi, p = a * b;
    return (struct dd){p, ((a_hi * b_hi - p) + a_hi * b_lo + a_lo * b_hi) + a_lo * b_lo};
}

static struct dd dd_add(struct dd a, struct dd b) {
    struct dd s = two_sum(a.hi, b.hi), t = two_sum(a.lo, b.lo);
    s = fast_two_sum(s.hi, s.lo + t.hi);
    return fast_two_sum(s.hi, s.lo + t.lo);
}

static struct dd dd_mul(struct dd a, struct dd b) {
    struct dd p = two_product(a.hi, b.hi);
    return fast_two_sum(p.hi, p.lo + (a.hi * b.lo + a.lo * b.hi));
}

static struct dd dd_div(struct dd a, struct dd b) {
    double q = a.hi / b.hi;
    struct dd p = two_product(q, b.hi);
    double rest = ((a.hi - p.hi) - p.lo) + (a.lo - q * b.lo);
    return fast_two_sum(q, rest / b.hi);
}

/* c + x t, where |x t| <= |c|. */
static struct dd dd_horner(struct dd c, struct dd x, struct dd t) {
    struct dd p = dd_mul(x, t), s = fast_two_sum(c.hi, p.hi);
    return fast_two_sum(s.hi, s.lo + (c.lo + p.lo));
}

/* c + t, where |t| <= |c|. */
static struct dd dd_start(struct dd c, double t) {
    struct dd s = fast_two_sum(c.hi, t);
    return fast_two_sum(s.hi, s.lo + c.lo);
}

/* c[0] + c[1] x + ... + c[n - 1] x^(n - 1) */
static double polynomial(const double *c, int n, double x) {
    double y = c[n - 1];
    for (int i = n - 2; i >= 0; i--) y = y * x + c[i];
    return y;
}

static const struct dd one = {1, 0};

/* Those of which half the precision is not enough; the low parts repeat the pattern of the high. */
static const struct dd third = {0x1.5555555555555p-2, 0x1.5555555555555p-56};
static const struct dd fifth = {0x1.999999999999ap-3, -0x1.999999999999ap-57};
static const struct dd seventh = {0x1.2492492492492p-3, 0x1.2492492492492p-57};
static const struct dd sixth = {0x1.5555555555555p-3, 0x1.5555555555555p-57};
static const struct dd minus_sixth = {-0x1.5555555555555p-3, -0x1.5555555555555p-57};

/* ln 2 in parts of 42 bits, so that each times an exponent is exact, and a rest. */
#define LN2_A 0x1.62e42fefa3800p-1
#define LN2_B 0x1.ef35793c76000p-45
#define LN2_C 0x1.cc01f97b57a08p-87

/* ---- exponential ----------------------------------------------------------------------------- */

/* x 2^k for x from 1/2 on, rounded once. Numbers from 2^(-1022 - k) to twice that lie as far apart
 * as results below the normal numbers do before scaling. */
static double scaled(struct dd x, int k) {
    double grid = k > -1020 ? 0 : ldexp(1, -1022 - k);
    if (x.hi >= grid) return ldexp(x.hi, k);
    struct dd s = fast_two_sum(grid, x.hi);
    return ldexp((s.hi + (s.lo + x.lo)) - grid, k);
}

/* The integer next to x, |x| < 2^51. */
static double nearest(double x) {
    return (x + 0x1.8p52) - 0x1.8p52;
}

/* e^x = 2^k (1 + result) for |x| up to 800: x = k ln 2 + r, and of r, up to ln 2 / 2 = 0.347, the
 * series. Terms from r^4 / 24 on, which are at most 0.0015 of it, are computed as doubles; the
 * first one left out, r^16 / 16!, is 2^-68. */
static struct dd expm1_reduced(struct dd x, int *k) {
    static const double c[] = {1.0 / 24,         1.0 / 120,         1.0 / 720,
                               1.0 / 5040,       1.0 / 40320,       1.0 / 362880,
                               1.0 / 3628800,    1.0 / 39916800,    1.0 / 479001600,
                               1.0 / 6227020800, 1.0 / 87178291200, 1.0 / 1307674368000};
    double n = nearest(x.hi * 0x1.71547652b82fep0); // 1 / ln 2
    *k = (int)n;
    struct dd r = two_sum(x.hi - n * LN2_A, -n * LN2_B);
    r = fast_two_sum(r.hi, r.lo + (x.lo - n * LN2_C));
    struct dd t = dd_start(sixth, r.hi * polynomial(c, 12, r.hi));
    t = dd_horner((struct dd){0.5, 0}, r, t);
    t = dd_horner(one, r, t);
    return dd_mul(r, t);
}

/* To 0 it rounds from -745.14 on, to infinity from 709.79 on. */
static double exp_of(struct dd x) {
    if (x.hi > 710) return INFINITY;
    if (x.hi < -746) return 0;
    int k;
    struct dd e = expm1_reduced(x, &k);
    return scaled(dd_add(one, e), k);
}

double elementary_exp(double x) {
    return x == x ? exp_of((struct dd){x, 0}) : x + x;
}

/* For |x| from 2^-54 to 80, with the relative precision of expm1_reduced. */
static struct dd expm1_of(double x) {
    int k;
    struct dd e = expm1_reduced((struct dd){x, 0}, &k);
    if (k == 0) return e;
    struct dd power = dd_add(one, e);
    return dd_add((struct dd){ldexp(power.hi, k), ldexp(power.lo, k)}, (struct dd){-1, 0});
}

double elementary_expm1(double x) {
    if (!(fabs(x) >= 0x1p-54)) return x;
    if (x > 80) return elementary_exp(x);
    if (x < -45) return -1;
    return expm1_of(x).hi;
}

/* (e^2a - 1) / (e^2a + 1); tanh x = x - x^3 / 3 + ... */
double elementary_tanh(double x) {
    double a = fabs(x);
    if (!(a >= 0x1p-28)) return x;
    if (a > 20) return copysign(1, x);
    struct dd e = expm1_of(2 * a);
    return copysign(dd_div(e, dd_add(e, (struct dd){2, 0})).hi, x);
}

/* ---- logarithm ------------------------------------------------------------------------------- */

/* x = 2^k m with m from sqrt(1/2) to sqrt(2); log m = 2 atanh s = 2 (s + s^3 / 3 + ...), s = (m -
 * 1) / (m + 1) up to 0.172, z = s^2 up to 0.0295. Terms from z^4 / 9 on, which are at most 2^-23 of
 * it, are computed as doubles; the first one left out, z^16 / 33, is 2^-86. x.hi positive and
 * finite. */
static struct dd log_of(struct dd x) {
    static const double c[] = {1.0 / 9,  1.0 / 11, 1.0 / 13, 1.0 / 15, 1.0 / 17, 1.0 / 19,
                               1.0 / 21, 1.0 / 23, 1.0 / 25, 1.0 / 27, 1.0 / 29, 1.0 / 31};
    int k;
    struct dd m = {frexp(x.hi, &k), 0};
    if (m.hi < 0x1.6a09e667f3bcdp-1) {
        m.hi *= 2;
        k--;
    }
    m.lo = ldexp(x.lo, -k);
    struct dd s = dd_div(two_sum(m.hi - 1, m.lo), dd_add(m, one)), z = dd_mul(s, s);
    struct dd t = dd_start(seventh, z.hi * polynomial(c, 12, z.hi));
    t = dd_horner(fifth, z, t);
    t = dd_horner(third, z, t);
    t = dd_horner(one, z, t);
    struct dd log_m = dd_mul((struct dd){2 * s.hi, 2 * s.lo}, t);
    if (k == 0) return log_m;
    struct dd log_power = fast_two_sum(k * LN2_A, k * LN2_B);
    log_power.lo += k * LN2_C;
    return dd_add(log_power, log_m);
}

double elementary_log(double x) {
    if (x == 0) return -INFINITY;
    if (!(x > 0)) return x == x ? NAN : x + x;
    return x < INFINITY ? log_of((struct dd){x, 0}).hi : x;
}

double elementary_log1p(double x) {
    if (!(fabs(x) >= 0x1p-54)) return x;
    if (!(x > -1)) return x == -1 ? -INFINITY : NAN;
    return x < INFINITY ? log_of(two_sum(1, x)).hi : x;
}

/* ---- power ----------------------------------------------------------------------------------- */

static bool is_odd(double y) {
    return fabs(y) < 0x1p53 && (double)(int64_t)y == y && ((int64_t)y & 1);
}

static bool is_integer(double y) {
    return fabs(y) >= 0x1p52 || (double)(int64_t)y == y;
}

/* |x|^y for x neither 0 nor infinite nor NaN */
static double pow_of_magnitude(double x, double y) {
    if (fabs(x) == 1 || fabs(y) < 0x1p-64) return 1; // no logarithm is beyond 2^10
    bool grows = (fabs(x) > 1) == (y > 0);
    if (fabs(y) > 0x1p64) return grows ? INFINITY : 0; // no other logarithm is within 2^-54
    return exp_of(dd_mul(log_of((struct dd){fabs(x), 0}), (struct dd){y, 0}));
}

double elementary_pow(double x, double y) {
    if (y == 0 || x == 1) return 1;
    if (x != x || y != y) return x + y;
    double magnitude;
    if (x == 0 || fabs(x) == INFINITY) {
        magnitude = (x == 0) == (y > 0) ? 0 : INFINITY;
    } else {
        if (x < 0 && !is_integer(y)) return NAN;
        magnitude = pow_of_magnitude(x, y);
    }
    return signbit(x) && is_odd(y) ? -magnitude : magnitude;
}

/* ---- sine and cosine ------------------------------------------------------------------------- */

/* 2 / pi: its binary digits after the point, 32 a word. */
static const uint32_t two_over_pi[] = {
    0xa2f9836e, 0x4e441529, 0xfc2757d1, 0xf534ddc0, 0xdb629599, 0x3c439041, 0xfe5163ab, 0xdebbc561,
    0xb7246e3a, 0x424dd2e0, 0x06492eea, 0x09d1921c, 0xfe1deb1c, 0xb129a73e, 0xe88235f5, 0x2ebb4484,
    0xe99c7026, 0xb45f7e41, 0x3991d639, 0x835339f4, 0x9c845f8b, 0xbdf9283b, 0x1ff897ff, 0xde05980f,
    0xef2f118b, 0x5a0a6d1f, 0x6d367ecf, 0x27cb09b7, 0x4f463f66, 0x9e5fea2d, 0x7527bac7, 0xebe5f17b,
    0x3d0739f7, 0x8a5292ea, 0x6bfb5fb1, 0x1f8d5d08, 0x56033046, 0xfc7b6bab};

/* |x| = quadrant pi / 2 + r modulo 2 pi, |r| <= pi / 4, for finite |x| from 2^20 on (Payne and
 * Hanek, Radian reduction for trigonometric functions, 1983): |x| = m 2^e with an integer m, of
 * whose product with 2 / pi all digits are left out that only add multiples of 4. No double is
 * nearer than 2^-62 to a multiple of pi / 2; the digits behind the words taken would change r by
 * 2^-170. */
static int reduce_large(double x, struct dd *r) {
    enum { WORDS = 8 };
    int e;
    uint64_t m = (uint64_t)ldexp(frexp(fabs(x), &e), 53);
    e -= 53;
    int first = e < 2 ? 0 : (e - 2) / 32;
    uint32_t product[WORDS + 3] = {0}; // from the least on, and 0 above the last
    for (int half = 0; half < 2; half++) {
        uint64_t factor = half ? m >> 32 : m & 0xffffffff, carry = 0;
        for (int i = 0; i < WORDS; i++) {
            carry += factor * two_over_pi[first + WORDS - 1 - i] + product[i + half];
            product[i + half] = (uint32_t)carry;
            carry >>= 32;
        }
        product[WORDS + half] = (uint32_t)carry;
    }
    int point = 32 * (first + WORDS) - e; // the binary digits of the product behind the point
    uint32_t word[7];                     // the integer part, and 192 digits of the fraction
    for (int i = 0; i < 7; i++) {
        int at = point - 32 * i;
        uint64_t two = product[at / 32] | (uint64_t)product[at / 32 + 1] << 32;
        word[i] = (uint32_t)(two >> at % 32);
    }
    bool above_half = word[1] >> 31; // then it is 1 less a fraction, of the inverted digits
    struct dd fraction = {0, 0};
    double unit = 0x1p-192;
    for (int i = 6; i >= 1; i--) {
        struct dd s = two_sum((above_half ? ~word[i] : word[i]) * unit, fraction.hi);
        fraction = (struct dd){s.hi, s.lo + fraction.lo};
        unit *= 0x1p32;
    }
    const struct dd half_pi = {0x1.921fb54442d18p0, 0x1.1a62633145c07p-54};
    *r = dd_mul(fast_two_sum(fraction.hi, fraction.lo), half_pi);
    if (above_half) *r = (struct dd){-r->hi, -r->lo};
    return (int)((word[0] + above_half) & 3);
}

/* The same for smaller |x| (Cody and Waite, Software manual for the elementary functions, 1980):
 * pi / 2 in parts of 33 bits, so that each times the number of quadrants is exact, and a rest. */
static int reduce_small(double x, struct dd *r) {
    double n = nearest(fabs(x) * 0x1.45f306dc9c883p-1); // 2 / pi
    struct dd s = two_sum(fabs(x) - n * 0x1.921fb54400000p0, -n * 0x1.0b4611a600000p-34);
    struct dd t = two_sum(s.hi, -n * 0x1.3198a2e000000p-69);
    *r = two_sum(t.hi, t.lo + (s.lo - n * 0x1.b839a252049c1p-104));
    return (int)n & 3;
}

/* r - r^3 / 6 + ... with z = r^2, up to 0.617. Terms from r^5 / 120 on, which are at most 0.003,
 * are computed as doubles; the first one left out, r^19 / 19!, is 2^-63. */
static double sine_series(struct dd r, struct dd z) {
    static const double c[] = {
        1.0 / 120,        -1.0 / 5040,          1.0 / 362880,         -1.0 / 39916800,
        1.0 / 6227020800, -1.0 / 1307674368000, 1.0 / 355687428096000};
    struct dd t = dd_mul(dd_mul(r, z), dd_start(minus_sixth, z.hi * polynomial(c, 7, z.hi)));
    struct dd s = fast_two_sum(r.hi, t.hi);
    return s.hi + (s.lo + (t.lo + r.lo));
}

/* 1 - z / 2 + z^2 / 24 - ...; of z^2 / 24, at most 0.016, and the rest, doubles; the first one left
 * out, z^10 / 20!, is 2^-68. */
static double cosine_series(struct dd z) {
    static const double c[] = {
        1.0 / 24,        -1.0 / 720,         1.0 / 40320,          -1.0 / 3628800,
        1.0 / 479001600, -1.0 / 87178291200, 1.0 / 20922789888000, -1.0 / 6402373705728000};
    struct dd s = fast_two_sum(1, -0.5 * z.hi);
    return s.hi + (z.hi * z.hi * polynomial(c, 8, z.hi) + (s.lo - 0.5 * z.lo));
}

/* Next to 0 the sine is x less x^3 / 6, the cosine 1 less x^2 / 2. */
void elementary_sin_cos(double x, double *sine, double *cosine) {
    double a = fabs(x);
    if (a < 0x1p-27) {
        *sine = x;
        *cosine = 1;
        return;
    }
    if (!(a < INFINITY)) {
        *sine = *cosine = x - x; // NaN
        return;
    }
    struct dd r;
    int quadrant = a < 0x1p20 ? reduce_small(x, &r) : reduce_large(x, &r);
    struct dd z = dd_mul(r, r);
    double s = sine_series(r, z), c = cosine_series(z);
    double sine_of_a = quadrant & 1 ? c : s;
    if (quadrant & 2) sine_of_a = -sine_of_a;
    *sine = x < 0 ? -sine_of_a : sine_of_a;
    *cosine = quadrant & 1 ? s : c;
    if (quadrant == 1 || quadrant == 2) *cosine = -*cosine;
}

double elementary_sin(double x) {
    double sine, cosine;
    elementary_sin_cos(x, &sine, &cosine);
    return sine;
}

double elementary_cos(double x) {
    double sine, cosine;
    elementary_sin_cos(x, &sine, &cosine);
    return cosine;
}
