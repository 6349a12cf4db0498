/* --chat: a conversation on a terminal. */
#include "run.h"

int run_chat(struct session *s) {
    (void)s;
    return USAGE("--chat is not built yet");
}
