/* Expressions of the template language, with Python's precedence. */
#include "jinja_parse.h"

#include <stdio.h>
#include <string.h>

static struct node *parse_unary(struct parser *p, bool with_filter);
static struct node *parse_postfix(struct parser *p, struct node *n);

static bool tuple_ends(const struct parser *p, enum tuple_end end) {
    if (parser_is(p, T_PRINT_END) || parser_is(p, T_BLOCK_END) || parser_is(p, T_RPAREN))
        return true;
    if (end == END_AT_IN) return parser_is_name(p, "in");
    return end == END_AT_RECURSIVE && parser_is_name(p, "recursive");
}

struct node *parser_tuple(struct parser *p, struct node *(*parse)(struct parser *),
                          enum tuple_end end, bool in_parentheses) {
    size_t at = parser_token(p)->at;
    struct block items = {0};
    bool is_tuple = false;
    while (!p->failed) {
        if (items.n > 0) parser_expect(p, T_COMMA, "','");
        if (tuple_ends(p, end)) break;
        parser_add(p, &items, parse(p));
        if (!parser_is(p, T_COMMA)) break;
        is_tuple = true;
    }
    if (!is_tuple && items.n > 0) return items.nodes[0];
    if (!is_tuple && !in_parentheses) {
        char found[64];
        parser_fail(p, parser_token(p)->at, "expected an expression, found %s",
                    parser_describe(p, found));
    }
    return parser_with_items(parser_node(p, N_TUPLE, at), &items);
}

static struct node *parse_list(struct parser *p) {
    struct node *n = parser_node(p, N_LIST, parser_advance(p)->at);
    struct block items = {0};
    while (!p->failed && !parser_is(p, T_RBRACKET)) {
        if (items.n > 0) parser_expect(p, T_COMMA, "',' or ']'");
        if (parser_is(p, T_RBRACKET)) break;
        parser_add(p, &items, parser_expression(p));
    }
    parser_expect(p, T_RBRACKET, "']'");
    return parser_with_items(n, &items);
}

static struct node *parse_dict(struct parser *p) {
    struct node *n = parser_node(p, N_DICT, parser_advance(p)->at);
    struct block items = {0};
    while (!p->failed && !parser_is(p, T_RBRACE)) {
        if (items.n > 0) parser_expect(p, T_COMMA, "',' or '}'");
        if (parser_is(p, T_RBRACE)) break;
        parser_add(p, &items, parser_expression(p));
        parser_expect(p, T_COLON, "':'");
        parser_add(p, &items, parser_expression(p));
    }
    parser_expect(p, T_RBRACE, "'}'");
    return parser_with_items(n, &items);
}

static struct node *parse_name(struct parser *p) {
    const struct token *k = parser_advance(p);
    const struct str *s = k->value.u.s;
    struct node *n = parser_node(p, N_CONST, k->at);
    if (str_is(s, "true") || str_is(s, "True")) {
        n->value = value_bool(true);
    } else if (str_is(s, "false") || str_is(s, "False")) {
        n->value = value_bool(false);
    } else if (str_is(s, "none") || str_is(s, "None")) {
        n->value = value_none();
    } else {
        n->kind = N_NAME;
        n->name = s;
        for (int i = 0; i < p->n_macros; i++) {
            if (str_is(s, "caller")) p->macro[i]->takes_caller = true;
            if (str_is(s, "kwargs")) p->macro[i]->takes_kwargs = true;
            if (str_is(s, "varargs")) p->macro[i]->takes_varargs = true;
        }
    }
    return n;
}

/* "a" "b" is "ab". */
static struct node *parse_strings(struct parser *p) {
    struct node *n = parser_node(p, N_CONST, parser_token(p)->at);
    n->value = parser_advance(p)->value;
    if (!parser_is(p, T_STRING)) return n;
    struct builder b;
    build_begin(&b, &p->t->arena);
    build_str(&b, n->value.u.s);
    while (parser_is(p, T_STRING)) build_str(&b, parser_advance(p)->value.u.s);
    n->value = value_str(jinja_intern(p->t, build_end(&b)));
    return n;
}

struct node *parser_primary(struct parser *p) {
    struct node *n;
    char found[64];
    switch (parser_token(p)->type) {
    case T_NAME:
        return parse_name(p);
    case T_STRING:
        return parse_strings(p);
    case T_NUMBER:
        n = parser_node(p, N_CONST, parser_token(p)->at);
        n->value = parser_advance(p)->value;
        return n;
    case T_LPAREN:
        parser_advance(p);
        n = parser_tuple(p, parser_expression, END_AT_TAG, true);
        parser_expect(p, T_RPAREN, "')'");
        return n;
    case T_LBRACKET:
        return parse_list(p);
    case T_LBRACE:
        return parse_dict(p);
    default:
        parser_fail(p, parser_token(p)->at, "unexpected %s", parser_describe(p, found));
        return &parser_nothing;
    }
}

/* One index or slice between brackets. */
static struct node *parse_subscript(struct parser *p) {
    size_t at = parser_token(p)->at;
    struct node *from = NULL;
    if (!parser_is(p, T_COLON)) {
        from = parser_expression(p);
        if (!parser_is(p, T_COLON)) return from;
    }
    struct node *n = parser_node(p, N_SLICE, at);
    n->a = from;
    parser_advance(p);
    if (!parser_is(p, T_COLON) && !parser_is(p, T_RBRACKET) && !parser_is(p, T_COMMA))
        n->b = parser_expression(p);
    if (parser_accept(p, T_COLON) && !parser_is(p, T_RBRACKET) && !parser_is(p, T_COMMA))
        n->c = parser_expression(p);
    return n;
}

static struct node *parse_brackets(struct parser *p, struct node *object) {
    struct node *n = parser_node(p, N_ITEM, parser_advance(p)->at);
    struct block items = {0};
    n->a = object;
    while (!p->failed && !parser_is(p, T_RBRACKET)) {
        if (items.n > 0) parser_expect(p, T_COMMA, "',' or ']'");
        parser_add(p, &items, parse_subscript(p));
    }
    parser_expect(p, T_RBRACKET, "']'");
    n->b =
        items.n == 1 ? items.nodes[0] : parser_with_items(parser_node(p, N_TUPLE, n->at), &items);
    return n;
}

static struct node *parse_dot(struct parser *p, struct node *object) {
    struct node *n = parser_node(p, N_ATTR, parser_advance(p)->at);
    n->a = object;
    if (parser_is(p, T_NUMBER) && parser_token(p)->value.type == V_INT) {
        n->kind = N_ITEM;
        n->b = parser_primary(p);
    } else {
        n->name = parser_expect_name(p);
    }
    return n;
}

static void add_keyword(struct parser *p, struct arguments *args, const struct str *name,
                        struct node *value) {
    size_t n = args->n_keywords;
    if (n == MAX_NAMES) parser_fail(p, value->at, "too many keyword arguments");
    struct keyword *larger =
        arena_grow(&p->t->arena, args->keywords, n * sizeof *larger, (n + 1) * sizeof *larger);
    if (!larger) {
        parser_out_of_room(p);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (larger[i].name == name) parser_fail(p, value->at, "a keyword argument is repeated");
    }
    larger[n] = (struct keyword){name, value};
    args->keywords = larger;
    args->n_keywords = n + 1;
}

/* One argument; out of order it fails. */
static void parse_argument(struct parser *p, struct arguments *args, struct block *items) {
    size_t at = parser_token(p)->at;
    bool ordered = !args->dict;
    if (parser_accept(p, T_MUL)) {
        ordered = ordered && !args->list;
        args->list = parser_expression(p);
    } else if (parser_accept(p, T_POW)) {
        args->dict = parser_expression(p);
    } else if (parser_is(p, T_NAME) && p->t->tokens[p->at + 1].type == T_ASSIGN) {
        const struct str *name = parser_advance(p)->value.u.s;
        parser_advance(p);
        add_keyword(p, args, name, parser_expression(p));
    } else {
        ordered = ordered && !args->list && args->n_keywords == 0;
        parser_add(p, items, parser_expression(p));
    }
    if (!ordered) parser_fail(p, at, "arguments are out of order");
}

static struct arguments *parse_arguments(struct parser *p) {
    struct arguments *args = parser_memory(p, sizeof *args);
    struct block items = {0};
    parser_advance(p);
    for (bool first = true; args && !p->failed && !parser_is(p, T_RPAREN); first = false) {
        if (!first) parser_expect(p, T_COMMA, "',' or ')'");
        if (parser_is(p, T_RPAREN)) break;
        parse_argument(p, args, &items);
    }
    parser_expect(p, T_RPAREN, "')'");
    if (args) {
        args->items = items.nodes;
        args->n = items.n;
    }
    return args;
}

static struct node *parse_call(struct parser *p, struct node *callee) {
    struct node *n = parser_node(p, N_CALL, parser_token(p)->at);
    n->a = callee;
    n->args = parse_arguments(p);
    return n;
}

static struct node *parse_postfix(struct parser *p, struct node *n) {
    while (!p->failed) {
        if (parser_is(p, T_DOT))
            n = parse_dot(p, n);
        else if (parser_is(p, T_LBRACKET))
            n = parse_brackets(p, n);
        else if (parser_is(p, T_LPAREN))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

/* An unknown filter or test is an error of the template, but for one that an `if` guards: that is
 * one when it is reached. The `if` of "... if ..." comes later, so the error waits. */
static const struct builtin *find_word(struct parser *p, const struct str *name, size_t at,
                                       bool filter) {
    const struct builtin *b =
        filter ? jinja_find_filter(name) : jinja_find_builtin(jinja_tests, name);
    if (!b && !p->soft && !p->unknown) {
        p->unknown = name;
        p->unknown_at = at;
        p->unknown_filter = filter;
    }
    return b;
}

/* Names may have dots; no filter or test has one. */
static const struct str *parse_word(struct parser *p) {
    struct builder b;
    build_begin(&b, &p->t->arena);
    build_str(&b, parser_expect_name(p));
    while (parser_accept(p, T_DOT)) {
        build_text(&b, ".", false);
        build_str(&b, parser_expect_name(p));
    }
    return jinja_intern(p->t, build_end(&b));
}

struct node *parser_filter(struct parser *p, struct node *filtered) {
    struct node *n = parser_node(p, N_FILTER, parser_token(p)->at);
    n->a = filtered;
    n->name = parse_word(p);
    n->builtin = find_word(p, n->name, n->at, true);
    if (parser_is(p, T_LPAREN)) n->args = parse_arguments(p);
    return n;
}

/* After "is". A test may take one argument without parentheses. */
static struct node *parse_test(struct parser *p, struct node *tested) {
    bool negated = parser_accept_name(p, "not");
    struct node *n = parser_node(p, N_TEST, parser_token(p)->at);
    n->a = tested;
    n->name = parse_word(p);
    n->builtin = find_word(p, n->name, n->at, false);
    enum token_type next = parser_token(p)->type;
    bool argument = next == T_NAME || next == T_STRING || next == T_NUMBER || next == T_LBRACKET ||
                    next == T_LBRACE;
    if (next == T_LPAREN) {
        n->args = parse_arguments(p);
    } else if (argument && !parser_is_name(p, "else") && !parser_is_name(p, "or") &&
               !parser_is_name(p, "and")) {
        if (parser_is_name(p, "is"))
            parser_fail(p, parser_token(p)->at, "tests cannot be chained with is");
        struct block items = {0};
        parser_add(p, &items, parse_postfix(p, parser_primary(p)));
        n->args = parser_memory(p, sizeof *n->args);
        if (n->args) *n->args = (struct arguments){.items = items.nodes, .n = items.n};
    }
    if (!negated) return n;
    struct node *not = parser_node(p, N_NOT, n->at);
    not ->a = n;
    return not ;
}

static struct node *parse_filters(struct parser *p, struct node *n) {
    while (!p->failed) {
        if (parser_accept(p, T_PIPE))
            n = parser_filter(p, n);
        else if (parser_accept_name(p, "is"))
            n = parse_test(p, n);
        else if (parser_is(p, T_LPAREN))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

static struct node *parse_unary(struct parser *p, bool with_filter) {
    struct node *n;
    if (!parser_go_deeper(p)) return &parser_nothing;
    if (parser_is(p, T_SUB) || parser_is(p, T_ADD)) {
        n = parser_node(p, parser_is(p, T_SUB) ? N_NEG : N_POS, parser_token(p)->at);
        parser_advance(p);
        n->a = parse_unary(p, false);
    } else {
        n = parser_primary(p);
    }
    n = parse_postfix(p, n);
    p->nesting--;
    return with_filter ? parse_filters(p, n) : n;
}

static struct node *parse_operand(struct parser *p) {
    return parse_unary(p, true);
}

/* A chain of operators first..last, from the left. */
static struct node *parse_chain(struct parser *p, struct node *(*parse)(struct parser *),
                                enum token_type first, enum token_type last) {
    struct node *left = parse(p);
    while (!p->failed && parser_token(p)->type >= first && parser_token(p)->type <= last) {
        struct node *n = parser_node(p, N_BINARY, parser_token(p)->at);
        n->op = parser_advance(p)->type;
        n->a = left;
        n->b = parse(p);
        left = n;
    }
    return left;
}

static struct node *parse_power(struct parser *p) {
    return parse_chain(p, parse_operand, T_POW, T_POW);
}

static struct node *parse_product(struct parser *p) {
    return parse_chain(p, parse_power, T_MUL, T_MOD);
}

static struct node *parse_concat(struct parser *p) {
    size_t at = parser_token(p)->at;
    struct node *first = parse_product(p);
    if (!parser_is(p, T_TILDE)) return first;
    struct block items = {0};
    parser_add(p, &items, first);
    while (!p->failed && parser_accept(p, T_TILDE)) parser_add(p, &items, parse_product(p));
    return parser_with_items(parser_node(p, N_CONCAT, at), &items);
}

static struct node *parse_sum(struct parser *p) {
    return parse_chain(p, parse_concat, T_ADD, T_SUB);
}

static struct node *parse_compare(struct parser *p) {
    size_t at = parser_token(p)->at;
    struct node *first = parse_sum(p);
    struct block items = {0};
    while (!p->failed) {
        enum token_type op = parser_token(p)->type;
        size_t op_at = parser_token(p)->at;
        if (op >= T_EQ && op <= T_LE) {
            parser_advance(p);
        } else if (parser_accept_name(p, "in")) {
            op = T_IN;
        } else if (parser_is_name(p, "not") && p->t->tokens[p->at + 1].type == T_NAME &&
                   str_is(p->t->tokens[p->at + 1].value.u.s, "in")) {
            p->at += 2;
            op = T_NOT_IN;
        } else {
            break;
        }
        struct node *operand = parser_node(p, N_OPERAND, op_at);
        operand->op = (unsigned char)op;
        operand->a = parse_sum(p);
        parser_add(p, &items, operand);
    }
    if (items.n == 0) return first;
    struct node *n = parser_with_items(parser_node(p, N_COMPARE, at), &items);
    n->a = first;
    return n;
}

static struct node *parse_not(struct parser *p) {
    if (!parser_is_name(p, "not")) return parse_compare(p);
    struct node *n = parser_node(p, N_NOT, parser_advance(p)->at);
    if (!parser_go_deeper(p)) return &parser_nothing;
    n->a = parse_not(p);
    p->nesting--;
    return n;
}

static struct node *parse_and(struct parser *p) {
    struct node *left = parse_not(p);
    while (!p->failed && parser_is_name(p, "and")) {
        struct node *n = parser_node(p, N_AND, parser_advance(p)->at);
        n->a = left;
        n->b = parse_not(p);
        left = n;
    }
    return left;
}

struct node *parser_or(struct parser *p) {
    struct node *left = parse_and(p);
    while (!p->failed && parser_is_name(p, "or")) {
        struct node *n = parser_node(p, N_OR, parser_advance(p)->at);
        n->a = left;
        n->b = parse_and(p);
        left = n;
    }
    return left;
}

/* With "... if ... else ...". */
struct node *parser_expression(struct parser *p) {
    if (!parser_go_deeper(p)) return &parser_nothing;
    bool soft = p->soft;
    const struct str *unknown = p->unknown;
    struct node *left = parser_or(p);
    if (parser_is_name(p, "if")) {
        p->unknown = unknown;
        p->soft = true;
    }
    while (!p->failed && parser_is_name(p, "if")) {
        struct node *n = parser_node(p, N_COND, parser_advance(p)->at);
        n->a = left;
        n->b = parser_or(p);
        if (parser_accept_name(p, "else")) n->c = parser_expression(p);
        left = n;
    }
    p->soft = soft;
    p->nesting--;
    return left;
}
