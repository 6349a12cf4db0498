/* Proof that each check finds what it names: refused_builds of .ci/run, and test_arithmetic.c. */
#include "arithmetic.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

/* A number of which the compiler knows nothing. */
static float f(float x) {
    volatile float unknown = x;
    return unknown;
}
static double d(double x) {
    volatile double unknown = x;
    return unknown;
}

static bool rounds_to_nearest_even(void) {
    float x = f(1);
    return x + f(0x1p-24f) == 1 && x + f(0x1.8p-24f) == 1 + 0x1p-23f &&
           x + f(0x1.8p-23f) == 1 + 0x1p-22f;
}

/* (1 + e)^2 = 1 + 2e + e^2, of which rounding leaves 1 + 2e; fused, or in a wider type, e^2 stays.
 */
static bool rounds_products(void) {
    float x = f(1 + 0x1p-13f), single = x * x + f(-1 - 0x1p-12f);
    double y = d(1 + 0x1p-30), twice = y * y + d(-1 - 0x1p-29);
    return single == 0 && twice == 0;
}

static bool keeps_order(void) {
    float x = f(1), tiny = f(0x1p-30f);
    double y = d(1), tinier = d(0x1p-60);
    return (x + tiny) - x == 0 && (y + tinier) - y == 0;
}

/* 5 times the rounded 1 / 3 would be 0x1.aaaaacp+0, and 0.1 might be a float. */
static bool divides(void) {
    return f(5) / 3.0f == 0x1.aaaaaap+0f && d(1) / d(10) == 0.1 && sqrtf(f(3)) == 0x1.bb67aep+0f;
}

static bool knows_special_values(void) {
    float zero = f(-0.0f), nan = f(NAN), infinity = f(INFINITY);
    return 1 / (zero + 0.0f) > 0 && nan != nan && !(infinity - infinity == 0);
}

static bool has_subnormals(void) {
    float x = f(FLT_MIN) * f(0.5f);
    double y = d(DBL_MIN) * d(0.5);
    return x * f(2) == FLT_MIN && y * d(2) == DBL_MIN;
}

/* In double the sum 1 + 2^-11 + 2^-24 + 2^-60 loses its last term, and then falls to the wrong side
 * of a tie. */
static bool fuses(void) {
    return fmaf(f(1 + 0x1p-12f), f(1 + 0x1p-12f), f(0x1p-60f)) == 1 + 0x1p-11f + 0x1p-23f;
}

int arithmetic_check(struct error *err) {
    static const struct {
        bool (*holds)(void);
        const char *what;
    } checks[] = {
        {rounds_to_nearest_even, "numbers are not rounded to nearest, ties to even"},
        {rounds_products, "a * b + c is not rounded twice (-ffp-contract=off may help)"},
        {keeps_order, "sums are taken in another order (-fno-fast-math may help)"},
        {divides, "a quotient, square root or constant is not rounded as it should be"},
        {knows_special_values, "NaN, infinity or the sign of zero are not kept"},
        {has_subnormals, "numbers below the normal range become zero"},
        {fuses, "the C library's fmaf does not round once"},
    };
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        if (!checks[i].holds()) {
            return error_set(err, KQ_UNSUPPORTED,
                             "this build does not compute the same bits as others: %s",
                             checks[i].what);
        }
    }
    return 0;
}
