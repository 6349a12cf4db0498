/* Steps whose memory is a state: heads or channels are shared out to the threads, the tokens of a
 * sequence follow each other (simd/recurrent.h). */
#include <math.h>

#include "../build.h"
#include "../pass.h"
#include "../round.h"

/* Rows of a state: it is larger than the tensors of the file by that factor at most. */
#define MAX_ROWS 1024

/* Channels that one thread takes at a time. */
#define CHANNELS 64

/* A part of a step that threads share out: one head or some channels of one run. */
typedef void part_fn(struct pass *p, const struct step *s, const struct pass_run *r, int part);

struct parts_job {
    struct pass *p;
    const struct step *s;
    part_fn *fn;
    int n; // parts of a run
};

static void run_parts(void *arg, long begin, long end, int thread) {
    (void)thread;
    const struct parts_job *job = arg;
    for (long i = begin; i < end; i++) {
        job->fn(job->p, job->s, &job->p->runs[i / job->n], (int)(i % job->n));
    }
}

static void share_out(struct pass *p, const struct step *s, int n, part_fn *fn) {
    struct parts_job job = {p, s, fn, n};
    parallel_for(p->threads, p->stop, (long)p->n_runs * n, 1, run_parts, &job);
}

/* A state of rows x cols floats for each of n heads. */
static int new_state(struct plan *p, int64_t n, int64_t rows, int64_t cols) {
    if (rows > MAX_ROWS) {
        PLAN_FAIL(p, KQ_UNSUPPORTED, "a state of %lld rows in layer %d, at most %d are supported",
                  (long long)rows, p->il, MAX_ROWS);
    }
    return plan_remember(p, (struct memory){.state = n * rows * cols});
}

static float *state_of(const struct step *s, const struct pass_run *r) {
    return r->seq->memory[s->memory].state;
}

/* ---- delta rule ------------------------------------------------------------------------------ */

struct delta_args {
    int n_heads, n_heads_k, rows, cols;
    enum sharing sharing;
};

static void delta_head(struct pass *p, const struct step *s, const struct pass_run *r, int head) {
    const struct delta_args *a = s->args;
    int each = a->n_heads / a->n_heads_k;
    int head_k = a->sharing == TILED ? head % a->n_heads_k : head / each;
    bool by_row = s->in[4].n > a->n_heads;
    struct delta d = {.m = state_of(s, r) + (size_t)head * (size_t)a->rows * (size_t)a->cols,
                      .rows = a->rows,
                      .cols = a->cols,
                      .n = r->n,
                      .q = row(p, s->in[0], r->first) + head_k * a->rows,
                      .k = row(p, s->in[1], r->first) + head_k * a->rows,
                      .qk_stride = (size_t)s->in[0].n,
                      .v = row(p, s->in[2], r->first) + head * a->cols,
                      .y = row(p, s->out[0], r->first) + head * a->cols,
                      .v_stride = (size_t)s->in[2].n,
                      .beta = row(p, s->in[3], r->first) + head,
                      .beta_stride = (size_t)s->in[3].n,
                      .decay = row(p, s->in[4], r->first) + head * (by_row ? a->rows : 1),
                      .decay_stride = (size_t)s->in[4].n,
                      .decay_by_row = by_row,
                      .scale = 1 / sqrtf((float)a->rows)};
    p->ops->delta_rule(&d);
}

static void delta_all(struct pass *p, const struct step *s, int n) {
    (void)n;
    share_out(p, s, ((const struct delta_args *)s->args)->n_heads, delta_head);
}

static const struct step_kind delta_kind = {
    .name = "delta rule", .does = ALL_TOKENS, .group = delta_all};

value delta_rule(value q, value k, value v, value beta, value decay, enum sharing sharing) {
    struct plan *p = q.p;
    int n = n_heads(v), n_k = n_heads(q);
    if (k.n != q.n || k.dim != q.dim || n % n_k != 0 || beta.n != n ||
        (decay.n != n && decay.n != (int64_t)n * q.dim)) {
        PLAN_FAIL(p, KQ_BAD_FILE, "a delta rule of %d heads for %d keys of %d in layer %d", n, n_k,
                  q.dim, p->il);
    }
    struct delta_args *a = plan_keep(p, 1, sizeof *a);
    *a = (struct delta_args){n, n_k, q.dim, v.dim, sharing};
    struct step *s = plan_step(p, &delta_kind, q, a);
    step_reads(s, k);
    step_reads(s, v);
    step_reads(s, beta);
    step_reads(s, decay);
    s->memory = new_state(p, n, q.dim, v.dim);
    return step_makes_like(s, v);
}

/* ---- Mamba-2 --------------------------------------------------------------------------------- */

struct scan_args {
    int n_heads, n_groups, rows, cols;
    const float *d; // (n_heads)
};

static void scan_head(struct pass *p, const struct step *s, const struct pass_run *r, int head) {
    const struct scan_args *a = s->args;
    int group = head / (a->n_heads / a->n_groups);
    struct scan k = {.m = state_of(s, r) + (size_t)head * (size_t)a->rows * (size_t)a->cols,
                     .rows = a->rows,
                     .cols = a->cols,
                     .n = r->n,
                     .b = row(p, s->in[1], r->first) + group * a->rows,
                     .c = row(p, s->in[2], r->first) + group * a->rows,
                     .bc_stride = (size_t)s->in[1].n,
                     .x = row(p, s->in[0], r->first) + head * a->cols,
                     .y = row(p, s->out[0], r->first) + head * a->cols,
                     .x_stride = (size_t)s->in[0].n,
                     .dt = row(p, s->in[3], r->first) + head,
                     .decay = row(p, s->in[4], r->first) + head,
                     .dt_stride = (size_t)s->in[3].n,
                     .d = a->d[head]};
    p->ops->scan(&k);
}

static void scan_all(struct pass *p, const struct step *s, int n) {
    (void)n;
    share_out(p, s, ((const struct scan_args *)s->args)->n_heads, scan_head);
}

static const struct step_kind scan_kind = {.name = "scan", .does = ALL_TOKENS, .group = scan_all};

value scan(value x, value b, value c, value dt, value decay, const float *d) {
    struct plan *p = x.p;
    int n = n_heads(x), n_groups = n_heads(b);
    if (b.n != c.n || b.dim != c.dim || dt.n != n || decay.n != n || n % n_groups != 0) {
        PLAN_FAIL(p, KQ_BAD_FILE, "a scan of %d heads with %d groups in layer %d", n, n_groups,
                  p->il);
    }
    struct scan_args *a = plan_keep(p, 1, sizeof *a);
    *a = (struct scan_args){n, n_groups, b.dim, x.dim, d};
    struct step *s = plan_step(p, &scan_kind, x, a);
    step_reads(s, b);
    step_reads(s, c);
    step_reads(s, dt);
    step_reads(s, decay);
    s->memory = new_state(p, n, b.dim, x.dim);
    return step_makes_like(s, x);
}

/* ---- Mamba ----------------------------------------------------------------------------------- */

struct selective_args {
    int rows, cols;
    const float *a; // (rows, cols)
    const float *d; // (cols)
};

static void selective_channels(struct pass *p, const struct step *s, const struct pass_run *r,
                               int i) {
    const struct selective_args *a = s->args;
    int begin = i * CHANNELS, end = begin + CHANNELS < a->cols ? begin + CHANNELS : a->cols;
    struct selective k = {.m = state_of(s, r),
                          .rows = a->rows,
                          .cols = a->cols,
                          .n = r->n,
                          .b = row(p, s->in[1], r->first),
                          .c = row(p, s->in[2], r->first),
                          .bc_stride = (size_t)s->in[1].n,
                          .x = row(p, s->in[0], r->first),
                          .dt = row(p, s->in[3], r->first),
                          .y = row(p, s->out[0], r->first),
                          .x_stride = (size_t)s->in[0].n,
                          .a = a->a,
                          .d = a->d};
    p->ops->selective_scan(&k, begin, end);
}

static void selective_all(struct pass *p, const struct step *s, int n) {
    (void)n;
    share_out(p, s, (s->in[0].n + CHANNELS - 1) / CHANNELS, selective_channels);
}

static const struct step_kind selective_kind = {
    .name = "selective scan", .does = ALL_TOKENS, .group = selective_all};

value selective_scan(value x, value b, value c, value dt, const float *a, const float *d) {
    struct plan *p = x.p;
    if (b.n != c.n || dt.n != x.n) {
        PLAN_FAIL(p, KQ_BAD_FILE, "a scan of %d channels with %d steps in layer %d", x.n, dt.n,
                  p->il);
    }
    struct selective_args *args = plan_keep(p, 1, sizeof *args);
    *args = (struct selective_args){b.n, x.n, a, d};
    struct step *s = plan_step(p, &selective_kind, x, args);
    step_reads(s, b);
    step_reads(s, c);
    step_reads(s, dt);
    s->memory = new_state(p, 1, b.n, x.n);
    return step_makes_like(s, x);
}

/* ---- convolution ----------------------------------------------------------------------------- */

struct convolve_args {
    int n_taps;
    const float *w; // (n_taps, channels)
};

static void convolve_channels(struct pass *p, const struct step *s, const struct pass_run *r,
                              int i) {
    const struct convolve_args *a = s->args;
    int n = s->in[0].n, begin = i * CHANNELS, end = begin + CHANNELS < n ? begin + CHANNELS : n;
    struct convolution k = {.m = state_of(s, r),
                            .n_taps = a->n_taps,
                            .cols = n,
                            .n = r->n,
                            .w = a->w,
                            .x = row(p, s->in[0], r->first),
                            .y = row(p, s->out[0], r->first)};
    p->ops->convolve(&k, begin, end);
}

static void convolve_all(struct pass *p, const struct step *s, int n) {
    (void)n;
    share_out(p, s, (s->in[0].n + CHANNELS - 1) / CHANNELS, convolve_channels);
}

static const struct step_kind convolve_kind = {
    .name = "convolve", .does = ALL_TOKENS, .in_place = true, .group = convolve_all};

value convolve(value x, const char *name, int n_taps) {
    struct plan *p = x.p;
    struct convolve_args *a = plan_keep(p, 1, sizeof *a);
    *a = (struct convolve_args){n_taps, tensor_transposed(p, name, ".weight", n_taps, x.n)};
    struct step *s = plan_step(p, &convolve_kind, x, a);
    s->name = tensor_full_name(p, name);
    s->memory = new_state(p, 1, n_taps - 1, x.n);
    return step_makes_like(s, x);
}
