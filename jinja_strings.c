/* The methods of Python's strings. Positions are bytes inside and characters outside; what is cut
 * out of a string keeps the origin of its bytes. */
#include "jinja_internal.h"

#include <stdio.h>
#include <string.h>

static struct value nothing(void) {
    return (struct value){0};
}

/* An argument that is put into or looked for in a string: a safe string wants it escaped. */
static const struct str *arg_part(struct call *k, int i) {
    if (k->self.safe && k->arg[i].type == V_STR) return jinja_escape_html(k->c, k->arg[i]).u.s;
    return jinja_arg_str(k, i);
}

static size_t char_at(const struct str *s, size_t at, uint32_t *cp) {
    size_t n;
    *cp = utf8_at(s->data, at, &n);
    return n;
}

static size_t char_before(const struct str *s, size_t at, uint32_t *cp) {
    size_t start = at, n;
    do start--;
    while (((unsigned char)s->data[start] & 0xc0) == 0x80);
    *cp = utf8_at(s->data, start, &n);
    return at - start;
}

/* Where `what` begins in s[from..to), or SIZE_MAX. */
static size_t find_first(const struct str *s, size_t from, size_t to, const struct str *what) {
    while (to - from >= what->len) {
        if (what->len == 0) return from;
        const char *p = memchr(s->data + from, what->data[0], to - from - what->len + 1);
        if (!p) break;
        from = (size_t)(p - s->data);
        if (memcmp(p, what->data, what->len) == 0) return from;
        from++;
    }
    return SIZE_MAX;
}

static size_t find_last(const struct str *s, size_t from, size_t to, const struct str *what) {
    for (size_t at = to; at - from >= what->len; at--) {
        size_t start = at - what->len;
        if (memcmp(s->data + start, what->data, what->len) == 0) return start;
        if (at == from) break;
    }
    return SIZE_MAX;
}

/* The cost of looking for one string in another. */
static bool spend_search(struct call *k, const struct str *what) {
    const struct str *s = k->self.u.s;
    return jinja_spend(k->c, s->len / 16 + s->len * what->len / 1024);
}

static struct value add_part(struct call *k, struct value list, size_t from, size_t to) {
    if (list.type != V_UNDEFINED && jinja_spend(k->c, 1)) {
        list_add(k->c->arena, list.u.list, jinja_part(k->c, k->self, from, to));
    }
    return list;
}

/* ---- strip ----------------------------------------------------------------------------------- */

static bool strips(const struct str *chars, uint32_t cp) {
    if (!chars) return jinja_is_space(cp);
    for (size_t i = 0, n; i < chars->len; i += n) {
        if (utf8_at(chars->data, i, &n) == cp) return true;
    }
    return false;
}

static struct value strip(struct call *k, bool left, bool right) {
    const struct str *s = k->self.u.s, *chars = jinja_arg_given(k, 0) ? arg_part(k, 0) : NULL;
    size_t from = 0, to = s->len, n, cost = 1 + (chars ? chars->len / 4 : 0);
    uint32_t cp;
    while (left && from < to && jinja_spend(k->c, cost)) {
        n = char_at(s, from, &cp);
        if (!strips(chars, cp)) break;
        from += n;
    }
    while (right && to > from && jinja_spend(k->c, cost)) {
        n = char_before(s, to, &cp);
        if (!strips(chars, cp)) break;
        to -= n;
    }
    return jinja_part(k->c, k->self, from, to);
}

struct value jinja_str_strip(struct call *k) {
    return strip(k, true, true);
}

static struct value str_lstrip(struct call *k) {
    return strip(k, true, false);
}

static struct value str_rstrip(struct call *k) {
    return strip(k, false, true);
}

static struct value str_removeprefix(struct call *k) {
    const struct str *s = k->self.u.s, *p = arg_part(k, 0);
    bool has = p && p->len <= s->len && memcmp(s->data, p->data, p->len) == 0;
    return has ? jinja_part(k->c, k->self, p->len, s->len) : k->self;
}

static struct value str_removesuffix(struct call *k) {
    const struct str *s = k->self.u.s, *p = arg_part(k, 0);
    bool has = p && p->len > 0 && p->len <= s->len &&
               memcmp(s->data + s->len - p->len, p->data, p->len) == 0;
    return has ? jinja_part(k->c, k->self, 0, s->len - p->len) : k->self;
}

/* ---- split ----------------------------------------------------------------------------------- */

static struct value split_spaces(struct call *k, int64_t most) {
    const struct str *s = k->self.u.s;
    struct value out = value_list(k->c->arena, V_LIST);
    for (size_t at = 0, n; jinja_spend(k->c, 1);) {
        uint32_t cp;
        while (at < s->len && (n = char_at(s, at, &cp), jinja_is_space(cp))) at += n;
        if (at >= s->len) break;
        size_t end = at;
        if (most-- == 0) return add_part(k, out, at, s->len); // white space at its end, too
        while (end < s->len && (n = char_at(s, end, &cp), !jinja_is_space(cp))) end += n;
        add_part(k, out, at, end);
        at = end;
    }
    return out;
}

static struct value str_split(struct call *k) {
    int64_t most = jinja_arg_int(k, 1, -1);
    if (!jinja_arg_given(k, 0)) return split_spaces(k, most);
    const struct str *s = k->self.u.s, *sep = jinja_arg_str(k, 0);
    struct value out = value_list(k->c->arena, V_LIST);
    if (!sep || !spend_search(k, sep)) return nothing();
    if (sep->len == 0) return jinja_fail(k->c, k->at, "empty separator");
    size_t at = 0, found;
    while (most-- != 0 && (found = find_first(s, at, s->len, sep)) != SIZE_MAX &&
           jinja_spend(k->c, 1)) {
        add_part(k, out, at, found);
        at = found + sep->len;
    }
    return add_part(k, out, at, s->len);
}

/* The parts were found from the right. */
static struct value reversed(struct value list) {
    if (list.type == V_UNDEFINED) return list;
    struct list *l = list.u.list;
    for (size_t i = 0; i < l->n / 2; i++) {
        struct value v = l->items[i];
        l->items[i] = l->items[l->n - 1 - i];
        l->items[l->n - 1 - i] = v;
    }
    return list;
}

static struct value rsplit_spaces(struct call *k, int64_t most) {
    const struct str *s = k->self.u.s;
    struct value out = value_list(k->c->arena, V_LIST);
    for (size_t end = s->len, n; jinja_spend(k->c, 1);) {
        uint32_t cp;
        while (end > 0 && (n = char_before(s, end, &cp), jinja_is_space(cp))) end -= n;
        if (end == 0) break;
        size_t at = end;
        if (most-- == 0) {
            add_part(k, out, 0, end);
            break;
        }
        while (at > 0 && (n = char_before(s, at, &cp), !jinja_is_space(cp))) at -= n;
        add_part(k, out, at, end);
        end = at;
    }
    return reversed(out);
}

static struct value str_rsplit(struct call *k) {
    int64_t most = jinja_arg_int(k, 1, -1);
    if (!jinja_arg_given(k, 0)) return rsplit_spaces(k, most);
    const struct str *s = k->self.u.s, *sep = jinja_arg_str(k, 0);
    struct value out = value_list(k->c->arena, V_LIST);
    if (!sep || !spend_search(k, sep)) return nothing();
    if (sep->len == 0) return jinja_fail(k->c, k->at, "empty separator");
    size_t end = s->len, found;
    while (most-- != 0 && (found = find_last(s, 0, end, sep)) != SIZE_MAX && jinja_spend(k->c, 1)) {
        add_part(k, out, found + sep->len, end);
        end = found;
    }
    return reversed(add_part(k, out, 0, end));
}

static bool ends_line(uint32_t cp) {
    return (cp >= 0x0a && cp <= 0x0d) || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 || cp == 0x2028 ||
           cp == 0x2029;
}

size_t jinja_str_line_end(const struct str *s, size_t at, size_t *next) {
    for (size_t n; at < s->len; at += n) {
        uint32_t cp;
        n = char_at(s, at, &cp);
        if (!ends_line(cp)) continue;
        *next = at + n;
        if (cp == '\r' && *next < s->len && s->data[*next] == '\n') ++*next;
        return at;
    }
    *next = s->len;
    return s->len;
}

static struct value str_splitlines(struct call *k) {
    const struct str *s = k->self.u.s;
    struct value out = value_list(k->c->arena, V_LIST);
    bool keep = jinja_arg_bool(k, 0, false);
    for (size_t at = 0, next; at < s->len && jinja_spend(k->c, 1); at = next) {
        size_t end = jinja_str_line_end(s, at, &next);
        add_part(k, out, at, keep ? next : end);
    }
    return out;
}

static struct value three(struct call *k, size_t a, size_t b, bool from_right) {
    size_t len = k->self.u.s->len;
    struct value out = value_list(k->c->arena, V_TUPLE);
    if (a == SIZE_MAX) a = b = from_right ? 0 : len;
    add_part(k, out, 0, a);
    add_part(k, out, a, b);
    return add_part(k, out, b, len);
}

static struct value partition(struct call *k, bool from_right) {
    const struct str *s = k->self.u.s, *sep = arg_part(k, 0);
    if (!sep || !spend_search(k, sep)) return nothing();
    if (sep->len == 0) return jinja_fail(k->c, k->at, "empty separator");
    size_t at = from_right ? find_last(s, 0, s->len, sep) : find_first(s, 0, s->len, sep);
    return three(k, at, at + sep->len, from_right);
}

static struct value str_partition(struct call *k) {
    return partition(k, false);
}

static struct value str_rpartition(struct call *k) {
    return partition(k, true);
}

/* ---- find ------------------------------------------------------------------------------------ */

/* Bytes of the slice that the arguments i and i + 1 describe; false: it is outside of the string.
 */
static bool arg_slice(struct call *k, int i, size_t *from, size_t *to) {
    const struct str *s = k->self.u.s;
    int64_t n = (int64_t)s->n_chars;
    int64_t a = jinja_arg_given(k, i) ? jinja_arg_int(k, i, 0) : 0;
    int64_t b = jinja_arg_given(k, i + 1) ? jinja_arg_int(k, i + 1, 0) : n;
    if (a < 0) a = a + n < 0 ? 0 : a + n;
    if (b < 0) b = b + n < 0 ? 0 : b + n;
    if (b > n) b = n;
    *from = str_offset(s, (size_t)a);
    *to = str_offset(s, (size_t)b);
    return a <= b;
}

static int64_t search(struct call *k, bool last) {
    const struct str *s = k->self.u.s, *what = jinja_arg_str(k, 0);
    size_t from, to, at, chars = 0;
    if (!what || !spend_search(k, what) || !arg_slice(k, 1, &from, &to)) return -1;
    at = last ? find_last(s, from, to, what) : find_first(s, from, to, what);
    if (at == SIZE_MAX) return -1;
    for (size_t i = 0; i < at; i++) chars += ((unsigned char)s->data[i] & 0xc0) != 0x80;
    return (int64_t)chars;
}

static struct value str_find(struct call *k) {
    return value_int(search(k, false));
}

static struct value str_rfind(struct call *k) {
    return value_int(search(k, true));
}

static struct value str_index(struct call *k) {
    int64_t at = search(k, false);
    return at < 0 ? jinja_fail(k->c, k->at, "substring not found") : value_int(at);
}

static struct value str_rindex(struct call *k) {
    int64_t at = search(k, true);
    return at < 0 ? jinja_fail(k->c, k->at, "substring not found") : value_int(at);
}

static struct value str_count(struct call *k) {
    const struct str *s = k->self.u.s, *what = jinja_arg_str(k, 0);
    size_t from, to;
    int64_t n = 0;
    if (!what || !spend_search(k, what) || !arg_slice(k, 1, &from, &to)) return value_int(0);
    if (what->len == 0) {
        for (; from < to; from++) n += ((unsigned char)s->data[from] & 0xc0) != 0x80;
        return value_int(n + 1);
    }
    while ((from = find_first(s, from, to, what)) != SIZE_MAX) {
        from += what->len;
        n++;
    }
    return value_int(n);
}

static bool affix(struct call *k, struct value v, bool end, bool *wrong) {
    const struct str *s = k->self.u.s;
    size_t from, to;
    *wrong = v.type != V_STR;
    if (*wrong || !arg_slice(k, 1, &from, &to) || v.u.s->len > to - from) return false;
    return memcmp(s->data + (end ? to - v.u.s->len : from), v.u.s->data, v.u.s->len) == 0;
}

static struct value has_affix(struct call *k, bool end) {
    struct value v = k->arg[0];
    bool wrong = false, found = false;
    if (v.type == V_UNDEFINED) return jinja_fail_undefined(k->c, k->at, v);
    if (v.type == V_TUPLE) {
        for (size_t i = 0; i < v.u.list->n && !found && !wrong && jinja_spend(k->c, 1); i++) {
            found = affix(k, v.u.list->items[i], end, &wrong);
        }
    } else {
        found = affix(k, v, end, &wrong);
    }
    if (wrong) {
        return jinja_fail(k->c, k->at, "%s first arg must be str or a tuple of str, not %s",
                          end ? "endswith" : "startswith", value_type_name(v));
    }
    return value_bool(found);
}

static struct value str_startswith(struct call *k) {
    return has_affix(k, false);
}

static struct value str_endswith(struct call *k) {
    return has_affix(k, true);
}

/* ---- replace, join --------------------------------------------------------------------------- */

static struct value replace(struct call *k, const struct str *old, const struct str *new,
                            int64_t most) {
    const struct str *s = k->self.u.s;
    struct builder b;
    build_begin(&b, k->c->arena);
    size_t at = 0, found = 0;
    while (most-- != 0 && jinja_spend(k->c, 1) &&
           (found = find_first(s, old->len ? at : found, s->len, old)) != SIZE_MAX) {
        build_slice(&b, s, at, found);
        build_str(&b, new);
        at = found + old->len;
        if (old->len > 0) continue;
        uint32_t cp; // nothing is found before each character and at the end
        if (found >= s->len) break;
        found += char_at(s, found, &cp);
    }
    build_slice(&b, s, at, s->len);
    struct value out = value_str(build_end(&b));
    out.safe = k->self.safe;
    return out;
}

struct value jinja_str_replace(struct call *k) {
    const struct str *old = arg_part(k, 0), *new = arg_part(k, 1);
    int64_t most = jinja_arg_int(k, 2, -1);
    if (!old || !new || !spend_search(k, old)) return nothing();
    return replace(k, old, new, most);
}

static struct value str_join(struct call *k) {
    struct iterator *it = jinja_iterate(k->c, k->at, k->arg[0]);
    struct builder b;
    struct value v;
    build_begin(&b, k->c->arena);
    for (size_t i = 0; it && jinja_iterator_next(k->c, it, &v); i++) {
        if (k->self.safe) v = jinja_escape_html(k->c, v);
        if (v.type != V_STR) {
            return jinja_fail(k->c, k->at, "sequence item %zu: expected str instance, %s found", i,
                              value_type_name(v));
        }
        if (i > 0) build_str(&b, k->self.u.s);
        jinja_write_text(k->c, &b, v);
    }
    v = value_str(build_end(&b));
    v.safe = k->self.safe;
    return v;
}

/* ---- padding --------------------------------------------------------------------------------- */

static struct value pad(struct call *k, int64_t left, int64_t right, const struct str *fill) {
    struct builder b;
    build_begin(&b, k->c->arena);
    for (int64_t i = 0; i < left && jinja_spend(k->c, 1); i++) build_str(&b, fill);
    build_str(&b, k->self.u.s);
    for (int64_t i = 0; i < right && jinja_spend(k->c, 1); i++) build_str(&b, fill);
    struct value v = value_str(build_end(&b));
    v.safe = k->self.safe;
    return v;
}

/* side: -1 the text to the left, 1 to the right, 0 in the middle. */
static struct value justify(struct call *k, int side) {
    static const struct str space = {.data = " ", .len = 1, .n_chars = 1};
    int64_t width = jinja_arg_int(k, 0, 80), n = width - (int64_t)k->self.u.s->n_chars;
    const struct str *fill = k->arg[1].type == V_ABSENT ? &space : jinja_arg_str(k, 1);
    if (!fill || n <= 0) return k->self;
    if (fill->n_chars != 1) {
        return jinja_fail(k->c, k->at, "The fill character must be exactly one character long");
    }
    int64_t left = side < 0 ? 0 : side > 0 ? n : n / 2 + (n & width & 1);
    return pad(k, left, n - left, fill);
}

static struct value str_ljust(struct call *k) {
    return justify(k, -1);
}

static struct value str_rjust(struct call *k) {
    return justify(k, 1);
}

struct value jinja_str_center(struct call *k) {
    return justify(k, 0);
}

static struct value str_zfill(struct call *k) {
    const struct str *s = k->self.u.s;
    int64_t n = jinja_arg_int(k, 0, 0) - (int64_t)s->n_chars;
    if (n <= 0) return k->self;
    struct builder b;
    build_begin(&b, k->c->arena);
    size_t sign = s->len > 0 && (s->data[0] == '-' || s->data[0] == '+');
    build_slice(&b, s, 0, sign);
    for (int64_t i = 0; i < n && jinja_spend(k->c, 1); i++) build_text(&b, "0", false);
    build_slice(&b, s, sign, s->len);
    return value_str(build_end(&b));
}

static struct value str_expandtabs(struct call *k) {
    const struct str *s = k->self.u.s;
    int64_t size = jinja_arg_int(k, 0, 8), column = 0;
    struct builder b;
    build_begin(&b, k->c->arena);
    for (size_t i = 0, n; i < s->len && jinja_spend(k->c, 1); i += n) {
        uint32_t cp;
        n = char_at(s, i, &cp);
        if (cp != '\t') {
            build_slice(&b, s, i, i + n);
            column = cp == '\n' || cp == '\r' ? 0 : column + 1;
            continue;
        }
        int64_t spaces = size > 0 ? size - column % size : 0;
        for (int64_t j = 0; j < spaces && jinja_spend(k->c, 1); j++) {
            build_text(&b, " ", str_is_input(s, i));
        }
        column += spaces;
    }
    return value_str(build_end(&b));
}

/* ---- case ------------------------------------------------------------------------------------ */

static struct value str_lower(struct call *k) {
    return jinja_change_case(k->c, k->self, LOWER, LOWER);
}

static struct value str_upper(struct call *k) {
    return jinja_change_case(k->c, k->self, UPPER, UPPER);
}

static struct value str_capitalize(struct call *k) {
    return jinja_change_case(k->c, k->self, TITLE, LOWER);
}

static struct value str_swapcase(struct call *k) {
    const struct str *s = k->self.u.s;
    struct builder b;
    build_begin(&b, k->c->arena);
    for (size_t i = 0, n; i < s->len && jinja_spend(k->c, 1); i += n) {
        uint32_t cp;
        n = char_at(s, i, &cp);
        jinja_build_recased(&b, s, i, jinja_is_lower(cp) ? UPPER : LOWER);
    }
    return value_str(build_end(&b));
}

static struct value str_title(struct call *k) {
    const struct str *s = k->self.u.s;
    struct builder b;
    build_begin(&b, k->c->arena);
    bool inside = false; // of a word
    for (size_t i = 0, n; i < s->len && jinja_spend(k->c, 1); i += n) {
        uint32_t cp;
        n = char_at(s, i, &cp);
        jinja_build_recased(&b, s, i, inside ? LOWER : TITLE);
        inside = jinja_is_upper(cp) || jinja_is_lower(cp);
    }
    struct value v = value_str(build_end(&b));
    v.safe = k->self.safe;
    return v;
}

/* ---- kinds ----------------------------------------------------------------------------------- */

static bool is_alpha(uint32_t cp) {
    return jinja_char_class(cp) == LETTER_CHAR;
}

static bool is_digit(uint32_t cp) {
    return cp < 0x80 ? cp >= '0' && cp <= '9' : jinja_is_decimal(cp);
}

static bool is_numeric(uint32_t cp) {
    return jinja_char_class(cp) == DIGIT_CHAR;
}

static bool is_alnum(uint32_t cp) {
    return is_alpha(cp) || is_numeric(cp);
}

static bool is_ascii(uint32_t cp) {
    return cp < 0x80;
}

static struct value all_are(struct call *k, bool (*is)(uint32_t cp), bool when_empty) {
    const struct str *s = k->self.u.s;
    if (s->len == 0) return value_bool(when_empty);
    for (size_t i = 0, n; i < s->len && jinja_spend(k->c, 1); i += n) {
        uint32_t cp;
        n = char_at(s, i, &cp);
        if (!is(cp)) return value_bool(false);
    }
    return value_bool(true);
}

static struct value str_isalpha(struct call *k) {
    return all_are(k, is_alpha, false);
}

static struct value str_isdigit(struct call *k) {
    return all_are(k, is_digit, false);
}

static struct value str_isnumeric(struct call *k) {
    return all_are(k, is_numeric, false);
}

static struct value str_isalnum(struct call *k) {
    return all_are(k, is_alnum, false);
}

static struct value str_isascii(struct call *k) {
    return all_are(k, is_ascii, true);
}

static struct value str_isspace(struct call *k) {
    return all_are(k, jinja_is_space, false);
}

static struct value str_isprintable(struct call *k) {
    return all_are(k, jinja_is_printable, true);
}

/* Some letter has the case, none the other. */
static struct value one_case(struct call *k, bool (*is)(uint32_t), bool (*is_not)(uint32_t)) {
    const struct str *s = k->self.u.s;
    bool found = false;
    for (size_t i = 0, n; i < s->len && jinja_spend(k->c, 1); i += n) {
        uint32_t cp;
        n = char_at(s, i, &cp);
        if (is_not(cp)) return value_bool(false);
        found = found || is(cp);
    }
    return value_bool(found);
}

struct value jinja_str_islower(struct call *k) {
    return one_case(k, jinja_is_lower, jinja_is_upper);
}

struct value jinja_str_isupper(struct call *k) {
    return one_case(k, jinja_is_upper, jinja_is_lower);
}

static struct value str_istitle(struct call *k) {
    const struct str *s = k->self.u.s;
    bool inside = false, found = false;
    for (size_t i = 0, n; i < s->len && jinja_spend(k->c, 1); i += n) {
        uint32_t cp;
        n = char_at(s, i, &cp);
        if ((jinja_is_upper(cp) && inside) || (jinja_is_lower(cp) && !inside))
            return value_bool(false);
        inside = jinja_is_upper(cp) || jinja_is_lower(cp);
        found = found || inside;
    }
    return value_bool(found);
}

static struct value str_format(struct call *k) {
    return jinja_format_braces(k->c, k->at, k->self.u.s, k->all);
}

const struct builtin jinja_str_methods[] = {
    {"capitalize", str_capitalize, ""},
    {"casefold", str_lower, ""},
    {"center", jinja_str_center, "/width fillchar?"},
    {"count", str_count, "/sub start? end?"},
    {"endswith", str_endswith, "/suffix start? end?"},
    {"expandtabs", str_expandtabs, "tabsize?"},
    {"find", str_find, "/sub start? end?"},
    {"format", str_format, "*"},
    {"index", str_index, "/sub start? end?"},
    {"isalnum", str_isalnum, ""},
    {"isalpha", str_isalpha, ""},
    {"isascii", str_isascii, ""},
    {"isdecimal", str_isdigit, ""},
    {"isdigit", str_isdigit, ""},
    {"islower", jinja_str_islower, ""},
    {"isnumeric", str_isnumeric, ""},
    {"isprintable", str_isprintable, ""},
    {"isspace", str_isspace, ""},
    {"istitle", str_istitle, ""},
    {"isupper", jinja_str_isupper, ""},
    {"join", str_join, "/iterable"},
    {"ljust", str_ljust, "/width fillchar?"},
    {"lower", str_lower, ""},
    {"lstrip", str_lstrip, "/chars?"},
    {"partition", str_partition, "/sep"},
    {"removeprefix", str_removeprefix, "/prefix"},
    {"removesuffix", str_removesuffix, "/suffix"},
    {"replace", jinja_str_replace, "/old new count?"},
    {"rfind", str_rfind, "/sub start? end?"},
    {"rindex", str_rindex, "/sub start? end?"},
    {"rjust", str_rjust, "/width fillchar?"},
    {"rpartition", str_rpartition, "/sep"},
    {"rsplit", str_rsplit, "sep? maxsplit?"},
    {"rstrip", str_rstrip, "/chars?"},
    {"split", str_split, "sep? maxsplit?"},
    {"splitlines", str_splitlines, "keepends?"},
    {"startswith", str_startswith, "/prefix start? end?"},
    {"strip", jinja_str_strip, "/chars?"},
    {"swapcase", str_swapcase, ""},
    {"title", str_title, ""},
    {"upper", str_upper, ""},
    {"zfill", str_zfill, "/width"},
    {NULL, NULL, NULL},
};
