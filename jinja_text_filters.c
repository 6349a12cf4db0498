/* Jinja's filters on text. */
#include "jinja_internal.h"

#include <stdio.h>
#include <string.h>

static struct value nothing(void) {
    return (struct value){0};
}

static struct value run_upper(struct call *k) {
    return jinja_change_case(k->c, jinja_soft_str(k->c, k->self), UPPER, UPPER);
}

static struct value run_lower(struct call *k) {
    return jinja_change_case(k->c, jinja_soft_str(k->c, k->self), LOWER, LOWER);
}

static struct value run_capitalize(struct call *k) {
    return jinja_change_case(k->c, jinja_soft_str(k->c, k->self), TITLE, LOWER);
}

static bool begins_word(uint32_t cp) {
    return jinja_is_space(cp) || cp == '-' || cp == '(' || cp == '{' || cp == '[' || cp == '<';
}

static struct value run_title(struct call *k) {
    struct value v = jinja_soft_str(k->c, k->self);
    struct builder b;
    build_begin(&b, k->c->arena);
    bool inside = false;
    for (size_t i = 0, n; i < v.u.s->len && jinja_spend(k->c, 1); i += n) {
        uint32_t cp = utf8_at(v.u.s->data, i, &n);
        jinja_build_recased(&b, v.u.s, i, inside ? LOWER : UPPER);
        inside = !begins_word(cp);
    }
    v.u.s = build_end(&b);
    return v;
}

static struct value run_trim(struct call *k) {
    k->self = jinja_soft_str(k->c, k->self);
    return jinja_str_strip(k);
}

static struct value run_center(struct call *k) {
    k->self = jinja_soft_str(k->c, k->self);
    k->arg[1].type = V_ABSENT;
    return jinja_str_center(k);
}

/* The filter makes strings of all it is given. */
static struct value run_replace(struct call *k) {
    k->self = value_str(jinja_text_of(k->c, k->self));
    for (int i = 0; i < 2; i++) k->arg[i] = value_str(jinja_text_of(k->c, k->arg[i]));
    if (!jinja_arg_given(k, 2)) k->arg[2].type = V_ABSENT;
    return jinja_str_replace(k);
}

static struct value run_indent(struct call *k) {
    static const struct str space = {.data = " ", .len = 1, .n_chars = 1};
    bool first = jinja_arg_bool(k, 1, false), blank = jinja_arg_bool(k, 2, false);
    bool text = k->arg[0].type == V_STR;
    int64_t width = text ? 1 : jinja_arg_int(k, 0, 4);
    const struct str *indent = text ? k->arg[0].u.s : &space;
    if (k->self.type == V_UNDEFINED) return jinja_fail_undefined(k->c, k->at, k->self);
    if (k->self.type != V_STR) {
        return jinja_fail(k->c, k->at, "unsupported operand type(s) for +=: '%s' and 'str'",
                          value_type_name(k->self));
    }
    const struct str *s = k->self.u.s;
    struct builder b;
    build_begin(&b, k->c->arena);
    bool more = true;
    for (size_t at = 0, next; more && jinja_spend(k->c, 1); at = next) {
        size_t end = jinja_str_line_end(s, at, &next);
        more = end < next; // what follows the last line end is a line, too
        if (at > 0) build_text(&b, "\n", str_is_input(s, at - 1));
        bool indented = at == 0 ? first : blank || end > at;
        for (int64_t i = 0; indented && i < width && jinja_spend(k->c, 1); i++)
            build_str(&b, indent);
        build_slice(&b, s, at, end);
    }
    struct value v = value_str(build_end(&b));
    v.safe = k->self.safe;
    return v;
}

static struct value run_truncate(struct call *k) {
    struct context *c = k->c;
    int64_t length = jinja_arg_int(k, 0, 255),
            leeway = jinja_arg_given(k, 3) ? jinja_arg_int(k, 3, 5) : 5;
    struct value end = k->arg[2].type == V_ABSENT ? value_text(c->arena, "...") : k->arg[2];
    int64_t n = jinja_length_of(c, k->self);
    if (n < 0 || end.type != V_STR) {
        return jinja_fail(c, k->at, "object of type '%s' has no len()", value_type_name(k->self));
    }
    if (length < (int64_t)end.u.s->n_chars) {
        return jinja_fail(c, k->at, "expected length >= %zu, got %lld", end.u.s->n_chars,
                          (long long)length);
    }
    if (leeway < 0)
        return jinja_fail(c, k->at, "expected leeway >= 0, got %lld", (long long)leeway);
    if (n <= length + leeway) return k->self;
    if (k->self.type != V_STR) return jinja_fail(c, k->at, "truncate takes a string");
    const struct str *s = k->self.u.s;
    size_t to = str_offset(s, (size_t)length - end.u.s->n_chars);
    if (!jinja_arg_bool(k, 1, false)) { // whole words, unless there is only one
        size_t space = to;
        while (space > 0 && s->data[space - 1] != ' ') space--;
        if (space > 0) to = space - 1;
    }
    return jinja_binary(c, k->at, T_ADD, jinja_part(c, k->self, 0, to), end);
}

static struct value run_wordcount(struct call *k) {
    const struct str *s = jinja_text_of(k->c, k->self);
    int64_t words = 0;
    bool inside = false;
    for (size_t i = 0, n; i < s->len && jinja_spend(k->c, 1); i += n) {
        uint32_t cp = utf8_at(s->data, i, &n);
        bool word = jinja_is_word(cp) && jinja_char_class(cp) != MARK_CHAR;
        words += word && !inside;
        inside = word;
    }
    return value_int(words);
}

static struct value run_safe(struct call *k) {
    struct value v = value_str(jinja_text_of(k->c, k->self));
    v.safe = true;
    return v;
}

static struct value run_escape(struct call *k) {
    return jinja_escape_html(k->c, k->self);
}

static struct value run_forceescape(struct call *k) {
    return jinja_escape_html(k->c, value_str(jinja_text_of(k->c, k->self)));
}

static struct value run_format(struct call *k) {
    struct value args = value_list(k->c->arena, V_TUPLE), dict = value_dict(k->c->arena);
    if (args.type != V_TUPLE || dict.type != V_DICT) return nothing();
    if (k->all->n > 0 && k->all->n_keywords > 0) {
        return jinja_fail(k->c, k->at,
                          "can't handle positional and keyword arguments at the same time");
    }
    for (size_t i = 0; i < k->all->n; i++) list_add(k->c->arena, args.u.list, k->all->items[i]);
    for (size_t i = 0; i < k->all->n_keywords; i++) {
        dict_set(k->c->arena, dict.u.dict, value_str(k->all->keywords[i].name),
                 k->all->keywords[i].value);
    }
    return jinja_format_percent(k->c, k->at, jinja_text_of(k->c, k->self),
                                k->all->n_keywords ? dict : args);
}

static void quote_url(struct call *k, struct builder *b, struct value v, bool query) {
    const struct str *s = jinja_text_of(k->c, v);
    for (size_t i = 0; i < s->len && jinja_spend(k->c, 1); i++) {
        unsigned char byte = (unsigned char)s->data[i];
        bool plain = byte < 0x80 && ((byte != 0 && strchr("_.-~", byte)) || jinja_is_word(byte));
        char text[8];
        snprintf(text, sizeof text, "%%%02X", byte);
        if (plain || (byte == '/' && !query))
            build_slice(b, s, i, i + 1);
        else
            build_text(b, query && byte == ' ' ? "+" : text, str_is_input(s, i));
    }
}

static struct value run_urlencode(struct call *k) {
    struct builder b;
    build_begin(&b, k->c->arena);
    struct view view = {ITEMS, k->self};
    struct value items = k->self, item;
    if (k->self.type == V_DICT) items = (struct value){.type = V_VIEW, .u.p = &view};
    if (k->self.type == V_STR || !jinja_is_iterable(k->self)) {
        quote_url(k, &b, k->self, false);
        return value_str(build_end(&b));
    }
    struct iterator *it = jinja_iterate(k->c, k->at, items);
    for (bool first = true; it && jinja_iterator_next(k->c, it, &item); first = false) {
        struct list *pair = jinja_list_of(k->c, k->at, item);
        if (!pair) return nothing();
        if (pair->n != 2) return jinja_fail(k->c, k->at, "urlencode takes pairs");
        if (!first) build_text(&b, "&", false);
        quote_url(k, &b, pair->items[0], true);
        build_text(&b, "=", false);
        quote_url(k, &b, pair->items[1], true);
    }
    return value_str(build_end(&b));
}

const struct builtin jinja_text_filters[] = {
    {"capitalize", run_capitalize, ""},
    {"center", run_center, "width?"},
    {"e", run_escape, ""},
    {"escape", run_escape, ""},
    {"forceescape", run_forceescape, ""},
    {"format", run_format, "*"},
    {"indent", run_indent, "width? first? blank?"},
    {"lower", run_lower, ""},
    {"replace", run_replace, "old new count?"},
    {"safe", run_safe, ""},
    {"title", run_title, ""},
    {"trim", run_trim, "chars?"},
    {"truncate", run_truncate, "length? killwords? end? leeway?"},
    {"upper", run_upper, ""},
    {"urlencode", run_urlencode, ""},
    {"wordcount", run_wordcount, ""},
    {NULL, NULL, NULL},
};
