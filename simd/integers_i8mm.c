/* NEON with products of 2 x 8 by 8 x 2 bytes (I8MM, ARMv8.6 and later): integers.h. */
#if defined(__aarch64__)
#define SIMD_NEON
#define SIMD_DOTPROD
#define SIMD_I8MM
#include "integers.h"

const struct integer_products integers_i8mm = {INTEGERS_SIMD};
#else
typedef int translation_unit_must_not_be_empty;
#endif
