/* A thin layer over vector registers, so that kernels are written once (products.h,
 * ops.h) and every instruction set performs the same operations on the same lanes in the same
 * order.
 *
 * Define one of SIMD_AVX512, SIMD_AVX2, SIMD_NEON, SIMD_PORTABLE before including this.
 * A vf holds SIMD_ROWS groups of 8 floats: with AVX-512 two rows of a matrix share a register, each
 * in its own 8 lanes, so the order of summation is that of the other instruction sets. A vi holds
 * as many 32-bit integers. */
#ifndef SIMD_H
#define SIMD_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../quant.h"

#define INLINE static inline __attribute__((always_inline, unused))

#if defined(SIMD_AVX512) || defined(SIMD_AVX512_ROWS) || defined(SIMD_AVX2)
#include <immintrin.h>
#if defined(SIMD_VNNI)
#define SIMD_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"
#elif defined(SIMD_AVX512) || defined(SIMD_AVX512_ROWS)
#define SIMD_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq"
#else
#define SIMD_TARGET "avx2,fma,f16c"
#endif
#elif defined(SIMD_NEON)
// Before clang 16 arm_neon.h went by what the whole file is compiled for.
#if defined(__clang__) && defined(SIMD_DOTPROD) && !defined(__ARM_FEATURE_DOTPROD)
#define __ARM_FEATURE_DOTPROD 1
#endif
#if defined(__clang__) && defined(SIMD_I8MM) && !defined(__ARM_FEATURE_MATMUL_INT8)
#define __ARM_FEATURE_MATMUL_INT8 1
#endif
#include <arm_neon.h>
#if defined(SIMD_I8MM) && defined(__clang__)
#define SIMD_TARGET "dotprod,i8mm"
#elif defined(SIMD_I8MM)
#define SIMD_TARGET "arch=armv8.2-a+dotprod+i8mm"
#elif defined(SIMD_DOTPROD) && defined(__clang__)
#define SIMD_TARGET "dotprod"
#elif defined(SIMD_DOTPROD)
#define SIMD_TARGET "arch=armv8.2-a+dotprod"
#endif
#endif

/* Functions between SIMD_BEGIN and SIMD_END may use the instruction set, whatever -march says. */
#define SIMD_PRAGMA(text) _Pragma(#text)
#define SIMD_PRAGMA_TARGET(text) SIMD_PRAGMA(text)
#if !defined(SIMD_TARGET)
#define SIMD_BEGIN
#define SIMD_END
#elif defined(__clang__)
#define SIMD_BEGIN      \
    SIMD_PRAGMA_TARGET( \
        clang attribute push(__attribute__((target(SIMD_TARGET))), apply_to = function))
#define SIMD_END _Pragma("clang attribute pop")
#else
#define SIMD_BEGIN _Pragma("GCC push_options") SIMD_PRAGMA_TARGET(GCC target(SIMD_TARGET))
#define SIMD_END _Pragma("GCC pop_options")
#endif

SIMD_BEGIN

#if defined(SIMD_AVX512)
#include "simd_avx512.h"
#elif defined(SIMD_AVX512_ROWS)
#include "simd_avx512_rows.h"
#elif defined(SIMD_AVX2)
#include "simd_avx2.h"
#elif defined(SIMD_NEON)
#include "simd_neon.h"
#else
#include "simd_portable.h"
#endif

#define CACHE_LINE 64

/* May point beyond the array, hence the detour over an integer. */
INLINE void prefetch(const void *p, size_t ahead) {
    __builtin_prefetch((const void *)((uintptr_t)p + ahead));
}

SIMD_END

#endif
