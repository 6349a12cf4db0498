/* The library's functions check what they are given, then call what the programs call. */
#include "kq.h"

#include <stdlib.h>
#include <string.h>

#include "floats.h"
#include "fpstate.h"
#include "memory.h"
#include "sampler.h"
#include "tokenizer.h"
#include "transformer.h"

enum { MAX_CONTEXT = 1 << 30, MAX_BATCH = 1 << 16, DEFAULT_BATCH = 256, DEFAULT_LAST_N = 64 };

struct kq_model {
    struct gguf gguf;
    struct model model;
    struct tokenizer *tokenizer; // NULL: no_text says why
    struct error no_text;
};

/* The logits of the last eval: those of its run r are rows first[r] .. first[r + 1] - 1. */
struct rows {
    size_t n_runs;
    size_t *first; // (n_runs + 1)
    size_t first_room;
    float *logits; // (n, n_vocab)
    struct unusable {
        int length; // of the sequence with the token; 0: the row can be used
        int32_t id;
    } * unusable; // (n)
    size_t room;  // in rows
};

struct kq_engine {
    const kq_model *model;
    struct threads *threads;
    struct transformer *transformer;
    int n_batch;
    bool kv_f32;
    atomic_int stop;
    uint64_t n_evals; // how a sequence knows that it is in this one already
    struct run *runs; // (n_batch) of a pass
    struct rows rows;
};

struct kq_seq {
    kq_engine *engine;
    struct seq *seq;
    uint64_t eval; // the last one it was part of
    int start;     // its length when that began
};

struct kq_sampler {
    struct sampler *sampler;
    int n_vocab;
};

const char *kq_version(void) {
    return KQ_VERSION;
}

/* The end of every function that can fail: the status, and what is said of it. */
static kq_status finish(int failed, const struct error *e, kq_error *err) {
    if (!failed) return KQ_OK;
    if (err) {
        err->status = e->status;
        memcpy(err->text, e->text, sizeof err->text);
    }
    return e->status;
}

#define NULL_ARGUMENT(err, name) error_set(err, KQ_BAD_ARGUMENT, "%s is NULL", name)

/* ---- models ---------------------------------------------------------------------------------- */

/* A file whose vocabulary cannot be used may be run on ids all the same. */
static int open_vocabulary(kq_model *m, struct error *err) {
    m->tokenizer = tokenizer_open(&m->gguf, &m->no_text);
    bool missing = !gguf_find(&m->gguf, "tokenizer.ggml.model");
    if (m->tokenizer || missing || m->no_text.status == KQ_UNSUPPORTED) return 0;
    *err = m->no_text;
    return -1;
}

static int open_model(kq_model **model, const char *path, struct error *err) {
    if (!model) return NULL_ARGUMENT(err, "model");
    *model = NULL;
    if (!path) return NULL_ARGUMENT(err, "path");
    kq_model *m = calloc(1, sizeof *m);
    if (!m) return error_set(err, KQ_NO_MEMORY, "out of memory for a model");
    if (gguf_open(&m->gguf, path, err) < 0 || model_open(&m->model, &m->gguf, NULL, err) < 0 ||
        open_vocabulary(m, err) < 0) {
        kq_model_close(m);
        return -1;
    }
    *model = m;
    return 0;
}

kq_status kq_model_open(kq_model **model, const char *path, kq_error *err) {
    struct error e;
    struct fp_state callers = fp_enter();
    int failed = open_model(model, path, &e);
    fp_leave(callers);
    return finish(failed, &e, err);
}

void kq_model_close(kq_model *model) {
    if (!model) return;
    tokenizer_close(model->tokenizer);
    model_close(&model->model);
    gguf_close(&model->gguf);
    free(model);
}

int kq_n_vocab(const kq_model *model) {
    return model ? model->model.n_vocab : 0;
}

bool kq_is_eog(const kq_model *model, int32_t id) {
    return model && model->tokenizer && tokenizer_is_eog(model->tokenizer, id);
}

const char *kq_model_note(const kq_model *model, size_t i) {
    return model && model->tokenizer ? tokenizer_note(model->tokenizer, i) : NULL;
}

/* ---- text and tokens ------------------------------------------------------------------------- */

static int encode(const kq_model *model, const char *text, size_t len, int flags, int32_t *ids,
                  size_t *n, struct error *err) {
    if (!model) return NULL_ARGUMENT(err, "model");
    if (!n) return NULL_ARGUMENT(err, "n");
    if (!text && len > 0) return NULL_ARGUMENT(err, "text");
    if (!ids && *n > 0) return NULL_ARGUMENT(err, "ids");
    if (flags & ~(KQ_ADD_BOS | KQ_PARSE_SPECIAL)) {
        return error_set(err, KQ_BAD_ARGUMENT, "flags: 0x%x has bits without a meaning",
                         (unsigned)flags);
    }
    if (!model->tokenizer) {
        *err = model->no_text;
        return -1;
    }
    struct token_list list = {0};
    int failed = tokenizer_encode(model->tokenizer, text ? text : "", len, flags & KQ_ADD_BOS,
                                  flags & KQ_PARSE_SPECIAL, &list, err);
    if (!failed) {
        size_t room = *n, n_written = list.n < room ? list.n : room;
        if (n_written > 0) memcpy(ids, list.ids, n_written * sizeof *ids);
        *n = list.n;
        if (list.n > room) {
            failed = error_set(err, KQ_FULL, "the text has %zu tokens, there is room for %zu",
                               list.n, room);
        }
    }
    token_list_free(&list);
    return failed;
}

kq_status kq_encode(const kq_model *model, const char *text, size_t len, int flags, int32_t *ids,
                    size_t *n, kq_error *err) {
    struct error e;
    struct fp_state callers = fp_enter();
    int failed = encode(model, text, len, flags, ids, n, &e);
    fp_leave(callers);
    return finish(failed, &e, err);
}

size_t kq_piece(const kq_model *model, int32_t id, char *buf, size_t room) {
    if (!model || !model->tokenizer) return 0;
    return tokenizer_piece(model->tokenizer, id, false, buf, buf ? room : 0);
}

/* ---- parameters ------------------------------------------------------------------------------ */

/* Copies the caller's params of whatever size over `to`, of to_size bytes, which hold the defaults
 * and begin with the size: of a struct from an older header a part, from a newer one what is
 * known here, if the rest is 0. */
static int read_params(void *to, size_t to_size, const void *params, struct error *err) {
    enum { MOST = 4096 }; // a larger one was never set
    size_t size;
    memcpy(&size, params, sizeof size);
    if (size < sizeof size || size > MOST) {
        return error_set(err, KQ_BAD_ARGUMENT, "params.size: expected %zu, found %zu", to_size,
                         size);
    }
    const unsigned char *bytes = params;
    for (size_t i = to_size; i < size; i++) {
        if (bytes[i]) {
            return error_set(err, KQ_BAD_ARGUMENT,
                             "params has %zu bytes, this library (%s) knows %zu, and the rest asks "
                             "for something",
                             size, KQ_VERSION, to_size);
        }
    }
    memcpy(to, params, size < to_size ? size : to_size);
    return 0;
}

static int read_engine_params(kq_engine_params *to, const kq_engine_params *params,
                              struct error *err) {
    *to = (kq_engine_params){0};
    if (params && read_params(to, sizeof *to, params, err) < 0) return -1;
    if (to->batch < 0 || to->batch > MAX_BATCH) {
        return error_set(err, KQ_BAD_ARGUMENT, "batch: expected 1 to %d, or 0, found %d", MAX_BATCH,
                         to->batch);
    }
    if (to->act != 0 && to->act != 8 && to->act != 16 && to->act != 32) {
        return error_set(err, KQ_BAD_ARGUMENT, "act: expected 32, 16, 8 or 0, found %d", to->act);
    }
    if (to->kv != KQ_KV_F16 && to->kv != KQ_KV_F32) {
        return error_set(err, KQ_BAD_ARGUMENT, "kv: expected KQ_KV_F16 or KQ_KV_F32, found %d",
                         to->kv);
    }
    if (to->act == 32) to->act = ACT_FLOAT;
    if (to->reference && to->act != ACT_FLOAT) {
        return error_set(err, KQ_BAD_ARGUMENT, "reference: not with act %d", to->act);
    }
    if (to->threads == 0) to->threads = threads_default_count();
    if (to->batch == 0) to->batch = DEFAULT_BATCH;
    return 0;
}

static const struct isa *find_isa(const char *name, struct error *err) {
    const struct isa *isa = name ? isa_find(name) : isa_best();
    if (isa && isa->usable()) return isa;
    error_set(err, KQ_BAD_ARGUMENT, "isa: \"%.32s\" is not %s", name,
              isa ? "an instruction set of this processor" : "known to this build");
    return NULL;
}

/* ---- engines --------------------------------------------------------------------------------- */

static int fill_engine(kq_engine *e, const kq_engine_params *p, const struct isa *isa,
                       struct error *err) {
    e->n_batch = p->batch;
    e->kv_f32 = p->kv == KQ_KV_F32;
    e->runs = calloc((size_t)p->batch, sizeof *e->runs);
    if (!e->runs) return error_set(err, KQ_NO_MEMORY, "out of memory for an engine");
    e->threads = threads_open(p->threads, err);
    if (!e->threads) return -1;
    struct transformer_params params = {.isa = isa,
                                        .threads = e->threads,
                                        .reference = p->reference != 0,
                                        .act = p->act,
                                        .kv_f32 = e->kv_f32,
                                        .n_batch = p->batch,
                                        .stop = &e->stop};
    e->transformer = transformer_open(&e->model->model, &params, err);
    return e->transformer ? 0 : -1;
}

static int open_engine(kq_engine **engine, const kq_model *model, const kq_engine_params *params,
                       struct error *err) {
    kq_engine_params p;
    if (!engine) return NULL_ARGUMENT(err, "engine");
    *engine = NULL;
    if (!model) return NULL_ARGUMENT(err, "model");
    if (read_engine_params(&p, params, err) < 0) return -1;
    const struct isa *isa = find_isa(p.isa, err);
    if (!isa) return -1;
    kq_engine *e = calloc(1, sizeof *e);
    if (!e) return error_set(err, KQ_NO_MEMORY, "out of memory for an engine");
    e->model = model;
    if (fill_engine(e, &p, isa, err) < 0) {
        kq_engine_close(e);
        return -1;
    }
    *engine = e;
    return 0;
}

kq_status kq_engine_open(kq_engine **engine, const kq_model *model, const kq_engine_params *params,
                         kq_error *err) {
    struct error e;
    struct fp_state callers = fp_enter();
    int failed = open_engine(engine, model, params, &e);
    fp_leave(callers);
    return finish(failed, &e, err);
}

void kq_engine_close(kq_engine *engine) {
    if (!engine) return;
    transformer_close(engine->transformer);
    threads_close(engine->threads);
    free(engine->runs);
    free(engine->rows.first);
    free(engine->rows.logits);
    free(engine->rows.unusable);
    free(engine);
}

void kq_engine_stop(kq_engine *engine) {
    if (engine) atomic_store(&engine->stop, 1);
}

/* ---- sequences ------------------------------------------------------------------------------- */

static int open_seq(kq_seq **seq, kq_engine *engine, int n_ctx, struct error *err) {
    if (!seq) return NULL_ARGUMENT(err, "seq");
    *seq = NULL;
    if (!engine) return NULL_ARGUMENT(err, "engine");
    if (n_ctx < 0 || n_ctx > MAX_CONTEXT) {
        return error_set(err, KQ_BAD_ARGUMENT, "n_ctx: expected 1 to %d, or 0, found %d",
                         MAX_CONTEXT, n_ctx);
    }
    kq_seq *s = calloc(1, sizeof *s);
    if (!s) return error_set(err, KQ_NO_MEMORY, "out of memory for a sequence");
    const struct model *m = &engine->model->model;
    int asked = n_ctx ? n_ctx : m->n_ctx_train;
    if (asked > MAX_CONTEXT) asked = MAX_CONTEXT;
    if (n_ctx == 0) {
        n_ctx = model_context(m, asked, engine->n_batch, engine->kv_f32, free_memory() / 4);
    }
    s->engine = engine;
    s->seq = transformer_seq(engine->transformer, n_ctx, err);
    if (!s->seq) {
        free(s);
        return -1;
    }
    s->seq->n_ctx_asked = asked;
    *seq = s;
    return 0;
}

kq_status kq_seq_open(kq_seq **seq, kq_engine *engine, int n_ctx, kq_error *err) {
    struct error e;
    struct fp_state callers = fp_enter();
    int failed = open_seq(seq, engine, n_ctx, &e);
    fp_leave(callers);
    return finish(failed, &e, err);
}

void kq_seq_close(kq_seq *seq) {
    if (!seq) return;
    seq_close(seq->seq);
    free(seq);
}

int kq_seq_context(const kq_seq *seq) {
    return seq ? seq->seq->n_ctx : 0;
}

int kq_seq_length(const kq_seq *seq) {
    return seq ? seq->seq->length : 0;
}

int kq_seq_rewind(kq_seq *seq, int length) {
    return seq ? seq_rewind(seq->seq, length > 0 ? length : 0) : 0;
}

/* ---- evaluation ------------------------------------------------------------------------------ */

static int check_run(const kq_engine *e, const kq_run *run, size_t r, struct error *err) {
    if (!run->seq) return error_set(err, KQ_BAD_ARGUMENT, "run %zu: seq is NULL", r);
    if (run->seq->engine != e) {
        return error_set(err, KQ_BAD_ARGUMENT, "run %zu: the sequence is another engine's", r);
    }
    if (run->seq->eval == e->n_evals) {
        return error_set(err, KQ_BAD_ARGUMENT, "run %zu: the sequence is in an earlier run, too",
                         r);
    }
    run->seq->eval = e->n_evals;
    run->seq->start = run->seq->seq->length;
    if (!run->ids && run->n > 0) {
        return error_set(err, KQ_BAD_ARGUMENT, "run %zu: ids is NULL", r);
    }
    if (run->n_logits > run->n) {
        return error_set(err, KQ_BAD_ARGUMENT,
                         "run %zu: the logits of %zu ids are asked for, of %zu", r, run->n_logits,
                         run->n);
    }
    int n_ctx = run->seq->seq->n_ctx, length = run->seq->seq->length;
    if (run->n > (size_t)(n_ctx - length)) {
        return error_set(err, KQ_FULL, "run %zu: %zu ids do not fit behind %d in a context of %d",
                         r, run->n, length, n_ctx);
    }
    int n_vocab = e->model->model.n_vocab;
    for (size_t i = 0; i < run->n; i++) {
        if (run->ids[i] < 0 || run->ids[i] >= n_vocab) {
            return error_set(err, KQ_BAD_ARGUMENT, "run %zu: id %zu is %d, expected 0 to %d", r, i,
                             (int)run->ids[i], n_vocab - 1);
        }
    }
    return 0;
}

static int check_runs(kq_engine *e, const kq_run *runs, size_t n_runs, struct error *err) {
    if (!e) return NULL_ARGUMENT(err, "engine");
    if (!runs && n_runs > 0) return NULL_ARGUMENT(err, "runs");
    e->n_evals++;
    for (size_t r = 0; r < n_runs; r++) {
        if (check_run(e, &runs[r], r, err) < 0) return -1;
    }
    return 0;
}

/* Makes room for so many runs and rows; what there was is lost. */
static int reserve_rows(struct rows *rows, size_t n_runs, size_t n, size_t n_vocab) {
    if (n_runs >= rows->first_room) { // of different sequences: far from overflowing
        free(rows->first);
        rows->first = malloc((n_runs + 1) * sizeof *rows->first);
        rows->first_room = rows->first ? n_runs + 1 : 0;
        if (!rows->first) return -1;
    }
    if (n <= rows->room) return 0;
    free(rows->logits);
    free(rows->unusable);
    rows->logits = NULL;
    rows->unusable = NULL;
    rows->room = 0;
    if (n > SIZE_MAX / sizeof(float) / n_vocab) return -1;
    rows->logits = malloc(n * n_vocab * sizeof *rows->logits);
    rows->unusable = malloc(n * sizeof *rows->unusable);
    if (!rows->logits || !rows->unusable) return -1;
    rows->room = n;
    return 0;
}

static int lay_out_rows(kq_engine *e, const kq_run *runs, size_t n_runs, struct error *err) {
    size_t n = 0, n_vocab = (size_t)e->model->model.n_vocab;
    for (size_t r = 0; r < n_runs; r++) n += runs[r].n_logits; // each below 2^30
    if (reserve_rows(&e->rows, n_runs, n, n_vocab) < 0) {
        return error_set(err, KQ_NO_MEMORY, "out of memory for %zu rows of %zu logits", n, n_vocab);
    }
    size_t *first = e->rows.first;
    first[0] = 0;
    for (size_t r = 0; r < n_runs; r++) first[r + 1] = first[r] + runs[r].n_logits;
    return 0;
}

/* Where the passes of an eval have got to: `done` ids of run r, whose rows are the first `row`. */
struct place {
    size_t r, done, row;
};

/* Fills e->runs with the ids from p on, as many as a batch holds, and gives the number of runs. */
static int cut_pass(kq_engine *e, const kq_run *runs, size_t n_runs, struct place *p) {
    int n = 0;
    size_t room = (size_t)e->n_batch;
    while (p->r < n_runs && room > 0) {
        const kq_run *run = &runs[p->r];
        size_t left = run->n - p->done, take = left < room ? left : room;
        size_t rest = left - take, wanted = run->n_logits > rest ? run->n_logits - rest : 0;
        if (wanted > take) wanted = take;
        if (take > 0) {
            e->runs[n++] = (struct run){run->seq->seq, run->ids + p->done, (int)take, (int)wanted};
        }
        room -= take;
        p->done += take;
        if (rest == 0) {
            p->r++;
            p->done = 0;
        }
    }
    return n;
}

/* The rows of the pass that was just run. A row that cannot be used is no failure of the eval:
 * kq_logits tells. */
static int keep_rows(kq_engine *e, int n_runs, size_t *row, struct error *err) {
    size_t n_vocab = (size_t)e->model->model.n_vocab;
    for (int r = 0; r < n_runs; r++) {
        const struct run *run = &e->runs[r];
        for (int i = 0; i < run->n_logits; i++, ++*row) {
            const float *logits = transformer_logits(e->transformer, r, i, err);
            if (!logits && err->status != KQ_NOT_FINITE) return -1;
            int after = run->n_logits - 1 - i; // ids behind this one
            e->rows.unusable[*row] = (struct unusable){logits ? 0 : run->seq->length - after,
                                                       run->ids[run->n - 1 - after]};
            if (logits) {
                memcpy(e->rows.logits + *row * n_vocab, logits, n_vocab * sizeof *logits);
            }
        }
    }
    return 0;
}

static int run_passes(kq_engine *e, const kq_run *runs, size_t n_runs, struct error *err) {
    struct place p = {0};
    for (int n; (n = cut_pass(e, runs, n_runs, &p)) > 0;) {
        if (transformer_eval(e->transformer, e->runs, n, err) < 0) return -1;
        if (keep_rows(e, n, &p.row, err) < 0) return -1;
    }
    return 0;
}

/* After a failure: there are no logits, so the ids whose logits were wanted are taken back. */
static void take_back(const kq_run *runs, size_t n_runs) {
    for (size_t r = 0; r < n_runs; r++) {
        size_t unwanted = runs[r].n - runs[r].n_logits;
        seq_rewind(runs[r].seq->seq, runs[r].seq->start + (int)unwanted);
    }
}

static int eval(kq_engine *e, const kq_run *runs, size_t n_runs, struct error *err) {
    if (check_runs(e, runs, n_runs, err) < 0) return -1;
    e->rows.n_runs = 0;
    if (lay_out_rows(e, runs, n_runs, err) < 0) return -1;
    if (run_passes(e, runs, n_runs, err) < 0) {
        if (err->status == KQ_INTERRUPTED) atomic_store(&e->stop, 0);
        take_back(runs, n_runs);
        return -1;
    }
    for (size_t r = 0; r < n_runs; r++) {
        if (runs[r].n > 1) seq_checkpoint(runs[r].seq->seq, 1); // the next text may part from here
    }
    e->rows.n_runs = n_runs;
    return 0;
}

kq_status kq_eval(kq_engine *engine, const kq_run *runs, size_t n_runs, kq_error *err) {
    struct error e;
    struct fp_state callers = fp_enter();
    int failed = eval(engine, runs, n_runs, &e);
    fp_leave(callers);
    return finish(failed, &e, err);
}

static const float *logits_of(const kq_engine *e, size_t run, size_t i, struct error *err) {
    if (!e) return NULL_ARGUMENT(err, "engine"), NULL;
    const struct rows *rows = &e->rows;
    if (run >= rows->n_runs || i >= rows->first[run + 1] - rows->first[run]) {
        error_set(err, KQ_BAD_ARGUMENT, "there are no logits %zu of run %zu: %s", i, run,
                  rows->n_runs == 0 ? "no eval came to its end"
                                    : "the last eval did not ask for them");
        return NULL;
    }
    size_t row = rows->first[run] + i;
    const struct unusable *u = &rows->unusable[row];
    if (u->length == 0) return rows->logits + row * (size_t)e->model->model.n_vocab;
    error_set(err, KQ_NOT_FINITE,
              "the logits after token %d (id %d) are no finite numbers (NaN or infinite)",
              u->length, (int)u->id);
    return NULL;
}

const float *kq_logits(kq_engine *engine, size_t run, size_t i, kq_error *err) {
    struct error e = {KQ_OK, ""};
    const float *logits = logits_of(engine, run, i, &e);
    finish(logits ? 0 : -1, &e, err);
    return logits;
}

/* ---- sampling -------------------------------------------------------------------------------- */

static int open_sampler(kq_sampler **sampler, const kq_model *model,
                        const kq_sampler_params *params, struct error *err) {
    kq_sampler_params p = {0};
    if (!sampler) return NULL_ARGUMENT(err, "sampler");
    *sampler = NULL;
    if (!model) return NULL_ARGUMENT(err, "model");
    if (params && read_params(&p, sizeof p, params, err) < 0) return -1;
    struct sampler_params q = {.repeat_penalty = p.repeat_penalty == 0 ? 1 : p.repeat_penalty,
                               .repeat_last_n = p.repeat_last_n ? p.repeat_last_n : DEFAULT_LAST_N,
                               .presence_penalty = p.presence_penalty,
                               .frequency_penalty = p.frequency_penalty,
                               .top_k = p.top_k,
                               .top_p = p.top_p == 0 ? 1 : p.top_p,
                               .min_p = p.min_p,
                               .temp = p.temp,
                               .seed = p.seed};
    kq_sampler *s = malloc(sizeof *s);
    if (!s) return error_set(err, KQ_NO_MEMORY, "out of memory for a sampler");
    s->n_vocab = model->model.n_vocab;
    s->sampler = sampler_open(&q, s->n_vocab, err);
    if (!s->sampler) {
        free(s);
        return -1;
    }
    size_t n = 0;
    const int32_t *ids = model->tokenizer ? tokenizer_suppressed(model->tokenizer, &n) : NULL;
    sampler_forbid(s->sampler, ids, n);
    *sampler = s;
    return 0;
}

kq_status kq_sampler_open(kq_sampler **sampler, const kq_model *model,
                          const kq_sampler_params *params, kq_error *err) {
    struct error e;
    struct fp_state callers = fp_enter();
    int failed = open_sampler(sampler, model, params, &e);
    fp_leave(callers);
    return finish(failed, &e, err);
}

void kq_sampler_close(kq_sampler *sampler) {
    if (!sampler) return;
    sampler_close(sampler->sampler);
    free(sampler);
}

static int32_t pick(kq_sampler *s, const float *logits, const int32_t *history, size_t n_history,
                    struct error *err) {
    if (!s) return NULL_ARGUMENT(err, "sampler");
    if (!logits) return NULL_ARGUMENT(err, "logits");
    if (!history && n_history > 0) return NULL_ARGUMENT(err, "history");
    int32_t id = sampler_pick(s->sampler, logits, history, n_history);
    if (id >= 0) return id;
    int n = unusable_logits(logits, s->n_vocab);
    if (n > 0) {
        return error_set(err, KQ_NOT_FINITE,
                         "the logits are no finite numbers (NaN or infinite: %d of %d)", n,
                         s->n_vocab);
    }
    return error_set(err, KQ_BAD_FILE,
                     "no token may follow: tokenizer.ggml.suppress_tokens forbids them all");
}

int32_t kq_sampler_pick(kq_sampler *sampler, const float *logits, const int32_t *history,
                        size_t n_history, kq_error *err) {
    struct error e;
    int32_t id = pick(sampler, logits, history, n_history, &e);
    finish(id < 0, &e, err);
    return id;
}
