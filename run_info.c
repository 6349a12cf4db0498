/* --info */
#include "run.h"

int print_info(struct session *s) {
    (void)s;
    return USAGE("--info is not built yet");
}
