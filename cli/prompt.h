/* Where tokens come from: the options, files, standard input. */
#ifndef PROMPT_H
#define PROMPT_H

#include "session.h"

/* The whole file, malloc'ed or NULL, on failure too; any bytes. */
int read_file(struct session *s, const char *path, char **text, size_t *len);

/* A text from a file as somebody would have typed it: without what editors put around it, a byte
 * order mark and the last newline. Ids (--tokens) are asked of the bytes as they are. */
struct gguf_str as_typed(const struct session *s, struct gguf_str text);

/* Replaces \n, \t, \r, \\, \", \' and \xHH, as llama.cpp's -e does; another character behind a
 * backslash stays as it is, with it. */
void unescape(char *text, size_t *len);

/* A text of an option: malloc'ed, without its escapes if -e was given; it may hold any bytes. */
int option_text(const struct session *s, const char *given, char **text, size_t *len);

/* Sets s->stops to what --stop says. */
int open_stops(struct session *s);

/* Appends "1 5 7" or "1,5,7", each from 0 to n_vocab - 1. 0, or -1 and err, which begins with the
 * name: KQ_BAD_ARGUMENT if the text is wrong, KQ_NO_MEMORY. */
int parse_ids(const char *name, struct gguf_str text, int n_vocab, struct token_list *ids,
              struct error *err);

/* Says how much of the texts that the tokens are of has no token, unless that is nothing. */
void say_lost(const struct token_list *tokens);

/* Sets s->tokens to what -p, -f, --ids, --ids-file or standard input say. */
int read_prompt(struct session *s);

/* The tokens must have rows in the model's matrices; as a prompt, they must fit the context, too.
 * check_prompt makes room for all that can be generated after it. */
int check_ids(const struct session *s);
int check_prompt(struct session *s);

#endif
