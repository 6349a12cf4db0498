/* Reading a prompt and continuing it, for texts and conversations. */
#ifndef GENERATE_H
#define GENERATE_H

#include "session.h"

/* Runs what of the prompt (check_prompt) is not in the cache; gives the logits after it. */
int run_prompt(struct session *s, const float **logits);

/* Appends tokens and prints them, until there are n_gen (-1: no limit), an end of text, a text of
 * --stop or a full context: s->stopped tells. */
int generate(struct session *s, int n_gen, struct token_stream *stream, const float *logits);

/* A token of the prompt or the text, as far as its characters are whole; nothing without a
 * tokenizer. */
int print_token(struct session *s, struct token_stream *stream, int32_t id);

/* After the last token of a text: what may have been the beginning of a --stop, and a newline. The
 * beginning of a character that the stream still holds is left out, which is said. */
int end_text(struct session *s, struct token_stream *stream);

#endif
