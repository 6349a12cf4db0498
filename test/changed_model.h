/* What test_model and test_families share: tiny models are changed, opened, run in every way. */
#ifndef CHANGED_MODEL_H
#define CHANGED_MODEL_H

#include <math.h>

#include "tiny_model.h"
#include "engine.h"

/* The file is parsed and the model opened: "" or the message. Frees b. */
static inline const char *open_message(struct gguf_build *b) {
    static struct error err;
    struct gguf g;
    struct model m;
    size_t size;
    uint8_t *file = build_file(b, &size);
    err.text[0] = '\0';
    if (gguf_parse(&g, file, size, &err) == 0) {
        if (model_open(&m, &g, NULL, &err) == 0) {
            model_close(&m);
            err.text[0] = '\0'; // what was said and then ignored is no refusal
        } else {
            CHECK(!m.plan, "not all freed after \"%s\"", err.text);
            CHECK(err.text[0], "a refusal without a message");
        }
        gguf_close(&g);
    }
    free(file);
    build_free(b);
    return err.text;
}

static inline void check_refused(struct gguf_build *b, const char *expected) {
    const char *text = open_message(b);
    CHECK(strstr(text, expected), "expected \"%s\", found \"%s\"", expected, text);
}

enum { N_TOKENS = 9, N_CTX = 16 };

/* How a model is run. */
struct way {
    const struct isa *isa;
    int n_threads, n_batch;
    bool reference, kv_f32;
};

/* N_TOKENS rows of logits. NULL and err if not all of them are finite numbers, or after a failed
 * CHECK. */
static inline float *try_logits(const struct model *m, const struct way *w, struct error *err) {
    *err = (struct error){KQ_OK, ""};
    struct threads *threads = threads_open(w->n_threads, err);
    struct transformer_params p = {.isa = w->isa,
                                   .threads = threads,
                                   .reference = w->reference,
                                   .kv_f32 = w->kv_f32,
                                   .n_batch = w->n_batch};
    struct engine e = {0};
    if (threads) e = engine_open(m, &p, N_CTX, err);
    CHECK(e.t, "\"%s\"", err->text);
    size_t n_vocab = (size_t)m->n_vocab;
    float *rows = e.t ? calloc(N_TOKENS * n_vocab, sizeof *rows) : NULL;
    bool ok = rows != NULL;
    for (int pos = 0; ok && pos < N_TOKENS; pos += w->n_batch) {
        int32_t ids[N_TOKENS];
        int n = N_TOKENS - pos < w->n_batch ? N_TOKENS - pos : w->n_batch;
        for (int i = 0; i < n; i++) ids[i] = (pos + i) * 7 % m->n_vocab;
        ok = engine_feed(&e, ids, n, pos, err) == 0;
        for (int i = 0; ok && i < n; i++) {
            const float *logits = engine_logits(&e, i, err);
            ok = logits != NULL;
            if (ok) memcpy(rows + (size_t)(pos + i) * n_vocab, logits, n_vocab * 4);
        }
        CHECK(ok || err->status == KQ_NOT_FINITE, "\"%s\"", err->text);
    }
    engine_close(&e);
    threads_close(threads);
    if (ok) return rows;
    free(rows);
    return NULL;
}

/* The same for a model whose logits are finite. */
static inline float *logits_with(const struct model *m, const struct isa *isa, int n_threads,
                                 int n_batch, bool reference) {
    struct error err;
    struct way w = {isa, n_threads, n_batch, reference, false};
    float *rows = try_logits(m, &w, &err);
    CHECK(rows, "\"%s\"", err.text);
    return rows;
}

struct opened {
    uint8_t *file;
    struct gguf g;
    struct model m;
    bool ok;
};

/* The model must open. */
static inline struct opened open_kept(const struct gguf_build *b, const char *what) {
    struct opened o = {0};
    struct error err = {KQ_OK, ""};
    size_t size;
    o.file = build_file(b, &size);
    o.ok = gguf_parse(&o.g, o.file, size, &err) == 0 && model_open(&o.m, &o.g, NULL, &err) == 0;
    CHECK(o.ok, "%s: \"%s\"", what, err.text);
    return o;
}

/* Frees b. */
static inline struct opened open_built(struct gguf_build *b, const char *what) {
    struct opened o = open_kept(b, what);
    build_free(b);
    return o;
}

static inline void close_opened(struct opened *o) {
    if (o->ok) model_close(&o->m);
    gguf_close(&o->g);
    free(o->file);
}

/* The model runs, and every instruction set, batch and the reference path give these bits. Unless
 * `finite`, it may do no more than stop at what is not: then every way must. */
static inline float *run_every_way(struct gguf_build *b, const char *what, bool finite) {
    struct opened o = open_built(b, what);
    struct error err = {KQ_OK, ""};
    struct way plainest = {isa_best(), 1, 1, false, false};
    float *rows = o.ok ? try_logits(&o.m, &plainest, &err) : NULL;
    CHECK(rows || !finite || !o.ok, "%s: \"%s\"", what, err.text);
    size_t n = N_TOKENS * (size_t)o.m.n_vocab;
    for (size_t i = 0; rows && finite && i < n; i++) {
        CHECK(isfinite(rows[i]), "%s: logit %zu is %g", what, i, (double)rows[i]);
    }
    for (int i = 0; o.ok && isa_all[i]; i++) {
        if (!isa_all[i]->usable()) continue;
        for (int way = 0; way < 4; way += finite ? 1 : 3) {
            struct way w = {isa_all[i], 1 + way % 2, way < 2 ? 5 : 1, way % 2, false};
            float *again = try_logits(&o.m, &w, &err);
            bool same = rows && again ? memcmp(again, rows, n * sizeof *rows) == 0 : rows == again;
            CHECK(same, "%s: %s, way %d differs %s", what, isa_all[i]->name, way, err.text);
            free(again);
        }
    }
    close_opened(&o);
    return rows;
}

static inline float *run_tiny(const struct tiny *t, const char *what) {
    struct gguf_build b = tiny_build(t);
    return run_every_way(&b, what, true);
}

/* Two ways to write one model down. */
static inline void check_equal(struct gguf_build *a, struct gguf_build *b, int n_vocab,
                               const char *what) {
    float *x = run_every_way(a, what, true), *y = run_every_way(b, what, true);
    CHECK(x && y && memcmp(x, y, N_TOKENS * (size_t)n_vocab * 4) == 0, "%s: logits differ", what);
    free(x);
    free(y);
}

/* One key of a file, changed. */
#define BIG 268435456.0 // 2^28, the largest count

enum kind { REMOVE, INT, FLOAT, STRING, EMPTY_ARRAY, TWO_INTS };

struct lie {
    const char *arch, *key; // without the architecture
    enum kind kind;
    double value;         // TWO_INTS: value, value + 1
    const char *expected; // NULL: the model must open
};

static inline void apply(struct gguf_build *b, const char *key, const struct lie *l) {
    switch (l->kind) {
    case REMOVE:
        build_remove(b, key);
        break;
    case INT:
        build_i64(b, key, (int64_t)l->value);
        break;
    case FLOAT:
        build_f32(b, key, (float)l->value);
        break;
    case STRING:
        build_str(b, key, "text");
        break;
    case EMPTY_ARRAY:
        build_i32s(b, key, 0, NULL);
        break;
    case TWO_INTS:
        build_i32s(b, key, 2, (const int32_t[]){(int32_t)l->value, (int32_t)l->value + 1});
        break;
    }
}

#endif
