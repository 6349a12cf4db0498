/* The library as its users see it: the same bits however texts are cut, put together, taken back
 * and shared out to engines and threads; a status for every bad argument, after which all objects
 * go on; nothing printed, no handler, no flag of the thread changed.
 *
 *   test_kq               everything
 *   test_kq retry MODEL   each call is made once more if it fails; writes a hash of the logits.
 *                         test_faults has everything fail that a call can fail by */
#include "kq.h"

#include <fenv.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "hash.h"
#include "test.h"
#include "tiny_model.h"

#include "engine.h" // behind them, whose names those of plan.h would hide

#define MODELS "test/data/models/"
#define TALES "demo/tales-Q5_K_M.gguf"
enum { N = 40 };

static const char *const names[] = {"llama", "gemma2", "qwen35", "mamba2"};
enum { N_NAMES = sizeof names / sizeof *names };

/* A model, its ids, and the logits after each of them as the engine behind the library has them. */
struct expected {
    kq_model *model;
    int32_t ids[N];
    float *logits; // (N, n_vocab)
    size_t row;    // bytes
};
static struct expected all[N_NAMES];

static void die(const char *what, const char *why) {
    printf("%s: %s\n", what, why);
    exit(1);
}

static void expect_logits(struct expected *x, const char *path) {
    struct error err = {KQ_OK, ""};
    struct gguf g = {0};
    struct model m = {0};
    struct threads *threads = threads_open(1, &err);
    if (!threads || gguf_open(&g, path, &err) < 0 || model_open(&m, &g, NULL, &err) < 0) {
        die(path, err.text);
    }
    struct transformer_params p = {.isa = isa_best(), .threads = threads, .n_batch = N};
    struct engine e = engine_open(&m, &p, N, &err);
    if (!e.t || engine_feed(&e, x->ids, N, 0, &err) < 0) die(path, err.text);
    x->row = (size_t)m.n_vocab * sizeof *x->logits;
    x->logits = malloc(N * x->row);
    if (!x->logits) die(path, "out of memory");
    for (int i = 0; i < N; i++) {
        const float *logits = engine_logits(&e, i, &err);
        if (!logits) die(path, err.text);
        memcpy((char *)x->logits + (size_t)i * x->row, logits, x->row);
    }
    engine_close(&e);
    model_close(&m);
    gguf_close(&g);
    threads_close(threads);
}

static void load(struct expected *x, const char *name) {
    char path[128];
    kq_error err;
    snprintf(path, sizeof path, MODELS "%s.ids", name);
    FILE *f = fopen(path, "r");
    for (int i = 0; i < N; i++) {
        if (!f || fscanf(f, "%d", &x->ids[i]) != 1) die(path, "no 40 ids");
    }
    fclose(f);
    snprintf(path, sizeof path, MODELS "%s.gguf", name);
    expect_logits(x, path);
    if (kq_model_open(&x->model, path, &err) != KQ_OK) die(path, err.text);
}

/* ---- the same bits --------------------------------------------------------------------------- */

static kq_engine *engine_of(const struct expected *x, kq_engine_params p) {
    kq_engine *e;
    kq_error err = {KQ_OK, ""};
    p.size = sizeof p;
    if (kq_engine_open(&e, x->model, &p, &err) != KQ_OK) die("engine", err.text);
    return e;
}

static kq_seq *seq_of(kq_engine *e) {
    kq_seq *s;
    kq_error err = {KQ_OK, ""};
    if (kq_seq_open(&s, e, N, &err) != KQ_OK) die("sequence", err.text);
    return s;
}

/* Whether the logits of that run of the last eval are those after the ids from `first` on. */
static bool same_logits(const struct expected *x, kq_engine *e, size_t run, size_t first,
                        size_t n) {
    for (size_t i = 0; i < n; i++) {
        const float *logits = kq_logits(e, run, i, NULL);
        if (!logits || memcmp(logits, (char *)x->logits + (first + i) * x->row, x->row) != 0) {
            return false;
        }
    }
    return true;
}

/* Evaluates the ids begin .. end - 1, asking for the logits of all. Threads call it: it counts no
 * check. */
static bool eval_same(const struct expected *x, kq_engine *e, kq_seq *s, int begin, int end) {
    size_t n = (size_t)(end - begin);
    kq_run run = {s, x->ids + begin, n, n};
    kq_error err = {KQ_OK, ""};
    if (kq_eval(e, &run, 1, &err) != KQ_OK) {
        fprintf(stderr, "test_kq: %s\n", err.text);
        return false;
    }
    return kq_seq_length(s) == end && same_logits(x, e, 0, (size_t)begin, n);
}

static void test_ways(const struct expected *x, const char *name) {
    static const kq_engine_params ways[] = {
        {.threads = 1, .batch = 1},
        {.threads = 2, .batch = 7},
        {.threads = 3, .batch = 16, .isa = "portable"},
        {.threads = 1, .batch = 64, .reference = true, .act = 32},
        {0},
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        kq_engine *e = engine_of(x, ways[i]);
        kq_seq *s = seq_of(e);
        CHECK(eval_same(x, e, s, 0, N), "%s, way %zu: in one run", name, i);
        int kept = kq_seq_rewind(s, 17);
        CHECK(kept >= 0 && kept <= 17 && kept == kq_seq_length(s), "%s: kept %d", name, kept);
        CHECK(eval_same(x, e, s, kept, N), "%s, way %zu: back and on from %d", name, i, kept);
        CHECK(kq_seq_rewind(s, N + 1) == N && kq_seq_rewind(s, -1) == 0, "%s: ends", name);
        CHECK(eval_same(x, e, s, 0, 1) && eval_same(x, e, s, 1, 30) && eval_same(x, e, s, 30, N),
              "%s, way %zu: in parts", name, i);
        kq_seq_close(s);
        kq_engine_close(e);
    }
}

/* Sequences that are at different places of the text, of which each eval appends another number
 * to each; more sequences than a batch has tokens. */
static void test_together(const struct expected *x, const char *name) {
    enum { N_SEQS = 5 };
    kq_engine *e = engine_of(x, (kq_engine_params){.threads = 2, .batch = 4});
    kq_seq *s[N_SEQS];
    kq_error err = {KQ_OK, ""};
    for (int i = 0; i < N_SEQS; i++) s[i] = seq_of(e);
    bool more = true;
    for (int round = 0; more; round++) {
        kq_run runs[N_SEQS];
        size_t first[N_SEQS], n_runs = 0;
        for (int i = 0; i < N_SEQS; i++) {
            int at = kq_seq_length(s[i]), n = (round + i) % 4 * (i + 1);
            if (n > N - at) n = N - at;
            first[n_runs] = (size_t)at + (size_t)(n - n / 2);
            runs[n_runs++] = (kq_run){s[i], x->ids + at, (size_t)n, (size_t)(n / 2)};
        }
        CHECK(kq_eval(e, runs, n_runs, &err) == KQ_OK, "%s", err.text);
        more = false;
        for (size_t r = 0; r < n_runs; r++) {
            CHECK(same_logits(x, e, r, first[r], runs[r].n_logits), "%s: round %d, run %zu", name,
                  round, r);
            CHECK(!kq_logits(e, r, runs[r].n_logits, NULL), "logits that nobody wanted");
            more |= kq_seq_length(runs[r].seq) < N;
        }
    }
    for (int i = 0; i < N_SEQS; i++) kq_seq_close(s[i]);
    kq_engine_close(e);
}

/* Two engines at once, calls taking turns. */
static void test_two_engines(const struct expected *x, const struct expected *y) {
    kq_engine *d = engine_of(x, (kq_engine_params){.threads = 2, .batch = 3}),
              *e = engine_of(y, (kq_engine_params){.threads = 1, .batch = 5});
    kq_seq *s = seq_of(d), *t = seq_of(e);
    for (int at = 0; at < N; at += 8) {
        CHECK(eval_same(x, d, s, at, at + 8), "engine 1 at %d", at);
        CHECK(eval_same(y, e, t, at, at + 8), "engine 2 at %d", at);
        CHECK(same_logits(x, d, 0, (size_t)at, 8), "engine 1 keeps its logits");
    }
    kq_seq_close(s);
    kq_seq_close(t);
    kq_engine_close(d);
    kq_engine_close(e);
}

/* ---- threads --------------------------------------------------------------------------------- */

struct user {
    pthread_t thread;
    const struct expected *x;
    const kq_model *tales;
    int number;
    bool same;
};

static size_t encode_tale(const kq_model *tales, int32_t *ids, size_t room) {
    static const char text[] = "Once upon a time there was a little engine that could not stop.";
    size_t n = room;
    return kq_encode(tales, text, sizeof text - 1, KQ_ADD_BOS, ids, &n, NULL) == KQ_OK ? n : 0;
}

static void *use(void *arg) {
    struct user *u = arg;
    int32_t ids[64];
    kq_engine *e =
        engine_of(u->x, (kq_engine_params){.threads = 1 + u->number % 2, .batch = 3 + u->number});
    kq_seq *s = seq_of(e);
    u->same = eval_same(u->x, e, s, 0, 20) && eval_same(u->x, e, s, 20, N);
    u->same &= encode_tale(u->tales, ids, 64) > 10;
    kq_seq_close(s);
    kq_engine_close(e);
    return NULL;
}

static void test_threads(const struct expected *x, const kq_model *tales) {
    struct user users[3];
    for (int i = 0; i < 3; i++) {
        users[i] = (struct user){.x = x, .tales = tales, .number = i};
        if (pthread_create(&users[i].thread, NULL, use, &users[i]) != 0) die("thread", "none");
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(users[i].thread, NULL);
        CHECK(users[i].same, "thread %d", i);
    }
}

/* ---- bad arguments --------------------------------------------------------------------------- */

static kq_error said;

/* Whether the call gave that status, and a sentence about it. */
static bool says(kq_status status, kq_status expected) {
    bool good = status == expected && said.status == expected && strlen(said.text) > 8;
    if (!good) printf("status %d, said %d: %s\n", (int)status, (int)said.status, said.text);
    said = (kq_error){KQ_OK, ""};
    return good;
}

#define REFUSED(call) CHECK(says((call), KQ_BAD_ARGUMENT), "bad argument")

static void test_bad_models(const struct expected *x) {
    kq_model *m = x->model;
    size_t n = 4;
    REFUSED(kq_model_open(NULL, "a", &said));
    REFUSED(kq_model_open(&m, NULL, &said));
    CHECK(m == NULL, "a model of no file");
    CHECK(says(kq_model_open(&m, "no such file", &said), KQ_IO), "a missing file");
    CHECK(says(kq_model_open(&m, "Makefile", &said), KQ_BAD_FILE), "no model");
    REFUSED(kq_encode(NULL, "a", 1, 0, NULL, &n, &said));
    REFUSED(kq_encode(x->model, "a", 1, 0, NULL, NULL, &said));
    REFUSED(kq_encode(x->model, "a", 1, 0, NULL, &n, &said));
    REFUSED(kq_encode(x->model, "a", 1, 4, (int32_t[4]){0}, &n, &said));
    REFUSED(kq_encode(x->model, NULL, 1, 0, (int32_t[4]){0}, &n, &said));
    CHECK(n == 4, "room %zu", n);
    CHECK(kq_n_vocab(NULL) == 0 && !kq_is_eog(NULL, 0) && !kq_is_eog(x->model, -1), "models");
    CHECK(!kq_model_note(NULL, 0) && !kq_model_note(x->model, SIZE_MAX), "notes");
    CHECK(kq_piece(NULL, 0, NULL, 0) == 0 && kq_piece(x->model, INT_MAX, NULL, 9) == 0, "pieces");
    kq_model_close(NULL);
    kq_engine_close(NULL);
    kq_seq_close(NULL);
    kq_sampler_close(NULL);
    kq_engine_stop(NULL);
}

static void test_bad_engines(const struct expected *x) {
    static const struct {
        kq_engine_params p;
        const char *word;
    } bad[] = {
        {{.size = 0}, "size"},
        {{.size = 1 << 20}, "size"},
        {{.size = sizeof(kq_engine_params), .threads = -1}, "threads"},
        {{.size = sizeof(kq_engine_params), .threads = 1025}, "threads"},
        {{.size = sizeof(kq_engine_params), .batch = -1}, "batch"},
        {{.size = sizeof(kq_engine_params), .batch = 65537}, "batch"},
        {{.size = sizeof(kq_engine_params), .isa = "abacus"}, "abacus"},
        {{.size = sizeof(kq_engine_params), .act = 4}, "act"},
        {{.size = sizeof(kq_engine_params), .kv = 2}, "kv"},
        {{.size = sizeof(kq_engine_params), .act = 8, .reference = true}, "reference"},
    };
    kq_engine *e = NULL;
    kq_seq *s = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kq_status status = kq_engine_open(&e, x->model, &bad[i].p, &said);
        CHECK(strstr(said.text, bad[i].word) && !e, "params %zu: %s", i, said.text);
        REFUSED(status);
    }
    REFUSED(kq_engine_open(NULL, x->model, NULL, &said));
    REFUSED(kq_engine_open(&e, NULL, NULL, &said));
    REFUSED(kq_seq_open(&s, NULL, N, &said));
    CHECK(kq_seq_length(NULL) == 0 && kq_seq_context(NULL) == 0 && kq_seq_rewind(NULL, 1) == 0,
          "no sequence");
    CHECK(!kq_logits(NULL, 0, 0, &said), "no engine");
    REFUSED(said.status);
}

/* Structs of other headers: a shorter one, and a longer one that asks for nothing more. */
static void test_sizes(const struct expected *x) {
    union {
        kq_engine_params p;
        char bytes[sizeof(kq_engine_params) + 8];
    } u = {.p = {.size = offsetof(kq_engine_params, isa), .threads = 1, .batch = 2}};
    kq_engine *e;
    u.p.act = 5; // beyond what the caller's struct has
    CHECK(kq_engine_open(&e, x->model, &u.p, NULL) == KQ_OK, "a short struct");
    kq_engine_close(e);
    u.p.act = 0;
    u.p.size = sizeof u.bytes;
    CHECK(kq_engine_open(&e, x->model, &u.p, NULL) == KQ_OK, "a long struct");
    kq_engine_close(e);
    u.bytes[sizeof u.bytes - 1] = 1;
    REFUSED(kq_engine_open(&e, x->model, &u.p, &said));
}

static void test_bad_evals(const struct expected *x) {
    kq_engine *d = engine_of(x, (kq_engine_params){.threads = 1, .batch = 4}),
              *e = engine_of(x, (kq_engine_params){.threads = 2, .batch = 4});
    kq_seq *s = seq_of(e), *t = NULL, *other = seq_of(d);
    const int32_t *ids = x->ids, big[2] = {ids[0], kq_n_vocab(x->model)}, negative[1] = {-1};
    REFUSED(kq_seq_open(NULL, e, N, &said));
    REFUSED(kq_seq_open(&t, e, -1, &said));
    REFUSED(kq_seq_open(&t, e, INT_MAX, &said));
    t = seq_of(e);
    CHECK(eval_same(x, e, s, 0, 10), "before");
#define EVAL(...) \
    kq_eval(e, (kq_run[]){__VA_ARGS__}, sizeof((kq_run[]){__VA_ARGS__}) / sizeof(kq_run), &said)
    REFUSED(kq_eval(NULL, NULL, 0, &said));
    REFUSED(kq_eval(e, NULL, 1, &said));
    REFUSED(EVAL({NULL, ids, 1, 1}));
    REFUSED(EVAL({other, ids, 1, 1}));
    REFUSED(EVAL({s, ids + 10, 1, 1}, {t, ids, 1, 1}, {s, ids, 1, 1}));
    REFUSED(EVAL({s, NULL, 1, 1}));
    REFUSED(EVAL({s, ids, 1, 2}));
    REFUSED(EVAL({s, ids, 1, SIZE_MAX}));
    REFUSED(EVAL({s, big, 2, 1}));
    REFUSED(EVAL({s, ids, 1, 1}, {t, negative, 1, 1}));
    CHECK(says(EVAL({t, ids, 1, 1}, {s, ids, N - 9, 1}), KQ_FULL), "full");
    CHECK(says(EVAL({s, ids, SIZE_MAX, 1}), KQ_FULL), "full");
    CHECK(same_logits(x, e, 0, 0, 10), "logits of the eval before");
    CHECK(kq_seq_length(s) == 10 && kq_seq_length(t) == 0, "lengths after refusals");
    CHECK(EVAL({t, NULL, 0, 0}) == KQ_OK && kq_eval(e, NULL, 0, NULL) == KQ_OK, "nothing");
    CHECK(!kq_logits(e, 0, 0, &said), "no logits");
    REFUSED(said.status);
    CHECK(eval_same(x, e, s, 10, N) && eval_same(x, e, t, 0, N), "after");
    CHECK(says(EVAL({s, ids, 1, 1}), KQ_FULL), "full");
    kq_seq_close(s);
    kq_seq_close(t);
    kq_seq_close(other);
    kq_engine_close(d);
    kq_engine_close(e);
}

static void test_stop(const struct expected *x) {
    kq_engine *e = engine_of(x, (kq_engine_params){.threads = 2, .batch = 4});
    kq_seq *s = seq_of(e);
    kq_run run = {s, x->ids, N, N};
    kq_engine_stop(e);
    CHECK(says(kq_eval(e, &run, 1, &said), KQ_INTERRUPTED), "stopped");
    CHECK(kq_seq_length(s) == 0 && !kq_logits(e, 0, 0, NULL), "after a stop");
    CHECK(eval_same(x, e, s, 0, N), "once");
    kq_seq_close(s);
    kq_engine_close(e);
}

static void *keep_stopping(void *engine) {
    for (int i = 0; i < 20; i++) {
        usleep(300);
        kq_engine_stop(engine);
    }
    return NULL;
}

/* Two sequences, of which one wants the logits of its last ids, the other one those of all. */
static void test_stop_amid(const struct expected *x) {
    kq_engine *e = engine_of(x, (kq_engine_params){.threads = 2, .batch = 2});
    kq_seq *s[2] = {seq_of(e), seq_of(e)};
    pthread_t thread;
    kq_status status = KQ_INTERRUPTED;
    if (pthread_create(&thread, NULL, keep_stopping, e) != 0) die("thread", "none");
    for (int attempt = 0; status == KQ_INTERRUPTED && attempt < 100; attempt++) {
        kq_run runs[2];
        for (int i = 0; i < 2; i++) {
            int at = kq_seq_length(s[i]);
            runs[i] = (kq_run){s[i], x->ids + at, (size_t)(N - at), i ? N : 4};
        }
        status = kq_eval(e, runs, 2, NULL);
    }
    CHECK(status == KQ_OK && same_logits(x, e, 0, N - 4, 4) && same_logits(x, e, 1, 0, N),
          "status %d", (int)status);
    pthread_join(thread, NULL);
    kq_seq_close(s[0]);
    kq_seq_close(s[1]);
    kq_engine_close(e);
}

/* ---- text, sampling, what is not finite ------------------------------------------------------ */

static void test_text(const kq_model *tales) {
    static const char text[] = "Once upon a time";
    int32_t ids[64] = {0}, first[2];
    size_t n = 64, n_bytes = 0, room = 2;
    char out[64];
    CHECK(kq_encode(tales, text, strlen(text), 0, ids, &n, NULL) == KQ_OK && n > 2, "%zu ids", n);
    for (size_t i = 0; i < n; i++) {
        size_t len = kq_piece(tales, ids[i], NULL, 0);
        CHECK(kq_piece(tales, ids[i], out + n_bytes, sizeof out - n_bytes) == len, "id %d", ids[i]);
        n_bytes += len;
    }
    size_t space = n_bytes - strlen(text);
    CHECK(space <= 1 && memcmp(out + space, text, strlen(text)) == 0, "%.*s", (int)n_bytes, out);
    CHECK(says(kq_encode(tales, text, strlen(text), 0, first, &room, &said), KQ_FULL), "full");
    CHECK(room == n && memcmp(first, ids, sizeof first) == 0, "needed %zu", room);
    room = 0;
    CHECK(kq_encode(tales, NULL, 0, 0, NULL, &room, NULL) == KQ_OK && room == 0, "no text");
    bool ends = false;
    for (int i = 0; i < kq_n_vocab(tales); i++) ends |= kq_is_eog(tales, i);
    CHECK(ends, "no token ends a text");
}

static void test_sampler(const struct expected *x) {
    kq_sampler *greedy, *s, *again;
    kq_sampler_params p = {.size = sizeof p, .temp = 1.5f, .top_k = 20, .top_p = 0.9f, .seed = 7};
    CHECK(kq_sampler_open(&greedy, x->model, NULL, NULL) == KQ_OK, "greedy");
    CHECK(kq_sampler_open(&s, x->model, &p, NULL) == KQ_OK, "sampler");
    CHECK(kq_sampler_open(&again, x->model, &p, NULL) == KQ_OK, "sampler");
    size_t n_vocab = (size_t)kq_n_vocab(x->model), likeliest = 0;
    for (size_t i = 0; i < n_vocab; i++) {
        if (x->logits[i] > x->logits[likeliest]) likeliest = i;
    }
    CHECK(kq_sampler_pick(greedy, x->logits, NULL, 0, NULL) == (int)likeliest, "greedy");
    for (int i = 0; i < 10; i++) {
        int32_t id = kq_sampler_pick(s, x->logits, x->ids, N, NULL);
        CHECK(id >= 0 && id == kq_sampler_pick(again, x->logits, NULL, 0, NULL), "id %d", id);
    }
    float *bad = malloc(x->row);
    if (!bad) die("sampler", "out of memory");
    memcpy(bad, x->logits, x->row);
    bad[1] = NAN;
    CHECK(kq_sampler_pick(s, bad, NULL, 0, &said) == -1, "NaN");
    CHECK(says(said.status, KQ_NOT_FINITE), "NaN");
    CHECK(kq_sampler_pick(s, NULL, NULL, 0, &said) == -1, "no logits");
    REFUSED(said.status);
    CHECK(kq_sampler_pick(s, bad, NULL, 1, &said) == -1, "no history");
    REFUSED(said.status);
    CHECK(kq_sampler_pick(NULL, bad, NULL, 0, &said) == -1, "no sampler");
    REFUSED(said.status);
    free(bad);
    kq_sampler_close(greedy);
    kq_sampler_close(again);
    p.temp = -1;
    REFUSED(kq_sampler_open(&again, x->model, &p, &said));
    p = (kq_sampler_params){.size = 3};
    REFUSED(kq_sampler_open(&again, x->model, &p, &said));
    REFUSED(kq_sampler_open(&again, NULL, NULL, &said));
    REFUSED(kq_sampler_open(NULL, x->model, NULL, &said));
    kq_sampler_close(s);
}

/* A model whose third logit is a NaN after every token, with no vocabulary. */
static void test_not_finite(void) {
    char path[] = "/tmp/kq-nan-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || close(fd) != 0) die(path, "cannot be made");
    struct tiny t = tiny_llama();
    struct gguf_build b = tiny_build(&t);
    for (size_t i = 0; i < b.n_tensors; i++) {
        if (strcmp(b.tensors[i].name, "output.weight") != 0) continue;
        float nan = NAN;
        memcpy((char *)b.tensors[i].data.data + 2 * 32 * sizeof nan, &nan, sizeof nan);
    }
    build_write(&b, path);
    build_free(&b);
    kq_model *m;
    kq_engine *e;
    kq_seq *s = NULL;
    size_t n = 0;
    CHECK(kq_model_open(&m, path, &said) == KQ_OK, "%s", said.text);
    CHECK(kq_encode(m, "a", 1, 0, NULL, &n, &said) != KQ_OK && strlen(said.text) > 8, "no text");
    CHECK(kq_engine_open(&e, m, NULL, NULL) == KQ_OK && kq_seq_open(&s, e, 0, NULL) == KQ_OK,
          "open");
    CHECK(kq_seq_context(s) == 64, "%d", kq_seq_context(s)); // what the file says
    kq_run run = {s, (const int32_t[]){1, 5, 4}, 3, 2};
    for (int i = 0; i < 2; i++) {
        CHECK(kq_eval(e, &run, 1, NULL) == KQ_OK && kq_seq_length(s) == 3 * (i + 1), "eval");
        CHECK(!kq_logits(e, 0, 0, &said), "NaN");
        CHECK(strstr(said.text, i ? "token 5 (id 5)" : "token 2 (id 5)"), "%s", said.text);
        CHECK(says(said.status, KQ_NOT_FINITE), "NaN");
    }
    kq_seq_close(s);
    kq_engine_close(e);
    kq_model_close(m);
    unlink(path);
}

/* ---- what a host program would notice -------------------------------------------------------- */

/* All kinds of calls, good and bad. */
static void call_everything(const struct expected *x) {
    test_bad_models(x);
    test_bad_engines(x);
    test_bad_evals(x);
    test_sampler(x);
    test_not_finite();
}

static void test_state(const struct expected *x) {
    fesetround(FE_UPWARD);
    feclearexcept(FE_ALL_EXCEPT);
    kq_engine *e = engine_of(x, (kq_engine_params){.threads = 2, .batch = 5});
    kq_seq *s = seq_of(e);
    CHECK(eval_same(x, e, s, 0, N), "rounding upward");
    int kept = kq_seq_rewind(s, 20);
    CHECK(eval_same(x, e, s, kept, N), "rounding upward, back and on");
    kq_sampler *sampler;
    kq_sampler_params p = {.size = sizeof p, .temp = 0.8f, .top_p = 0.9f, .repeat_penalty = 1.1f};
    if (kq_sampler_open(&sampler, x->model, &p, NULL) != KQ_OK) die("sampler", "none");
    CHECK(kq_sampler_pick(sampler, x->logits, x->ids, N, NULL) >= 0, "pick");
    kq_sampler_close(sampler);
    kq_seq_close(s);
    kq_engine_close(e);
    CHECK(fegetround() == FE_UPWARD, "the rounding was changed");
    CHECK(fetestexcept(FE_ALL_EXCEPT) == 0, "flags: 0x%x", (unsigned)fetestexcept(FE_ALL_EXCEPT));
    fesetround(FE_TONEAREST);
}

static void test_quiet(const struct expected *x) {
    char path[] = "/tmp/kq-quiet-XXXXXX";
    int fd = mkstemp(path), out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO);
    struct sigaction before[32] = {0}, after = {0};
    for (int i = 1; i < 32; i++) sigaction(i, NULL, &before[i]);
    fflush(stdout);
    if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0) die(path, "no file");
    call_everything(x);
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    CHECK(lseek(fd, 0, SEEK_END) == 0, "something was printed");
    for (int i = 1; i < 32; i++) {
        sigaction(i, NULL, &after);
        CHECK(after.sa_handler == before[i].sa_handler, "signal %d has another handler", i);
    }
    close(fd);
    close(out);
    close(err);
    unlink(path);
}

/* ---- calls that fail once -------------------------------------------------------------------- */

#define TWICE(call) ((call) == KQ_OK || (call) == KQ_OK)

static uint64_t retried_hash;

/* The next ids of both sequences together: after a failure the rest of them. */
static bool eval_rest(kq_engine *e, kq_seq *const *s, const int32_t *ids, int end, int n_vocab) {
    for (int attempt = 0; attempt < 2; attempt++) {
        kq_run runs[2];
        for (int i = 0; i < 2; i++) {
            int at = kq_seq_length(s[i]);
            runs[i] = (kq_run){s[i], ids + at, (size_t)(end - at), 1};
        }
        if (kq_eval(e, runs, 2, NULL) != KQ_OK) continue;
        for (size_t i = 0; i < 2; i++) {
            const float *logits = kq_logits(e, i, 0, NULL);
            if (!logits) return false;
            retried_hash = fnv1a(retried_hash, logits, (size_t)n_vocab * sizeof *logits);
        }
        return true;
    }
    return false;
}

/* Texts are evaluated in parts longer than a batch, taken back and gone on. */
static bool use_with_retries(const kq_model *m, kq_engine *e, kq_seq *const *s) {
    int32_t ids[32] = {0};
    size_t n = 32;
    int n_vocab = kq_n_vocab(m);
    static const char text[] = "abba abba ab";
    size_t len = sizeof text - 1;
    if (kq_encode(m, text, len, KQ_ADD_BOS, ids, &n, NULL) != KQ_OK) {
        n = 32;
        if (kq_encode(m, text, len, KQ_ADD_BOS, ids, &n, NULL) != KQ_OK) return false;
    }
    retried_hash = fnv1a(FNV_START, ids, n * sizeof *ids);
    if (n < 6 || !eval_rest(e, s, ids, 6, n_vocab)) return false;
    kq_seq_rewind(s[0], 2);
    return eval_rest(e, s, ids, (int)n, n_vocab);
}

static int retry(const char *path) {
    kq_model *m = NULL;
    kq_engine *e = NULL;
    kq_seq *s[2] = {NULL, NULL};
    kq_sampler *sampler = NULL;
    kq_engine_params p = {.size = sizeof p, .threads = 2, .batch = 4, .reference = true};
    bool good = TWICE(kq_model_open(&m, path, NULL)) && TWICE(kq_engine_open(&e, m, &p, NULL)) &&
                TWICE(kq_seq_open(&s[0], e, 32, NULL)) && TWICE(kq_seq_open(&s[1], e, 0, NULL)) &&
                TWICE(kq_sampler_open(&sampler, m, NULL, NULL)) && use_with_retries(m, e, s);
    kq_sampler_close(sampler);
    kq_seq_close(s[0]);
    kq_seq_close(s[1]);
    kq_engine_close(e);
    kq_model_close(m);
    char line[32];
    int n = snprintf(line, sizeof line, "%016llx\n", (unsigned long long)retried_hash);
    return !good || write(STDOUT_FILENO, line, (size_t)n) != n;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "retry") == 0) return retry(argv[2]);
    kq_model *tales;
    if (kq_model_open(&tales, TALES, NULL) != KQ_OK) die(TALES, "cannot be opened");
    CHECK(strcmp(kq_version(), KQ_VERSION) == 0, "%s", kq_version());
    for (int i = 0; i < N_NAMES; i++) {
        load(&all[i], names[i]);
        test_ways(&all[i], names[i]);
        test_together(&all[i], names[i]);
        test_threads(&all[i], tales);
        test_stop(&all[i]);
        test_stop_amid(&all[i]);
    }
    test_two_engines(&all[0], &all[2]);
    test_sizes(&all[0]);
    test_text(tales);
    test_state(&all[2]);
    call_everything(&all[0]);
    test_quiet(&all[0]);
    for (int i = 0; i < N_NAMES; i++) {
        kq_model_close(all[i].model);
        free(all[i].logits);
    }
    kq_model_close(tales);
    return test_done("test_kq");
}
