/* Counts and sizes rounded up to a multiple. */
#ifndef ROUND_H
#define ROUND_H

#include <stdint.h>

/* The least multiple of `to` that is not below n; n >= 0, to >= 1, and n + to fits the type. */
static inline int round_up(int n, int to) {
    return (n + to - 1) / to * to;
}

static inline uint64_t round_up_u64(uint64_t n, uint64_t to) {
    return (n + to - 1) / to * to;
}

#endif
