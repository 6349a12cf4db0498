/* What is infinite or NaN never passes as an answer: a pass that meets it fails and says where.
 *
 *   test_finite          everything
 *   test_finite quick    without the tensors of all models: bearable under valgrind and qemu */
#include "changed_model.h"
#include "floats.h"

#include <float.h>
#include <glob.h>

/* ---- the checks themselves ------------------------------------------------------------------- */

static float signaling(uint32_t sign) {
    return float_from_bits(INFINITE_BITS + 1 + (sign << 31)); // the NaN next to infinity
}

static void test_all_below(void) {
    static const float finite[] = {0, -0.0f, 1e-45f, -1e-40f, 1, -65519.996f, FLT_MAX, -FLT_MAX};
    const float infinite[] = {INFINITY, -INFINITY, NAN, -NAN, signaling(0), signaling(1)};
    float x[40];
    for (int n = 0; n <= 40; n++) {
        for (int i = 0; i < n; i++) x[i] = finite[i % 8];
        CHECK(all_finite(x, n), "%d finite numbers", n);
        for (int i = 0; i < n; i++) {
            float kept = x[i];
            x[i] = infinite[i % 6];
            CHECK(!all_finite(x, n), "number %d of %d is %g", i, n, (double)x[i]);
            x[i] = kept;
        }
    }
}

/* The bound is where fp32_to_fp16 begins to give infinity. */
static void test_half_bound(void) {
    for (uint32_t bits = INFINITE_HALF_BITS - 3; bits < INFINITE_HALF_BITS + 3; bits++) {
        for (uint32_t sign = 0; sign < 2; sign++) {
            float x = float_from_bits(bits | sign << 31);
            bool fits = (fp32_to_fp16(x) & 0x7fff) < 0x7c00;
            CHECK(all_below(&x, 1, INFINITE_HALF_BITS) == fits, "%.9g", (double)x);
        }
    }
}

static void test_unusable_logits(void) {
    for (int n = 1; n <= 40; n++) {
        float x[40];
        for (int i = 0; i < n; i++) x[i] = i % 3 ? -INFINITY : (float)i - 7;
        CHECK(unusable_logits(x, n) == 0, "%d logits", n);
        for (int i = 0; i < n; i++) {
            float kept = x[i];
            const float none[] = {INFINITY, NAN, -NAN, signaling(0), signaling(1)};
            for (int k = 0; k < 5; k++) {
                x[i] = none[k];
                CHECK(unusable_logits(x, n) > 0, "logit %d of %d, %d", i, n, k);
            }
            x[i] = kept;
        }
        for (int i = 0; i < n; i++) x[i] = -INFINITY;
        CHECK(unusable_logits(x, n) == n, "%d times -infinity", n);
    }
}

/* ---- models ---------------------------------------------------------------------------------- */

static struct build_tensor *tensor_of(struct gguf_build *b, const char *name) {
    struct build_tensor *t = build_find_tensor(b, name);
    if (t) return t;
    printf("no tensor %s\n", name);
    exit(1);
}

static float *weights_of(struct gguf_build *b, const char *name) {
    return (float *)(void *)tensor_of(b, name)->data.data;
}

static size_t count_weights(struct gguf_build *b, const char *name) {
    return tensor_of(b, name)->data.len / sizeof(float);
}

/* With a message that begins with `says`, unless that is NULL. */
static void check_fails(const struct model *m, const struct way *w, const char *what,
                        const char *says) {
    struct error err;
    float *rows = try_logits(m, w, &err);
    CHECK(!rows, "%s: %s, batch %d: an answer", what, w->isa->name, w->n_batch);
    CHECK(!says || strncmp(err.text, says, strlen(says)) == 0,
          "%s: %s, batch %d: \"%s\", expected \"%s\"", what, w->isa->name, w->n_batch, err.text,
          says);
    free(rows);
}

/* Every instruction set, both caches, batches and the reference path. */
static void check_fails_every_way(const struct gguf_build *b, const char *what, const char *says) {
    struct opened o = open_kept(b, what);
    for (int i = 0; o.ok && isa_all[i]; i++) {
        for (int way = 0; isa_all[i]->usable() && way < 4; way++) {
            struct way w = {isa_all[i], 1 + way % 2, way < 2 ? 5 : 1, way == 2, way % 2};
            check_fails(&o.m, &w, what, says);
        }
    }
    close_opened(&o);
}

static const char *const archs[] = {
    "llama",   "qwen2",      "qwen3", "qwen3moe", "phi3",  "gemma",   "gemma2",   "gemma3",
    "smollm3", "granitemoe", "glm4",  "gpt-oss",  "olmo2", "exaone4", "seed_oss", "hunyuan-dense"};

/* A sink of -infinity is one that takes nothing, a router's bias of -infinity means "never". */
static bool is_harmless(const char *name, float x) {
    return x < 0 && (strstr(name, "attn_sinks") || strstr(name, "ffn_gate_inp.bias"));
}

/* Some weights of every tensor of every family. */
static void test_every_tensor(void) {
    static const float values[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++) {
        struct tiny t = tiny_family(archs[i]);
        struct gguf_build b = tiny_build(&t);
        for (size_t k = 0; k < 3 * b.n_tensors; k++) {
            struct build_tensor *tensor = &b.tensors[k / 3];
            float x = values[k % 3], *w = (float *)(void *)tensor->data.data;
            if (is_harmless(tensor->name, x)) continue;
            float *kept = malloc(tensor->data.len);
            if (!kept) exit(1);
            memcpy(kept, w, tensor->data.len);
            for (size_t n = 0; n < tensor->data.len / sizeof *w; n += 7) w[n] = x;
            char what[128];
            snprintf(what, sizeof what, "%s: %s: %g", archs[i], tensor->name, (double)x);
            struct opened o = open_kept(&b, what);
            struct way way = {isa_best(), 1, k % 2 ? 5 : 1, false, k / 2 % 2};
            if (o.ok) check_fails(&o.m, &way, what, NULL);
            close_opened(&o);
            bool in_layer_1 = strncmp(tensor->name, "blk.1.", 6) == 0;
            if (i == 3 && in_layer_1) check_fails_every_way(&b, what, NULL);
            memcpy(w, kept, tensor->data.len);
            free(kept);
        }
        build_free(&b);
    }
}

/* Where a block of a type has a half that all its weights are multiplied with; -1: none is known.
 */
static int scale_at(uint32_t type) {
    switch (type) {
    case GGML_TYPE_F16:
    case GGML_TYPE_Q4_0:
    case GGML_TYPE_Q4_1:
    case GGML_TYPE_Q5_0:
    case GGML_TYPE_Q5_1:
    case GGML_TYPE_Q8_0:
    case GGML_TYPE_Q4_K:
    case GGML_TYPE_Q5_K:
        return 0;
    case GGML_TYPE_Q2_K:
    case GGML_TYPE_Q3_K:
    case GGML_TYPE_Q6_K: // at the end; of Q2_K before dmin
        return (int)ggml_type_info(type)->block_bytes - (type == GGML_TYPE_Q2_K ? 4 : 2);
    default:
        return -1;
    }
}

/* Every seventh weight or block. False if that is not known how. */
static bool spoil(const struct gguf_tensor *t, float x) {
    uint8_t *data = (uint8_t *)(uintptr_t)t->data;
    const struct ggml_type_info *info = ggml_type_info(t->type);
    size_t step = 7 * (size_t)info->block_bytes;
    int at = scale_at(t->type);
    ggml_half half = fp32_to_fp16(x);
    for (size_t i = 0; t->type == GGML_TYPE_F32 && i < t->nbytes; i += step) {
        memcpy(data + i, &x, sizeof x);
    }
    for (size_t i = 0; at >= 0 && i < t->nbytes; i += step) {
        memcpy(data + i + at, &half, sizeof half);
    }
    return t->type == GGML_TYPE_F32 || at >= 0;
}

/* Some weights of every tensor of a file: the pass fails, or does not touch them. */
static void check_tensors(const char *path) {
    static uint8_t file[4 << 20], kept[4 << 20];
    FILE *f = fopen(path, "rb");
    size_t size = f ? fread(file, 1, sizeof file, f) : 0;
    if (f) fclose(f);
    struct gguf g;
    struct model m;
    struct error err;
    struct way way = {isa_best(), 1, 3, false, false};
    bool opened = gguf_parse(&g, file, size, &err) == 0;
    bool ok = opened && model_open(&m, &g, NULL, &err) == 0;
    float *sound[2] = {NULL, NULL}; // of both caches
    for (int i = 0; ok && i < 2; i++) {
        way.kv_f32 = i;
        sound[i] = try_logits(&m, &way, &err);
    }
    CHECK(sound[0] && sound[1], "%s: %s", path, err.text);
    if (ok) model_close(&m);
    for (size_t i = 0; sound[1] && i < 2 * g.n_tensors; i++) {
        const struct gguf_tensor *t = &g.tensors[i / 2];
        memcpy(kept, t->data, t->nbytes);
        if (spoil(t, i % 2 ? INFINITY : NAN) && model_open(&m, &g, NULL, &err) == 0) {
            way.n_batch = i % 4 < 2 ? 3 : 1;
            way.kv_f32 = i % 8 < 4;
            float *rows = try_logits(&m, &way, &err);
            size_t bytes = N_TOKENS * (size_t)m.n_vocab * sizeof *rows;
            CHECK(!rows || memcmp(rows, sound[way.kv_f32], bytes) == 0, "%s: %s: an answer", path,
                  t->name);
            free(rows);
            model_close(&m);
        }
        memcpy((uint8_t *)(uintptr_t)t->data, kept, t->nbytes);
    }
    free(sound[0]);
    free(sound[1]);
    if (opened) gguf_close(&g);
}

/* Of every architecture. */
static void test_every_model(void) {
    glob_t files = {0};
    CHECK(glob("test/data/models/*.gguf", 0, NULL, &files) == 0, "no models");
    for (size_t i = 0; i < files.gl_pathc; i++) check_tensors(files.gl_pathv[i]);
    globfree(&files);
}

/* Scales of quantized blocks: NaN and infinity fail; the largest and the smallest run, or fail
 * every way. */
static void test_scales(void) {
    static const ggml_half scales[] = {0x7e00, 0xfe01, 0x7c00, 0xfc00, 0x7bff, 0x0001, 0x8000};
    static const uint32_t types[] = {GGML_TYPE_Q8_0, GGML_TYPE_Q5_1, GGML_TYPE_Q4_K,
                                     GGML_TYPE_Q5_K, GGML_TYPE_Q6_K, GGML_TYPE_F16};
    static const char *const tensors[] = {"blk.0.ffn_gate.weight", "blk.0.attn_k.weight",
                                          "output.weight"};
    for (size_t i = 0; i < 6; i++) {
        struct tiny t = {"llama", 5, 1, 256, 2, 1, 16, 16, 64, .type = types[i], .seed = 3};
        for (size_t k = 0; k < 3 * 7; k++) {
            struct gguf_build b = tiny_build(&t);
            const struct ggml_type_info *info = ggml_type_info(types[i]);
            struct build_tensor *w = tensor_of(&b, tensors[k % 3]);
            size_t at = types[i] == GGML_TYPE_Q6_K ? (size_t)info->block_bytes - 2 : 0;
            for (; at < w->data.len; at += 3 * (size_t)info->block_bytes) {
                memcpy(w->data.data + at, &scales[k / 3], 2);
            }
            char what[128];
            snprintf(what, sizeof what, "scale %x of %s in %s", scales[k / 3], info->name, w->name);
            if (k / 3 < 4) {
                check_fails_every_way(&b, what, NULL);
                build_free(&b);
            } else {
                free(run_every_way(&b, what, false));
            }
        }
    }
}

/* ---- the layer is named ---------------------------------------------------------------------- */

static void test_messages(void) {
    static const struct {
        const char *arch, *tensor;
        float value;
        const char *says;
    } cases[] = {
        {"llama", "token_embd.weight", NAN, "layer 0: a key is not finite (token 1, id 0)"},
        {"llama", "blk.1.attn_q.weight", NAN, "layer 1: a query is not finite (token 1, id 0)"},
        {"llama", "blk.1.attn_k.weight", NAN, "layer 1: a key is not finite (token 1, id 0)"},
        {"llama", "blk.0.attn_v.weight", NAN, "layer 0: a value is not finite (token 1, id 0)"},
        {"llama", "blk.0.attn_output.weight", NAN, "layer 0: a gate of the feed-forward is not"},
        {"llama", "blk.1.ffn_gate.weight", -INFINITY, "layer 1: a gate of the feed-forward is not"},
        {"gpt-oss", "blk.1.ffn_up_exps.bias", INFINITY, "layer 1: a gate of the feed-forward is"},
        {"llama", "blk.0.ffn_down.weight", INFINITY,
         "layer 1: a key is not finite (token 1, id 0)"},
        {"qwen3moe", "blk.1.ffn_up_exps.weight", NAN, "layer 1: a gate of the feed-forward is not"},
        {"qwen3moe", "blk.1.attn_k.weight", NAN, "layer 1: a key is not finite (token 1, id 0)"},
        {"qwen3moe", "blk.0.ffn_gate_inp.weight", NAN,
         "layer 0: the router gives no finite numbers (token 1, id 0)"},
        {"gemma2", "blk.0.attn_q.weight", INFINITY, "layer 0: a query is not finite"},
        {"llama", "blk.1.ffn_down.weight", NAN,
         "the logits after token 1 (id 0) are no finite numbers (NaN or infinite: 11 of 11)"},
        {"llama", "output.weight", NAN,
         "the logits after token 1 (id 0) are no finite numbers (NaN or infinite: 1 of 11)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tiny t = tiny_family(cases[i].arch);
        struct gguf_build b = tiny_build(&t);
        float *w = weights_of(&b, cases[i].tensor);
        bool experts = strstr(cases[i].tensor, "exps"); // whichever is chosen
        size_t n = experts ? count_weights(&b, cases[i].tensor) : 1;
        for (size_t k = 0; k < n; k++) w[k] = cases[i].value;
        check_fails_every_way(&b, cases[i].tensor, cases[i].says);
        build_free(&b);
    }
}

/* A token that an expert computes has another number there: none is named. */
static void test_gate_of_expert(void) {
    struct tiny t = tiny_family("qwen3moe");
    struct gguf_build b = tiny_build(&t);
    float *w = weights_of(&b, "blk.1.ffn_gate_exps.weight");
    for (size_t k = 0; k < count_weights(&b, "blk.1.ffn_gate_exps.weight"); k++) w[k] = NAN;
    struct opened o = open_built(&b, "NaN in all experts");
    struct way w0 = {isa_best(), 1, N_TOKENS, false, false};
    struct error err;
    CHECK(!try_logits(&o.m, &w0, &err), "an answer");
    CHECK(!strcmp(err.text, "layer 1: a gate of the feed-forward is not finite"), "%s", err.text);
    close_opened(&o);
}

/* The first token that fails is named, whichever thread meets one first; here id 2, the sixth. */
static void test_first_token(void) {
    struct tiny t = tiny_llama();
    struct gguf_build b = tiny_build(&t);
    for (int id = 2; id < 11; id += 7) {
        weights_of(&b, "token_embd.weight")[id * t.n_embd] = NAN;
    }
    struct opened o = open_built(&b, "two tokens of NaN");
    for (int i = 0; o.ok && i < 40; i++) {
        struct way w = {isa_best(), 1 + i % 4, i % 2 ? N_TOKENS : 1, false, false};
        check_fails(&o.m, &w, "token 6", "layer 0: a key is not finite (token 6, id 2)");
    }
    close_opened(&o);
}

/* Queries of the first head are infinite where the first of a token's numbers stands out, those of
 * the last head where the second one does. Heads are computed one after the other: the eighth token
 * fails before the third, which is named. */
static void test_first_token_of_queries(void) {
    struct tiny t = tiny_llama();
    struct gguf_build b = tiny_build(&t);
    float *x = weights_of(&b, "token_embd.weight"), *w = weights_of(&b, "blk.0.attn_q.weight");
    for (size_t i = 0; i < count_weights(&b, "token_embd.weight"); i++) x[i] = 0.1f;
    memset(w, 0, count_weights(&b, "blk.0.attn_q.weight") * sizeof *w);
    w[0] = w[(size_t)(3 * t.dim_k * t.n_embd) + 1] = FLT_MAX / 2;
    x[7 * 7 % 11 * t.n_embd] = 1;
    x[2 * 7 % 11 * t.n_embd + 1] = 1;
    struct opened o = open_built(&b, "queries of two heads");
    struct way way = {isa_best(), 1, N_TOKENS, false, false};
    if (o.ok) check_fails(&o.m, &way, "heads", "layer 0: a query is not finite (token 3, id 3)");
    close_opened(&o);
}

/* The layer ends with its first stage that has a fault, and the next pass has a message of its own:
 * token 5 has a key of NaN, and all feed-forwards are NaN. */
static void test_ends_at_once(void) {
    struct tiny t = tiny_llama();
    struct gguf_build b = tiny_build(&t);
    weights_of(&b, "token_embd.weight")[10 * t.n_embd] = NAN;
    weights_of(&b, "blk.0.ffn_up.weight")[0] = NAN;
    struct opened o = open_built(&b, "two faults");
    struct error err = {KQ_OK, ""};
    struct threads *threads = threads_open(1, &err);
    struct transformer_params p = {.isa = isa_best(), .threads = threads, .n_batch = 5};
    struct engine e = engine_open(&o.m, &p, N_CTX, &err);
    if (e.t) {
        CHECK(engine_feed(&e, (int32_t[]){1, 2, 3, 4, 10}, 5, 0, &err) == -1 &&
                  !strcmp(err.text, "layer 0: a key is not finite (token 5, id 10)"),
              "%s", err.text);
        CHECK(engine_feed(&e, (int32_t[]){10, 1}, 2, 0, &err) == -1 &&
                  !strcmp(err.text, "layer 0: a key is not finite (token 1, id 10)"),
              "%s", err.text);
        CHECK(engine_feed(&e, (int32_t[]){1, 10}, 2, 0, &err) == -1 &&
                  !strcmp(err.text, "layer 0: a key is not finite (token 2, id 10)"),
              "%s", err.text);
        CHECK(engine_feed(&e, (int32_t[]){1, 2}, 2, 0, &err) == -1 &&
                  !strcmp(err.text,
                          "layer 0: a gate of the feed-forward is not finite (token 1, id 1)"),
              "%s", err.text);
    }
    engine_close(&e);
    threads_close(threads);
    close_opened(&o);
}

/* Of several sequences in one pass: the others are as long as they were, and go on. */
static void test_several_sequences(void) {
    struct tiny t = tiny_llama();
    struct gguf_build b = tiny_build(&t);
    weights_of(&b, "token_embd.weight")[10 * t.n_embd] = INFINITY;
    struct opened o = open_built(&b, "an infinite token");
    struct error err = {KQ_OK, ""};
    struct threads *threads = threads_open(2, &err);
    struct transformer_params p = {.isa = isa_best(), .threads = threads, .n_batch = 8};
    struct transformer *tr = o.ok ? transformer_open(&o.m, &p, &err) : NULL;
    struct seq *one = tr ? transformer_seq(tr, 8, &err) : NULL;
    struct seq *other = tr ? transformer_seq(tr, 8, &err) : NULL;
    if (one && other) {
        static const int32_t good[] = {1, 2, 3}, bad[] = {4, 10};
        struct run start[] = {{one, good, 3, 1}, {other, good, 2, 1}};
        struct run broken[] = {{one, good, 3, 1}, {other, bad, 2, 1}};
        CHECK(transformer_eval(tr, start, 2, &err) == 0, "%s", err.text);
        float before[11];
        memcpy(before, transformer_logits(tr, 0, 0, &err), sizeof before);
        CHECK(transformer_eval(tr, broken, 2, &err) == -1 &&
                  !strcmp(err.text, "layer 0: a key is not finite (token 4, id 10)"),
              "%s", err.text);
        CHECK(one->length == 3 && other->length == 2, "%d, %d", one->length, other->length);
        struct run last = {other, good + 2, 1, 1};
        CHECK(transformer_eval(tr, &last, 1, &err) == 0, "%s", err.text);
        const float *after = transformer_logits(tr, 0, 0, &err);
        CHECK(after && memcmp(after, before, sizeof before) == 0, "the same three tokens");
    }
    seq_close(one);
    seq_close(other);
    transformer_close(tr);
    threads_close(threads);
    close_opened(&o);
}

/* ---- what does not fit halves ---------------------------------------------------------------- */

/* Keys and values at position 0 are the biases, as nothing turns and the weights are 0. */
static void test_large_keys_and_values(void) {
    static const struct {
        float x;
        bool fits_f16, fits_f32;
    } cases[] = {{65504, true, true},     {65519.996f, true, true}, {-65519.996f, true, true},
                 {65520, false, true},    {-65520, false, true},    {100000, false, true},
                 {-3.4e38f, false, true}, {INFINITY, false, false}, {-INFINITY, false, false},
                 {NAN, false, false},     {1e-45f, true, true}};
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        bool key = i % 2;
        struct tiny t = tiny_family("qwen2");
        struct gguf_build b = tiny_build(&t);
        float x = cases[i / 2].x;
        const char *bias = key ? "blk.1.attn_k.bias" : "blk.1.attn_v.bias";
        const char *weight = key ? "blk.1.attn_k.weight" : "blk.1.attn_v.weight";
        memset(weights_of(&b, weight), 0, count_weights(&b, weight) * sizeof(float));
        weights_of(&b, bias)[11] = x; // of 16
        if (key) memset(weights_of(&b, "blk.1.attn_q.weight"), 0, 32 * 32 * sizeof(float));
        if (!key) memset(weights_of(&b, "blk.1.attn_output.weight"), 0, 32 * 32 * sizeof(float));
        struct opened o = open_built(&b, bias);
        for (int f32 = 0; o.ok && f32 < 2; f32++) {
            struct error err = {KQ_OK, ""};
            struct threads *threads = threads_open(1, &err);
            struct transformer_params p = {
                .isa = isa_best(), .threads = threads, .kv_f32 = f32, .n_batch = 8};
            struct engine e = engine_open(&o.m, &p, 8, &err);
            bool fits = f32 ? cases[i / 2].fits_f32 : cases[i / 2].fits_f16;
            bool ok = e.t && engine_feed(&e, (int32_t[]){3}, 1, 0, &err) == 0;
            CHECK(ok == fits, "%s %g in a cache of %s: \"%s\"", bias, (double)x,
                  f32 ? "f32" : "f16", err.text);
            char says[128];
            bool large = isfinite(x);
            snprintf(says, sizeof says, "layer 1: a %s is %s (token 1, id 3)",
                     key ? "key" : "value",
                     large ? "too large for an f16 cache, --kv f32 has room for it" : "not finite");
            CHECK(ok || !strcmp(err.text, says), "\"%s\", expected \"%s\"", err.text, says);
            CHECK(ok || err.status == KQ_NOT_FINITE, "status %d", (int)err.status);
            engine_close(&e);
            threads_close(threads);
        }
        close_opened(&o);
    }
}

/* ---- rows of logits -------------------------------------------------------------------------- */

/* All ids of try_logits in one pass. */
static struct engine run_all(const struct model *m, struct threads *threads) {
    struct error err = {KQ_OK, ""};
    struct transformer_params p = {.isa = isa_best(), .threads = threads, .n_batch = N_TOKENS};
    int32_t ids[N_TOKENS];
    for (int i = 0; i < N_TOKENS; i++) ids[i] = i * 7 % m->n_vocab;
    struct engine e = engine_open(m, &p, N_CTX, &err);
    CHECK(e.t && engine_feed(&e, ids, N_TOKENS, 0, &err) == 0, "%s", err.text);
    return e;
}

/* With row 0 of the output (value, 0, 0, ...) logit 0 is value times the first number that the last
 * norm gives: +infinity or -infinity. The latter is harmless; a soft cap makes the former no number
 * to choose by. */
static void check_one_infinite_logit(const char *arch) {
    struct tiny t = tiny_family(arch);
    t.tied = false;
    struct error err = {KQ_OK, ""};
    struct threads *threads = threads_open(1, &err);
    struct opened o[2];
    struct engine e[2];
    for (int i = 0; i < 2; i++) {
        struct gguf_build b = tiny_build(&t);
        float *w = weights_of(&b, "output.weight");
        memset(w, 0, (size_t)t.n_embd * sizeof *w);
        w[0] = i ? INFINITY : 1;
        o[i] = open_built(&b, arch);
        e[i] = run_all(&o[i].m, threads);
    }
    int n_up = 0, n_down = 0;
    for (int k = 0; k < 3 * N_TOKENS; k++) { // forwards, then backwards, then once more
        int at = k < N_TOKENS ? k : (3 * N_TOKENS - 1 - k) % N_TOKENS;
        const float *plain = engine_logits(&e[0], at, &err), *row = engine_logits(&e[1], at, &err);
        bool up = plain && plain[0] > 0;
        n_up += up;
        n_down += !up;
        CHECK(plain && !row == up, "%s: row %d: %g", arch, at, row ? (double)row[0] : 0.0);
        if (!plain || !row) continue;
        CHECK(row[0] == -INFINITY, "%s: %g", arch, (double)row[0]);
        CHECK(!memcmp(row + 1, plain + 1, ((size_t)t.n_vocab - 1) * 4), "%s: the others", arch);
    }
    CHECK(n_up > 3 && n_down > 3, "%s: %d and %d", arch, n_up, n_down);
    for (int i = 0; i < 2; i++) {
        engine_close(&e[i]);
        close_opened(&o[i]);
    }
    threads_close(threads);
}

/* All rows of the output as above: for one sign of the value all logits are +infinity, for the
 * other -infinity. */
static void test_nothing_finite(void) {
    for (int sign = -1; sign < 2; sign += 2) {
        struct tiny t = tiny_llama();
        struct gguf_build b = tiny_build(&t);
        float *w = weights_of(&b, "output.weight");
        memset(w, 0, count_weights(&b, "output.weight") * sizeof *w);
        for (int i = 0; i < t.n_vocab; i++) w[i * t.n_embd] = (float)sign * INFINITY;
        check_fails_every_way(
            &b, "nothing finite",
            "the logits after token 1 (id 0) are no finite numbers (NaN or infinite: 11");
        build_free(&b);
    }
}

/* ---- experts --------------------------------------------------------------------------------- */

/* Of three experts each token has one; the last layer's are made NaN one at a time. Tokens that did
 * not choose it have the logits that they have otherwise. */
static void test_untouched_experts(void) {
    struct tiny t = tiny_family("qwen3moe");
    t.n_used = 1;
    struct gguf_build b = tiny_build(&t);
    struct error err = {KQ_OK, ""};
    struct threads *threads = threads_open(2, &err);
    struct opened sound = open_kept(&b, "one expert each");
    struct engine plain = run_all(&sound.m, threads);
    float *w = weights_of(&b, "blk.1.ffn_down_exps.weight");
    size_t n = (size_t)(t.n_ff * t.n_embd);
    int n_failed[N_TOKENS] = {0}, n_tokens[3] = {0};
    for (size_t expert = 0; expert < 3; expert++) {
        float kept = w[expert * n];
        w[expert * n] = NAN;
        struct opened o = open_kept(&b, "a NaN in one expert");
        struct engine e = run_all(&o.m, threads);
        for (int i = N_TOKENS - 1; i >= 0; i--) {
            const float *expected = engine_logits(&plain, i, &err);
            const float *row = engine_logits(&e, i, &err);
            n_failed[i] += !row;
            n_tokens[expert] += !row;
            CHECK(expected && (!row || !memcmp(row, expected, (size_t)t.n_vocab * 4)), "row %d", i);
        }
        engine_close(&e);
        close_opened(&o);
        w[expert * n] = kept;
    }
    for (int i = 0; i < N_TOKENS; i++) {
        CHECK(n_failed[i] == 1, "token %d fails with %d experts", i, n_failed[i]);
    }
    CHECK(n_tokens[0] < N_TOKENS && n_tokens[1] < N_TOKENS && n_tokens[2] < N_TOKENS,
          "all tokens choose the same expert");
    engine_close(&plain);
    close_opened(&sound);
    threads_close(threads);
    build_free(&b);
}

/* Biases of a router: -infinity means never, as far as others are left. */
static void test_router(void) {
    static const struct {
        float bias[3];
        bool runs;
    } cases[] = {
        {{0, 0, 0}, true},
        {{-INFINITY, 0, 0}, true},
        {{0, -INFINITY, -INFINITY}, true}, // two are used, one has a weight of 0
        {{-INFINITY, -INFINITY, -INFINITY}, false},
        {{0, NAN, 0}, false},
        {{-NAN, 0, 0}, false},
        {{0, 0, INFINITY}, false},
    };
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        struct tiny t = tiny_family("gpt-oss");
        struct gguf_build b = tiny_build(&t);
        memcpy(weights_of(&b, tiny_name(i % 2, "ffn_gate_inp.bias")), cases[i / 2].bias, 12);
        char what[64], says[64];
        snprintf(what, sizeof what, "case %zu", i / 2);
        snprintf(says, sizeof says, "layer %zu: the router gives no finite numbers", i % 2);
        if (cases[i / 2].runs) {
            free(run_every_way(&b, what, true));
        } else {
            check_fails_every_way(&b, what, says);
            build_free(&b);
        }
    }
}

/* ---- afterwards ------------------------------------------------------------------------------ */

/* What a failed pass leaves behind changes nothing: not beside the positions that are computed
 * next, nor before. The token that fails is in place `bad` of a batch of five. */
static void check_afterwards(const struct model *m, int bad, bool kv_f32) {
    static const int32_t start[] = {1, 2, 3}, next[] = {4, 5, 6, 7};
    int32_t broken[5] = {4, 4, 4, 4, 4};
    broken[bad] = 10;
    struct error err = {KQ_OK, ""};
    struct threads *threads = threads_open(1 + bad % 2, &err);
    struct transformer_params p = {
        .isa = isa_best(), .threads = threads, .kv_f32 = kv_f32, .n_batch = 5};
    struct engine one = engine_open(m, &p, N_CTX, &err), fresh = engine_open(m, &p, N_CTX, &err);
    if (one.t && fresh.t) {
        CHECK(engine_feed(&one, start, 3, 0, &err) == 0, "%s", err.text);
        CHECK(engine_feed(&one, broken, 5, 3, &err) == -1 && err.status == KQ_NOT_FINITE &&
                  one.seq->length == 3,
              "%d: %s", one.seq->length, err.text);
        CHECK(engine_feed(&fresh, start, 3, 0, &err) == 0, "%s", err.text);
        for (int i = 0; i < 4; i++) {
            CHECK(engine_feed(&one, next + i, 1, 3 + i, &err) == 0, "token %d: %s", i, err.text);
            CHECK(engine_feed(&fresh, next + i, 1, 3 + i, &err) == 0, "token %d: %s", i, err.text);
            const float *x = engine_logits(&one, 0, &err), *y = engine_logits(&fresh, 0, &err);
            CHECK(x && y && memcmp(x, y, 11 * sizeof *x) == 0, "token %d: %s", i, err.text);
        }
    }
    engine_close(&one);
    engine_close(&fresh);
    threads_close(threads);
}

static struct gguf_build with_bad_embedding(float x) {
    struct tiny t = tiny_llama();
    struct gguf_build b = tiny_build(&t);
    weights_of(&b, "token_embd.weight")[10 * t.n_embd + 5] = x;
    return b;
}

/* A NaN in the last expert of the first layer. Token 10 alone chooses it: the router looks at the
 * first number, which is 0 for the others, and attention adds nothing. */
static struct gguf_build with_bad_expert(void) {
    struct tiny t = tiny_family("gpt-oss");
    t.n_used = 1;
    struct gguf_build b = tiny_build(&t);
    float *x = weights_of(&b, "token_embd.weight");
    for (int id = 0; id < t.n_vocab; id++) x[id * t.n_embd] = id == 10 ? 1 : 0;
    float *o = weights_of(&b, "blk.0.attn_output.weight");
    memset(o, 0, count_weights(&b, "blk.0.attn_output.weight") * sizeof *o);
    float *router = weights_of(&b, "blk.0.ffn_gate_inp.weight");
    memset(router, 0, count_weights(&b, "blk.0.ffn_gate_inp.weight") * sizeof *router);
    router[2 * t.n_embd] = 1;
    memcpy(weights_of(&b, "blk.0.ffn_gate_inp.bias"), (float[]){1, 0, 0}, 12);
    weights_of(&b, "blk.0.ffn_gate_exps.weight")[2 * t.n_ff * t.n_embd] = NAN;
    return b;
}

static void test_afterwards(void) {
    for (int i = 0; i < 15; i++) {
        struct gguf_build b = i % 3 == 2   ? with_bad_expert()
                              : i % 3 == 1 ? with_bad_embedding(NAN)
                                           : with_bad_embedding(INFINITY);
        struct opened o = open_built(&b, "afterwards");
        if (o.ok) check_afterwards(&o.m, i / 3, false);
        if (o.ok) check_afterwards(&o.m, i / 3, true);
        close_opened(&o);
    }
}

int main(int argc, char **argv) {
    bool quick = argc == 2 && strcmp(argv[1], "quick") == 0;
    test_all_below();
    test_half_bound();
    test_unusable_logits();
    if (!quick) test_every_tensor();
    if (!quick) test_every_model();
    test_scales();
    test_messages();
    test_gate_of_expert();
    test_first_token();
    test_first_token_of_queries();
    test_ends_at_once();
    test_several_sequences();
    test_large_keys_and_values();
    check_one_infinite_logit("llama");
    check_one_infinite_logit("gemma2");
    test_nothing_finite();
    test_untouched_experts();
    test_router();
    test_afterwards();
    return test_done("test_finite");
}
