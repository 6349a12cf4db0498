/* Memory that is given out piece by piece and freed all at once. What a hostile input can make a
 * reader or a template ask for is bounded here: beyond the limit nothing is given out any more. */
#ifndef ARENA_H
#define ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct arena {
    struct arena_chunk *chunk; // the newest; private
    size_t used;               // of it
    size_t total, limit;       // bytes given out so far, and how many there may be
    bool full;                 // something did not fit into the limit
    bool no_memory;            // or malloc had no more
};

void arena_init(struct arena *a, size_t limit);
/* Frees everything that was given out; the arena is empty and can be used again. */
void arena_free(struct arena *a);

/* size bytes, aligned for anything, not cleared; NULL once full or no_memory. */
void *arena_alloc(struct arena *a, size_t size);
/* A copy of old (old_size bytes) in new_size >= old_size bytes; in its place if it was the last
 * piece given out and there is room behind it. */
void *arena_grow(struct arena *a, void *old, size_t old_size, size_t new_size);

#endif
