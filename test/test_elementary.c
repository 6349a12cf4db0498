/* elementary.c against series in integer arithmetic (big.h): the largest error of each function
 * over all exponents, around every point where it changes its way, and at the worst cases of
 * reduction. Special values as in C99's Annex F. Hashes of what the engine computes with it.
 *
 * usage: test_elementary [SEED [ROUNDS]] */
#include "elementary.h"

#include <float.h>
#include <inttypes.h>

#include "big.h"
#include "hash.h"
#include "quant.h"
#include "simd/isa.h"
#include "test.h"

static uint64_t seed;

/* ---- the error of one value ------------------------------------------------------------------ */

enum { EXP, EXPM1, LOG, LOG1P, TANH, SIN, COS, N_UNARY, POW = N_UNARY, N_FUNCTIONS };

/* Bounds in units in the last place, a little above the largest errors found (elementary.h);
 * hash_of(). */
static struct {
    const char *name;
    double (*f)(double);
    double bound;
    uint64_t hash;
    double worst, at, y;
    long n;
} functions[N_FUNCTIONS] = {
    [EXP] = {"exp", elementary_exp, 0.502, 0xb955b3c40b501fbb, 0, 0, 0, 0},
    [EXPM1] = {"expm1", elementary_expm1, 0.504, 0xf898e12b28c4b1a6, 0, 0, 0, 0},
    [LOG] = {"log", elementary_log, 0.501, 0x081788ebd9679a20, 0, 0, 0, 0},
    [LOG1P] = {"log1p", elementary_log1p, 0.501, 0x514c9c71fe475891, 0, 0, 0, 0},
    [TANH] = {"tanh", elementary_tanh, 0.504, 0x83cfd949d3daba1e, 0, 0, 0, 0},
    [SIN] = {"sin", elementary_sin, 0.56, 0x18819fc7fe73c5c2, 0, 0, 0, 0},
    [COS] = {"cos", elementary_cos, 0.56, 0xa0e261c868f76934, 0, 0, 0, 0},
    [POW] = {"pow", NULL, 0.502, 0xca393cf888efc6f7, 0, 0, 0, 0},
};

/* Within 64 times the range of doubles: beyond, only the sign of an exponential counts. */
static struct big limited(struct big x) {
    return x.exp > 16 ? big_scaled(big_from(x.sign), 16) : x;
}

static struct big exact(int f, double x, double y) {
    struct big a = big_from(x), one = big_from(1), e;
    switch (f) {
    case EXP:
        return big_exp(limited(a));
    case EXPM1:
        return big_expm1(limited(a));
    case LOG:
        return big_log(a);
    case LOG1P:
        // log(1 + x) with all bits of x, however small: the series needs s alone.
        return fabs(x) < 0x1p-20 ? big_log_ratio(big_div(a, big_add(a, big_from(2))))
                                 : big_log(big_add(a, one));
    case TANH:
        e = big_expm1(limited(big_scaled(a, 1)));
        return big_div(e, big_add(e, big_from(2)));
    case SIN:
        return big_sin(x);
    case COS:
        return big_cos(x);
    default:
        return big_exp(limited(big_mul(big_log(a), big_from(y))));
    }
}

/* In units in the last place of the result, or of the least double. Infinity stands for 2^1024, and
 * is right beyond. */
static double error_of(double got, struct big want) {
    struct big g =
        fabs(got) == INFINITY ? big_scaled(big_from(got > 0 ? 1 : -1), 1024) : big_from(got);
    if (fabs(got) == INFINITY && want.sign == g.sign && want.exp > 1024) return 0;
    int ulp = want.exp - 53 < -1074 || big_is_zero(want) ? -1074 : want.exp - 53;
    struct big difference = big_scaled(big_sub(g, want), -ulp);
    return difference.exp > 1000 ? INFINITY : fabs(big_to_double(difference));
}

static void check(int f, double x, double y) {
    double got = f == POW ? elementary_pow(x, y) : functions[f].f(x);
    double error = got == got ? error_of(got, exact(f, x, y)) : INFINITY;
    functions[f].n++;
    if (error > functions[f].worst) {
        functions[f].worst = error;
        functions[f].at = x;
        functions[f].y = y;
    }
    CHECK(error <= functions[f].bound, "%s(%a, %a) = %a, %.4f ulp", functions[f].name, x, y, got,
          error);
}

/* ---- numbers to try -------------------------------------------------------------------------- */

static double from_bits(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Finite, of any exponent, subnormal too. */
static double random_double(void) {
    for (;;) {
        double x = from_bits(test_random(&seed));
        if (fabs(x) < INFINITY) return x;
    }
}

static double random_between(double low, double high) {
    return low + (high - low) * ((double)(test_random(&seed) >> 11) * 0x1p-53);
}

static int random_int(int low, int n) {
    return low + (int)(test_random(&seed) % (unsigned)n);
}

/* x, or a neighbour of it: up to 2 steps away, or 2^-k of it. */
static double near(double x) {
    uint64_t r = test_random(&seed), bits;
    if (r & 1) return x * (1 + random_between(-1, 1) * from_bits((1023 - (r >> 8) % 52) << 52));
    memcpy(&bits, &x, sizeof bits);
    double y = from_bits(bits + (r >> 8) % 5 - 2);
    return y == y ? y : x; // below 0 there are NaN
}

/* Those that the function is defined for. */
static bool in_domain(int f, double x) {
    return x == x && fabs(x) < INFINITY && !(f == LOG && x <= 0) && !(f == LOG1P && x <= -1);
}

static void try(int f, double x) {
    if (in_domain(f, x)) check(f, x, 0);
}

/* Where a function changes its way, or its result its kind. */
static const double borders[] = {0x1p-1074,
                                 0x1p-1022,
                                 0x1p-54,
                                 0x1p-53,
                                 0x1p-28,
                                 0x1p-27,
                                 0x1p-20,
                                 0.5,
                                 1,
                                 2,
                                 20,
                                 45,
                                 80,
                                 0x1p20,
                                 0x1p31,
                                 0x1p52,
                                 0x1p53,
                                 0x1p54,
                                 710,
                                 746,
                                 709.782712893384,
                                 745.1332191019411,
                                 708.3964185322641,
                                 0x1.6a09e667f3bcdp-1,
                                 0x1.6a09e667f3bcdp0,
                                 0x1.fffffffffffffp1023,
                                 0.4142135623730951,
                                 19.0615474653985,
                                 0.2928932188134524};

static void test_unary(int rounds) {
    const double ln2 = 0x1.62e42fefa39efp-1;
    for (int f = 0; f < N_UNARY; f++) {
        for (int i = 0; i < rounds; i++) {
            try(f, random_double());
            try(f, random_between(-1, 1));
            try(f, random_between(-50, 50));
            try(f, near(borders[(unsigned)i % (sizeof borders / sizeof *borders)]));
            try(f, -near(borders[(unsigned)i % (sizeof borders / sizeof *borders)]));
        }
    }
    for (int i = 0; i < rounds; i++) {
        double x = near(random_int(-2200, 4400) * ln2 /
                        2); // results near powers of 2, and where reductions turn
        try(EXP, x);
        try(EXPM1, x);
        try(TANH, x / 2);
        try(EXP, random_between(-746, 710));
        try(EXP, random_between(-746, -708));
        try(EXPM1, random_between(-46, 81));
        try(TANH, random_between(-1, 1) * ln2);
        try(LOG, near(1));
        try(LOG, random_between(0.5, 2));
        try(LOG, near(ldexp(0x1.6a09e667f3bcdp0, random_int(-1074, 2098))));
        try(LOG1P, random_between(-1, 2));
        try(LOG1P, near(ldexp(0x1.6a09e667f3bcdp0, random_int(-60, 200))) - 1);
    }
}

/* The doubles nearest to multiples of pi / 2 and, odd ones, of pi / 4: small ones by their number,
 * large ones through a continued fraction, as m * 2^exp. */
static void test_angles(int rounds) {
    static const struct {
        double m;
        int exp;
    } nearest[] = {{0x16ac5b262ca1ffp0, 797}, {0x16c6cbc45dc8dep0, -47}, {0x16ac5b262ca1ffp0, 798},
                   {0x16c6cbc45dc8dep0, -46}, {0x1b951f1572eba5p0, -29}, {0x1504cac51f1eafp0, 79},
                   {0x16ac5b262ca1ffp0, 799}, {0x1e009c53148be1p0, 939}, {0x14c96c11134d36p0, 525},
                   {0x1cfe482285f8edp0, 808}, {0x1db41f3cb71d7bp0, 628}, {0x1e7e44a78ac18cp0, 145},
                   {0x139c6fd67805a7p0, -34}, {0x1c45cd11154dfdp0, 243}, {0x16c6cbc45dc8dep0, -41}};
    for (size_t i = 0; i < sizeof nearest / sizeof *nearest; i++) {
        for (int k = -3; k <= 3; k++) {
            double x = ldexp(nearest[i].m + k, nearest[i].exp);
            for (int f = SIN; f <= COS; f++) {
                try(f, x);
                try(f, -x);
            }
        }
    }
    double quarter = 0x1.921fb54442d18p-1;
    for (int i = 0; i < rounds; i++) {
        uint64_t r = test_random(&seed);
        double turns = i < 2000 ? i : (double)(r >> 12 >> r % 48);
        double x = near(turns * quarter), y = random_between(0, 0x1p21);
        for (int f = SIN; f <= COS; f++) {
            try(f, x);
            try(f, y);
            try(f, (float)y);
        }
        // Both at once, for every sign.
        double sine, cosine;
        elementary_sin_cos(-x, &sine, &cosine);
        CHECK(sine == elementary_sin(-x) && sine == -elementary_sin(x), "sine of %a", -x);
        CHECK(cosine == elementary_cos(x), "cosine of %a", -x);
    }
}

static void test_powers(int rounds) {
    for (int i = 0; i < rounds; i++) {
        double x = fabs(random_double()) + 0x1p-1074, y = random_double();
        check(POW, x, y); // hardly ever neither 0 nor infinite nor 1
        int log2;
        frexp(x, &log2);
        if (log2 == 0) continue;
        check(POW, x, random_between(-1080, 1030) / log2);
        check(POW, x, random_between(-1080, -1020) / log2); // below the normal numbers
        check(POW, x, near(1024.0 / log2));                 // about to overflow
        double z = near(1), w = random_between(-1, 1);
        check(POW, z, ldexp(w, random_int(0, 64)));
        z = random_between(0, 20);
        check(POW, z, random_between(-20, 20));
        z = (float)random_between(1e3, 1e7); // rope's: a base to minus a fraction
        check(POW, z, -2.0 * random_int(0, 64) / 128);
    }
    // Exact results, whole and halves, and what lies half way between doubles.
    for (int base = 2; base < 60; base++) {
        double power = 1;
        for (int n = 1; power * base < 0x1p53; n++) {
            power *= base;
            CHECK(elementary_pow(base, n) == power, "%d^%d", base, n);
            CHECK(elementary_pow(-base, n) == (n & 1 ? -power : power), "(-%d)^%d", base, n);
            CHECK(elementary_pow(power, 1.0 / n) == base || n == 3 || n > 4, "%g^(1/%d)", power, n);
            CHECK(elementary_pow(power * power, 0.5) == power || power > 0x1p26, "%g^2^0.5", power);
            check(POW, base, n);
            check(POW, base, -n);
        }
    }
    for (int n = -1080; n <= 1030; n++) {
        CHECK(elementary_pow(2, n) == ldexp(1, n), "2^%d", n);
        CHECK(elementary_pow(0.5, n) == ldexp(1, -n), "0.5^%d", n);
        CHECK(elementary_pow(-4, n) == ldexp(n & 1 ? -1 : 1, 2 * n), "(-4)^%d", n);
        CHECK(elementary_pow(ldexp(1, n), 0.5) == sqrt(ldexp(1, n)) || n & 1, "2^%d^0.5", n);
    }
}

/* ---- special values -------------------------------------------------------------------------- */

static bool same(double a, double b) {
    return a == b ? signbit(a) == signbit(b) : a != a && b != b;
}

#define TINY 0x1p-1074
#define ODD 0x1.fffffffffffffp52 // the largest odd number
#define EVEN 0x1p53

static const struct {
    int f;
    double x, want;
} special_values[] = {
    {EXP, 0.0, 1},
    {EXP, -0.0, 1},
    {EXP, INFINITY, INFINITY},
    {EXP, -INFINITY, 0.0},
    {EXP, DBL_MAX, INFINITY},
    {EXP, -DBL_MAX, 0.0},
    {EXP, TINY, 1},
    {EXP, 710, INFINITY},
    {EXP, -746, 0.0},
    {EXPM1, 0.0, 0.0},
    {EXPM1, -0.0, -0.0},
    {EXPM1, INFINITY, INFINITY},
    {EXPM1, -INFINITY, -1},
    {EXPM1, TINY, TINY},
    {EXPM1, -TINY, -TINY},
    {EXPM1, -DBL_MAX, -1},
    {EXPM1, DBL_MAX, INFINITY},
    {LOG, 1, 0.0},
    {LOG, 0.0, -INFINITY},
    {LOG, -0.0, -INFINITY},
    {LOG, -1, NAN},
    {LOG, -TINY, NAN},
    {LOG, -INFINITY, NAN},
    {LOG, INFINITY, INFINITY},
    {LOG1P, 0.0, 0.0},
    {LOG1P, -0.0, -0.0},
    {LOG1P, -1, -INFINITY},
    {LOG1P, -2, NAN},
    {LOG1P, -INFINITY, NAN},
    {LOG1P, INFINITY, INFINITY},
    {LOG1P, TINY, TINY},
    {LOG1P, -TINY, -TINY},
    {TANH, 0.0, 0.0},
    {TANH, -0.0, -0.0},
    {TANH, INFINITY, 1},
    {TANH, -INFINITY, -1},
    {TANH, TINY, TINY},
    {TANH, -TINY, -TINY},
    {TANH, DBL_MAX, 1},
    {TANH, -DBL_MAX, -1},
    {SIN, 0.0, 0.0},
    {SIN, -0.0, -0.0},
    {SIN, INFINITY, NAN},
    {SIN, -INFINITY, NAN},
    {SIN, TINY, TINY},
    {SIN, -TINY, -TINY},
    {COS, 0.0, 1},
    {COS, -0.0, 1},
    {COS, INFINITY, NAN},
    {COS, -INFINITY, NAN},
    {COS, TINY, 1},
};

static const struct {
    double x, y, want;
} special_powers[] = {
    {0.0, -1, INFINITY},
    {-0.0, -1, -INFINITY},
    {-0.0, -ODD, -INFINITY},
    {-0.0, -2, INFINITY},
    {-0.0, -1.5, INFINITY},
    {-0.0, -INFINITY, INFINITY},
    {0.0, -INFINITY, INFINITY},
    {0.0, 3, 0.0},
    {-0.0, 3, -0.0},
    {-0.0, ODD, -0.0},
    {-0.0, EVEN, 0.0},
    {-0.0, 0.5, 0.0},
    {-0.0, INFINITY, 0.0},
    {-1, INFINITY, 1},
    {-1, -INFINITY, 1},
    {1, NAN, 1},
    {1, INFINITY, 1},
    {NAN, 0.0, 1},
    {NAN, -0.0, 1},
    {INFINITY, 0.0, 1},
    {0.0, 0.0, 1},
    {-0.0, -0.0, 1},
    {-INFINITY, 0.0, 1},
    {-8, 1.0 / 3, NAN},
    {-TINY, 0.5, NAN},
    {-DBL_MAX, TINY, NAN},
    {0.5, -INFINITY, INFINITY},
    {-0.5, -INFINITY, INFINITY},
    {2, -INFINITY, 0.0},
    {-2, -INFINITY, 0.0},
    {0.5, INFINITY, 0.0},
    {-0.5, INFINITY, 0.0},
    {2, INFINITY, INFINITY},
    {-2, INFINITY, INFINITY},
    {-INFINITY, -3, -0.0},
    {-INFINITY, -2, 0.0},
    {-INFINITY, -0.5, 0.0},
    {-INFINITY, 3, -INFINITY},
    {-INFINITY, 2, INFINITY},
    {-INFINITY, 0.5, INFINITY},
    {-INFINITY, INFINITY, INFINITY},
    {-INFINITY, -INFINITY, 0.0},
    {INFINITY, -1, 0.0},
    {INFINITY, TINY, INFINITY},
    {INFINITY, -INFINITY, 0.0},
    {NAN, 1, NAN},
    {2, NAN, NAN},
    {NAN, NAN, NAN},
    {-1, ODD, -1},
    {-1, EVEN, 1},
    {-1, DBL_MAX, 1},
    {-1, 0.5, NAN},
    {-2, 0x1p51 + 0.5, NAN},
    {-2, 0x1p52 - 0.5, NAN},
    {-2, 3, -8},
    {-2, -3, -0.125},
    {-2, ODD, -INFINITY},
    {-2, -ODD, -0.0},
    {-2, EVEN, INFINITY},
    {2, DBL_MAX, INFINITY},
    {2, -DBL_MAX, 0.0},
    {0.5, DBL_MAX, 0.0},
    {DBL_MAX, TINY, 1},
    {TINY, TINY, 1},
    {TINY, 1, TINY},
    {DBL_MAX, 1, DBL_MAX},
    {TINY, -1, INFINITY},
    {DBL_MAX, -1, 1 / DBL_MAX},
    {TINY, 0.5, 0x1p-537},
    {-TINY, 1, -TINY},
    {NAN, -1, NAN},
    {-NAN, 2, NAN},
    {2, -NAN, NAN},
    {0.0, NAN, NAN},
};

static void test_special_values(void) {
    for (size_t i = 0; i < sizeof special_values / sizeof *special_values; i++) {
        int f = special_values[i].f;
        double x = special_values[i].x, want = special_values[i].want, got = functions[f].f(x);
        CHECK(same(got, want), "%s(%a) = %a, expected %a", functions[f].name, x, got, want);
    }
    for (int f = 0; f < N_UNARY; f++) {
        CHECK(functions[f].f(NAN) != functions[f].f(NAN), "%s(NaN)", functions[f].name);
        CHECK(functions[f].f(-NAN) != functions[f].f(-NAN), "%s(-NaN)", functions[f].name);
    }
    for (size_t i = 0; i < sizeof special_powers / sizeof *special_powers; i++) {
        double x = special_powers[i].x, y = special_powers[i].y, want = special_powers[i].want;
        double got = elementary_pow(x, y);
        CHECK(same(got, want), "pow(%a, %a) = %a, expected %a", x, y, got, want);
    }
}

/* ---- big.h itself ---------------------------------------------------------------------------- */

static bool near_zero(struct big difference, int exp) {
    return big_is_zero(difference) || difference.exp < exp;
}

/* The first 128 bits after the point, behind the whole part. */
static bool has_digits(struct big x, uint32_t whole, const uint32_t *digits) {
    struct big rest = big_sub(x, big_from(whole));
    for (int i = 0; i < 4; i++)
        rest = big_sub(rest, big_scaled(big_from(digits[i]), -32 * (i + 1)));
    return rest.sign > 0 && near_zero(rest, -127);
}

static void test_big(int rounds) {
    const struct big one = big_from(1);
    CHECK(has_digits(big_pi(), 3, (uint32_t[]){0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
          "pi");
    CHECK(has_digits(big_exp(one), 2, (uint32_t[]){0xb7e15162, 0x8aed2a6a, 0xbf715880, 0x9cf4f3c7}),
          "e");
    CHECK(has_digits(big_ln2(), 0, (uint32_t[]){0xb17217f7, 0xd1cf79ab, 0xc9e3b398, 0x03f2f6af}),
          "log 2");
    for (int i = 0; i < rounds; i++) {
        double a = random_between(-700, 700), b = random_between(-700, 700), x = random_double();
        struct big s = big_sin(x), c = big_cos(x),
                   e = big_mul(big_exp(big_from(a)), big_exp(big_from(b)));
        struct big sum = big_sub(big_add(big_mul(s, s), big_mul(c, c)), one);
        CHECK(near_zero(sum, -180), "sine and cosine of %a", x);
        struct big back = big_sub(big_log(e), big_add(big_from(a), big_from(b)));
        CHECK(near_zero(back, -170), "exp and log of %a + %a", a, b);
        struct big q = big_sub(big_mul(big_div(s, e), e), s);
        CHECK(near_zero(q, s.exp - 180), "quotient");
        CHECK(x == big_to_double(big_from(x)), "%a", x);
    }
}

/* ---- what the engine computes ---------------------------------------------------------------- */

/* The bits of results for arguments of all exponents and for small ones; any NaN counts as 0. */
static uint64_t hash_of(int f) {
    uint64_t hash = FNV_START;
    for (int i = 0; i < 4096; i++) {
        double x = from_bits((uint64_t)i * 0x9e3779b97f4a7c15u), y = (i - 1500) / 64.0;
        double results[] = {0, 0};
        if (f == POW) {
            results[0] = elementary_pow(fabs(x), y / 64);
            results[1] = elementary_pow(fabs(y), y / 3);
        } else {
            results[0] = functions[f].f(x);
            results[1] = functions[f].f(y);
        }
        for (int k = 0; k < 2; k++) {
            if (results[k] != results[k]) results[k] = 0;
        }
        hash = fnv1a(hash, results, sizeof results);
    }
    return hash;
}

/* As steps/rope.c does it. */
static uint64_t rope_hash(double base, int n_dims, int first, int last) {
    uint64_t hash = FNV_START;
    for (int pos = first; pos < last; pos++) {
        for (int k = 0; k < n_dims / 2; k++) {
            double sine, cosine, theta = pos * elementary_pow(base, -2.0 * k / n_dims);
            elementary_sin_cos(theta, &sine, &cosine);
            float both[] = {(float)cosine, (float)sine};
            hash = fnv1a(hash, both, sizeof both);
        }
    }
    return hash;
}

static void test_hashes(void) {
    for (int f = 0; f < N_FUNCTIONS; f++) {
        CHECK(hash_of(f) == functions[f].hash, "%s: 0x%016" PRIx64, functions[f].name, hash_of(f));
    }
    const struct {
        double base;
        int n_dims, first, last;
        uint64_t want;
    } ropes[] = {{1e4, 128, 0, 512, 0x299ef2dfa4ed6fd5},
                 {5e5, 128, 0, 512, 0x8b12dd7e60d9d02b},
                 {1e6, 64, 130000, 130512, 0x02eeb23932827c38},
                 {1e7, 256, 1048000, 1048128, 0xc9fd6c1daef88576},
                 {8e6, 96, 0, 256, 0x761935ddd0eba290}};
    for (size_t i = 0; i < sizeof ropes / sizeof *ropes; i++) {
        uint64_t hash = rope_hash(ropes[i].base, ropes[i].n_dims, ropes[i].first, ropes[i].last);
        CHECK(hash == ropes[i].want, "rope with base %g: 0x%016" PRIx64, ropes[i].base, hash);
    }
    uint64_t gelu = FNV_START;
    for (int i = 0; i < 1 << 16; i++) {
        float x = fp16_to_fp32((ggml_half)i);
        ggml_half y = gelu_table()[i];
        if (fabsf(x) < INFINITY) gelu = fnv1a(gelu, &y, sizeof y); // beyond may be NaN of any sign
    }
    CHECK(gelu == 0x9916e9758715de73, "GELU: 0x%016" PRIx64, gelu);
}

int main(int argc, char **argv) {
    seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    int rounds = argc > 2 ? atoi(argv[2]) : 5000;
    seed = seed * 0x9e3779b97f4a7c15ull | 1;
    test_big(50);
    test_unary(rounds);
    test_angles(rounds);
    test_powers(rounds);
    test_special_values();
    test_hashes();
    for (int f = 0; f < N_FUNCTIONS; f++) {
        printf("%-5s %7ld values, largest error %.4f ulp at %a, %a\n", functions[f].name,
               functions[f].n, functions[f].worst, functions[f].at, functions[f].y);
    }
    return test_done("test_elementary");
}
