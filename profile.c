#include "profile.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t profile_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void profile_begin(struct profile *p) {
    *p = (struct profile){.n = PROFILE_NAMED};
    p->lines[PROFILE_OTHER].what = "other";
    p->begun = p->last = profile_clock();
}

int profile_threads(struct profile *p, int n_threads, struct error *err) {
    int64_t *spent = calloc((size_t)n_threads * PROFILE_LINES, sizeof *spent);
    if (!spent) return error_set(err, KQ_NO_MEMORY, "out of memory for a profile");
    free(p->spent);
    p->spent = spent;
    p->n_threads = n_threads;
    return 0;
}

void profile_free(struct profile *p) {
    free(p->spent);
    p->spent = NULL;
}

int profile_named(struct profile *p, const char *what) {
    for (int i = PROFILE_NAMED; i < p->n; i++) {
        if (strcmp(p->lines[i].what, what) == 0) return i;
    }
    if (p->n == PROFILE_LINES) return PROFILE_OTHER;
    p->lines[p->n].what = what;
    return p->n++;
}

static double lap(struct profile *p) {
    int64_t now = profile_clock(), since = now - p->last;
    p->last = now;
    return (double)since * 1e-9;
}

void profile_lap(struct profile *p, int line) {
    p->lines[line].seconds += lap(p);
}

void profile_lap_of_threads(struct profile *p, int line) {
    double seconds = lap(p), all = 0;
    int64_t sums[PROFILE_LINES] = {0};
    for (int t = 0; t < p->n_threads; t++) {
        int64_t *spent = p->spent + t * PROFILE_LINES;
        for (int i = 0; i < p->n; i++) sums[i] += spent[i];
        memset(spent, 0, (size_t)p->n * sizeof *spent);
    }
    for (int i = 0; i < p->n; i++) all += (double)sums[i];
    if (all > 0) {
        for (int i = 0; i < p->n; i++) p->lines[i].seconds += seconds * (double)sums[i] / all;
    } else {
        p->lines[line].seconds += seconds;
    }
}

double profile_seconds(const struct profile *p) {
    return (double)(p->last - p->begun) * 1e-9;
}
