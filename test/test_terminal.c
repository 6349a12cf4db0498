/* --chat on a terminal: what a pipe cannot show. A message that meets a weight of NaN is forgotten,
 * the conversation goes on. The program is $RUN. */
#define _GNU_SOURCE // posix_openpt
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>

#include "gguf.h"
#include "test.h"

static char dir[] = "/tmp/kq-terminal-XXXXXX", path[64], program[4096];

/* The random model of test/data, its NaN taken out, one put into the embedding of "z". */
static void write_model(void) {
    static uint8_t file[1 << 18];
    struct gguf g;
    struct error err;
    FILE *f = fopen("test/data/nan-weight.gguf", "rb");
    size_t size = f ? fread(file, 1, sizeof file, f) : 0;
    if (f) fclose(f);
    if (gguf_parse(&g, file, size, &err) != 0) {
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
    if (!f || fwrite(file, 1, size, f) != size || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}

struct result {
    int status;
    char out[4096], err[4096];
};

static void read_end(int fd, char *text, size_t size) {
    size_t n = 0;
    lseek(fd, 0, SEEK_SET);
    for (ssize_t got; n < size - 1 && (got = read(fd, text + n, size - 1 - n)) > 0;)
        n += (size_t)got;
    text[n] = '\0';
    close(fd);
}

/* The program's answers to lines typed on a terminal. */
static struct result converse(const char *lines) {
    struct result r = {.status = -1};
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0) return r;
    int typed = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    FILE *out = tmpfile(), *err = tmpfile();
    struct termios quiet;
    if (typed < 0 || !out || !err || tcgetattr(typed, &quiet) != 0) return r;
    quiet.c_lflag &= ~(tcflag_t)ECHO; // or the terminal's buffer holds what nobody reads
    tcsetattr(typed, TCSANOW, &quiet);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(typed, STDIN_FILENO);
        dup2(fileno(out), STDOUT_FILENO);
        dup2(fileno(err), STDERR_FILENO);
        alarm(100); // outlives exec: what hangs is killed
        execl(program, program, path, "--chat", "--template", "chatml", "-n", "5", "-q",
              (char *)NULL);
        _exit(127);
    }
    if (write(terminal, lines, strlen(lines)) < 0) perror("write");
    int status = 0;
    waitpid(pid, &status, 0);
    r.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    read_end(dup(fileno(out)), r.out, sizeof r.out);
    read_end(dup(fileno(err)), r.err, sizeof r.err);
    fclose(out);
    fclose(err);
    close(typed);
    close(terminal);
    return r;
}

int main(void) {
    const char *run = getenv("RUN");
    snprintf(program, sizeof program, "%s", run ? run : "./run");
    if (!mkdtemp(dir)) {
        perror(dir);
        return 1;
    }
    snprintf(path, sizeof path, "%s/model.gguf", dir);
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
    unlink(path);
    rmdir(dir);
    return test_done("test_terminal");
}
