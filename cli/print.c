#include "print.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../utf8.h"

static const char *program = "run", *shown_name = "run";

void called_as(const char *argv0, const char *name) {
    if (!argv0 || !argv0[0]) argv0 = name;
    const char *slash = strrchr(argv0, '/');
    program = slash ? slash + 1 : argv0;
    shown_name = slash == argv0 + 1 && argv0[0] == '.' ? argv0 : program;
}

const char *program_name(void) {
    return shown_name;
}

/* Text and messages are on the same terminal, and text is in the line of its cursor. */
static bool text_in_line;
static bool progress_in_line;

void begin_message(void) {
    if (progress_in_line) fputs("\r\033[K", stderr);
    if (text_in_line) fputc('\n', stderr);
    progress_in_line = text_in_line = false;
}

void say(const char *format, ...) {
    va_list args;
    begin_message();
    va_start(args, format);
    fprintf(stderr, "%s: ", program);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

static bool write_all(const char *text) {
    size_t len = strlen(text);
    return write(STDERR_FILENO, text, len) == (ssize_t)len;
}

void say_in_handler(const char *text) {
    (void)(write_all(program) && write_all(": ") && write_all(text) && write_all("\n"));
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

bool same_terminal(void) {
    static int known = -1;
    if (known < 0) known = isatty(STDOUT_FILENO) && isatty(STDERR_FILENO);
    return known;
}

/* Once: what is written after the first failure fails, too, and its end is flushed. */
static int output_failed(void) {
    static bool said;
    if (said) return EXIT_FAILED;
    said = true;
    return write_failed("standard output");
}

int print(struct gguf_str text) {
    if (text.len == 0) return 0;
    if (progress_in_line) begin_message();
    text_in_line = text.data[text.len - 1] != '\n' && same_terminal();
    if (fwrite(text.data, 1, text.len, stdout) == text.len) return 0;
    return output_failed();
}

int flush(void) {
    errno = 0; // and so it stays where the buffer could be written, but not what was in it before
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : output_failed();
}

/* How many bytes the character at p has, if a terminal shows it; 0 if a terminal would obey it
 * (control characters, turns of the writing direction), and for malformed sequences. */
static size_t shown_bytes(const char *p, size_t n) {
    // by length: the least character that is not overlong, nor a control (up to U+001f, U+009f)
    static const uint32_t least[] = {0, 0x20, 0xa0, 0x800, 0x10000};
    size_t len;
    uint32_t cp = utf8_decode(p, n, &len);
    if (len == 1 && cp >= 0x7f) return 0; // DEL, or malformed
    bool turns = (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069);
    return cp < least[len] || turns ? 0 : len;
}

void put_text(FILE *to, struct gguf_str text, size_t max) {
    size_t i = 0;
    for (size_t n; i < text.len && i < max; i += n ? n : 1) {
        n = shown_bytes(text.data + i, text.len - i);
        if (n > 0) {
            fwrite(text.data + i, 1, n, to);
        } else if (text.data[i] == '\n') {
            fputs("\\n", to);
        } else {
            fprintf(to, "\\x%02x", (unsigned)(unsigned char)text.data[i]);
        }
    }
    if (i < text.len) fprintf(to, "... (%zu bytes)", text.len);
}

void put_json_string(FILE *to, struct gguf_str text) {
    fputc('"', to);
    for (size_t i = 0, n; i < text.len; i += n ? n : 1) {
        const char *p = text.data + i;
        n = utf8_length(p, text.len - i);
        if (n == 0) {
            fputs("\\ufffd", to);
        } else if (*p == '"' || *p == '\\') {
            fprintf(to, "\\%c", *p);
        } else if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            fprintf(to, "\\u%04x", (unsigned)*p);
        } else {
            fwrite(p, 1, n, to);
        }
    }
    fputc('"', to);
}

void put_words(FILE *to, int at, int left, const char *text) {
    enum { WIDTH = 79 }; // of a terminal's 80 columns the last is left free
    const char *before = "";
    while (*(text += strspn(text, " "))) {
        int n = (int)strcspn(text, " ");
        if (at > left && at + (int)strlen(before) + n > WIDTH) {
            fprintf(to, "\n%*s", left, "");
            at = left;
            before = "";
        }
        at += fprintf(to, "%s%.*s", before, n, text);
        text += n;
        before = " ";
    }
    fputc('\n', to);
}

void put_json_text(FILE *to, struct gguf_str text) {
    fputc('"', to);
    for (size_t i = 0, n; i < text.len; i += n ? n : 1) {
        unsigned char c = (unsigned char)text.data[i];
        n = utf8_length(text.data + i, text.len - i);
        if (n == 0) {
            fputs("\\ufffd", to);
        } else if (c == '"' || c == '\\') {
            fprintf(to, "\\%c", c);
        } else if (c < 0x20) {
            fprintf(to, "\\u%04x", c);
        } else {
            fwrite(text.data + i, 1, n, to);
        }
    }
    fputc('"', to);
}

double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct time_left time_left(double since, double share) {
    struct time_left left = {""};
    if (!(share > 0 && share < 1)) return left;
    double seconds = (now() - since) * (1 - share) / share;
    int minutes = (int)((fmin(seconds, 1e8) + 30) / 60);
    if (seconds < 90) {
        snprintf(left.text, sizeof left.text, ", %.0f s left", ceil(seconds));
    } else if (minutes < 90) {
        snprintf(left.text, sizeof left.text, ", %d min left", minutes);
    } else {
        snprintf(left.text, sizeof left.text, ", %d h %d min left", minutes / 60, minutes % 60);
    }
    return left;
}

void show_progress(double since, const char *what, size_t done, size_t all) {
    if (!isatty(STDERR_FILENO) || text_in_line || now() - since < 2) return;
    fprintf(stderr, "\r%s %zu/%zu%s\033[K", what, done, all,
            time_left(since, (double)done / (double)all).text);
    progress_in_line = true;
    if (done >= all) begin_message();
}
