/* What the two halves of the parser share: jinja_parse.c reads statements, jinja_expression.c
 * expressions. An error sticks, and moves on to the end of the tokens, so that every loop ends. */
#ifndef JINJA_PARSE_H
#define JINJA_PARSE_H

#include "jinja_internal.h"

#define MAX_NESTING 300 // of expressions and statements in each other
#define MAX_NAMES 255   // parameters of a macro, keyword arguments of a call

struct parser {
    struct jinja *t;
    size_t at;
    int nesting;
    bool failed;
    bool soft;                 // inside an if of this scope
    const struct str *unknown; // filter or test, or NULL
    size_t unknown_at;
    bool unknown_filter;
    int n_loops;                 // that a break would be in
    struct macro_info *macro[8]; // the bodies being read, innermost last
    int n_macros;
    struct error *err;
};

/* Something that stands for what could not be made. */
extern struct node parser_nothing;

const struct token *parser_token(const struct parser *p); // the one that is next
void parser_fail(struct parser *p, size_t at, const char *format, ...) PRINTF_LIKE(3, 4);
void parser_out_of_room(struct parser *p);
/* What a reader of the template sees at the next token. */
const char *parser_describe(struct parser *p, char out[64]);
bool parser_is(const struct parser *p, enum token_type type);
bool parser_is_name(const struct parser *p, const char *name);
const struct token *parser_advance(struct parser *p);
bool parser_accept(struct parser *p, enum token_type type);
bool parser_accept_name(struct parser *p, const char *name);
void parser_expect(struct parser *p, enum token_type type, const char *what);
const struct str *parser_expect_name(struct parser *p);
/* False, and an error, if too much is nested already; the caller takes 1 off p->nesting after. */
bool parser_go_deeper(struct parser *p);

struct node *parser_node(struct parser *p, enum node_kind kind, size_t at);
void *parser_memory(struct parser *p, size_t size); // all zero; NULL after an error
void parser_add(struct parser *p, struct block *block, struct node *n);
struct node *parser_with_items(struct node *n, const struct block *items);

enum tuple_end { END_AT_TAG, END_AT_IN, END_AT_RECURSIVE };

/* One expression, or several with commas, which are a tuple; `parse` reads each. */
struct node *parser_tuple(struct parser *p, struct node *(*parse)(struct parser *),
                          enum tuple_end end, bool in_parentheses);
struct node *parser_expression(struct parser *p);
struct node *parser_or(struct parser *p); // an expression without "... if ..."
struct node *parser_primary(struct parser *p);
struct node *parser_filter(struct parser *p, struct node *filtered); // after the "|"

#endif
