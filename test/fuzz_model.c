/* Any bytes as a model: a message, or three tokens computed without a crash, a hang or memory that
 * the file does not justify, and with the same bits in two ways. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sampler.h"
#include "engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { N_CTX = 16, N_TOKENS = 2 };

/* Like assert, but NDEBUG does not turn it off. */
static void require(bool condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "fuzz_model: violated: %s\n", what);
    abort();
}

/* Every width of the model is that of a tensor in the file, so buffers for some tokens take no more
 * than so many floats for each byte of it; the rest is work space for one thread. */
static size_t justified(size_t file_bytes) {
    return ((size_t)1 << 20) + 64 * N_CTX * sizeof(float) * file_bytes;
}

/* Equal bits, or both NaN. */
static bool same(const float *a, const float *b, int n) {
    for (int i = 0; i < n; i++) {
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 && (a[i] == a[i] || b[i] == b[i])) return false;
    }
    return true;
}

/* The logits after the last of the tokens, all fed at once from position `from` on; NULL if
 * something is not finite. */
static const float *feed(struct engine *e, const int32_t *ids, int n, int from) {
    struct error err = {KQ_OK, ""};
    bool ran = engine_feed(e, ids + from, n - from, from, &err) == 0;
    const float *logits = ran ? engine_logits(e, n - from - 1, &err) : NULL;
    require(logits || err.status == KQ_NOT_FINITE, "tokens run, or meet what is not finite");
    return logits;
}

/* The token after the first ones; false if there is none. */
static bool pick_next(struct engine *e, int32_t *ids, int n_vocab) {
    struct error err = {KQ_OK, ""};
    struct sampler_params greedy = {.repeat_penalty = 1, .top_p = 1};
    const float *logits = feed(e, ids, N_TOKENS, 0);
    struct sampler *s = sampler_open(&greedy, n_vocab, &err);
    bool picked = s && logits;
    if (picked) ids[N_TOKENS] = sampler_pick(s, logits, ids, N_TOKENS);
    require(!picked || (ids[N_TOKENS] >= 0 && ids[N_TOKENS] < n_vocab), "the next token is one");
    sampler_close(s);
    return picked;
}

/* All tokens at once give the same logits, or none: this processor's best kernels are compared with
 * a reference that dequantizes first, its own or the portable one. */
static void compare(const struct model *m, const struct transformer_params *p, const int32_t *ids,
                    const float *want) {
    struct error err = {KQ_OK, ""};
    struct transformer_params plain = *p;
    plain.reference = !p->reference;
    if (plain.reference) plain.isa = &isa_portable;
    struct engine e = engine_open(m, &plain, N_CTX, &err);
    const float *got = e.t ? feed(&e, ids, N_TOKENS + 1, 0) : want;
    require(!got == !want, "all tokens at once run as one by one");
    require(!got || same(got, want, m->n_vocab), "all tokens at once give the same logits");
    engine_close(&e);
}

static void run(const struct model *m, size_t size, struct threads *threads) {
    struct error err = {KQ_OK, ""};
    struct transformer_params p = {.isa = isa_best(), .threads = threads, .n_batch = N_TOKENS + 1};
    p.kv_f32 = size % 2;
    p.reference = size % 3 == 0;
    size_t cache = model_memory(m, N_CTX, N_TOKENS + 1, p.kv_f32);
    require(cache <= justified(size), "the file justifies the cache");
    struct engine e = engine_open(m, &p, N_CTX, &err);
    require(e.t || err.text[0], "a refusal has a message");
    if (!e.t) return;
    require(transformer_scratch_bytes(e.t) <= justified(size), "the file justifies the buffers");
    int32_t ids[N_TOKENS + 1] = {0, m->n_vocab - 1};
    float *first = malloc((size_t)m->n_vocab * sizeof *first);
    if (first && pick_next(&e, ids, m->n_vocab)) {
        seq_checkpoint(e.seq, 1);
        const float *logits = feed(&e, ids, N_TOKENS + 1, N_TOKENS);
        if (logits) memcpy(first, logits, (size_t)m->n_vocab * sizeof *first);
        compare(m, &p, ids, logits ? first : NULL);
        for (int to = N_TOKENS; to > 0; to--) {
            const float *again = feed(&e, ids, N_TOKENS + 1, seq_rewind(e.seq, to));
            require(!again == !logits, "it runs as often as one likes");
            require(!again || same(again, first, m->n_vocab), "going back changes nothing");
        }
    }
    free(first);
    engine_close(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct threads *threads; // one for all inputs
    struct gguf g;
    struct model m;
    struct error err = {KQ_OK, ""};
    if (!threads) threads = threads_open(1, &err);
    require(threads != NULL, "one thread is there");
    if (gguf_parse(&g, data, size, &err) != 0) return 0;
    if (model_open(&m, &g, NULL, &err) == 0) {
        run(&m, size, threads);
        model_close(&m);
    } else {
        require(err.text[0] != '\0', "a refusal has a message");
        require(!m.plan, "a refusal frees all");
    }
    gguf_close(&g);
    return 0;
}
