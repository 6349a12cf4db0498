/* Where tokens come from: the options, files, standard input. */
#ifndef PROMPT_H
#define PROMPT_H

#include "session.h"

/* The whole file, malloc'ed; any bytes. */
int read_file(struct session *s, const char *path, char **text, size_t *len);

/* Appends "1 5 7" or "1,5,7", each from 0 to n_vocab - 1. 0, or -1 and err: KQ_BAD_ARGUMENT if the
 * text is wrong, KQ_NO_MEMORY. */
int parse_ids(const char *text, int n_vocab, struct token_list *ids, struct error *err);

/* Sets s->tokens to what --ids, -p, -f or standard input say. */
int read_prompt(struct session *s);

/* The tokens must have rows in the model's matrices; as a prompt, they must fit the context, too.
 * check_prompt makes room for all that can be generated after it. */
int check_ids(const struct session *s);
int check_prompt(struct session *s);

#endif
