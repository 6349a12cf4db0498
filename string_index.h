/* A hash index over an array of strings in a GGUF file, which stay in the map: the vocabulary by
 * text, the merges by "left right". Loading a few hundred thousand of them takes milliseconds. */
#ifndef STRING_INDEX_H
#define STRING_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "gguf.h"

/* Entry i is at base + offset[i]. Open addressing, at most half full, linear probing. A slot is 0
 * if it is empty, else i + 1 in its low bits (as many as it takes to number the slots) and a piece
 * of the string's hash in the others, which spares nearly all comparisons with the wrong string. */
struct string_index {
    const uint8_t *base;
    uint32_t *offset; // (n)
    size_t n;
    uint32_t *slots; // (mask + 1)
    uint32_t mask;
    int shift; // from a 64-bit hash to the number of its slot
    size_t max_len;
};

/* Indexes all strings of the array but the empty ones; of equal strings the first counts. `name` is
 * the array's for messages. 0, or -1 and err; string_index_free() is due in both cases. */
int string_index_build(struct string_index *x, const char *name, const struct gguf_kv *array,
                       struct error *err);
void string_index_free(struct string_index *x); // may be all zero

/* What is looked up: text[0, len), with a space put in before text[split] if split > 0. */
struct string_key {
    const char *text;
    size_t len, split;
};

/* The number of the string equal to the key, or -1. */
int32_t string_index_find(const struct string_index *x, struct string_key key);

/* Longer and longer beginnings of one text, of which each byte is hashed once. At first {text}. */
struct string_prefix {
    const char *text;
    size_t len;    // looked up last
    uint64_t hash; // of that much, if it is not 0
};

/* The same for text[0, len), len > 0 and at least p->len. */
int32_t string_index_find_prefix(const struct string_index *x, struct string_prefix *p, size_t len);

struct gguf_str string_index_at(const struct string_index *x, size_t i); // i < x->n

#endif
