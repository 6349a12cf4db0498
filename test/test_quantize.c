/* The program quantize, run as a user runs it: which type every tensor gets, that each block is
 * what quantize_row makes of the weights, that metadata come through, and that nothing is left
 * behind when it fails. The program is $QUANTIZE, or ./quantize. */
#include "gguf_build.h"
#include "quant.h"
#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
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

enum { N_MIXES = 6 };

static const char *const mixes[N_MIXES] = {"Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "Q8_0"};
static const uint32_t file_types[N_MIXES] = {14, 15, 16, 17, 18, 7};

// clang-format off
#define TYPES(a, b, c, d, e, f) {GGML_TYPE_##a, GGML_TYPE_##b, GGML_TYPE_##c, GGML_TYPE_##d, \
                                 GGML_TYPE_##e, GGML_TYPE_##f}
#define KEPT     {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}
#define MOST     TYPES(Q4_K, Q4_K, Q5_K, Q5_K, Q6_K, Q8_0)
#define MORE     TYPES(Q4_K, Q6_K, Q5_K, Q6_K, Q6_K, Q8_0)
#define VALUES   TYPES(Q5_K, Q4_K, Q5_K, Q5_K, Q6_K, Q8_0) // the first four
#define FIRST    TYPES(Q5_K, Q6_K, Q5_K, Q6_K, Q6_K, Q8_0) // of those, and of ffn_down
#define OUTPUT   TYPES(Q6_K, Q6_K, Q6_K, Q6_K, Q6_K, Q8_0)
#define MOST_ODD TYPES(Q5_0, Q5_0, Q5_1, Q5_1, Q8_0, Q8_0)
#define FIRST_ODD TYPES(Q5_1, Q8_0, Q5_1, Q8_0, Q8_0, Q8_0)
#define SMALL    TYPES(Q5_K, Q5_K, Q5_K, Q5_K, Q6_K, Q8_0)
#define ALL_Q8_0 TYPES(Q8_0, Q8_0, Q8_0, Q8_0, Q8_0, Q8_0)
#define ALL_F16  TYPES(F16, F16, F16, F16, F16, F16)
// clang-format on

/* test_mix has the rules in full. Of 8 tensors of values 0, 3, 6 and 7 get more bits: the first and
 * last eighth, and every third between. */
struct expected {
    const char *name;
    uint64_t ne[3];
    uint32_t types[N_MIXES];
};

static const struct expected dense[] = {
    {"token_embd.weight", {256, 5, 1}, MOST},
    {"blk.0.attn_norm.weight", {256, 1, 1}, KEPT},
    {"blk.0.attn_q.weight", {512, 600, 1}, MOST}, // more than one chunk
    {"blk.0.attn_q.bias", {256, 2, 1}, KEPT},
    {"blk.0.attn_q_norm.weight", {256, 2, 1}, KEPT},
    {"blk.0.attn_k.weight", {256, 3, 1}, MOST},
    {"blk.0.attn_v.weight", {256, 3, 1}, FIRST},
    {"blk.1.attn_v.weight", {256, 3, 1}, VALUES},
    {"blk.2.attn_v.weight", {256, 3, 1}, VALUES},
    {"blk.4.attn_v.weight", {256, 3, 1}, FIRST}, // the fourth of them: layer 3 has none
    {"blk.5.attn_qkv.weight", {256, 3, 1}, MOST},
    {"blk.7.attn_qkv.weight", {256, 3, 1}, MORE},
    {"blk.6.attn_qkv.weight", {256, 3, 1}, MOST},
    {"blk.7.attn_v.weight", {256, 3, 1}, MORE},
    {"blk.1.ffn_down.weight", {768, 3, 1}, MOST},
    {"blk.7.ffn_down_exps.weight", {256, 3, 2}, MOST},
    {"blk.7.ffn_up_exps.weight", {256, 3, 2}, MOST},
    {"blk.7.ffn_gate_inp.weight", {256, 2, 1}, KEPT},
    {"blk.1.ffn_up.weight", {192, 3, 1}, MOST_ODD},
    {"blk.0.ffn_down.weight", {96, 3, 1}, FIRST_ODD},
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
    {"blk.1.attn_output.weight", {256, 2, 1}, SMALL},
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
    if (in->type == out->type) memcpy(want, in->data, in->nbytes); // is only copied
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
        for (int mix = 0; mix < N_MIXES; mix++) {
            CHECK_RUN(0, "bits per weight", "$QUANTIZE -t 3 dense.gguf out.gguf %s", mixes[mix]);
            check_output("dense.gguf", "out.gguf", dense, N_DENSE, mix);
            CHECK_RUN(0, "bits per weight", "$QUANTIZE experts.gguf out.gguf %s", mixes[mix]);
            check_output("experts.gguf", "out.gguf", eight_experts, N_EXPERTS, mix);
        }
    }
}

/* Types that the engine computes with are read if the user allows it, and what comes out is made of
 * the weights they stand for. */
static void test_requantize(void) {
    static const uint32_t inputs[] = {
#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN(dequantize, number, )
#include "types.def"
    };
    struct gguf_build b = {0};
    uint64_t seed = 5;
    add_metadata(&b, 0);
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.ffn_up.weight", (int)i);
        struct build_tensor *t = build_tensor(&b, name, inputs[i], 256, 2, NULL);
        for (size_t k = 0; k < t->data.len; k++) { // no exponent of any type is large in these
            t->data.data[k] = (uint8_t)(test_random(&seed) >> 60) | 0x20;
        }
    }
    build_write(&b, "any.gguf");
    CHECK_RUN(1, "(--allow-requantize does it all the same)", "$QUANTIZE any.gguf out.gguf Q6_K");
    CHECK_RUN(0, "bits per weight", "$QUANTIZE --allow-requantize any.gguf out.gguf Q5_K_S");
    struct gguf in, out;
    struct error err;
    if (gguf_open(&in, "any.gguf", &err) == 0 && gguf_open(&out, "out.gguf", &err) == 0) {
        for (size_t i = 0; i < in.n_tensors; i++) {
            check_tensor(&in.tensors[i], &out.tensors[i], GGML_TYPE_Q5_K);
        }
        gguf_close(&in);
        gguf_close(&out);
    } else {
        CHECK(false, "%s", err.text);
    }
    build_tensor(&b, "blk.0.ffn_up.weight", GGML_TYPE_IQ1_S, 256, 2, NULL);
    build_write(&b, "any.gguf");
    CHECK_RUN(1, "found IQ1_S (type 19): quantize from the original model",
              "$QUANTIZE any.gguf out.gguf Q6_K --allow-requantize");
    build_free(&b);
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
    CHECK_RUN(2, "Q6_K or Q8_0, found Q4_0", "$QUANTIZE dense.gguf out.gguf Q4_0");
    CHECK_RUN(2, "--help takes no value", "$QUANTIZE --help=1 dense.gguf out.gguf Q6_K");
    CHECK_RUN(2, "from 1 to 512, found 0", "$QUANTIZE --threads=0 dense.gguf out.gguf Q6_K");
    CHECK_RUN(2, "unknown option --thread=1", "$QUANTIZE --thread=1 dense.gguf out.gguf Q6_K");
    CHECK_RUN(2, "unknown option -q", "$QUANTIZE -q dense.gguf out.gguf Q6_K");
    CHECK_RUN(2, "found nothing", "$QUANTIZE dense.gguf out.gguf Q6_K -t");
    CHECK_RUN(2, "found 0", "$QUANTIZE -t 0 dense.gguf out.gguf Q6_K");
    CHECK_RUN(2, "found 2x", "$QUANTIZE -t 2x dense.gguf out.gguf Q6_K");
    CHECK_RUN(2, "found 99999999999999999999", "$QUANTIZE -t 99999999999999999999 a b Q6_K");
}

/* A header is padded to the alignment: a file of a few bytes must not become gigabytes. */
static void test_wide_alignment(void) {
    struct gguf_build b = {0};
    build_str(&b, "general.architecture", "llama");
    build_u32(&b, "general.alignment", 1u << 20);
    build_write(&b, "wide.gguf");
    CHECK_RUN(0, "bits per weight", "$QUANTIZE wide.gguf out.gguf Q6_K");
    CHECK_RUN(0, "bits per weight", "$QUANTIZE --threads=2 wide.gguf out.gguf q6_k");
    build_u32(&b, "general.alignment", 1u << 31);
    build_write(&b, "wide.gguf");
    CHECK_RUN(1, "general.alignment is 2147483648", "$QUANTIZE wide.gguf out.gguf Q6_K");
    build_free(&b);
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
    test_wide_alignment();
    CHECK_RUN(1, "blk.0.attn_q.weight: expected F32, F16 or BF16 weights, found Q4_K",
              "$QUANTIZE quantized.gguf out.gguf Q6_K");
}

/* ---- weights that must not be written -------------------------------------------------------- */

/* A model in F32 but for one tensor, in which weight `at` is `value`; of that type. */
static void write_with(const char *path, const char *name, uint32_t type, const uint64_t ne[3],
                       int64_t at, float value) {
    struct gguf_build b = {0};
    uint64_t seed = 5;
    int64_t n = (int64_t)(ne[0] * ne[1] * ne[2]);
    float *x = build_realloc(NULL, (size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = test_normal(&seed);
    x[at] = value;
    build_str(&b, "general.architecture", "llama");
    build_u32(&b, "llama.block_count", 2);
    build_tensor(&b, "token_embd.weight", GGML_TYPE_F32, 256, 2, NULL);
    struct build_tensor *t = build_tensor_nd(&b, name, type, ne[2] > 1 ? 3 : 2, ne, NULL);
    quantize_row(type, x, t->data.data, n);
    build_write(&b, path);
    build_free(&b);
    free(x);
}

/* It must say so, and nothing be written. */
#define CHECK_REFUSED(mix, message)                                                 \
    do {                                                                            \
        CHECK_RUN(1, message, "rm -f no.gguf; $QUANTIZE bad.gguf no.gguf %s", mix); \
        CHECK(access("no.gguf", F_OK) != 0, "%s: an output is there", message);     \
    } while (0)

/* Every way to get a NaN or an infinity in: converted, copied, in each type of input, in the first
 * weight and the last, beyond the first chunk, in a matrix of several. */
static void test_not_finite(void) {
    static const uint64_t flat[3] = {256, 3, 1}, odd[3] = {40, 3, 1}, cube[3] = {256, 3, 4};
    static const uint64_t large[3] = {512, 600, 1};
    const char *q = "blk.0.attn_q.weight", *norm = "blk.0.attn_norm.weight";
    for (int i = 0; i < N_MIXES; i++) {
        write_with("bad.gguf", q, GGML_TYPE_F32, flat, 256 + 7, NAN);
        CHECK_REFUSED(mixes[i], "blk.0.attn_q.weight: the weight at row 1, column 7 (counted from "
                                "0) is NaN\n");
        write_with("bad.gguf", q, GGML_TYPE_BF16, flat, 0, INFINITY);
        CHECK_REFUSED(mixes[i], "attn_q.weight: the weight at row 0, column 0 (counted from 0) is "
                                "infinite\n");
        write_with("bad.gguf", q, GGML_TYPE_F16, odd, 119, -INFINITY);
        CHECK_REFUSED(mixes[i], "attn_q.weight: the weight at row 2, column 39 (counted from 0) is "
                                "minus infinite\n");
        write_with("bad.gguf", norm, GGML_TYPE_F32, flat, 2, NAN);
        CHECK_REFUSED(mixes[i], "blk.0.attn_norm.weight: the weight at row 0, column 2 ");
        write_with("bad.gguf", norm, GGML_TYPE_BF16, flat, 767, INFINITY);
        CHECK_REFUSED(mixes[i], "blk.0.attn_norm.weight: the weight at row 2, column 255 ");
    }
    write_with("bad.gguf", "blk.1.ffn_up_exps.weight", GGML_TYPE_F32, cube, 256 * 10 + 9, NAN);
    CHECK_REFUSED("Q6_K", "ffn_up_exps.weight: the weight at matrix 3, row 1, column 9 ");
    write_with("bad.gguf", q, GGML_TYPE_F32, large, 512 * 599 + 3, NAN);
    CHECK_REFUSED("Q5_K_M", "attn_q.weight: the weight at row 599, column 3 ");
}

/* What is quantized already, copied or quantized again: scales and minimums that are none. */
static void test_scales_not_finite(void) {
    static const struct {
        const char *mix;
        uint32_t type;
        uint64_t row;
        size_t scale; // where it lies in the block
    } cases[] = {
        {"Q8_0", GGML_TYPE_Q8_0, 256, 0},   {"Q6_K", GGML_TYPE_Q6_K, 256, 208},
        {"Q5_K_S", GGML_TYPE_Q5_K, 256, 0}, {"Q5_K_S", GGML_TYPE_Q5_K, 256, 2},
        {"Q4_K_S", GGML_TYPE_Q4_K, 256, 2}, {"Q4_K_S", GGML_TYPE_Q5_0, 32, 0},
        {"Q5_K_S", GGML_TYPE_Q5_1, 32, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int bad = 0; bad < 2; bad++) {
            uint64_t ne[3] = {cases[i].row, 4, 1};
            uint32_t type = cases[i].type;
            struct gguf_build b = {0};
            float x[4 * QK_K];
            for (int k = 0; k < 4 * QK_K; k++) x[k] = (float)(k % 9 - 4);
            build_str(&b, "general.architecture", "llama");
            build_tensor(&b, "output.weight", GGML_TYPE_F32, 256, 2, NULL);
            struct build_tensor *t = build_tensor_nd(&b, "blk.0.attn_q.weight", type, 2, ne, NULL);
            quantize_row(type, x, t->data.data, (int64_t)(4 * ne[0]));
            uint8_t *scale = t->data.data + 2 * t->data.len / 4 + cases[i].scale;
            const uint16_t half = i % 2 ? 0x7c00 : 0x7e00; // infinite, NaN
            if (bad) memcpy(scale, &half, 2);
            build_write(&b, "bad.gguf");
            build_free(&b);
            if (bad) {
                const char *other = type == GGML_TYPE_Q6_K ? "Q8_0" : "Q6_K";
                CHECK_REFUSED(cases[i].mix, "blk.0.attn_q.weight: the weight at row 2, column 0 ");
                CHECK_RUN(1, "blk.0.attn_q.weight: the weight at row 2, column 0 ",
                          "$QUANTIZE --allow-requantize bad.gguf no.gguf %s", other);
                CHECK(access("no.gguf", F_OK) != 0, "%s: an output is there", other);
            } else {
                CHECK_RUN(0, "bits per weight", "$QUANTIZE bad.gguf out.gguf %s", cases[i].mix);
            }
        }
    }
}

/* Weights beyond a half's range: kept where the type can hold them, refused by name where not. */
static void test_large_weights(void) {
    static const struct {
        const char *mix;
        uint64_t row;
        float value;
        bool fits;
    } cases[] = {
        {"Q8_0", 256, 1e6f, true},     {"Q8_0", 256, -8.3e6f, true}, {"Q8_0", 256, 8.4e6f, false},
        {"Q5_K_S", 256, 1e6f, true},   {"Q5_K_S", 256, -4e6f, true}, {"Q5_K_S", 256, -5e6f, false},
        {"Q5_K_S", 256, 1e8f, true},   {"Q5_K_S", 256, 2e8f, false}, {"Q4_K_S", 256, 1e6f, true},
        {"Q4_K_S", 256, 5e7f, true},   {"Q4_K_S", 256, 1e8f, false}, {"Q6_K", 256, -1e6f, true},
        {"Q6_K", 256, 2e8f, true},     {"Q6_K", 256, 1e9f, false},   {"Q5_K_S", 32, 1e6f, true},
        {"Q5_K_S", 32, -1e5f, false},  {"Q4_K_S", 32, -9e5f, true},  {"Q4_K_S", 32, 1e6f, false},
        {"Q6_K", 32, 1e6f, true},      {"Q8_0", 40, 65504, true},    {"Q8_0", 40, 1e5f, false},
        {"Q5_K_M", 40, -65600, false}, {"Q8_0", 256, 3e38f, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t ne[3] = {cases[i].row, 4, 1};
        int64_t at = (int64_t)(2 * ne[0] + 9);
        float x[QK_K], value = cases[i].value;
        char message[64];
        write_with("bad.gguf", "blk.0.attn_q.weight", GGML_TYPE_F32, ne, at, value);
        if (!cases[i].fits) {
            snprintf(message, sizeof message, "row 2, column 9 (counted from 0) is %g, which ",
                     (double)value);
            CHECK_REFUSED(cases[i].mix, message);
            continue;
        }
        struct gguf g;
        struct error err;
        CHECK_RUN(0, "bits per weight", "$QUANTIZE bad.gguf out.gguf %s", cases[i].mix);
        if (gguf_open(&g, "out.gguf", &err) != 0) {
            CHECK(false, "%s", err.text);
            continue;
        }
        const struct gguf_tensor *t = gguf_find_tensor(&g, "blk.0.attn_q.weight");
        dequantize_row(t->type, (const uint8_t *)t->data + t->nbytes / 2, x, (int64_t)ne[0]);
        CHECK(fabsf(x[9] - value) <= 0.01f * fabsf(value), "%s: %g instead of %g", cases[i].mix,
              (double)x[9], (double)value);
        gguf_close(&g);
    }
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
    test_requantize();
    test_split_input();
    test_usage();
    test_bad_inputs();
    test_not_finite();
    test_scales_not_finite();
    test_large_weights();
    test_bad_outputs();
    test_signal();
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (chdir("/") != 0 || system(command) != 0) perror(dir);
    return test_done("test_quantize");
}
