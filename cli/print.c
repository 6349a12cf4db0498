#include "print.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *program = "run";

void messages_from(const char *name) {
    program = name;
}

void say(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", program);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

int print(struct gguf_str text) {
    if (fwrite(text.data, 1, text.len, stdout) == text.len) return 0;
    return FAIL("standard output: %s", strerror(errno));
}

int flush(void) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return 0;
    return FAIL("standard output: %s", strerror(errno));
}

double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void show_progress(double since, const char *what, size_t done, size_t all) {
    if (!isatty(STDERR_FILENO) || now() - since < 2) return;
    fprintf(stderr, done < all ? "\r%s %zu/%zu" : "\r%s %zu/%zu\r\033[K", what, done, all);
}
