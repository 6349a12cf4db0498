/* Causal attention over the keys and values of this pass and of earlier ones. */
#include "../build.h"
#include "../elementary.h"
#include "../pass.h"
#include "../round.h"

/* ---- remember: keys and values into their slots ---------------------------------------------- */

struct remember_args {
    int n_heads, dim_k, dim_v;
    int window, chunk; // what is seen: so many positions, or those of a chunk; 0: all
    bool latent;       // values are the beginning of keys
};

/* A memory's slots hold all keys, as (n_heads, n_slots / 8, dim_k, 8), then all values, as
 * (n_heads, n_slots, dim_v rounded up to 8), if they are not part of the keys: see struct kv_head
 * in simd/isa.h. */
static struct kv_head head_of(const struct pass *p, const struct remember_args *a,
                              const struct remembered *m, int head) {
    size_t slots = (size_t)m->n_slots, bytes = seq_number_bytes(p->kv_f32), h = (size_t)head;
    size_t dim_k = (size_t)a->dim_k, dim_v = (size_t)round_up(a->dim_v, LANES);
    uint8_t *values = m->slots + (size_t)a->n_heads * slots * dim_k * bytes;
    return (struct kv_head){.k = m->slots + h * slots * dim_k * bytes,
                            .v = a->latent ? NULL : values + h * slots * dim_v * bytes,
                            .f16 = !p->kv_f32,
                            .head_dim_k = a->dim_k,
                            .head_dim_v = a->latent ? a->dim_v : (int)dim_v,
                            .n_slots = m->n_slots};
}

static void put(const void *base, size_t i, float x, bool f16) {
    if (f16) {
        ((ggml_half *)(uintptr_t)base)[i] = fp32_to_fp16(x);
    } else {
        ((float *)(uintptr_t)base)[i] = x;
    }
}

/* Are the n numbers of row i finite, also once they are in the cache? */
static bool fits_cache(struct pass *p, const struct step *s, int i, const float *x, int n,
                       const char *not_finite, const char *too_large) {
    if (all_below(x, n, p->kv_f32 ? INFINITE_BITS : INFINITE_HALF_BITS)) return true;
    pass_fail(p, s, i, all_finite(x, n) ? too_large : not_finite);
    return false;
}

/* Only what is finite enters the cache: sums over positions take in neighbours with a weight of 0,
 * and 0 times a NaN that a failed pass has left there would be NaN. */
static void remember_token(struct pass *p, const struct step *s, int i) {
    const struct remember_args *a = s->args;
    const struct remembered *m = &p->run_of[i]->seq->memory[s->memory];
    size_t slot = (size_t)position(p, i) % (size_t)m->n_slots;
    const float *k = row(p, s->in[0], i), *v = a->latent ? NULL : row(p, s->in[1], i);
    size_t dim_k = (size_t)a->dim_k;
    if (!fits_cache(p, s, i, k, s->in[0].n, "a key is not finite",
                    "a key is too large for an f16 cache, --kv f32 has room for it") ||
        (v && !fits_cache(p, s, i, v, s->in[1].n, "a value is not finite",
                          "a value is too large for an f16 cache, --kv f32 has room for it"))) {
        return;
    }
    for (int h = 0; h < a->n_heads; h++) {
        struct kv_head kv = head_of(p, a, m, h);
        size_t group = slot / LANES * LANES * dim_k + slot % LANES;
        size_t at = slot * (size_t)kv.head_dim_v;
        for (size_t d = 0; d < dim_k; d++) put(kv.k, group + d * LANES, *k++, kv.f16);
        for (size_t d = 0; v && d < (size_t)a->dim_v; d++) put(kv.v, at + d, *v++, kv.f16);
    }
}

static const struct step_kind remember_kind = {
    .name = "remember", .does = EACH_TOKEN, .token = remember_token};

static cache remember_as(value k, value v, struct remember_args args) {
    struct plan *p = k.p;
    struct remember_args *a = plan_keep(p, 1, sizeof *a);
    *a = args;
    struct step *s = plan_step(p, &remember_kind, k, a);
    if (!a->latent) step_reads(s, v);
    int64_t dims = (int64_t)k.dim + (a->latent ? 0 : round_up(v.dim, LANES));
    int back = a->chunk ? a->chunk : a->window;
    s->memory = plan_remember(p, (struct memory){.slot = a->n_heads * dims, .window = back});
    return step_makes(p, s, 0, 0); // nothing but the order: attend comes after it
}

static struct remember_args args_of(value k, value v) {
    if (n_heads(k) != n_heads(v)) {
        PLAN_FAIL(k.p, KQ_BAD_FILE, "%d heads of keys and %d of values in layer %d", n_heads(k),
                  n_heads(v), k.p->il);
    }
    return (struct remember_args){.n_heads = n_heads(k), .dim_k = k.dim, .dim_v = v.dim};
}

cache remember(value k, value v, int window) {
    struct remember_args a = args_of(k, v);
    a.window = window;
    return remember_as(k, v, a);
}

cache remember_chunks(value k, value v, int chunk) {
    struct remember_args a = args_of(k, v);
    a.chunk = chunk;
    return remember_as(k, v, a);
}

cache remember_latent(value k, int n_values) {
    if (n_values < 1 || n_values > k.dim) {
        PLAN_FAIL(k.p, KQ_BAD_FILE, "%d values in keys of %d in layer %d", n_values, k.dim,
                  k.p->il);
    }
    struct remember_args a = {
        .n_heads = n_heads(k), .dim_k = k.dim, .dim_v = n_values, .latent = true};
    return remember_as(k, k, a);
}

/* ---- attend ---------------------------------------------------------------------------------- */

/* A tile over a long context is work enough for a thread. */
#define ATTEND_GRAIN 1

struct attend_args {
    const struct remember_args *kept;
    int n_heads;
    float scale, softcap;
    const float *sinks, *slopes; // (n_heads) or NULL
};

/* Positions that token i of a run sees: first .. pos + i. */
static int first_visible(const struct pass_run *r, const struct remember_args *a, int i) {
    int pos = r->pos + i;
    if (a->chunk > 0) return pos - pos % a->chunk;
    return a->window > 0 && pos >= a->window ? pos - a->window + 1 : 0;
}

/* Of s[first .. end), and of a sink behind it, which has no value and so no weight afterwards. */
static float softmax(const struct ops *ops, float *s, int n, int first, int end,
                     const float *sink) {
    if (!sink) return ops->softmax(s, n, first, end);
    s[end] = *sink;
    float sum = ops->softmax(s, round_up(end + 1, LANES) > n ? n + LANES : n, first, end + 1);
    s[end] = 0;
    return sum;
}

/* Floats of one query's scores: of all positions, and room for a sink. */
static size_t scores_stride(int n_ctx) {
    return (size_t)round_up(n_ctx + 1, LANES);
}

/* Floats of one query's result while it is being made: see attn_values in simd/isa.h. */
static size_t out_stride(const struct remember_args *a) {
    return a->latent ? (size_t)a->dim_v * LANES : (size_t)round_up(a->dim_v, LANES);
}

static size_t attend_scratch(const struct step *s, int n_ctx) {
    const struct attend_args *a = s->args;
    return ATTN_QUERIES * (scores_stride(n_ctx) + out_stride(a->kept));
}

/* ALiBi: scores s of positions first .. end, of a query at position pos. */
static void take_distance(float *s, int first, int end, int pos, float slope) {
    for (int i = first; i < end; i++) s[i - first] -= slope * (float)(pos - i);
}

/* Up to ATTN_QUERIES queries of one sequence and key/value head, numbered token by token. */
static void attend_tile(struct pass *p, const struct step *st, const struct pass_run *r,
                        int head_kv, int first_query, float *work) {
    const struct attend_args *a = st->args;
    const struct remember_args *kept = a->kept;
    struct kv_head kv = head_of(p, kept, &r->seq->memory[st->memory], head_kv);
    int group = a->n_heads / kept->n_heads, n_q = r->n * group - first_query;
    if (n_q > ATTN_QUERIES) n_q = ATTN_QUERIES;
    int first_token = first_query / group, last_token = (first_query + n_q - 1) / group;
    int begin = first_visible(r, kept, first_token) / LANES * LANES;
    int n = round_up(r->pos + last_token + 1, LANES) - begin;
    size_t stride = scores_stride(r->seq->n_ctx);
    const float *q[ATTN_QUERIES];
    float *out[ATTN_QUERIES], inv_sum[ATTN_QUERIES];
    int token[ATTN_QUERIES], head[ATTN_QUERIES];
    for (int i = 0; i < n_q; i++) {
        token[i] = (first_query + i) / group;
        head[i] = head_kv * group + (first_query + i) % group;
        q[i] = row(p, st->in[0], r->first + token[i]) + head[i] * kept->dim_k;
        out[i] = work + ATTN_QUERIES * stride + (size_t)i * out_stride(kept);
        if (!all_finite(q[i], kept->dim_k)) { // a cap of scores would hide it
            pass_fail(p, st, r->first + token[i], "a query is not finite");
        }
    }
    p->ops->attn_scores(work, stride, q, n_q, &kv, begin, n, a->scale);
    for (int i = 0; i < n_q; i++) {
        float *s = work + (size_t)i * stride;
        if (a->softcap > 0) p->ops->softcap(s, n, a->softcap);
        int pos = r->pos + token[i], first = first_visible(r, kept, token[i]) - begin;
        int end = pos + 1 - begin;
        if (a->slopes) take_distance(s, begin, pos, pos, a->slopes[head[i]]);
        inv_sum[i] = 1 / softmax(p->ops, s, n, first, end, a->sinks ? &a->sinks[head[i]] : NULL);
    }
    p->ops->attn_values(out, work, stride, inv_sum, n_q, &kv, begin, n);
    for (int i = 0; i < n_q; i++) {
        memcpy(row(p, st->out[0], r->first + token[i]) + head[i] * kept->dim_v, out[i],
               (size_t)kept->dim_v * sizeof(float));
    }
}

static long count_tiles(const struct attend_args *a, const struct pass_run *r) {
    int queries = r->n * (a->n_heads / a->kept->n_heads);
    return (long)((queries + ATTN_QUERIES - 1) / ATTN_QUERIES) * a->kept->n_heads;
}

struct attend_job {
    struct pass *p;
    const struct step *s;
};

static void attend_tiles(void *arg, long begin, long end, int thread) {
    const struct attend_job *job = arg;
    const struct attend_args *a = job->s->args;
    float *work = job->p->work + (size_t)thread * job->p->work_floats;
    for (const struct pass_run *r = job->p->runs; begin < end; r++) {
        long n = count_tiles(a, r), each = n / a->kept->n_heads;
        for (; begin < n && begin < end; begin++) {
            attend_tile(job->p, job->s, r, (int)(begin / each), (int)(begin % each) * ATTN_QUERIES,
                        work);
        }
        begin -= n; // from here on, of the next run
        end -= n;
    }
}

static void attend_all(struct pass *p, const struct step *s, int n_steps) {
    (void)n_steps;
    struct attend_job job = {p, s};
    long n = 0;
    for (int i = 0; i < p->n_runs; i++) n += count_tiles(s->args, &p->runs[i]);
    parallel_for(p->threads, p->stop, n, ATTEND_GRAIN, attend_tiles, &job);
}

static const struct step_kind attend_kind = {
    .name = "attend", .does = ALL_TOKENS, .group = attend_all, .scratch = attend_scratch};
static const struct step_kind alibi_kind = {.name = "attend with ALiBi",
                                            .does = ALL_TOKENS,
                                            .group = attend_all,
                                            .scratch = attend_scratch};

static const float *alibi_slopes(struct plan *p, int n_heads, float exponent) {
    float *slopes = plan_keep(p, (size_t)n_heads, sizeof *slopes);
    int n = 1;
    while (n <= n_heads / 2) n *= 2;
    for (int i = 0; i < n_heads; i++) {
        double times = i < n ? i + 1 : i - n + 0.5;
        slopes[i] = (float)elementary_pow(2, -(double)exponent * times / n);
    }
    return slopes;
}

value attend(value q, cache kv, const struct heads *h) {
    struct plan *p = q.p;
    if (kv.id == 0) PLAN_FAIL(p, KQ_BAD_FILE, "layer %d has no keys to attend to", p->il);
    const struct step *from = plan_maker(kv);
    const struct remember_args *kept = from->args;
    int memory = from->memory;
    if (q.dim != kept->dim_k || n_heads(q) % kept->n_heads != 0) {
        PLAN_FAIL(p, KQ_BAD_FILE, "%d queries of %d for %d keys of %d in layer %d", n_heads(q),
                  q.dim, kept->n_heads, kept->dim_k, p->il);
    }
    struct attend_args *a = plan_keep(p, 1, sizeof *a);
    *a = (struct attend_args){kept, n_heads(q), h->scale, h->softcap, h->sinks, NULL};
    if (h->alibi > 0) a->slopes = alibi_slopes(p, a->n_heads, h->alibi);
    struct step *s = plan_step(p, a->slopes ? &alibi_kind : &attend_kind, q, a);
    step_reads(s, kv);
    s->memory = memory;
    value o = step_makes(p, s, 0, (int64_t)a->n_heads * kept->dim_v);
    o.dim = kept->dim_v;
    return o;
}
