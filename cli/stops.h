/* Texts at which generation ends (--stop). They may begin and end within tokens, so the end of a
 * text that may be the beginning of one is held back until the next token tells. */
#ifndef STOPS_H
#define STOPS_H

#include <stdbool.h>

#include "../gguf.h"

struct stop_text {
    char *data; // malloc'ed
    size_t len; // > 0
};

/* All zero: there are none, and nothing is held back. */
struct stops {
    struct stop_text *texts; // malloc'ed
    size_t n;
    char *held; // the first n_given bytes of it were given back to be printed
    size_t n_held, n_given, capacity;
    size_t n_cut; // bytes that were left out when a text was found: it, and what came with its end
};

/* Takes what was generated next; *out is what can be printed, valid until the next call. *found:
 * one of the texts is complete, and *out ends before it. 0, or -1 if memory is short. */
int stops_next(struct stops *s, struct gguf_str text, struct gguf_str *out, bool *found);

/* What is still held back when generation ends otherwise; nothing is from now on. */
struct gguf_str stops_end(struct stops *s);

void stops_free(struct stops *s);

#endif
