/* The forward pass: token ids in, logits out, with the keys and values of earlier positions kept in
 * between. One graph serves prompts and single tokens, every family, and the reference path. */
#ifndef TRANSFORMER_H
#define TRANSFORMER_H

#include "matmul_q.h"
#include "model.h"

struct transformer_params {
    const struct isa *isa;
    struct threads *threads;
    bool reference;   // dequantize each whole tensor, then multiply
    bool kv_f32;      // cache float32 keys and values, otherwise f16
    int n_ctx;        // positions, at least 1
    int n_batch;      // most tokens of one forward call
    atomic_int *stop; // NULL, or forward fails with "interrupted" once it is set
};

struct transformer;

/* m must outlive it. NULL and err if memory is short. */
struct transformer *transformer_open(const struct model *m, const struct transformer_params *params,
                                     struct error *err);
void transformer_close(struct transformer *t); // NULL is fine

/* Runs n tokens (1 .. n_batch, ids below n_vocab) at positions pos .. pos + n - 1 (below n_ctx),
 * all of 0 .. pos - 1 having been run before. Going back to a smaller pos is allowed, what follows
 * is written anew: to any if no layer has a sliding window below n_ctx, otherwise to 0 or as far as
 * n_batch below the last position written since 0 (a call that failed has written all of its own).
 * proof: test_modes.sh, going back */
int transformer_forward(struct transformer *t, const int32_t *ids, int n, int pos,
                        struct error *err);

/* The logits after token i of the last forward call: n_vocab floats, valid until the next call.
 * NULL and err if the reference path ran out of memory. */
const float *transformer_logits(struct transformer *t, int i, struct error *err);

/* Memory: what was allocated besides the cache; the cache's bytes for n positions; and the largest
 * float32 copy of a tensor that the reference path has made. */
size_t transformer_scratch_bytes(const struct transformer *t);
size_t transformer_kv_bytes(const struct transformer *t, int n_positions);
size_t transformer_reference_bytes(const struct transformer *t);

/* What transformer_open would need for such a cache, without allocating anything. */
size_t transformer_kv_estimate(const struct model *m, int n_ctx, int n_batch, bool kv_f32);

#endif
