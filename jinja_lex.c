/* A template's text, cut into tokens: white space around the tags goes as trim_blocks and
 * lstrip_blocks say, strings lose their escapes. */
#include "jinja_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

struct lexer {
    struct jinja *t;
    size_t at;
    bool line_starting; // what was read last ended a line
    char closing[256];  // the brackets that are open
    size_t n_open;
    struct error *err;
};

int jinja_error(const struct jinja *t, size_t at, struct error *err, const char *format, ...) {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at && i < t->len; i++) {
        if (((unsigned char)t->source[i] & 0xc0) != 0x80) column++;
        if (t->source[i] == '\n') {
            line++;
            column = 1;
        }
    }
    char what[400];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return error_set(err, KQ_BAD_FILE, "template, line %zu, column %zu: %s", line, column, what);
}

static int out_of_room(struct lexer *x) {
    bool none = x->t->arena.no_memory;
    return error_set(x->err, none ? KQ_NO_MEMORY : KQ_FULL, "template: %s",
                     none ? "out of memory" : "too large");
}

const struct str *jinja_intern(struct jinja *t, const struct str *s) {
    struct value key = value_str(s), *known = dict_find(t->names, key);
    if (known) return known->u.s;
    return dict_set(&t->arena, t->names, key, key) ? s : &str_empty;
}

static int add_token(struct lexer *x, enum token_type type, size_t at, struct value value) {
    struct jinja *t = x->t;
    if (t->n_tokens == t->tokens_capacity) {
        size_t capacity = t->tokens_capacity ? 2 * t->tokens_capacity : 256;
        struct token *larger = arena_grow(&t->arena, t->tokens, t->tokens_capacity * sizeof *larger,
                                          capacity * sizeof *larger);
        if (!larger) return out_of_room(x);
        t->tokens = larger;
        t->tokens_capacity = capacity;
    }
    t->tokens[t->n_tokens++] =
        (struct token){.type = (unsigned char)type, .at = (uint32_t)at, .value = value};
    return 0;
}

static const char *here(const struct lexer *x) {
    return x->t->source + x->at;
}

static bool starts(const struct lexer *x, size_t at, const char *text) {
    size_t n = strlen(text);
    return x->t->len - at >= n && memcmp(x->t->source + at, text, n) == 0;
}

/* The first byte from `at` on that belongs to no white space. */
static size_t after_space(const struct lexer *x, size_t at) {
    for (size_t n; at < x->t->len; at += n) {
        if (!jinja_is_space(utf8_at(x->t->source, at, &n))) break;
    }
    return at;
}

/* The end of source[from..to) without the white space at its end. */
static size_t before_space(const struct lexer *x, size_t from, size_t to) {
    while (to > from) {
        size_t start = to - 1, n;
        while (((unsigned char)x->t->source[start] & 0xc0) == 0x80) start--;
        if (!jinja_is_space(utf8_at(x->t->source, start, &n))) break;
        to = start;
    }
    return to;
}

static void move_to(struct lexer *x, size_t at) {
    x->at = at;
    x->line_starting = at > 0 && x->t->source[at - 1] == '\n';
}

/* ---- text, tags ------------------------------------------------------------------------------ */

/* Text source[from..to) before a tag; sign: '-', '+' or 0 behind the tag's opening. */
static int add_data(struct lexer *x, size_t from, size_t to, char sign, bool print) {
    if (sign == '-') {
        to = before_space(x, from, to);
    } else if (sign != '+' && !print) {
        size_t line = to;
        while (line > from && x->t->source[line - 1] != '\n') line--;
        if ((line > from || x->line_starting) && before_space(x, line, to) == line) to = line;
    }
    if (from == to) return 0;
    struct str *s = str_new(&x->t->arena, x->t->source + from, to - from, false);
    return s ? add_token(x, T_DATA, from, value_str(s)) : out_of_room(x);
}

static char sign_at(const struct lexer *x, size_t at) {
    char c = at < x->t->len ? x->t->source[at] : 0;
    return c == '-' || c == '+' ? c : 0;
}

/* Where a tag's end leaves off that begins at `at` with one of "-%}", "+%}", "%}" (close: "%}" or
 * "#}"), or 0. */
static size_t tag_end(const struct lexer *x, size_t at, const char *close, bool plus) {
    char sign = sign_at(x, at);
    size_t end = at + (sign != 0);
    if ((sign == '+' && !plus) || !starts(x, end, close)) return 0;
    end += 2;
    if (sign == '-') return after_space(x, end);
    if (sign == 0 && *close != '}' && starts(x, end, "\n")) end++; // trim_blocks
    return end;
}

/* After "{#". */
static int skip_comment(struct lexer *x) {
    size_t begin = x->at;
    for (; x->at < x->t->len; x->at++) {
        size_t end = tag_end(x, x->at, "#}", true);
        if (end) {
            move_to(x, end);
            return 0;
        }
    }
    return jinja_error(x->t, begin, x->err, "the comment is not closed");
}

/* The end of "{% raw %}" (name: "raw") or "{% endraw %}" at `at`, or 0. */
static size_t raw_tag(const struct lexer *x, size_t at, const char *name, char *sign) {
    if (!starts(x, at, "{%")) return 0;
    *sign = sign_at(x, at + 2);
    at = after_space(x, at + 2 + (*sign != 0));
    if (!starts(x, at, name)) return 0;
    at = after_space(x, at + strlen(name));
    if (*name == 'e') return tag_end(x, at, "%}", true);
    if (starts(x, at, "-%}")) return after_space(x, at + 3);
    return starts(x, at, "%}") ? at + 2 : 0;
}

/* After "{% raw %}". */
static int read_raw(struct lexer *x) {
    size_t begin = x->at;
    for (; x->at < x->t->len; x->at++) {
        char sign;
        size_t end = raw_tag(x, x->at, "endraw", &sign);
        if (end) {
            if (add_data(x, begin, x->at, sign, false) != 0) return -1;
            move_to(x, end);
            return 0;
        }
    }
    return jinja_error(x->t, begin, x->err, "raw is not closed: {%% endraw %%} is missing");
}

/* ---- numbers, strings ------------------------------------------------------------------------ */

static size_t digits_at(const struct lexer *x, size_t at, const char *digits) {
    size_t end = at;
    while (end < x->t->len && x->t->source[end] && strchr(digits, x->t->source[end])) {
        end++;
        if (starts(x, end, "_") && end + 1 < x->t->len && x->t->source[end + 1] &&
            strchr(digits, x->t->source[end + 1])) {
            end++;
        }
    }
    return end;
}

#define DECIMAL "0123456789"

static size_t exponent_at(const struct lexer *x, size_t at) {
    if (!starts(x, at, "e") && !starts(x, at, "E")) return at;
    size_t digits = at + 1;
    if (starts(x, digits, "+") || starts(x, digits, "-")) digits++;
    size_t end = digits_at(x, digits, DECIMAL);
    return end > digits ? end : at;
}

/* source[at..end) without the underscores. */
static char *copy_number(struct lexer *x, size_t at, size_t end) {
    char *copy = arena_alloc(&x->t->arena, end - at + 1), *to = copy;
    for (; copy && at < end; at++) {
        if (x->t->source[at] != '_') *to++ = x->t->source[at];
    }
    if (copy) *to = '\0';
    return copy;
}

static int add_integer(struct lexer *x, size_t end, size_t prefix, int base) {
    char *text = copy_number(x, x->at + prefix, end);
    if (!text) return out_of_room(x);
    errno = 0;
    struct value v = value_int(strtoll(text, NULL, base));
    if (errno == ERANGE) {
        if (base != 10) return jinja_error(x->t, x->at, x->err, "the number is beyond 64 bits");
        v = value_text(&x->t->arena, text);
        v.type = V_BIG;
    }
    if (add_token(x, T_NUMBER, x->at, v) != 0) return -1;
    move_to(x, end);
    return 0;
}

static int read_number(struct lexer *x) {
    static const struct {
        const char *prefix, *digits;
        int base;
    } bases[] = {{"0b", "01", 2}, {"0o", "01234567", 8}, {"0x", "0123456789abcdefABCDEF", 16},
                 {"0B", "01", 2}, {"0O", "01234567", 8}, {"0X", "0123456789abcdefABCDEF", 16}};
    size_t whole = digits_at(x, x->at, DECIMAL), end = whole;
    bool after_dot = x->at > 0 && x->t->source[x->at - 1] == '.'; // items.0.1 has no fractions
    if (!after_dot && starts(x, end, ".")) {
        size_t fraction = digits_at(x, end + 1, DECIMAL);
        if (fraction > end + 1) end = fraction;
    }
    if (!after_dot) end = exponent_at(x, end);
    if (end > whole) {
        char *text = copy_number(x, x->at, end);
        if (!text) return out_of_room(x);
        if (add_token(x, T_NUMBER, x->at, value_float(strtod(text, NULL))) != 0) return -1;
        move_to(x, end);
        return 0;
    }
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        size_t from = x->at + 2 + (starts(x, x->at + 2 < x->t->len ? x->at + 2 : x->at, "_"));
        if (!starts(x, x->at, bases[i].prefix)) continue;
        end = digits_at(x, from, bases[i].digits);
        if (end > from) return add_integer(x, end, 2, bases[i].base);
    }
    if (x->t->source[x->at] == '0') whole = x->at + strspn(here(x), "0_"); // 01 is 0 and 1
    while (x->t->source[whole - 1] == '_') whole--;
    return add_integer(x, whole, 0, 10);
}

static bool read_digits(struct lexer *x, size_t *at, size_t end, int n, int base, uint32_t *cp) {
    char text[12] = {0};
    for (int i = 0; i < n && *at < end; i++) text[i] = x->t->source[(*at)++];
    char *stop;
    *cp = (uint32_t)strtoul(text, &stop, base);
    return *stop == '\0' && strlen(text) == (size_t)n && text[0] != '-' && text[0] != '+' &&
           text[0] != ' ' && text[0] != '\t';
}

/* The escape after a backslash at (*at)++; as Python's string literals have it. */
static int read_escape(struct lexer *x, struct builder *b, size_t *at, size_t end) {
    static const char names[] = "abfnrtv\\'\"", meant[] = "\a\b\f\n\r\t\v\\'\"";
    size_t n, begin = *at;
    uint32_t cp = utf8_at(x->t->source, *at, &n);
    *at += n;
    const char *name = cp < 0x80 && cp > 0 ? strchr(names, (int)cp) : NULL;
    if (cp == '\n') return 0;
    if (name) {
        build_bytes(b, &meant[name - names], 1, false);
        return 0;
    }
    if (cp == 'x' || cp == 'u' || cp == 'U') {
        uint32_t code;
        if (!read_digits(x, at, end,
                         cp == 'x'   ? 2
                         : cp == 'u' ? 4
                                     : 8,
                         16, &code) ||
            code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
            return jinja_error(x->t, begin, x->err, "\\%c does not name a character", (char)cp);
        }
        build_char(b, code, false);
    } else if (cp >= '0' && cp <= '7') {
        uint32_t code = 0;
        *at = begin;
        for (int i = 0; i < 3 && *at < end && strchr("01234567", x->t->source[*at]); i++) {
            code = code * 8 + (uint32_t)(x->t->source[(*at)++] - '0');
        }
        build_char(b, code, false);
    } else if (cp == 'N') {
        return jinja_error(x->t, begin, x->err, "\\N{...} is not known here");
    } else {
        // Jinja replaces what is not ASCII by its own escape first, and then sees two backslashes.
        char text[16];
        snprintf(text, sizeof text,
                 cp < 0x100     ? "\\x%02x"
                 : cp < 0x10000 ? "\\u%04x"
                                : "\\U%08x",
                 (unsigned)cp);
        if (cp < 0x80) snprintf(text, sizeof text, "\\%c", (char)cp);
        build_text(b, text, false);
    }
    return 0;
}

static int read_string(struct lexer *x) {
    char quote = *here(x);
    size_t begin = x->at + 1, end = begin;
    while (end < x->t->len && x->t->source[end] != quote) {
        end += x->t->source[end] == '\\' && end + 1 < x->t->len ? 2 : 1;
    }
    if (end >= x->t->len) return jinja_error(x->t, x->at, x->err, "the string is not closed");
    struct builder b;
    build_begin(&b, &x->t->arena);
    for (size_t at = begin; at < end;) {
        if (x->t->source[at] == '\\') {
            at++;
            if (read_escape(x, &b, &at, end) != 0) return -1;
        } else {
            build_bytes(&b, x->t->source + at++, 1, false);
        }
    }
    const struct str *s = jinja_intern(x->t, build_end(&b));
    if (add_token(x, T_STRING, x->at, value_str(s)) != 0) return -1;
    move_to(x, end + 1);
    return 0;
}

/* ---- names, operators ------------------------------------------------------------------------ */

static int read_name(struct lexer *x) {
    size_t end = x->at;
    for (size_t n; end < x->t->len; end += n) {
        if (!jinja_is_word(utf8_at(x->t->source, end, &n))) break;
    }
    const struct str *s = str_new(&x->t->arena, here(x), end - x->at, false);
    if (!s) return out_of_room(x);
    if (add_token(x, T_NAME, x->at, value_str(jinja_intern(x->t, s))) != 0) return -1;
    move_to(x, end);
    return 0;
}

static const struct {
    const char *text;
    enum token_type type;
} operators[] = {{"//", T_FLOORDIV}, {"**", T_POW},     {"==", T_EQ},    {"!=", T_NE},
                 {">=", T_GE},       {"<=", T_LE},      {"+", T_ADD},    {"-", T_SUB},
                 {"/", T_DIV},       {"*", T_MUL},      {"%", T_MOD},    {"~", T_TILDE},
                 {"[", T_LBRACKET},  {"]", T_RBRACKET}, {"(", T_LPAREN}, {")", T_RPAREN},
                 {"{", T_LBRACE},    {"}", T_RBRACE},   {">", T_GT},     {"<", T_LT},
                 {"=", T_ASSIGN},    {".", T_DOT},      {":", T_COLON},  {"|", T_PIPE},
                 {",", T_COMMA},     {";", T_SEMICOLON}};

/* Brackets must match; inside of them no tag ends. */
static int balance(struct lexer *x, char c) {
    char closing = c == '(' ? ')' : c == '[' ? ']' : c == '{' ? '}' : 0;
    if (closing) {
        if (x->n_open == sizeof x->closing) {
            return jinja_error(x->t, x->at, x->err, "nested too deeply");
        }
        x->closing[x->n_open++] = closing;
    } else if (c == ')' || c == ']' || c == '}') {
        if (x->n_open == 0) return jinja_error(x->t, x->at, x->err, "unexpected '%c'", c);
        char expected = x->closing[--x->n_open];
        if (expected != c) {
            return jinja_error(x->t, x->at, x->err, "unexpected '%c', expected '%c'", c, expected);
        }
    }
    return 0;
}

static int read_operator(struct lexer *x) {
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        if (!starts(x, x->at, operators[i].text)) continue;
        if (balance(x, *here(x)) != 0) return -1;
        if (add_token(x, operators[i].type, x->at, value_none()) != 0) return -1;
        move_to(x, x->at + strlen(operators[i].text));
        return 0;
    }
    size_t n = utf8_length(here(x), x->t->len - x->at);
    return jinja_error(x->t, x->at, x->err, "unexpected character '%.*s'", (int)n, here(x));
}

/* ---- inside of a tag ------------------------------------------------------------------------- */

/* Everything up to the tag's end; close: "%}" or "}}". */
static int read_tag(struct lexer *x, const char *close) {
    size_t begin = x->at;
    while (x->at < x->t->len) {
        size_t end = x->n_open == 0 ? tag_end(x, x->at, close, *close == '%') : 0;
        if (end) {
            if (add_token(x, *close == '%' ? T_BLOCK_END : T_PRINT_END, x->at, value_none()) != 0)
                return -1;
            move_to(x, end);
            return 0;
        }
        size_t next = after_space(x, x->at), n;
        if (next > x->at) {
            move_to(x, next);
            continue;
        }
        uint32_t cp = utf8_at(x->t->source, x->at, &n);
        int status;
        if (cp >= '0' && cp <= '9')
            status = read_number(x);
        else if (cp == '"' || cp == '\'')
            status = read_string(x);
        else
            status = jinja_is_word(cp) ? read_name(x) : read_operator(x);
        if (status != 0) return -1;
    }
    return jinja_error(x->t, begin, x->err, "the tag is not closed: %s is missing", close);
}

/* From text to the end of the tag after it. */
static int read_part(struct lexer *x) {
    const char *source = x->t->source;
    size_t begin = x->at, at = begin;
    while (at + 1 < x->t->len &&
           !(source[at] == '{' && strchr("{%#", source[at + 1]) && source[at + 1])) {
        at++;
    }
    if (at + 1 >= x->t->len) {
        x->at = x->t->len;
        return add_data(x, begin, x->t->len, '+', true);
    }
    char kind = source[at + 1], sign = sign_at(x, at + 2);
    size_t raw = kind == '%' ? raw_tag(x, at, "raw", &sign) : 0;
    if (kind == '%' && !raw) sign = sign_at(x, at + 2);
    if (add_data(x, begin, at, sign, kind == '{') != 0) return -1;
    if (raw) {
        move_to(x, raw);
        return read_raw(x);
    }
    move_to(x, at + 2 + (sign != 0));
    if (kind == '#') return skip_comment(x);
    if (add_token(x, kind == '%' ? T_BLOCK_BEGIN : T_PRINT_BEGIN, at, value_none()) != 0) return -1;
    return read_tag(x, kind == '%' ? "%}" : "}}");
}

int jinja_tokenize(struct jinja *t, struct error *err) {
    struct lexer x = {.t = t, .err = err, .line_starting = true};
    for (size_t i = 0, n; i < t->len; i += n) {
        n = utf8_length(t->source + i, t->len - i);
        if (n == 0) return jinja_error(t, i, err, "not UTF-8");
    }
    while (x.at < t->len) {
        if (read_part(&x) != 0) return -1;
    }
    if (add_token(&x, T_END, t->len, value_none()) != 0) return -1;
    return t->arena.full || t->arena.no_memory ? out_of_room(&x) : 0;
}
