#include "matmul_q.h"
#include "round.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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

static float portable_fma_loop(int64_t n) {
    float sum[LANES] = {0};
    for (int64_t i = 0; i < n * LANES; i++) sum[i % LANES] = fmaf(1, 1, sum[i % LANES]);
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
    m->work_floats = rows * KC + rows * LANES * n;
    size_t work_bytes = m->work_floats * (size_t)threads_count(threads) * sizeof(float);
    m->scratch_bytes = padded * n * sizeof(float) + work_bytes;
    m->x = malloc(padded * n * sizeof(float));
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

/* ---- one token ------------------------------------------------------------------------------- */

/* The rows of all products are numbered through; a job covers some of them. */
struct job {
    struct matmul *m;
    const struct product *products;
    int n_products;
    int n_tokens;
};

static void gemv_rows(void *arg, long begin, long end, int thread) {
    (void)thread;
    const struct job *job = arg;
    long first = 0; // number of the product's row 0
    for (int i = 0; i < job->n_products && begin < end; i++) {
        const struct matrix *w = job->products[i].w;
        long stop = first + (long)w->n_rows;
        if (begin < stop) {
            int64_t row = begin - first;
            int n = (int)((end < stop ? end : stop) - begin);
            isa_gemv(job->m->isa, w->type)(w, row, n, job->m->x, job->products[i].y + row);
            begin += n;
        }
        first = stop;
    }
}

/* ---- a batch --------------------------------------------------------------------------------- */

/* The activations of a batch lie as (blocks of KC columns, tokens, columns of the block), so that
 * what a panel needs is contiguous. Returns where block k0 begins and its row length. */
static float *x_block(const struct matmul *m, int64_t n_cols, int n_tokens, int64_t k0, int *kc) {
    *kc = round_up(min_int(n_cols - k0, KC), LANE_GROUP);
    return m->x + (size_t)k0 * (size_t)n_tokens;
}

/* One panel of rows times all tokens. */
static void gemm_panel(const struct matmul *m, const struct product *p, int64_t row, int n_tokens,
                       float *panel, float *sums) {
    const struct isa *isa = m->isa;
    const struct matrix *w = p->w;
    panel_fn *panel_of_type = isa_panel(isa, w->type);
    int rows = isa->panel_rows, n_rows = min_int(w->n_rows - row, rows);
    memset(sums, 0, (size_t)(rows * LANES) * (size_t)n_tokens * sizeof(float));
    for (int64_t k = 0; k < w->n_cols; k += KC) {
        int kc;
        const float *x = x_block(m, w->n_cols, n_tokens, k, &kc);
        panel_of_type(w, row, n_rows, k, min_int(w->n_cols - k, KC), panel);
        for (int t = 0; t < n_tokens; t += isa->tile_tokens) {
            isa->tile(sums + (size_t)t * (size_t)(rows * LANES), panel, x + (size_t)t * (size_t)kc,
                      (size_t)kc, kc, min_int(n_tokens - t, isa->tile_tokens));
        }
    }
    for (int t = 0; t < n_tokens; t++) {
        isa->sum_rows(sums + t * rows * LANES, n_rows, p->y + t * w->n_rows + row);
    }
}

static void gemm_panels(void *arg, long begin, long end, int thread) {
    const struct job *job = arg;
    const struct matmul *m = job->m;
    int rows = m->isa->panel_rows;
    float *panel = m->work + (size_t)thread * m->work_floats;
    long first = 0; // number of the product's panel 0
    for (int i = 0; i < job->n_products; i++) {
        const struct product *p = &job->products[i];
        long stop = first + (long)((p->w->n_rows + rows - 1) / rows);
        for (; begin < end && begin < stop; begin++) {
            gemm_panel(m, p, (begin - first) * rows, job->n_tokens, panel, panel + rows * KC);
        }
        first = stop;
    }
}

struct lanes_job {
    const struct matmul *m;
    const float *x;
    int64_t n_cols;
    int n_tokens;
};

static void permute_tokens(void *arg, long begin, long end, int thread) {
    (void)thread;
    const struct lanes_job *job = arg;
    for (long t = begin; t < end; t++) {
        for (int64_t k = 0; k < job->n_cols; k += KC) {
            int kc;
            float *block = x_block(job->m, job->n_cols, job->n_tokens, k, &kc);
            job->m->isa->to_lanes(block + (size_t)t * (size_t)kc, job->x + t * job->n_cols + k,
                                  min_int(job->n_cols - k, KC));
        }
    }
}

/* One token: equal pieces of about half a megabyte of weights, so that every thread reads long runs
 * of memory (pieces of 64 kB alternating between two threads cost a fifth), and of whole groups of
 * 8 rows. A batch: about 24 rows. */
#define GEMV_PIECE_BYTES (512 << 10)

static long gemv_grain(const struct matmul *m, const struct product *products, int n_products,
                       long n) {
    size_t bytes = 0, threads = (size_t)threads_count(m->threads);
    for (int i = 0; i < n_products; i++) {
        bytes += (size_t)products[i].w->n_rows * products[i].w->row_bytes;
    }
    long pieces = (long)(threads * (bytes / (threads * GEMV_PIECE_BYTES) + 1));
    return (n / pieces + 8) / 8 * 8;
}

static void run_products(struct matmul *m, const struct product *products, int n_products,
                         int n_tokens) {
    struct job job = {m, products, n_products, n_tokens};
    long n = 0;
    if (n_tokens == 1) {
        for (int i = 0; i < n_products; i++) n += (long)products[i].w->n_rows;
        parallel_for(m->threads, m->stop, n, gemv_grain(m, products, n_products, n), gemv_rows,
                     &job);
    } else {
        int rows = m->isa->panel_rows;
        for (int i = 0; i < n_products; i++) n += (long)((products[i].w->n_rows + rows - 1) / rows);
        parallel_for(m->threads, m->stop, n, 1 + 24 / rows, gemm_panels, &job);
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

static void run_reference(struct matmul *m, const struct product *product, int n_tokens) {
    const struct matrix *w = product->w;
    size_t row_bytes = (size_t)w->n_cols * sizeof(float), bytes = (size_t)w->n_rows * row_bytes;
    struct dequantize_job job = {w, malloc(bytes)};
    if (!job.out) {
        m->failed = true;
        return;
    }
    if (bytes > m->reference_peak_bytes) m->reference_peak_bytes = bytes;
    parallel_for(m->threads, m->stop, (long)w->n_rows, 16, dequantize_rows, &job);
    struct matrix f32 = {GGML_TYPE_F32, w->n_rows, w->n_cols, row_bytes, (const uint8_t *)job.out};
    struct product copy = {&f32, product->y};
    run_products(m, &copy, 1, n_tokens);
    free(job.out);
}

void mul_mat(struct matmul *m, const struct product *products, int n_products, const float *x,
             int n_tokens) {
    struct lanes_job job = {m, x, products[0].w->n_cols, n_tokens};
    parallel_for(m->threads, m->stop, n_tokens, 8, permute_tokens, &job);
    if (!m->reference) {
        run_products(m, products, n_products, n_tokens);
    } else {
        for (int i = 0; i < n_products; i++) run_reference(m, &products[i], n_tokens);
    }
}
