#include "string_index.h"

#include <stdlib.h>
#include <string.h>

#include "hash.h"

/* Most slots that are looked at for a string. Real vocabularies stay far below it; one that was
 * made to collide is refused. */
#define MAX_PROBES 1024

static uint64_t mix(uint64_t hash) {
    return (hash ^ hash >> 32) * 0x9e3779b97f4a7c15;
}

static uint64_t hash_key(struct string_key key) {
    uint64_t hash = fnv1a(FNV_START, key.text, key.split ? key.split : key.len);
    if (key.split) {
        hash = fnv1a(hash, " ", 1);
        hash = fnv1a(hash, key.text + key.split, key.len - key.split);
    }
    return mix(hash);
}

struct gguf_str string_index_at(const struct string_index *x, size_t i) {
    const uint8_t *cursor = x->base + x->offset[i];
    return gguf_next_str(&cursor);
}

static bool key_is(struct string_key key, struct gguf_str s) {
    if (key.split == 0) return s.len == key.len && memcmp(s.data, key.text, key.len) == 0;
    return s.len == key.len + 1 && s.data[key.split] == ' ' &&
           memcmp(s.data, key.text, key.split) == 0 &&
           memcmp(s.data + key.split + 1, key.text + key.split, key.len - key.split) == 0;
}

/* The slot that holds the key or, if none does, the empty one where it belongs; NULL if neither
 * is within MAX_PROBES. */
static uint32_t *index_probe(const struct string_index *x, struct string_key key, uint64_t hash) {
    for (size_t i = hash >> x->shift, probes = 0; probes < MAX_PROBES; i++, probes++) {
        uint32_t *slot = &x->slots[i & x->mask];
        if (*slot == 0) return slot;
        if (((*slot ^ (uint32_t)hash) & ~x->mask) != 0) continue;
        if (key_is(key, string_index_at(x, (*slot & x->mask) - 1))) return slot;
    }
    return NULL;
}

static int32_t find_hashed(const struct string_index *x, struct string_key key, uint64_t hash) {
    const uint32_t *slot = index_probe(x, key, hash);
    return slot ? (int32_t)(*slot & x->mask) - 1 : -1;
}

int32_t string_index_find(const struct string_index *x, struct string_key key) {
    if (key.len + (key.split > 0) > x->max_len) return -1;
    return find_hashed(x, key, hash_key(key));
}

int32_t string_index_find_prefix(const struct string_index *x, struct string_prefix *p,
                                 size_t len) {
    p->hash = fnv1a(p->len ? p->hash : FNV_START, p->text + p->len, len - p->len);
    p->len = len;
    return find_hashed(x, (struct string_key){.text = p->text, .len = len}, mix(p->hash));
}

/* Inserts entry i, a string that is not empty. */
static int index_insert(struct string_index *x, size_t i, struct gguf_str s, uint64_t hash,
                        const char *name, struct error *err) {
    uint32_t *slot = index_probe(x, (struct string_key){.text = s.data, .len = s.len}, hash);
    if (!slot) return error_set(err, KQ_BAD_FILE, "%s: made to collide at entry %zu", name, i);
    if (*slot == 0) *slot = ((uint32_t)hash & ~x->mask) | (uint32_t)(i + 1);
    return 0;
}

/* Hashes some strings ahead of the insertions and fetches their slots meanwhile: the table is
 * larger than the caches, and this halves the time it takes to load. */
#define AHEAD 32

static int index_fill(struct string_index *x, const char *name, struct error *err) {
    struct gguf_str s[AHEAD];
    uint64_t hash[AHEAD];
    const uint8_t *cursor = x->base;
    for (size_t i = 0; i < x->n + AHEAD; i++) {
        size_t k = i % AHEAD;
        if (i >= AHEAD && s[k].len > 0) {
            if (index_insert(x, i - AHEAD, s[k], hash[k], name, err) != 0) return -1;
        }
        if (i >= x->n) continue;
        if (cursor - x->base > UINT32_MAX)
            return error_set(err, KQ_BAD_FILE, "%s: over 4 GiB", name);
        x->offset[i] = (uint32_t)(cursor - x->base);
        s[k] = gguf_next_str(&cursor);
        if (s[k].len > x->max_len) x->max_len = s[k].len;
        hash[k] = hash_key((struct string_key){.text = s[k].data, .len = s[k].len});
        __builtin_prefetch(&x->slots[hash[k] >> x->shift], 1);
    }
    return 0;
}

int string_index_build(struct string_index *x, const char *name, const struct gguf_kv *array,
                       struct error *err) {
    *x = (struct string_index){.base = array->data, .n = (size_t)array->n, .shift = 63};
    if (array->n > INT32_MAX / 2) return error_set(err, KQ_BAD_FILE, "%s: too many strings", name);
    while ((size_t)1 << (64 - x->shift) < 2 * x->n) x->shift--;
    x->mask = (uint32_t)(((size_t)1 << (64 - x->shift)) - 1);
    x->offset = malloc(x->n * sizeof *x->offset + 1);
    x->slots = calloc((size_t)x->mask + 1, sizeof *x->slots);
    if (!x->offset || !x->slots) return error_set(err, KQ_NO_MEMORY, "out of memory for %s", name);
    return index_fill(x, name, err);
}

void string_index_free(struct string_index *x) {
    free(x->offset);
    free(x->slots);
    *x = (struct string_index){0};
}
