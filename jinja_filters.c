/* Jinja's filters. What they do, and the order and names of their arguments, is Jinja2's; lists
 * that are only iterated over once there (generators) are so here. */
#include "jinja_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "elementary.h"
#include "json.h"

static struct value nothing(void) {
    return (struct value){0};
}

static struct value list_value(struct list *list) {
    return (struct value){.type = list ? V_LIST : V_UNDEFINED, .u.list = list};
}

/* As Python's generators: once through. */
static struct value once(struct context *c, struct list *list) {
    if (!list) return nothing();
    return jinja_iterator_value(jinja_iterate(c, NULL, list_value(list)));
}

/* ---- attributes ------------------------------------------------------------------------------ */

struct value jinja_get_path(struct context *c, const struct node *at, struct value item,
                            struct value path) {
    if (path.type == V_NONE || path.type == V_ABSENT) return item;
    if (path.type != V_STR) return jinja_get_item(c, at, item, path);
    const char *p = path.u.s->data, *end = p + path.u.s->len;
    do {
        const char *dot = memchr(p, '.', (size_t)(end - p));
        size_t n = (size_t)((dot ? dot : end) - p);
        bool number = n > 0 && n < 18;
        int64_t index = 0;
        for (size_t i = 0; i < n && number; i++) {
            number = p[i] >= '0' && p[i] <= '9';
            index = index * 10 + (p[i] - '0');
        }
        struct str *name = str_new(c->arena, p, n, false);
        if (!name) return nothing();
        item = jinja_get_item(c, at, item, number ? value_int(index) : value_str(name));
        p += n + 1;
    } while (p <= end && jinja_spend(c, 1));
    return item;
}

static struct value fold_case(struct context *c, struct value v, bool case_sensitive) {
    return v.type == V_STR && !case_sensitive ? jinja_change_case(c, v, LOWER, LOWER) : v;
}

/* ---- sorting --------------------------------------------------------------------------------- */

struct sorter {
    struct context *c;
    const struct node *at;
    bool reverse;
    struct value *keys, *items, *spare_keys, *spare_items;
};

/* Merge sort: stable, and it does not mind an order that makes no sense. */
static void sort_part(struct sorter *s, size_t from, size_t to) {
    if (to - from < 2 || !jinja_spend(s->c, 1)) return;
    size_t mid = from + (to - from) / 2, a = from, b = mid;
    sort_part(s, from, mid);
    sort_part(s, mid, to);
    for (size_t i = from; i < to; i++) {
        bool take_b = a == mid;
        if (a < mid && b < to) {
            int o = jinja_order(s->c, s->at, s->keys[b], s->keys[a]);
            take_b = s->reverse ? o > 0 : o < 0;
        }
        size_t from_at = take_b ? b++ : a++;
        s->spare_keys[i] = s->keys[from_at];
        s->spare_items[i] = s->items[from_at];
    }
    memcpy(s->keys + from, s->spare_keys + from, (to - from) * sizeof *s->keys);
    memcpy(s->items + from, s->spare_items + from, (to - from) * sizeof *s->items);
}

/* Sorts items by keys (n of each). */
static void sort_by(struct call *k, struct value *keys, struct value *items, size_t n,
                    bool reverse) {
    struct sorter s = {k->c, k->at, reverse, keys, items, NULL, NULL};
    s.spare_keys = arena_alloc(k->c->arena, 2 * n * sizeof *keys + 1);
    if (!s.spare_keys) return;
    s.spare_items = s.spare_keys + n;
    sort_part(&s, 0, n);
}

/* What is sorted by: an attribute, or several ("a,b"), which make a list. */
static struct value sort_key(struct call *k, struct value item, struct value attribute,
                             bool case_sensitive) {
    struct context *c = k->c;
    struct value key = value_list(c->arena, V_LIST);
    if (key.type != V_LIST) return key;
    const struct str *s = attribute.type == V_STR ? attribute.u.s : &str_empty;
    for (size_t from = 0, to; from <= s->len; from = to + 1) {
        for (to = from; to < s->len && s->data[to] != ',';) to++;
        struct value one = attribute.type == V_STR ? jinja_part(c, attribute, from, to) : attribute;
        one = jinja_get_path(c, k->at, item, one);
        list_add(c->arena, key.u.list, fold_case(c, one, case_sensitive));
    }
    return key;
}

static struct value *keys_of(struct call *k, const struct list *items, struct value attribute,
                             bool case_sensitive, bool several) {
    struct value *keys = arena_alloc(k->c->arena, items->n * sizeof *keys + 1);
    for (size_t i = 0; keys && i < items->n && jinja_spend(k->c, 1); i++) {
        keys[i] = several ? sort_key(k, items->items[i], attribute, case_sensitive)
                          : fold_case(k->c, jinja_get_path(k->c, k->at, items->items[i], attribute),
                                      case_sensitive);
    }
    return k->c->failed ? NULL : keys;
}

static struct value run_sort(struct call *k) {
    struct list *list = jinja_list_of(k->c, k->at, k->self);
    struct value *keys =
        list ? keys_of(k, list, k->arg[2], jinja_arg_bool(k, 1, false), true) : NULL;
    if (!keys) return nothing();
    sort_by(k, keys, list->items, list->n, jinja_arg_bool(k, 0, false));
    return list_value(list);
}

static struct value run_dictsort(struct call *k) {
    struct context *c = k->c;
    bool by_value = false;
    if (k->self.type == V_UNDEFINED) return jinja_fail_undefined(c, k->at, k->self);
    if (k->self.type != V_DICT) return jinja_fail(c, k->at, "dictsort takes a dict");
    if (k->arg[1].type == V_STR) by_value = str_is(k->arg[1].u.s, "value");
    if (k->arg[1].type != V_ABSENT && !by_value &&
        !(k->arg[1].type == V_STR && str_is(k->arg[1].u.s, "key"))) {
        return jinja_fail(c, k->at, "You can only sort by either \"key\" or \"value\"");
    }
    struct view view = {ITEMS, k->self};
    struct list *list = jinja_list_of(c, k->at, (struct value){.type = V_VIEW, .u.p = &view});
    if (!list) return nothing();
    struct value *keys = keys_of(k, list, value_int(by_value), jinja_arg_bool(k, 0, false), false);
    if (!keys) return nothing();
    sort_by(k, keys, list->items, list->n, jinja_arg_bool(k, 2, false));
    return list_value(list);
}

static struct value extreme(struct call *k, int sign) {
    struct list *list = jinja_list_of(k->c, k->at, k->self);
    if (!list) return nothing();
    if (list->n == 0) return jinja_undefined_hint(k->c, "No aggregated item, sequence was empty.");
    struct value *keys = keys_of(k, list, k->arg[1], jinja_arg_bool(k, 0, false), false);
    size_t best = 0;
    for (size_t i = 1; keys && i < list->n; i++) {
        if (jinja_order(k->c, k->at, keys[i], keys[best]) * sign > 0) best = i;
    }
    return keys ? list->items[best] : nothing();
}

static struct value run_min(struct call *k) {
    return extreme(k, -1);
}

static struct value run_max(struct call *k) {
    return extreme(k, 1);
}

static struct value group(struct context *c, struct value key, struct value items) {
    struct value g = value_list(c->arena, V_TUPLE);
    if (g.type != V_TUPLE || items.type != V_LIST) return nothing();
    list_add(c->arena, g.u.list, key);
    list_add(c->arena, g.u.list, items);
    g.u.list->group = g.u.list->n == 2;
    return g;
}

static struct value run_groupby(struct call *k) {
    struct context *c = k->c;
    struct list *list = jinja_list_of(c, k->at, k->self);
    struct value out = value_list(c->arena, V_LIST), items;
    bool case_sensitive = jinja_arg_bool(k, 2, false);
    struct value *keys = list ? keys_of(k, list, k->arg[0], true, false) : NULL;
    if (!keys || out.type != V_LIST) return nothing();
    for (size_t i = 0; i < list->n; i++) {
        if (keys[i].type == V_UNDEFINED && jinja_arg_given(k, 1)) keys[i] = k->arg[1];
        keys[i] = fold_case(c, keys[i], case_sensitive);
    }
    sort_by(k, keys, list->items, list->n, false);
    for (size_t i = 0; i < list->n && jinja_spend(c, 1); i++) {
        if (i == 0 || !jinja_equal(c, keys[i], keys[i - 1])) {
            struct value key = jinja_get_path(c, k->at, list->items[i], k->arg[0]);
            if (key.type == V_UNDEFINED && jinja_arg_given(k, 1)) key = k->arg[1];
            items = value_list(c->arena, V_LIST);
            // A group is filled before it is put into a tuple, which notes how deep it is.
            size_t end = i;
            while (end < list->n && items.type == V_LIST && jinja_equal(c, keys[end], keys[i])) {
                list_add(c->arena, items.u.list, list->items[end++]);
            }
            list_add(c->arena, out.u.list, group(c, key, items));
        }
    }
    return out;
}

static struct value run_unique(struct call *k) {
    struct context *c = k->c;
    struct list *list = jinja_list_of(c, k->at, k->self);
    struct value seen = value_dict(c->arena), out = value_list(c->arena, V_LIST);
    struct value *keys =
        list ? keys_of(k, list, k->arg[1], jinja_arg_bool(k, 0, false), false) : NULL;
    if (!keys || seen.type != V_DICT || out.type != V_LIST) return nothing();
    for (size_t i = 0; i < list->n && jinja_spend(c, 1); i++) {
        if (!jinja_can_be_key(c, k->at, keys[i])) return nothing();
        if (dict_find(seen.u.dict, keys[i])) continue;
        dict_set(c->arena, seen.u.dict, keys[i], value_none());
        list_add(c->arena, out.u.list, list->items[i]);
    }
    return once(c, out.u.list);
}

/* ---- map and select -------------------------------------------------------------------------- */

/* The arguments from `from` on, for a filter or test that is applied to each item. */
static struct actual rest_of(const struct actual *all, size_t from) {
    struct actual rest = *all;
    size_t skip = from < all->n ? from : all->n;
    if (skip > 0) rest.items += skip;
    rest.n -= skip;
    return rest;
}

static struct value chain(struct call *k, struct iterator *it) {
    struct iterator *inner = jinja_iterate(k->c, k->at, k->self);
    struct iterator *copy = arena_alloc(k->c->arena, sizeof *copy);
    if (!inner || !copy) return nothing();
    *copy = *it;
    copy->inner = inner;
    copy->depth = inner->depth + 1;
    copy->node = k->at;
    if (copy->depth > 64) return jinja_fail(k->c, k->at, "too many filters behind each other");
    return jinja_iterator_value(copy);
}

static const struct builtin *find_argument(struct call *k, size_t i, bool filter) {
    const char *what = filter ? "filter" : "test";
    struct value name = k->all->items[i];
    const struct builtin *b = NULL;
    if (name.type == V_STR) {
        b = filter ? jinja_find_filter(name.u.s) : jinja_find_builtin(jinja_tests, name.u.s);
    }
    const struct str *s = jinja_text_of(k->c, name);
    if (!b) {
        jinja_fail(k->c, k->at, "No %s named '%.*s'.", what, s->len < 60 ? (int)s->len : 60,
                   s->data);
    }
    return b;
}

static struct value run_map(struct call *k) {
    struct iterator it = {.kind = MAP};
    const struct actual *all = k->all;
    if (!jinja_truth(k->self)) return once(k->c, jinja_list_of(k->c, k->at, list_value(NULL)));
    if (all->n > 0) {
        it.builtin = find_argument(k, 0, true);
        it.args = rest_of(all, 1);
        return it.builtin ? chain(k, &it) : nothing();
    }
    for (size_t i = 0; i < all->n_keywords; i++) {
        const struct str *name = all->keywords[i].name;
        if (str_is(name, "attribute")) {
            it.by_attribute = true;
            it.attribute = all->keywords[i].value;
        } else if (str_is(name, "default")) {
            it.absent = all->keywords[i].value;
            it.has_default = it.absent.type != V_NONE;
        } else {
            return jinja_fail(k->c, k->at, "Unexpected keyword argument '%.*s'", (int)name->len,
                              name->data);
        }
    }
    if (!it.by_attribute) return jinja_fail(k->c, k->at, "map requires a filter argument");
    return chain(k, &it);
}

static struct value select_by(struct call *k, bool by_attribute, bool negated) {
    struct iterator it = {.kind = SELECT, .by_attribute = by_attribute, .negated = negated};
    size_t at = 0;
    if (!jinja_truth(k->self)) return once(k->c, jinja_list_of(k->c, k->at, list_value(NULL)));
    if (by_attribute) {
        if (k->all->n == 0) return jinja_fail(k->c, k->at, "Missing parameter for attribute name");
        it.attribute = k->all->items[at++];
    }
    if (at < k->all->n) {
        it.builtin = find_argument(k, at, false);
        if (!it.builtin) return nothing();
        it.args = rest_of(k->all, at + 1);
    }
    return chain(k, &it);
}

static struct value run_select(struct call *k) {
    return select_by(k, false, false);
}

static struct value run_reject(struct call *k) {
    return select_by(k, false, true);
}

static struct value run_selectattr(struct call *k) {
    return select_by(k, true, false);
}

static struct value run_rejectattr(struct call *k) {
    return select_by(k, true, true);
}

/* ---- lists ----------------------------------------------------------------------------------- */

static struct value run_length(struct call *k) {
    int64_t n = jinja_length_of(k->c, k->self);
    if (n >= 0) return value_int(n);
    return jinja_fail(k->c, k->at, "object of type '%s' has no len()", value_type_name(k->self));
}

static struct value run_first(struct call *k) {
    struct iterator *it = jinja_iterate(k->c, k->at, k->self);
    struct value v;
    if (!it) return nothing();
    if (jinja_iterator_next(k->c, it, &v)) return v;
    return jinja_undefined_hint(k->c, "No first item, sequence was empty.");
}

static struct value run_last(struct call *k) {
    if (k->self.type == V_ITERATOR) {
        return jinja_fail(k->c, k->at, "'generator' object is not reversible");
    }
    struct list *list = jinja_list_of(k->c, k->at, k->self);
    if (!list) return nothing();
    if (list->n > 0) {
        struct value last = list->items[list->n - 1];
        if (k->self.type == V_STR) last.safe = k->self.safe; // it is not reached by iteration
        return last;
    }
    return jinja_undefined_hint(k->c, "No last item, sequence was empty.");
}

static struct value run_list(struct call *k) {
    return list_value(jinja_list_of(k->c, k->at, k->self));
}

static struct value run_items(struct call *k) {
    struct view view = {ITEMS, k->self};
    if (k->self.type == V_UNDEFINED) return once(k->c, jinja_list_of(k->c, k->at, k->self));
    if (k->self.type != V_DICT)
        return jinja_fail(k->c, k->at, "Can only get item pairs from a mapping.");
    return once(k->c, jinja_list_of(k->c, k->at, (struct value){.type = V_VIEW, .u.p = &view}));
}

static struct value run_reverse(struct call *k) {
    struct value none = {.type = V_NONE}, back = value_int(-1);
    if (k->self.type == V_STR) return jinja_get_slice(k->c, k->at, k->self, none, none, back);
    struct list *list = jinja_list_of(k->c, k->at, k->self);
    struct iterator *it = list ? jinja_iterate(k->c, k->at, list_value(list)) : NULL;
    if (!it) return nothing();
    it->reversed = true;
    if (k->self.type != V_ITERATOR && k->self.type != V_UNDEFINED) return jinja_iterator_value(it);
    return list_value(jinja_list_of(k->c, k->at, jinja_iterator_value(it)));
}

static struct value run_join(struct call *k) {
    struct context *c = k->c;
    struct iterator *it = jinja_iterate(c, k->at, k->self);
    const struct str *between =
        k->arg[0].type == V_ABSENT ? &str_empty : jinja_text_of(c, k->arg[0]);
    struct builder b;
    struct value v;
    build_begin(&b, c->arena);
    for (bool first = true; it && jinja_iterator_next(c, it, &v); first = false) {
        if (jinja_arg_given(k, 1)) v = jinja_get_path(c, k->at, v, k->arg[1]);
        if (!first) build_str(&b, between);
        jinja_write_text(c, &b, v);
    }
    return value_str(build_end(&b));
}

static struct value run_sum(struct call *k) {
    struct iterator *it = jinja_iterate(k->c, k->at, k->self);
    struct value sum = k->arg[1].type == V_ABSENT ? value_int(0) : k->arg[1], v;
    if (sum.type == V_STR) return jinja_fail(k->c, k->at, "sum() can't sum strings");
    while (it && jinja_iterator_next(k->c, it, &v)) {
        if (jinja_arg_given(k, 0)) v = jinja_get_path(k->c, k->at, v, k->arg[0]);
        sum = jinja_binary(k->c, k->at, T_ADD, sum, v);
    }
    return sum;
}

static struct value run_batch(struct call *k) {
    struct context *c = k->c;
    struct iterator *it = jinja_iterate(c, k->at, k->self);
    int64_t size = jinja_arg_int(k, 0, 1);
    struct value out = value_list(c->arena, V_LIST), v;
    struct value row = value_list(c->arena, V_LIST);
    if (!it || out.type != V_LIST || row.type != V_LIST) return nothing();
    while (jinja_iterator_next(c, it, &v)) {
        if ((int64_t)row.u.list->n == size) {
            list_add(c->arena, out.u.list, row);
            row = value_list(c->arena, V_LIST);
            if (row.type != V_LIST) return nothing();
        }
        list_add(c->arena, row.u.list, v);
    }
    if (row.u.list->n > 0) {
        while (jinja_arg_given(k, 1) && (int64_t)row.u.list->n < size && jinja_spend(c, 1)) {
            list_add(c->arena, row.u.list, k->arg[1]);
        }
        list_add(c->arena, out.u.list, row);
    }
    return once(c, out.u.list);
}

static struct value run_slice(struct call *k) {
    struct context *c = k->c;
    struct list *list = jinja_list_of(c, k->at, k->self);
    int64_t slices = jinja_arg_int(k, 0, 1);
    struct value out = value_list(c->arena, V_LIST);
    if (!list || out.type != V_LIST) return nothing();
    if (slices == 0) return jinja_fail(c, k->at, "integer division or modulo by zero");
    size_t at = 0, n = (size_t)(slices < 0 ? 1 : slices);
    for (int64_t i = 0; i < slices && jinja_spend(c, 1); i++) {
        size_t size = list->n / n + ((size_t)i < list->n % n);
        struct value row = value_list(c->arena, V_LIST);
        for (size_t j = 0; row.type == V_LIST && j < size; j++) {
            list_add(c->arena, row.u.list, list->items[at++]);
        }
        if (row.type == V_LIST && jinja_arg_given(k, 1) && (size_t)i >= list->n % n) {
            list_add(c->arena, row.u.list, k->arg[1]);
        }
        list_add(c->arena, out.u.list, row);
    }
    return once(c, out.u.list);
}

static struct value run_attr(struct call *k) {
    const struct str *name = jinja_arg_str(k, 0);
    if (!name) return nothing();
    if (k->self.type == V_DICT && dict_find(k->self.u.dict, k->arg[0]) &&
        !jinja_find_builtin(jinja_dict_methods, name)) {
        return jinja_undefined_attribute(k->c, k->self, k->arg[0]); // attributes only, no entries
    }
    return jinja_get_attribute(k->c, k->at, k->self, name);
}

static struct value run_default(struct call *k) {
    bool absent =
        k->self.type == V_UNDEFINED || (jinja_arg_bool(k, 1, false) && !jinja_truth(k->self));
    if (!absent) return k->self;
    return k->arg[0].type == V_ABSENT ? value_str(&str_empty) : k->arg[0];
}

/* ---- numbers --------------------------------------------------------------------------------- */

static struct value run_abs(struct call *k) {
    if (k->self.type == V_FLOAT) return value_float(fabs(k->self.u.f));
    if (jinja_is_integer(k->self)) {
        struct value zero = value_int(0), v = value_int(jinja_as_integer(k->self));
        v.input = k->self.input;
        return v.u.i < 0 ? jinja_binary(k->c, k->at, T_SUB, zero, v) : v;
    }
    if (k->self.type == V_UNDEFINED) return jinja_fail_undefined(k->c, k->at, k->self);
    return jinja_fail(k->c, k->at, "bad operand type for abs(): '%s'", value_type_name(k->self));
}

/* The text without white space around it and underscores between digits, NUL-terminated; NULL if it
 * is longer than any number. */
static char *number_text(struct str s, char out[400]) {
    size_t n = 0, from = 0, to = s.len;
    while (from < to && jinja_is_space((unsigned char)s.data[from])) from++;
    while (to > from && jinja_is_space((unsigned char)s.data[to - 1])) to--;
    for (size_t i = from; i < to; i++) {
        bool between = i > from && i + 1 < to && s.data[i - 1] != '_';
        if (s.data[i] == '_' && between) continue;
        if (n == 399) return NULL;
        out[n++] = s.data[i];
    }
    out[n] = '\0';
    return n == 0 || strlen(out) != n ? NULL : out;
}

static bool parse_float(struct value v, double *out) {
    char text[400], *end;
    *out = 0;
    if (value_is_number(v)) *out = value_as_double(v);
    if (v.type != V_STR) return value_is_number(v);
    if (!number_text(*v.u.s, text) || strpbrk(text, "xX(")) return false;
    *out = strtod(text, &end);
    return end != text && *end == '\0';
}

static bool parse_int(struct value v, int base, int64_t *out) {
    char text[400], *end;
    if (!number_text(*v.u.s, text)) return false;
    const char *p = text + (*text == '-' || *text == '+');
    if (*p == '-' || *p == '+' || jinja_is_space((unsigned char)*p)) return false;
    if (base == 10 && p[0] == '0' && p[1] && strpbrk(p, "xXoObB")) return false;
    bool prefixed = p[0] == '0' && p[1] &&
                    ((base == 2 && (p[1] | 32) == 'b') || (base == 8 && (p[1] | 32) == 'o'));
    if (prefixed) p += 2;
    *out = strtoll(p, &end, base);
    if (*text == '-') *out = -*out;
    return end != p && *end == '\0' && *out != INT64_MAX;
}

static struct value run_int(struct call *k) {
    struct value absent = k->arg[0].type == V_ABSENT ? value_int(0) : k->arg[0], v = k->self;
    int64_t base = jinja_arg_int(k, 1, 10), i;
    double f;
    if (v.type == V_UNDEFINED) return jinja_fail_undefined(k->c, k->at, v);
    if (v.type == V_BIG) return v;
    bool known = jinja_is_integer(v);
    if (known) i = jinja_as_integer(v);
    if (!known && v.type == V_STR && base >= 2 && base <= 36) known = parse_int(v, (int)base, &i);
    if (!known) {
        if (!parse_float(v, &f) || isnan(f)) return absent;
        if (fabs(f) >= 0x1p63) return jinja_fail(k->c, k->at, "the number is beyond 64 bits");
        i = (int64_t)f;
    }
    struct value out = value_int(i);
    out.input = v.type == V_STR ? !str_is_own(v.u.s) : v.input;
    return out;
}

static struct value run_float(struct call *k) {
    double f;
    if (k->self.type == V_UNDEFINED) return jinja_fail_undefined(k->c, k->at, k->self);
    if (!parse_float(k->self, &f)) {
        return k->arg[0].type == V_ABSENT ? value_float(0) : k->arg[0];
    }
    struct value out = value_float(f);
    out.input = k->self.type == V_STR ? !str_is_own(k->self.u.s) : k->self.input;
    return out;
}

static struct value run_round(struct call *k) {
    int64_t precision = jinja_arg_int(k, 0, 0);
    const struct str *method = k->arg[1].type == V_ABSENT ? NULL : jinja_arg_str(k, 1);
    if (!value_is_number(k->self) || k->self.type == V_BIG) {
        if (k->self.type == V_UNDEFINED) return jinja_fail_undefined(k->c, k->at, k->self);
        return jinja_fail(k->c, k->at, "type %s doesn't define __round__ method",
                          value_type_name(k->self));
    }
    double f = value_as_double(k->self), scale = elementary_pow(10, (double)precision);
    if (precision < -300 || precision > 300) return jinja_fail(k->c, k->at, "cannot round to that");
    if (method && (str_is(method, "ceil") || str_is(method, "floor"))) {
        f = str_is(method, "ceil") ? ceil(f * scale) : floor(f * scale);
        return value_float(f / scale);
    }
    if (method && !str_is(method, "common")) {
        return jinja_fail(k->c, k->at, "method must be common, ceil or floor");
    }
    if (jinja_is_integer(k->self) && precision >= 0) return value_int(jinja_as_integer(k->self));
    if (precision >= 0) {
        char text[700]; // rounded as Python does it: exactly, ties to even
        snprintf(text, sizeof text, "%.*f", (int)precision, f);
        return value_float(strtod(text, NULL));
    }
    double unit = elementary_pow(10, (double)-precision);
    f = nearbyint(f / unit) * unit;
    return jinja_is_integer(k->self) ? value_int((int64_t)f) : value_float(f);
}

static struct value run_filesizeformat(struct call *k) {
    static const char *const units[] = {"k", "M", "G", "T", "P", "E", "Z", "Y"};
    double bytes, base = jinja_arg_bool(k, 0, false) ? 1024 : 1000, unit;
    char text[64];
    if (!parse_float(k->self, &bytes))
        return jinja_fail(k->c, k->at, "filesizeformat takes a number");
    if (bytes == 1) return value_text(k->c->arena, "1 Byte");
    if (bytes < base) {
        snprintf(text, sizeof text, "%.0f Bytes", trunc(bytes));
    } else {
        int i = 0;
        for (unit = base * base; i < 7 && bytes >= unit; i++) unit *= base;
        snprintf(text, sizeof text, "%.1f %s%sB", base * bytes / unit,
                 base == 1024 && i == 0 ? "K" : units[i], base == 1024 ? "i" : "");
    }
    struct builder b;
    build_begin(&b, k->c->arena);
    build_text(&b, text, k->self.input);
    return value_str(build_end(&b));
}

/* ---- json ------------------------------------------------------------------------------------ */

static struct value run_tojson(struct call *k) {
    struct context *c = k->c;
    struct json_style style = {.ascii = jinja_arg_bool(k, 0, false),
                               .sort_keys = jinja_arg_bool(k, 3, false)};
    struct builder b, spaces;
    build_begin(&b, c->arena);
    build_begin(&spaces, c->arena);
    if (jinja_arg_given(k, 1)) {
        style.indent = k->arg[1].type == V_STR ? k->arg[1].u.s : NULL;
        int64_t n = style.indent ? 0 : jinja_arg_int(k, 1, 0);
        for (int64_t i = 0; i < n && jinja_spend(c, 1); i++) build_text(&spaces, " ", false);
        if (!style.indent) style.indent = build_end(&spaces);
    }
    if (jinja_arg_given(k, 2)) {
        struct list *pair = jinja_list_of(c, k->at, k->arg[2]);
        if (!pair) return nothing();
        if (pair->n != 2 || pair->items[0].type != V_STR || pair->items[1].type != V_STR) {
            return jinja_fail(c, k->at, "separators must be two strings");
        }
        style.item_separator = pair->items[0].u.s;
        style.key_separator = pair->items[1].u.s;
    }
    struct error err = {0};
    if (jinja_spend(c, 8 * value_weight(k->self)) && json_write(&b, k->self, &style, &err) != 0 &&
        jinja_spend(c, 0)) {
        return jinja_fail(c, k->at, "%s", err.text);
    }
    return value_str(build_end(&b));
}

/* ---- the list -------------------------------------------------------------------------------- */

static struct value run_string(struct call *k) {
    return jinja_soft_str(k->c, k->self);
}

static const struct builtin filters[] = {
    {"abs", run_abs, ""},
    {"attr", run_attr, "name"},
    {"batch", run_batch, "linecount fill_with?"},
    {"count", run_length, ""},
    {"d", run_default, "default_value? boolean?"},
    {"default", run_default, "default_value? boolean?"},
    {"dictsort", run_dictsort, "case_sensitive? by? reverse?"},
    {"filesizeformat", run_filesizeformat, "binary?"},
    {"first", run_first, ""},
    {"float", run_float, "default?"},
    {"groupby", run_groupby, "attribute default? case_sensitive?"},
    {"int", run_int, "default? base?"},
    {"items", run_items, ""},
    {"join", run_join, "d? attribute?"},
    {"last", run_last, ""},
    {"length", run_length, ""},
    {"list", run_list, ""},
    {"map", run_map, "*"},
    {"max", run_max, "case_sensitive? attribute?"},
    {"min", run_min, "case_sensitive? attribute?"},
    {"reject", run_reject, "*"},
    {"rejectattr", run_rejectattr, "*"},
    {"reverse", run_reverse, ""},
    {"round", run_round, "precision? method?"},
    {"select", run_select, "*"},
    {"selectattr", run_selectattr, "*"},
    {"slice", run_slice, "slices fill_with?"},
    {"sort", run_sort, "reverse? case_sensitive? attribute?"},
    {"string", run_string, ""},
    {"sum", run_sum, "attribute? start?"},
    {"tojson", run_tojson, "ensure_ascii? indent? separators? sort_keys?"},
    {"unique", run_unique, "case_sensitive? attribute?"},
    {NULL, NULL, NULL},
};

const struct builtin *jinja_find_filter(const struct str *name) {
    const struct builtin *b = jinja_find_builtin(filters, name);
    return b ? b : jinja_find_builtin(jinja_text_filters, name);
}
