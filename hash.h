/* FNV-1a, 64 bits (Fowler, Noll, Vo): for tables and fingerprints, not against people who look for
 * collisions. */
#ifndef HASH_H
#define HASH_H

#include <stddef.h>
#include <stdint.h>

#define FNV_START 0xcbf29ce484222325ull

/* The hash of what `hash` stands for, followed by n bytes. */
static inline uint64_t fnv1a(uint64_t hash, const void *data, size_t n) {
    const uint8_t *p = data;
    for (size_t i = 0; i < n; i++) hash = (hash ^ p[i]) * 0x100000001b3ull;
    return hash;
}

#endif
