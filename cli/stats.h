/* How long a run took and what it needed: the statistics after a text, on standard error. */
#ifndef STATS_H
#define STATS_H

#include "session.h"

/* Keeps the largest amount of memory seen; due when the most is in use. */
void note_memory(struct session *s);

/* Adds to *bytes what was read from disks since the last call, or the program's start. */
void note_disk(struct session *s, size_t *bytes);

void print_stats(const struct session *s);
/* What --verify found, unless it found what ends a run; part of print_stats. */
void print_verified(const struct session *s);
void print_json(const struct session *s); // one line, and then no print_stats
/* The model's name, and --profile's table, with which such a line ends. */
void end_json(const struct session *s);

/* What was read from disks, if that was more than a trifle: the file was not in memory. */
void print_disk(size_t prompt_bytes, size_t bytes);

#endif
