/* The program quantize, run as a user runs it: which type every tensor gets, that each block is
 * what quantize_row makes of the weights, that metadata come through, and that nothing is left
 * behind when it fails. The program is $QUANTIZE, or ./quantize. */
#include "gguf_build.h"
#include "quant.h"
#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static char program[PATH_MAX];
static char output[4096]; // what the last run printed

/* Runs the program in the test's own directory; gives its exit status, or 128 + signal. */
static int quantize(const char *format, ...) {
    char arguments[1024], command[PATH_MAX + 2048];
    va_list list;
    va_start(list, format);
    vsnprintf(arguments, sizeof arguments, format, list);
    va_end(list);
    snprintf(command, sizeof command, "QUANTIZE='%s'; exec >printed 2>&1; %s", program, arguments);
    int status = system(command);
    FILE *f = fopen("printed", "r");
    size_t n = f ? fread(output, 1, sizeof output - 1, f) : 0;
    output[n] = '\0';
    if (f) fclose(f);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool has_leftover(void) {
    bool found = false;
    DIR *dir = opendir(".");
    for (struct dirent *e; dir && (e = readdir(dir));) found |= strstr(e->d_name, ".tmp-") != NULL;
    if (dir) closedir(dir);
    return found;
}

/* The program must end with this status and say this, in one line, and leave nothing. */
#define CHECK_RUN(status, message, ...)                                                         \
    do {                                                                                        \
        int got_ = quantize(__VA_ARGS__);                                                       \
        CHECK(got_ == (status), "status %d, printed: %s", got_, output);                        \
        CHECK(strstr(output, message), "no \"%s\" in: %s", message, output);                    \
        CHECK(strchr(output, '\n') == output + strlen(output) - 1, "not one line: %s", output); \
        CHECK(!has_leftover(), "a temporary file is left");                                     \
    } while (0)

/* ---- a model in which every rule applies ----------------------------------------------------- */

static const char *const mixes[4] = {"Q5_K_M", "Q5_K_S", "Q6_K", "Q8_0"};
static const uint32_t file_types[4] = {17, 16, 18, 7};

#define KEPT \
    { UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX }
#define MOST \
    { GGML_TYPE_Q5_K, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K, GGML_TYPE_Q8_0 }
#define MORE \
    { GGML_TYPE_Q6_K, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K, GGML_TYPE_Q8_0 }
#define OUTPUT \
    { GGML_TYPE_Q6_K, GGML_TYPE_Q6_K, GGML_TYPE_Q6_K, GGML_TYPE_Q8_0 }
#define MOST_ODD \
    { GGML_TYPE_Q5_1, GGML_TYPE_Q5_1, GGML_TYPE_Q8_0, GGML_TYPE_Q8_0 }
#define MORE_ODD \
    { GGML_TYPE_Q8_0, GGML_TYPE_Q5_1, GGML_TYPE_Q8_0, GGML_TYPE_Q8_0 }
#define ALL_Q8_0 \
    { GGML_TYPE_Q8_0, GGML_TYPE_Q8_0, GGML_TYPE_Q8_0, GGML_TYPE_Q8_0 }
#define ALL_F16 \
    { GGML_TYPE_F16, GGML_TYPE_F16, GGML_TYPE_F16, GGML_TYPE_F16 }

/* Of 8 layers 0, 3, 6 and 7 get more bits: the first and last eighth, and every third between. */
struct expected {
    const char *name;
    uint64_t ne[3];
    uint32_t types[4]; // by mix
};

static const struct expected dense[] = {
    {"token_embd.weight", {256, 5, 1}, MOST},
    {"blk.0.attn_norm.weight", {256, 1, 1}, KEPT},
    {"blk.0.attn_q.weight", {512, 600, 1}, MOST}, // more than one chunk
    {"blk.0.attn_q.bias", {256, 2, 1}, KEPT},
    {"blk.0.attn_q_norm.weight", {256, 2, 1}, KEPT},
    {"blk.0.attn_k.weight", {256, 3, 1}, MOST},
    {"blk.0.attn_v.weight", {256, 3, 1}, MORE},
    {"blk.1.attn_v.weight", {256, 3, 1}, MOST},
    {"blk.2.attn_v.weight", {256, 3, 1}, MOST},
    {"blk.3.attn_v.weight", {256, 3, 1}, MORE},
    {"blk.4.attn_qkv.weight", {256, 3, 1}, MOST},
    {"blk.6.attn_qkv.weight", {256, 3, 1}, MORE},
    {"blk.5.ffn_down.weight", {768, 3, 1}, MOST},
    {"blk.6.ffn_down.weight", {768, 3, 1}, MORE},
    {"blk.7.ffn_down_exps.weight", {256, 3, 2}, MORE},
    {"blk.7.ffn_up_exps.weight", {256, 3, 2}, MOST},
    {"blk.7.ffn_gate_inp.weight", {256, 2, 1}, KEPT},
    {"blk.1.ffn_up.weight", {192, 3, 1}, MOST_ODD},
    {"blk.0.ffn_down.weight", {96, 3, 1}, MORE_ODD},
    {"blk.1.ffn_gate.weight", {40, 3, 1}, ALL_F16},
    {"rope_freqs.weight", {16, 1, 1}, KEPT},
    {"output.weight", {256, 5, 1}, OUTPUT},
    {"output_norm.weight", {256, 1, 1}, KEPT},
};

static const struct expected eight_experts[] = {
    {"token_embd.weight", {256, 5, 1}, OUTPUT}, // no output.weight: it serves for both
    {"blk.1.attn_q.weight", {256, 2, 1}, MOST},
    {"blk.1.attn_k.weight", {256, 2, 1}, ALL_Q8_0},
    {"blk.1.attn_v.weight", {256, 2, 1}, ALL_Q8_0},
    {"blk.1.ffn_down_exps.weight", {256, 2, 8}, MOST},
    {"blk.3.ffn_down_exps.weight", {256, 2, 8}, MORE},
};

static void add_metadata(struct gguf_build *b, uint32_t n_expert) {
    build_str(b, "general.architecture", "llama");
    build_u32(b, "general.file_type", 0);
    build_u8(b, "test.u8", 200);
    build_i8(b, "test.i8", -100);
    build_i16(b, "test.i16", -3);
    build_f64(b, "test.f64", 0.1);
    build_bool(b, "test.bool", true);
    build_u32(b, "llama.block_count", 8);
    if (n_expert) build_u32(b, "llama.expert_count", n_expert);
    build_strs(b, "test.strings", 3, (const char *[]){"<unk>", "", "\xe2\x96\x81the"});
    build_f32s(b, "test.scores", 2, (const float[]){-1.5f, 1e30f});
    build_i32s(b, "test.none", 0, NULL);
    build_u32(b, "general.alignment", 64);
    b->alignment = 64;
}

static void add_tensor(struct gguf_build *b, const struct expected *e, uint32_t type,
                       uint64_t *seed) {
    struct build_tensor *t = build_tensor_nd(b, e->name, type,
                                             e->ne[2] > 1   ? 3
                                             : e->ne[1] > 1 ? 2
                                                            : 1,
                                             e->ne, NULL);
    int64_t n = (int64_t)(e->ne[0] * e->ne[1] * e->ne[2]);
    float *x = build_realloc(NULL, (size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = test_normal(seed);
    quantize_row(type, x, t->data.data, n);
    free(x);
}

static void write_model(const char *path, const struct expected *e, int n, uint32_t type,
                        uint32_t n_expert) {
    struct gguf_build b = {0};
    uint64_t seed = 3;
    add_metadata(&b, n_expert);
    for (int i = 0; i < n; i++) add_tensor(&b, &e[i], type, &seed);
    build_write(&b, path);
    build_free(&b);
}

/* ---- what came out --------------------------------------------------------------------------- */

static void check_metadata(const struct gguf *in, const struct gguf *out, uint32_t file_type) {
    struct error err;
    uint32_t v = 0;
    CHECK(gguf_get_u32(out, "general.file_type", &v, &err) == 1 && v == file_type, "%u", v);
    CHECK(gguf_get_u32(out, "general.quantization_version", &v, &err) == 1 && v == 2, "%u", v);
    CHECK(out->alignment == in->alignment, "alignment %zu", out->alignment);
    CHECK(out->n_kv == in->n_kv + 1, "%zu keys became %zu", in->n_kv, out->n_kv);
    for (size_t i = 0; i < in->n_kv && i < out->n_kv; i++) {
        const struct gguf_kv *a = &in->kv[i], *b = &out->kv[i];
        CHECK(a->key.len == b->key.len && memcmp(a->key.data, b->key.data, a->key.len) == 0,
              "key %zu is another", i);
        if (gguf_str_eq(a->key, "general.file_type")) continue;
        bool last = i + 1 == in->n_kv; // the bytes up to the next key's length say it all
        size_t size = last ? 4 : (size_t)((const uint8_t *)a[1].key.data - 8 - a->data);
        CHECK(a->type == b->type && a->elem_type == b->elem_type && a->n == b->n &&
                  memcmp(a->data, b->data, size) == 0,
              "the value of %.*s is another", (int)a->key.len, a->key.data);
    }
}

static void check_tensor(const struct gguf_tensor *in, const struct gguf_tensor *out,
                         uint32_t type) {
    if (type == UINT32_MAX) type = in->type;
    CHECK(strcmp(in->name, out->name) == 0, "%s is where %s was", out->name, in->name);
    CHECK(out->type == type, "%s: type %u, not %u", out->name, out->type, type);
    CHECK(out->n_dims == in->n_dims && memcmp(out->ne, in->ne, sizeof in->ne) == 0,
          "%s: another shape", out->name);
    int64_t n = (int64_t)(in->ne[0] * in->ne[1] * in->ne[2]);
    float *x = build_realloc(NULL, (size_t)n * sizeof *x);
    uint8_t *want = build_realloc(NULL, out->nbytes);
    dequantize_row(in->type, in->data, x, n);
    if (out->type == type) quantize_row(type, x, want, n);
    CHECK(memcmp(want, out->data, out->nbytes) == 0, "%s: other blocks", out->name);
    free(want);
    free(x);
}

static void check_output(const char *in_path, const char *out_path, const struct expected *e, int n,
                         int mix) {
    struct gguf in, out;
    struct error err;
    if (gguf_open(&in, in_path, &err) != 0 || gguf_open(&out, out_path, &err) != 0) {
        CHECK(false, "%s", err.text);
        return;
    }
    check_metadata(&in, &out, file_types[mix]);
    CHECK(out.n_tensors == (size_t)n, "%zu tensors", out.n_tensors);
    for (int i = 0; i < n && (size_t)i < out.n_tensors; i++) {
        check_tensor(&in.tensors[i], &out.tensors[i], e[i].types[mix]);
    }
    gguf_close(&in);
    gguf_close(&out);
}

static void test_mixes(void) {
    static const uint32_t inputs[] = {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16};
    enum { N_DENSE = sizeof dense / sizeof dense[0] };
    enum { N_EXPERTS = sizeof eight_experts / sizeof eight_experts[0] };
    for (int t = 0; t < 3; t++) {
        write_model("dense.gguf", dense, N_DENSE, inputs[t], 0);
        write_model("experts.gguf", eight_experts, N_EXPERTS, inputs[t], 8);
        for (int mix = 0; mix < 4; mix++) {
            CHECK_RUN(0, "bits per weight", "$QUANTIZE -t 3 dense.gguf out.gguf %s", mixes[mix]);
            check_output("dense.gguf", "out.gguf", dense, N_DENSE, mix);
            CHECK_RUN(0, "bits per weight", "$QUANTIZE experts.gguf out.gguf %s", mixes[mix]);
            check_output("experts.gguf", "out.gguf", eight_experts, N_EXPERTS, mix);
        }
    }
}

/* Two parts become one file, which does not say that it is a part. */
static void test_split_input(void) {
    for (uint32_t part = 0; part < 2; part++) {
        struct gguf_build b = {0};
        char path[32];
        if (part == 0) add_metadata(&b, 0);
        build_u16(&b, "split.no", (uint16_t)part);
        build_u16(&b, "split.count", 2);
        build_i32(&b, "split.tensors.count", 2);
        build_tensor(&b, part ? "output.weight" : "token_embd.weight", GGML_TYPE_F32, 256, 2, NULL);
        b.alignment = 0;
        if (part == 0) build_u32(&b, "general.alignment", 32);
        snprintf(path, sizeof path, "s-%05u-of-00002.gguf", part + 1);
        build_write(&b, path);
        build_free(&b);
    }
    CHECK_RUN(0, "bits per weight", "$QUANTIZE s-00001-of-00002.gguf whole.gguf Q6_K");
    struct gguf g;
    struct error err;
    if (gguf_open(&g, "whole.gguf", &err) != 0) {
        CHECK(false, "%s", err.text);
        return;
    }
    CHECK(g.n_tensors == 2, "%zu tensors", g.n_tensors);
    CHECK(!gguf_find(&g, "split.no") && !gguf_find(&g, "split.count") &&
              !gguf_find(&g, "split.tensors.count"),
          "the output calls itself a part");
    gguf_close(&g);
}

/* ---- what goes wrong ------------------------------------------------------------------------- */

static void test_usage(void) {
    CHECK(quantize("$QUANTIZE --help") == 0 && strstr(output, "usage:"), "%s", output);
    CHECK_RUN(2, "found 0 of them", "$QUANTIZE");
    CHECK_RUN(2, "found 2 of them", "$QUANTIZE dense.gguf out.gguf");
    CHECK_RUN(2, "found one more: x", "$QUANTIZE dense.gguf out.gguf Q6_K x");
    CHECK_RUN(2, "found Q4_K_M", "$QUANTIZE dense.gguf out.gguf Q4_K_M");
    CHECK_RUN(2, "unknown option -q", "$QUANTIZE -q dense.gguf out.gguf Q6_K");
    CHECK_RUN(2, "found nothing", "$QUANTIZE dense.gguf out.gguf Q6_K -t");
    CHECK_RUN(2, "found 0", "$QUANTIZE -t 0 dense.gguf out.gguf Q6_K");
    CHECK_RUN(2, "found 2x", "$QUANTIZE -t 2x dense.gguf out.gguf Q6_K");
    CHECK_RUN(2, "found 99999999999999999999", "$QUANTIZE -t 99999999999999999999 a b Q6_K");
}

static void test_bad_inputs(void) {
    struct gguf_build b = {0};
    build_tensor(&b, "token_embd.weight", GGML_TYPE_F32, 256, 2, NULL);
    build_write(&b, "nameless.gguf");
    build_str(&b, "general.architecture", "llama");
    build_str(&b, "llama.block_count", "two");
    build_write(&b, "wrong-key.gguf");
    build_u32(&b, "llama.block_count", 2);
    build_tensor(&b, "blk.0.attn_q.weight", GGML_TYPE_Q4_K, 256, 2, NULL);
    build_write(&b, "quantized.gguf");
    build_free(&b);
    build_write_bytes("text.gguf", "Once upon a time", 16);
    CHECK_RUN(1, "missing.gguf", "$QUANTIZE missing.gguf out.gguf Q6_K");
    CHECK_RUN(1, "text.gguf", "$QUANTIZE text.gguf out.gguf Q6_K");
    CHECK_RUN(1, "truncated.gguf",
              "head -c 90000 dense.gguf >truncated.gguf; $QUANTIZE truncated.gguf out.gguf Q6_K");
    CHECK_RUN(1, "general.architecture", "$QUANTIZE nameless.gguf out.gguf Q6_K");
    CHECK_RUN(1, "llama.block_count", "$QUANTIZE wrong-key.gguf out.gguf Q5_K_M");
    CHECK_RUN(1, "blk.0.attn_q.weight: expected F32, F16 or BF16 weights, found Q4_K",
              "$QUANTIZE quantized.gguf out.gguf Q6_K");
}

/* What stood at the output's place before a failure is there afterwards. */
static void test_bad_outputs(void) {
    CHECK_RUN(1, "same file", "$QUANTIZE dense.gguf dense.gguf Q6_K");
    CHECK_RUN(1, "same file", "ln -s dense.gguf soft; $QUANTIZE dense.gguf soft Q6_K");
    CHECK_RUN(1, "same file", "ln dense.gguf hard; $QUANTIZE dense.gguf ./hard Q6_K");
    for (uint32_t i = 0; i < 2; i++) {
        struct gguf_build b = {0};
        build_str(&b, "general.architecture", "llama");
        build_u32(&b, "split.no", i);
        build_u32(&b, "split.count", 2);
        build_tensor(&b, i ? "b" : "a", GGML_TYPE_F32, 256, 1, NULL);
        build_write(&b, i ? "in-00002-of-00002.gguf" : "in-00001-of-00002.gguf");
        build_free(&b);
    }
    CHECK_RUN(1, "same file", "$QUANTIZE in-00001-of-00002.gguf in-00002-of-00002.gguf Q6_K");
    CHECK_RUN(1, "found a directory", "mkdir dir; $QUANTIZE dense.gguf dir Q6_K");
    CHECK_RUN(1, "not a plain file", "mkfifo fifo; $QUANTIZE dense.gguf fifo Q6_K");
    CHECK_RUN(1, "nowhere/out.gguf", "$QUANTIZE dense.gguf nowhere/out.gguf Q6_K");
    CHECK_RUN(1, "old.gguf: cannot write",
              "echo old >old.gguf; ulimit -f 8; $QUANTIZE dense.gguf old.gguf Q6_K");
    CHECK(quantize("cat old.gguf") == 0 && strcmp(output, "old\n") == 0, "%s", output);
    CHECK_RUN(0, "bits per weight", "umask 027; $QUANTIZE dense.gguf old.gguf Q6_K");
    struct stat st;
    CHECK(stat("old.gguf", &st) == 0 && (st.st_mode & 0777) == 0640, "mode %o", st.st_mode & 0777u);
}

static void sleep_ms(long ms) {
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* A gigabyte of zeros (a hole in the file) takes long enough to be interrupted. */
static void test_signal(void) {
    struct gguf_build b = {0};
    build_str(&b, "general.architecture", "llama");
    build_tensor(&b, "token_embd.weight", GGML_TYPE_F32, 256, 1, NULL)->ne[1] = 1 << 20;
    build_write(&b, "big.gguf");
    build_free(&b);
    struct stat st;
    if (stat("big.gguf", &st) != 0 || truncate("big.gguf", st.st_size + (1 << 30)) != 0) {
        printf("SKIP signals: no room for a large file\n");
        return;
    }
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("printed", "w", stderr)) _exit(127);
        execl(program, program, "-t", "1", "big.gguf", "big-out.gguf", "Q5_K_M", (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 5000 && !has_leftover(); i++) sleep_ms(1);
    CHECK(has_leftover(), "no temporary file while it works");
    kill(child, SIGTERM);
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "status %d", status);
    CHECK(!has_leftover(), "a temporary file is left");
    CHECK(access("big-out.gguf", F_OK) != 0, "an output is there");
}

int main(void) {
    char dir[] = "/tmp/test_quantize-XXXXXX", command[sizeof dir + 16];
    const char *name = getenv("QUANTIZE");
    if (!realpath(name ? name : "./quantize", program) || !mkdtemp(dir) || chdir(dir) != 0) {
        perror(name ? name : "./quantize");
        return 1;
    }
    test_mixes();
    test_split_input();
    test_usage();
    test_bad_inputs();
    test_bad_outputs();
    test_signal();
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (chdir("/") != 0 || system(command) != 0) perror(dir);
    return test_done("test_quantize");
}
