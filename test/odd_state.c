/* Preloaded, it does what a library linked with -ffast-math may do to a program: before main,
 * subnormal numbers count as 0 from then on, and results are rounded towards 0. */
#include <fenv.h>

#include "../fpstate.h"

__attribute__((constructor)) static void set_odd_state(void) {
#if defined(__SSE2__)
    fp_leave((struct fp_state){0x1f80 | 0x8040 | 0x6000});
#elif defined(__aarch64__)
    fp_leave((struct fp_state){1u << 24 | 3u << 22, 0});
#else
    fesetround(FE_TOWARDZERO);
#endif
}
