/* Jinja's tests: what stands behind `is`. */
#include "jinja_internal.h"

#include <math.h>

static struct value test_defined(struct call *k) {
    return value_bool(k->self.type != V_UNDEFINED);
}

static struct value test_undefined(struct call *k) {
    return value_bool(k->self.type == V_UNDEFINED);
}

static struct value test_none(struct call *k) {
    return value_bool(k->self.type == V_NONE);
}

static struct value test_boolean(struct call *k) {
    return value_bool(k->self.type == V_BOOL);
}

static struct value test_true(struct call *k) {
    return value_bool(k->self.type == V_BOOL && k->self.u.b);
}

static struct value test_false(struct call *k) {
    return value_bool(k->self.type == V_BOOL && !k->self.u.b);
}

static struct value test_integer(struct call *k) {
    return value_bool(k->self.type == V_INT || k->self.type == V_BIG);
}

static struct value test_float(struct call *k) {
    return value_bool(k->self.type == V_FLOAT);
}

static struct value test_number(struct call *k) {
    return value_bool(value_is_number(k->self));
}

static struct value test_string(struct call *k) {
    return value_bool(k->self.type == V_STR);
}

static struct value test_mapping(struct call *k) {
    return value_bool(k->self.type == V_DICT);
}

/* What has a length and can be indexed, a dict too; undefined has both in Jinja, if only to fail.
 */
static struct value test_sequence(struct call *k) {
    enum value_type t = (enum value_type)k->self.type;
    return value_bool(t == V_STR || t == V_LIST || t == V_TUPLE || t == V_DICT || t == V_RANGE ||
                      t == V_UNDEFINED);
}

static struct value test_iterable(struct call *k) {
    return value_bool(jinja_is_iterable(k->self));
}

static struct value test_callable(struct call *k) {
    return value_bool(jinja_is_callable(k->self));
}

static struct value test_escaped(struct call *k) {
    return value_bool(k->self.type == V_STR && k->self.safe);
}

static struct value test_filter(struct call *k) {
    if (!jinja_can_be_key(k->c, k->at, k->self)) return value_bool(false);
    return value_bool(k->self.type == V_STR && jinja_find_filter(k->self.u.s));
}

static struct value test_test(struct call *k) {
    if (!jinja_can_be_key(k->c, k->at, k->self)) return value_bool(false);
    return value_bool(k->self.type == V_STR && jinja_find_builtin(jinja_tests, k->self.u.s));
}

static struct value test_lower(struct call *k) {
    k->self = value_str(jinja_text_of(k->c, k->self));
    return jinja_str_islower(k);
}

static struct value test_upper(struct call *k) {
    k->self = value_str(jinja_text_of(k->c, k->self));
    return jinja_str_isupper(k);
}

static struct value remainder_is(struct call *k, struct value by, int64_t wanted) {
    struct value rest = jinja_binary(k->c, k->at, T_MOD, k->self, by);
    return value_bool(!k->c->failed && jinja_equal(k->c, rest, value_int(wanted)));
}

static struct value test_even(struct call *k) {
    return remainder_is(k, value_int(2), 0);
}

static struct value test_odd(struct call *k) {
    return remainder_is(k, value_int(2), 1);
}

static struct value test_divisibleby(struct call *k) {
    return remainder_is(k, k->arg[0], 0);
}

static struct value test_in(struct call *k) {
    return value_bool(jinja_contains(k->c, k->at, k->self, k->arg[0]));
}

/* The same object. Small numbers and equal constants are one in Python, too. */
static struct value test_sameas(struct call *k) {
    struct value a = k->self, b = k->arg[0];
    if (a.type != b.type) return value_bool(false);
    if (a.type == V_LIST || a.type == V_DICT) return value_bool(a.u.p == b.u.p);
    return value_bool(jinja_equal(k->c, a, b));
}

static struct value test_eq(struct call *k) {
    return value_bool(jinja_compare(k->c, k->at, T_EQ, k->self, k->arg[0]));
}

static struct value test_ne(struct call *k) {
    return value_bool(jinja_compare(k->c, k->at, T_NE, k->self, k->arg[0]));
}

static struct value test_lt(struct call *k) {
    return value_bool(jinja_compare(k->c, k->at, T_LT, k->self, k->arg[0]));
}

static struct value test_le(struct call *k) {
    return value_bool(jinja_compare(k->c, k->at, T_LE, k->self, k->arg[0]));
}

static struct value test_gt(struct call *k) {
    return value_bool(jinja_compare(k->c, k->at, T_GT, k->self, k->arg[0]));
}

static struct value test_ge(struct call *k) {
    return value_bool(jinja_compare(k->c, k->at, T_GE, k->self, k->arg[0]));
}

const struct builtin jinja_tests[] = {
    {"!=", test_ne, "other"},
    {"<", test_lt, "other"},
    {"<=", test_le, "other"},
    {"==", test_eq, "other"},
    {">", test_gt, "other"},
    {">=", test_ge, "other"},
    {"boolean", test_boolean, ""},
    {"callable", test_callable, ""},
    {"defined", test_defined, ""},
    {"divisibleby", test_divisibleby, "num"},
    {"eq", test_eq, "other"},
    {"equalto", test_eq, "other"},
    {"escaped", test_escaped, ""},
    {"even", test_even, ""},
    {"false", test_false, ""},
    {"filter", test_filter, ""},
    {"float", test_float, ""},
    {"ge", test_ge, "other"},
    {"greaterthan", test_gt, "other"},
    {"gt", test_gt, "other"},
    {"in", test_in, "seq"},
    {"integer", test_integer, ""},
    {"iterable", test_iterable, ""},
    {"le", test_le, "other"},
    {"lessthan", test_lt, "other"},
    {"lower", test_lower, ""},
    {"lt", test_lt, "other"},
    {"mapping", test_mapping, ""},
    {"ne", test_ne, "other"},
    {"none", test_none, ""},
    {"number", test_number, ""},
    {"odd", test_odd, ""},
    {"sameas", test_sameas, "other"},
    {"sequence", test_sequence, ""},
    {"string", test_string, ""},
    {"test", test_test, ""},
    {"true", test_true, ""},
    {"undefined", test_undefined, ""},
    {"upper", test_upper, ""},
    {NULL, NULL, NULL},
};
