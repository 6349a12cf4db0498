/* One pass, as its steps see it: n tokens of one or several sequences. All that a step needs is
 * here. */
#ifndef PASS_H
#define PASS_H

#include <stdatomic.h>

#include "matmul_q.h"
#include "plan.h"
#include "seq.h"

/* Tokens of one sequence that follow each other. */
struct pass_run {
    struct seq *seq;
    const int32_t *ids;
    int first, n, pos; // rows first .. first + n - 1 of the pass, positions from pos on
};

struct pass {
    const struct plan *plan;
    const struct ops *ops;
    struct threads *threads;
    atomic_int *stop; // ends the pass once it is set; may be NULL
    struct matmul *mm;
    bool kv_f32;
    float *const *at;   // of each value: a row for each token
    float *work;        // scratch of each thread
    size_t work_floats; // of one
    int n;              // rows at hand: tokens of the pass, of a round, or those wanted
    int n_runs;
    const struct pass_run *runs, **run_of; // run_of: of each token
    const int *wanted;                     // (n) rows whose logits are being made
    int round;                             // the expert at work, 0 outside of rounds
    /* A key or value that cannot be stored: its layer + 1, 0 if there is none; and why. */
    atomic_int bad_layer;
    enum { NOT_FINITE, TOO_LARGE } bad_because;
};

/* Row i of value v. */
static inline float *row(const struct pass *p, struct ref v, int i) {
    return p->at[v.id] + (size_t)i * (size_t)v.n;
}

static inline int position(const struct pass *p, int i) {
    return p->run_of[i]->pos + i - p->run_of[i]->first;
}

/* Row i of the step's output, holding its first input: for steps that change what they read. */
static inline float *row_copied(const struct pass *p, const struct step *s, int i) {
    const float *x = row(p, s->in[0], i);
    float *y = row(p, s->out[0], i);
    if (y != x) memcpy(y, x, (size_t)s->in[0].n * sizeof *y);
    return y;
}

#endif
