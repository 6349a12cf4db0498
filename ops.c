/* The portable instance of ops_simd.h: the same source on arrays of 8 floats with fmaf. */
#define SIMD_PORTABLE
#include "ops_simd.h"

const struct ops ops_portable = OPS_SIMD;
