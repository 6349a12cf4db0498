/* What the files that print share: messages on standard error, text on standard output. Their
 * functions say what went wrong and return an exit status, 0 if all is well. */
#ifndef PRINT_H
#define PRINT_H

#include "../gguf.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* What messages begin with from now on; "run" until then. The name is not copied. */
void messages_from(const char *program);

/* "run: ...", and a newline, on standard error. */
void say(const char *format, ...) PRINTF_LIKE(1, 2);
#define FAIL(...) (say(__VA_ARGS__), EXIT_FAILED)
#define USAGE(...) (say(__VA_ARGS__), EXIT_USAGE)

/* To standard output. Of printf and the like before it, flush says failures, too. */
int print(struct gguf_str text);
int flush(void);

double now(void); // seconds, monotonic

/* On a terminal, what takes over two seconds shows where it is. */
void show_progress(double since, const char *what, size_t done, size_t all);

#endif
