/* Chat templates: the part of Jinja2 that they are written in, as the transformers library sets it
 * up (a sandbox without side effects, trim_blocks, lstrip_blocks, break and continue, generation
 * blocks, raise_exception, strftime_now, its own tojson). What Python computes is computed here in
 * the same way; tested byte for byte against Jinja2.
 *
 * A template comes from a stranger's file. It can read the variables it is given and the date, and
 * write a text; steps, depth and memory are bounded. No I/O. */
#ifndef JINJA_H
#define JINJA_H

#include <time.h>

#include "error.h"
#include "value.h"

struct jinja;

/* Reads a template (UTF-8, len bytes, which may go afterwards). NULL and err, which names line and
 * column, if it cannot be read. */
struct jinja *jinja_open(const char *text, size_t len, struct error *err);
void jinja_close(struct jinja *t); // NULL is fine

/* Whether the template mentions a variable, an attribute or a key of this name. */
bool jinja_mentions(const struct jinja *t, const char *name);

/* What a template may take to render: fixed parts, and more for a longer input. */
#define JINJA_MEMORY(input_bytes) (((size_t)32 << 20) + 256 * (size_t)(input_bytes))

/* Renders the template with a dict of variables. All memory, the result's too, is the arena's,
 * whose limit is the budget (JINJA_MEMORY); input_bytes is the length of the JSON text that the
 * variables came from. now: what strftime_now tells, with any day's date; NULL: local time.
 *
 * *out tells of each byte whether it came from the variables (value.h). 0, or -1 and err: of
 * raise_exception the template's own message alone (KQ_BAD_ARGUMENT: the conversation is not one
 * that the template takes), of other errors line, column and what. */
int jinja_render(const struct jinja *t, struct arena *a, const struct dict *variables,
                 size_t input_bytes, const struct tm *now, const struct str **out,
                 struct error *err);

#endif
