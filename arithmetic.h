/* Whether a * b + c, quotients, sums and special values come out as the engine needs them. exact.h
 * refuses what a preprocessor can see; this is for the rest: compilers without its pragmas, options
 * that leave no trace, the state of the thread, another libm. */
#ifndef ARITHMETIC_H
#define ARITHMETIC_H

#include "error.h"

/* Tries on known numbers whether this build, in this thread, rounds as IEEE 754 says; takes less
 * than a microsecond. Fails with a sentence that names what does not. */
int arithmetic_check(struct error *err);

#endif
