/* The machine's limits, and the table of --profile. */
#ifndef TIMING_H
#define TIMING_H

#include "../machine.h"
#include "session.h"

/* Of the session's threads: reading its tensors (the first gigabyte of them: a larger file may not
 * fit the memory), multiply-adds of floats and, with --act, of integers. Raises what is in l
 * already. stop: as in machine.h. */
int measure_limits(const struct session *s, struct limits *l, atomic_int *stop);

/* The end of a run with --profile: measures the limits, prints where its time went, unless that was
 * told as JSON. */
void print_profile(const struct session *s);
/* The same as a last member of a JSON object, where there is a profile. */
void put_profile_json(const struct session *s);

#endif
