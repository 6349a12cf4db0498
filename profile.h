/* Where a run's time goes (--profile): the wall clock is cut into laps, and each lap belongs to one
 * line of a table, a kind of work. So the lines make up all of the time, what nobody named
 * included. In a region that several threads share, with several kinds of work in it, each thread
 * notes what it spent on which; the region's lap is then shared out in these proportions.
 *
 * One thread calls these functions, all but profile_note the one that starts the others. Whoever
 * may run without a profile has a NULL pointer, and looks at it before. */
#ifndef PROFILE_H
#define PROFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "quant.h"

enum {
    PROFILE_OTHER,    // what nobody named
    PROFILE_PRODUCTS, // from here on products: for each type those of one token, and of several
    PROFILE_NAMED = PROFILE_PRODUCTS + 2 * GGML_N_TYPES,
    PROFILE_LINES = PROFILE_NAMED + 96
};

struct profile_line {
    const char *what; // NULL: a product
    double seconds;
    double macs, bytes; // of products: multiply-adds, and weights' bytes, read once for all tokens
    bool integers;      // of products: activations were integers
};

struct profile {
    struct profile_line lines[PROFILE_LINES];
    int n; // of them; those of products may have no time
    int64_t begun, last;
    bool told; // its owner's: it was printed
    int n_threads;
    int64_t *spent; // (n_threads, PROFILE_LINES) nanoseconds, in the region at work
};

int64_t profile_clock(void); // nanoseconds

/* The clock starts. Nothing to free before profile_threads. */
void profile_begin(struct profile *p);
/* Makes room for so many threads, before they note anything. */
int profile_threads(struct profile *p, int n_threads, struct error *err);
void profile_free(struct profile *p);

/* The line with this name, a text that stays; a new one, or PROFILE_OTHER where there is no room.
 */
int profile_named(struct profile *p, const char *what);

static inline int profile_product(uint32_t type, int n_tokens) {
    return PROFILE_PRODUCTS + 2 * (int)type + (n_tokens > 1);
}

/* The time since the last lap was the line's. */
void profile_lap(struct profile *p, int line);

/* The time since the last lap belongs to the lines that threads have noted since then; to `line` if
 * none did. */
void profile_lap_of_threads(struct profile *p, int line);

/* A thread spent the time since `from` on the line; gives the time now. */
static inline int64_t profile_note(const struct profile *p, int thread, int line, int64_t from) {
    int64_t now = profile_clock();
    p->spent[thread * PROFILE_LINES + line] += now - from;
    return now;
}

/* The seconds from the beginning to the last lap. */
double profile_seconds(const struct profile *p);

#endif
