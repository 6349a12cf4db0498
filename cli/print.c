#include "print.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
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

int prepare_streams(void) {
    /* Standard output is replaced by what cannot be written to: a text that nobody gets is a
     * failure, messages that nobody gets are none. */
    static const int modes[] = {O_RDONLY, O_RDONLY, O_WRONLY};
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) != -1) continue;
        if (open("/dev/null", modes[fd]) != fd) return FAIL("/dev/null: %s", strerror(errno));
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    return 0;
}

int write_failed(const char *name) {
    if (errno == EPIPE) return EXIT_FAILED; // head has seen enough: everybody knows
    return FAIL("%s: %s", name, errno ? strerror(errno) : "not all of it could be written");
}

int print(struct gguf_str text) {
    if (fwrite(text.data, 1, text.len, stdout) == text.len) return 0;
    return write_failed("standard output");
}

int flush(void) {
    errno = 0; // and so it stays where the buffer could be written, but not what was in it before
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : write_failed("standard output");
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
