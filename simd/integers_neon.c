/* NEON: products with integer activations (integers.h). */
#if defined(__aarch64__)
#define SIMD_NEON
#include "integers.h"

const struct integer_products integers_neon = {INTEGERS_SIMD};
#else
typedef int translation_unit_must_not_be_empty;
#endif
