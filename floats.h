/* Floats by their bits; and numbers that are none: what is infinite or NaN in a model, or comes of
 * an overflow, must not end in an answer that looks like any other.
 *
 * IEEE 754 orders magnitudes like integers. Comparing those, no option of a compiler and no state
 * of a thread has a say, and loops become vector code. */
#ifndef FLOATS_H
#define FLOATS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline float float_from_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint32_t float_bits(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

#define INFINITE_BITS 0x7f800000u // an infinity; a NaN has more
/* 65520: lies between the largest half, 65504, and what would be the next, 65536, and rounds to
 * the latter, which halves write as an infinity. */
#define INFINITE_HALF_BITS 0x477ff000u

/* True if the magnitudes of all n numbers are below that of `bits`. */
static inline bool all_below(const float *x, int64_t n, uint32_t bits) {
    uint32_t carries = 0; // into the place of the sign
    for (int64_t i = 0; i < n; i++) {
        carries |= (float_bits(x[i]) & 0x7fffffff) + (0x80000000 - bits);
    }
    return carries >> 31 == 0;
}

static inline bool all_finite(const float *x, int64_t n) {
    return all_below(x, n, INFINITE_BITS);
}

/* How many of n >= 1 logits are NaN or +infinity; n if none is finite. 0: one may choose by them.
 * A single -infinity means "never", and is none of our business. */
static inline int unusable_logits(const float *x, int n) {
    uint32_t n_unusable = 0, n_finite = 0;
    for (int i = 0; i < n; i++) {
        uint32_t bits = float_bits(x[i]), magnitude = bits & 0x7fffffff;
        n_unusable += (magnitude > INFINITE_BITS) | (bits == INFINITE_BITS);
        n_finite += magnitude < INFINITE_BITS;
    }
    return n_finite ? (int)n_unusable : n;
}

#endif
