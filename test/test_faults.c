/* Every call into the system fails once: each allocation, map, thread, open, read and write of a
 * short run of the programs run and quantize, one at a time (test/faults.c). Each time the program
 * must say so in one line and end with status 1, or, where it can do without, do all the same what
 * it does otherwise; it must not leave anything behind. The programs are $RUN and $QUANTIZE. */
#include "test.h"
#include "tiny_model.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char programs[3][PATH_MAX], library[PATH_MAX];
enum { RUN, QUANTIZE, TEST_KQ };

/* What a program leaves in the test's own directory. */
struct run {
    int status; // exit status, or 128 + signal
    char out[8192], err[4096], log[512];
    size_t n_out;
};

static size_t slurp(const char *path, char *text, size_t size) {
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, size - 1, f) : 0;
    text[n] = '\0';
    if (f) fclose(f);
    return n;
}

static void redirect(const char *path, int flags, int to) {
    int fd = open(path, flags, 0600);
    if (fd < 0 || dup2(fd, to) < 0) _exit(126);
    close(fd);
}

/* quantize's last line ends with the time it took. */
static void cut_time(struct run *r) {
    char *time = strstr(r->out, " bits per weight, ");
    if (!time) return;
    *time = '\0';
    r->n_out = strlen(r->out);
}

static void run(struct run *r, int program, char *const *arguments, long fault_at) {
    char at[32];
    snprintf(at, sizeof at, "%ld", fault_at);
    unlink("log");
    pid_t pid = fork();
    if (pid == 0) {
        setenv("FAULT_AT", at, 1);
        setenv("FAULT_LOG", "log", 1);
        setenv("LD_PRELOAD", library, 1);
        redirect("in", O_RDONLY, STDIN_FILENO);
        redirect("out", O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO);
        redirect("err", O_WRONLY | O_CREAT | O_TRUNC, STDERR_FILENO);
        alarm(100); // outlives exec: what hangs is killed
        execv(programs[program], arguments);
        _exit(127);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    r->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    r->n_out = slurp("out", r->out, sizeof r->out);
    cut_time(r);
    slurp("err", r->err, sizeof r->err);
    slurp("log", r->log, sizeof r->log);
}

/* The calls that may fail without a word: how many processors there are and how much memory is
 * used is read if the system tells; stdio does without a buffer; a directory need not be synced,
 * nor the output's permissions follow the umask. */
static bool can_do_without(const struct run *r) {
    static const char *const calls[] = {"fopen /proc/", "fopen /sys/",
                                        "fgets ",       "sched_getaffinity ",
                                        "madvise ",     "malloc inside the C library",
                                        "open .",       "strdup ",
                                        "fsync ",       "fchmod "};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        if (strncmp(r->log, "failed ", 7) == 0 &&
            strncmp(r->log + 7, calls[i], strlen(calls[i])) == 0) {
            return true;
        }
    }
    return false;
}

static long n_faults;

/* again: the program makes a call that failed once more, so that nothing may be different. */
static void check_fault(const struct run *r, const struct run *clean, bool again, const char *name,
                        long at) {
    const char *end = strchr(r->err, '\n'), *left = strstr(r->log, "blocks ");
    bool same = r->n_out == clean->n_out && !memcmp(r->out, clean->out, r->n_out);
    n_faults++;
    CHECK(left && strcmp(left, "blocks 0 maps 0 descriptors 0\n") == 0, "%s, call %ld: %s", name,
          at, r->log);
    if (again) {
        CHECK(r->status == 0 && same, "%s, call %ld: %sstatus %d: %s", name, at, r->log, r->status,
              r->out);
        return;
    }
    // --info tells what stands in a model's way, memory too
    if (r->status == 0 && strstr(r->out, "\nruns: no: ")) return;
    bool one_line = end && end[1] == '\0' && strstr(r->err, ": ");
    if (r->status == 0 && can_do_without(r)) {
        CHECK(same, "%s, call %ld: %sanother output: %s", name, at, r->log, r->out);
    } else {
        CHECK(r->status == 1 && one_line, "%s, call %ld: %sstatus %d, said: %s", name, at, r->log,
              r->status, r->err);
    }
}

/* Runs the program until a run has no call number n any more. */
static void fail_each_call(int program, const char *name, char *const *arguments) {
    static struct run clean, r;
    long n_calls = 0;
    run(&clean, program, arguments, 0);
    CHECK(clean.status == 0, "%s: status %d, said: %s", name, clean.status, clean.err);
    CHECK(sscanf(clean.log, "calls %ld", &n_calls) == 1 && n_calls > 0, "%s: %s", name, clean.log);
    for (long at = 1; at <= n_calls; at++) {
        run(&r, program, arguments, at);
        check_fault(&r, &clean, program == TEST_KQ, name, at);
    }
}

/* ---- models ---------------------------------------------------------------------------------- */

static struct gguf_build model_with_words(void) {
    static const char *const words[] = {"<unk>",        "<s>", "</s>", "a", "b", "ab",
                                        "\xe2\x96\x81", "c",   "d",    "e", "f"};
    enum { N = sizeof words / sizeof *words };
    struct tiny t = tiny_llama();
    t.n_vocab = N;
    struct gguf_build b = tiny_build(&t);
    build_str(&b, "tokenizer.ggml.model", "llama");
    build_strs(&b, "tokenizer.ggml.tokens", N, words);
    build_i32s(&b, "tokenizer.ggml.token_type", N,
               (const int32_t[N]){2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1});
    build_f32s(&b, "tokenizer.ggml.scores", N, (const float[N]){0});
    return b;
}

/* The same in two files. */
static void write_split(void) {
    for (uint32_t part = 0; part < 2; part++) {
        struct gguf_build b = model_with_words();
        size_t n = b.n_tensors;
        for (size_t i = n; i-- > 0;) {
            if ((i < n / 2) != (part == 0)) build_remove_tensor(&b, b.tensors[i].name);
        }
        build_u32(&b, "split.no", part);
        build_u32(&b, "split.count", 2);
        build_u32(&b, "split.tensors.count", (uint32_t)n);
        build_write(&b, part ? "part-00002-of-00002.gguf" : "part-00001-of-00002.gguf");
        build_free(&b);
    }
}

static void write_text(const char *path, const char *text) {
    build_write_bytes(path, text, strlen(text));
}

/* ---- the programs ---------------------------------------------------------------------------- */

#define ARGUMENTS(...) ((char *[]){"program", __VA_ARGS__, NULL})

static void test_run(void) {
#define MODEL "model.gguf", "-t", "1", "-q"
    fail_each_call(RUN, "text", ARGUMENTS("model.gguf", "-q", "-t", "2", "-f", "text", "-n", "3"));
    fail_each_call(RUN, "standard input", ARGUMENTS(MODEL, "-n", "1"));
    fail_each_call(RUN, "--no-mmap", ARGUMENTS(MODEL, "--no-mmap", "--ids", "1 3", "-n", "1"));
    fail_each_call(RUN, "--no-mmap of a split file",
                   ARGUMENTS("part-00001-of-00002.gguf", "--no-mmap", "-t", "2", "-q", "--ids",
                             "1 3", "-n", "1"));
    fail_each_call(RUN, "logits, verify",
                   ARGUMENTS(MODEL, "--ids", "1 3 4", "-n", "2", "--logits", "logits", "--verify"));
    fail_each_call(RUN, "sampling",
                   ARGUMENTS(MODEL, "-p", "ab", "-n", "2", "--temp", "1", "--top-p", "0.9",
                             "--top-k", "5", "-s", "1"));
    fail_each_call(RUN, "split",
                   ARGUMENTS("part-00001-of-00002.gguf", "-t", "1", "-q", "-p", "a", "-n", "1"));
    fail_each_call(RUN, "tokens", ARGUMENTS("model.gguf", "--tokens", "-p", "abba"));
    fail_each_call(RUN, "info", ARGUMENTS(MODEL, "--info"));
    fail_each_call(RUN, "chat",
                   ARGUMENTS(MODEL, "--chat", "--template", "llama2", "--temp", "0", "-n", "2",
                             "--system", "a"));
    fail_each_call(RUN, "one question",
                   ARGUMENTS(MODEL, "--chat", "--template-file", "template", "-n", "2", "--temp",
                             "0", "-p", "ab"));
    fail_each_call(
        RUN, "render",
        ARGUMENTS("model.gguf", "--template-file", "template", "--render", "talk", "--tokens"));
    fail_each_call(RUN, "version", ARGUMENTS("--version"));
    fail_each_call(RUN, "help", ARGUMENTS("--help"));
    fail_each_call(RUN, "perplexity", ARGUMENTS(MODEL, "--perplexity", "text", "-c", "8"));
#undef MODEL
}

static void test_quantize(void) {
    fail_each_call(QUANTIZE, "quantize --help", ARGUMENTS("--help"));
    fail_each_call(QUANTIZE, "quantize", ARGUMENTS("-t", "2", "model.gguf", "out.gguf", "Q8_0"));
}

/* The library's objects can be used after each failure: the bits are those of a run without one. */
static void test_library(void) {
    fail_each_call(TEST_KQ, "library", ARGUMENTS("retry", "model.gguf"));
}

/* ---- a file cut short while it is mapped ----------------------------------------------------- */

/* The model is cut while the program waits for the second message: of a map that is the end, what
 * was read is not touched. */
static void test_shrinking_model(bool mapped) {
    int to[2], from[2], status = 0;
    char c = 0;
    if (pipe(to) != 0 || pipe(from) != 0) exit(1);
    pid_t pid = fork();
    if (pid == 0) {
        redirect("err", O_WRONLY | O_CREAT | O_TRUNC, STDERR_FILENO);
        if (dup2(to[0], STDIN_FILENO) < 0 || dup2(from[1], STDOUT_FILENO) < 0) _exit(126);
        close(to[1]);
        alarm(100);
        execv(programs[RUN],
              ARGUMENTS("shrinking.gguf", "--chat", "--template", "llama2", "--temp", "0", "-q",
                        "-n", "1", "-t", "1", mapped ? NULL : "--no-mmap"));
        _exit(127);
    }
    close(from[1]);
    if (write(to[1], "a\n", 2) != 2) exit(1);
    while (read(from[0], &c, 1) == 1 && c != '\n') continue; // the first answer
    if (truncate("shrinking.gguf", 4096) != 0 || write(to[1], "b\n", 2) != 2) exit(1);
    close(to[1]); // after the second answer the conversation ends
    waitpid(pid, &status, 0);
    static char err[512];
    slurp("err", err, sizeof err);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == mapped, "status %d", status);
    const char *said = mapped ? "program: the model file was cut short while it was in use\n" : "";
    CHECK(strcmp(err, said) == 0, "%s", err);
    close(to[0]);
    close(from[0]);
}

static bool has_file(const char *part) {
    bool found = false;
    DIR *dir = opendir(".");
    for (struct dirent *e; dir && (e = readdir(dir));) found |= strstr(e->d_name, part) != NULL;
    if (dir) closedir(dir);
    return found;
}

/* A model of 256 MB of holes, cut when the output has been begun: that is seconds from the end. */
static void test_shrinking_input(void) {
    struct gguf_build b = {0};
    int status = 0;
    build_str(&b, "general.architecture", "llama");
    struct build_tensor *t = build_tensor(&b, "blk.0.attn_q.weight", GGML_TYPE_F32, 256, 1, NULL);
    t->ne[1] = 1 << 18;
    build_write(&b, "holes.gguf");
    build_free(&b);
    if (truncate("holes.gguf", 300 << 20) != 0) exit(1);
    pid_t pid = fork();
    if (pid == 0) {
        redirect("err", O_WRONLY | O_CREAT | O_TRUNC, STDERR_FILENO);
        alarm(100);
        execv(programs[QUANTIZE], ARGUMENTS("holes.gguf", "holes.out", "Q5_K_M", "-t", "1"));
        _exit(127);
    }
    while (!has_file("holes.out.tmp") && waitpid(pid, &status, WNOHANG) == 0) usleep(1000);
    if (truncate("holes.gguf", 4096) != 0) exit(1);
    waitpid(pid, &status, 0);
    static char err[512];
    slurp("err", err, sizeof err);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1, "status %d: %s", status, err);
    CHECK(strcmp(err, "program: the input was cut short while it was read\n") == 0, "%s", err);
    CHECK(!has_file("holes.out"), "something is left");
}

static bool find_program(const char *variable, const char *otherwise, char *path) {
    const char *name = getenv(variable);
    if (realpath(name ? name : otherwise, path)) return true;
    printf("%s: cannot be found\n", name ? name : otherwise);
    return false;
}

/* Beside this program. */
static bool find_test_kq(const char *argv0) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.*s/test_kq", (int)(strrchr(argv0, '/') - argv0), argv0);
    return realpath(path, programs[TEST_KQ]);
}

/* The library beside this program, if the C library lets it take over malloc and no sanitizer has
 * done so before. */
static bool find_library(const char *argv0) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.*s/faults.so", (int)(strrchr(argv0, '/') - argv0), argv0);
    if (!realpath(path, library)) return false;
    struct run r;
    run(&r, RUN, ARGUMENTS("--version"), 0);
    return r.status == 0 && strncmp(r.log, "calls ", 6) == 0;
}

int main(int argc, char **argv) {
    char dir[] = "/tmp/kq-faults-XXXXXX", here[PATH_MAX];
    (void)argc;
    if (!find_program("RUN", "./run", programs[RUN])) return 1;
    if (!find_program("QUANTIZE", "./quantize", programs[QUANTIZE])) return 1;
    if (!strchr(argv[0], '/') || !realpath(argv[0], here) || !find_test_kq(here)) return 1;
    if (!mkdtemp(dir) || chdir(dir) != 0) return perror(dir), 1;
    write_text("in", "ab\nba\n");
    if (TEST_SANITIZED || !find_library(here)) {
        printf("SKIP faults (no glibc, or a sanitizer)\n");
    } else {
        struct gguf_build b = model_with_words();
        build_write(&b, "model.gguf");
        build_free(&b);
        write_split();
        write_text("template", "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}");
        write_text("talk", "{\"messages\": [{\"role\": \"user\", \"content\": \"ab</s>\"}]}");
        write_text("text", "abba abba ab ab ba ba ab\n");
        test_run();
        test_quantize();
        test_library();
    }
    for (int mapped = 0; mapped <= 1; mapped++) {
        struct gguf_build b = model_with_words();
        build_write(&b, "shrinking.gguf");
        build_free(&b);
        test_shrinking_model(mapped);
    }
    test_shrinking_input();
    char command[PATH_MAX + 16];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (system(command) != 0) return 1;
    printf("%ld calls failed\n", n_faults);
    return test_done("test_faults");
}
