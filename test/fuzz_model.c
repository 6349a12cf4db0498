/* Any bytes as a model: a message, or two tokens computed without a crash, a hang or memory that
 * the file does not justify. */
#include <stdio.h>
#include <stdlib.h>

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

static void run(const struct model *m, size_t size, struct threads *threads) {
    struct error err = {KQ_OK, ""};
    struct transformer_params p = {.isa = isa_best(), .threads = threads, .n_batch = N_TOKENS};
    p.kv_f32 = size % 2;
    p.reference = size % 3 == 0;
    size_t cache = model_memory(m, N_CTX, N_TOKENS, p.kv_f32);
    require(cache <= justified(size), "the file justifies the cache");
    struct engine e = engine_open(m, &p, N_CTX, &err);
    require(e.t || err.text[0], "a refusal has a message");
    if (!e.t) return;
    require(transformer_scratch_bytes(e.t) <= justified(size), "the file justifies the buffers");
    int32_t ids[N_TOKENS] = {0, m->n_vocab - 1};
    bool ran = engine_feed(&e, ids, N_TOKENS, 0, &err) == 0;
    const float *logits = ran ? engine_logits(&e, N_TOKENS - 1, &err) : NULL;
    require(logits || err.status == KQ_NOT_FINITE, "two tokens run, or meet what is not finite");
    struct sampler_params greedy = {.repeat_penalty = 1, .top_p = 1};
    struct sampler *s = sampler_open(&greedy, m->n_vocab, &err);
    if (s && logits) {
        ids[0] = sampler_pick(s, logits, ids, N_TOKENS);
        require(ids[0] >= 0 && ids[0] < m->n_vocab, "the next token is one");
        ran = engine_feed(&e, ids, 1, N_TOKENS, &err) == 0;
        require(ran || err.status == KQ_NOT_FINITE, "it runs too");
    }
    sampler_close(s);
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
