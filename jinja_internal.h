/* What the files of the template language share. jinja_lex.c cuts a template into tokens,
 * jinja_parse.c and jinja_expression.c make a tree of them, jinja_scope.c finds out where names
 * belong, jinja_exec.c walks its statements and jinja_eval.c its expressions; jinja_call.c has
 * calls and functions, jinja_iter.c what can be iterated over, jinja_filters.c, jinja_tests.c and
 * jinja_methods.c the rest of the vocabulary, jinja_format.c and jinja_text.c how values become
 * text.
 *
 * Errors stick: the first one is kept in the context, whatever is computed after it is thrown away.
 * So functions give back a value in any case, undefined after an error, and loops ask
 * jinja_spend(). */
#ifndef JINJA_INTERNAL_H
#define JINJA_INTERNAL_H

#include "jinja.h"

/* ---- tokens ---------------------------------------------------------------------------------- */

enum token_type {
    T_END,
    T_DATA,        // text between the tags
    T_BLOCK_BEGIN, // {%
    T_BLOCK_END,   // %}
    T_PRINT_BEGIN, // {{
    T_PRINT_END,   // }}
    T_NAME,
    T_STRING,
    T_NUMBER,
    // Operators.
    T_ADD,
    T_SUB,
    T_MUL,
    T_DIV,
    T_FLOORDIV,
    T_MOD,
    T_POW,
    T_TILDE,
    T_LBRACKET,
    T_RBRACKET,
    T_LPAREN,
    T_RPAREN,
    T_LBRACE,
    T_RBRACE,
    T_EQ,
    T_NE,
    T_GT,
    T_GE,
    T_LT,
    T_LE,
    T_ASSIGN,
    T_DOT,
    T_COLON,
    T_PIPE,
    T_COMMA,
    T_SEMICOLON,
    // Of comparisons only, made by the parser.
    T_IN,
    T_NOT_IN
};

/* Statements one after the other. Where they are a scope of their own: the names that they hide
 * (jinja_scope.c). */
struct block {
    struct node **nodes;
    size_t n, capacity;
    const struct str **hidden;
    size_t n_hidden;
};

struct token {
    unsigned char type; // enum token_type
    uint32_t at;        // byte of the source
    struct value value; // of text and names (interned) a string, of numbers the number
};

/* A template: its text with \n for every line end, tokens while it is parsed, the tree. */
struct jinja {
    struct arena arena;
    const char *source;
    size_t len;
    struct dict *names; // each name and string once
    struct token *tokens;
    size_t n_tokens, tokens_capacity;
    struct block body;
};

/* 0, or -1 and err. */
int jinja_tokenize(struct jinja *t, struct error *err);
int jinja_parse(struct jinja *t, struct error *err);
int jinja_find_scopes(struct jinja *t, struct error *err);
/* Sets "template, line 3, column 5: ..."; -1. */
int jinja_error(const struct jinja *t, size_t at, struct error *err, const char *format, ...)
    PRINTF_LIKE(4, 5);
const struct str *jinja_intern(struct jinja *t, const struct str *s);

/* ---- tree ------------------------------------------------------------------------------------ */

enum node_kind {
    // Expressions.
    N_CONST,   // value
    N_NAME,    // name
    N_TUPLE,   // items
    N_LIST,    // items
    N_DICT,    // items: key, value, key, value ...
    N_COND,    // a if b else c (c may be NULL)
    N_OR,      // a, b
    N_AND,     // a, b
    N_NOT,     // a
    N_COMPARE, // a, then items, each an N_OPERAND
    N_OPERAND, // op, a
    N_BINARY,  // a op b
    N_CONCAT,  // items
    N_NEG,     // a
    N_POS,     // a
    N_ATTR,    // a . name
    N_ITEM,    // a [ b ]
    N_SLICE,   // a : b : c, any of them NULL; inside N_ITEM
    N_CALL,    // a ( args )
    N_FILTER,  // a | name ( args ), a NULL: what a block captured
    N_TEST,    // a is name ( args )
    // Statements.
    N_DATA,         // value
    N_PRINT,        // a
    N_IF,           // items: the tests; blocks: their bodies, and one more for else
    N_FOR,          // for a in b if c; blocks: body, else; flag: recursive
    N_SET,          // a = b
    N_SET_BLOCK,    // a, c: filters; blocks: body
    N_SET_ATTR,     // as a target: name . value
    N_MACRO,        // name, macro
    N_CALL_BLOCK,   // a: the call, macro; a NULL: the body alone is called
    N_FILTER_BLOCK, // c; blocks: body
    N_WITH,         // items: target, value ...; blocks: body
    N_SCOPE,        // blocks: body
    N_BREAK,
    N_CONTINUE
};

struct keyword {
    const struct str *name;
    struct node *value;
};

struct arguments {
    struct node **items;
    size_t n;
    struct keyword *keywords;
    size_t n_keywords;
    struct node *list, *dict; // *list, **dict, or NULL
};

struct macro_info {
    const struct str **names; // of the parameters
    struct node **defaults;   // NULL: none
    size_t n;
    bool takes_caller, takes_kwargs, takes_varargs; // the body mentions caller, kwargs, varargs
    struct block body;
};

struct node {
    unsigned char kind; // enum node_kind
    unsigned char op;   // enum token_type
    bool flag;
    uint32_t at; // byte of the source
    struct node *a, *b, *c;
    struct node **items;
    size_t n;
    const struct str *name;
    struct value value;
    struct block *blocks;
    struct arguments *args;
    struct macro_info *macro;
    const struct builtin *builtin; // of filters and tests; NULL: there is none of this name
};

/* ---- running --------------------------------------------------------------------------------- */

/* Of the walk over the tree: a macro that calls itself goes about 10 deeper each time. */
#define JINJA_MAX_DEPTH 1500

struct variable {
    const struct str *name; // interned
    struct value value;     // V_ABSENT: it belongs here, but is not set yet
};

/* A scope: what is not found here is looked for in the one around it. */
struct frame {
    struct frame *outer;
    struct variable *variables;
    size_t n, capacity;
};

struct context {
    const struct jinja *t;
    struct arena *arena;
    struct error *err;
    bool failed;
    int64_t steps; // that are left
    int depth;
    struct frame *root;
    struct builder *out;
    const struct tm *now;
};

/* Keeps an error that happened at a node (NULL: nowhere in particular); undefined. */
struct value jinja_fail(struct context *c, const struct node *at, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* False if the template has failed, or does now because its steps or memory are used up. */
bool jinja_spend(struct context *c, size_t steps);

struct value jinja_eval(struct context *c, struct frame *f, const struct node *n);
void jinja_assign(struct context *c, struct frame *f, const struct node *target, struct value v);
/* scope: the block whose frame it is, or NULL. */
struct frame *jinja_frame_new(struct context *c, struct frame *outer, const struct block *scope);
void jinja_frame_set(struct context *c, struct frame *f, const struct str *name, struct value v);

enum flow { NEXT, BREAK, CONTINUE };
enum flow jinja_exec_block(struct context *c, struct frame *f, const struct block *block);
/* What a block writes. */
const struct str *jinja_capture(struct context *c, struct frame *f, const struct block *block);

/* ---- values that only templates have --------------------------------------------------------- */

/* Why there is nothing: for the message when something is done with it. */
struct undefined {
    const char *hint; // or NULL
    bool has_object;
    struct value object, name;
};

enum view_kind { KEYS, VALUES, ITEMS };

struct view {
    enum view_kind kind;
    struct value dict;
};

struct range {
    int64_t start, step, n;
};

struct macro {
    const struct macro_info *info;
    const struct str *name; // NULL: of a call block
    struct frame *frame;    // where it was defined
};

struct loop {
    const struct node *node;
    struct frame *outer;
    struct iterator *items;
    int64_t index0;
    size_t n; // items, if they were counted
    int depth0;
    bool counted, has_next, changed_before;
    struct value previous, current, next, last_changed;
};

struct cycler {
    struct list *items;
    size_t at;
};

struct joiner {
    struct value separator;
    bool used;
};

struct method {
    const struct builtin *builtin;
    struct value self;
};

struct value jinja_undefined_name(struct context *c, const struct str *name);
struct value jinja_undefined_attribute(struct context *c, struct value object, struct value name);
struct value jinja_undefined_hint(struct context *c, const char *hint);
/* Fails with an undefined value's own message. */
struct value jinja_fail_undefined(struct context *c, const struct node *at, struct value v);

/* ---- calls ----------------------------------------------------------------------------------- */

/* Arguments, evaluated. */
struct actual {
    struct value *items;
    size_t n;
    struct variable *keywords;
    size_t n_keywords;
};

struct call {
    struct context *c;
    const struct node *at;
    struct value self;   // what is filtered, tested, or whose method it is
    struct value arg[6]; // those that `parameters` names; V_ABSENT if not given
    const struct actual *all;
};

/* A filter, test, method or function. */
struct builtin {
    const char *name;
    struct value (*run)(struct call *k);
    /* Names of the parameters after self, separated by spaces; "?" behind a name: may be absent;
     * "/" before the first: no keywords; "*": any arguments, in call.all. */
    const char *parameters;
};

const struct builtin *jinja_find_builtin(const struct builtin *list, const struct str *name);
const struct builtin *jinja_find_filter(const struct str *name);
struct value jinja_str_strip(struct call *k);
struct value jinja_str_center(struct call *k);
struct value jinja_str_replace(struct call *k);
struct value jinja_str_islower(struct call *k);
struct value jinja_str_isupper(struct call *k);
extern const struct builtin jinja_tests[], jinja_functions[], jinja_text_filters[];
extern const struct builtin jinja_str_methods[], jinja_dict_methods[], jinja_list_methods[],
    jinja_tuple_methods[], jinja_int_methods[], jinja_float_methods[], jinja_loop_methods[],
    jinja_cycler_methods[];

struct actual jinja_eval_arguments(struct context *c, struct frame *f,
                                   const struct arguments *args);
struct value jinja_run_builtin(struct context *c, const struct node *at, const struct builtin *b,
                               struct value self, const struct actual *all);
struct value jinja_call_value(struct context *c, const struct node *at, struct value callee,
                              const struct actual *all);
struct value jinja_make_macro(struct context *c, struct frame *f, const struct macro_info *info,
                              const struct str *name);
/* The body of a recursive loop for other items, as `loop(items)` in it asks. */
struct value jinja_loop_again(struct context *c, const struct node *at, struct loop *loop,
                              struct value items);
struct value jinja_loop_attribute(struct context *c, struct loop *loop, const struct str *name);

/* An argument as a number or truth; `absent` where it was not given. Wrong types fail. */
int64_t jinja_arg_int(struct call *k, int i, int64_t absent);
bool jinja_arg_bool(struct call *k, int i, bool absent);
bool jinja_arg_given(const struct call *k, int i); // and not none
/* A string, or NULL after an error. */
const struct str *jinja_arg_str(struct call *k, int i);

/* ---- computing ------------------------------------------------------------------------------- */

bool jinja_truth(struct value v);
bool jinja_is_callable(struct value v);
bool jinja_is_integer(struct value v); // int or bool
int64_t jinja_as_integer(struct value v);
struct value jinja_binary(struct context *c, const struct node *at, int op, struct value a,
                          struct value b);
bool jinja_compare(struct context *c, const struct node *at, int op, struct value a,
                   struct value b);
/* -1, 0 or 1 as Python orders them; fails for what has no order. */
int jinja_order(struct context *c, const struct node *at, struct value a, struct value b);
/* Whether it can be looked for in a dict; fails if not. */
bool jinja_can_be_key(struct context *c, const struct node *at, struct value v);
bool jinja_equal(struct context *c, struct value a, struct value b);
bool jinja_contains(struct context *c, const struct node *at, struct value item, struct value in);
/* -1 if it has no length. */
int64_t jinja_length_of(struct context *c, struct value v);
struct value jinja_get_attribute(struct context *c, const struct node *at, struct value object,
                                 const struct str *name);
struct value jinja_get_item(struct context *c, const struct node *at, struct value object,
                            struct value key);
struct value jinja_get_slice(struct context *c, const struct node *at, struct value object,
                             struct value from, struct value to, struct value step);

/* ---- iteration ------------------------------------------------------------------------------- */

struct iterator {
    struct value source;
    size_t at;
    bool reversed;
    int depth; // of the iterators that it takes its items from
    // map: a filter or an attribute; select: a test, of an attribute or not. Otherwise 0.
    enum { PLAIN, MAP, SELECT } kind;
    struct iterator *inner;
    const struct builtin *builtin; // NULL: the attribute or item itself
    bool by_attribute, negated, has_default;
    struct value attribute, absent; // absent: instead of an undefined attribute
    struct actual args;
    const struct node *node;
};

/* NULL after an error: the value cannot be iterated over. */
struct iterator *jinja_iterate(struct context *c, const struct node *at, struct value v);
bool jinja_iterator_next(struct context *c, struct iterator *it, struct value *out);
bool jinja_is_iterable(struct value v);
struct value jinja_iterator_value(struct iterator *it);
/* All items, in a new list; NULL after an error. */
struct list *jinja_list_of(struct context *c, const struct node *at, struct value v);
/* An attribute that may be a path: "a.b", "items.0", or a number. */
struct value jinja_get_path(struct context *c, const struct node *at, struct value item,
                            struct value path);

/* ---- text ------------------------------------------------------------------------------------ */

const struct str *jinja_text_of(struct context *c, struct value v); // str(v)
const struct str *jinja_repr_of(struct context *c, struct value v);
void jinja_write_text(struct context *c, struct builder *b, struct value v);
void jinja_write_repr(struct context *c, struct builder *b, struct value v);
struct value jinja_escape_html(struct context *c, struct value v); // a safe string
/* The value as a string that is safe if v was: what filters on strings begin with. */
struct value jinja_soft_str(struct context *c, struct value v);
/* "..." % arguments; text.format(...). */
struct value jinja_format_percent(struct context *c, const struct node *at,
                                  const struct str *format, struct value arguments);
struct value jinja_format_braces(struct context *c, const struct node *at, const struct str *format,
                                 const struct actual *all);

/* The end of the line that begins at byte `at`; *next: where the one after it begins. */
size_t jinja_str_line_end(const struct str *s, size_t at, size_t *next);

enum letter_case { LOWER, UPPER, TITLE };
/* Appends the character at s->data[at] in another case: up to three characters. */
void jinja_build_recased(struct builder *b, const struct str *s, size_t at, enum letter_case to);
struct value jinja_change_case(struct context *c, struct value s, enum letter_case first,
                               enum letter_case rest);
bool jinja_is_space(uint32_t cp);
bool jinja_is_word(uint32_t cp);      // letters, digits, _
bool jinja_is_printable(uint32_t cp); // as Python's repr sees it
enum char_class { OTHER_CHAR, LETTER_CHAR, MARK_CHAR, DIGIT_CHAR };
enum char_class jinja_char_class(uint32_t cp);
bool jinja_is_decimal(uint32_t cp); // a digit of a decimal number
bool jinja_is_upper(uint32_t cp);
bool jinja_is_lower(uint32_t cp);

/* A part of a string, by bytes. */
struct value jinja_part(struct context *c, struct value s, size_t from, size_t to);

#endif
