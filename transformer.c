#include "transformer.h"
#include "round.h"

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* --------------------------------------------------------------------------------------- state */

/* Rows of logits made at once, if there are as many. */
#define LOGITS_ROWS 16

/* Angles of rope per pair of dimensions: theta = position * inv_freq. */
struct rope {
    double *inv_freq; // (rope_dim / 2)
    float scale;      // of cosine and sine: YaRN's and longrope's attention factor
    float *cos, *sin; // (n_batch, rope_dim / 2) of the tokens at hand
};

struct kv_layer {
    uint8_t *k, *v; // (n_head_kv, n_slots / 8, head_dim_k, 8) and (n_head_kv, n_slots, dim_v)
    int n_slots;    // multiple of 8; a ring if the layer has a window
};

struct transformer {
    const struct model *m;
    struct transformer_params p;
    struct matmul mm;
    struct rope rope, rope_swa; // of layers without and with a window
    struct kv_layer *kv;
    void *kv_map;
    size_t kv_bytes;
    int dim_v; // head_dim_v rounded up to 8: the cache's and attn_values' width
    /* the tokens at hand: n of them from position pos on */
    int n, pos;
    int logits_first, n_logits; // 0: none yet
    float *block;               // one allocation for all of the following
    size_t block_floats;
    float *x, *xn;         // (n_batch, n_embd): residual stream; its norm, later a layer's output
    float *q, *k, *v;      // (n_batch, n_head * head_dim_k), (n_batch, n_head_kv * ...)
    float *att;            // (n_batch, n_head * head_dim_v)
    float *gate, *up;      // (n_batch, n_ff)
    float *router;         // (n_batch, n_expert)
    float *expert_x;       // (n_batch, n_embd): the tokens of one expert
    float *expert_y;       // (n_batch, n_embd)
    const struct ffn *ffn; // the one at work
    float *logits;         // (n_logits <= LOGITS_ROWS, n_vocab), of the tokens from logits_first on
    float *attn_work;      // per thread: scores of ATTN_QUERIES queries, and their outputs
    size_t attn_work_floats;
    int32_t *expert_ids; // (n_batch, n_expert_used), ascending
    float *expert_weights;
};

/* ---------------------------------------------------------------------------------------------
 * rope */

/* YaRN (arXiv 2309.00071): the dimension whose wavelength makes n_rot turns in the original
 * context. */
static double yarn_dim(const struct hparams *hp, double base, double n_rot) {
    double pi = 3.14159265358979323846;
    return hp->rope_dim * log(hp->rope_ctx_orig / (n_rot * 2 * pi)) / (2 * log(base));
}

/* 1: this pair keeps its frequency; 0: it is divided by the factor. */
static double yarn_ramp(const struct hparams *hp, double base, int pair) {
    double low = fmax(0, floor(yarn_dim(hp, base, hp->yarn_beta_fast)));
    double high = fmin(hp->rope_dim - 1, ceil(yarn_dim(hp, base, hp->yarn_beta_slow)));
    double y = (pair - low) / fmax(0.001, high - low);
    return 1 - fmin(1, fmax(0, y));
}

static void rope_frequencies(struct rope *r, const struct model *m, double base, int n_ctx,
                             bool scaled) {
    const struct hparams *hp = &m->hp;
    const float *factors = m->rope_factors;
    if (m->rope_factors_long && m->rope_factors_short) {
        factors = n_ctx > hp->rope_ctx_orig ? m->rope_factors_long : m->rope_factors_short;
    }
    double scale = scaled && hp->rope_scaling != ROPE_NONE && hp->rope_factor > 0
                       ? 1 / (double)hp->rope_factor
                       : 1;
    bool yarn = scaled && hp->rope_scaling == ROPE_YARN;
    r->scale = scaled ? hp->rope_attn_factor : 1;
    if (yarn) r->scale *= (float)(1 + 0.1 * log(1 / scale));
    for (int i = 0; i < hp->rope_dim / 2; i++) {
        double f = pow(base, -2.0 * i / hp->rope_dim) / (factors ? (double)factors[i] : 1);
        double keep = yarn ? yarn_ramp(hp, base, i) : 0;
        r->inv_freq[i] = f * (scale * (1 - keep) + keep);
    }
}

/* Tables are made in double and rounded once. */
static void rope_tables(struct rope *r, int n_pairs, int pos, int n) {
    for (int t = 0; t < n; t++) {
        for (int i = 0; i < n_pairs; i++) {
            double theta = (pos + t) * r->inv_freq[i];
            r->cos[t * n_pairs + i] = (float)(cos(theta) * (double)r->scale);
            r->sin[t * n_pairs + i] = (float)(sin(theta) * (double)r->scale);
        }
    }
}

/* One head of one token, in place. */
static void rope_head(float *x, const float *cosine, const float *sine, int n_pairs, bool neox) {
    int step = neox ? 1 : 2, partner = neox ? n_pairs : 1;
    for (int i = 0; i < n_pairs; i++) {
        float a = x[i * step], b = x[i * step + partner];
        x[i * step] = a * cosine[i] - b * sine[i];
        x[i * step + partner] = a * sine[i] + b * cosine[i];
    }
}

/* ----------------------------------------------------------------------------- key/value cache */

static size_t kv_elem(bool f32) {
    return f32 ? sizeof(float) : sizeof(ggml_half);
}

/* A layer with a window keeps the window and the batch that is being added to it. */
static int kv_slots(const struct layer *l, int n_ctx, int n_batch) {
    int all = round_up(n_ctx, LANES);
    int ring =
        l->window > 0 && l->window < n_ctx ? round_up(l->window + n_batch, LANES) + LANES : all;
    return ring < all ? ring : all;
}

static size_t kv_slot_bytes(const struct hparams *hp, bool f32) {
    size_t dims = (size_t)hp->head_dim_k + (size_t)round_up(hp->head_dim_v, LANES);
    return (size_t)hp->n_head_kv * dims * kv_elem(f32);
}

size_t transformer_kv_estimate(const struct model *m, int n_ctx, int n_batch, bool kv_f32) {
    size_t slots = 0;
    for (int il = 0; il < m->hp.n_layer; il++) {
        slots += (size_t)kv_slots(&m->layers[il], n_ctx, n_batch);
    }
    size_t bytes = kv_slot_bytes(&m->hp, kv_f32);
    return slots > SIZE_MAX / bytes ? SIZE_MAX : slots * bytes; // which no system has
}

size_t transformer_kv_bytes(const struct transformer *t, int n_positions) {
    size_t slots = 0;
    for (int il = 0; il < t->m->hp.n_layer; il++) {
        int n = round_up(n_positions, LANES);
        slots += (size_t)(n < t->kv[il].n_slots ? n : t->kv[il].n_slots);
    }
    return slots * kv_slot_bytes(&t->m->hp, t->p.kv_f32);
}

/* The whole context is reserved; a page costs memory once a position in it is used. */
static int kv_open(struct transformer *t, struct error *err) {
    const struct hparams *hp = &t->m->hp;
    size_t k_bytes = (size_t)hp->n_head_kv * (size_t)hp->head_dim_k * kv_elem(t->p.kv_f32);
    size_t v_bytes = (size_t)hp->n_head_kv * (size_t)t->dim_v * kv_elem(t->p.kv_f32);
    t->kv_bytes = transformer_kv_estimate(t->m, t->p.n_ctx, t->p.n_batch, t->p.kv_f32);
    void *map = mmap(NULL, t->kv_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) {
        return error_set(err, KQ_NO_MEMORY,
                         "out of memory: a context of %d needs %zu bytes of key/value cache",
                         t->p.n_ctx, t->kv_bytes);
    }
#ifdef MADV_NOHUGEPAGE
    madvise(map, t->kv_bytes,
            MADV_NOHUGEPAGE); // huge pages would make unused positions cost memory
#endif
    t->kv_map = map;
    uint8_t *at = map;
    for (int il = 0; il < hp->n_layer; il++) {
        int n = kv_slots(&t->m->layers[il], t->p.n_ctx, t->p.n_batch);
        t->kv[il] = (struct kv_layer){at, at + (size_t)n * k_bytes, n};
        at += (size_t)n * (k_bytes + v_bytes);
    }
    return 0;
}

static struct kv_head kv_of_head(const struct transformer *t, int il, int head) {
    const struct hparams *hp = &t->m->hp;
    const struct kv_layer *kv = &t->kv[il];
    size_t slots = (size_t)head * (size_t)kv->n_slots * kv_elem(t->p.kv_f32);
    return (struct kv_head){.k = kv->k + slots * (size_t)hp->head_dim_k,
                            .v = kv->v + slots * (size_t)t->dim_v,
                            .f16 = !t->p.kv_f32,
                            .head_dim_k = hp->head_dim_k,
                            .head_dim_v = t->dim_v,
                            .n_slots = kv->n_slots};
}

static void kv_set(uint8_t *base, size_t i, float value, bool f32) {
    if (f32) {
        ((float *)(void *)base)[i] = value;
    } else {
        ((ggml_half *)(void *)base)[i] = fp32_to_fp16(value);
    }
}

/* Token i of the batch into its slot. */
static void kv_append(struct transformer *t, int il, int i) {
    const struct hparams *hp = &t->m->hp;
    struct kv_layer *kv = &t->kv[il];
    size_t slots = (size_t)kv->n_slots, slot = (size_t)(t->pos + i) % slots;
    const float *k = t->k + (size_t)i * (size_t)(hp->n_head_kv * hp->head_dim_k);
    const float *v = t->v + (size_t)i * (size_t)(hp->n_head_kv * hp->head_dim_v);
    size_t dim_k = (size_t)hp->head_dim_k, dim_v = (size_t)t->dim_v;
    for (size_t h = 0; h < (size_t)hp->n_head_kv; h++) {
        size_t group = h * slots + slot / LANES * LANES;
        for (size_t d = 0; d < dim_k; d++) {
            kv_set(kv->k, group * dim_k + d * LANES + slot % LANES, *k++, t->p.kv_f32);
        }
        for (size_t d = 0; d < (size_t)hp->head_dim_v; d++) {
            kv_set(kv->v, (h * slots + slot) * dim_v + d, *v++, t->p.kv_f32);
        }
    }
}

/* ---------------------------------------------------------------------- a step for every token */

/* Work that concerns one token of the batch alone; the tokens are shared out to the threads. */
typedef void token_fn(struct transformer *t, int il, int i);

struct token_job {
    struct transformer *t;
    token_fn *fn;
    int il;
};

static void run_tokens(void *arg, long begin, long end, int thread) {
    (void)thread;
    const struct token_job *job = arg;
    for (long i = begin; i < end; i++) job->fn(job->t, job->il, (int)i);
}

static void each_token(struct transformer *t, int il, token_fn *fn) {
    struct token_job job = {t, fn, il};
    parallel_for(t->p.threads, t->p.stop, t->n, 4, run_tokens, &job);
}

static float *row(float *x, int i, int64_t n) {
    return x + (size_t)i * (size_t)n;
}

static void norm(const struct transformer *t, float *y, const float *x, const float *w) {
    t->p.isa->ops->rms_norm(y, x, w, t->m->hp.n_embd, t->m->hp.rms_eps);
}

/* What attention and feed-forward begin with. */
static void pre_norm(const struct transformer *t, int i, const float *w) {
    int n = t->m->hp.n_embd;
    if (w) {
        norm(t, row(t->xn, i, n), row(t->x, i, n), w);
    } else {
        memcpy(row(t->xn, i, n), row(t->x, i, n), (size_t)n * sizeof(float));
    }
}

static void add_bias(float *x, const float *bias, int n) {
    if (!bias) return;
    for (int i = 0; i < n; i++) x[i] += bias[i];
}

static void embed(struct transformer *t, const int32_t *ids) {
    const struct matrix *w = &t->m->token_embd;
    float scale = t->m->hp.embd_scale;
    for (int i = 0; i < t->n; i++) {
        float *x = row(t->x, i, w->n_cols);
        dequantize_row(w->type, w->data + (size_t)ids[i] * w->row_bytes, x, w->n_cols);
        for (int64_t k = 0; scale != 1 && k < w->n_cols; k++) x[k] *= scale;
    }
}

/* x += scale * norm(delta): what attention and feed-forward add to the residual stream. */
static void add_residual(struct transformer *t, int i, float *delta, const float *post_norm,
                         const float *bias) {
    int n = t->m->hp.n_embd;
    float *x = row(t->x, i, n), scale = t->m->hp.residual_scale;
    add_bias(delta, bias, n);
    if (post_norm) norm(t, delta, delta, post_norm);
    for (int k = 0; k < n; k++) x[k] += scale == 1 ? delta[k] : delta[k] * scale;
}

static void attention_input(struct transformer *t, int il, int i) {
    pre_norm(t, i, t->m->layers[il].attn_norm);
}

static void rope_heads(const struct transformer *t, int il, int i, float *x, int n_head,
                       const float *head_norm) {
    const struct hparams *hp = &t->m->hp;
    const struct layer *l = &t->m->layers[il];
    const struct rope *r = l->window > 0 ? &t->rope_swa : &t->rope;
    const struct family *f = t->m->family;
    const struct ops *ops = t->p.isa->ops;
    int n_pairs = hp->rope_dim / 2, dim = hp->head_dim_k;
    if (head_norm && f->wide_qk_norms) ops->rms_norm(x, x, head_norm, n_head * dim, hp->rms_eps);
    for (int h = 0; h < n_head; h++, x += dim) {
        bool normed = head_norm && !f->wide_qk_norms;
        if (normed && !f->late_qk_norms) ops->rms_norm(x, x, head_norm, dim, hp->rms_eps);
        if (l->rope) {
            rope_head(x, r->cos + i * n_pairs, r->sin + i * n_pairs, n_pairs, f->rope_neox);
        }
        if (normed && f->late_qk_norms) ops->rms_norm(x, x, head_norm, dim, hp->rms_eps);
    }
}

static void rope_and_append(struct transformer *t, int il, int i) {
    const struct hparams *hp = &t->m->hp;
    const struct layer *l = &t->m->layers[il];
    int nq = hp->n_head * hp->head_dim_k, nk = hp->n_head_kv * hp->head_dim_k;
    int nv = hp->n_head_kv * hp->head_dim_v;
    add_bias(row(t->q, i, nq), l->q_bias, nq);
    add_bias(row(t->k, i, nk), l->k_bias, nk);
    add_bias(row(t->v, i, nv), l->v_bias, nv);
    rope_heads(t, il, i, row(t->q, i, nq), hp->n_head, l->q_norm);
    rope_heads(t, il, i, row(t->k, i, nk), hp->n_head_kv, l->k_norm);
    kv_append(t, il, i);
}

static void attention_output(struct transformer *t, int il, int i) {
    const struct layer *l = &t->m->layers[il];
    int n = t->m->hp.n_embd;
    add_residual(t, i, row(t->xn, i, n), l->attn_post_norm, l->o_bias);
    pre_norm(t, i, l->ffn_norm);
}

static void activate(struct transformer *t, int il, int i) {
    (void)il;
    const struct ops *ops = t->p.isa->ops;
    int n = t->m->hp.n_ff;
    float *gate = row(t->gate, i, n), *up = row(t->up, i, n);
    add_bias(gate, t->ffn->gate_bias, n);
    add_bias(up, t->ffn->up_bias, n);
    switch (t->m->family->activation) {
    case SILU:
        ops->swiglu(gate, up, n);
        break;
    case GELU:
        ops->geglu(gate, up, n);
        break;
    case SWIGLU_OAI:
        ops->swiglu_oai(gate, up, n);
        break;
    }
}

static void feed_forward_output(struct transformer *t, int il, int i) {
    add_residual(t, i, row(t->xn, i, t->m->hp.n_embd), t->m->layers[il].ffn_post_norm, NULL);
}

/* ----------------------------------------------------------------------------------- attention */

/* Queries of one key/value head, numbered token by token, are computed ATTN_QUERIES at a time. */
struct attention_job {
    struct transformer *t;
    int il;
    int n_tiles; // of one key/value head
};

/* Positions that token i of the batch sees: first .. pos + i. */
static int first_visible(const struct transformer *t, int il, int i) {
    int window = t->m->layers[il].window;
    int first = t->pos + i - window + 1;
    return window > 0 && first > 0 ? first : 0;
}

/* Of s[first .. end), and of a sink behind it, which has no value and so no weight afterwards. */
static float softmax(const struct transformer *t, float *s, int n, int first, int end,
                     const float *sink) {
    const struct ops *ops = t->p.isa->ops;
    if (!sink) return ops->softmax(s, n, first, end);
    s[end] = *sink;
    float sum = ops->softmax(s, round_up(end + 1, LANES) > n ? n + LANES : n, first, end + 1);
    s[end] = 0;
    return sum;
}

/* Floats of one query's scores: of all positions, and room for a sink. */
static size_t scores_stride(const struct transformer *t) {
    return (size_t)round_up(t->p.n_ctx + 1, LANES);
}

static void attention_tile(struct transformer *t, int il, int head_kv, int first_query,
                           float *work) {
    const struct hparams *hp = &t->m->hp;
    const struct ops *ops = t->p.isa->ops;
    int group = hp->n_head / hp->n_head_kv, n_q = t->n * group - first_query;
    if (n_q > ATTN_QUERIES) n_q = ATTN_QUERIES;
    int first_token = first_query / group, last_token = (first_query + n_q - 1) / group;
    int begin = first_visible(t, il, first_token) / LANES * LANES;
    int n = round_up(t->pos + last_token + 1, LANES) - begin;
    size_t stride = scores_stride(t);
    const float *sinks = t->m->layers[il].sinks;
    struct kv_head kv = kv_of_head(t, il, head_kv);
    const float *q[ATTN_QUERIES];
    float *out[ATTN_QUERIES], inv_sum[ATTN_QUERIES];
    int token[ATTN_QUERIES], head[ATTN_QUERIES];
    for (int i = 0; i < n_q; i++) {
        token[i] = (first_query + i) / group;
        head[i] = head_kv * group + (first_query + i) % group;
        q[i] = row(t->q, token[i] * hp->n_head + head[i], hp->head_dim_k);
        out[i] = work + ATTN_QUERIES * stride + (size_t)(i * t->dim_v);
    }
    ops->attn_scores(work, stride, q, n_q, &kv, begin, n, hp->attn_scale);
    for (int i = 0; i < n_q; i++) {
        float *s = work + (size_t)i * stride;
        if (hp->attn_softcap > 0) ops->softcap(s, n, hp->attn_softcap);
        int first = first_visible(t, il, token[i]) - begin, end = t->pos + token[i] + 1 - begin;
        inv_sum[i] = 1 / softmax(t, s, n, first, end, sinks ? &sinks[head[i]] : NULL);
    }
    ops->attn_values(out, work, stride, inv_sum, n_q, &kv, begin, n);
    for (int i = 0; i < n_q; i++) {
        memcpy(row(t->att, token[i] * hp->n_head + head[i], hp->head_dim_v), out[i],
               (size_t)hp->head_dim_v * sizeof(float));
    }
}

static void attention_tiles(void *arg, long begin, long end, int thread) {
    const struct attention_job *job = arg;
    float *work = job->t->attn_work + (size_t)thread * job->t->attn_work_floats;
    for (long i = begin; i < end; i++) {
        attention_tile(job->t, job->il, (int)(i / job->n_tiles),
                       (int)(i % job->n_tiles) * ATTN_QUERIES, work);
    }
}

static void attention(struct transformer *t, int il) {
    const struct hparams *hp = &t->m->hp;
    int n_queries = t->n * (hp->n_head / hp->n_head_kv);
    struct attention_job job = {t, il, round_up(n_queries, ATTN_QUERIES) / ATTN_QUERIES};
    parallel_for(t->p.threads, t->p.stop, (long)job.n_tiles * hp->n_head_kv, 1, attention_tiles,
                 &job);
}

/* -------------------------------------------------------------------------------- feed-forward */

static void gated(struct transformer *t, int il, const struct ffn *ffn, const float *x, float *y) {
    struct product in[] = {{&ffn->gate, t->gate}, {&ffn->up, t->up}};
    int n_embd = t->m->hp.n_embd;
    t->ffn = ffn;
    mul_mat(&t->mm, in, 2, x, t->n);
    each_token(t, il, activate);
    mul_mat(&t->mm, &(struct product){&ffn->down, y}, 1, t->gate, t->n);
    for (int i = 0; i < t->n; i++) add_bias(row(y, i, n_embd), ffn->down_bias, n_embd);
}

/* The n_expert_used experts with the largest router logits (ties: the first), weighted with the
 * softmax over those; kept in ascending order, the order in which their outputs are added. */
static void choose_experts(struct transformer *t, int il, int i) {
    const struct hparams *hp = &t->m->hp;
    int used = hp->n_expert_used, padded = round_up(used, LANES);
    float *logit = row(t->router, i, hp->n_expert), *weights = row(t->expert_weights, i, padded);
    int32_t *ids = t->expert_ids + (size_t)i * (size_t)used;
    add_bias(logit, t->m->layers[il].router_bias, hp->n_expert);
    for (int e = 0; e < hp->n_expert; e++) {
        if (!(logit[e] > -FLT_MAX)) logit[e] = -FLT_MAX; // NaN too: only a taken one is below
    }
    for (int u = 0; u < used; u++) {
        int best = 0;
        for (int e = 1; e < hp->n_expert; e++) best = logit[e] > logit[best] ? e : best;
        int at = u;
        for (; at > 0 && ids[at - 1] > best; at--) {
            ids[at] = ids[at - 1];
            weights[at] = weights[at - 1];
        }
        ids[at] = best;
        weights[at] = logit[best];
        logit[best] = -INFINITY;
    }
    float sum = t->p.isa->ops->softmax(weights, padded, 0, used);
    for (int u = 0; u < used; u++) weights[u] /= sum;
}

static bool is_stopped(const struct transformer *t) {
    return t->p.stop && atomic_load_explicit(t->p.stop, memory_order_relaxed);
}

/* Every expert computes the tokens that chose it as one batch; a token's outputs are added in
 * ascending order of experts, whichever tokens share its batch. */
static void experts(struct transformer *t, int il) {
    const struct hparams *hp = &t->m->hp;
    const struct layer *l = &t->m->layers[il];
    size_t n_embd = (size_t)hp->n_embd, row_bytes = n_embd * sizeof(float);
    int n_all = t->n, used = hp->n_expert_used;
    mul_mat(&t->mm, &(struct product){&l->router, t->router}, 1, t->xn, t->n);
    each_token(t, il, choose_experts);
    if (is_stopped(t)) return; // and the experts may not have been chosen
    float *sum = t->att;       // free by now, and wide enough: see lay_out
    memset(sum, 0, (size_t)n_all * row_bytes);
    for (int e = 0; e < hp->n_expert; e++) {
        t->n = 0;
        for (int c = 0; c < n_all * used; c++) {
            if (t->expert_ids[c] != e) continue;
            memcpy(row(t->expert_x, t->n++, hp->n_embd), row(t->xn, c / used, hp->n_embd),
                   row_bytes);
        }
        if (t->n > 0) gated(t, il, &l->experts[e], t->expert_x, t->expert_y);
        const float *y = t->expert_y;
        for (int c = 0; c < n_all * used; c++) {
            if (t->expert_ids[c] != e) continue;
            float *to = row(sum, c / used, hp->n_embd);
            float weight = row(t->expert_weights, c / used, round_up(used, LANES))[c % used];
            for (size_t k = 0; k < n_embd; k++) to[k] += y[k] * weight;
            y += n_embd;
        }
    }
    t->n = n_all;
    memcpy(t->xn, sum, (size_t)n_all * row_bytes);
}

/* ------------------------------------------------------------------------------------- forward */

int transformer_forward(struct transformer *t, const int32_t *ids, int n, int pos,
                        struct error *err) {
    const struct hparams *hp = &t->m->hp;
    t->n = n;
    t->pos = pos;
    t->n_logits = 0;
    rope_tables(&t->rope, hp->rope_dim / 2, pos, n);
    rope_tables(&t->rope_swa, hp->rope_dim / 2, pos, n);
    embed(t, ids);
    for (int il = 0; il < hp->n_layer; il++) {
        if (is_stopped(t)) return error_set(err, KQ_INTERRUPTED, "interrupted");
        const struct layer *l = &t->m->layers[il];
        struct product qkv[] = {{&l->q, t->q}, {&l->k, t->k}, {&l->v, t->v}};
        each_token(t, il, attention_input);
        mul_mat(&t->mm, qkv, 3, t->xn, n);
        each_token(t, il, rope_and_append);
        attention(t, il);
        mul_mat(&t->mm, &(struct product){&l->o, t->xn}, 1, t->att, n);
        each_token(t, il, attention_output);
        if (hp->n_expert > 0) {
            experts(t, il);
        } else {
            gated(t, il, &l->dense, t->xn, t->xn);
        }
        each_token(t, il, feed_forward_output);
    }
    if (is_stopped(t))
        return error_set(err, KQ_INTERRUPTED, "interrupted"); // and what was computed is incomplete
    if (!t->mm.failed) return 0;
    return error_set(err, KQ_NO_MEMORY, "out of memory for a tensor's float32 copy (--reference)");
}

/* Who wants the logits of every token asks for one after the other: they are made in batches. */
const float *transformer_logits(struct transformer *t, int i, struct error *err) {
    const struct hparams *hp = &t->m->hp;
    if (i >= t->logits_first && i < t->logits_first + t->n_logits) {
        return row(t->logits, i - t->logits_first, hp->n_vocab);
    }
    int n = t->n - i < LOGITS_ROWS ? t->n - i : LOGITS_ROWS;
    for (int j = 0; j < n; j++) {
        norm(t, row(t->xn, j, hp->n_embd), row(t->x, i + j, hp->n_embd), t->m->output_norm);
    }
    mul_mat(&t->mm, &(struct product){&t->m->output, t->logits}, 1, t->xn, n);
    if (is_stopped(t)) {
        error_set(err, KQ_INTERRUPTED, "interrupted");
        return NULL;
    }
    if (t->mm.failed) {
        error_set(err, KQ_NO_MEMORY, "out of memory for a tensor's float32 copy (--reference)");
        return NULL;
    }
    int64_t n_all = (int64_t)n * hp->n_vocab;
    for (int64_t k = 0; hp->logit_scale != 1 && k < n_all; k++) t->logits[k] *= hp->logit_scale;
    if (hp->final_softcap > 0) t->p.isa->ops->softcap(t->logits, n_all, hp->final_softcap);
    t->logits_first = i;
    t->n_logits = n;
    return t->logits;
}

/* --------------------------------------------------------------------------------- open, close */

/* Hands out parts of one block, or (block NULL) only adds them up. */
static float *take(float *block, size_t *used, size_t n) {
    float *part = block ? block + *used : NULL;
    *used += (n + 15) / 16 * 16; // parts begin on cache lines
    return part;
}

static size_t lay_out(struct transformer *t, float *block) {
    const struct hparams *hp = &t->m->hp;
    size_t n = (size_t)t->p.n_batch, used = 0, embd = (size_t)hp->n_embd;
    size_t n_att = (size_t)hp->n_head * (size_t)hp->head_dim_v, pairs = (size_t)hp->rope_dim / 2;
    size_t n_moe = hp->n_expert > 0 ? n * embd : 0;
    t->x = take(block, &used, n * embd);
    t->xn = take(block, &used, n * embd);
    t->q = take(block, &used, n * (size_t)hp->n_head * (size_t)hp->head_dim_k);
    t->k = take(block, &used, n * (size_t)hp->n_head_kv * (size_t)hp->head_dim_k);
    t->v = take(block, &used, n * (size_t)hp->n_head_kv * (size_t)hp->head_dim_v);
    t->att = take(block, &used, n * (n_moe && embd > n_att ? embd : n_att));
    t->gate = take(block, &used, n * (size_t)hp->n_ff);
    t->up = take(block, &used, n * (size_t)hp->n_ff);
    t->router = take(block, &used, n * (size_t)hp->n_expert);
    t->expert_x = take(block, &used, n_moe);
    t->expert_y = take(block, &used, n_moe);
    t->expert_weights = take(block, &used, n * (size_t)round_up(hp->n_expert_used, LANES));
    t->logits = take(block, &used, (n < LOGITS_ROWS ? n : LOGITS_ROWS) * (size_t)hp->n_vocab);
    t->attn_work = take(block, &used, t->attn_work_floats * (size_t)threads_count(t->p.threads));
    t->rope.cos = take(block, &used, n * pairs);
    t->rope.sin = take(block, &used, n * pairs);
    t->rope_swa.cos = take(block, &used, n * pairs);
    t->rope_swa.sin = take(block, &used, n * pairs);
    return used;
}

static int64_t widest_input(const struct hparams *hp) {
    int64_t widest = hp->n_embd, n_att = (int64_t)hp->n_head * hp->head_dim_v;
    if (n_att > widest) widest = n_att;
    return hp->n_ff > widest ? hp->n_ff : widest;
}

static int allocate(struct transformer *t, struct error *err) {
    const struct hparams *hp = &t->m->hp;
    size_t n = (size_t)t->p.n_batch, pairs = (size_t)hp->rope_dim / 2;
    t->dim_v = round_up(hp->head_dim_v, LANES);
    t->attn_work_floats = ATTN_QUERIES * (scores_stride(t) + (size_t)t->dim_v);
    t->block_floats = lay_out(t, NULL);
    t->block = malloc(t->block_floats * sizeof(float));
    t->kv = calloc((size_t)hp->n_layer, sizeof *t->kv);
    t->expert_ids = calloc(n * (size_t)hp->n_expert_used + 1, sizeof *t->expert_ids);
    t->rope.inv_freq = calloc(pairs + 1, sizeof(double));
    t->rope_swa.inv_freq = calloc(pairs + 1, sizeof(double));
    if (!t->block || !t->kv || !t->expert_ids || !t->rope.inv_freq || !t->rope_swa.inv_freq) {
        return error_set(err, KQ_NO_MEMORY,
                         "out of memory: a batch of %d tokens and a context of %d need %zu bytes",
                         t->p.n_batch, t->p.n_ctx, t->block_floats * sizeof(float));
    }
    lay_out(t, t->block);
    return 0;
}

struct transformer *transformer_open(const struct model *m, const struct transformer_params *params,
                                     struct error *err) {
    struct transformer *t = calloc(1, sizeof *t);
    if (!t) {
        error_set(err, KQ_NO_MEMORY, "out of memory");
        return NULL;
    }
    t->m = m;
    t->p = *params;
    int64_t widest = m->hp.n_head > m->hp.rope_dim ? m->hp.n_head : m->hp.rope_dim;
    if (params->n_batch > INT_MAX / widest) { // so that heads and angles of a batch fit an int
        error_set(err, KQ_NO_MEMORY,
                  "a batch of %d tokens is too large for %d heads with rope over %d dimensions",
                  params->n_batch, m->hp.n_head, m->hp.rope_dim);
        transformer_close(t);
        return NULL;
    }
    if (allocate(t, err) < 0 || kv_open(t, err) < 0 ||
        matmul_open(&t->mm, t->p.isa, t->p.threads, t->p.reference, widest_input(&m->hp),
                    t->p.n_batch, err) < 0) {
        transformer_close(t);
        return NULL;
    }
    t->mm.stop = t->p.stop;
    rope_frequencies(&t->rope, m, (double)m->hp.rope_base, t->p.n_ctx, true);
    rope_frequencies(&t->rope_swa, m, (double)m->hp.rope_base_swa, t->p.n_ctx,
                     !m->family->swa_unscaled);
    return t;
}

void transformer_close(struct transformer *t) {
    if (!t) return;
    if (t->kv_map) munmap(t->kv_map, t->kv_bytes);
    matmul_close(&t->mm);
    free(t->rope.inv_freq);
    free(t->rope_swa.inv_freq);
    free(t->expert_ids);
    free(t->kv);
    free(t->block);
    free(t);
}

size_t transformer_scratch_bytes(const struct transformer *t) {
    return t->block_floats * sizeof(float) + t->mm.scratch_bytes;
}

size_t transformer_reference_bytes(const struct transformer *t) {
    return t->mm.reference_peak_bytes;
}
