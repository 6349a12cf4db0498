/* The machine's limits, and the table of --profile. */
#ifndef TIMING_H
#define TIMING_H

#include "../machine.h"
#include "session.h"

/* Of the session's threads: reading its tensors (the first gigabyte of them: a larger file may not
 * fit the memory), multiply-adds of floats and, with --act, of integers. Raises what is in l
 * already. stop: as in machine.h. */
int measure_limits(const struct session *s, struct limits *l, atomic_int *stop);

/* The end of a run with --profile: measures the limits, prints where its time went. */
void print_profile(struct session *s);

#endif
