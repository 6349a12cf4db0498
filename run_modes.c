/* The modes that measure or describe instead of generating: --info, --perplexity, --bench. */
#include "run.h"

int print_info(struct session *s) {
    (void)s;
    return USAGE("--info is not built yet");
}

int run_perplexity(struct session *s) {
    (void)s;
    return USAGE("--perplexity is not built yet");
}

int run_bench(struct session *s) {
    (void)s;
    return USAGE("--bench is not built yet");
}
