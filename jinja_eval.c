/* Expressions: the tree's, and what its operators do. */
#include "jinja_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- errors ---------------------------------------------------------------------------------- */

struct value jinja_fail(struct context *c, const struct node *at, const char *format, ...) {
    if (c->failed) return (struct value){0};
    c->failed = true;
    char what[400];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (at) {
        jinja_error(c->t, at->at, c->err, "%s", what);
        if (c->err) c->err->status = KQ_BAD_ARGUMENT;
    } else {
        error_set(c->err, KQ_BAD_ARGUMENT, "template: %s", what);
    }
    return (struct value){0};
}

bool jinja_spend(struct context *c, size_t steps) {
    if (c->failed) return false;
    if (c->arena->no_memory) {
        c->failed = true;
        error_set(c->err, KQ_NO_MEMORY, "template: out of memory");
    } else if (c->arena->full) {
        jinja_fail(c, NULL, "makes values larger, or nested deeper, than a chat template may");
        if (c->err) c->err->status = KQ_FULL;
    } else if (steps > (size_t)INT64_MAX || (c->steps -= (int64_t)steps) < 0) {
        jinja_fail(c, NULL, "takes more steps than a chat template may");
        if (c->err) c->err->status = KQ_FULL;
    }
    return !c->failed;
}

static struct value new_undefined(struct context *c, struct undefined what) {
    struct undefined *u = arena_alloc(c->arena, sizeof *u);
    if (u) *u = what;
    return (struct value){.type = V_UNDEFINED, .u.p = u};
}

struct value jinja_undefined_name(struct context *c, const struct str *name) {
    return new_undefined(c, (struct undefined){.name = value_str(name)});
}

struct value jinja_undefined_attribute(struct context *c, struct value object, struct value name) {
    return new_undefined(c, (struct undefined){.has_object = true, .object = object, .name = name});
}

struct value jinja_undefined_hint(struct context *c, const char *hint) {
    return new_undefined(c, (struct undefined){.hint = hint});
}

struct value jinja_fail_undefined(struct context *c, const struct node *at, struct value v) {
    const struct undefined *u = v.u.p;
    if (!u) return jinja_fail(c, at, "an undefined value is used");
    if (u->hint) return jinja_fail(c, at, "%s", u->hint);
    const struct str *name = jinja_repr_of(c, u->name);
    int n = name->len < 200 ? (int)name->len : 200;
    if (!u->has_object) return jinja_fail(c, at, "%.*s is undefined", n, name->data);
    const char *type = u->object.type == V_NONE ? "None" : value_type_name(u->object);
    const char *object = u->object.type == V_NONE ? "" : " object";
    if (u->name.type != V_STR) {
        return jinja_fail(c, at, "%s%s has no element %.*s", type, object, n, name->data);
    }
    return jinja_fail(c, at, "'%s%s' has no attribute %.*s", type, object, n, name->data);
}

/* ---- attributes ------------------------------------------------------------------------------ */

/* Methods that would change what belongs to others are out of reach, as everything that begins with
 * an underscore. */
static bool is_unsafe(struct value object, const struct str *name) {
    static const char *const of_lists[] = {"append", "reverse", "insert",
                                           "sort",   "extend",  "remove"};
    static const char *const of_dicts[] = {"clear", "pop", "popitem", "setdefault", "update"};
    bool list = object.type == V_LIST;
    size_t n = list ? sizeof of_lists / sizeof *of_lists : sizeof of_dicts / sizeof *of_dicts;
    if (!list && object.type != V_DICT) return false;
    for (size_t i = 0; i < n; i++) {
        if (str_is(name, list ? of_lists[i] : of_dicts[i])) return true;
    }
    return false;
}

static struct value unsafe_attribute(struct context *c, struct value object,
                                     const struct str *name) {
    struct builder b;
    build_begin(&b, c->arena);
    build_text(&b, "access to attribute ", false);
    jinja_write_repr(c, &b, value_str(name));
    build_text(&b, " of '", false);
    build_text(&b, value_type_name(object), false);
    build_text(&b, "' object is unsafe.", false);
    build_bytes(&b, "\0", 1, false);
    const struct str *s = build_end(&b);
    return jinja_undefined_hint(c, s->len > 0 ? s->data : "unsafe");
}

static const struct builtin *methods_of(struct value v) {
    switch (v.type) {
    case V_STR:
        return jinja_str_methods;
    case V_DICT:
        return jinja_dict_methods;
    case V_LIST:
        return jinja_list_methods;
    case V_TUPLE:
        return jinja_tuple_methods;
    case V_BOOL:
    case V_INT:
        return jinja_int_methods;
    case V_FLOAT:
        return jinja_float_methods;
    case V_LOOP:
        return jinja_loop_methods;
    case V_CYCLER:
        return jinja_cycler_methods;
    default:
        return NULL;
    }
}

static struct value macro_attribute(struct context *c, struct value v, const struct str *name) {
    const struct macro *m = v.u.p;
    if (str_is(name, "name")) return m->name ? value_str(m->name) : value_none();
    if (str_is(name, "catch_kwargs")) return value_bool(m->info->takes_kwargs);
    if (str_is(name, "catch_varargs")) return value_bool(m->info->takes_varargs);
    if (str_is(name, "caller")) return value_bool(m->info->takes_caller);
    struct value names = {0};
    if (!str_is(name, "arguments")) return names;
    names = value_list(c->arena, V_TUPLE);
    for (size_t i = 0; names.type == V_TUPLE && i < m->info->n; i++) {
        list_add(c->arena, names.u.list, value_str(m->info->names[i]));
    }
    return names;
}

/* What Python's getattr finds, but for methods; undefined (u.p NULL) if nothing. */
static struct value plain_attribute(struct context *c, struct value v, const struct str *name) {
    struct value nothing = {0};
    if (v.type == V_NAMESPACE) {
        const struct value *entry = dict_find(v.u.dict, value_str(name));
        return entry ? *entry : nothing;
    }
    if (v.type == V_LOOP) return jinja_loop_attribute(c, v.u.p, name);
    if (v.type == V_MACRO) return macro_attribute(c, v, name);
    if (v.type == V_TUPLE && v.u.list->group) {
        if (str_is(name, "grouper")) return v.u.list->items[0];
        if (str_is(name, "list")) return v.u.list->items[1];
    }
    if (v.type == V_CYCLER && str_is(name, "current")) {
        const struct cycler *y = v.u.p;
        return y->items->items[y->at];
    }
    if (value_is_number(v)) {
        bool whole = str_is(name, "real") || str_is(name, "numerator");
        if (v.type == V_FLOAT && str_is(name, "real")) return v;
        if (whole && jinja_is_integer(v)) return value_int(jinja_as_integer(v));
        if (str_is(name, "imag")) return v.type == V_FLOAT ? value_float(0) : value_int(0);
        if (str_is(name, "denominator") && jinja_is_integer(v)) return value_int(1);
    }
    return nothing;
}

/* As getattr; true if there is one, allowed or not. */
static bool find_attribute(struct context *c, struct value object, const struct str *name,
                           struct value *out) {
    if (is_unsafe(object, name) || (name->len > 3 && memcmp(name->data, "__", 2) == 0 &&
                                    name->data[name->len - 1] == '_' && object.type != V_DICT)) {
        *out = unsafe_attribute(c, object, name);
        return true;
    }
    const struct builtin *b = methods_of(object);
    b = b ? jinja_find_builtin(b, name) : NULL;
    if (!b) {
        *out = plain_attribute(c, object, name);
        return out->type != V_UNDEFINED || out->u.p;
    }
    struct method *m = arena_alloc(c->arena, sizeof *m);
    if (m) *m = (struct method){b, object};
    *out = (struct value){.type = m ? V_METHOD : V_UNDEFINED, .u.p = m};
    return true;
}

struct value jinja_get_attribute(struct context *c, const struct node *at, struct value object,
                                 const struct str *name) {
    struct value found;
    if (object.type == V_UNDEFINED) return jinja_fail_undefined(c, at, object);
    if (find_attribute(c, object, name, &found)) return found;
    const struct value *entry =
        object.type == V_DICT ? dict_find(object.u.dict, value_str(name)) : NULL;
    return entry ? *entry : jinja_undefined_attribute(c, object, value_str(name));
}

struct value jinja_part(struct context *c, struct value s, size_t from, size_t to) {
    const struct str *whole = s.u.s;
    if (from == 0 && to == whole->len) return s;
    struct str *cut =
        from < to ? str_new(c->arena, whole->data + from, to - from, whole->input) : NULL;
    if (cut && whole->n_runs > 0) { // only what has several origins is copied
        struct builder b;
        build_begin(&b, c->arena);
        build_slice(&b, whole, from, to);
        s.u.s = build_end(&b);
    } else {
        s.u.s = cut ? cut : &str_empty;
    }
    jinja_spend(c, (to - from) / 32);
    return s;
}

static bool item_at(struct context *c, struct value v, int64_t i, struct value *out) {
    int64_t n = jinja_length_of(c, v);
    if (i < 0) i += n;
    if (i < 0 || i >= n) return false;
    if (v.type == V_STR) {
        size_t from = str_offset(v.u.s, (size_t)i), to = from + 1;
        while (to < v.u.s->len && ((unsigned char)v.u.s->data[to] & 0xc0) == 0x80) to++;
        *out = jinja_part(c, v, from, to);
    } else if (v.type == V_RANGE) {
        const struct range *r = v.u.p;
        *out = value_int(r->start + i * r->step);
    } else {
        *out = v.u.list->items[i];
    }
    return true;
}

struct value jinja_get_item(struct context *c, const struct node *at, struct value object,
                            struct value key) {
    struct value found = {0};
    if (object.type == V_UNDEFINED) return jinja_fail_undefined(c, at, object);
    if (object.type == V_DICT) {
        bool paid = jinja_spend(c, value_weight(key) / 4);
        const struct value *entry = paid ? dict_find(object.u.dict, key) : NULL;
        if (entry) return *entry;
    } else if (jinja_is_integer(key) && (object.type == V_STR || object.type == V_LIST ||
                                         object.type == V_TUPLE || object.type == V_RANGE)) {
        jinja_spend(c, object.type == V_STR ? object.u.s->len / 64 : 0);
        if (item_at(c, object, jinja_as_integer(key), &found)) return found;
    }
    if (key.type == V_STR && find_attribute(c, object, key.u.s, &found)) return found;
    return jinja_undefined_attribute(c, object, key);
}

/* ---- slices ---------------------------------------------------------------------------------- */

static bool slice_index(struct context *c, const struct node *at, struct value v, int64_t absent,
                        int64_t *out) {
    *out = absent;
    if (v.type == V_ABSENT || v.type == V_NONE) return true;
    *out = jinja_as_integer(v);
    if (jinja_is_integer(v)) return true;
    if (v.type == V_UNDEFINED)
        jinja_fail_undefined(c, at, v);
    else
        jinja_fail(c, at, "slice indices must be integers or None or have an __index__ method");
    return false;
}

static int64_t clamp(int64_t i, int64_t n, int64_t low, int64_t high) {
    if (i < 0) i += n;
    return i < low ? low : i > high ? high : i;
}

static struct value slice_string(struct context *c, struct value s, int64_t from, int64_t to,
                                 int64_t step) {
    if (step == 1) {
        if (from > to) to = from;
        return jinja_part(c, s, str_offset(s.u.s, (size_t)from), str_offset(s.u.s, (size_t)to));
    }
    struct builder b;
    build_begin(&b, c->arena);
    // Forwards through the bytes where the step is positive, backwards where it is not.
    size_t at = str_offset(s.u.s, (size_t)from), n;
    for (int64_t i = from; step > 0 ? i < to : i > to; i += step) {
        if (!jinja_spend(c, 1)) break;
        utf8_at(s.u.s->data, at, &n);
        build_slice(&b, s.u.s, at, at + n);
        for (int64_t k = 0; k < step && at < s.u.s->len; k++) {
            utf8_at(s.u.s->data, at, &n);
            at += n;
        }
        for (int64_t k = 0; k > step && at > 0; k--) {
            do at--;
            while (((unsigned char)s.u.s->data[at] & 0xc0) == 0x80);
        }
    }
    s.u.s = build_end(&b);
    return s;
}

static struct value slice_range(struct context *c, const struct range *r, int64_t from, int64_t to,
                                int64_t step) {
    struct range *cut = arena_alloc(c->arena, sizeof *cut);
    if (!cut) return (struct value){0};
    int64_t span = step > 0 ? to - from + step - 1 : to - from + step + 1;
    *cut = (struct range){r->start + from * r->step, r->step * step, span / step};
    if (cut->n < 0) cut->n = 0;
    return (struct value){.type = V_RANGE, .u.p = cut};
}

struct value jinja_get_slice(struct context *c, const struct node *at, struct value v,
                             struct value from, struct value to, struct value step) {
    int64_t first, last, by;
    if (v.type == V_UNDEFINED) return jinja_fail_undefined(c, at, v);
    if (v.type == V_DICT) return jinja_fail(c, at, "unhashable type: 'slice'");
    if (v.type != V_STR && v.type != V_LIST && v.type != V_TUPLE && v.type != V_RANGE) {
        return jinja_fail(c, at, "'%s' object is not subscriptable", value_type_name(v));
    }
    int64_t n = jinja_length_of(c, v);
    if (!slice_index(c, at, step, 1, &by)) return (struct value){0};
    if (by == 0) return jinja_fail(c, at, "slice step cannot be zero");
    if (by < -n - 1) by = -n - 1;
    if (by > n + 1) by = n + 1;
    if (!slice_index(c, at, from, by > 0 ? 0 : n - 1, &first)) return (struct value){0};
    if (!slice_index(c, at, to, by > 0 ? n : -n - 1, &last)) return (struct value){0};
    first = clamp(first, n, by > 0 ? 0 : -1, by > 0 ? n : n - 1);
    last = clamp(last, n, by > 0 ? 0 : -1, by > 0 ? n : n - 1);
    if (v.type == V_STR) return slice_string(c, v, first, last, by);
    if (v.type == V_RANGE) return slice_range(c, v.u.p, first, last, by);
    struct value out = value_list(c->arena, (enum value_type)v.type);
    out.input = v.input;
    for (int64_t i = first; out.type != V_UNDEFINED && (by > 0 ? i < last : i > last); i += by) {
        struct value item;
        if (!jinja_spend(c, 1) || !item_at(c, v, i, &item)) break;
        list_add(c->arena, out.u.list, item);
    }
    return out;
}

static struct value eval_slice(struct context *c, struct frame *f, const struct node *n,
                               struct value object) {
    struct value absent = {.type = V_ABSENT};
    const struct node *s = n->b;
    if (n->a->kind == N_CONST && object.type != V_STR) { // as Jinja computes it beforehand
        return jinja_undefined_attribute(c, object, absent);
    }
    struct value from = s->a ? jinja_eval(c, f, s->a) : absent;
    struct value to = s->b ? jinja_eval(c, f, s->b) : absent;
    struct value step = s->c ? jinja_eval(c, f, s->c) : absent;
    return jinja_get_slice(c, n, object, from, to, step);
}

/* ---- expressions ----------------------------------------------------------------------------- */

static struct value eval_name(struct context *c, struct frame *f, const struct node *n) {
    for (; f; f = f->outer) {
        if (!jinja_spend(c, f->n / 16)) break;
        for (size_t i = 0; i < f->n; i++) {
            if (f->variables[i].name != n->name) continue;
            if (f->variables[i].value.type == V_ABSENT) return jinja_undefined_name(c, n->name);
            return f->variables[i].value;
        }
    }
    const struct builtin *b = jinja_find_builtin(jinja_functions, n->name);
    if (b) return (struct value){.type = V_FUNCTION, .u.p = (void *)(uintptr_t)b};
    return jinja_undefined_name(c, n->name);
}

static struct value eval_items(struct context *c, struct frame *f, const struct node *n) {
    struct value out = value_list(c->arena, n->kind == N_LIST ? V_LIST : V_TUPLE);
    for (size_t i = 0; out.type != V_UNDEFINED && i < n->n && !c->failed; i++) {
        list_add(c->arena, out.u.list, jinja_eval(c, f, n->items[i]));
    }
    return out;
}

static struct value eval_dict(struct context *c, struct frame *f, const struct node *n) {
    struct value out = value_dict(c->arena);
    for (size_t i = 0; out.type == V_DICT && i + 1 < n->n && !c->failed; i += 2) {
        struct value key = jinja_eval(c, f, n->items[i]), item = jinja_eval(c, f, n->items[i + 1]);
        if (jinja_can_be_key(c, n, key)) dict_set(c->arena, out.u.dict, key, item);
    }
    return out;
}

static struct value eval_concat(struct context *c, struct frame *f, const struct node *n) {
    struct value *items = arena_alloc(c->arena, (n->n + 1) * sizeof *items);
    struct builder b;
    build_begin(&b, c->arena);
    for (size_t i = 0; items && i < n->n && !c->failed; i++)
        items[i] = jinja_eval(c, f, n->items[i]);
    for (size_t i = 0; items && i < n->n && !c->failed; i++) jinja_write_text(c, &b, items[i]);
    return value_str(build_end(&b));
}

static struct value eval_compare(struct context *c, struct frame *f, const struct node *n) {
    struct value left = jinja_eval(c, f, n->a);
    for (size_t i = 0; i < n->n && !c->failed; i++) {
        struct value right = jinja_eval(c, f, n->items[i]->a);
        if (!jinja_compare(c, n->items[i], n->items[i]->op, left, right)) return value_bool(false);
        left = right;
    }
    return value_bool(true);
}

static struct value eval_sign(struct context *c, struct frame *f, const struct node *n) {
    struct value v = jinja_eval(c, f, n->a);
    if (v.type == V_UNDEFINED) return jinja_fail_undefined(c, n, v);
    if (!value_is_number(v) || v.type == V_BIG) {
        return jinja_fail(c, n, "bad operand type for unary %c: '%s'", n->kind == N_NEG ? '-' : '+',
                          value_type_name(v));
    }
    struct value zero = value_int(0);
    if (n->kind == N_POS) return jinja_binary(c, n, T_ADD, zero, v);
    if (v.type != V_FLOAT) return jinja_binary(c, n, T_SUB, zero, v);
    v.u.f = -v.u.f;
    return v;
}

static struct value eval_cond(struct context *c, struct frame *f, const struct node *n) {
    if (jinja_truth(jinja_eval(c, f, n->b))) return jinja_eval(c, f, n->a);
    if (n->c) return jinja_eval(c, f, n->c);
    return jinja_undefined_hint(
        c, "the inline if-expression evaluated to false and no else section was "
           "defined.");
}

static struct value eval_word(struct context *c, struct frame *f, const struct node *n) {
    struct value self = jinja_eval(c, f, n->a);
    struct actual all = jinja_eval_arguments(c, f, n->args);
    if (n->builtin) return jinja_run_builtin(c, n, n->builtin, self, &all);
    return jinja_fail(c, n, "no %s named '%.*s'", n->kind == N_FILTER ? "filter" : "test",
                      n->name->len < 60 ? (int)n->name->len : 60, n->name->data);
}

static struct value eval_call(struct context *c, struct frame *f, const struct node *n) {
    struct value callee = jinja_eval(c, f, n->a);
    struct actual all = jinja_eval_arguments(c, f, n->args);
    return jinja_call_value(c, n, callee, &all);
}

static struct value eval_item(struct context *c, struct frame *f, const struct node *n) {
    struct value object = jinja_eval(c, f, n->a);
    if (n->b->kind == N_SLICE) return eval_slice(c, f, n, object);
    return jinja_get_item(c, n, object, jinja_eval(c, f, n->b));
}

static struct value eval_kind(struct context *c, struct frame *f, const struct node *n) {
    struct value v;
    switch ((enum node_kind)n->kind) {
    case N_CONST:
        return n->value;
    case N_NAME:
        return eval_name(c, f, n);
    case N_TUPLE:
    case N_LIST:
        return eval_items(c, f, n);
    case N_DICT:
        return eval_dict(c, f, n);
    case N_COND:
        return eval_cond(c, f, n);
    case N_OR:
        v = jinja_eval(c, f, n->a);
        return jinja_truth(v) ? v : jinja_eval(c, f, n->b);
    case N_AND:
        v = jinja_eval(c, f, n->a);
        return jinja_truth(v) ? jinja_eval(c, f, n->b) : v;
    case N_NOT:
        return value_bool(!jinja_truth(jinja_eval(c, f, n->a)));
    case N_COMPARE:
        return eval_compare(c, f, n);
    case N_BINARY:
        v = jinja_eval(c, f, n->a);
        return jinja_binary(c, n, n->op, v, jinja_eval(c, f, n->b));
    case N_CONCAT:
        return eval_concat(c, f, n);
    case N_NEG:
    case N_POS:
        return eval_sign(c, f, n);
    case N_ATTR:
        return jinja_get_attribute(c, n, jinja_eval(c, f, n->a), n->name);
    case N_ITEM:
        return eval_item(c, f, n);
    case N_CALL:
        return eval_call(c, f, n);
    case N_FILTER:
    case N_TEST:
        return eval_word(c, f, n);
    case N_SLICE: // two slices at once: x[1:2, 3]
    default:
        return jinja_fail(c, n, "slices cannot be combined");
    }
}

struct value jinja_eval(struct context *c, struct frame *f, const struct node *n) {
    if (!jinja_spend(c, 1)) return (struct value){0};
    if (c->depth >= JINJA_MAX_DEPTH) return jinja_fail(c, n, "nested too deeply");
    c->depth++;
    struct value v = eval_kind(c, f, n);
    c->depth--;
    return v;
}
