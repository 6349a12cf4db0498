/* arithmetic_check: content with this build, and with a thread's state only if it is the default.
 * What compilers may do wrong is tried in .ci/run, with compilers that do. */
#include "../arithmetic.h"
#include "test.h"

#include <fenv.h>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

static void fails_with(const char *what, const char *part) {
    struct error err = {0};
    int result = arithmetic_check(&err);
    fesetenv(FE_DFL_ENV);
    CHECK(result < 0 && err.status == KQ_UNSUPPORTED && strstr(err.text, part), "%s: %d, \"%s\"",
          what, result, err.text);
}

static void test_rounding_modes(void) {
    const struct {
        int mode;
        const char *name;
    } modes[] = {{FE_UPWARD, "up"}, {FE_DOWNWARD, "down"}, {FE_TOWARDZERO, "to zero"}};
    for (int i = 0; i < 3; i++) {
        if (fesetround(modes[i].mode) != 0) {
            printf("SKIP rounding %s\n", modes[i].name);
            continue;
        }
        fails_with(modes[i].name, "rounded to nearest");
    }
}

/* Results below the normal range as 0, and operands too. */
static void test_subnormals(void) {
    const char *part = "numbers below the normal range become zero";
#if defined(__SSE2__)
    unsigned state = _mm_getcsr();
    _mm_setcsr(state | 1u << 15);
    fails_with("flush to zero", part);
    _mm_setcsr(state | 1u << 6);
    fails_with("denormals are zero", part);
    _mm_setcsr(state);
#elif defined(__aarch64__)
    uint64_t state;
    __asm__ volatile("mrs %0, fpcr" : "=r"(state));
    __asm__ volatile("msr fpcr, %0" : : "r"(state | 1u << 24));
    fails_with("flush to zero", part);
    __asm__ volatile("msr fpcr, %0" : : "r"(state));
#else
    printf("SKIP %s (no such state)\n", part);
#endif
}

int main(void) {
    struct error err = {0};
    CHECK(arithmetic_check(&err) == 0, "%s", err.text);
    test_rounding_modes();
    test_subnormals();
    CHECK(arithmetic_check(&err) == 0, "%s", err.text);
    return test_done("test_arithmetic");
}
