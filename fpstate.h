/* The floating-point state of the calling thread: how results are rounded, whether subnormal
 * numbers count as 0, what traps. A host program, or a library linked with -ffast-math, may have
 * set any of it, and each of these changes bits of logits. So every function that computes and may
 * be called from outside the engine sets the default (to nearest, subnormals as IEEE 754 has them,
 * no traps) and restores what there was, exception flags included, on its way out:
 *
 *     struct fp_state callers = fp_enter();
 *     int result = compute(...);
 *     fp_leave(callers);
 *
 * What is computed in between has to come from memory or from a call: the compiler may move
 * arithmetic on the function's own numbers out of the pair. It costs some ten cycles, so it stands
 * around a pass, not around a product.
 *
 * The registers are written by hand where subnormals may count as 0: fesetenv(FE_DFL_ENV) need not
 * undo that, and glibc's for aarch64 leaves FZ16 and AHP, another format of halves, as they are. */
#ifndef FPSTATE_H
#define FPSTATE_H

#include <stdint.h>

#if defined(__SSE2__)

struct fp_state {
    uint32_t mxcsr; // the x87 unit, which long double alone makes use of, is left alone
};

static inline void fp_leave(struct fp_state callers) {
    __asm__ volatile("ldmxcsr %0" : : "m"(callers.mxcsr) : "memory");
}

static inline struct fp_state fp_enter(void) {
    struct fp_state callers;
    __asm__ volatile("stmxcsr %0" : "=m"(callers.mxcsr) : : "memory");
    fp_leave((struct fp_state){0x1f80}); // what a process begins with: all exceptions masked
    return callers;
}

#elif defined(__aarch64__)

struct fp_state {
    uint64_t fpcr, fpsr; // control; exception flags
};

static inline void fp_leave(struct fp_state callers) {
    __asm__ volatile("msr fpcr, %0\n\tmsr fpsr, %1"
                     :
                     : "r"(callers.fpcr), "r"(callers.fpsr)
                     : "memory");
}

static inline struct fp_state fp_enter(void) {
    struct fp_state callers;
    __asm__ volatile("mrs %0, fpcr\n\tmrs %1, fpsr"
                     : "=r"(callers.fpcr), "=r"(callers.fpsr)
                     :
                     : "memory");
    fp_leave((struct fp_state){0, 0});
    return callers;
}

#else

#include <fenv.h>

struct fp_state {
    fenv_t env;
};

static inline struct fp_state fp_enter(void) {
    struct fp_state callers;
    fegetenv(&callers.env);
    fesetenv(FE_DFL_ENV);
    return callers;
}

static inline void fp_leave(struct fp_state callers) {
    fesetenv(&callers.env);
}

#endif

#endif
