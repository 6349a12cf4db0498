#include "transformer.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "arithmetic.h"
#include "fpstate.h"
#include "pass.h"
#include "round.h"

/* Rows of logits made at once, if as many are wanted. */
#define LOGITS_ROWS 16
/* Tokens that one thread takes at a time in steps for each token. */
#define TOKEN_GRAIN 4

struct transformer {
    const struct plan *plan;
    struct transformer_params p;
    struct matmul mm;
    struct pass pass;
    struct pass_run *runs;          // (n_batch)
    const struct pass_run **run_of; // (n_batch)
    float **at;                     // of each value
    float *block;                   // all buffers
    size_t block_floats;
    float *work; // scratch of all threads
    size_t work_floats;
    int *wanted, n_wanted;      // (n_batch) rows whose logits may be asked for
    int *first_of_run;          // (n_batch) index of each run's first in wanted
    int32_t *ids;               // (n_batch)
    int logits_first, n_logits; // those made: of wanted[logits_first] and those behind it; 0: none
    int unusable[LOGITS_ROWS];  // unusable_logits() of each of them
    int *lines;                 // (n_steps) of the profile, if there is one
};

/* ---- running stages -------------------------------------------------------------------------- */

struct token_job {
    struct pass *pass;
    const struct step *steps;
    int n;
    const struct profile *profile; // NULL: none
    const int *lines;              // (n) of it
};

static bool reads_finite(const struct pass *p, const struct step *s, int i) {
    for (int k = 0; k < STEP_INS && s->in[k].id; k++) {
        if (!all_finite(row(p, s->in[k], i), s->in[k].n)) return false;
    }
    return true;
}

static void run_tokens(void *arg, long begin, long end, int thread) {
    const struct token_job *job = arg;
    int64_t since = job->profile ? profile_clock() : 0;
    for (long i = begin; i < end; i++) {
        for (int k = 0; k < job->n; k++) {
            const struct step *s = &job->steps[k];
            if (s->kind->not_finite && !reads_finite(job->pass, s, (int)i)) {
                pass_fail(job->pass, s, (int)i, s->kind->not_finite);
            }
            s->kind->token(job->pass, s, (int)i);
            if (job->profile) since = profile_note(job->profile, thread, job->lines[k], since);
        }
    }
}

static bool is_stopped(const struct transformer *t) {
    return t->p.stop && atomic_load_explicit(t->p.stop, memory_order_relaxed);
}

/* What is computed from now on would be in vain. */
static bool must_end(const struct transformer *t) {
    return is_stopped(t) || t->mm.failed || atomic_load(&t->pass.failed);
}

/* A check: what nobody reads any more becomes NaN. */
static void fill_dead(struct transformer *t, int stage) {
    const struct plan *p = t->plan;
    for (int i = 1; i < p->n_values; i++) {
        const struct buffer *b = &p->buffers[p->values[i].buffer];
        if (b->last != stage) continue;
        size_t rows = b->wanted && t->p.n_batch > LOGITS_ROWS ? LOGITS_ROWS : (size_t)t->p.n_batch;
        memset(t->at[i], 0xff, rows * (size_t)b->n * sizeof(float));
    }
}

static void lap(const struct transformer *t, const char *what) {
    if (t->p.profile) profile_lap(t->p.profile, profile_named(t->p.profile, what));
}

static void run_stages(struct transformer *t, int begin, int end);

/* The stages up to the end of the rounds, for each round that has tokens. */
static void run_rounds(struct transformer *t, const struct step *s) {
    struct pass *p = &t->pass;
    const struct step *last = &t->plan->steps[t->plan->stages[s->rounds_end].first];
    int n = p->n;
    for (int round = 0; round < s->n_rounds && !must_end(t); round++) {
        int mine = s->kind->begin_round(p, s, round);
        lap(t, s->kind->name);
        if (mine == 0) continue;
        p->round = round;
        p->n = mine;
        p->gathered = true;
        run_stages(t, s->stage + 1, s->rounds_end);
        p->gathered = false;
        p->n = n;
        if (!must_end(t)) last->kind->group(p, last, 1);
        lap(t, last->kind->name);
    }
    p->round = 0;
}

static void run_stage(struct transformer *t, const struct stage *stage) {
    struct pass *p = &t->pass;
    struct profile *profile = t->p.profile;
    const struct step *s = &t->plan->steps[stage->first];
    const int *lines = profile ? t->lines + stage->first : NULL;
    if (stage->does == EACH_TOKEN) {
        struct token_job job = {p, s, stage->n, profile, lines};
        parallel_for(t->p.threads, t->p.stop, p->n, TOKEN_GRAIN, run_tokens, &job);
        if (profile) profile_lap_of_threads(profile, lines[0]);
    } else {
        s->kind->group(p, s, stage->n);
        if (profile) profile_lap(profile, lines[0]);
    }
}

static void run_stages(struct transformer *t, int begin, int end) {
    for (int i = begin; i < end && !must_end(t); i++) {
        const struct stage *stage = &t->plan->stages[i];
        const struct step *s = &t->plan->steps[stage->first];
        run_stage(t, stage);
        if (s->kind->role == ROUNDS) {
            run_rounds(t, s);
            i = s->rounds_end;
        }
        if (t->p.fill_dead) fill_dead(t, i);
    }
}

/* Why the stages that ran do not count, if they do not. */
static int result(const struct transformer *t, struct error *err) {
    if (is_stopped(t)) return error_set(err, KQ_INTERRUPTED, "interrupted");
    if (t->mm.failed) {
        return error_set(err, KQ_NO_MEMORY,
                         "out of memory for a tensor's float32 copy (--reference)");
    }
    return atomic_load(&t->pass.failed) ? pass_error(&t->pass, err) : 0;
}

/* ---- a pass ---------------------------------------------------------------------------------- */

static void list_tokens(struct transformer *t, const struct run *runs, int n_runs) {
    struct pass *p = &t->pass;
    p->n = t->n_wanted = 0;
    p->n_runs = n_runs;
    for (int r = 0; r < n_runs; r++) {
        const struct run *run = &runs[r];
        t->runs[r] = (struct pass_run){run->seq, p->n, run->n, run->seq->length};
        t->first_of_run[r] = t->n_wanted;
        for (int i = 0; i < run->n; i++) {
            if (i >= run->n - run->n_logits) t->wanted[t->n_wanted++] = p->n;
            t->ids[p->n] = run->ids[i];
            t->run_of[p->n++] = &t->runs[r];
        }
    }
}

static int eval(struct transformer *t, const struct run *runs, int n_runs, struct error *err) {
    t->n_logits = 0;
    list_tokens(t, runs, n_runs);
    t->mm.failed = false; // of an earlier pass
    t->pass.fault.what = NULL;
    atomic_store(&t->pass.failed, 0);
    if (t->p.profile) profile_lap(t->p.profile, PROFILE_OTHER);
    run_stages(t, 0, t->plan->first_wanted);
    int failed = result(t, err);
    for (int r = 0; r < n_runs; r++) {
        int before = runs[r].seq->length;
        seq_advance(runs[r].seq, runs[r].n); // of a failed pass, too: it may have written all
        if (failed) {
            seq_rewind(runs[r].seq, before);
        } else {
            seq_checkpoint(runs[r].seq, CHECKPOINT_EVERY);
        }
    }
    if (failed) t->n_wanted = 0;
    lap(t, "states kept");
    return failed;
}

int transformer_eval(struct transformer *t, const struct run *runs, int n_runs, struct error *err) {
    struct fp_state callers = fp_enter();
    int failed = eval(t, runs, n_runs, err);
    fp_leave(callers);
    return failed;
}

/* Who wants the logits of many tokens asks for one after the other: they are made in batches, but
 * only those that are asked for have to be usable. */
static int make_logits(struct transformer *t, int first, struct error *err) {
    struct pass *p = &t->pass;
    int n = p->n, left = t->n_wanted - first;
    p->wanted = t->wanted + first;
    p->n = left < LOGITS_ROWS ? left : LOGITS_ROWS;
    t->n_logits = 0;
    if (t->p.profile) profile_lap(t->p.profile, PROFILE_OTHER);
    run_stages(t, t->plan->first_wanted, t->plan->n_stages);
    int failed = result(t, err), n_made = p->n;
    p->n = n;
    if (failed) return -1;
    for (int j = 0; j < n_made; j++) {
        struct ref v = ref_of(t->plan->logits);
        t->unusable[j] = unusable_logits(row(p, v, j), v.n);
    }
    t->logits_first = first;
    t->n_logits = n_made;
    lap(t, "checking logits");
    return 0;
}

static const float *logits_at(struct transformer *t, int at, struct error *err) {
    struct ref v = ref_of(t->plan->logits);
    bool made = at >= t->logits_first && at < t->logits_first + t->n_logits;
    if (!made && make_logits(t, at, err) < 0) return NULL;
    int j = at - t->logits_first, i = t->wanted[at];
    if (t->unusable[j] == 0) return row(&t->pass, v, j);
    error_set(err, KQ_NOT_FINITE,
              "the logits after token %d (id %d) are no finite numbers (NaN or infinite: %d of %d)",
              position(&t->pass, i) + 1, (int)t->ids[i], t->unusable[j], v.n);
    return NULL;
}

const float *transformer_logits(struct transformer *t, int run, int i, struct error *err) {
    struct fp_state callers = fp_enter();
    const float *logits = logits_at(t, t->first_of_run[run] + i, err);
    fp_leave(callers);
    return logits;
}

/* ---- open, close ----------------------------------------------------------------------------- */

struct placed {
    size_t begin, end;
    int last;
};

/* Buffers in the order in which they come into being, each in the first gap among those alive.
 * begin[i]: where buffer i lies. Returns the floats of all. */
static size_t place_buffers(const struct transformer *t, struct placed *alive, size_t *begin) {
    const struct plan *p = t->plan;
    size_t n_batch = (size_t)t->p.n_batch, all = 0;
    size_t n_wanted = n_batch < LOGITS_ROWS ? n_batch : LOGITS_ROWS;
    int n = 0; // alive, by place
    for (int i = 0; i < p->n_buffers; i++) {
        const struct buffer *b = &p->buffers[i];
        size_t size = (size_t)b->n * (b->wanted ? n_wanted : n_batch), at = 0;
        size = (size + 15) / 16 * 16; // cache lines
        int kept = 0, k = 0;
        for (int j = 0; j < n; j++) {
            if (alive[j].last >= b->born || t->p.share_nothing) alive[kept++] = alive[j];
        }
        n = kept;
        for (; k < n && alive[k].begin < at + size; k++) at = alive[k].end;
        memmove(alive + k + 1, alive + k, (size_t)(n - k) * sizeof *alive);
        alive[k] = (struct placed){at, at + size, b->last};
        n++;
        begin[i] = at;
        if (at + size > all) all = at + size;
    }
    return all;
}

static bool allocate_lists(struct transformer *t) {
    size_t n = (size_t)t->p.n_batch;
    t->at = calloc((size_t)t->plan->n_values, sizeof *t->at);
    t->runs = calloc(n, sizeof *t->runs);
    t->run_of = calloc(n, sizeof *t->run_of);
    t->wanted = calloc(n, sizeof *t->wanted);
    t->first_of_run = calloc(n, sizeof *t->first_of_run);
    t->ids = calloc(n, sizeof *t->ids);
    return t->at && t->runs && t->run_of && t->wanted && t->first_of_run && t->ids;
}

/* Of each step its kind's line of the profile. Products time themselves, but for what is done
 * before them. */
static int find_lines(struct transformer *t, struct error *err) {
    const struct plan *plan = t->plan;
    if (!t->p.profile) return 0;
    t->lines = calloc((size_t)plan->n_steps + 1, sizeof *t->lines);
    if (!t->lines) return error_set(err, KQ_NO_MEMORY, "out of memory for a profile");
    for (int i = 0; i < plan->n_steps; i++) {
        const struct step *s = &plan->steps[i];
        const char *what = s->work.macs > 0 ? PRODUCT_INPUTS : s->kind->name;
        t->lines[i] = profile_named(t->p.profile, what);
    }
    return 0;
}

static int allocate(struct transformer *t, struct error *err) {
    const struct plan *plan = t->plan;
    size_t n_buffers = (size_t)plan->n_buffers;
    struct placed *alive = calloc(n_buffers + 1, sizeof *alive);
    size_t *begin = calloc(n_buffers + 1, sizeof *begin);
    if (allocate_lists(t) && alive && begin) {
        t->block_floats = place_buffers(t, alive, begin);
        t->block = malloc((t->block_floats + 1) * sizeof(float));
    }
    for (int i = 1; t->block && i < plan->n_values; i++) {
        t->at[i] = t->block + begin[plan->values[i].buffer];
    }
    free(alive);
    free(begin);
    if (t->block) return 0;
    return error_set(err, KQ_NO_MEMORY, "out of memory: a batch of %d tokens needs %zu bytes",
                     t->p.n_batch, t->block_floats * sizeof(float));
}

struct transformer *transformer_open(const struct model *m, const struct transformer_params *params,
                                     struct error *err) {
    struct fp_state callers = fp_enter();
    int failed = arithmetic_check(err);
    fp_leave(callers);
    if (failed) return NULL;
    struct transformer *t = calloc(1, sizeof *t);
    if (!t) {
        error_set(err, KQ_NO_MEMORY, "out of memory");
        return NULL;
    }
    t->plan = m->plan;
    t->p = *params;
    int64_t widest = t->plan->most_rows;
    if (params->n_batch > INT_MAX / widest) { // so that the numbers of a batch fit an int
        error_set(err, KQ_NO_MEMORY, "a batch of %d tokens is too large for rows of %lld",
                  params->n_batch, (long long)widest);
        transformer_close(t);
        return NULL;
    }
    if (allocate(t, err) < 0 || find_lines(t, err) < 0 ||
        matmul_open(&t->mm, t->p.isa, t->p.threads, t->p.reference, t->p.act, t->p.check,
                    t->plan->widest, t->p.n_batch, err) < 0) {
        transformer_close(t);
        return NULL;
    }
    t->mm.stop = t->p.stop;
    t->mm.profile = t->p.profile;
    t->pass = (struct pass){.plan = t->plan,
                            .ops = t->p.isa->ops,
                            .threads = t->p.threads,
                            .stop = t->p.stop,
                            .mm = &t->mm,
                            .kv_f32 = t->p.kv_f32,
                            .at = t->at,
                            .runs = t->runs,
                            .run_of = t->run_of,
                            .ids = t->ids,
                            .fault_lock = PTHREAD_MUTEX_INITIALIZER};
    return t;
}

void transformer_close(struct transformer *t) {
    if (!t) return;
    matmul_close(&t->mm);
    free(t->at);
    free(t->runs);
    free(t->run_of);
    free(t->wanted);
    free(t->first_of_run);
    free(t->ids);
    free(t->lines);
    free(t->block);
    free(t->work);
    free(t);
}

/* ---- sequences ------------------------------------------------------------------------------- */

/* Scratch of each thread depends on the longest context among the sequences. */
static int reserve_work(struct transformer *t, int n_ctx, struct error *err) {
    size_t floats = 0, n_threads = (size_t)threads_count(t->p.threads);
    for (int i = 0; i < t->plan->n_steps; i++) {
        const struct step *s = &t->plan->steps[i];
        size_t needed = s->kind->scratch ? s->kind->scratch(s, n_ctx) : 0;
        if (needed > floats) floats = needed;
    }
    floats = (floats + 15) / 16 * 16; // threads do not share cache lines
    if (floats <= t->work_floats) return 0;
    float *work = malloc(floats * n_threads * sizeof *work);
    if (!work) {
        return error_set(err, KQ_NO_MEMORY, "out of memory: a context of %d needs %zu bytes", n_ctx,
                         floats * n_threads * sizeof *work);
    }
    free(t->work);
    t->pass.work = t->work = work;
    t->pass.work_floats = t->work_floats = floats;
    return 0;
}

struct seq *transformer_seq(struct transformer *t, int n_ctx, struct error *err) {
    if (reserve_work(t, n_ctx, err) < 0) return NULL;
    return seq_open(t->plan, n_ctx, t->p.n_batch, t->p.kv_f32, err);
}

size_t transformer_scratch_bytes(const struct transformer *t) {
    size_t work = t->work_floats * (size_t)threads_count(t->p.threads);
    return (t->block_floats + work) * sizeof(float) + t->mm.scratch_bytes;
}

size_t transformer_reference_bytes(const struct transformer *t) {
    return t->mm.reference_peak_bytes;
}
