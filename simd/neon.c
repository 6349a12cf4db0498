/* NEON, which every aarch64 CPU has: the kernels of products.h and ops.h with a row's 8
 * lanes in two registers. */
#if defined(__aarch64__)
#define SIMD_NEON
#include "products.h"
#include "ops.h"

#if defined(__linux__)
#include <sys/auxv.h>
#endif

static bool usable(void) {
    return true;
}

static bool usable_dotprod(void) {
#if defined(__linux__) && defined(HWCAP_ASIMDDP)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#elif defined(__APPLE__)
    return true; // every Apple processor of this architecture but the first ones
#else
    return false;
#endif
}

static bool usable_i8mm(void) {
#if defined(__linux__) && defined(HWCAP2_I8MM)
    return usable_dotprod() && (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
#else
    return false;
#endif
}

static const struct ops ops_neon = OPS_SIMD;
const struct isa isa_neon = {
    .name = "neon", .usable = usable, PRODUCTS_SIMD, .integers = &integers_neon, .ops = &ops_neon};
const struct isa isa_neon_dotprod = {.name = "neon-dotprod",
                                     .usable = usable_dotprod,
                                     PRODUCTS_SIMD,
                                     .integers = &integers_dotprod,
                                     .ops = &ops_neon};
const struct isa isa_neon_i8mm = {.name = "neon-i8mm",
                                  .usable = usable_i8mm,
                                  PRODUCTS_SIMD,
                                  .integers = &integers_i8mm,
                                  .ops = &ops_neon};
#else
typedef int translation_unit_must_not_be_empty;
#endif
