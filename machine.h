/* What the machine is and what it can do at most, measured when asked for: benchmarks and --profile
 * state their rates as shares of it. */
#ifndef MACHINE_H
#define MACHINE_H

#include "simd/isa.h"
#include "threads.h"

/* The processor's name, or what stands for it where the system does not tell: never "". Printable
 * ASCII without quotes and backslashes. */
void processor_name(char *out, size_t size);

/* Rates of all threads together, the best seen since the struct was zero; 0: unknown. Measured
 * before and after what they are to be compared with, they stay right when a neighbour leaves
 * meanwhile. */
struct limits {
    double read;         // bytes/s of the memory that it was measured with
    double macs;         // float32 multiply-adds/s without loads
    double integer_macs; // multiply-adds/s of bytes without loads; 16 bits take two
};

/* Each measures for some ten milliseconds or, where nothing is fast, some hundreds; none raises a
 * limit once *stop is set. */
void limits_macs(struct limits *l, const struct isa *isa, struct threads *t, atomic_int *stop);
void limits_integer_macs(struct limits *l, const struct isa *isa, struct threads *t,
                         atomic_int *stop);

struct span {
    const uint8_t *data; // aligned to 8 bytes
    size_t bytes;
};
/* Reads all of them three times or more, each thread its share of each. */
void limits_read(struct limits *l, const struct span *spans, size_t n, struct threads *t,
                 atomic_int *stop);

/* Work of multiply-adds, and the seconds that it takes at least; 0 where the limit is unknown. act:
 * the bits of activations that are integers. */
double limits_seconds(const struct limits *l, double float_macs, double integer_macs, int act);

/* NULL, or two lines to be said of a share of a limit (1 is all of it) that cannot be. */
const char *limits_objection(double share);

#endif
