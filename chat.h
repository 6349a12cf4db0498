/* Chat templates: which of the known conversation formats a file's tokenizer.chat_template (a
 * Jinja program) asks for, and messages written in that format. No Jinja is interpreted. */
#ifndef CHAT_H
#define CHAT_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

struct chat_message {
    const char *role;    // "system", "user" or "assistant"; "tool" and others as far as formats go
    const char *content; // NUL-terminated; a control token spelled out in it is not escaped
};

struct chat_format; // one row of the table in chat.c

/* The format that a template text (len bytes, no NUL needed) or a bare name asks for, by tell-tale
 * strings in it; NULL if none is recognised. */
const struct chat_format *chat_detect(const char *template_text, size_t len);
/* By name ("chatml", "llama3", ...), for --template; NULL if there is none. */
const struct chat_format *chat_find(const char *name);
const char *chat_name(const struct chat_format *f);
/* Fills out with all names, comma-separated, for an error message; of those that do not fit into
 * size bytes, none. 1 KB is enough. */
void chat_names(char *out, size_t size);

/* Writes the conversation, ready for the assistant's answer if add_assistant; *out is malloc'ed
 * and NUL-terminated. BOS is written only where the format repeats it: the tokenizer adds the
 * first. Formats that cannot leave a user's message without the opening of an answer ignore
 * add_assistant. 0, or -1 and err (out of memory). */
int chat_render(const struct chat_format *f, const struct chat_message *messages, size_t n,
                bool add_assistant, char **out, struct error *err);

#endif
