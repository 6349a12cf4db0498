/* Tokens to a tree, with Jinja2's grammar: what both halves of the parser use, and statements. */
#include "jinja_parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct token *parser_token(const struct parser *p) {
    return &p->t->tokens[p->at];
}

void parser_fail(struct parser *p, size_t at, const char *format, ...) {
    char what[300];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (!p->failed) jinja_error(p->t, at, p->err, "%s", what);
    p->failed = true;
    p->at = p->t->n_tokens - 1;
}

void parser_out_of_room(struct parser *p) {
    bool none = p->t->arena.no_memory;
    if (!p->failed) {
        error_set(p->err, none ? KQ_NO_MEMORY : KQ_FULL, "template: %s",
                  none ? "out of memory" : "too large");
    }
    p->failed = true;
    p->at = p->t->n_tokens - 1;
}

const char *parser_describe(struct parser *p, char out[64]) {
    const struct token *k = parser_token(p);
    const char *source = p->t->source + k->at;
    size_t n = 1, left = p->t->len - k->at;
    if (k->type == T_END) return "the end of the template";
    if (k->type == T_DATA) return "text";
    if (k->type == T_NAME) n = k->value.u.s->len < 40 ? k->value.u.s->len : 40;
    if (k->type == T_BLOCK_END || k->type == T_PRINT_END || k->type == T_BLOCK_BEGIN) n = 2;
    if (k->type == T_STRING) return "a string";
    if (k->type == T_NUMBER) return "a number";
    snprintf(out, 64, "'%.*s'", (int)(n < left ? n : left), source);
    return out;
}

bool parser_is(const struct parser *p, enum token_type type) {
    return parser_token(p)->type == type;
}

bool parser_is_name(const struct parser *p, const char *name) {
    return parser_is(p, T_NAME) && str_is(parser_token(p)->value.u.s, name);
}

const struct token *parser_advance(struct parser *p) {
    const struct token *k = parser_token(p);
    if (k->type != T_END) p->at++;
    return k;
}

bool parser_accept(struct parser *p, enum token_type type) {
    if (!parser_is(p, type)) return false;
    parser_advance(p);
    return true;
}

bool parser_accept_name(struct parser *p, const char *name) {
    if (!parser_is_name(p, name)) return false;
    parser_advance(p);
    return true;
}

void parser_expect(struct parser *p, enum token_type type, const char *what) {
    char found[64];
    if (!parser_accept(p, type)) {
        parser_fail(p, parser_token(p)->at, "expected %s, found %s", what,
                    parser_describe(p, found));
    }
}

const struct str *parser_expect_name(struct parser *p) {
    if (parser_is(p, T_NAME)) return parser_advance(p)->value.u.s;
    parser_expect(p, T_NAME, "a name");
    return &str_empty;
}

struct node parser_nothing = {.kind = N_CONST};

struct node *parser_node(struct parser *p, enum node_kind kind, size_t at) {
    struct node *n = arena_alloc(&p->t->arena, sizeof *n);
    if (!n) {
        parser_out_of_room(p);
        return &parser_nothing;
    }
    *n = (struct node){.kind = (unsigned char)kind, .at = (uint32_t)at};
    return n;
}

void *parser_memory(struct parser *p, size_t size) {
    void *memory = arena_alloc(&p->t->arena, size);
    if (!memory)
        parser_out_of_room(p);
    else
        memset(memory, 0, size);
    return memory;
}

void parser_add(struct parser *p, struct block *block, struct node *n) {
    if (block->n == block->capacity) {
        size_t capacity = block->capacity ? 2 * block->capacity : 4;
        struct node **larger =
            arena_grow(&p->t->arena, block->nodes, block->capacity * sizeof(struct node *),
                       capacity * sizeof(struct node *));
        if (!larger) {
            parser_out_of_room(p);
            return;
        }
        block->nodes = larger;
        block->capacity = capacity;
    }
    block->nodes[block->n++] = n;
}

struct node *parser_with_items(struct node *n, const struct block *items) {
    n->items = items->nodes;
    n->n = items->n;
    return n;
}

bool parser_go_deeper(struct parser *p) {
    if (++p->nesting > MAX_NESTING) parser_fail(p, parser_token(p)->at, "nested too deeply");
    return !p->failed;
}

/* ---- statements ------------------------------------------------------------------------------ */

static void parse_body(struct parser *p, struct block *body, const char *const *ends);

/* The rest of a tag, then everything up to one of the tags `ends` (NULL-terminated), whose name is
 * the token after it. New scopes (a loop's body, but not an if's) begin hard. */
static struct block parse_until(struct parser *p, bool new_scope, const char *const *ends) {
    struct block body = {0};
    bool soft = p->soft;
    if (new_scope) p->soft = false;
    parser_accept(p, T_COLON);
    parser_expect(p, T_BLOCK_END, "'%}'");
    if (parser_go_deeper(p)) parse_body(p, &body, ends);
    p->nesting--;
    p->soft = soft;
    return body;
}

#define ENDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct block *new_blocks(struct parser *p, struct node *n, size_t count) {
    n->blocks = parser_memory(p, count * sizeof *n->blocks);
    return n->blocks;
}

/* What can be assigned to: names, tuples of them. */
static void check_target(struct parser *p, struct node *n) {
    bool names = n->kind == N_TUPLE || n->kind == N_LIST;
    for (size_t i = 0; names && i < n->n; i++) check_target(p, n->items[i]);
    if (n->kind != N_NAME && n->kind != N_SET_ATTR && n->kind != N_TUPLE) {
        parser_fail(p, n->at, "this cannot be assigned to");
    }
    if (n->kind == N_NAME && p->n_loops > 0 && str_is(n->name, "loop")) {
        parser_fail(p, n->at, "the variable loop of a for cannot be assigned to");
    }
}

static struct node *parse_target(struct parser *p, enum tuple_end end) {
    struct node *n = parser_tuple(p, parser_primary, end, false);
    if (!p->failed) check_target(p, n);
    return n;
}

static struct node *parse_for(struct parser *p, struct node *n) {
    n->kind = N_FOR;
    p->n_loops++;
    n->a = parse_target(p, END_AT_IN);
    if (!parser_accept_name(p, "in"))
        parser_fail(p, parser_token(p)->at, "expected 'in' after the loop's variable");
    n->b = parser_tuple(p, parser_or, END_AT_RECURSIVE, false);
    bool soft = p->soft;
    p->soft = false;
    if (parser_accept_name(p, "if")) n->c = parser_expression(p);
    p->soft = soft;
    n->flag = parser_accept_name(p, "recursive");
    struct block *blocks = new_blocks(p, n, 2);
    if (!blocks) return n;
    blocks[0] = parse_until(p, true, ENDS("endfor", "else"));
    bool otherwise = parser_is_name(p, "else");
    parser_advance(p);
    p->n_loops--;
    if (otherwise) {
        blocks[1] = parse_until(p, true, ENDS("endfor"));
        parser_advance(p);
    }
    return n;
}

static struct node *parse_if(struct parser *p, struct node *n) {
    struct block tests = {0}, bodies = {0};
    bool soft = p->soft, more = true;
    p->soft = true;
    n->kind = N_IF;
    while (more && !p->failed) {
        parser_add(p, &tests, parser_tuple(p, parser_or, END_AT_TAG, false));
        struct node *body = parser_node(p, N_SCOPE, parser_token(p)->at);
        struct block *block = new_blocks(p, body, 1);
        if (block) *block = parse_until(p, false, ENDS("elif", "else", "endif"));
        parser_add(p, &bodies, body);
        more = parser_is_name(p, "elif");
        if (more) parser_advance(p);
    }
    bool otherwise = parser_is_name(p, "else");
    parser_advance(p);
    struct block *blocks = new_blocks(p, n, bodies.n + 1);
    for (size_t i = 0; blocks && i < bodies.n; i++) {
        if (bodies.nodes[i]->blocks) blocks[i] = *bodies.nodes[i]->blocks;
    }
    if (blocks && otherwise) {
        blocks[bodies.n] = parse_until(p, false, ENDS("endif"));
        parser_advance(p);
    }
    p->soft = soft;
    return parser_with_items(n, &tests);
}

static struct node *parse_filter_chain(struct parser *p, struct node *filtered) {
    struct node *n = filtered;
    while (!p->failed && parser_accept(p, T_PIPE)) n = parser_filter(p, n);
    return n;
}

static struct node *parse_set(struct parser *p, struct node *n) {
    n->kind = N_SET;
    if (parser_is(p, T_NAME) && p->t->tokens[p->at + 1].type == T_DOT) {
        n->a = parser_node(p, N_SET_ATTR, parser_token(p)->at);
        n->a->name = parser_advance(p)->value.u.s;
        parser_advance(p);
        n->a->value = value_str(parser_expect_name(p));
    } else {
        n->a = parse_target(p, END_AT_TAG);
    }
    if (parser_accept(p, T_ASSIGN)) {
        n->b = parser_tuple(p, parser_expression, END_AT_TAG, false);
        return n;
    }
    n->kind = N_SET_BLOCK;
    n->c = parse_filter_chain(p, NULL);
    struct block *body = new_blocks(p, n, 1);
    if (body) *body = parse_until(p, true, ENDS("endset"));
    parser_advance(p);
    return n;
}

static void parse_parameters(struct parser *p, struct macro_info *m) {
    struct block names = {0}, defaults = {0};
    bool some_default = false;
    parser_expect(p, T_LPAREN, "'('");
    while (!p->failed && !parser_is(p, T_RPAREN)) {
        if (names.n > 0) parser_expect(p, T_COMMA, "',' or ')'");
        struct node *name = parser_node(p, N_NAME, parser_token(p)->at);
        name->name = parser_expect_name(p);
        if (names.n == MAX_NAMES) parser_fail(p, name->at, "too many parameters");
        for (size_t i = 0; i < names.n; i++) {
            if (names.nodes[i]->name == name->name)
                parser_fail(p, name->at, "a parameter is repeated");
        }
        parser_add(p, &names, name);
        struct node *value = parser_accept(p, T_ASSIGN) ? parser_expression(p) : NULL;
        if (!value && some_default) {
            parser_fail(p, name->at, "a parameter without a default follows one that has one");
        }
        some_default = value != NULL;
        parser_add(p, &defaults, value);
    }
    parser_expect(p, T_RPAREN, "')'");
    m->defaults = defaults.nodes;
    m->names = parser_memory(p, names.n * sizeof *m->names + 1);
    for (size_t i = 0; m->names && i < names.n; i++) m->names[i] = names.nodes[i]->name;
    m->n = m->names ? names.n : 0;
}

static void parse_macro_body(struct parser *p, struct macro_info *m, const char *end) {
    int n_loops = p->n_loops;
    if (p->n_macros == sizeof p->macro / sizeof *p->macro) {
        parser_fail(p, parser_token(p)->at, "macros are nested too deeply");
        return;
    }
    p->n_loops = 0;
    p->macro[p->n_macros++] = m;
    m->body = parse_until(p, true, ENDS(end));
    parser_advance(p);
    p->n_macros--;
    p->n_loops = n_loops;
    for (size_t i = 0; i < m->n; i++) {
        if (str_is(m->names[i], "caller")) m->takes_caller = false;
        if (str_is(m->names[i], "kwargs")) m->takes_kwargs = false;
        if (str_is(m->names[i], "varargs")) m->takes_varargs = false;
    }
}

static struct node *parse_macro(struct parser *p, struct node *n) {
    n->kind = N_MACRO;
    n->name = parser_expect_name(p);
    n->macro = parser_memory(p, sizeof *n->macro);
    if (!n->macro) return n;
    parse_parameters(p, n->macro);
    parse_macro_body(p, n->macro, "endmacro");
    return n;
}

static struct node *parse_call_block(struct parser *p, struct node *n) {
    n->kind = N_CALL_BLOCK;
    n->macro = parser_memory(p, sizeof *n->macro);
    if (!n->macro) return n;
    if (parser_is(p, T_LPAREN)) parse_parameters(p, n->macro);
    n->a = parser_expression(p);
    if (n->a->kind != N_CALL) parser_fail(p, n->at, "expected a call");
    parse_macro_body(p, n->macro, "endcall");
    return n;
}

static struct node *parse_filter_block(struct parser *p, struct node *n) {
    n->kind = N_FILTER_BLOCK;
    n->c = parse_filter_chain(p, parser_filter(p, NULL));
    struct block *body = new_blocks(p, n, 1);
    if (body) *body = parse_until(p, true, ENDS("endfilter"));
    parser_advance(p);
    return n;
}

static struct node *parse_with(struct parser *p, struct node *n) {
    struct block items = {0};
    n->kind = N_WITH;
    while (!p->failed && !parser_is(p, T_BLOCK_END)) {
        if (items.n > 0) parser_expect(p, T_COMMA, "',' or '%}'");
        struct node *target = parser_tuple(p, parser_primary, END_AT_TAG, false);
        if (!p->failed) check_target(p, target);
        parser_add(p, &items, target);
        parser_expect(p, T_ASSIGN, "'='");
        parser_add(p, &items, parser_expression(p));
    }
    struct block *body = new_blocks(p, n, 1);
    if (body) *body = parse_until(p, true, ENDS("endwith"));
    parser_advance(p);
    return parser_with_items(n, &items);
}

/* A generation block marks what a model wrote; for the text it is a macro that is called at once.
 */
static struct node *parse_generation(struct parser *p, struct node *n) {
    n->kind = N_CALL_BLOCK;
    n->macro = parser_memory(p, sizeof *n->macro);
    if (n->macro) parse_macro_body(p, n->macro, "endgeneration");
    return n;
}

static struct node *parse_autoescape(struct parser *p, struct node *n) {
    n->kind = N_SCOPE;
    struct node *on = parser_expression(p);
    if (on->kind != N_CONST || jinja_truth(on->value)) {
        parser_fail(p, n->at, "autoescape can only be switched off here");
    }
    struct block *body = new_blocks(p, n, 1);
    if (body) *body = parse_until(p, true, ENDS("endautoescape"));
    parser_advance(p);
    return n;
}

static struct node *parse_print(struct parser *p, struct node *n) {
    struct block items = {0};
    n->kind = N_CONCAT;
    while (!p->failed && !parser_is(p, T_BLOCK_END)) {
        if (items.n > 0) parser_expect(p, T_COMMA, "',' or '%}'");
        parser_add(p, &items, parser_expression(p));
    }
    struct node *print = parser_node(p, N_PRINT, n->at);
    print->a = parser_with_items(n, &items);
    return print;
}

static struct node *parse_jump(struct parser *p, struct node *n, enum node_kind kind) {
    n->kind = (unsigned char)kind;
    if (p->n_loops == 0) parser_fail(p, n->at, "outside of a loop");
    return n;
}

static struct node *parse_break(struct parser *p, struct node *n) {
    return parse_jump(p, n, N_BREAK);
}

static struct node *parse_continue(struct parser *p, struct node *n) {
    return parse_jump(p, n, N_CONTINUE);
}

static struct node *parse_other_file(struct parser *p, struct node *n) {
    parser_fail(p, n->at, "a chat template cannot use other templates");
    return n;
}

static const struct {
    const char *name;
    struct node *(*parse)(struct parser *p, struct node *n);
} statements[] = {
    {"if", parse_if},
    {"for", parse_for},
    {"set", parse_set},
    {"macro", parse_macro},
    {"call", parse_call_block},
    {"filter", parse_filter_block},
    {"with", parse_with},
    {"generation", parse_generation},
    {"autoescape", parse_autoescape},
    {"print", parse_print},
    {"break", parse_break},
    {"continue", parse_continue},
    {"include", parse_other_file},
    {"import", parse_other_file},
    {"from", parse_other_file},
    {"extends", parse_other_file},
    {"block", parse_other_file},
};

static struct node *parse_statement(struct parser *p) {
    const struct token *k = parser_token(p);
    char found[64];
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        if (!parser_is_name(p, statements[i].name)) continue;
        struct node *n = parser_node(p, N_SCOPE, parser_advance(p)->at);
        return statements[i].parse(p, n);
    }
    parser_fail(p, k->at, "unknown tag %s", parser_describe(p, found));
    return &parser_nothing;
}

static bool at_end_tag(const struct parser *p, const char *const *ends) {
    for (; ends && *ends; ends++) {
        if (parser_is_name(p, *ends)) return true;
    }
    return false;
}

/* Up to the name of an end tag (ends NULL: to the end of the template). */
static void parse_body(struct parser *p, struct block *body, const char *const *ends) {
    while (!p->failed && !parser_is(p, T_END)) {
        const struct token *k = parser_advance(p);
        struct node *n = &parser_nothing;
        if (k->type == T_DATA) {
            n = parser_node(p, N_DATA, k->at);
            n->value = k->value;
        } else if (k->type == T_PRINT_BEGIN) {
            n = parser_node(p, N_PRINT, k->at);
            n->a = parser_tuple(p, parser_expression, END_AT_TAG, false);
            parser_expect(p, T_PRINT_END, "'}}'");
        } else {
            if (at_end_tag(p, ends)) return;
            n = parse_statement(p);
            parser_expect(p, T_BLOCK_END, "'%}'");
        }
        parser_add(p, body, n);
    }
    if (ends) parser_fail(p, parser_token(p)->at, "the template ends before {%% %s %%}", ends[0]);
}

int jinja_parse(struct jinja *t, struct error *err) {
    struct parser p = {.t = t, .err = err};
    parse_body(&p, &t->body, NULL);
    if (p.unknown && !p.failed) {
        parser_fail(&p, p.unknown_at, "no %s named '%.*s'", p.unknown_filter ? "filter" : "test",
                    p.unknown->len < 60 ? (int)p.unknown->len : 60, p.unknown->data);
    }
    return p.failed ? -1 : 0;
}
