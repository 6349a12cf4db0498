/* One pass, as its steps see it: n tokens of one or several sequences. All that a step needs is
 * here. */
#ifndef PASS_H
#define PASS_H

#include <pthread.h>
#include <stdatomic.h>

#include "floats.h"
#include "matmul_q.h"
#include "plan.h"
#include "seq.h"

/* Tokens of one sequence that follow each other. */
struct pass_run {
    struct seq *seq;
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
    const int32_t *ids;                    // of each token
    const int *wanted;                     // (n) rows whose logits are being made
    int round;                             // the expert at work, 0 outside of rounds
    bool gathered;                         // rows are those of a round
    atomic_int failed;                     // pass_fail was called
    pthread_mutex_t fault_lock;
    struct pass_fault {
        const char *what;
        const struct step *step;
        int row;
    } fault;
};

/* Nothing may come of row i, of which `what` tells, a text that stays: "a key is not finite". The
 * pass ends after the stage at work. For steps that would hide an infinity or a NaN (see not_finite
 * in plan.h, too) or remember it; the others keep it, and then logits show it. */
void pass_fail(struct pass *p, const struct step *s, int i, const char *what);

/* Sets err to what the first of the tokens failed by, whichever thread met it first. -1 */
int pass_error(const struct pass *p, struct error *err);

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
