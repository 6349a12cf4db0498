/* JSON: a strict reader (RFC 8259, well-formed UTF-8, nothing after the value) and a writer whose
 * bytes are those of Python's json.dumps. */
#ifndef JSON_H
#define JSON_H

#include "error.h"
#include "value.h"

/* Reads one value. Its strings and numbers are marked as input; its bytes are in the arena or in
 * text, which must stay. Of a key that is given twice, the last value counts. Nesting is bounded by
 * VALUE_MAX_DEPTH, memory by the arena's limit. An error names line and column. 0, or -1 and err.
 */
int json_parse(const char *text, size_t len, struct arena *a, struct value *out, struct error *err);

/* As the arguments of json.dumps. */
struct json_style {
    bool ascii; // what is not ASCII becomes \uXXXX
    bool sort_keys;
    const struct str *indent;                         // of one level, or NULL: all on one line
    const struct str *item_separator, *key_separator; // NULL: ", " (or "," before a new line), ": "
};

/* Appends v as JSON; what comes from strings keeps its origin. What JSON does not have is an error
 * with Python's words. 0, or -1 and err; err is not set if the arena is full or has no memory. */
int json_write(struct builder *b, struct value v, const struct json_style *style,
               struct error *err);

/* Appends s between quotes. */
void json_quote(struct builder *b, const struct str *s, bool ascii);

#endif
