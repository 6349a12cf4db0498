#include "typed.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "../array.h"

/* ---- the terminal ---------------------------------------------------------------------------- */

/* While a message is typed the terminal marks what is pasted, and shows those marks as nothing
 * instead of as ^[[200~. Whatever ends the program or stops it takes that back; signal handlers
 * have no other way to know what was set than these. */
static const char mark_pastes[] = "\033[?2004h", no_marks[] = "\033[?2004l";
static struct termios before;
static volatile sig_atomic_t prepared;

static void restore_terminal(void) {
    if (!prepared) return;
    prepared = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
    if (write(STDERR_FILENO, no_marks, sizeof no_marks - 1) < 0) return; // nobody is there
}

static void prepare_terminal(void) {
    struct termios quiet;
    if (prepared || tcgetattr(STDIN_FILENO, &before) != 0) return;
    quiet = before;
#ifdef ECHOCTL
    quiet.c_lflag &= ~(tcflag_t)ECHOCTL;
#endif
    if (write(STDERR_FILENO, mark_pastes, sizeof mark_pastes - 1) < 0) return;
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &quiet) == 0) prepared = 1;
}

/* Ends or stops the program as if there were no handler. */
static void on_leaving(int signal_number) {
    int error = errno;
    bool was = prepared;
    struct sigaction old, none = {.sa_handler = SIG_DFL};
    sigset_t only;
    restore_terminal();
    sigaction(signal_number, &none, &old);
    sigemptyset(&only);
    sigaddset(&only, signal_number);
    raise(signal_number);
    sigprocmask(SIG_UNBLOCK, &only, NULL); // now it is taken; a stopped program goes on here
    sigaction(signal_number, &old, NULL);
    if (was) {
        prepare_terminal();
        if (write(STDERR_FILENO, "> ", 2) < 0) errno = error;
    }
    errno = error;
}

void typed_open(struct typed *t, bool terminal) {
    const char *kind = getenv("TERM");
    *t = (struct typed){.terminal = terminal};
    if (!terminal) return;
    t->marks_pastes = isatty(STDERR_FILENO) && kind && *kind && strcmp(kind, "dumb") != 0;
    static const int leaving[] = {SIGTERM, SIGQUIT, SIGHUP, SIGTSTP};
    struct sigaction action = {.sa_handler = on_leaving, .sa_flags = SA_RESTART};
    for (size_t i = 0; i < sizeof leaving / sizeof *leaving; i++) {
        struct sigaction old;
        if (sigaction(leaving[i], NULL, &old) != 0 || old.sa_handler == SIG_IGN) continue;
        sigaction(leaving[i], &action, NULL);
    }
}

void typed_close(struct typed *t) {
    restore_terminal();
    free(t->text);
    *t = (struct typed){0};
}

/* ---- lines ----------------------------------------------------------------------------------- */

static enum input add_bytes(struct typed *t, const char *bytes, size_t n) {
    if (t->len + n >= MAX_MESSAGE) {
        say("standard input: a message longer than %d bytes", MAX_MESSAGE);
        return INPUT_FAILED;
    }
    if (array_reserve(&t->text, &t->capacity, t->len + n + 1, 1) != 0) {
        say("out of memory for a message of %zu bytes", t->len + n);
        return INPUT_FAILED;
    }
    memcpy(t->text + t->len, bytes, n);
    t->len += n;
    t->text[t->len] = '\0';
    return INPUT_TEXT;
}

/* The marks around a paste are taken out of the text as they come. */
static void take_marks(struct typed *t) {
    static const char begin[] = "\033[200~", end[] = "\033[201~";
    size_t n = sizeof begin - 1;
    if (!t->marks_pastes || t->len < n) return;
    bool begins = memcmp(t->text + t->len - n, begin, n) == 0;
    if (!begins && memcmp(t->text + t->len - n, end, n) != 0) return;
    t->len -= n;
    t->in_paste = begins;
    t->own_end = false;
}

/* A terminal that edits lines takes no more bytes of one (Linux; others take fewer, or ring). */
enum { LONGEST_LINE = 4095 };

/* Reads one line, without its end, behind the text so far. */
static enum input read_line(struct session *s, struct typed *t) {
    size_t n = 0;
    errno = 0;
    for (;; n++) {
        int c = getchar();
        char byte = (char)c;
        if (c == '\n') break;
        if (c == EOF && stop_asked(s)) {
            clearerr(stdin);
            return t->terminal ? INPUT_STOPPED : INPUT_END;
        }
        if (c == EOF && ferror(stdin)) {
            say("standard input: %s", strerror(errno));
            return INPUT_FAILED;
        }
        if (c == EOF) {
            clearerr(stdin); // a terminal may have more after Ctrl-D
            if (n > 0) break;
            return INPUT_END;
        }
        t->own_end = true;
        enum input added = add_bytes(t, &byte, 1);
        if (added != INPUT_TEXT) return added;
        if (byte == '~') take_marks(t);
    }
    if (t->terminal && n >= LONGEST_LINE) {
        say("the terminal gives the first %d bytes of a line alone: longer ones come by a pipe or "
            "-f",
            LONGEST_LINE);
    }
    if (t->len > 0 && t->own_end && t->text[t->len - 1] == '\r') t->len--;
    return add_bytes(t, "", 0);
}

/* ---- messages -------------------------------------------------------------------------------- */

static enum input read_lines(struct session *s, struct typed *t) {
    bool more = true;
    while (more) {
        size_t start = t->len;
        t->own_end = false;
        if (t->terminal && !t->in_paste) fputs(start ? ". " : "> ", stderr);
        enum input input = read_line(s, t);
        if (input == INPUT_END && start > 0) return INPUT_TEXT; // a backslash was the last
        if (input != INPUT_TEXT) return input;
        bool pasted = t->in_paste;
        more = pasted || (t->own_end && t->len > start && t->text[t->len - 1] == '\\');
        t->pasted |= pasted;
        if (more && !pasted) t->len--;
        if (more) input = add_bytes(t, "\n", 1);
        if (input != INPUT_TEXT) return input;
    }
    // What is copied often ends in the end of its last line.
    if (t->pasted && !t->own_end && t->len > 0 && t->text[t->len - 1] == '\n') t->len--;
    return INPUT_TEXT;
}

enum input read_message(struct session *s, struct typed *t) {
    t->n_read++;
    t->len = 0;
    t->pasted = t->in_paste = false;
    if (add_bytes(t, "", 0) != INPUT_TEXT) return INPUT_FAILED;
    if (t->marks_pastes) prepare_terminal();
    enum input input = read_lines(s, t);
    restore_terminal();
    t->text[t->len] = '\0';
    return input;
}
