#include "arena.h"

#include <stdlib.h>
#include <string.h>

#define ALIGN 16
#define SMALLEST_CHUNK ((size_t)1 << 14)
#define LARGEST_CHUNK ((size_t)1 << 20) // unless one piece needs more

struct arena_chunk {
    struct arena_chunk *before;
    size_t size;
    _Alignas(ALIGN) char data[];
};

void arena_init(struct arena *a, size_t limit) {
    *a = (struct arena){.limit = limit};
}

void arena_free(struct arena *a) {
    while (a->chunk) {
        struct arena_chunk *before = a->chunk->before;
        free(a->chunk);
        a->chunk = before;
    }
    arena_init(a, a->limit);
}

static bool add_chunk(struct arena *a, size_t at_least) {
    size_t size = a->chunk ? 2 * a->chunk->size : SMALLEST_CHUNK;
    if (size > LARGEST_CHUNK) size = LARGEST_CHUNK;
    if (size < at_least) size = at_least;
    struct arena_chunk *chunk = malloc(sizeof *chunk + size);
    if (!chunk) {
        a->no_memory = true;
        return false;
    }
    chunk->before = a->chunk;
    chunk->size = size;
    a->chunk = chunk;
    a->used = 0;
    return true;
}

void *arena_alloc(struct arena *a, size_t size) {
    if (a->full || a->no_memory) return NULL;
    if (size > a->limit - a->total || a->limit - a->total - size < ALIGN) {
        a->full = true;
        return NULL;
    }
    size = (size + ALIGN - 1) / ALIGN * ALIGN;
    if ((!a->chunk || a->chunk->size - a->used < size) && !add_chunk(a, size)) return NULL;
    void *piece = a->chunk->data + a->used;
    a->used += size;
    a->total += size;
    return piece;
}

void *arena_grow(struct arena *a, void *old, size_t old_size, size_t new_size) {
    size_t rounded = (old_size + ALIGN - 1) / ALIGN * ALIGN;
    if (old && a->chunk && (char *)old + rounded == a->chunk->data + a->used) {
        size_t more = (new_size + ALIGN - 1) / ALIGN * ALIGN - rounded;
        if (more <= a->chunk->size - a->used && a->limit - a->total > more) {
            a->used += more;
            a->total += more;
            return old;
        }
    }
    void *piece = arena_alloc(a, new_size);
    if (piece && old && old_size > 0) memcpy(piece, old, old_size);
    return piece;
}
