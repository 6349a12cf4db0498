/* The portable instance of ops.h, the same source on arrays of 8 floats with fmaf, and the one
 * table that all instances share. */
#include <pthread.h>

#define SIMD_PORTABLE
#include "../elementary.h"
#include "ops.h"

const struct ops ops_portable = OPS_SIMD;

static ggml_half gelu_values[1 << 16];

/* In float and in ggml's order: where 1 + tanh cancels, another order rounds to other halves. */
static void fill_gelu_values(void) {
    for (int i = 0; i < 1 << 16; i++) {
        float x = fp16_to_fp32((ggml_half)i);
        float u = 0.797884560802865f * x * (1.0f + 0.044715f * x * x); // sqrt(2 / pi) (x + ...)
        gelu_values[i] = fp32_to_fp16(0.5f * x * (1.0f + (float)elementary_tanh((double)u)));
    }
}

const ggml_half *gelu_table(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fill_gelu_values);
    return gelu_values;
}
