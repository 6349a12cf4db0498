/* What is said of the options: the help, made of their table, and which of them do nothing. */
#ifndef HELP_H
#define HELP_H

#include <stdio.h>

#include "options.h"

/* What people use, in a screen of 24 lines, or all; no line is longer than 79 columns. */
void print_help(FILE *to, bool all);

/* A line for each option that was given and is there for llama.cpp's command lines alone. */
void say_ignored(const struct options *o);

#endif
