/* Python's two ways of formatting: "%5.1f" % x and "{:>5}".format(x). */
#include "jinja_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WIDTH 100000
#define MAX_PRECISION 300

/* How one value is laid out. */
struct spec {
    uint32_t fill;
    char align; // < > ^ =, or 0
    char sign;  // + space, or 0
    bool alternate;
    int width, precision; // -1: none
    char separator;       // , or _ between thousands, or 0
    char type;            // 0: none
};

/* ---- layout ---------------------------------------------------------------------------------- */

/* text with a sign or prefix of `prefix` bytes that padding with = goes behind. */
static void lay_out(struct context *c, struct builder *b, const struct spec *s,
                    const struct str *text, size_t prefix) {
    size_t n = text->n_chars < (size_t)s->width ? (size_t)s->width - text->n_chars : 0;
    if (s->width < 0) n = 0;
    size_t left = s->align == '<' ? 0 : s->align == '^' ? n / 2 : n;
    if (s->align == '=') build_slice(b, text, 0, prefix);
    for (size_t i = 0; i < left && jinja_spend(c, 1); i++) build_char(b, s->fill, false);
    build_slice(b, text, s->align == '=' ? prefix : 0, text->len);
    for (size_t i = left; i < n && jinja_spend(c, 1); i++) build_char(b, s->fill, false);
}

/* digits with separators between groups from the end of their whole part on. */
static void group(char *digits, size_t room, char separator, int size) {
    size_t len = strlen(digits), whole = strspn(digits, "0123456789abcdefABCDEF");
    size_t n = whole > 0 ? (whole - 1) / (size_t)size : 0;
    if (!separator || len + n + 1 > room) return;
    memmove(digits + whole + n, digits + whole, len - whole + 1);
    for (size_t from = whole, to = whole + n, k = 0; from > 0 && n > 0; k++) {
        if (k == (size_t)size) {
            digits[--to] = separator;
            k = 0;
        }
        digits[--to] = digits[--from];
    }
}

static void put_number(struct context *c, struct builder *b, struct spec s, bool negative,
                       const char *prefix, char *digits, size_t room, bool input) {
    struct builder text;
    bool hex = strchr("xXob", s.type) && s.type;
    build_begin(&text, c->arena);
    if (s.separator) group(digits, room, s.separator, hex ? 4 : 3);
    if (negative)
        build_text(&text, "-", input);
    else if (s.sign)
        build_bytes(&text, &s.sign, 1, input);
    build_text(&text, prefix, input);
    size_t before = text.len;
    build_text(&text, digits, input);
    if (!s.align) s.align = '>';
    lay_out(c, b, &s, build_end(&text), before);
}

static void put_integer(struct context *c, struct builder *b, struct spec s, int64_t i,
                        bool input) {
    char digits[200] = "";
    const char *prefix = "";
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    if (s.type == 'x' || s.type == 'X') {
        snprintf(digits, sizeof digits, s.type == 'x' ? "%" PRIx64 : "%" PRIX64, u);
        prefix = s.type == 'x' ? "0x" : "0X";
    } else if (s.type == 'o') {
        snprintf(digits, sizeof digits, "%" PRIo64, u);
        prefix = "0o";
    } else if (s.type == 'b') {
        int n = 0;
        for (uint64_t rest = u; rest || n == 0; rest >>= 1) n++;
        for (int k = 0; k < n; k++) digits[k] = (char)('0' + (u >> (n - 1 - k) & 1));
        prefix = "0b";
    } else {
        snprintf(digits, sizeof digits, "%" PRIu64, u);
    }
    if (s.precision > 0 && strlen(digits) < (size_t)s.precision && s.precision < 150) {
        size_t zeros = (size_t)s.precision - strlen(digits);
        memmove(digits + zeros, digits, strlen(digits) + 1);
        memset(digits, '0', zeros);
    }
    put_number(c, b, s, i < 0, s.alternate ? prefix : "", digits, sizeof digits, input);
}

static void put_float(struct context *c, struct builder *b, struct spec s, double f, bool input) {
    char digits[1200], format[16];
    char type = s.type == 'n' ? 'g' : s.type ? s.type : 'g';
    double positive = fabs(type == '%' ? f * 100 : f);
    if (!s.type && s.precision < 0) {
        float_text(positive, digits);
    } else {
        int precision = s.precision < 0 ? 6 : s.precision;
        snprintf(format, sizeof format, "%%%s.%d%c", s.alternate ? "#" : "", precision,
                 type == '%' ? 'f' : type);
        snprintf(digits, sizeof digits, format, positive);
        size_t n = strlen(digits);
        const char *end = s.type == '%' ? "%" : s.type || strpbrk(digits, ".en") ? "" : ".0";
        snprintf(digits + n, sizeof digits - n, "%s", end);
    }
    put_number(c, b, s, signbit(f) && !isnan(f), "", digits, sizeof digits, input);
}

static void put_string(struct context *c, struct builder *b, struct spec s,
                       const struct str *text) {
    size_t end = s.precision < 0 ? text->len : str_offset(text, (size_t)s.precision);
    if (!s.align) s.align = '<';
    if (end < text->len) text = jinja_part(c, value_str(text), 0, end).u.s;
    lay_out(c, b, &s, text, 0);
}

/* ---- percent --------------------------------------------------------------------------------- */

struct percent {
    struct context *c;
    const struct node *at;
    struct value arguments;
    size_t used;
};

static struct value next_argument(struct percent *p) {
    struct value v = p->arguments;
    bool tuple = v.type == V_TUPLE;
    if (p->used >= (tuple ? v.u.list->n : 1)) {
        return jinja_fail(p->c, p->at, "not enough arguments for format string");
    }
    p->used++;
    return tuple ? v.u.list->items[p->used - 1] : v;
}

/* A number of the format, or of the arguments for "*". */
static int read_count(struct percent *p, const struct str *f, size_t *i, int absent) {
    int n = 0;
    if (*i < f->len && f->data[*i] == '*') {
        struct value v = next_argument(p);
        ++*i;
        if (jinja_is_integer(v) && jinja_as_integer(v) >= 0 && jinja_as_integer(v) < MAX_WIDTH) {
            return (int)jinja_as_integer(v);
        }
        jinja_fail(p->c, p->at, "* wants int");
        return 0;
    }
    if (*i >= f->len || f->data[*i] < '0' || f->data[*i] > '9') return absent;
    while (*i < f->len && f->data[*i] >= '0' && f->data[*i] <= '9' && n < MAX_WIDTH) {
        n = n * 10 + f->data[(*i)++] - '0';
    }
    return n;
}

static void put_percent(struct percent *p, struct builder *b, struct spec s, char type,
                        struct value v) {
    struct context *c = p->c;
    double f = 0;
    s.type = type == 'i' || type == 'u' ? 'd' : type;
    if (type == 's' || type == 'r' || type == 'a') {
        if (!s.align) s.align = '>';
        put_string(c, b, s, type == 's' ? jinja_text_of(c, v) : jinja_repr_of(c, v));
        return;
    }
    if (type == 'c' && v.type == V_STR && v.u.s->n_chars == 1) {
        if (!s.align) s.align = '>';
        put_string(c, b, s, v.u.s);
        return;
    }
    if (type == 'c' && jinja_is_integer(v) && jinja_as_integer(v) > 0 &&
        jinja_as_integer(v) < 0xd800) {
        build_char(b, (uint32_t)jinja_as_integer(v), v.input);
        return;
    }
    if (v.type == V_UNDEFINED) {
        jinja_fail_undefined(c, p->at, v);
    } else if (!value_is_number(v)) {
        jinja_fail(c, p->at, "%%%c format: a real number is required, not %s", type,
                   value_type_name(v));
    } else if (strchr("diu", type)) {
        f = value_as_double(v);
        if (v.type == V_FLOAT && fabs(f) >= 0x1p63) {
            jinja_fail(c, p->at, "the number is beyond 64 bits");
        } else if (v.type == V_BIG) {
            build_str(b, v.u.s);
        } else {
            put_integer(c, b, s, v.type == V_FLOAT ? (int64_t)f : jinja_as_integer(v), v.input);
        }
    } else if (strchr("oxX", type)) {
        if (jinja_is_integer(v))
            put_integer(c, b, s, jinja_as_integer(v), v.input);
        else
            jinja_fail(c, p->at, "%%%c format: an integer is required, not %s", type,
                       value_type_name(v));
    } else if (strchr("eEfFgG", type)) {
        put_float(c, b, s, value_as_double(v), v.input);
    } else {
        jinja_fail(c, p->at, "unsupported format character '%c'", type);
    }
}

/* After a "%"; the position behind the directive. */
static size_t one_directive(struct percent *p, struct builder *b, const struct str *f, size_t i) {
    struct spec s = {.fill = ' ', .width = -1, .precision = -1};
    struct value key = {.type = V_ABSENT};
    if (i < f->len && f->data[i] == '(') {
        const char *end = memchr(f->data + i, ')', f->len - i);
        size_t to = end ? (size_t)(end - f->data) : f->len;
        key = jinja_part(p->c, value_str(f), i + 1, to);
        i = end ? to + 1 : f->len;
        if (p->arguments.type != V_DICT) {
            jinja_fail(p->c, p->at, "format requires a mapping");
            return f->len;
        }
    }
    bool zeros = false;
    for (; i < f->len && f->data[i] && strchr("-+ #0", f->data[i]); i++) {
        if (f->data[i] == '-') s.align = '<';
        if (f->data[i] == '+' || (f->data[i] == ' ' && !s.sign)) s.sign = f->data[i];
        if (f->data[i] == '#') s.alternate = true;
        if (f->data[i] == '0') zeros = true;
    }
    s.width = read_count(p, f, &i, -1);
    if (i < f->len && f->data[i] == '.') {
        i++;
        s.precision = read_count(p, f, &i, 0);
    }
    while (i < f->len && f->data[i] && strchr("hlL", f->data[i])) i++;
    if (i >= f->len) {
        jinja_fail(p->c, p->at, "incomplete format");
        return f->len;
    }
    char type = f->data[i];
    if (type == '%') {
        build_text(b, "%", false);
        return i + 1;
    }
    if (s.precision > MAX_PRECISION) jinja_fail(p->c, p->at, "precision too large");
    struct value v =
        key.type == V_ABSENT ? next_argument(p) : jinja_get_item(p->c, p->at, p->arguments, key);
    if (zeros && s.align != '<' && !strchr("src", type)) {
        s.fill = '0';
        s.align = '=';
    }
    if (!p->c->failed) put_percent(p, b, s, type, v);
    return i + 1;
}

struct value jinja_format_percent(struct context *c, const struct node *at,
                                  const struct str *format, struct value arguments) {
    struct percent p = {c, at, arguments, 0};
    struct builder b;
    build_begin(&b, c->arena);
    for (size_t i = 0; i < format->len && jinja_spend(c, 1);) {
        const char *next = memchr(format->data + i, '%', format->len - i);
        size_t end = next ? (size_t)(next - format->data) : format->len;
        build_slice(&b, format, i, end);
        i = next ? one_directive(&p, &b, format, end + 1) : end;
    }
    bool mapping =
        arguments.type == V_DICT || arguments.type == V_LIST || arguments.type == V_UNDEFINED;
    if (arguments.type == V_TUPLE ? p.used < arguments.u.list->n : p.used == 0 && !mapping) {
        return jinja_fail(c, at, "not all arguments converted during string formatting");
    }
    return value_str(build_end(&b));
}

/* ---- braces ---------------------------------------------------------------------------------- */

struct braces {
    struct context *c;
    const struct node *at;
    const struct actual *all;
    size_t next; // argument without a number
    bool manual; // arguments have numbers: then all do
};

static bool parse_spec(struct braces *p, const struct str *text, struct spec *s) {
    size_t i = 0, n;
    const char *d = text->data;
    if (text->len > 0) {
        uint32_t cp = utf8_at(d, 0, &n);
        if (n < text->len && d[n] && strchr("<>^=", d[n])) {
            s->fill = cp;
            s->align = d[n];
            i = n + 1;
        } else if (d[0] && strchr("<>^=", d[0])) {
            s->align = d[i++];
        }
    }
    if (i < text->len && d[i] && strchr("+- ", d[i])) {
        s->sign = d[i] == '-' ? 0 : d[i];
        i++;
    }
    if (i < text->len && d[i] == '#') s->alternate = true, i++;
    if (i < text->len && d[i] == '0') {
        if (!s->align) {
            s->fill = '0';
            s->align = '=';
        }
        i++;
    }
    struct percent numbers = {p->c, p->at, value_none(), 0};
    if (i < text->len && d[i] != '*') s->width = read_count(&numbers, text, &i, -1);
    if (i < text->len && (d[i] == ',' || d[i] == '_')) s->separator = d[i++];
    if (i + 1 < text->len && d[i] == '.' && d[i + 1] != '*') {
        i++;
        s->precision = read_count(&numbers, text, &i, -1);
        if (s->precision < 0 || s->precision > MAX_PRECISION) return false;
    }
    if (i < text->len) s->type = d[i++];
    return i == text->len;
}

static void format_field(struct braces *p, struct builder *b, struct value v,
                         const struct str *text) {
    struct spec s = {.fill = ' ', .width = -1, .precision = -1};
    struct context *c = p->c;
    if (text->len == 0) {
        jinja_write_text(c, b, v);
    } else if (!parse_spec(p, text, &s)) {
        jinja_fail(c, p->at, "Invalid format specifier");
    } else if (v.type == V_STR && (s.type == 0 || s.type == 's') && s.align != '=') {
        put_string(c, b, s, v.u.s);
    } else if (jinja_is_integer(v) && s.precision < 0 &&
               (s.type == 0 || strchr("dbxXon", s.type))) {
        put_integer(c, b, s, jinja_as_integer(v), v.input);
    } else if (value_is_number(v) && v.type != V_BIG &&
               (s.type == 0 ? v.type == V_FLOAT : strchr("eEfFgGn%", s.type) != NULL)) {
        put_float(c, b, s, value_as_double(v), v.input);
    } else if (v.type == V_STR || value_is_number(v)) {
        jinja_fail(c, p->at, "Unknown format code '%c' for object of type '%s'", s.type,
                   value_type_name(v));
    } else {
        jinja_fail(c, p->at, "unsupported format string passed to %s.__format__",
                   value_type_name(v));
    }
}

/* "0", "name", "0.attribute[key]": the value that it names. */
static struct value find_field(struct braces *p, const struct str *name) {
    struct context *c = p->c;
    const char *d = name->data;
    size_t i = 0, index = 0;
    struct value v = {.type = V_ABSENT};
    while (i < name->len && d[i] != '.' && d[i] != '[') i++;
    bool number = true;
    for (size_t k = 0; k < i; k++) {
        number = number && d[k] >= '0' && d[k] <= '9' && index < 100000;
        if (number) index = index * 10 + (size_t)(d[k] - '0');
    }
    if (number) {
        if (i == 0 ? p->manual : p->next > 0) {
            return jinja_fail(c, p->at, "cannot switch from %s to %s",
                              i == 0 ? "manual field specification" : "automatic field numbering",
                              i == 0 ? "automatic field numbering" : "manual field specification");
        }
        p->manual = i > 0;
        if (i == 0) index = p->next++;
        if (index < p->all->n) v = p->all->items[index];
    }
    struct str key = {.data = d, .len = i};
    for (size_t k = 0; !number && k < p->all->n_keywords; k++) {
        if (str_equal(p->all->keywords[k].name, &key)) v = p->all->keywords[k].value;
    }
    if (v.type == V_ABSENT) {
        return jinja_fail(c, p->at, "format: there is no argument '%.*s'", i < 60 ? (int)i : 60, d);
    }
    while (i < name->len && jinja_spend(c, 1)) {
        bool dot = d[i++] == '.';
        size_t end = i;
        while (end < name->len && (dot ? d[end] != '.' && d[end] != '[' : d[end] != ']')) end++;
        struct value step = jinja_part(c, value_str(name), i, end);
        bool digits = end > i && strspn(d + i, "0123456789") >= end - i && end - i < 18;
        if (dot)
            v = jinja_get_attribute(c, p->at, v, step.u.s);
        else
            v = jinja_get_item(c, p->at, v, digits ? value_int(strtoll(d + i, NULL, 10)) : step);
        i = dot ? end : end + 1;
    }
    return v;
}

static const struct str *expand(struct braces *p, const struct str *f, int level);

/* f[from..to) is what stands between two braces. */
static void one_field(struct braces *p, struct builder *b, const struct str *f, size_t from,
                      size_t to, int level) {
    size_t colon = from, bang;
    struct value whole = value_str(f);
    for (int brackets = 0; colon < to && (f->data[colon] != ':' || brackets); colon++) {
        brackets += (f->data[colon] == '[') - (f->data[colon] == ']');
    }
    for (bang = from; bang < colon && f->data[bang] != '!';) bang++;
    struct value v = find_field(p, jinja_part(p->c, whole, from, bang).u.s);
    char kind = bang + 1 < colon ? f->data[bang + 1] : 0;
    if (bang < colon && (bang + 2 != colon || !strchr("rsa", kind) || !kind)) {
        jinja_fail(p->c, p->at, "Unknown conversion specifier");
    }
    if (kind == 's') v = value_str(jinja_text_of(p->c, v));
    if (kind == 'r' || kind == 'a') v = value_str(jinja_repr_of(p->c, v));
    const struct str *spec = &str_empty;
    if (colon < to) spec = expand(p, jinja_part(p->c, whole, colon + 1, to).u.s, level + 1);
    if (!p->c->failed) format_field(p, b, v, spec);
}

static const struct str *expand(struct braces *p, const struct str *f, int level) {
    struct builder b;
    build_begin(&b, p->c->arena);
    if (level > 1) {
        jinja_fail(p->c, p->at, "Max string recursion exceeded");
        return &str_empty;
    }
    for (size_t i = 0; i < f->len && jinja_spend(p->c, 1); i++) {
        char brace = f->data[i];
        if (brace != '{' && brace != '}') {
            build_slice(&b, f, i, i + 1);
        } else if (i + 1 < f->len && f->data[i + 1] == brace && level == 0) {
            build_slice(&b, f, i, i + 1);
            i++;
        } else if (brace == '}') {
            jinja_fail(p->c, p->at, "Single '}' encountered in format string");
        } else {
            size_t end = i + 1;
            for (int depth = 1; end < f->len; end++) {
                depth += (f->data[end] == '{') - (f->data[end] == '}');
                if (depth == 0) break;
            }
            if (end >= f->len) {
                jinja_fail(p->c, p->at, "expected '}' before end of string");
                break;
            }
            one_field(p, &b, f, i + 1, end, level);
            i = end;
        }
    }
    return build_end(&b);
}

struct value jinja_format_braces(struct context *c, const struct node *at, const struct str *format,
                                 const struct actual *all) {
    struct braces p = {c, at, all, 0, false};
    return value_str(expand(&p, format, 0));
}
