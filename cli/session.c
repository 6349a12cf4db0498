#include "session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../hash.h"

/* ---- failures and interruptions -------------------------------------------------------------- */

int failed(const struct session *s, const char *name) {
    if (was_interrupted(s)) return EXIT_FAILED;
    return name ? FAIL("%s: %s", name, s->err.text) : FAIL("%s", s->err.text);
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

int open_file(struct session *s) {
    return gguf_open(&s->gguf, s->o->model, &s->err) < 0 ? failed(s, NULL) : 0;
}

int open_model(struct session *s) {
    int status = open_file(s);
    if (status) return status;
    return model_open(&s->model, &s->gguf, &s->err) < 0 ? failed(s, s->o->model) : 0;
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

int open_tokenizer(struct session *s, bool stops) {
    if (try_tokenizer(s, &s->err) < 0) return failed(s, s->o->model);
    if (stops) tokenizer_stop_on(s->tokenizer, s->stop);
    return 0;
}

int default_context(const struct session *s) {
    int n_train = s->model.hp.n_ctx_train;
    return n_train < 4096 ? n_train : 4096;
}

int open_transformer(struct session *s, int n_ctx) {
    const struct options *o = s->o;
    s->n_ctx = o->n_ctx ? o->n_ctx : n_ctx;
    s->n_batch = o->n_batch < s->n_ctx ? o->n_batch : s->n_ctx;
    s->threads = threads_open(o->n_threads ? o->n_threads : threads_default_count(), &s->err);
    if (!s->threads) return failed(s, NULL);
    struct transformer_params p = {.isa = o->isa,
                                   .threads = s->threads,
                                   .reference = o->reference,
                                   .kv_f32 = o->kv_f32,
                                   .n_ctx = s->n_ctx,
                                   .n_batch = s->n_batch,
                                   .stop = s->stop};
    s->transformer = transformer_open(&s->model, &p, &s->err);
    if (s->transformer && o->verify) {
        p.reference = true;
        s->reference = transformer_open(&s->model, &p, &s->err);
    }
    return !s->transformer || (o->verify && !s->reference) ? failed(s, NULL) : 0;
}

int open_sampler(struct session *s) {
    struct sampler_params p = s->o->sampling;
    if (!options_given(s->o, "-s") && p.temp > 0) { // random; the statistics repeat it
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        p.seed = (fnv1a(FNV_START, &t, sizeof t) ^ (uint64_t)getpid()) % 4294967296u;
    }
    s->seed = p.seed;
    s->sampler = sampler_open(&p, s->model.hp.n_vocab, &s->err);
    return s->sampler ? 0 : failed(s, NULL);
}

void close_session(struct session *s) {
    if (s->logits_file) fclose(s->logits_file);
    token_list_free(&s->tokens);
    sampler_close(s->sampler);
    transformer_close(s->transformer);
    transformer_close(s->reference);
    threads_close(s->threads);
    free(s->piece);
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

int forward(struct session *s, const int32_t *ids, int n) {
    if (s->n_past + n > s->n_written) s->n_written = s->n_past + n; // even by a call that fails
    if (transformer_forward(s->transformer, ids, n, s->n_past, &s->err) < 0 ||
        (s->reference && transformer_forward(s->reference, ids, n, s->n_past, &s->err) < 0)) {
        return failed(s, NULL);
    }
    s->n_past += n;
    return 0;
}

/* --verify: the reference's logits for the same token must be the same bits. */
static int compare(struct session *s, int i, const float *logits) {
    const float *expected = transformer_logits(s->reference, i, &s->err);
    if (!expected) return failed(s, NULL);
    for (int k = 0; k < s->model.hp.n_vocab; k++) {
        if (memcmp(&logits[k], &expected[k], sizeof *logits) != 0) {
            return FAIL("--verify: position %d, logit %d is %.9g, the reference gives %.9g",
                        s->n_past - 1, k, (double)logits[k], (double)expected[k]);
        }
    }
    return 0;
}

int logits_of(struct session *s, int i, const float **logits) {
    *logits = transformer_logits(s->transformer, i, &s->err);
    if (!*logits) return failed(s, NULL);
    if (s->reference) {
        int status = compare(s, i, *logits);
        if (status) return status;
    }
    size_t n = (size_t)s->model.hp.n_vocab;
    if (s->logits_file && fwrite(*logits, sizeof **logits, n, s->logits_file) != n) {
        return FAIL("%s: %s", s->o->logits, strerror(errno));
    }
    return 0;
}

/* The transformer's own rule (transformer.h): layers with a window below the context keep it and
 * n_batch positions more. */
int rewind_to(struct session *s, int length) {
    bool windows = false;
    for (int il = 0; il < s->model.hp.n_layer; il++) {
        int window = s->model.layers[il].window;
        windows = windows || (window > 0 && window < s->n_ctx);
    }
    if (windows && s->n_written - length > s->n_batch) length = 0;
    if (length == 0) s->n_written = 0;
    return s->n_past = length;
}
