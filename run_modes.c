/* The modes that describe or score instead of generating: --info, --perplexity. */
#include "run.h"

int print_info(struct session *s) {
    (void)s;
    return USAGE("--info is not built yet");
}

int run_perplexity(struct session *s) {
    (void)s;
    return USAGE("--perplexity is not built yet");
}
