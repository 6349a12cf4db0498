/* Chat templates: which of the known conversation formats a file's tokenizer.chat_template (a
 * Jinja program) asks for, and messages written in that format. No Jinja is interpreted. */
#ifndef CHAT_H
#define CHAT_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

struct chat_message {
    const char *role;    // "system", "user" or "assistant"
    const char *content; // NUL-terminated
};

struct chat_format; // one row of the table in chat.c

/* The format that a template text asks for; NULL if none is recognised. */
const struct chat_format *chat_detect(const char *template_text, size_t len);
/* By name ("chatml", "llama3", ...), for --template; NULL if there is none. */
const struct chat_format *chat_find(const char *name);
const char *chat_name(const struct chat_format *f);
/* Fills out with all names, comma-separated, for an error message. */
void chat_names(char *out, size_t size);

/* Writes the conversation, ready for the assistant's answer if add_assistant; *out is malloc'ed
 * and NUL-terminated. 0, or -1 and err. */
int chat_render(const struct chat_format *f, const struct chat_message *messages, size_t n,
                bool add_assistant, char **out, struct error *err);

#endif
