/* The pass: token ids in, logits out. Runs the line of steps that a model's family wrote down, for
 * n tokens of one or several sequences. Prompts and single tokens, all families and the reference
 * path go through it. It knows steps, and no family. */
#ifndef TRANSFORMER_H
#define TRANSFORMER_H

#include "matmul_q.h"
#include "model.h"
#include "seq.h"

struct transformer_params {
    const struct isa *isa;
    struct threads *threads;
    bool reference;          // dequantize each whole tensor, then multiply
    int act;                 // ACT_FLOAT, 16 or 8, and
    struct act_check *check; // NULL or a check of it: see matmul_open
    bool kv_f32;             // sequences remember float32 keys and values, otherwise halves
    int n_batch;             // most tokens of one pass
    atomic_int *stop;        // NULL, or a pass fails with KQ_INTERRUPTED once it is set
    struct profile *profile; // NULL, or where passes tell their time, with room for the threads
    /* Checks of the plan, for tests: the same bits must come out. */
    bool fill_dead;     // what no step reads any more becomes NaN
    bool share_nothing; // no two values lie in one buffer
};

struct transformer;

/* m must outlive it. NULL and err if memory is short. One pass at a time; by a thread with whatever
 * floating-point state, which finds it as it was. */
struct transformer *transformer_open(const struct model *m, const struct transformer_params *params,
                                     struct error *err);
void transformer_close(struct transformer *t); // NULL is fine

/* An empty sequence for passes of t, with room for n_ctx positions; see seq.h. Not while a pass
 * runs: scratch memory may grow. */
struct seq *transformer_seq(struct transformer *t, int n_ctx, struct error *err);

/* What a pass does to one sequence: n ids (below n_vocab) are appended to it, and the logits after
 * the last n_logits of them may be asked for. */
struct run {
    struct seq *seq;
    const int32_t *ids;
    int n, n_logits;
};

/* Runs at most n_batch tokens of sequences that differ and have room for them. After a failure
 * every sequence is as long as it was, or shorter where it cannot go back so little (seq_rewind).
 * KQ_INTERRUPTED; KQ_NO_MEMORY (the reference path); KQ_NOT_FINITE if a layer computed an infinity
 * or a NaN that would not show in logits, or a key or value that its cache cannot hold: the message
 * says which layer, and counts tokens from 1. */
int transformer_eval(struct transformer *t, const struct run *runs, int n_runs, struct error *err);

/* The logits after token n - n_logits + i of that run of the last pass: n_vocab floats, valid until
 * the next call. NULL and err if that was interrupted, the reference path ran out of memory, or no
 * token may be chosen by them: KQ_NOT_FINITE if one is NaN or +infinity, or none is finite. */
const float *transformer_logits(struct transformer *t, int run, int i, struct error *err);

/* Memory: what was allocated besides sequences; and the largest float32 copy of a tensor that the
 * reference path has made. */
size_t transformer_scratch_bytes(const struct transformer *t);
size_t transformer_reference_bytes(const struct transformer *t);

#endif
