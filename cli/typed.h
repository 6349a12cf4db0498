/* Messages as somebody types, pastes or pipes them in. */
#ifndef TYPED_H
#define TYPED_H

#include "session.h"

/* Bytes of a message: more than a context holds. Input may have no end. */
#define MAX_MESSAGE (1 << 20)

enum input { INPUT_TEXT, INPUT_STOPPED, INPUT_END, INPUT_FAILED };

struct typed {
    char *text; // the message: any bytes, zero bytes too, and one more behind
    size_t len, capacity;
    bool pasted; // it has lines of a paste, so that it is no command
    bool terminal;
    size_t n_read; // messages so far
    /* private */
    bool marks_pastes; // the terminal was asked to
    bool in_paste;
    bool own_end; // what was read last was typed, not pasted
};

void typed_open(struct typed *t, bool terminal);
void typed_close(struct typed *t);

/* Reads the next message into t->text: a line and those that follow while a line ends in a
 * backslash, or a paste and the line that it ends in. INPUT_STOPPED: Ctrl-C on a terminal
 * (elsewhere that is the end). What fails is said. */
enum input read_message(struct session *s, struct typed *t);

#endif
