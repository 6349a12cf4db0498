/* What the files that print share: messages on standard error, text on standard output. Their
 * functions say what went wrong and return an exit status, 0 if all is well. */
#ifndef PRINT_H
#define PRINT_H

#include <stdio.h>

#include "../gguf.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* First of all in main: descriptors 0, 1 and 2 exist from now on, so that no file gets such a
 * number; one that was closed reads as empty, fails to be written to, or loses what is written, in
 * this order. Writes that fail say so instead of ending the program. 0, or what to exit with. */
int prepare_streams(void);

/* argv[0], whose last part messages begin with from now on, "run" until then; `name` if there is
 * none. Neither is copied. */
void called_as(const char *argv0, const char *name);

/* What help calls the program: the last part of argv[0], after a ./ that was typed, so that its
 * lines can be typed, too. */
const char *program_name(void);

/* "run: ...", and a newline, on standard error. */
void say(const char *format, ...) PRINTF_LIKE(1, 2);
#define FAIL(...) (say(__VA_ARGS__), EXIT_FAILED)
#define USAGE(...) (say(__VA_ARGS__), EXIT_USAGE)

/* The same from a signal handler. */
void say_in_handler(const char *text);

/* Whether text and messages go to a terminal, and so to the same one. */
bool same_terminal(void);

/* To standard output. Of printf and the like before it, flush says failures, too. */
int print(struct gguf_str text);
int flush(void);

/* A write failed, as errno tells: says so of the file or stream with this name, unless its reader
 * went away, and gives EXIT_FAILED. */
int write_failed(const char *name);

/* A text of a stranger's, at most max bytes of it: characters that a terminal
 * shows as they are, what it would obey and what is malformed as \xNN, a newline as \n. */
void put_text(FILE *to, struct gguf_str text, size_t max);

/* A text of a stranger's as a string of JSON; U+FFFD is put for what is not UTF-8. */
void put_json_string(FILE *to, struct gguf_str text);

/* A paragraph behind what fills the line up to column `at`: words that do not fit in 79 columns go
 * on below, at column `left`; then a newline. */
void put_words(FILE *to, int at, int left, const char *text);
/* A text as a string of JSON, quotes included; each byte that is part of no character becomes
 * U+FFFD. */
void put_json_text(FILE *to, struct gguf_str text);

/* Before messages that are not said with say: on a terminal that shows text and messages they begin
 * on a line of their own. */
void begin_message(void);

double now(void); // seconds, monotonic

/* ", 3 min left" of what has done `share` of its work since then; "" while nobody can tell. */
struct time_left {
    char text[32];
};
struct time_left time_left(double since, double share);

/* On a terminal, what takes over two seconds shows where it is, and how long it may take still. */
void show_progress(double since, const char *what, size_t done, size_t all);

#endif
