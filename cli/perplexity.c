/* --perplexity: how well a model predicts a text, measured as llama.cpp's perplexity tool does. */
#include <math.h>
#include <stdlib.h>

#include "modes.h"
#include "prompt.h"
#include "stats.h"

/* The text is cut into chunks of the whole context, each read from an empty cache; what has at
 * least half a context before it is scored. */
struct score {
    double sum, sum_of_squares; // of -log p
    size_t n_tokens, n_chunks;
    double start; // when the first chunk was begun
};

static double perplexity_of(const struct score *sc) {
    return exp(sc->sum / (double)sc->n_tokens);
}

/* The standard error of the mean of -log p, carried through exp. */
static double error_of(const struct score *sc) {
    double n = (double)sc->n_tokens, mean = sc->sum / n;
    double variance = sc->sum_of_squares / n - mean * mean;
    return n > 1 && variance > 0 ? sqrt(variance / (n - 1)) * exp(mean) : 0;
}

/* -log p of a token: log-sum-exp in double. */
static double surprise(const float *logits, int n, int32_t id) {
    float max = logits[0]; // as a double it makes gcc 12 for aarch64 fail
    double sum = 0;
    for (int i = 1; i < n; i++) max = fmaxf(max, logits[i]);
    for (int i = 0; i < n; i++) sum += exp((double)logits[i] - (double)max);
    return log(sum) + (double)max - (double)logits[id];
}

/* The tokens that follow begin .. begin + n - 1, which the last forward call has read. */
static int score_batch(struct session *s, const int32_t *ids, int begin, int n, struct score *sc) {
    int first = s->n_ctx / 2 - begin;
    for (int i = first > 0 ? first : 0; i < n && begin + i + 1 < s->n_ctx; i++) {
        const float *logits;
        int status = logits_of(s, i, &logits);
        if (status) return status;
        double nll = surprise(logits, s->model.n_vocab, ids[begin + i + 1]);
        if (!isfinite(nll)) { // the logit of this token is -infinity, which the others may have
            return FAIL("%s: token %d (id %d) is impossible after those before it", s->where,
                        begin + i + 2, (int)ids[begin + i + 1]);
        }
        sc->sum += nll;
        sc->sum_of_squares += nll * nll;
        sc->n_tokens++;
        lap(s, "scoring");
    }
    return 0;
}

static int score_chunk(struct session *s, const int32_t *ids, struct score *sc) {
    snprintf(s->where, sizeof s->where, "chunk %zu", sc->n_chunks + 1);
    rewind_to(s, 0);
    while (n_past(s) < s->n_ctx) {
        int begin = n_past(s), n = s->n_ctx - begin;
        if (n > s->n_batch) n = s->n_batch;
        int status = forward(s, ids + begin, n);
        if (status == 0) status = score_batch(s, ids, begin, n, sc);
        if (status) return status;
    }
    sc->n_chunks++;
    return 0;
}

static int score_text(struct session *s, struct score *sc) {
    size_t n_ctx = (size_t)s->n_ctx, n_chunks = s->tokens.n / n_ctx;
    int32_t *ids = s->tokens.ids, bos = ids[0];
    bool adds_bos = bos == tokenizer_bos(s->tokenizer);
    for (; sc->n_chunks < n_chunks; ids += n_ctx) {
        if (adds_bos) ids[0] = bos; // in place of the token there, which no chunk scores
        int status = score_chunk(s, ids, sc);
        if (status) return status;
        char what[64];
        snprintf(what, sizeof what, "perplexity so far %.4f, chunk", perplexity_of(sc));
        show_progress(sc->start, what, sc->n_chunks, n_chunks);
    }
    return 0;
}

static int report(const struct session *s, const struct score *sc) {
    double seconds = now() - sc->start, n_read = (double)sc->n_chunks * (double)s->n_ctx;
    begin_message();
    printf("perplexity %.4f +/- %.4f over %zu tokens in %zu chunks\n", perplexity_of(sc),
           error_of(sc), sc->n_tokens, sc->n_chunks);
    if (flush() != 0) return EXIT_FAILED;
    if (!s->o->quiet && !s->o->json) {
        fprintf(stderr, "read       %6.0f tokens %9.2f tok/s; context %d, %s, %d threads%s\n",
                n_read, n_read / seconds, s->n_ctx, s->o->isa->name, threads_count(s->threads),
                how_computed(s->o));
        print_disk(0, s->disk_bytes);
        print_verified(s);
    }
    if (s->o->json) {
        begin_message();
        fprintf(stderr,
                "{\"perplexity\": %.6f, \"error\": %.6f, \"tokens\": %zu, \"chunks\": %zu, "
                "\"n_ctx\": %d, \"tok_s\": %.2f",
                perplexity_of(sc), error_of(sc), sc->n_tokens, sc->n_chunks, s->n_ctx,
                n_read / seconds);
        end_json(s);
    }
    return 0;
}

static int read_text(struct session *s, int n_ctx) {
    const char *path = s->o->perplexity;
    char *text = NULL;
    size_t len;
    int status = read_file(s, path, &text, &len);
    lap(s, "waiting for input");
    if (status == 0 &&
        tokenizer_encode(s->tokenizer, text, len, true, false, &s->tokens, &s->err) < 0) {
        status = failed(s, path);
    }
    lap(s, "tokenizing");
    say_lost(&s->tokens);
    free(text);
    if (status == 0 && s->tokens.n < (size_t)n_ctx) {
        status = FAIL("%s: expected at least one chunk of %d tokens, found %zu: give a smaller -c",
                      path, n_ctx, s->tokens.n);
    }
    return status == 0 ? check_ids(s) : status;
}

int run_perplexity(struct session *s) {
    int status = open_model(s);
    if (status == 0) status = open_tokenizer(s);
    if (status) return status;
    int n_train = s->model.n_ctx_train;
    bool own = options_given(s->o, "-c") || n_train < 512; // -c 0: the model's
    int n_ctx = s->o->n_ctx ? s->o->n_ctx : own ? n_train : 512;
    status = open_transformer(s, n_ctx);
    if (status) return status;
    if (s->n_ctx < 3) return USAGE("-c: half of %d tokens leaves none to score", s->n_ctx);
    status = read_text(s, s->n_ctx);
    if (status == 0) say_context(s);
    struct score sc = {.start = now()};
    if (status == 0) status = score_text(s, &sc);
    note_disk(s, &s->disk_bytes);
    if (status && !(was_interrupted(s) && sc.n_chunks > 0)) return status;
    int reported = report(s, &sc); // of the chunks so far, if it was interrupted
    if (status == 0) status = reported;
    return status == 0 ? verify_products(s) : status;
}
