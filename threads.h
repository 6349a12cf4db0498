/* A fixed pool of threads that run one function over a range: short spin, then sleep. */
#ifndef THREADS_H
#define THREADS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "error.h"

struct threads;

/* n >= 1 threads in all: the caller is one of them. NULL and err if they cannot be started. */
struct threads *threads_open(int n, struct error *err);
void threads_close(struct threads *t); // NULL is fine

int threads_count(const struct threads *t);

/* Usable physical cores: the process's affinity, a control group's CPU quota and SMT siblings
 * are taken into account where the platform tells; at least 1. */
int threads_default_count(void);

/* The count behind it, for a machine whose /proc and /sys lie below `root` ("" is this one; tests
 * make others) and a process that may run on the processors with allowed[cpu], cpu < n_cpu.
 * With `physical`, the SMT siblings of one core count once. */
int threads_usable(const char *root, const bool *allowed, int n_cpu, bool physical);

/* Runs fn(arg, begin, end, thread) so that every i in 0..n-1 is in exactly one piece [begin, end)
 * and pieces hold `grain` >= 1 items (the last one fewer); thread is in 0..threads_count-1, and no
 * two calls at the same time have the same one. Idle threads take the next piece, so the split
 * does not decide which thread computes what; the caller returns when all are done, and sees all
 * they wrote. A piece of 5 to 40 microseconds is worth handing out and leaves nobody waiting long
 * for the last one. Only one thread may call it at a time, and fn must not.
 *
 * Once *stop is not 0 no further piece is begun. What was to be computed is then incomplete:
 * whoever sets a flag looks at it before using a result. Atomic, as a signal handler may set it
 * while all threads look. It belongs to this call alone, so that callers who share a pool stop each
 * their own work. NULL: nothing stops it.
 *
 * With n <= grain, or one thread and no flag, all of it is one plain call fn(arg, 0, n, 0). */
typedef void threads_fn(void *arg, long begin, long end, int thread);
void parallel_for(struct threads *t, atomic_int *stop, long n, long grain, threads_fn *fn,
                  void *arg);

#endif
