/* AVX-512: batches by the kernels of products.h with two rows of a matrix in a register, each in
 * its own 8 lanes, so that the bits are those of the narrower instruction sets; few tokens by those
 * of avx512_rows.c, but for floats. The rest of the step is small and stays with AVX2. */
#if defined(__x86_64__)
#define SIMD_AVX512
#include "avx512_rows.h"
#include "products.h"

static bool usable(void) {
    return isa_avx2.usable() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq");
}

static bool usable_vnni(void) {
    return usable() && __builtin_cpu_supports("avx512vnni");
}

const struct isa isa_avx512 = {.name = "avx512",
                               .usable = usable,
                               PRODUCTS_SIMD,
                               .integers = &integers_avx2,
                               .ops = &ops_avx2};
const struct isa isa_avx512vnni = {.name = "avx512vnni",
                                   .usable = usable_vnni,
                                   PRODUCTS_SIMD,
                                   .integers = &integers_avx512vnni,
                                   .ops = &ops_avx2};
#else
typedef int translation_unit_must_not_be_empty;
#endif
