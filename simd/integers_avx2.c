/* AVX2: products with integer activations (integers.h). */
#if defined(__x86_64__)
#define SIMD_AVX2
#include "integers.h"

const struct integer_products integers_avx2 = {INTEGERS_SIMD};
#else
typedef int translation_unit_must_not_be_empty;
#endif
