#include "screen.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "../utf8.h"

struct line {
    char *text;  // without a newline
    bool listed; // one of those below a label
    bool shown;
};

struct screen {
    size_t rows, columns;
    struct line *lines;
    size_t n, n_rows; // lines; rows that those that are shown take
};

static void measure(struct screen *s) {
    struct winsize size = {0};
    bool told = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0;
    s->rows = told && size.ws_row > 0 ? size.ws_row : 24;
    s->columns = told && size.ws_col >= 20 ? size.ws_col : 80; // dots need some room
}

/* Columns of a character: wide ones take two, and which are wide only the terminal knows. */
static size_t columns_of(const char *p, size_t *bytes) {
    uint32_t cp = utf8_decode(p, strlen(p), bytes);
    return cp < 0x1100 ? 1 : 2;
}

/* Ends the line where it is as wide as the screen. */
static void cut(char *text, size_t columns) {
    size_t at = 0, end = 0, bytes; // end: where dots have room
    for (char *p = text; *p; p += bytes) {
        size_t n = columns_of(p, &bytes);
        if (at + n > columns) {
            memcpy(text + end, "...", 4);
            return;
        }
        at += n;
        if (at + 3 <= columns) end = (size_t)(p - text) + bytes;
    }
}

static bool has_label(const struct line *line, const char *label) {
    size_t n = strlen(label);
    return strncmp(line->text, label, n) == 0 && line->text[n] == ' ';
}

static void hide(struct screen *s, struct line *line) {
    if (line->shown) s->n_rows--;
    line->shown = false;
}

/* Takes a line from the longest list, its last one. False if there are none that are longer than
 * one line. */
static bool shorten(struct screen *s) {
    size_t longest = 1, last = s->n;
    for (size_t i = 0, n = 0; i + 1 < s->n; i++) {
        n = s->lines[i].listed ? n + s->lines[i].shown : 0;
        if (!s->lines[i].listed || !s->lines[i].shown || n <= longest) continue;
        longest = n;
        last = i;
    }
    if (last == s->n) return false;
    hide(s, &s->lines[last]);
    return true;
}

static bool split(struct screen *s, char *text) {
    size_t n = 1;
    for (const char *p = text; *p; p++) n += *p == '\n';
    s->lines = calloc(n, sizeof *s->lines);
    if (!s->lines) return false;
    for (char *p = text; *p; s->n++) {
        char *end = strchr(p, '\n');
        s->lines[s->n] = (struct line){p, p[0] == ' ' && p[1] == ' ', true};
        if (end) *end++ = '\0';
        p = end ? end : p + strlen(p);
    }
    return true;
}

static void fit(struct screen *s, const char *const *left_out, size_t n_left_out) {
    size_t last = 0, bytes;
    const char *p = s->lines[s->n - 1].text;
    for (; *p; p += bytes) last += columns_of(p, &bytes);
    s->n_rows = s->n - 1 + (last + s->columns - 1) / s->columns;
    for (size_t k = 0; k < n_left_out; k++) {
        for (size_t i = s->n; i-- > 0 && s->n_rows >= s->rows;) {
            if (has_label(&s->lines[i], left_out[k])) hide(s, &s->lines[i]);
        }
    }
    while (s->n_rows >= s->rows && shorten(s)) continue;
}

void put_screen(char *text, const char *const *left_out, size_t n_left_out) {
    struct screen s = {0};
    measure(&s);
    if (!split(&s, text) || s.n == 0) {
        fputs(text, stdout); // as it is: memory is short
        free(s.lines);
        return;
    }
    fit(&s, left_out, n_left_out);
    for (size_t i = 0; i < s.n; i++) {
        if (!s.lines[i].shown) continue;
        if (i + 1 < s.n) cut(s.lines[i].text, s.columns);
        puts(s.lines[i].text);
    }
    free(s.lines);
}
