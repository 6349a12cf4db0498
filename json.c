#include "json.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

/* ---- reading --------------------------------------------------------------------------------- */

struct reader {
    const char *text;
    size_t len, at;
    int depth;
    struct arena *arena;
    struct error *err;
};

static int fail(struct reader *r, const char *expected) {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < r->at; i++) {
        if (((unsigned char)r->text[i] & 0xc0) != 0x80) column++;
        if (r->text[i] == '\n') {
            line++;
            column = 1;
        }
    }
    return error_set(r->err, KQ_BAD_FILE, "JSON, line %zu, column %zu: %s", line, column, expected);
}

static int out_of_room(struct reader *r) {
    if (r->arena->no_memory) return error_set(r->err, KQ_NO_MEMORY, "JSON: out of memory");
    return error_set(r->err, KQ_FULL, "JSON: takes more than %zu bytes of memory", r->arena->limit);
}

static int peek(const struct reader *r) {
    return r->at < r->len ? (unsigned char)r->text[r->at] : -1;
}

static void skip_space(struct reader *r) {
    for (int c = peek(r); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = peek(r)) r->at++;
}

static bool take(struct reader *r, const char *word) {
    size_t n = strlen(word);
    if (r->len - r->at < n || memcmp(r->text + r->at, word, n) != 0) return false;
    r->at += n;
    return true;
}

/* Four hexadecimal digits, or -1. */
static long read_hex(struct reader *r) {
    long value = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        int c = peek(r), lower = c | 0x20;
        if (c >= '0' && c <= '9')
            value = value * 16 + c - '0';
        else if (c > 0 && lower >= 'a' && lower <= 'f')
            value = value * 16 + lower - 'a' + 10;
        else
            return -1;
    }
    return value;
}

/* After "\u". */
static int read_code_point(struct reader *r, struct builder *b) {
    long cp = read_hex(r);
    if (cp < 0) return fail(r, "expected four hexadecimal digits after \\u");
    if (cp >= 0xd800 && cp < 0xdc00) {
        long low = take(r, "\\u") ? read_hex(r) : -1;
        if (low < 0xdc00 || low > 0xdfff) return fail(r, "half of a surrogate pair is missing");
        cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
    } else if (cp >= 0xdc00 && cp < 0xe000) {
        return fail(r, "half of a surrogate pair is missing");
    }
    build_char(b, (uint32_t)cp, true);
    return 0;
}

static int read_escape(struct reader *r, struct builder *b) {
    static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    r->at++; // the backslash
    int c = peek(r);
    if (c == 'u') {
        r->at++;
        return read_code_point(r, b);
    }
    const char *name = c > 0 ? strchr(names, c) : NULL;
    if (!name) return fail(r, "expected one of \" \\ / b f n r t u after \\");
    r->at++;
    build_bytes(b, &meant[name - names], 1, true);
    return 0;
}

/* At the opening quote. A string without escapes stays where it is. */
static int read_string(struct reader *r, struct value *out) {
    struct builder b;
    build_begin(&b, r->arena);
    size_t start = ++r->at;
    bool escaped = false;
    for (int c = peek(r); c != '"'; c = peek(r)) {
        if (c < 0) return fail(r, "the text ends inside a string");
        if (c < 0x20) return fail(r, "a control character in a string must be written as \\u00XX");
        if (c == '\\') {
            build_bytes(&b, r->text + start, r->at - start, true);
            if (read_escape(r, &b) != 0) return -1;
            start = r->at;
            escaped = true;
        } else {
            size_t n = utf8_length(r->text + r->at, r->len - r->at);
            if (n == 0) return fail(r, "not UTF-8");
            r->at += n;
        }
    }
    const struct str *s;
    if (escaped) {
        build_bytes(&b, r->text + start, r->at - start, true);
        s = build_end(&b);
    } else {
        s = str_new(r->arena, r->text + start, r->at - start, true);
    }
    r->at++;
    if (r->arena->full || r->arena->no_memory) return out_of_room(r);
    *out = value_str(s);
    return 0;
}

static size_t skip_digits(struct reader *r) {
    size_t start = r->at;
    while (peek(r) >= '0' && peek(r) <= '9') r->at++;
    return r->at - start;
}

static int read_number(struct reader *r, struct value *out) {
    size_t start = r->at;
    bool whole = true;
    take(r, "-");
    if (!take(r, "0") && skip_digits(r) == 0) return fail(r, "expected a digit after -");
    if (take(r, ".")) {
        whole = false;
        if (skip_digits(r) == 0) return fail(r, "expected a digit after the point");
    }
    if (take(r, "e") || take(r, "E")) {
        whole = false;
        if (!take(r, "+")) take(r, "-");
        if (skip_digits(r) == 0) return fail(r, "expected a digit in the exponent");
    }
    size_t n = r->at - start;
    char *copy = arena_alloc(r->arena, n + 1);
    if (!copy) return out_of_room(r);
    memcpy(copy, r->text + start, n);
    copy[n] = '\0';
    errno = 0;
    if (!whole) {
        *out = value_float(strtod(copy, NULL));
    } else {
        *out = value_int(strtoll(copy, NULL, 10));
        if (errno == ERANGE) {
            *out = value_str(str_new(r->arena, copy, n, true));
            out->type = V_BIG;
        }
    }
    out->input = true;
    return 0;
}

static int read_value(struct reader *r, struct value *out);

static int read_array(struct reader *r, struct value *out) {
    *out = value_list(r->arena, V_LIST);
    out->input = true;
    if (out->type != V_LIST) return out_of_room(r);
    r->at++;
    skip_space(r);
    if (take(r, "]")) return 0;
    for (;;) {
        struct value item = {0};
        if (read_value(r, &item) != 0) return -1;
        if (!list_add(r->arena, out->u.list, item)) return out_of_room(r);
        skip_space(r);
        if (take(r, "]")) return 0;
        if (!take(r, ",")) return fail(r, "expected , or ] in an array");
    }
}

static int read_object(struct reader *r, struct value *out) {
    *out = value_dict(r->arena);
    out->input = true;
    if (out->type != V_DICT) return out_of_room(r);
    r->at++;
    skip_space(r);
    if (take(r, "}")) return 0;
    for (;;) {
        struct value key = {0}, item = {0};
        skip_space(r);
        if (peek(r) != '"') return fail(r, "expected \" before a key");
        if (read_string(r, &key) != 0) return -1;
        skip_space(r);
        if (!take(r, ":")) return fail(r, "expected : after a key");
        if (read_value(r, &item) != 0) return -1;
        if (!dict_set(r->arena, out->u.dict, key, item)) return out_of_room(r);
        skip_space(r);
        if (take(r, "}")) return 0;
        if (!take(r, ",")) return fail(r, "expected , or } in an object");
    }
}

static int read_value(struct reader *r, struct value *out) {
    skip_space(r);
    int c = peek(r), status = 0;
    if (c == '"') return read_string(r, out);
    if (c == '-' || (c >= '0' && c <= '9')) return read_number(r, out);
    if (c == '[' || c == '{') {
        if (r->depth == VALUE_MAX_DEPTH) return fail(r, "nested too deeply");
        r->depth++;
        status = c == '[' ? read_array(r, out) : read_object(r, out);
        r->depth--;
        return status;
    }
    if (take(r, "null"))
        *out = value_none();
    else if (take(r, "true"))
        *out = value_bool(true);
    else if (take(r, "false"))
        *out = value_bool(false);
    else
        return fail(r, c < 0 ? "the text ends where a value is expected" : "expected a value");
    out->input = true;
    return 0;
}

int json_parse(const char *text, size_t len, struct arena *a, struct value *out,
               struct error *err) {
    struct reader r = {.text = text, .len = len, .arena = a, .err = err};
    if (read_value(&r, out) != 0) return -1;
    skip_space(&r);
    return r.at < len ? fail(&r, "expected nothing after the value") : 0;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void quote_char(struct builder *b, uint32_t cp, bool input) {
    static const char names[] = "\"\\bfnrt", meant[] = "\"\\\b\f\n\r\t";
    const char *name = cp > 0 && cp < 0x80 ? strchr(meant, (int)cp) : NULL;
    char text[16];
    if (name)
        snprintf(text, sizeof text, "\\%c", names[name - meant]);
    else if (cp < 0x10000)
        snprintf(text, sizeof text, "\\u%04" PRIx32, cp);
    else
        snprintf(text, sizeof text, "\\u%04" PRIx32 "\\u%04" PRIx32, 0xd7c0 + (cp >> 10),
                 0xdc00 + (cp & 0x3ff));
    build_text(b, text, input);
}

void json_quote(struct builder *b, const struct str *s, bool ascii) {
    bool own = str_is_own(s);
    build_text(b, "\"", !own);
    size_t plain = 0;
    for (size_t i = 0, n; i < s->len; i += n) {
        uint32_t cp = utf8_at(s->data, i, &n);
        if (cp >= 0x20 && cp != '"' && cp != '\\' && !(ascii && cp >= 0x7f)) continue;
        build_slice(b, s, plain, i);
        quote_char(b, cp, str_is_input(s, i));
        plain = i + n;
    }
    build_slice(b, s, plain, s->len);
    build_text(b, "\"", !own);
}

struct writer {
    struct builder *b;
    const struct json_style *style;
    struct error *err;
    size_t level;
};

static void new_line(struct writer *w, bool input) {
    if (!w->style->indent) return;
    build_text(w->b, "\n", input);
    for (size_t i = 0; i < w->level; i++) build_str(w->b, w->style->indent);
}

static void separate(struct writer *w, bool input) {
    if (w->style->item_separator)
        build_str(w->b, w->style->item_separator);
    else
        build_text(w->b, w->style->indent ? "," : ", ", input);
    new_line(w, input);
}

static void write_float(struct builder *b, double f, bool input) {
    char text[40];
    float_text(f, text);
    build_text(b, isnan(f) ? "NaN" : isinf(f) ? (f < 0 ? "-Infinity" : "Infinity") : text, input);
}

/* What json.dumps writes without a container; false: not of these types. */
static bool write_scalar(struct builder *b, struct value v) {
    char text[32];
    switch (v.type) {
    case V_NONE:
        build_text(b, "null", v.input);
        return true;
    case V_BOOL:
        build_text(b, v.u.b ? "true" : "false", v.input);
        return true;
    case V_INT:
        snprintf(text, sizeof text, "%" PRId64, v.u.i);
        build_text(b, text, v.input);
        return true;
    case V_BIG:
        build_str(b, v.u.s);
        return true;
    case V_FLOAT:
        write_float(b, v.u.f, v.input);
        return true;
    default:
        return false;
    }
}

static int write_value(struct writer *w, struct value v);

static int write_list(struct writer *w, struct value v) {
    const struct list *list = v.u.list;
    build_text(w->b, "[", v.input);
    w->level++;
    for (size_t i = 0; i < list->n; i++) {
        if (i > 0)
            separate(w, v.input);
        else
            new_line(w, v.input);
        if (write_value(w, list->items[i]) != 0) return -1;
    }
    w->level--;
    if (list->n > 0) new_line(w, v.input);
    build_text(w->b, "]", v.input);
    return 0;
}

static int write_key(struct writer *w, struct value key) {
    if (key.type == V_STR) {
        json_quote(w->b, key.u.s, w->style->ascii);
        return 0;
    }
    build_text(w->b, "\"", key.input);
    if (!write_scalar(w->b, key)) {
        return error_set(w->err, KQ_BAD_ARGUMENT,
                         "keys must be str, int, float, bool or None, not %s",
                         value_type_name(key));
    }
    build_text(w->b, "\"", key.input);
    return 0;
}

static int compare_keys(const void *left, const void *right) {
    const struct pair *a = *(const struct pair *const *)left;
    const struct pair *b = *(const struct pair *const *)right;
    if (a->key.type == V_STR) return str_compare(a->key.u.s, b->key.u.s);
    double x = value_as_double(a->key), y = value_as_double(b->key);
    return (x > y) - (x < y);
}

/* Pointers to the pairs, in the order in which they are written; NULL and err if keys of several
 * types were to be sorted, or there is no memory (err is not set then: the arena knows). */
static const struct pair **order_pairs(struct writer *w, const struct dict *d) {
    const struct pair **order = arena_alloc(w->b->arena, d->n * sizeof *order);
    for (size_t i = 0; order && i < d->n; i++) {
        order[i] = &d->pairs[i];
        bool text = order[i]->key.type == V_STR, first_text = order[0]->key.type == V_STR;
        if (w->style->sort_keys &&
            (text != first_text || (!text && !value_is_number(order[i]->key)))) {
            error_set(w->err, KQ_BAD_ARGUMENT,
                      "'<' not supported between instances of '%s' and '%s'",
                      value_type_name(order[i]->key), value_type_name(order[0]->key));
            return NULL;
        }
    }
    if (order && w->style->sort_keys) qsort(order, d->n, sizeof *order, compare_keys);
    return order;
}

static int write_dict(struct writer *w, struct value v) {
    const struct dict *d = v.u.dict;
    build_text(w->b, "{", v.input);
    const struct pair **order = d->n > 0 ? order_pairs(w, d) : NULL;
    if (d->n > 0 && !order) return -1;
    w->level++;
    for (size_t i = 0; i < d->n; i++) {
        if (i > 0)
            separate(w, v.input);
        else
            new_line(w, v.input);
        if (write_key(w, order[i]->key) != 0) return -1;
        if (w->style->key_separator)
            build_str(w->b, w->style->key_separator);
        else
            build_text(w->b, ": ", v.input);
        if (write_value(w, order[i]->value) != 0) return -1;
    }
    w->level--;
    if (d->n > 0) new_line(w, v.input);
    build_text(w->b, "}", v.input);
    return 0;
}

static int write_value(struct writer *w, struct value v) {
    if (w->b->arena->full || w->b->arena->no_memory) return -1; // who called looks there, too
    if (v.type == V_STR) {
        json_quote(w->b, v.u.s, w->style->ascii);
        return 0;
    }
    if (write_scalar(w->b, v)) return 0;
    if (v.type == V_LIST || v.type == V_TUPLE) return write_list(w, v);
    if (v.type == V_DICT) return write_dict(w, v);
    return error_set(w->err, KQ_BAD_ARGUMENT, "Object of type %s is not JSON serializable",
                     value_type_name(v));
}

int json_write(struct builder *b, struct value v, const struct json_style *style,
               struct error *err) {
    struct writer w = {.b = b, .style = style, .err = err};
    return write_value(&w, v);
}
