/* One rounding per written operation, whatever the compiler is called with: a * b + c is two
 * operations, a fused multiply-add is written fmaf. Every source of the engine gets this through
 * error.h; what no preprocessor can see is arithmetic_check's. .ci/run builds with nothing but -O2
 * on three architectures and compares the bits. */
#ifndef EXACT_H
#define EXACT_H

#include <float.h>

#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || \
    defined(__NO_SIGNED_ZEROS__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0)
#error "the results must not depend on the compiler: compile without -ffast-math and its parts"
#endif

/* 16: only half precision, which C code here does not compute with, is evaluated otherwise. */
#if FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16
#error \
    "float and double must be rounded to their own type: on i686 compile with -msse2 -mfpmath=sse"
#endif

/* No fusing of a * b + c. gcc knows the standard pragma but does not obey it; its own changes
 * neither inlining nor anything else that -ffp-contract=off would not: the code is the same. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#else
#pragma STDC FP_CONTRACT OFF
#endif

#endif
