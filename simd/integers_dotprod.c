/* NEON with dot products of bytes (ARMv8.2 and later): integers.h. */
#if defined(__aarch64__)
#define SIMD_NEON
#define SIMD_DOTPROD
#include "integers.h"

const struct integer_products integers_dotprod = {INTEGERS_SIMD};
#else
typedef int translation_unit_must_not_be_empty;
#endif
