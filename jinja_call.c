/* Calls: arguments and what they are bound to, macros, and the functions that every template has.
 */
#include "jinja_internal.h"

#include <stdio.h>
#include <string.h>

#define MAX_RANGE 100000 // items, as Jinja's sandbox has it

/* ---- arguments ------------------------------------------------------------------------------- */

static struct value *add_argument(struct context *c, struct actual *all, size_t *capacity) {
    if (all->n == *capacity) {
        size_t larger = 2 * *capacity + 4;
        struct value *items =
            arena_grow(c->arena, all->items, all->n * sizeof *items, larger * sizeof *items);
        if (!items) return NULL;
        all->items = items;
        *capacity = larger;
    }
    return &all->items[all->n++];
}

static void add_keywords(struct context *c, const struct node *at, struct actual *all,
                         struct value dict) {
    if (dict.type != V_DICT) {
        jinja_fail(c, at, "argument after ** must be a mapping, not %s", value_type_name(dict));
        return;
    }
    size_t n = all->n_keywords + dict.u.dict->n;
    struct variable *larger = arena_grow(c->arena, all->keywords, all->n_keywords * sizeof *larger,
                                         n * sizeof *larger + 1);
    if (!larger || !jinja_spend(c, n)) return;
    for (size_t i = 0; i < dict.u.dict->n; i++) {
        struct value key = dict.u.dict->pairs[i].key;
        if (key.type != V_STR) {
            jinja_fail(c, at, "keywords must be strings");
            return;
        }
        larger[all->n_keywords + i] = (struct variable){key.u.s, dict.u.dict->pairs[i].value};
    }
    all->keywords = larger;
    all->n_keywords = n;
}

struct actual jinja_eval_arguments(struct context *c, struct frame *f,
                                   const struct arguments *args) {
    struct actual all = {0};
    size_t capacity = 0;
    struct value item, *to;
    if (!args) return all;
    for (size_t i = 0; i < args->n && !c->failed; i++) {
        item = jinja_eval(c, f, args->items[i]);
        to = add_argument(c, &all, &capacity);
        if (to) *to = item;
    }
    if (args->n_keywords > 0) {
        all.keywords = arena_alloc(c->arena, args->n_keywords * sizeof *all.keywords);
    }
    for (size_t i = 0; all.keywords && i < args->n_keywords && !c->failed; i++) {
        item = jinja_eval(c, f, args->keywords[i].value);
        all.keywords[all.n_keywords++] = (struct variable){args->keywords[i].name, item};
    }
    if (args->list && !c->failed) {
        struct iterator *it = jinja_iterate(c, args->list, jinja_eval(c, f, args->list));
        while (it && jinja_iterator_next(c, it, &item)) {
            to = add_argument(c, &all, &capacity);
            if (to) *to = item;
        }
    }
    if (args->dict && !c->failed) add_keywords(c, args->dict, &all, jinja_eval(c, f, args->dict));
    return all;
}

/* Goes through the names in `parameters` of a builtin: the next one, and whether it may be absent.
 * False at the end. */
static bool next_parameter(const char **at, struct str *name, bool *optional) {
    while (**at == ' ' || **at == '/') (*at)++;
    name->data = *at;
    name->len = strcspn(*at, " ?");
    *at += name->len;
    *optional = **at == '?';
    if (*optional) (*at)++;
    return name->len > 0;
}

static bool take_keyword(const struct actual *all, const struct str *name, struct value *out) {
    for (size_t i = 0; i < all->n_keywords; i++) {
        if (str_equal(all->keywords[i].name, name)) {
            *out = all->keywords[i].value;
            return true;
        }
    }
    return false;
}

static void bind(struct call *k, const struct builtin *b) {
    const char *at = b->parameters;
    bool positional_only = *at == '/', optional;
    size_t n = 0, n_keywords = 0;
    struct str name;
    for (; next_parameter(&at, &name, &optional); n++) {
        k->arg[n] = (struct value){.type = V_ABSENT};
        bool keyword = !positional_only && take_keyword(k->all, &name, &k->arg[n]);
        n_keywords += keyword;
        if (n < k->all->n) {
            if (keyword)
                jinja_fail(k->c, k->at, "%s: %.*s is given twice", b->name, (int)name.len,
                           name.data);
            k->arg[n] = k->all->items[n];
        } else if (!keyword && !optional) {
            jinja_fail(k->c, k->at, "%s: the argument %.*s is missing", b->name, (int)name.len,
                       name.data);
        }
    }
    if (k->all->n > n) {
        jinja_fail(k->c, k->at, "%s takes at most %zu arguments, %zu are given", b->name, n,
                   k->all->n);
    }
    if (n_keywords < k->all->n_keywords) {
        jinja_fail(k->c, k->at, "%s: a keyword argument that it does not have", b->name);
    }
}

struct value jinja_run_builtin(struct context *c, const struct node *at, const struct builtin *b,
                               struct value self, const struct actual *all) {
    struct call k = {.c = c, .at = at, .self = self, .all = all};
    if (*b->parameters != '*') bind(&k, b);
    return jinja_spend(c, 1) ? b->run(&k) : (struct value){0};
}

const struct builtin *jinja_find_builtin(const struct builtin *list, const struct str *name) {
    for (; list->name && name->len > 0; list++) {
        if (list->name[0] == name->data[0] && str_is(name, list->name)) return list;
    }
    return NULL;
}

bool jinja_arg_given(const struct call *k, int i) {
    return k->arg[i].type != V_ABSENT && k->arg[i].type != V_NONE;
}

int64_t jinja_arg_int(struct call *k, int i, int64_t absent) {
    struct value v = k->arg[i];
    if (v.type == V_ABSENT) return absent;
    if (jinja_is_integer(v)) return jinja_as_integer(v);
    if (v.type == V_UNDEFINED)
        jinja_fail_undefined(k->c, k->at, v);
    else
        jinja_fail(k->c, k->at, "'%s' object cannot be interpreted as an integer",
                   value_type_name(v));
    return absent;
}

bool jinja_arg_bool(struct call *k, int i, bool absent) {
    return k->arg[i].type == V_ABSENT ? absent : jinja_truth(k->arg[i]);
}

const struct str *jinja_arg_str(struct call *k, int i) {
    struct value v = k->arg[i];
    if (v.type == V_STR) return v.u.s;
    if (v.type == V_UNDEFINED)
        jinja_fail_undefined(k->c, k->at, v);
    else
        jinja_fail(k->c, k->at, "expected a string, found '%s'", value_type_name(v));
    return NULL;
}

/* ---- macros ---------------------------------------------------------------------------------- */

struct value jinja_make_macro(struct context *c, struct frame *f, const struct macro_info *info,
                              const struct str *name) {
    struct macro *m = arena_alloc(c->arena, sizeof *m);
    if (!m) return (struct value){0};
    *m = (struct macro){info, name, f};
    return (struct value){.type = V_MACRO, .u.p = m};
}

/* The variable of this name that the template mentions; NULL: it does not. */
static const struct str *interned(struct context *c, const char *name) {
    const struct value *v = dict_find_text(c->t->names, name);
    return v ? v->u.s : NULL;
}

static void set_special(struct context *c, struct frame *f, const char *name, struct value v) {
    const struct str *s = interned(c, name);
    if (s) jinja_frame_set(c, f, s, v);
}

/* What is left of the arguments: caller, kwargs and varargs take it, or it is an error. */
static void bind_rest(struct context *c, const struct node *at, struct frame *f,
                      const struct macro *m, const struct actual *all, const bool *used) {
    const struct macro_info *info = m->info;
    const char *name = m->name ? m->name->data : "None";
    int len = m->name ? (int)m->name->len : 4;
    struct value kwargs = value_dict(c->arena), varargs = value_list(c->arena, V_TUPLE);
    struct value caller = jinja_undefined_hint(c, "No caller defined");
    if (kwargs.type != V_DICT || varargs.type != V_TUPLE) return;
    for (size_t i = 0; i < all->n_keywords; i++) {
        const struct str *key = all->keywords[i].name;
        if (used[i]) continue;
        if (info->takes_caller && str_is(key, "caller")) {
            caller = all->keywords[i].value;
        } else if (info->takes_kwargs) {
            dict_set(c->arena, kwargs.u.dict, value_str(key), all->keywords[i].value);
        } else {
            jinja_fail(c, at, "macro '%.*s' takes no keyword argument '%.*s'", len, name,
                       (int)key->len, key->data);
        }
    }
    for (size_t i = info->n; i < all->n; i++) list_add(c->arena, varargs.u.list, all->items[i]);
    if (all->n > info->n && !info->takes_varargs) {
        jinja_fail(c, at, "macro '%.*s' takes not more than %zu argument(s)", len, name, info->n);
    }
    if (info->takes_caller) set_special(c, f, "caller", caller);
    if (info->takes_kwargs) set_special(c, f, "kwargs", kwargs);
    if (info->takes_varargs) set_special(c, f, "varargs", varargs);
}

static void bind_parameters(struct context *c, const struct node *at, struct frame *f,
                            const struct macro *m, const struct actual *all) {
    const struct macro_info *info = m->info;
    bool *used = arena_alloc(c->arena, all->n_keywords + 1);
    struct value absent = {.type = V_ABSENT};
    if (!used) return;
    memset(used, 0, all->n_keywords + 1);
    for (size_t i = 0; i < info->n && jinja_spend(c, 1 + all->n_keywords); i++) {
        struct value v = i < all->n ? all->items[i] : absent;
        for (size_t k = 0; i >= all->n && k < all->n_keywords; k++) {
            if (!str_equal(all->keywords[k].name, info->names[i])) continue;
            v = all->keywords[k].value;
            used[k] = true;
        }
        jinja_frame_set(c, f, info->names[i], v);
    }
    bind_rest(c, at, f, m, all, used);
    for (size_t i = 0; i < info->n && !c->failed; i++) { // in order: they may use each other
        if (i >= f->n || f->variables[i].value.type != V_ABSENT) continue;
        f->variables[i].value = jinja_undefined_hint(c, "parameter was not provided");
        if (info->defaults[i])
            jinja_frame_set(c, f, info->names[i], jinja_eval(c, f, info->defaults[i]));
    }
}

static struct value call_macro(struct context *c, const struct node *at, const struct macro *m,
                               const struct actual *all) {
    struct frame *f = jinja_frame_new(c, m->frame, NULL);
    if (!f) return (struct value){0};
    bind_parameters(c, at, f, m, all);
    for (size_t i = 0; i < m->info->body.n_hidden; i++) {
        jinja_frame_set(c, f, m->info->body.hidden[i], (struct value){.type = V_ABSENT});
    }
    if (c->failed) return (struct value){0};
    return value_str(jinja_capture(c, f, &m->info->body));
}

struct value jinja_call_value(struct context *c, const struct node *at, struct value callee,
                              const struct actual *all) {
    struct value none = {0};
    if (!jinja_spend(c, 1)) return none;
    switch (callee.type) {
    case V_UNDEFINED:
        return jinja_fail_undefined(c, at, callee);
    case V_FUNCTION:
        return jinja_run_builtin(c, at, callee.u.p, none, all);
    case V_METHOD: {
        const struct method *m = callee.u.p;
        return jinja_run_builtin(c, at, m->builtin, m->self, all);
    }
    case V_MACRO:
        return call_macro(c, at, callee.u.p, all);
    case V_LOOP:
        if (all->n == 1) return jinja_loop_again(c, at, callee.u.p, all->items[0]);
        return jinja_fail(c, at, "loop takes one argument");
    case V_JOINER: {
        struct joiner *j = callee.u.p;
        bool first = !j->used;
        j->used = true;
        return first ? value_str(&str_empty) : j->separator;
    }
    default:
        return jinja_fail(c, at, "'%s' object is not callable", value_type_name(callee));
    }
}

/* ---- functions ------------------------------------------------------------------------------- */

static struct value run_range(struct call *k) {
    int64_t a = jinja_arg_int(k, 0, 0), b = jinja_arg_int(k, 1, 0), step = jinja_arg_int(k, 2, 1);
    if (k->arg[1].type == V_ABSENT) {
        b = a;
        a = 0;
    }
    if (k->c->failed) return (struct value){0};
    if (step == 0) return jinja_fail(k->c, k->at, "range() arg 3 must not be zero");
    uint64_t span = step > 0 ? (uint64_t)b - (uint64_t)a : (uint64_t)a - (uint64_t)b;
    uint64_t by = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
    uint64_t n = (step > 0 ? a < b : a > b) ? (span - 1) / by + 1 : 0;
    if (n > MAX_RANGE) {
        return jinja_fail(k->c, k->at,
                          "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).",
                          MAX_RANGE);
    }
    struct range *r = arena_alloc(k->c->arena, sizeof *r);
    if (!r) return (struct value){0};
    *r = (struct range){a, step, (int64_t)n};
    return (struct value){.type = V_RANGE, .u.p = r};
}

/* Of dict(...) and namespace(...): a dict, or pairs, then keywords. */
static struct value fill_dict(struct call *k) {
    struct context *c = k->c;
    struct value out = value_dict(c->arena), item;
    if (out.type != V_DICT) return out;
    if (k->all->n > 1) return jinja_fail(c, k->at, "takes at most 1 argument");
    struct value from = k->all->n == 1 ? k->all->items[0] : out;
    if (from.type == V_UNDEFINED) return jinja_fail_undefined(c, k->at, from);
    if (from.type == V_DICT || from.type == V_NAMESPACE) {
        for (size_t i = 0; i < from.u.dict->n && from.u.p != out.u.p && jinja_spend(c, 1); i++) {
            dict_set(c->arena, out.u.dict, from.u.dict->pairs[i].key, from.u.dict->pairs[i].value);
        }
    } else {
        struct iterator *it = jinja_iterate(c, k->at, from);
        while (it && jinja_iterator_next(c, it, &item)) {
            struct list *pair = jinja_list_of(c, k->at, item);
            if (!pair) return (struct value){0};
            if (pair->n != 2) return jinja_fail(c, k->at, "expected pairs of key and value");
            if (!jinja_can_be_key(c, k->at, pair->items[0])) return (struct value){0};
            dict_set(c->arena, out.u.dict, pair->items[0], pair->items[1]);
        }
    }
    for (size_t i = 0; i < k->all->n_keywords; i++) {
        dict_set(c->arena, out.u.dict, value_str(k->all->keywords[i].name),
                 k->all->keywords[i].value);
    }
    return out;
}

static struct value run_namespace(struct call *k) {
    struct value v = fill_dict(k);
    if (v.type == V_DICT) v.type = V_NAMESPACE;
    return v;
}

static struct value run_cycler(struct call *k) {
    struct cycler *y = arena_alloc(k->c->arena, sizeof *y);
    struct value items = value_list(k->c->arena, V_LIST);
    if (!y || items.type != V_LIST) return (struct value){0};
    if (k->all->n == 0) return jinja_fail(k->c, k->at, "at least one item has to be provided");
    for (size_t i = 0; i < k->all->n; i++) list_add(k->c->arena, items.u.list, k->all->items[i]);
    *y = (struct cycler){items.u.list, 0};
    return (struct value){.type = V_CYCLER, .u.p = y};
}

static struct value run_joiner(struct call *k) {
    struct joiner *j = arena_alloc(k->c->arena, sizeof *j);
    if (!j) return (struct value){0};
    *j = (struct joiner){.separator = k->arg[0]};
    if (k->arg[0].type == V_ABSENT) j->separator = value_text(k->c->arena, ", ");
    return (struct value){.type = V_JOINER, .u.p = j};
}

/* The template refuses the conversation, in its own words. */
static struct value run_raise(struct call *k) {
    const struct str *s = jinja_text_of(k->c, k->arg[0]);
    if (k->c->failed) return (struct value){0};
    k->c->failed = true;
    error_set(k->c->err, KQ_BAD_ARGUMENT, "%.*s", s->len < 1000 ? (int)s->len : 1000, s->data);
    return (struct value){0};
}

static struct value run_strftime(struct call *k) {
    struct builder b;
    const struct str *format = jinja_arg_str(k, 0);
    struct tm now = {0};
    time_t t = time(NULL);
    if (!format) return (struct value){0};
    if (k->c->now)
        now = *k->c->now;
    else if (!localtime_r(&t, &now))
        return jinja_fail(k->c, k->at, "the time is not known");
    build_begin(&b, k->c->arena);
    for (size_t i = 0; i < format->len && jinja_spend(k->c, 1); i++) {
        char directive[8] = "%", out[128];
        size_t n = 1;
        if (format->data[i] != '%' || i + 1 == format->len) {
            build_slice(&b, format, i, i + 1);
            continue;
        }
        do directive[n++] = format->data[++i]; // with flags: %-d
        while (n < 4 && i + 1 < format->len && strchr("-_0^#", format->data[i]));
        char kind = directive[n - 1];
        if (kind == 'f') {
            build_text(&b, "000000", false);     // microseconds
        } else if (kind != 'z' && kind != 'Z') { // of which a date without a zone has none
            build_bytes(&b, out, strftime(out, sizeof out, directive, &now), false);
        }
    }
    return value_str(build_end(&b));
}

const struct builtin jinja_functions[] = {
    {"range", run_range, "/start stop? step?"},
    {"dict", fill_dict, "*"},
    {"namespace", run_namespace, "*"},
    {"cycler", run_cycler, "*"},
    {"joiner", run_joiner, "sep?"},
    {"raise_exception", run_raise, "message"},
    {"strftime_now", run_strftime, "format"},
    {NULL, NULL, NULL},
};

/* ---- methods of loops and cyclers ------------------------------------------------------------ */

static struct value loop_cycle(struct call *k) {
    const struct loop *loop = k->self.u.p;
    if (k->all->n == 0) return jinja_fail(k->c, k->at, "no items for cycling given");
    return k->all->items[(size_t)loop->index0 % k->all->n];
}

static struct value loop_changed(struct call *k) {
    struct loop *loop = k->self.u.p;
    struct value now = value_list(k->c->arena, V_TUPLE);
    if (now.type != V_TUPLE) return now;
    for (size_t i = 0; i < k->all->n; i++) list_add(k->c->arena, now.u.list, k->all->items[i]);
    if (loop->changed_before && jinja_equal(k->c, loop->last_changed, now))
        return value_bool(false);
    loop->changed_before = true;
    loop->last_changed = now;
    return value_bool(true);
}

const struct builtin jinja_loop_methods[] = {
    {"cycle", loop_cycle, "*"},
    {"changed", loop_changed, "*"},
    {NULL, NULL, NULL},
};

static struct value cycler_next(struct call *k) {
    struct cycler *y = k->self.u.p;
    struct value v = y->items->items[y->at];
    y->at = (y->at + 1) % y->items->n;
    return v;
}

static struct value cycler_reset(struct call *k) {
    ((struct cycler *)k->self.u.p)->at = 0;
    return value_none();
}

const struct builtin jinja_cycler_methods[] = {
    {"next", cycler_next, ""},
    {"reset", cycler_reset, ""},
    {NULL, NULL, NULL},
};
