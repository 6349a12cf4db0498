/* --chat on a terminal: what a pipe cannot show. A message that meets a weight of NaN is forgotten,
 * the conversation goes on; a paste is one message; an interrupted answer is kept; the terminal is
 * left as it was. The program is $RUN. */
#define _GNU_SOURCE // posix_openpt
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "gguf.h"
#include "test.h"

static char dir[] = "/tmp/kq-terminal-XXXXXX", path[64], file[64], program[4096];

/* The random model of test/data, its NaN taken out, one put into the embedding of "z". */
static void write_model(void) {
    static uint8_t bytes[1 << 18];
    struct gguf g;
    struct error err;
    FILE *f = fopen("test/data/nan-weight.gguf", "rb");
    size_t size = f ? fread(bytes, 1, sizeof bytes, f) : 0;
    if (f) fclose(f);
    if (gguf_parse(&g, bytes, size, &err) != 0) {
        printf("%s\n", err.text);
        exit(1);
    }
    float zero = 0, nan;
    memset(&nan, 0xff, sizeof nan);
    const struct gguf_tensor *down = gguf_find_tensor(&g, "blk.1.ffn_down.weight");
    const struct gguf_tensor *embd = gguf_find_tensor(&g, "token_embd.weight");
    memcpy((char *)(uintptr_t)down->data + 149 * sizeof zero, &zero, sizeof zero);
    memcpy((char *)(uintptr_t)embd->data + 285 * embd->ne[0] * sizeof nan, &nan, sizeof nan);
    gguf_close(&g);
    f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, size, f) != size || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}

struct result {
    int status;
    char out[4096], err[8192];
};

static void read_end(int fd, char *text, size_t size) {
    size_t n = 0;
    lseek(fd, 0, SEEK_SET);
    for (ssize_t got; n < size - 1 && (got = read(fd, text + n, size - 1 - n)) > 0;)
        n += (size_t)got;
    text[n] = '\0';
    close(fd);
}

/* How a conversation is held. */
struct way {
    const char *model, *kind; // of the terminal: TERM
    bool shown;               // messages go to the terminal, too; otherwise to a file
    const char *n_gen;
    const char *after; // typed once the first answer began and was interrupted
};

static void start_program(const struct way *way, int typed, int out, int err) {
    dup2(typed, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(way->shown ? typed : err, STDERR_FILENO);
    setenv("TERM", way->kind, 1);
    alarm(100); // outlives exec: what hangs is killed
    execl(program, program, way->model, "--chat", "--template", "chatml", "-n", way->n_gen, "-q",
          "--temp", "0", (char *)NULL);
    _exit(127);
}

static bool type(int terminal, const char *text) {
    size_t n = strlen(text);
    return write(terminal, text, n) == (ssize_t)n;
}

static void interrupt(const struct way *way, pid_t pid, int terminal, int out) {
    struct stat st = {0};
    while (fstat(out, &st) == 0 && st.st_size == 0 && waitpid(pid, NULL, WNOHANG) == 0) {
        usleep(1000);
    }
    kill(pid, SIGINT);
    CHECK(type(terminal, way->after), "nothing could be typed");
}

/* The program's answers to lines typed on a terminal. */
static struct result converse_by(const struct way *way, const char *lines) {
    struct result r = {.status = -1};
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0) return r;
    int typed = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    FILE *out = tmpfile(), *err = tmpfile();
    struct termios quiet, left;
    if (typed < 0 || !out || !err || tcgetattr(typed, &quiet) != 0) return r;
    quiet.c_lflag &= ~(tcflag_t)ECHO; // or the terminal's buffer holds what nobody reads
    tcsetattr(typed, TCSANOW, &quiet);
    pid_t pid = fork();
    if (pid == 0) start_program(way, typed, fileno(out), fileno(err));
    CHECK(type(terminal, lines), "nothing could be typed");
    if (way->after) interrupt(way, pid, terminal, fileno(out));
    int status = 0;
    waitpid(pid, &status, 0);
    r.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    CHECK(tcgetattr(typed, &left) == 0 && left.c_lflag == quiet.c_lflag,
          "the terminal was left in another mode");
    read_end(dup(fileno(out)), r.out, sizeof r.out);
    fcntl(terminal, F_SETFL, O_NONBLOCK);
    read_end(way->shown ? dup(terminal) : dup(fileno(err)), r.err, sizeof r.err);
    fclose(out);
    fclose(err);
    close(typed);
    close(terminal);
    return r;
}

static struct result converse(const char *lines) {
    return converse_by(&(struct way){path, "xterm", false, "5", NULL}, lines);
}

/* The content of message i of the file that /save wrote, as JSON. */
static const char *saved(int i) {
    static char text[65536];
    char *at = text;
    FILE *f = fopen(file, "rb");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) fclose(f);
    text[n] = '\0';
    for (; at && i >= 0; i--) at = strstr(at + 1, "\"content\": ");
    if (!at) return "";
    at += strlen("\"content\": ");
    at[strcspn(at, "\n")] = '\0';
    return at;
}

/* CHECK that what is typed makes this the last message of a user. */
static void check_message(const struct way *way, const char *typed, const char *expected) {
    char lines[512];
    unlink(file);
    snprintf(lines, sizeof lines, "%s\n/save %s\n/quit\n", typed, file);
    struct result r = converse_by(way, lines);
    CHECK(r.status == 0, "status %d: %s", r.status, r.err);
    CHECK(strcmp(saved(0), expected) == 0, "%s, expected %s", saved(0), expected);
    CHECK(way->shown == (strstr(r.err, "\033[?2004h") && strstr(r.err, "\033[?2004l")),
          "marks of pastes: %s", r.err);
}

static void test_pastes(void) {
    struct way way = {path, "xterm", true, "1", NULL};
    check_message(&way, "\033[200~one\ntwo\033[201~", "\"one\\ntwo\"");
    check_message(&way, "a \033[200~one\n\ntwo\033[201~ y", "\"a one\\n\\ntwo y\"");
    check_message(&way, "\033[200~one\n\033[201~", "\"one\"");
    check_message(&way, "\033[200~/help\n/quit\n\033[201~", "\"/help\\n/quit\"");
    check_message(&way, "\033[200~one\\\033[201~", "\"one\\\\\"");
    check_message(&way, "\033[200~one\033[201~\033[200~ two\033[201~\\\nb", "\"one two\\nb\"");
    way.shown = false; // nobody marks pastes then
    check_message(&way, "\033[200~one", "\"\\u001b[200~one\"");
}

static void test_commands(void) {
    struct result r = converse("/foo\n/Foo\n/quit\n");
    CHECK(strstr(r.err, "run: /foo is no command (/help lists them); a space before it sends"),
          "%s", r.err);
    CHECK(!strstr(r.err, "/Foo is no command") && strlen(r.out) > 1, "%s", r.err);
    struct way way = {path, "xterm", false, "1", NULL};
    check_message(&way, " /foo", "\" /foo\"");
    check_message(&way, "//help", "\"/help\"");
}

/* What a terminal cuts off is said. */
static void test_long_line(void) {
    static char line[5000];
    memset(line, 'a', sizeof line - 2);
    struct way way = {path, "xterm", false, "1", NULL};
    char lines[sizeof line + 16];
    snprintf(lines, sizeof lines, "%s\n/quit\n", line);
    struct result r = converse_by(&way, lines);
    CHECK(strstr(r.err, "the first 4095 bytes of a line"), "%s", r.err);
    snprintf(lines, sizeof lines, "%.200s\n/quit\n", line);
    r = converse_by(&way, lines);
    CHECK(!strstr(r.err, "4095"), "%s", r.err);
}

/* An answer without an end, until somebody interrupts it. */
static void test_interrupt(void) {
    char after[512];
    unlink(file);
    snprintf(after, sizeof after, "/save %s\n/quit\n", file);
    struct way way = {"demo/tales-Q5_K_M.gguf", "xterm", false, "-1", after};
    struct result r = converse_by(&way, "Hi\n");
    CHECK(r.status == 0, "status %d: %s", r.status, r.err);
    CHECK(strlen(saved(1)) > 2, "what was said is not kept: %s%s", r.out, r.err);
}

/* The model with a chat template: one more entry of 64 bytes in front of its metadata. */
static void add_template(const char *to) {
    static uint8_t bytes[1 << 18], entry[64] = {23};
    FILE *f = fopen(path, "rb");
    size_t size = f ? fread(bytes, 1, sizeof bytes, f) : 0;
    if (f) fclose(f);
    memcpy(entry + 8, "tokenizer.chat_template", 23);
    entry[31] = GGUF_STRING;
    entry[35] = 21;
    memcpy(entry + 43, "{{messages[0].content", 21); // it need not be right
    bytes[16]++;
    f = fopen(to, "wb");
    if (!f || fwrite(bytes, 1, 24, f) != 24 || fwrite(entry, 1, 64, f) != 64 ||
        fwrite(bytes + 24, 1, size - 24, f) != size - 24 || fclose(f) != 0) {
        perror(to);
        exit(1);
    }
}

/* What a run says on a terminal, or into a pipe. */
static const char *messages(const char *model, bool on_terminal) {
    static char text[8192];
    int terminal = posix_openpt(O_RDWR | O_NOCTTY), pipes[2];
    if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0 || pipe(pipes) != 0)
        exit(1);
    int typed = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDOUT_FILENO);
        dup2(on_terminal ? typed : pipes[1], STDERR_FILENO);
        alarm(100);
        execl(program, program, model, "-p", "ab", "-n", "1", (char *)NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
    fcntl(terminal, F_SETFL, O_NONBLOCK);
    close(pipes[1]);
    read_end(on_terminal ? dup(terminal) : pipes[0], text, sizeof text);
    close(typed);
    close(terminal);
    return text;
}

/* A signal at the prompt: the program ends by it, and leaves the terminal as it was. */
static void test_killed(void) {
    struct way way = {path, "xterm", true, "1", NULL};
    char seen[8192] = "";
    size_t n = 0;
    int status = 0, terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0) exit(1);
    int typed = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    struct termios before, after;
    tcgetattr(typed, &before);
    pid_t pid = fork();
    if (pid == 0) start_program(&way, typed, typed, typed);
    fcntl(terminal, F_SETFL, O_NONBLOCK);
    while (!strstr(seen, "> ") && n + 1 < sizeof seen && waitpid(pid, &status, WNOHANG) == 0) {
        ssize_t got = read(terminal, seen + n, sizeof seen - 1 - n);
        if (got > 0) n += (size_t)got;
        seen[n] = '\0';
        usleep(1000);
    }
    kill(pid, SIGTERM);
    waitpid(pid, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "status %d", status);
    read_end(dup(terminal), seen + n, sizeof seen - n);
    CHECK(strstr(seen, "\033[?2004l"), "pastes stay marked: %s", seen);
    CHECK(tcgetattr(typed, &after) == 0 && after.c_lflag == before.c_lflag,
          "the terminal was left in another mode");
    close(typed);
    close(terminal);
}

/* What --info prints on a screen of this size. */
static const char *info_on(const char *model, unsigned short rows, unsigned short columns) {
    static char text[8192];
    struct winsize size = {.ws_row = rows, .ws_col = columns};
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0) exit(1);
    int typed = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    ioctl(typed, TIOCSWINSZ, &size);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(typed, STDOUT_FILENO);
        alarm(100);
        execl(program, program, model, "--info", (char *)NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
    fcntl(terminal, F_SETFL, O_NONBLOCK);
    read_end(dup(terminal), text, sizeof text);
    close(typed);
    close(terminal);
    return text;
}

/* Fits the screen, line by line; the verdict is the last one. */
static void check_screen(const char *model, unsigned short rows, unsigned short columns) {
    const char *text = info_on(model, rows, columns), *last = text;
    size_t n = 0, widest = 0;
    for (const char *p = text; *p; p += strcspn(p, "\r\n"), p += strspn(p, "\r\n")) {
        size_t width = strcspn(p, "\r\n");
        if (width > widest) widest = width;
        last = p;
        n++;
    }
    CHECK(n < rows && n > 4, "%s: %zu lines for %u rows:\n%s", model, n, rows, text);
    CHECK(widest <= columns, "%s: %zu columns of %u:\n%s", model, widest, columns, text);
    CHECK(strncmp(last, "runs: yes", 9) == 0, "%s: the last line is %s", model, last);
    CHECK(!strstr(text, "general.architecture"), "%s: the keys:\n%s", model, text);
}

static void test_info(void) {
    check_screen("test/data/models/step35.gguf", 24, 80); // would be 39 lines
    check_screen("test/data/models/gemma4-26b.gguf", 24, 80);
    check_screen("test/data/models/llama.gguf", 24, 80);
    check_screen("test/data/models/qwen35moe.gguf", 12, 40);
    CHECK(strstr(info_on("test/data/models/step35.gguf", 60, 200), "\nspecial        bos 1"),
          "a large screen has room for all but the keys");
    CHECK(strstr(info_on("test/data/vocab.gguf", 24, 80), "runs: no: a vocabulary alone"),
          "a vocabulary");
}

/* A run of the demo model whose messages, and text unless it goes elsewhere, are on a terminal.
 * Once that shows `until` the signal comes. */
struct stopped {
    int status;
    char seen[65536];
};

static void start_run(int typed, bool text_too, const char *prompt, const char *n_gen) {
    int null = open("/dev/null", O_RDWR);
    bool in_file = strchr(prompt, '/') != NULL;
    dup2(null, STDIN_FILENO);
    dup2(text_too ? typed : null, STDOUT_FILENO);
    dup2(typed, STDERR_FILENO);
    alarm(100);
    execl(program, program, "demo/tales-Q5_K_M.gguf", in_file ? "-f" : "-p", prompt, "-n", n_gen,
          "-c", "30000", "-b", "4", "-t", "1", "--isa", "portable", (char *)NULL);
    _exit(127);
}

static void read_more(int terminal, struct stopped *s) {
    size_t n = strlen(s->seen);
    ssize_t got = read(terminal, s->seen + n, sizeof s->seen - 1 - n);
    if (got > 0) s->seen[n + (size_t)got] = '\0';
}

static const struct stopped *stop_run(bool text_too, const char *prompt, const char *until) {
    static struct stopped s;
    s = (struct stopped){.status = -1};
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0) exit(1);
    int typed = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    pid_t pid = fork(), ended = 0;
    if (pid == 0) start_run(typed, text_too, prompt, "-1");
    fcntl(terminal, F_SETFL, O_NONBLOCK);
    for (bool asked = false; ended == 0; usleep(1000)) {
        ended = waitpid(pid, &s.status, WNOHANG);
        read_more(terminal, &s);
        if (!asked && strstr(s.seen, until)) {
            asked = true;
            kill(pid, SIGINT);
        }
    }
    read_more(terminal, &s);
    close(typed);
    close(terminal);
    return &s;
}

static void check_stopped(const struct stopped *s) {
    const char *statistics = strstr(s->seen, "prompt     ");
    CHECK(WIFSIGNALED(s->status) && WTERMSIG(s->status) == SIGINT, "status %d: %s", s->status,
          s->seen);
    CHECK(statistics && statistics > s->seen && statistics[-1] == '\n',
          "the statistics begin no line: %s", s->seen);
}

/* The counter of a long prompt is not written over the prompt, and statistics have lines of their
 * own. */
static void test_stopped(void) {
    const struct stopped *s = stop_run(true, "demo/heldout.txt", "reading the prompt: ");
    const char *counter = strstr(s->seen, "reading the prompt: ");
    check_stopped(s);
    CHECK(!strstr(s->seen, "There was once a forester"), "the prompt is there before it was read");
    CHECK(counter && strstr(counter, "\r\033[K"), "the counter stays: %s", s->seen);
    s = stop_run(true, "Once upon a time", "Once upon a time there lived");
    check_stopped(s);
    const char *text = strstr(s->seen, "Once upon a time");
    CHECK(text && !strstr(text, "\033[K"), "a counter beside text: %s", s->seen);
    s = stop_run(false, "Once upon a time", "run: -c 30000");
    check_stopped(s);
}

static void test_hint(void) {
    char with_template[80];
    const char *hint = "--chat -p TEXT asks the model a question";
    snprintf(with_template, sizeof with_template, "%s.template", path);
    add_template(with_template);
    CHECK(strstr(messages(with_template, true), hint), "no hint at --chat");
    CHECK(!strstr(messages(with_template, false), hint), "a hint at --chat in a pipe");
    CHECK(!strstr(messages(path, true), hint), "a hint at --chat without a template");
    unlink(with_template);
}

int main(void) {
    const char *run = getenv("RUN");
    snprintf(program, sizeof program, "%s", run ? run : "./run");
    if (!mkdtemp(dir)) {
        perror(dir);
        return 1;
    }
    snprintf(path, sizeof path, "%s/model.gguf", dir);
    snprintf(file, sizeof file, "%s/talk.json", dir);
    write_model();
    struct result alone = converse("ab\ncd\n/quit\n");
    CHECK(alone.status == 0 && strlen(alone.out) > 2, "%d: %s%s", alone.status, alone.out,
          alone.err);
    struct result r = converse("abz\nab\nz\ncd\n/quit\n");
    const char *why = strstr(r.err, "run: layer 0: a key is not finite (token ");
    CHECK(r.status == 0, "status %d", r.status);
    CHECK(why && strstr(why, ", id 285)\n(no answer; the message is forgotten)\n"), "%s", r.err);
    CHECK(why && strstr(why + 1, "run: layer 0: a key is not finite (token "), "once: %s", r.err);
    CHECK(strcmp(r.out, alone.out) == 0, "\"%s\", expected \"%s\"", r.out, alone.out);
    test_pastes();
    test_commands();
    test_long_line();
    test_interrupt();
    test_killed();
    test_stopped();
    test_hint();
    test_info();
    unlink(file);
    unlink(path);
    rmdir(dir);
    return test_done("test_terminal");
}
