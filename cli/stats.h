/* How long a run took and what it needed: the statistics after a text, on standard error. */
#ifndef STATS_H
#define STATS_H

#include "session.h"

/* Keeps the largest amount of memory seen; due when the most is in use. */
void note_memory(struct session *s);

void print_stats(const struct session *s);
/* What --verify found, unless it found what ends a run; part of print_stats. */
void print_verified(const struct session *s);
void print_json(const struct session *s); // one line

#endif
