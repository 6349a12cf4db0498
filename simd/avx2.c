/* AVX2 + FMA + F16C: the kernels of products.h and ops.h with one row of a matrix in a
 * register. Compiled into every x86-64 build, chosen when the program starts. */
#if defined(__x86_64__)
#define SIMD_AVX2
#include "products.h"
#include "ops.h"

#include <cpuid.h>

static bool usable(void) {
    unsigned eax, ebx, ecx, edx; // F16C by hand: clang's __builtin_cpu_supports does not know it
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}

const struct ops ops_avx2 = OPS_SIMD;
const struct isa isa_avx2 = {
    .name = "avx2", .usable = usable, PRODUCTS_SIMD, .integers = &integers_avx2, .ops = &ops_avx2};
#else
typedef int translation_unit_must_not_be_empty;
#endif
