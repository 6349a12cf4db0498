/* --bench: speed of reading a prompt and of generating, against the memory's. */
#include "run.h"

int run_bench(struct session *s) {
    (void)s;
    return USAGE("--bench is not built yet");
}
