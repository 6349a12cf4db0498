/* What can be iterated over, and the operators that ask for order, equality and membership. */
#include "jinja_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "elementary.h"

#define MAX_CHAIN 64 // of iterators that take their items from each other

bool jinja_truth(struct value v) {
    switch (v.type) {
    case V_UNDEFINED:
    case V_NONE:
    case V_ABSENT:
        return false;
    case V_BOOL:
        return v.u.b;
    case V_INT:
        return v.u.i != 0;
    case V_FLOAT:
        return v.u.f != 0;
    case V_STR:
        return v.u.s->len > 0;
    case V_LIST:
    case V_TUPLE:
        return v.u.list->n > 0;
    case V_DICT:
        return v.u.dict->n > 0;
    case V_VIEW:
        return ((const struct view *)v.u.p)->dict.u.dict->n > 0;
    case V_RANGE:
        return ((const struct range *)v.u.p)->n > 0;
    default:
        return true;
    }
}

bool jinja_is_integer(struct value v) {
    return v.type == V_INT || v.type == V_BOOL;
}

int64_t jinja_as_integer(struct value v) {
    return v.type == V_BOOL ? v.u.b : v.u.i;
}

bool jinja_is_callable(struct value v) {
    return v.type == V_FUNCTION || v.type == V_METHOD || v.type == V_MACRO || v.type == V_LOOP ||
           v.type == V_JOINER || v.type == V_UNDEFINED;
}

int64_t jinja_length_of(struct context *c, struct value v) {
    static const struct str length = {.data = "length", .len = 6, .n_chars = 6};
    switch (v.type) {
    case V_UNDEFINED:
        return 0;
    case V_STR:
        return (int64_t)v.u.s->n_chars;
    case V_LIST:
    case V_TUPLE:
        return (int64_t)v.u.list->n;
    case V_DICT:
        return (int64_t)v.u.dict->n;
    case V_VIEW:
        return (int64_t)((const struct view *)v.u.p)->dict.u.dict->n;
    case V_RANGE:
        return ((const struct range *)v.u.p)->n;
    case V_LOOP:
        return jinja_loop_attribute(c, v.u.p, &length).u.i;
    default:
        return -1;
    }
}

bool jinja_is_iterable(struct value v) {
    return v.type == V_UNDEFINED || v.type == V_STR || v.type == V_LIST || v.type == V_TUPLE ||
           v.type == V_DICT || v.type == V_VIEW || v.type == V_RANGE || v.type == V_ITERATOR ||
           v.type == V_LOOP;
}

struct iterator *jinja_iterate(struct context *c, const struct node *at, struct value v) {
    if (v.type == V_ITERATOR) return v.u.p;
    if (!jinja_is_iterable(v) || v.type == V_LOOP) {
        jinja_fail(c, at, "'%s' object is not iterable", value_type_name(v));
        return NULL;
    }
    struct iterator *it = arena_alloc(c->arena, sizeof *it);
    if (it) *it = (struct iterator){.source = v};
    return it;
}

struct value jinja_iterator_value(struct iterator *it) {
    return (struct value){.type = it ? V_ITERATOR : V_UNDEFINED, .u.p = it};
}

static struct value pair_of(struct context *c, const struct pair *pair) {
    struct value both = value_list(c->arena, V_TUPLE);
    if (both.type != V_TUPLE) return both;
    list_add(c->arena, both.u.list, pair->key);
    list_add(c->arena, both.u.list, pair->value);
    return both;
}

/* The next of what can be looked at again. */
static bool plain_next(struct context *c, struct iterator *it, struct value *out) {
    struct value v = it->source;
    if (v.type == V_STR) {
        size_t n, at = it->at;
        if (at >= v.u.s->len) return false;
        utf8_at(v.u.s->data, at, &n);
        *out = jinja_part(c, v, at, at + n);
        out->safe = false; // unlike a part that is asked for by its index
        it->at += n;
        return true;
    }
    const struct view *view = v.type == V_VIEW ? v.u.p : NULL;
    size_t n = (size_t)jinja_length_of(c, v);
    if (it->at >= n) return false;
    size_t i = it->reversed ? n - 1 - it->at : it->at;
    it->at++;
    if (v.type == V_RANGE) {
        const struct range *r = v.u.p;
        *out = value_int(r->start + (int64_t)i * r->step);
    } else if (v.type == V_LIST || v.type == V_TUPLE) {
        *out = v.u.list->items[i];
    } else {
        const struct pair *pair = &(view ? view->dict.u.dict : v.u.dict)->pairs[i];
        if (view && view->kind == ITEMS)
            *out = pair_of(c, pair);
        else
            *out = view && view->kind == VALUES ? pair->value : pair->key;
    }
    return true;
}

bool jinja_iterator_next(struct context *c, struct iterator *it, struct value *out) {
    while (jinja_spend(c, 1)) {
        if (it->kind == PLAIN) return plain_next(c, it, out);
        struct value item, looked_at;
        if (!jinja_iterator_next(c, it->inner, &item)) return false;
        looked_at = it->by_attribute ? jinja_get_path(c, it->node, item, it->attribute) : item;
        if (looked_at.type == V_UNDEFINED && it->has_default) looked_at = it->absent;
        if (it->builtin)
            looked_at = jinja_run_builtin(c, it->node, it->builtin, looked_at, &it->args);
        if (it->kind == MAP) {
            *out = looked_at;
            return !c->failed;
        }
        if (jinja_truth(looked_at) != it->negated) {
            *out = item;
            return !c->failed;
        }
    }
    return false;
}

struct list *jinja_list_of(struct context *c, const struct node *at, struct value v) {
    struct iterator *it = jinja_iterate(c, at, v);
    struct value out = value_list(c->arena, V_LIST), item;
    if (!it || out.type != V_LIST) return NULL;
    while (jinja_iterator_next(c, it, &item)) list_add(c->arena, out.u.list, item);
    return c->failed ? NULL : out.u.list;
}

/* ---- comparing ------------------------------------------------------------------------------- */

bool jinja_equal(struct context *c, struct value a, struct value b) {
    size_t x = value_weight(a), y = value_weight(b);
    return jinja_spend(c, (x < y ? x : y) / 4) && value_equal(a, b);
}

bool jinja_can_be_key(struct context *c, const struct node *at, struct value v) {
    uint64_t hash;
    const char *what;
    if (!jinja_spend(c, value_weight(v) / 2)) return false;
    bool can = value_hash(v, &hash, &what);
    if (!can) jinja_fail(c, at, "unhashable type: '%s'", what);
    return can;
}

static int order_lists(struct context *c, const struct node *at, const struct list *a,
                       const struct list *b) {
    for (size_t i = 0; i < a->n && i < b->n; i++) {
        if (!jinja_equal(c, a->items[i], b->items[i]))
            return jinja_order(c, at, a->items[i], b->items[i]);
    }
    return (a->n > b->n) - (a->n < b->n);
}

int jinja_order(struct context *c, const struct node *at, struct value a, struct value b) {
    if (!jinja_spend(c, 1 + (value_weight(a) + value_weight(b)) / 4)) return 0;
    if (jinja_is_integer(a) && jinja_is_integer(b)) {
        int64_t x = jinja_as_integer(a), y = jinja_as_integer(b);
        return (x > y) - (x < y);
    }
    if (value_is_number(a) && value_is_number(b)) {
        double x = value_as_double(a), y = value_as_double(b);
        return (x > y) - (x < y);
    }
    if (a.type == V_STR && b.type == V_STR) {
        int o = str_compare(a.u.s, b.u.s);
        return (o > 0) - (o < 0);
    }
    if ((a.type == V_LIST || a.type == V_TUPLE) && a.type == b.type) {
        return order_lists(c, at, a.u.list, b.u.list);
    }
    if (a.type == V_UNDEFINED || b.type == V_UNDEFINED) {
        jinja_fail_undefined(c, at, a.type == V_UNDEFINED ? a : b);
    } else {
        jinja_fail(c, at, "'<' not supported between instances of '%s' and '%s'",
                   value_type_name(a), value_type_name(b));
    }
    return 0;
}

static bool find_text(const struct str *in, const struct str *what) {
    if (what->len == 0) return true;
    const char *p = in->data, *end = in->data + in->len;
    while ((size_t)(end - p) >= what->len) {
        p = memchr(p, what->data[0], (size_t)(end - p) - what->len + 1);
        if (!p) return false;
        if (memcmp(p, what->data, what->len) == 0) return true;
        p++;
    }
    return false;
}

bool jinja_contains(struct context *c, const struct node *at, struct value item, struct value in) {
    if (in.type == V_STR) {
        if (item.type != V_STR) {
            jinja_fail(c, at, "'in <string>' requires string as left operand, not %s",
                       value_type_name(item));
            return false;
        }
        jinja_spend(c, in.u.s->len / 64 + item.u.s->len * in.u.s->len / 4096);
        return find_text(in.u.s, item.u.s);
    }
    const struct view *view = in.type == V_VIEW ? in.u.p : NULL;
    if (in.type == V_DICT || (view && view->kind == KEYS)) {
        if (!jinja_can_be_key(c, at, item)) return false;
        return dict_find(view ? view->dict.u.dict : in.u.dict, item) != NULL;
    }
    if (!jinja_is_iterable(in)) {
        jinja_fail(c, at, "argument of type '%s' is not iterable", value_type_name(in));
        return false;
    }
    struct iterator *it = jinja_iterate(c, at, in);
    struct value other;
    while (it && jinja_iterator_next(c, it, &other)) {
        if (jinja_equal(c, item, other)) return true;
    }
    return false;
}

static bool is_nan(struct value v) {
    return v.type == V_FLOAT && isnan(v.u.f);
}

bool jinja_compare(struct context *c, const struct node *at, int op, struct value a,
                   struct value b) {
    static const char *const names[] = {"==", "!=", ">", ">=", "<", "<="};
    if (op == T_EQ) return jinja_equal(c, a, b);
    if (op == T_NE) return !jinja_equal(c, a, b);
    if (op == T_IN) return jinja_contains(c, at, a, b);
    if (op == T_NOT_IN) return !jinja_contains(c, at, a, b) && !c->failed;
    bool numbers = value_is_number(a) && value_is_number(b);
    bool alike = a.type == b.type && (a.type == V_STR || a.type == V_LIST || a.type == V_TUPLE);
    if (!numbers && !alike && a.type != V_UNDEFINED && b.type != V_UNDEFINED) {
        jinja_fail(c, at, "'%s' not supported between instances of '%s' and '%s'", names[op - T_EQ],
                   value_type_name(a), value_type_name(b));
        return false;
    }
    int o = jinja_order(c, at, a, b);
    if (is_nan(a) || is_nan(b)) return false;
    return op == T_LT ? o < 0 : op == T_LE ? o <= 0 : op == T_GT ? o > 0 : o >= 0;
}

/* ---- computing ------------------------------------------------------------------------------- */

static struct value wrong_types(struct context *c, const struct node *at, const char *op,
                                struct value a, struct value b) {
    if (a.type == V_UNDEFINED || b.type == V_UNDEFINED) {
        return jinja_fail_undefined(c, at, a.type == V_UNDEFINED ? a : b);
    }
    if (*op == '+' && (a.type == V_STR || a.type == V_LIST || a.type == V_TUPLE)) {
        return jinja_fail(c, at, "can only concatenate %s (not \"%s\") to %s", value_type_name(a),
                          value_type_name(b), value_type_name(a));
    }
    return jinja_fail(c, at, "unsupported operand type(s) for %s: '%s' and '%s'", op,
                      value_type_name(a), value_type_name(b));
}

static struct value too_large(struct context *c, const struct node *at) {
    return jinja_fail(c, at, "the result is beyond 64 bits");
}

static int64_t floor_div(int64_t x, int64_t y) {
    int64_t q = x / y;
    return q - (x % y != 0 && (x < 0) != (y < 0));
}

static struct value integer_power(struct context *c, const struct node *at, int64_t x, int64_t y) {
    int64_t result = 1;
    if (y < 0) {
        if (x == 0) return jinja_fail(c, at, "0.0 cannot be raised to a negative power");
        return value_float(elementary_pow((double)x, (double)y));
    }
    if (x == 0 || x == 1) return value_int(y == 0 ? 1 : x);
    if (x == -1) return value_int(y % 2 ? -1 : 1);
    for (; y > 0; y--) { // at most 63 times
        if (__builtin_mul_overflow(result, x, &result)) return too_large(c, at);
    }
    return value_int(result);
}

static struct value integers(struct context *c, const struct node *at, int op, int64_t x,
                             int64_t y) {
    int64_t result;
    if ((op == T_DIV || op == T_FLOORDIV || op == T_MOD) && y == 0) {
        return jinja_fail(c, at,
                          op == T_DIV ? "division by zero" : "integer division or modulo by zero");
    }
    if (y == -1 && op == T_MOD) return value_int(0);
    bool overflow = false;
    switch (op) {
    case T_ADD:
        overflow = __builtin_add_overflow(x, y, &result);
        break;
    case T_SUB:
        overflow = __builtin_sub_overflow(x, y, &result);
        break;
    case T_MUL:
        overflow = __builtin_mul_overflow(x, y, &result);
        break;
    case T_DIV:
        return value_float((double)x / (double)y);
    case T_FLOORDIV:
        if (y == -1)
            overflow = __builtin_sub_overflow(0, x, &result);
        else
            result = floor_div(x, y);
        break;
    case T_MOD:
        result = x - floor_div(x, y) * y;
        break;
    default:
        return integer_power(c, at, x, y);
    }
    return overflow ? too_large(c, at) : value_int(result);
}

static struct value floats(struct context *c, const struct node *at, int op, double x, double y) {
    double rest;
    switch (op) {
    case T_ADD:
        return value_float(x + y);
    case T_SUB:
        return value_float(x - y);
    case T_MUL:
        return value_float(x * y);
    case T_DIV:
        return y == 0 ? jinja_fail(c, at, "float division by zero") : value_float(x / y);
    case T_FLOORDIV:
    case T_MOD:
        if (y == 0)
            return jinja_fail(c, at, op == T_MOD ? "float modulo" : "float floor division by zero");
        rest = fmod(x, y);
        if (rest != 0 && (rest < 0) != (y < 0)) rest += y;
        if (rest == 0) rest = copysign(0, y);
        if (op == T_MOD) return value_float(rest);
        double quotient = (x - rest) / y, whole = floor(quotient);
        if (quotient == 0) return value_float(copysign(0, x / y));
        return value_float(quotient - whole > 0.5 ? whole + 1 : whole);
    default:
        if (x == 0 && y < 0) return jinja_fail(c, at, "0.0 cannot be raised to a negative power");
        if (x < 0 && y != floor(y) && isfinite(x) && isfinite(y)) {
            return jinja_fail(c, at, "complex numbers are not known here");
        }
        rest = elementary_pow(x, y);
        if (isinf(rest) && isfinite(x) && isfinite(y)) {
            return jinja_fail(c, at, "(34, 'Numerical result out of range')");
        }
        return value_float(rest);
    }
}

static struct value numbers(struct context *c, const struct node *at, int op, struct value a,
                            struct value b) {
    struct value v;
    if (a.type == V_FLOAT || b.type == V_FLOAT || a.type == V_BIG || b.type == V_BIG) {
        if (op != T_DIV && a.type != V_FLOAT && b.type != V_FLOAT) return too_large(c, at);
        v = floats(c, at, op, value_as_double(a), value_as_double(b));
    } else {
        v = integers(c, at, op, jinja_as_integer(a), jinja_as_integer(b));
    }
    v.input = a.input || b.input;
    return v;
}

static struct value repeat(struct context *c, const struct node *at, struct value v,
                           struct value times) {
    int64_t n = jinja_as_integer(times);
    if (v.type == V_STR) {
        struct builder b;
        build_begin(&b, c->arena);
        for (int64_t i = 0; i < n && v.u.s->len > 0 && jinja_spend(c, 1); i++) build_str(&b, v.u.s);
        v.u.s = build_end(&b);
        return v;
    }
    struct value out = value_list(c->arena, (enum value_type)v.type);
    if (out.type == V_UNDEFINED) return out;
    (void)at;
    for (int64_t i = 0; i < n && v.u.list->n > 0 && jinja_spend(c, 1 + v.u.list->n / 4); i++) {
        for (size_t k = 0; k < v.u.list->n; k++) {
            list_add(c->arena, out.u.list, v.u.list->items[k]);
        }
    }
    return out;
}

static struct value join_values(struct context *c, struct value a, struct value b) {
    if (a.type == V_STR) {
        if (a.safe != b.safe) { // what is marked as safe wants the other escaped
            if (a.safe)
                b = jinja_escape_html(c, b);
            else
                a = jinja_escape_html(c, a);
        }
        struct builder both;
        build_begin(&both, c->arena);
        build_str(&both, a.u.s);
        build_str(&both, b.u.s);
        a.u.s = build_end(&both);
        return a;
    }
    struct value out = value_list(c->arena, (enum value_type)a.type);
    if (out.type == V_UNDEFINED || !jinja_spend(c, (a.u.list->n + b.u.list->n) / 4)) return out;
    for (size_t i = 0; i < a.u.list->n; i++) list_add(c->arena, out.u.list, a.u.list->items[i]);
    for (size_t i = 0; i < b.u.list->n; i++) list_add(c->arena, out.u.list, b.u.list->items[i]);
    return out;
}

struct value jinja_binary(struct context *c, const struct node *at, int op, struct value a,
                          struct value b) {
    static const char *const names[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};
    bool a_row = a.type == V_STR || a.type == V_LIST || a.type == V_TUPLE;
    bool b_row = b.type == V_STR || b.type == V_LIST || b.type == V_TUPLE;
    if (!jinja_spend(c, 1)) return (struct value){0};
    if (value_is_number(a) && value_is_number(b)) return numbers(c, at, op, a, b);
    if (op == T_ADD && a_row && a.type == b.type) return join_values(c, a, b);
    if (op == T_MUL && a_row && jinja_is_integer(b)) return repeat(c, at, a, b);
    if (op == T_MUL && b_row && jinja_is_integer(a)) return repeat(c, at, b, a);
    if (op == T_MOD && a.type == V_STR) return jinja_format_percent(c, at, a.u.s, b);
    return wrong_types(c, at, names[op - T_ADD], a, b);
}
