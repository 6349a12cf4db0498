/* NEON, which every aarch64 CPU has: the kernels of products.h and ops.h with a row's 8
 * lanes in two registers. */
#if defined(__aarch64__)
#define SIMD_NEON
#include "products.h"
#include "ops.h"

static bool usable(void) {
    return true;
}

static const struct ops ops_neon = OPS_SIMD;
const struct isa isa_neon = {.name = "neon", .usable = usable, PRODUCTS_SIMD, .ops = &ops_neon};
#else
typedef int translation_unit_must_not_be_empty;
#endif
