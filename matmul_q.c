#include "matmul_q.h"
#include "fpstate.h"
#include "round.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- portable C: the specification ----------------------------------------------------------- */

static int min_int(int64_t a, int64_t b) {
    return (int)(a < b ? a : b);
}

static void portable_to_lanes(float *dst, const float *x, int64_t k) {
    for (int64_t group = 0; group < k; group += LANE_GROUP) {
        for (int i = 0; i < LANE_GROUP; i++) {
            int lane = i / 4, step = i % 4;
            dst[group + LANES * step + lane] = group + i < k ? x[group + i] : 0;
        }
    }
}

/* KC columns at most, dequantized and put in lane order. */
static void portable_panel(const struct matrix *w, int64_t row, int n_rows, int64_t k0, int kc,
                           float *panel) {
    (void)n_rows; // panel_rows is 1
    float weights[KC];
    const struct ggml_type_info *t = ggml_type_info(w->type);
    const uint8_t *blocks =
        w->data + (size_t)row * w->row_bytes + (size_t)(k0 / t->block_len) * (size_t)t->block_bytes;
    dequantize_row(w->type, blocks, weights, kc);
    portable_to_lanes(panel, weights, kc);
}

/* A panel's KC columns begin and end at blocks. */
#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN(dequantize, static_assert(KC % (len) == 0, #NAME ": KC is whole blocks");)
#include "types.def"

static void portable_tile(float *acc, const float *panel, const float *x, size_t x_stride, int kc,
                          int n_tokens) {
    for (int t = 0; t < n_tokens; t++, acc += LANES, x += x_stride) {
        for (int k = 0; k < kc; k++) acc[k % LANES] = fmaf(panel[k], x[k], acc[k % LANES]);
    }
}

static float sum_lanes(const float *l) {
    return ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
}

static void portable_gemv(const struct matrix *w, int64_t row, int n_rows, const float *x,
                          float *y) {
    for (int r = 0; r < n_rows; r++) {
        float panel[KC], lanes[LANES] = {0};
        for (int64_t k = 0; k < w->n_cols; k += KC) {
            int kc = min_int(w->n_cols - k, KC);
            portable_panel(w, row + r, 1, k, kc, panel);
            portable_tile(lanes, panel, x + k, 0, round_up(kc, LANE_GROUP), 1);
        }
        y[r] = sum_lanes(lanes);
    }
}

static void portable_sum_rows(const float *acc, int n_rows, float *y) {
    for (int r = 0; r < n_rows; r++) y[r] = sum_lanes(acc + r * LANES);
}

static float portable_fma_loop(int64_t n, float a, float b) {
    float sum[LANES] = {0};
    for (int64_t i = 0; i < n * LANES; i++) sum[i % LANES] = fmaf(a, b, sum[i % LANES]);
    return sum_lanes(sum);
}

static bool always(void) {
    return true;
}

const struct isa isa_portable = {
    .name = "portable",
    .usable = always,
    .gemv_any = portable_gemv,
    .panel_any = portable_panel,
    .panel_rows = 1,
    .tile_tokens = 64,
    .tile = portable_tile,
    .sum_rows = portable_sum_rows,
    .to_lanes = portable_to_lanes,
    .fma_loop = portable_fma_loop,
    .fma_loop_macs = LANES,
    .ops = &ops_portable,
};

/* ---- the table, best first ------------------------------------------------------------------- */

const struct isa *const isa_all[] = {
#if defined(__x86_64__)
    &isa_avx512, &isa_avx2,
#elif defined(__aarch64__)
    &isa_neon,
#endif
    &isa_portable, NULL};

const struct isa *isa_best(void) {
    int i = 0;
    while (!isa_all[i]->usable()) i++; // NOLINT(clang-analyzer-*): the last is
    return isa_all[i];
}

const struct isa *isa_find(const char *name) {
    for (int i = 0; isa_all[i]; i++) {
        if (strcmp(isa_all[i]->name, name) == 0) return isa_all[i];
    }
    return NULL;
}

/* ---- what a subnormal number costs ----------------------------------------------------------- */

static double seconds_of(const struct isa *isa, float a, float b) {
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    volatile float keep = isa->fma_loop(64, a, b);
    clock_gettime(CLOCK_MONOTONIC, &end);
    (void)keep;
    return (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
}

/* Whether FMAs take subnormal operands as fast as others: on some processors they do, on others
 * each takes a hundred times as long. Half a microsecond of multiply-adds each, the best of five.
 */
static bool subnormals_cost_nothing(const struct isa *isa) {
    static atomic_int known; // 1: they do, 2: they do not
    int answer = atomic_load(&known);
    if (answer) return answer == 1;
    struct fp_state callers = fp_enter();
    double normal = 1, subnormal = 1;
    for (int i = 0; i < 5; i++) {
        normal = fmin(normal, seconds_of(isa, 1, 1));
        subnormal = fmin(subnormal, seconds_of(isa, 5 * 0x1p-149f, 0x1p100f));
    }
    fp_leave(callers);
    answer = subnormal <= 1.5 * normal ? 1 : 2;
    atomic_store(&known, answer);
    return answer == 1;
}

/* ---- open, checks ---------------------------------------------------------------------------- */

int matmul_open(struct matmul *m, const struct isa *isa, struct threads *threads, bool reference,
                int64_t max_cols, int max_tokens, struct error *err) {
    size_t padded = (size_t)round_up_u64((uint64_t)max_cols, LANE_GROUP);
    size_t rows = (size_t)isa->panel_rows, n = (size_t)max_tokens;
    *m = (struct matmul){.isa = isa,
                         .threads = threads,
                         .reference = reference,
                         .max_cols = max_cols,
                         .max_tokens = max_tokens};
    m->subnormal = isa->gemv_subnormal && subnormals_cost_nothing(isa);
    m->work_floats = rows * KC + rows * LANES * n;
    size_t work_bytes = m->work_floats * (size_t)threads_count(threads) * sizeof(float);
    size_t x_bytes = padded * (n < 2 ? 2 : n) * sizeof(float); // a single token's twice
    m->scratch_bytes = x_bytes + work_bytes;
    m->x = malloc(x_bytes);
    m->work = malloc(work_bytes);
    if (m->x && m->work) return 0;
    size_t needed = m->scratch_bytes;
    matmul_close(m);
    return error_set(err, KQ_NO_MEMORY,
                     "out of memory: products of %d tokens with %lld columns need %zu bytes",
                     max_tokens, (long long)max_cols, needed);
}

void matmul_close(struct matmul *m) {
    free(m->x);
    free(m->work);
    *m = (struct matmul){0};
}

/* Of the data: that of the type's block struct. */
static const uint8_t align_of[GGML_N_TYPES] = {
#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN(dequantize, [number] = _Alignof(block_##name), )
#include "types.def"
};

bool matmul_supports(const struct matrix *w, const char *name, struct error *err) {
    const struct ggml_type_info *t = ggml_type_info(w->type);
    if (!dequantize_supported(w->type)) {
        error_set(err, KQ_UNSUPPORTED, "%s: type %s (%u) is not one this engine computes with",
                  name, t ? t->name : "unknown", (unsigned)w->type);
        return false;
    }
    size_t align = align_of[w->type];
    if ((uintptr_t)w->data % align != 0) {
        error_set(err, KQ_BAD_FILE, "%s: data at an address that is no multiple of %zu", name,
                  align);
        return false;
    }
    return true;
}

/* ---- inputs ---------------------------------------------------------------------------------- */

/* Products at work. Their rows, or panels of rows, are numbered through, and a piece of the job
 * covers some of them. */
struct job {
    const struct matmul *m;
    const struct product *products;
    int n_products;
    int n_tokens;
    float *x; // in lane order: what the first product takes
};

/* Each different input takes so many floats for every token. */
static size_t x_floats(const struct product *p) {
    return (size_t)round_up_u64((uint64_t)p->w->n_cols, LANE_GROUP);
}

/* Whether product i takes the input that the one before it takes. */
static bool shares_input(const struct product *products, int i) {
    if (i == 0) return false;
    const struct product *p = &products[i - 1], *q = &products[i];
    return p->x == q->x && p->x_stride == q->x_stride && p->w->n_cols == q->w->n_cols;
}

/* Where the input of product i lies, given where that of the one before it does. */
static float *next_x(const struct job *job, int i, float *x) {
    if (i == 0 || shares_input(job->products, i)) return x;
    size_t times = job->n_tokens == 1 ? 2 : (size_t)job->n_tokens;
    return x + x_floats(&job->products[i - 1]) * times;
}

/* The input of one token lies as gemv_fn wants it. That of several lies as (blocks of KC columns,
 * tokens, columns of the block), so that what a panel needs is contiguous. Returns where block k0
 * begins and its row length. */
static float *x_block(float *x, int64_t n_cols, int n_tokens, int64_t k0, int *kc) {
    *kc = round_up(min_int(n_cols - k0, KC), LANE_GROUP);
    return x + (size_t)k0 * (size_t)n_tokens;
}

static void permute_token(const struct job *job, const struct product *p, long t, float *x) {
    size_t n_cols = (size_t)p->w->n_cols, stride = p->x_stride ? p->x_stride : n_cols;
    for (int64_t k = 0; k < p->w->n_cols; k += KC) {
        int kc;
        float *block = x_block(x, p->w->n_cols, job->n_tokens, k, &kc);
        job->m->isa->to_lanes(block + (size_t)t * (size_t)kc, p->x + (size_t)t * stride + k,
                              min_int(p->w->n_cols - k, KC));
    }
    size_t n = x_floats(p);
    for (size_t k = 0; k < n && job->n_tokens == 1; k++) x[n + k] = x[k] * GEMV_SCALE;
}

static void permute_tokens(void *arg, long begin, long end, int thread) {
    (void)thread;
    const struct job *job = arg;
    float *x = job->x;
    for (int i = 0; i < job->n_products; i++) {
        x = next_x(job, i, x);
        if (shares_input(job->products, i)) continue;
        for (long t = begin; t < end; t++) permute_token(job, &job->products[i], t, x);
    }
}

/* ---- one token ------------------------------------------------------------------------------- */

static void gemv_rows(void *arg, long begin, long end, int thread) {
    (void)thread;
    const struct job *job = arg;
    float *x = job->x;
    long first = 0; // number of the product's row 0
    for (int i = 0; i < job->n_products && begin < end; i++) {
        const struct matrix *w = job->products[i].w;
        long stop = first + (long)w->n_rows;
        x = next_x(job, i, x);
        if (begin < stop) {
            int64_t row = begin - first;
            int n = (int)((end < stop ? end : stop) - begin);
            isa_gemv(job->m->isa, w->type, job->m->subnormal)(w, row, n, x,
                                                              job->products[i].y + row);
            begin += n;
        }
        first = stop;
    }
}

/* ---- a batch --------------------------------------------------------------------------------- */

/* One panel of rows times all tokens. */
static void gemm_panel(const struct job *job, const struct product *p, int64_t row, float *x,
                       float *panel, float *sums) {
    const struct isa *isa = job->m->isa;
    const struct matrix *w = p->w;
    panel_fn *panel_of_type = isa_panel(isa, w->type);
    int rows = isa->panel_rows, n_rows = min_int(w->n_rows - row, rows), n_tokens = job->n_tokens;
    size_t y_stride = p->y_stride ? p->y_stride : (size_t)w->n_rows;
    memset(sums, 0, (size_t)(rows * LANES) * (size_t)n_tokens * sizeof(float));
    for (int64_t k = 0; k < w->n_cols; k += KC) {
        int kc;
        const float *block = x_block(x, w->n_cols, n_tokens, k, &kc);
        panel_of_type(w, row, n_rows, k, min_int(w->n_cols - k, KC), panel);
        for (int t = 0; t < n_tokens; t += isa->tile_tokens) {
            isa->tile(sums + (size_t)t * (size_t)(rows * LANES), panel,
                      block + (size_t)t * (size_t)kc, (size_t)kc, kc,
                      min_int(n_tokens - t, isa->tile_tokens));
        }
    }
    for (int t = 0; t < n_tokens; t++) {
        isa->sum_rows(sums + t * rows * LANES, n_rows, p->y + (size_t)t * y_stride + row);
    }
}

static long panels_of(const struct matmul *m, const struct matrix *w) {
    int rows = m->isa->panel_rows;
    return (long)((w->n_rows + rows - 1) / rows);
}

static void gemm_panels(void *arg, long begin, long end, int thread) {
    const struct job *job = arg;
    const struct matmul *m = job->m;
    int rows = m->isa->panel_rows;
    float *panel = m->work + (size_t)thread * m->work_floats, *x = job->x;
    long first = 0; // number of the product's panel 0
    for (int i = 0; i < job->n_products && begin < end; i++) {
        const struct product *p = &job->products[i];
        long stop = first + panels_of(m, p->w);
        x = next_x(job, i, x);
        for (; begin < end && begin < stop; begin++) {
            gemm_panel(job, p, (begin - first) * rows, x, panel, panel + rows * KC);
        }
        first = stop;
    }
}

/* ---- pieces ---------------------------------------------------------------------------------- */

/* What a thread takes at a time; threads.h says how long that should last. One token: equal pieces
 * of about half a megabyte of weights, so that every thread reads long runs of memory (pieces of
 * 64 kB alternating between two threads cost a fifth), and whole groups of rows, which vector
 * kernels decode side by side: 16 at most. */
#define GEMV_PIECE_BYTES (512 << 10)
#define GEMV_PIECE_ROWS 16

/* A batch: one panel more than fit so many rows, with vectors 36 or 48 rows. To decode them takes
 * 10 to 13 microseconds (4096 columns of Q5_K or Q6_K on Zen 4), so that a piece is long
 * enough even for two tokens. */
#define GEMM_PIECE_ROWS 24

/* 10 to 24 microseconds for rows of 4096, and 2 to 5 for tokens of 4096. */
#define DEQUANTIZE_PIECE_ROWS 16
#define PERMUTE_PIECE_TOKENS 8

static long gemv_grain(const struct job *job, long n_rows) {
    size_t bytes = 0, threads = (size_t)threads_count(job->m->threads);
    for (int i = 0; i < job->n_products; i++) {
        const struct matrix *w = job->products[i].w;
        bytes += (size_t)w->n_rows * w->row_bytes;
    }
    long pieces = (long)(threads * (bytes / (threads * GEMV_PIECE_BYTES) + 1));
    return (n_rows / pieces + GEMV_PIECE_ROWS) / GEMV_PIECE_ROWS * GEMV_PIECE_ROWS;
}

static void run_products(struct job *job) {
    const struct matmul *m = job->m;
    long n = 0;
    for (int i = 0; i < job->n_products; i++) {
        const struct matrix *w = job->products[i].w;
        n += job->n_tokens == 1 ? (long)w->n_rows : panels_of(m, w);
    }
    if (job->n_tokens == 1) {
        parallel_for(m->threads, m->stop, n, gemv_grain(job, n), gemv_rows, job);
    } else {
        long grain = 1 + GEMM_PIECE_ROWS / m->isa->panel_rows;
        parallel_for(m->threads, m->stop, n, grain, gemm_panels, job);
    }
}

/* ---- the reference path ---------------------------------------------------------------------- */

struct dequantize_job {
    const struct matrix *w;
    float *out;
};

static void dequantize_rows(void *arg, long begin, long end, int thread) {
    (void)thread;
    const struct dequantize_job *job = arg;
    const struct matrix *w = job->w;
    for (long r = begin; r < end; r++) {
        dequantize_row(w->type, w->data + (size_t)r * w->row_bytes, job->out + r * w->n_cols,
                       w->n_cols);
    }
}

static void run_reference(struct matmul *m, const struct product *product, float *x, int n_tokens) {
    const struct matrix *w = product->w;
    size_t row_bytes = (size_t)w->n_cols * sizeof(float), bytes = (size_t)w->n_rows * row_bytes;
    struct dequantize_job job = {w, malloc(bytes)};
    if (!job.out) {
        m->failed = true;
        return;
    }
    if (bytes > m->reference_peak_bytes) m->reference_peak_bytes = bytes;
    parallel_for(m->threads, m->stop, (long)w->n_rows, DEQUANTIZE_PIECE_ROWS, dequantize_rows,
                 &job);
    struct matrix f32 = {GGML_TYPE_F32, w->n_rows, w->n_cols, row_bytes, (const uint8_t *)job.out};
    struct product copy = *product;
    copy.w = &f32;
    struct job one = {m, &copy, 1, n_tokens, x};
    run_products(&one);
    free(job.out);
}

static bool inputs_fit(const struct matmul *m, const struct product *products, int n_products) {
    uint64_t n = 0;
    for (int i = 0; i < n_products; i++) {
        if (!shares_input(products, i)) n += x_floats(&products[i]);
    }
    return n <= round_up_u64((uint64_t)m->max_cols, LANE_GROUP);
}

void mul_mat(struct matmul *m, const struct product *products, int n_products, int n_tokens) {
    struct job job = {m, products, n_products, n_tokens, m->x};
    assert(n_tokens <= m->max_tokens && inputs_fit(m, products, n_products));
    parallel_for(m->threads, m->stop, n_tokens, PERMUTE_PIECE_TOKENS, permute_tokens, &job);
    if (!m->reference) {
        run_products(&job);
        return;
    }
    float *x = m->x;
    for (int i = 0; i < n_products; i++) {
        x = next_x(&job, i, x);
        run_reference(m, &products[i], x, n_tokens);
    }
}
