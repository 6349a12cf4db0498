#include "session.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../file_memory.h"
#include "../hash.h"

/* ---- failures and interruptions -------------------------------------------------------------- */

int failed(const struct session *s, const char *name) {
    if (was_interrupted(s)) return EXIT_FAILED;
    return name && *name ? FAIL("%s: %s", name, s->err.text) : FAIL("%s", s->err.text);
}

bool stop_asked(const struct session *s) {
    return *s->stop != 0;
}

bool was_interrupted(const struct session *s) {
    return s->err.status == KQ_INTERRUPTED;
}

int interrupted(struct session *s) {
    error_set(&s->err, KQ_INTERRUPTED, "interrupted");
    return EXIT_FAILED;
}

/* ---- open and close -------------------------------------------------------------------------- */

/* Threads take the processors from each other if there are more of them. */
static void say_threads(const struct options *o) {
    int usable = o->n_threads && !o->quiet && !o->info ? threads_default_count() : INT_MAX;
    if (o->n_threads <= usable) return;
    say("-t %d: more than the %d physical core%s that this process may use; slow", o->n_threads,
        usable, usable > 1 ? "s" : "");
}

static int open_threads(struct session *s) {
    if (s->threads) return 0;
    say_threads(s->o);
    s->threads = threads_open(s->o->n_threads ? s->o->n_threads : threads_default_count(), &s->err);
    return s->threads ? 0 : failed(s, NULL);
}

static void show_reading(void *to, size_t done, size_t all) {
    const struct session *s = to;
    show_progress(s->start, "reading the file, MB", done / 1000000, all / 1000000);
}

bool count_file_pages(const struct session *s, struct page_count *count) {
    const void *addr;
    size_t len;
    *count = (struct page_count){0};
    for (size_t i = 0; (addr = gguf_memory(&s->gguf, i, &len)) != NULL; i++) {
        if (!count_pages(addr, len, count)) return false;
    }
    return true;
}

/* --no-mmap; says what it costs. */
static int read_whole_file(struct session *s) {
    if (open_threads(s) != 0) return EXIT_FAILED;
    struct file_reading how = {free_memory(), s->threads, s->stop, show_reading, s};
    double start = now();
    if (gguf_read(&s->gguf, s->o->model, &how, &s->err) < 0) {
        return s->err.status == KQ_NO_MEMORY
                   ? FAIL("%s; without --no-mmap it is mapped and needs none", s->err.text)
                   : failed(s, NULL);
    }
    if (s->o->quiet || s->o->json) return 0;
    double took = now() - start, bytes = (double)s->gguf.mapped_bytes;
    struct page_count pages;
    char huge[48] = "";
    if (count_file_pages(s, &pages)) {
        snprintf(huge, sizeof huge, ", %.1f in huge pages", (double)pages.huge * 1e-6);
    }
    say("--no-mmap: %.1f MB of memory%s, read in %.2f s", bytes * 1e-6, huge, took);
    return 0;
}

int open_file(struct session *s) {
    if (s->o->no_mmap) return read_whole_file(s);
    return gguf_open(&s->gguf, s->o->model, &s->err) < 0 ? failed(s, NULL) : 0;
}

int try_model(struct session *s, struct error *err) {
    const struct option_texts *ignored = &s->o->ignored_keys;
    struct model_params params = {ignored->text, ignored->n};
    return model_open(&s->model, &s->gguf, &params, err);
}

int open_model(struct session *s) {
    int status = open_file(s);
    if (status) return status;
    if (try_model(s, &s->err) < 0) return failed(s, s->o->model);
    for (size_t i = 0; i < s->o->ignored_keys.n; i++) {
        const char *key = s->o->ignored_keys.text[i];
        if (!gguf_find(&s->gguf, key)) say("--ignore-key %s: the file has no such key", key);
    }
    lap(s, "opening the model");
    return 0;
}

int try_tokenizer(struct session *s, struct error *err) {
    s->tokenizer = tokenizer_open(&s->gguf, err);
    if (!s->tokenizer) return -1;
    s->piece = malloc(tokenizer_piece_max(s->tokenizer) + 1);
    if (s->piece) return 0;
    tokenizer_close(s->tokenizer);
    s->tokenizer = NULL;
    return error_set(err, KQ_NO_MEMORY, "out of memory for a token");
}

/* What is to be said of the vocabulary, but not of keys that the user knows about. */
static void say_notes(const struct session *s) {
    const struct option_texts *ignored = &s->o->ignored_keys;
    const char *note;
    for (size_t i = 0; (note = tokenizer_note(s->tokenizer, i)) != NULL; i++) {
        size_t k = 0, n = strcspn(note, " "); // a note begins with the key
        while (k < ignored->n &&
               (strlen(ignored->text[k]) != n || memcmp(ignored->text[k], note, n) != 0)) {
            k++;
        }
        if (k == ignored->n) say("%s", note);
    }
}

int open_tokenizer(struct session *s) {
    if (try_tokenizer(s, &s->err) < 0) {
        if (!prompt_is_ids(s->o) || s->err.status != KQ_UNSUPPORTED) return failed(s, s->o->model);
        say("%s: no text is printed", s->err.text);
        s->err.status = KQ_OK;
        return 0;
    }
    say_notes(s);
    tokenizer_stop_on(s->tokenizer, s->stop);
    lap(s, "opening the vocabulary");
    return 0;
}

int default_context(struct session *s) {
    s->n_ctx_asked = s->model.n_ctx_train;
    int n_train = s->n_ctx_asked < OPTIONS_MOST ? s->n_ctx_asked : OPTIONS_MOST;
    if (options_given(s->o, "-c")) return n_train;
    int n_ctx = model_context(&s->model, n_train, s->o->n_batch, s->o->kv_f32, free_memory() / 4);
    if (n_ctx < n_train && !s->o->quiet && !s->o->info) {
        say("the context is %d tokens, what a quarter of the free memory holds, and not the "
            "model's "
            "%d: -c N asks for more",
            n_ctx, n_train);
    }
    return n_ctx;
}

static int open_engine(struct session *s, const struct transformer_params *p, struct engine *e) {
    e->transformer = transformer_open(&s->model, p, &s->err);
    if (e->transformer) e->seq = transformer_seq(e->transformer, s->n_ctx, &s->err);
    if (!e->seq) return -1;
    if (!s->o->n_ctx && s->n_ctx_asked) e->seq->n_ctx_asked = s->n_ctx_asked;
    return 0;
}

static void close_engine(struct engine *e) {
    seq_close(e->seq);
    transformer_close(e->transformer);
}

int open_transformer(struct session *s, int n_ctx) {
    const struct options *o = s->o;
    s->n_ctx = o->n_ctx ? o->n_ctx : n_ctx;
    s->n_batch = o->n_batch < s->n_ctx ? o->n_batch : s->n_ctx;
    if (open_threads(s) != 0) return EXIT_FAILED;
    if (s->profile && profile_threads(s->profile, threads_count(s->threads), &s->err) < 0) {
        return failed(s, NULL);
    }
    struct transformer_params p = {.isa = o->isa,
                                   .threads = s->threads,
                                   .reference = o->reference,
                                   .act = o->act,
                                   .check = o->verify ? &s->verdict.products : NULL,
                                   .kv_f32 = o->kv_f32,
                                   .n_batch = s->n_batch,
                                   .stop = s->stop,
                                   .profile = s->profile};
    if (open_engine(s, &p, &s->main) < 0) return failed(s, NULL);
    s->n_ctx = s->main.seq->n_ctx; // a model that has learned its positions has no others
    p.reference = o->act == ACT_FLOAT;
    p.act = ACT_FLOAT;
    p.profile = NULL; // its time is one line
    if (o->verify && open_engine(s, &p, &s->reference) < 0) return failed(s, NULL);
    lap(s, "opening the engine");
    return 0;
}

void say_context(const struct session *s) {
    int asked = s->o->n_ctx, trained = s->model.n_ctx_train;
    if (asked > s->n_ctx) {
        say("-c %d: the model has learned %d positions, and that is the context", asked, s->n_ctx);
    } else if (trained > 0 && asked > trained) {
        say("-c %d: the model was trained on %d positions; what it says beyond them is likely to "
            "be garbage",
            asked, trained);
    }
}

const char *more_context(const struct session *s) {
    int n = s->model.plan->n_positions;
    return n > 0 && s->n_ctx >= n ? "the model has learned no more positions"
                                  : "-c N makes room for more";
}

/* The file's suppressed tokens, and with --ignore-eos those that end a text. */
static int forbid_tokens(struct session *s) {
    size_t n = 0;
    const struct tokenizer *t = s->tokenizer;
    if (!t) return 0;
    const int32_t *suppressed = tokenizer_suppressed(t, &n);
    size_t room = n + (s->o->ignore_eos ? (size_t)tokenizer_n_vocab(t) + 1 : 0);
    s->forbidden = malloc((room + 1) * sizeof *s->forbidden);
    if (!s->forbidden) return FAIL("out of memory for %zu tokens", room);
    if (n > 0) memcpy(s->forbidden, suppressed, n * sizeof *s->forbidden);
    for (int32_t id = 0; s->o->ignore_eos && id < tokenizer_n_vocab(t); id++) {
        if (tokenizer_is_eog(t, id)) s->forbidden[n++] = id;
    }
    if (s->o->ignore_eos && s->ends_turn) s->forbidden[n++] = s->end_of_turn;
    sampler_forbid(s->sampler, s->forbidden, n);
    return 0;
}

int open_sampler(struct session *s, const struct sampler_params *params) {
    struct sampler_params p = *params;
    if (!s->o->seeded && p.temp > 0) { // random; the statistics repeat it
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        p.seed = (fnv1a(FNV_START, &t, sizeof t) ^ (uint64_t)getpid()) % 4294967296u;
    }
    s->seed = p.seed;
    s->sampling = p;
    s->sampler = sampler_open(&p, s->model.n_vocab, &s->err);
    if (!s->sampler) return failed(s, NULL);
    return forbid_tokens(s);
}

void close_session(struct session *s) {
    if (s->logits_file) fclose(s->logits_file);
    token_list_free(&s->tokens);
    sampler_close(s->sampler);
    free(s->forbidden);
    stops_free(&s->stops);
    close_engine(&s->main);
    close_engine(&s->reference);
    threads_close(s->threads);
    if (s->profile) profile_free(s->profile);
    free(s->piece);
    free(s->said);
    tokenizer_close(s->tokenizer);
    model_close(&s->model);
    gguf_close(&s->gguf);
}

struct gguf_str piece_of(struct session *s, int32_t id, bool show_special) {
    size_t room = tokenizer_piece_max(s->tokenizer);
    return (struct gguf_str){s->piece,
                             tokenizer_piece(s->tokenizer, id, show_special, s->piece, room)};
}

/* ---- the forward pass ------------------------------------------------------------------------ */

int n_past(const struct session *s) {
    return s->main.seq->length;
}

static const char reference_line[] = "the reference (--verify)";

int forward(struct session *s, const int32_t *ids, int n) {
    struct run run = {s->main.seq, ids, n, n}, again = {s->reference.seq, ids, n, n};
    if (transformer_eval(s->main.transformer, &run, 1, &s->err) < 0) return failed(s, s->where);
    if (!s->reference.seq) return 0;
    int again_failed = transformer_eval(s->reference.transformer, &again, 1, &s->err);
    lap(s, reference_line);
    if (!again_failed) return 0;
    seq_rewind(s->main.seq, s->reference.seq->length);
    return failed(s, s->where);
}

/* --verify: the reference's logits for the same token must be the same bits, or may differ as much
 * as --act makes them. */
static int compare(struct session *s, int i, const float *logits) {
    const float *expected = transformer_logits(s->reference.transformer, 0, i, &s->err);
    if (!expected) return failed(s, "--verify, the reference");
    if (s->o->act) {
        note_logits(&s->verdict, logits, expected, s->model.n_vocab);
        return 0;
    }
    for (int k = 0; k < s->model.n_vocab; k++) {
        if (memcmp(&logits[k], &expected[k], sizeof *logits) != 0) {
            return FAIL("--verify: position %d, logit %d is %.9g, the reference gives %.9g",
                        n_past(s) - 1, k, (double)logits[k], (double)expected[k]);
        }
    }
    return 0;
}

int verify_products(struct session *s) {
    const char *name = wrong_tensor(&s->verdict, &s->gguf);
    return name ? FAIL("--verify: %s: a product with --act %d is %.3g times its bound from the "
                       "exact one",
                       name, s->o->act, worst_product(&s->verdict))
                : 0;
}

int logits_of(struct session *s, int i, const float **logits) {
    *logits = transformer_logits(s->main.transformer, 0, i, &s->err);
    if (!*logits) return failed(s, s->where);
    if (s->reference.transformer) {
        int status = compare(s, i, *logits);
        lap(s, reference_line);
        if (status) return status;
    }
    size_t n = (size_t)s->model.n_vocab;
    if (s->logits_file && fwrite(*logits, sizeof **logits, n, s->logits_file) != n) {
        return write_failed(s->o->logits);
    }
    if (s->logits_file) lap(s, "writing logits");
    return 0;
}

void remember_place(struct session *s) {
    seq_checkpoint(s->main.seq, 1);
    if (s->reference.seq) seq_checkpoint(s->reference.seq, 1);
}

int rewind_to(struct session *s, int length) {
    int reached = seq_rewind(s->main.seq, length);
    return s->reference.seq ? seq_rewind(s->reference.seq, reached) : reached;
}
