/* A fixed pool of threads that run one function over a range: short spin, then sleep. */
#ifndef THREADS_H
#define THREADS_H

#include "error.h"

struct threads;

/* n >= 1 threads in all: the caller is one of them. NULL and err if they cannot be started. */
struct threads *threads_open(int n, struct error *err);
void threads_close(struct threads *t); // NULL is fine

int threads_count(const struct threads *t);

/* Usable physical cores: the process's affinity, a control group's CPU quota and SMT siblings
 * are taken into account where the platform tells; at least 1. */
int threads_default_count(void);

/* Runs fn(arg, begin, end, thread) so that every i in 0..n-1 is in exactly one piece [begin, end)
 * and pieces hold `grain` items (the last one fewer). Idle threads take the next piece, so the
 * split does not decide which thread computes what; the caller returns when all are done. */
typedef void threads_fn(void *arg, long begin, long end, int thread);
void parallel_for(struct threads *t, long n, long grain, threads_fn *fn, void *arg);

#endif
