/* A conversation written out with a chat template. */
#ifndef RENDER_H
#define RENDER_H

#include "../jinja.h"
#include "session.h"

/* The template that the options or the file name: --template-file, or the file's own; of a file
 * with several the one for tools if `tools`. NULL, and said why, if there is none or it cannot be
 * read. */
struct jinja *open_template(struct session *s, bool tools);

/* Renders a request (chat_template.h) that was read from `bytes` of JSON into the arena. The file
 * and its tokenizer must be open. */
int render_request(struct session *s, const struct jinja *t, struct arena *a, struct value request,
                   size_t bytes, const struct str **out);

/* Its tokens: control tokens are the template's own only, BOS comes once. */
int encode_rendered(struct session *s, const struct str *text, struct token_list *tokens);

#endif
