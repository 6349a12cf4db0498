/* Which template writes a conversation out, and the prompt that comes of it. */
#ifndef TEMPLATE_H
#define TEMPLATE_H

#include <time.h>

#include "../chat.h"
#include "../jinja.h"
#include "session.h"

/* A program, or one of the formats that are known by name. */
struct template {
    struct jinja *jinja;
    const struct chat_format *format;
    const char *name; // for people; of the options or of the file
    struct tm date;   // what strftime_now tells
    bool dated;       // the program asks for it
};

/* Opens the template that the options name, or the file's own; of a file with several the one for
 * tools if `tools`. The file must be open. */
int open_template(struct session *s, bool tools, struct template *t);
void close_template(struct template *t); // may be all zero

/* The format that a text names which stands in place of a template; NULL if it names none. */
const struct chat_format *format_named(struct gguf_str text);

/* Writes out a request (chat_template.h) that takes about `bytes` of JSON, its messages ready for
 * an answer unless it says otherwise; --think is put into it. The tokenizer must be open. *out is
 * the arena's. */
int render_request(struct session *s, const struct template *t, struct arena *a,
                   struct value request, size_t bytes, const struct str **out);

/* The same without a word: -1 and s->err. */
int try_render(struct session *s, const struct template *t, struct arena *a, struct value request,
               size_t bytes, const struct str **out);

/* The tokens of it (chat_encode), without control tokens in messages unless --allow-special. */
int encode_rendered(struct session *s, const struct str *text, struct token_list *tokens);

/* --template list: the names, a line each, and those of the file's own if there is a file. */
int list_templates(struct session *s);

#endif
