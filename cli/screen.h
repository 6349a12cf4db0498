/* A text as much as a terminal shows of it. */
#ifndef SCREEN_H
#define SCREEN_H

#include <stddef.h>

/* Prints lines of a label and a text ("layers         3"), and lines below them that begin with two
 * spaces, so that they fit standard output's screen, with a line left for what is typed next:
 * leaves out lines with these labels, in this order, and then shortens lists; cuts long lines, but
 * the last one, which goes on below. `text` is written to. */
void put_screen(char *text, const char *const *left_out, size_t n_left_out);

#endif
