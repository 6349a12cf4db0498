/* A transformer with one sequence, for tests that feed tokens at positions of their choice. */
#ifndef TEST_ENGINE_H
#define TEST_ENGINE_H

#include "transformer.h"

struct engine {
    struct transformer *t;
    struct seq *seq;
};

static inline void engine_close(struct engine *e) {
    seq_close(e->seq);
    transformer_close(e->t);
    *e = (struct engine){0};
}

/* e->t is NULL if it did not work. */
static inline struct engine engine_open(const struct model *m, const struct transformer_params *p,
                                        int n_ctx, struct error *err) {
    struct engine e = {.t = transformer_open(m, p, err)};
    if (e.t) e.seq = transformer_seq(e.t, n_ctx, err);
    if (!e.seq) engine_close(&e);
    return e;
}

/* n tokens at positions from pos on, which must be reachable: all before were fed. */
static inline int engine_feed(struct engine *e, const int32_t *ids, int n, int pos,
                              struct error *err) {
    struct run run = {e->seq, ids, n, n};
    if (seq_rewind(e->seq, pos) != pos) {
        return error_set(err, KQ_BAD_ARGUMENT, "cannot go back to position %d", pos);
    }
    return transformer_eval(e->t, &run, 1, err);
}

/* After token i of those. */
static inline const float *engine_logits(struct engine *e, int i, struct error *err) {
    return transformer_logits(e->t, 0, i, err);
}

#endif
