/* How values become text, and what is known of characters: Python's str and repr, escaping, case.
 */
#include "jinja_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "pretokenize.h"
#include "unicode_case.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- characters ------------------------------------------------------------------------------ */

bool jinja_is_space(uint32_t cp) {
    if (cp < 0x80) return cp == ' ' || (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x1f);
    return unicode_category(cp) == UNICODE_WHITE_SPACE;
}

enum char_class jinja_char_class(uint32_t cp) {
    switch (unicode_category(cp)) {
    case UNICODE_LETTER:
        return LETTER_CHAR;
    case UNICODE_MARK:
        return MARK_CHAR;
    case UNICODE_NUMBER:
        return DIGIT_CHAR;
    default:
        return OTHER_CHAR;
    }
}

bool jinja_is_word(uint32_t cp) {
    if (cp < 0x80) {
        return cp == '_' || (cp >= '0' && cp <= '9') || ((cp | 32) >= 'a' && (cp | 32) <= 'z');
    }
    return jinja_char_class(cp) != OTHER_CHAR;
}

bool jinja_is_printable(uint32_t cp) {
    if (cp < 0x7f) return cp >= 0x20;
    enum unicode_category category = unicode_category(cp);
    return category != UNICODE_OTHER && category != UNICODE_WHITE_SPACE;
}

static const struct case_run *find_run(const struct case_run *runs, size_t n, uint32_t cp) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (runs[mid].last < cp)
            low = mid + 1;
        else
            high = mid;
    }
    bool found = low < n && runs[low].first <= cp &&
                 (cp - runs[low].first) % (uint32_t)runs[low].stride == 0;
    return found ? &runs[low] : NULL;
}

bool jinja_is_decimal(uint32_t cp) {
    for (size_t i = 0; i < COUNT(decimal_zeros) && decimal_zeros[i] <= cp; i++) {
        if (cp - decimal_zeros[i] < 10) return true;
    }
    return false;
}

bool jinja_is_upper(uint32_t cp) {
    return find_run(is_upper_runs, COUNT(is_upper_runs), cp) != NULL;
}

bool jinja_is_lower(uint32_t cp) {
    return find_run(is_lower_runs, COUNT(is_lower_runs), cp) != NULL;
}

static bool build_special(struct builder *b, const struct case_special *list, size_t n, uint32_t cp,
                          bool input) {
    for (size_t i = 0; i < n && list[i].cp <= cp; i++) {
        if (list[i].cp != cp) continue;
        for (int k = 0; k < 3 && list[i].to[k]; k++) build_char(b, list[i].to[k], input);
        return true;
    }
    return false;
}

static void build_cased(struct builder *b, uint32_t cp, enum letter_case to, bool input) {
    const struct case_run *run;
    if (to == LOWER) {
        run = find_run(lower_runs, COUNT(lower_runs), cp);
        if (cp == 0x130) { // the only one with two: i and a dot above
            build_char(b, 'i', input);
            cp = 0x307;
        }
    } else {
        if (cp >= 0x80 &&
            ((to == TITLE && build_special(b, title_special, COUNT(title_special), cp, input)) ||
             build_special(b, upper_special, COUNT(upper_special), cp, input))) {
            return;
        }
        run = find_run(upper_runs, COUNT(upper_runs), cp);
    }
    build_char(b, run ? (uint32_t)((int32_t)cp + run->delta) : cp, input);
}

/* Whether a letter that has a case stands there; marks and the like are looked through. */
static bool cased_beside(const struct str *s, size_t at, int step) {
    for (;;) {
        if (step < 0) {
            if (at == 0) return false;
            do at--;
            while (((unsigned char)s->data[at] & 0xc0) == 0x80);
        }
        if (at >= s->len) return false;
        size_t n;
        uint32_t cp = utf8_at(s->data, at, &n);
        if (jinja_is_upper(cp) || jinja_is_lower(cp)) return true;
        bool ignored =
            jinja_char_class(cp) == MARK_CHAR || (cp < 0x80 && cp && strchr("'.:^`", (int)cp));
        if (!ignored) return false;
        if (step > 0) at += n;
    }
}

void jinja_build_recased(struct builder *b, const struct str *s, size_t at, enum letter_case to) {
    size_t n;
    uint32_t cp = utf8_at(s->data, at, &n);
    bool input = str_is_input(s, at);
    // A small sigma at the end of a word is written differently.
    if (cp == 0x3a3 && to == LOWER && cased_beside(s, at, -1) && !cased_beside(s, at + n, 1))
        build_char(b, 0x3c2, input);
    else
        build_cased(b, cp, to, input);
}

struct value jinja_change_case(struct context *c, struct value s, enum letter_case first,
                               enum letter_case rest) {
    struct builder b;
    build_begin(&b, c->arena);
    jinja_spend(c, s.u.s->len / 2);
    for (size_t i = 0, n; i < s.u.s->len; i += n) {
        utf8_at(s.u.s->data, i, &n);
        jinja_build_recased(&b, s.u.s, i, i == 0 ? first : rest);
    }
    s.u.s = build_end(&b);
    return s;
}

/* ---- repr ------------------------------------------------------------------------------------ */

static void repr_char(struct builder *b, uint32_t cp, char quote, bool input) {
    char text[16];
    if (cp == '\\' || cp == (uint32_t)quote)
        snprintf(text, sizeof text, "\\%c", (char)cp);
    else if (cp == '\n' || cp == '\r' || cp == '\t')
        snprintf(text, sizeof text, "\\%c", cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't');
    else if (cp < 0x100)
        snprintf(text, sizeof text, "\\x%02" PRIx32, cp);
    else
        snprintf(text, sizeof text, cp < 0x10000 ? "\\u%04" PRIx32 : "\\U%08" PRIx32, cp);
    build_text(b, text, input);
}

static void repr_string(struct builder *b, struct value v) {
    const struct str *s = v.u.s;
    bool single = s->len > 0 && memchr(s->data, '\'', s->len);
    bool twice = s->len > 0 && memchr(s->data, '"', s->len);
    char quote[2] = {single && !twice ? '"' : '\''};
    bool input = !str_is_own(s);
    if (v.safe) build_text(b, "Markup(", input);
    build_text(b, quote, input);
    size_t plain = 0;
    for (size_t i = 0, n; i < s->len; i += n) {
        uint32_t cp = utf8_at(s->data, i, &n);
        if (cp != '\\' && cp != (uint32_t)quote[0] && jinja_is_printable(cp)) continue;
        build_slice(b, s, plain, i);
        repr_char(b, cp, quote[0], str_is_input(s, i));
        plain = i + n;
    }
    build_slice(b, s, plain, s->len);
    build_text(b, quote, input);
    if (v.safe) build_text(b, ")", input);
}

static void repr_items(struct context *c, struct builder *b, struct value v) {
    const struct list *list = v.u.list;
    bool tuple = v.type == V_TUPLE;
    build_text(b, tuple ? "(" : "[", v.input);
    for (size_t i = 0; i < list->n && jinja_spend(c, 1); i++) {
        if (i > 0) build_text(b, ", ", v.input);
        jinja_write_repr(c, b, list->items[i]);
    }
    build_text(b, tuple ? (list->n == 1 ? ",)" : ")") : "]", v.input);
}

static void repr_dict(struct context *c, struct builder *b, struct value v) {
    const struct dict *d = v.u.dict;
    build_text(b, "{", v.input);
    for (size_t i = 0; i < d->n && jinja_spend(c, 1); i++) {
        if (i > 0) build_text(b, ", ", v.input);
        jinja_write_repr(c, b, d->pairs[i].key);
        build_text(b, ": ", v.input);
        jinja_write_repr(c, b, d->pairs[i].value);
    }
    build_text(b, "}", v.input);
}

static void repr_view(struct context *c, struct builder *b, const struct view *view) {
    static const char *const names[] = {"dict_keys([", "dict_values([", "dict_items(["};
    bool input = view->dict.input;
    build_text(b, names[view->kind], input);
    const struct dict *d = view->dict.u.dict;
    for (size_t i = 0; i < d->n && jinja_spend(c, 1); i++) {
        if (i > 0) build_text(b, ", ", input);
        if (view->kind == ITEMS) build_text(b, "(", input);
        if (view->kind != VALUES) jinja_write_repr(c, b, d->pairs[i].key);
        if (view->kind == ITEMS) build_text(b, ", ", input);
        if (view->kind != KEYS) jinja_write_repr(c, b, d->pairs[i].value);
        if (view->kind == ITEMS) build_text(b, ")", input);
    }
    build_text(b, "])", input);
}

static void repr_made_here(struct context *c, struct builder *b, struct value v) {
    char text[96];
    const struct range *r = v.u.p;
    const struct loop *loop = v.u.p;
    const struct macro *m = v.u.p;
    switch (v.type) {
    case V_RANGE:
        snprintf(text, sizeof text, "range(%" PRId64 ", %" PRId64, r->start,
                 r->start + r->n * r->step);
        build_text(b, text, false);
        if (r->step != 1) snprintf(text, sizeof text, ", %" PRId64 ")", r->step);
        build_text(b, r->step != 1 ? text : ")", false);
        break;
    case V_NAMESPACE:
        build_text(b, "<Namespace ", v.input);
        if (c->depth < JINJA_MAX_DEPTH) { // it may hold itself
            c->depth++;
            repr_dict(c, b, v);
            c->depth--;
        } else {
            jinja_fail(c, NULL, "a namespace that is nested too deeply");
        }
        build_text(b, ">", v.input);
        break;
    case V_MACRO:
        build_text(b, "<Macro ", false);
        if (m->name)
            repr_string(b, value_str(m->name));
        else
            build_text(b, "anonymous", false);
        build_text(b, ">", false);
        break;
    case V_LOOP:
        snprintf(text, sizeof text, "<LoopContext %" PRId64 "/%" PRId64 ">", loop->index0 + 1,
                 jinja_length_of(c, v));
        build_text(b, text, false);
        break;
    default:
        snprintf(text, sizeof text, "<%s object>", value_type_name(v));
        build_text(b, text, false);
    }
}

void jinja_write_repr(struct context *c, struct builder *b, struct value v) {
    char text[40];
    if (!jinja_spend(c, v.type == V_STR ? v.u.s->len / 2 : value_weight(v))) return;
    switch (v.type) {
    case V_UNDEFINED:
        build_text(b, "Undefined", false);
        break;
    case V_NONE:
    case V_ABSENT:
        build_text(b, "None", v.input);
        break;
    case V_BOOL:
        build_text(b, v.u.b ? "True" : "False", v.input);
        break;
    case V_INT:
        snprintf(text, sizeof text, "%" PRId64, v.u.i);
        build_text(b, text, v.input);
        break;
    case V_BIG:
        build_str(b, v.u.s);
        break;
    case V_FLOAT:
        float_text(v.u.f, text);
        build_text(b, text, v.input);
        break;
    case V_STR:
        repr_string(b, v);
        break;
    case V_LIST:
    case V_TUPLE:
        repr_items(c, b, v);
        break;
    case V_DICT:
        repr_dict(c, b, v);
        break;
    case V_VIEW:
        repr_view(c, b, v.u.p);
        break;
    default:
        repr_made_here(c, b, v);
    }
}

void jinja_write_text(struct context *c, struct builder *b, struct value v) {
    if (v.type == V_UNDEFINED) return;
    if (v.type == V_STR) {
        if (jinja_spend(c, v.u.s->len / 64)) build_str(b, v.u.s);
    } else {
        jinja_write_repr(c, b, v);
    }
}

const struct str *jinja_text_of(struct context *c, struct value v) {
    struct builder b;
    if (v.type == V_STR) return v.u.s;
    build_begin(&b, c->arena);
    jinja_write_text(c, &b, v);
    return build_end(&b);
}

const struct str *jinja_repr_of(struct context *c, struct value v) {
    struct builder b;
    build_begin(&b, c->arena);
    jinja_write_repr(c, &b, v);
    return build_end(&b);
}

struct value jinja_soft_str(struct context *c, struct value v) {
    return v.type == V_STR ? v : value_str(jinja_text_of(c, v));
}

struct value jinja_escape_html(struct context *c, struct value v) {
    static const char special[] = "&<>'\"";
    static const char *const escaped[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    v = jinja_soft_str(c, v);
    if (v.safe) return v;
    struct builder b;
    build_begin(&b, c->arena);
    size_t plain = 0;
    jinja_spend(c, v.u.s->len / 16);
    for (size_t i = 0; i < v.u.s->len; i++) {
        const char *at = v.u.s->data[i] ? strchr(special, v.u.s->data[i]) : NULL;
        if (!at) continue;
        build_slice(&b, v.u.s, plain, i);
        build_text(&b, escaped[at - special], str_is_input(v.u.s, i));
        plain = i + 1;
    }
    build_slice(&b, v.u.s, plain, v.u.s->len);
    v.u.s = build_end(&b);
    v.safe = true;
    return v;
}
