/* The methods of Python's dicts, lists and numbers that change nothing; those of strings are in
 * jinja_strings.c. */
#include "jinja_internal.h"

#include <string.h>

static struct value nothing(void) {
    return (struct value){0};
}

static struct value dict_get(struct call *k) {
    if (!jinja_can_be_key(k->c, k->at, k->arg[0])) return nothing();
    const struct value *v = dict_find(k->self.u.dict, k->arg[0]);
    if (v) return *v;
    return k->arg[1].type == V_ABSENT ? value_none() : k->arg[1];
}

static struct value dict_view(struct call *k, enum view_kind kind) {
    struct view *view = arena_alloc(k->c->arena, sizeof *view);
    if (!view) return nothing();
    view->kind = kind;
    view->dict = k->self;
    return (struct value){.type = V_VIEW, .input = k->self.input, .u.p = view};
}

static struct value dict_keys(struct call *k) {
    return dict_view(k, KEYS);
}

static struct value dict_values(struct call *k) {
    return dict_view(k, VALUES);
}

static struct value dict_items(struct call *k) {
    return dict_view(k, ITEMS);
}

static struct value copy_itself(struct call *k) {
    return k->self; // of what cannot change
}

const struct builtin jinja_dict_methods[] = {
    {"get", dict_get, "/key default?"}, {"items", dict_items, ""}, {"keys", dict_keys, ""},
    {"values", dict_values, ""},        {"copy", copy_itself, ""}, {NULL, NULL, NULL},
};

static struct value list_index(struct call *k) {
    const struct list *list = k->self.u.list;
    for (size_t i = 0; i < list->n && jinja_spend(k->c, 1); i++) {
        if (jinja_equal(k->c, list->items[i], k->arg[0])) return value_int((int64_t)i);
    }
    return jinja_fail(k->c, k->at, "the value is not in the list");
}

static struct value list_count(struct call *k) {
    const struct list *list = k->self.u.list;
    int64_t n = 0;
    for (size_t i = 0; i < list->n && jinja_spend(k->c, 1); i++) {
        n += jinja_equal(k->c, list->items[i], k->arg[0]);
    }
    return value_int(n);
}

const struct builtin jinja_tuple_methods[] = {
    {"index", list_index, "/value"},
    {"count", list_count, "/value"},
    {NULL, NULL, NULL},
};

/* The two methods that change a list although the sandbox is one that should not let them: in the
 * version of Jinja2 that we follow they are forgotten, and templates use them. */
static struct value list_pop(struct call *k) {
    struct list *list = k->self.u.list;
    int64_t n = (int64_t)list->n, i = jinja_arg_int(k, 0, -1);
    if (n == 0) return jinja_fail(k->c, k->at, "pop from empty list");
    if (i < 0) i += n;
    if (i < 0 || i >= n) return jinja_fail(k->c, k->at, "pop index out of range");
    struct value v = list->items[i];
    if (!jinja_spend(k->c, (size_t)(n - i) / 64)) return nothing();
    memmove(list->items + i, list->items + i + 1, (size_t)(n - i - 1) * sizeof v);
    list->n--;
    return v;
}

static struct value list_clear(struct call *k) {
    k->self.u.list->n = 0;
    return value_none();
}

static struct value list_copy(struct call *k) {
    struct list *list = jinja_list_of(k->c, k->at, k->self);
    return list ? (struct value){.type = V_LIST, .u.list = list} : nothing();
}

const struct builtin jinja_list_methods[] = {
    {"clear", list_clear, ""},       {"copy", list_copy, ""},      {"count", list_count, "/value"},
    {"index", list_index, "/value"}, {"pop", list_pop, "/index?"}, {NULL, NULL, NULL},
};

static struct value int_bit_length(struct call *k) {
    int64_t i = jinja_as_integer(k->self), n = 0;
    for (uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i; u; u >>= 1) n++;
    return value_int(n);
}

const struct builtin jinja_int_methods[] = {
    {"bit_length", int_bit_length, ""},
    {"conjugate", copy_itself, ""},
    {NULL, NULL, NULL},
};

static struct value float_is_integer(struct call *k) {
    double f = k->self.u.f;
    return value_bool(f - f == 0 && (f >= 0x1p53 || f <= -0x1p53 || f == (double)(int64_t)f));
}

const struct builtin jinja_float_methods[] = {
    {"is_integer", float_is_integer, ""},
    {"conjugate", copy_itself, ""},
    {NULL, NULL, NULL},
};
