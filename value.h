/* The values that JSON texts are read into and that chat templates compute with: Python's, because
 * that is what templates were written against. All memory is an arena's; nothing is freed alone.
 *
 * Strings know of each byte whether it is input (from messages, tools and arguments) or was written
 * by the template: what is input must never be read as a control token. */
#ifndef VALUE_H
#define VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "exact.h"

enum value_type {
    V_UNDEFINED, // what a template finds where there is nothing
    V_NONE,
    V_BOOL,
    V_INT,
    V_BIG, // an integer beyond 64 bits: its digits; it can be printed and compared, not computed
           // with
    V_FLOAT,
    V_STR,
    V_LIST,
    V_TUPLE, // a list that prints with round brackets
    V_DICT,
    // The rest exists in templates only; jinja_internal.h has what they point to.
    V_VIEW,      // keys, values or items of a dict
    V_RANGE,     // range(a, b, step)
    V_ITERATOR,  // yields its items once: map, select, reversed ...
    V_NAMESPACE, // a dict whose entries can be set
    V_FUNCTION,
    V_METHOD, // of a value
    V_MACRO,
    V_LOOP, // the variable `loop`
    V_CYCLER,
    V_JOINER,
    V_ABSENT // an argument that was not given
};

/* Bytes up to end, from the run before on, are of one origin. */
struct str_run {
    size_t end;
    bool input;
};

struct str {
    const char *data; // UTF-8, no NUL at the end
    size_t len, n_chars;
    const struct str_run *runs; // (n_runs); none: all bytes are of origin `input`
    size_t n_runs;
    bool input;
};

struct value {
    unsigned char type; // enum value_type
    bool input;         // of what is not a string: comes from the input
    bool safe;          // a string that counts as escaped (the filters safe and escape)
    union {
        bool b;
        int64_t i;
        double f;
        const struct str *s; // V_STR, V_BIG
        struct list *list;
        struct dict *dict;
        void *p;
    } u;
};

/* Lists and dicts are walked by recursion, and one that holds another twice is walked twice: none
 * is nested deeper, or larger when all is counted as often as it is met. What would be does not fit
 * into the arena. */
#define VALUE_MAX_DEPTH 256
#define VALUE_MAX_WEIGHT ((size_t)1 << 24)

struct size {
    int depth;     // 1 + that of the deepest item
    size_t weight; // items, of the items too, with 1 for 32 bytes of a string
};

struct list {
    struct value *items;
    size_t n, capacity;
    struct size size;
    bool group; // a tuple (grouper, list) of the filter groupby
};

struct pair {
    struct value key, value;
    uint64_t hash;
};

/* Entries in the order in which they were first set. */
struct dict {
    struct pair *pairs;
    size_t n, capacity;
    uint32_t *slots; // (n_slots) hash table: position + 1, or 0
    size_t n_slots;
    struct size size;
};

/* ---- strings --------------------------------------------------------------------------------- */

extern const struct str str_empty;

/* The bytes stay where they are. */
struct str *str_new(struct arena *a, const char *data, size_t len, bool input);
bool str_is(const struct str *s, const char *text); // of NUL-terminated ASCII
bool str_equal(const struct str *a, const struct str *b);
int str_compare(const struct str *a, const struct str *b); // by code points
bool str_is_input(const struct str *s, size_t byte);
/* Whether all of it is the template's own. */
bool str_is_own(const struct str *s);
/* The byte at which character i begins; len if there are not so many. */
size_t str_offset(const struct str *s, size_t i);
/* The character that begins at data[i], *n bytes long; data is well-formed UTF-8. */
uint32_t utf8_at(const char *data, size_t i, size_t *n);

/* Appends to a growing string; what does not fit into the arena is left out (the arena is full or
 * has no_memory then). */
struct builder {
    struct arena *arena;
    char *data;
    size_t len, capacity;
    struct str_run *runs;
    size_t n_runs, runs_capacity;
};

void build_begin(struct builder *b, struct arena *a);
void build_bytes(struct builder *b, const char *data, size_t n, bool input);
void build_text(struct builder *b, const char *text, bool input); // NUL-terminated
void build_char(struct builder *b, uint32_t cp, bool input);
void build_slice(struct builder *b, const struct str *s, size_t from, size_t to); // bytes
void build_str(struct builder *b, const struct str *s);
const struct str *build_end(struct builder *b);

/* ---- values ---------------------------------------------------------------------------------- */

struct value value_none(void);
struct value value_bool(bool b);
struct value value_int(int64_t i);
struct value value_float(double f);
struct value value_str(const struct str *s);
struct value value_text(struct arena *a, const char *text); // a constant, the template's own
/* An empty list, tuple or dict; undefined if there is no memory. */
struct value value_list(struct arena *a, enum value_type type);
struct value value_dict(struct arena *a);

bool list_add(struct arena *a, struct list *list, struct value v);

/* NULL if there is no such key. Keys are equal as in Python: 1, 1.0 and true are the same. */
struct value *dict_find(const struct dict *d, struct value key);
struct value *dict_find_text(const struct dict *d, const char *key);
/* Sets an entry, new or old; false if there is no memory, or the key cannot be one (value_hash). */
bool dict_set(struct arena *a, struct dict *d, struct value key, struct value v);
bool dict_set_text(struct arena *a, struct dict *d, const char *key, struct value v);

/* What comparing, hashing or printing it takes, roughly; at least 1. */
size_t value_weight(struct value v);
bool value_is_number(struct value v); // bool, too
double value_as_double(struct value v);
/* As Python's ==, for what JSON has; other types are equal if they are the same object. */
bool value_equal(struct value a, struct value b);
/* False if v holds something that can change and so cannot be a key: the type's name in *what. */
bool value_hash(struct value v, uint64_t *hash, const char **what);
/* Python's name of the type. */
const char *value_type_name(struct value v);

/* Python's repr of a float: the fewest digits that give it back. */
void float_text(double f, char out[40]);

#endif
