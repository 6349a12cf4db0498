/* AVX-512 VNNI: products with integer activations (integers.h). */
#if defined(__x86_64__)
#define SIMD_AVX512
#define SIMD_VNNI
#include "integers.h"

const struct integer_products integers_avx512vnni = {INTEGERS_SIMD};
#else
typedef int translation_unit_must_not_be_empty;
#endif
