/* Conversation formats for files without a chat template of their own, or by name: which of the
 * known ones a template text looks like, and messages written in it. (Templates themselves, which
 * are programs, are jinja.h's.) */
#ifndef CHAT_H
#define CHAT_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"
#include "value.h"

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

/* Writes the conversation, ready for the assistant's answer if add_assistant. Messages are dicts
 * with a role ("system", "user" or "assistant"; "tool" and others as far as formats go) and a
 * content: a text or a list of parts; what is neither is written as JSON, and null not at all. BOS
 * is written only where the format repeats it: the tokenizer adds the first. Formats that cannot
 * leave a user's message without the opening of an answer ignore add_assistant.
 *
 * *out, the arena's, tells of each byte whether it came from the messages (value.h). 0, or -1 and
 * err (out of memory). */
int chat_render(const struct chat_format *f, struct arena *a, const struct list *messages,
                bool add_assistant, const struct str **out, struct error *err);

#endif
