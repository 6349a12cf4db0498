/* Whatever floating-point state the calling thread is in, the engine gives the same bits and leaves
 * the state as it was; threads of a pool made in such a state do, too. */
#include "changed_model.h"
#include "fpstate.h"
#include "sampler.h"
#include "tokenizer.h"

#include <fenv.h>
#include <sched.h>

struct odd {
    const char *name;
    struct fp_state state;
};

#if defined(__SSE2__)
static const struct odd odds[] = {
    {"subnormal results are 0", {0x1f80 | 0x8000}},
    {"subnormal operands are 0", {0x1f80 | 0x0040}},
    {"down", {0x1f80 | 0x2000}},
    {"up", {0x1f80 | 0x4000}},
    {"towards 0", {0x1f80 | 0x6000}},
    {"all flags", {0x1f80 | 0x003f}},
    {"all exceptions trap", {0}},
    {"all of it", {0x8040 | 0x6000}},
};
#elif defined(__aarch64__)
static const struct odd odds[] = {
    {"subnormal numbers are 0", {1u << 24, 0}},
    {"subnormal halves are 0", {1u << 19, 0}},
    {"NaNs are one", {1u << 25, 0}},
    {"other halves", {1u << 26, 0}},
    {"up", {1u << 22, 0}},
    {"down", {2u << 22, 0}},
    {"towards 0", {3u << 22, 0}},
    {"all flags", {0, 0x9f}},
    {"all of it", {0x7c89f00 | 1u << 24, 0x9f}},
};
#else
static struct odd odds[] = {{.name = "up"}, {.name = "down"}, {.name = "towards 0"}};
#endif
enum { N_ODDS = sizeof odds / sizeof odds[0] };

static void fill_odds(void) {
#if !defined(__SSE2__) && !defined(__aarch64__)
    static const int directions[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    for (int i = 0; i < N_ODDS; i++) {
        fesetround(directions[i]);
        odds[i].state = fp_enter();
    }
#endif
}

static struct fp_state initial; // what the process began with

static struct fp_state current(void) {
    struct fp_state s = fp_enter();
    fp_leave(s);
    return s;
}

/* What of the state the processor took. Nothing may be computed until leave_odd. */
static struct fp_state set_odd(const struct odd *odd) {
    fp_leave(odd->state);
    return current();
}

static void leave_odd(struct fp_state before, const struct odd *odd, const char *what) {
    struct fp_state after = current();
    fp_leave(initial);
    CHECK(memcmp(&before, &after, sizeof before) == 0, "%s: %s: not as it was", odd->name, what);
}

/* ---- a model in which everything counts ------------------------------------------------------ */

static void scale_tensor(struct gguf_build *b, const char *name, float by) {
    struct build_tensor *t = build_find_tensor(b, name);
    float *x = (float *)(void *)t->data.data;
    for (size_t i = 0; i < t->data.len / sizeof *x; i++) x[i] *= by;
}

/* Subnormal weights and activations; the logits are subnormal, too. */
static struct gguf_build sensitive(void) {
    struct tiny t = tiny_llama();
    struct gguf_build b = tiny_build(&t);
    build_str(&b, "llama.rope.scaling.type", "yarn");
    build_f32(&b, "llama.rope.scaling.factor", 3);
    build_u32(&b, "llama.rope.scaling.original_context_length", 8);
    scale_tensor(&b, "blk.0.ffn_up.weight", 0x1p-130f);
    scale_tensor(&b, "blk.0.ffn_down.weight", 0x1p125f);
    scale_tensor(&b, "output.weight", 0x1p-130f);
    return b;
}

/* Which of the engine's entries are called in the odd state. */
enum entry { NONE, POOL, MODEL, TRANSFORMER, EVAL, LOGITS, ALL };
static const char *const entry_names[] = {
    "none", "threads_open", "model_open", "transformer_open", "transformer_eval", "logits", "all"};

#define AT(ENTRY, CALL)                                                    \
    do {                                                                   \
        bool at = odd && (entry == (ENTRY) || entry == ALL);               \
        struct fp_state before = at ? set_odd(odd) : (struct fp_state){0}; \
        CALL;                                                              \
        if (at) leave_odd(before, odd, entry_names[ENTRY]);                \
    } while (0)

/* N_TOKENS rows of logits. */
static float *run(const struct gguf *g, enum entry entry, const struct odd *odd, bool reference,
                  int n_threads) {
    struct error err = {KQ_OK, ""};
    struct model m;
    struct threads *threads;
    struct engine e;
    int failed;
    const float *logits;
    int32_t ids[N_TOKENS];
    for (int i = 0; i < N_TOKENS; i++) ids[i] = i * 7 % 11;
    AT(POOL, threads = threads_open(n_threads, &err));
    AT(MODEL, failed = model_open(&m, g, NULL, &err));
    if (!threads || failed) {
        CHECK(false, "%s", err.text);
        threads_close(threads);
        return NULL;
    }
    struct transformer_params p = {
        .isa = isa_best(), .threads = threads, .reference = reference, .n_batch = N_TOKENS};
    size_t n_vocab = (size_t)m.n_vocab;
    float *rows = calloc(N_TOKENS * n_vocab, sizeof *rows);
    AT(TRANSFORMER, e = engine_open(&m, &p, N_CTX, &err));
    CHECK(e.t && rows, "%s", err.text);
    if (e.t) {
        AT(EVAL, failed = engine_feed(&e, ids, N_TOKENS, 0, &err));
        CHECK(!failed, "%s", err.text);
    }
    for (int i = 0; e.t && rows && i < N_TOKENS; i++) {
        AT(LOGITS, logits = engine_logits(&e, i, &err));
        CHECK(logits, "%s", err.text);
        if (logits) memcpy(rows + (size_t)i * n_vocab, logits, n_vocab * sizeof *rows);
    }
    engine_close(&e);
    threads_close(threads);
    model_close(&m);
    return rows;
}

static void test_passes(void) {
    struct gguf_build b = sensitive();
    struct gguf g;
    struct error err = {KQ_OK, ""};
    size_t size, bytes = N_TOKENS * 11 * sizeof(float);
    uint8_t *file = build_file(&b, &size);
    CHECK(gguf_parse(&g, file, size, &err) == 0, "%s", err.text);
    float *expected = run(&g, NONE, NULL, false, 1);
    size_t n_subnormal = 0;
    for (size_t i = 0; expected && i < bytes / 4; i++) {
        n_subnormal += expected[i] != 0 && fabsf(expected[i]) < 0x1p-126f;
    }
    CHECK(n_subnormal > 50, "%zu logits are subnormal", n_subnormal);
    for (int i = 0; i < N_ODDS; i++) {
        for (enum entry entry = POOL; entry <= ALL; entry++) {
            for (int way = 0; way < 3; way++) {
                float *rows = run(&g, entry, &odds[i], way == 2, 1 + 2 * (way == 1));
                CHECK(rows && expected && memcmp(rows, expected, bytes) == 0,
                      "%s: %s: other logits", odds[i].name, entry_names[entry]);
                free(rows);
            }
        }
    }
    free(expected);
    gguf_close(&g);
    free(file);
    build_free(&b);
}

/* ---- what ends early ------------------------------------------------------------------------- */

static void test_failures(void) {
    struct error err;
    for (int i = 0; i < N_ODDS; i++) {
        struct gguf_build b = sensitive();
        struct build_tensor *w = build_find_tensor(&b, "output.weight");
        memcpy(w->data.data, &(float){NAN}, 4);
        struct opened o = open_built(&b, "a NaN in output.weight");
        struct threads *threads = threads_open(1, &err);
        static atomic_int stop;
        struct transformer_params p = {
            .isa = isa_best(), .threads = threads, .n_batch = 8, .stop = &stop};
        struct engine e = {0};
        if (o.ok) e = engine_open(&o.m, &p, 8, &err);
        CHECK(e.t, "%s", err.text);
        if (!e.t) continue;
        struct fp_state before = set_odd(&odds[i]);
        int failed = engine_feed(&e, (int32_t[]){1, 2}, 2, 0, &err);
        const float *logits = engine_logits(&e, 1, &err);
        leave_odd(before, &odds[i], "logits that are none");
        CHECK(!failed && !logits && err.status == KQ_NOT_FINITE, "%s", err.text);
        stop = 1;
        before = set_odd(&odds[i]);
        failed = engine_feed(&e, (int32_t[]){1, 2}, 2, 0, &err);
        leave_odd(before, &odds[i], "an interruption");
        CHECK(failed && err.status == KQ_INTERRUPTED, "%s", err.text);
        stop = 0;
        p.n_batch = INT32_MAX;
        before = set_odd(&odds[i]);
        struct transformer *none = transformer_open(&o.m, &p, &err);
        leave_odd(before, &odds[i], "transformer_open that fails");
        CHECK(!none, "a batch of 2^31");
        engine_close(&e);
        threads_close(threads);
        struct model m;
        for (size_t k = 0; k < o.g.n_tensors; k++) o.g.tensors[k].type = GGML_TYPE_F64;
        before = set_odd(&odds[i]);
        failed = model_open(&m, &o.g, NULL, &err);
        leave_odd(before, &odds[i], "model_open that fails");
        CHECK(failed, "a model of doubles");
        close_opened(&o);
    }
}

/* ---- the pool -------------------------------------------------------------------------------- */

enum { N_THREADS = 2 }; // of more the pool may wake a part alone

struct meeting {
    atomic_int n_here;
    struct fp_state state[N_THREADS];
};

/* Each piece waits for all others, so that every thread takes one. */
static void meet(void *arg, long begin, long end, int thread) {
    struct meeting *m = arg;
    (void)end;
    CHECK(begin >= 0 && begin < N_THREADS, "piece %ld", begin);
    m->state[thread] = current();
    atomic_fetch_add(&m->n_here, 1);
    while (atomic_load(&m->n_here) < N_THREADS) sched_yield();
}

static void test_pool(void) {
    for (int i = 0; i < N_ODDS; i++) {
        struct error err = {KQ_OK, ""};
        struct meeting m = {0};
        struct fp_state before = set_odd(&odds[i]);
        struct threads *t = threads_open(N_THREADS, &err);
        leave_odd(before, &odds[i], "threads_open");
        CHECK(t, "%s", err.text);
        if (!t) continue;
        parallel_for(t, NULL, N_THREADS, 1, meet, &m);
        threads_close(t);
        for (int k = 0; k < N_THREADS; k++) {
            CHECK(memcmp(&m.state[k], &initial, sizeof initial) == 0, "%s: thread %d", odds[i].name,
                  k);
        }
    }
}

/* ---- tokenizer and sampler ------------------------------------------------------------------- */

/* "ab" and "bc" compete for the b by scores that differ in a subnormal number, "cd" and "de" by the
 * sign of a zero, which makes no difference: then the first one wins. */
static void test_tokenizer(void) {
    static const char *const tokens[] = {"<unk>", "<s>", "</s>", "a",  "b",  "c",
                                         "d",     "e",   "ab",   "bc", "cd", "de"};
    static const float scores[] = {0, 0, 0, -9, -9, -9, -9, -9, 1e-40f, 2e-40f, 0.0f, -0.0f};
    static const int32_t types[] = {2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    enum { N = sizeof tokens / sizeof tokens[0] };
    struct gguf_build b = {0};
    struct error err = {KQ_OK, ""};
    build_str(&b, "tokenizer.ggml.model", "llama");
    build_strs(&b, "tokenizer.ggml.tokens", N, tokens);
    build_f32s(&b, "tokenizer.ggml.scores", N, scores);
    build_i32s(&b, "tokenizer.ggml.token_type", N, types);
    build_bool(&b, "tokenizer.ggml.add_space_prefix", false);
    size_t size;
    uint8_t *file = build_file(&b, &size);
    struct gguf g;
    CHECK(gguf_parse(&g, file, size, &err) == 0, "%s", err.text);
    for (int i = 0; i < N_ODDS; i++) {
        struct fp_state before = set_odd(&odds[i]);
        struct tokenizer *t = tokenizer_open(&g, &err);
        leave_odd(before, &odds[i], "tokenizer_open");
        CHECK(t, "%s", err.text);
        struct token_list list = {0};
        if (t && tokenizer_encode(t, "abccde", 6, false, false, &list, &err) == 0) {
            bool right = list.n == 4 && list.ids[0] == 3 && list.ids[1] == 9 && list.ids[2] == 10 &&
                         list.ids[3] == 7;
            CHECK(right, "%s: %zu tokens, %d %d %d", odds[i].name, list.n, (int)list.ids[0],
                  (int)list.ids[1], (int)list.ids[2]);
        } else {
            CHECK(false, "%s", err.text);
        }
        token_list_free(&list);
        tokenizer_close(t);
    }
    gguf_close(&g);
    free(file);
    build_free(&b);
}

static void test_sampler(void) {
    struct sampler_params p = {.repeat_penalty = 1.3f,
                               .repeat_last_n = 8,
                               .top_k = 40,
                               .top_p = 0.9f,
                               .min_p = 1e-45f,
                               .temp = 0.7f,
                               .seed = 5};
    enum { N_VOCAB = 64, N = 400 };
    float logits[N_VOCAB];
    int32_t expected[N];
    struct error err = {KQ_OK, ""};
    uint64_t seed = 3;
    for (int i = 0; i < N_VOCAB; i++) logits[i] = 1e-3f * test_normal(&seed);
    for (int i = -1; i < N_ODDS; i++) {
        struct sampler *s = sampler_open(&p, N_VOCAB, &err);
        for (int k = 0; s && k < N; k++) {
            struct fp_state before = i < 0 ? current() : set_odd(&odds[i]);
            int32_t id = sampler_pick(s, logits, expected, k < 8 ? (size_t)k : 8);
            if (i >= 0) leave_odd(before, &odds[i], "sampler_pick");
            if (i < 0) expected[k] = id;
            CHECK(id == expected[k], "%s: token %d", i < 0 ? "" : odds[i].name, k);
        }
        sampler_close(s);
        if (i < 0) continue;
        struct sampler_params least = p;
        least.repeat_penalty = 1e-45f;
        struct fp_state before = set_odd(&odds[i]);
        s = sampler_open(&least, N_VOCAB, &err);
        leave_odd(before, &odds[i], "sampler_open");
        CHECK(s, "%s: %s", odds[i].name, err.text);
        sampler_close(s);
    }
}

int main(void) {
    initial = current();
    fill_odds();
    test_passes();
    test_failures();
    test_pool();
    test_tokenizer();
    test_sampler();
    return test_done("test_fpstate");
}
