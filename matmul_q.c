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
                          size_t x_stride, int n_tokens, float *y, size_t y_stride) {
    for (int r = 0; r < n_rows; r++) {
        float panel[KC], lanes[GEMV_TOKENS * LANES] = {0};
        for (int64_t k = 0; k < w->n_cols; k += KC) {
            int kc = min_int(w->n_cols - k, KC);
            portable_panel(w, row + r, 1, k, kc, panel);
            portable_tile(lanes, panel, x + k, x_stride, round_up(kc, LANE_GROUP), n_tokens);
        }
        for (int t = 0; t < n_tokens; t++) {
            y[(size_t)t * y_stride + (size_t)r] = sum_lanes(lanes + t * LANES);
        }
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
    .gemv_most = 1,
    .panel_rows = 1,
    .tile_tokens = 64,
    .tile = portable_tile,
    .sum_rows = portable_sum_rows,
    .to_lanes = portable_to_lanes,
    .fma_loop = portable_fma_loop,
    .fma_loop_macs = LANES,
    .integers = &integers_portable,
    .ops = &ops_portable,
};

/* ---- the table, best first ------------------------------------------------------------------- */

const struct isa *const isa_all[] = {
#if defined(__x86_64__)
    &isa_avx512vnni, &isa_avx512, &isa_avx2,
#elif defined(__aarch64__)
    &isa_neon_i8mm, &isa_neon_dotprod, &isa_neon,
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

/* Rows of integers that are computed for n tokens: from three on what makes whole fours. */
static int integer_rows_of(int n_tokens) {
    return n_tokens < 3 ? n_tokens : (n_tokens + 3) / 4 * 4;
}

/* The arrays of m->integers, in one allocation: it begins at q. */
static size_t lay_out_integers(struct matmul *m, uint8_t *memory) {
    size_t n = (size_t)m->max_parts * (size_t)integer_rows_of(m->max_tokens),
           planes = (size_t)m->act / 8;
    struct act_input *x = &m->integers;
    size_t q = n * planes * ACT_PART, less16 = n * planes * (ACT_PART / 16) * sizeof(int32_t);
    size_t less32 = less16 / 2, wide = n * ACT_PART * sizeof(int16_t), scale = n * sizeof(float);
    if (memory) {
        x->planes = (int)planes;
        x->q = (int8_t *)memory;
        x->less16 = (int32_t *)(void *)(memory + q);
        x->less32 = (int32_t *)(void *)(memory + q + less16);
        x->wide = (int16_t *)(void *)(memory + q + less16 + less32);
        x->scale = (float *)(void *)(memory + q + less16 + less32 + wide);
    }
    return q + less16 + less32 + wide + scale;
}

int matmul_open(struct matmul *m, const struct isa *isa, struct threads *threads, bool reference,
                int act, struct act_check *check, int64_t max_cols, int max_tokens,
                struct error *err) {
    size_t padded = (size_t)round_up_u64((uint64_t)max_cols, LANE_GROUP);
    size_t rows = (size_t)isa->panel_rows, n = (size_t)max_tokens;
    *m = (struct matmul){.isa = isa,
                         .threads = threads,
                         .reference = reference,
                         .act = act,
                         .check = act == ACT_FLOAT ? NULL : check,
                         .max_cols = max_cols,
                         .max_tokens = max_tokens,
                         .max_parts = max_cols / ACT_PART + MAX_INPUTS};
    m->subnormal = isa->gemv_subnormal && subnormals_cost_nothing(isa);
    m->work_floats = rows * KC + rows * LANES * n;
    size_t work_bytes = m->work_floats * (size_t)threads_count(threads) * sizeof(float);
    size_t x_bytes = padded * (n < 2 ? 2 : n) * sizeof(float); // a single token's twice
    size_t integer_bytes = act == ACT_FLOAT ? 0 : lay_out_integers(m, NULL);
    m->scratch_bytes = x_bytes + work_bytes + integer_bytes + (m->check ? x_bytes : 0);
    m->x = malloc(x_bytes);
    m->work = malloc(work_bytes);
    uint8_t *integers = integer_bytes ? malloc(integer_bytes) : NULL;
    if (integers) lay_out_integers(m, integers);
    if (m->check) m->unquantized = malloc(x_bytes);
    if (m->x && m->work && (integers || !integer_bytes) && (m->unquantized || !m->check)) return 0;
    size_t needed = m->scratch_bytes;
    matmul_close(m);
    return error_set(err, KQ_NO_MEMORY,
                     "out of memory: products of %d tokens with %lld columns need %zu bytes",
                     max_tokens, (long long)max_cols, needed);
}

void matmul_close(struct matmul *m) {
    free(m->x);
    free(m->work);
    free(m->integers.q);
    free(m->unquantized);
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

/* Products at work. Their rows, or groups of rows, are numbered through, and a piece of the job
 * covers some of them. */
struct job {
    const struct matmul *m;
    const struct product *products;
    int n_products;
    int n_tokens;
    float *x; // in lane order: what the first product takes
};

/* Where the input of a product lies, or would lie, in either form. */
struct place {
    float *x;
    int64_t part;
};

/* Whether product i is one of integers. */
static bool of_integers(const struct matmul *m, const struct product *p) {
    return m->act != ACT_FLOAT && act_supported(p->w->type);
}

/* Each different input takes so many floats for every token. */
static size_t x_floats(const struct product *p) {
    return (size_t)round_up_u64((uint64_t)p->w->n_cols, LANE_GROUP);
}

static int64_t parts_of(const struct product *p) {
    return (p->w->n_cols + ACT_PART - 1) / ACT_PART;
}

/* Whether product i takes the input that the one before it takes. */
static bool shares_input(const struct product *products, int i) {
    if (i == 0) return false;
    const struct product *p = &products[i - 1], *q = &products[i];
    return p->x == q->x && p->x_stride == q->x_stride && p->w->n_cols == q->w->n_cols;
}

/* Whether the tokens are few enough for gemv. */
static bool by_gemv(const struct job *job) {
    const struct matmul *m = job->m;
    return job->n_tokens == 1 || (m->act == ACT_FLOAT && job->n_tokens <= m->isa->gemv_most);
}

static struct place first_place(const struct job *job) {
    return (struct place){job->x, 0};
}

/* The place of product i's input, given that of the one before it. */
static struct place next_place(const struct job *job, int i, struct place at) {
    if (i == 0 || shares_input(job->products, i)) return at;
    const struct product *p = &job->products[i - 1];
    at.x += x_floats(p) * (job->n_tokens == 1 ? 2 : (size_t)job->n_tokens);
    at.part += parts_of(p);
    return at;
}

/* Whether one of the products from i on that share an input wants it in the form asked for. */
static bool input_wanted(const struct job *job, int i, bool as_integers) {
    do {
        if (of_integers(job->m, &job->products[i]) == as_integers) return true;
        i++;
    } while (i < job->n_products && shares_input(job->products, i));
    return false;
}

/* The input for panels lies as (blocks of KC columns, tokens, columns of the block), so that what
 * one needs is contiguous. Returns where block k0 begins and its row length. */
static float *x_block(float *x, int64_t n_cols, int n_tokens, int64_t k0, int *kc) {
    *kc = round_up(min_int(n_cols - k0, KC), LANE_GROUP);
    return x + (size_t)k0 * (size_t)n_tokens;
}

/* As integers the same, in parts of ACT_PART columns. */
static struct act_input integers_at(const struct job *job, int64_t part) {
    struct act_input x = job->m->integers;
    x.n_tokens = job->n_tokens;
    x.n_rows = integer_rows_of(job->n_tokens);
    size_t at = (size_t)part * (size_t)x.n_rows, planes = at * (size_t)x.planes;
    x.q += planes * ACT_PART;
    x.less16 += planes * (ACT_PART / 16);
    x.less32 += planes * (ACT_PART / 32);
    x.wide += at * ACT_PART;
    x.scale += at;
    return x;
}

static const float *input_of(const struct product *p, long t) {
    return p->x + (size_t)t * (p->x_stride ? p->x_stride : (size_t)p->w->n_cols);
}

static void permute_token(const struct job *job, const struct product *p, long t, float *x) {
    if (by_gemv(job)) {
        size_t n = x_floats(p);
        float *to = x + (size_t)t * n;
        job->m->isa->to_lanes(to, input_of(p, t), p->w->n_cols);
        for (size_t k = 0; k < n && job->n_tokens == 1; k++) to[n + k] = to[k] * GEMV_SCALE;
        return;
    }
    for (int64_t k = 0; k < p->w->n_cols; k += KC) {
        int kc;
        float *block = x_block(x, p->w->n_cols, job->n_tokens, k, &kc);
        job->m->isa->to_lanes(block + (size_t)t * (size_t)kc, input_of(p, t) + k,
                              min_int(p->w->n_cols - k, KC));
    }
}

/* For m->check: token t of an input, a copy, as results may overwrite it. */
static float *unquantized(const struct job *job, const struct product *p, struct place at, long t) {
    return job->m->unquantized + (at.x - job->x) + (size_t)t * x_floats(p);
}

static void quantize_token(const struct job *job, const struct product *p, long t,
                           struct place place) {
    struct act_input to = integers_at(job, place.part);
    if (job->m->check) {
        memcpy(unquantized(job, p, place, t), input_of(p, t), (size_t)p->w->n_cols * sizeof(float));
    }
    for (int64_t k = 0; k < p->w->n_cols; k += ACT_PART) {
        size_t at = (size_t)(k / ACT_PART) * (size_t)to.n_rows + (size_t)t;
        job->m->isa->integers->quantize(input_of(p, t) + k, min_int(p->w->n_cols - k, ACT_PART),
                                        &to, at);
    }
}

static void prepare_tokens(void *arg, long begin, long end, int thread) {
    (void)thread;
    const struct job *job = arg;
    struct place at = first_place(job);
    for (int i = 0; i < job->n_products; i++) {
        const struct product *p = &job->products[i];
        at = next_place(job, i, at);
        if (shares_input(job->products, i)) continue;
        bool floats = input_wanted(job, i, false), integers = input_wanted(job, i, true);
        for (long t = begin; t < end; t++) {
            if (floats) permute_token(job, p, t, at.x);
            if (integers) quantize_token(job, p, t, at);
        }
    }
}

/* ---- the profile ----------------------------------------------------------------------------- */

static int64_t begin_noting(const struct matmul *m) {
    return m->profile ? profile_clock() : 0;
}

/* A thread was at work on the product since then. Gives the time now. */
static int64_t note_product(const struct job *job, const struct product *p, int thread,
                            int64_t since) {
    int line = profile_product(p->w->type, job->n_tokens);
    return job->m->profile ? profile_note(job->m->profile, thread, line, since) : 0;
}

static void lap(const struct matmul *m, const char *what) {
    if (m->profile) profile_lap(m->profile, profile_named(m->profile, what));
}

/* The products are done. */
static void lap_of_products(const struct job *job) {
    struct profile *profile = job->m->profile;
    if (!profile) return;
    for (int i = 0; i < job->n_products; i++) {
        const struct product *p = &job->products[i];
        struct profile_line *line = &profile->lines[profile_product(p->w->type, job->n_tokens)];
        line->macs += (double)(p->w->n_rows * p->w->n_cols) * job->n_tokens;
        line->bytes += (double)p->w->n_rows * (double)p->w->row_bytes;
        line->integers = of_integers(job->m, p);
    }
    profile_lap_of_threads(profile, PROFILE_OTHER);
}

/* ---- integers -------------------------------------------------------------------------------- */

static void integer_rows(const struct job *job, const struct product *p, int64_t row, int n_rows,
                         int64_t part, float *work) {
    struct act_input x = integers_at(job, part);
    size_t y_stride = p->y_stride ? p->y_stride : (size_t)p->w->n_rows;
    job->m->isa->integers->product[p->w->type](p->w, row, n_rows, &x, p->y + row, y_stride, work);
}

/* ---- few tokens ------------------------------------------------------------------------------ */

/* Some rows of a product times all tokens. Several lots of tokens take few rows at a time, so that
 * these come from a cache for all lots but the first. */
#define GEMV_LOT_ROWS 32

static void gemv_tokens(const struct job *job, const struct product *p, int64_t row, int n_rows,
                        const float *x) {
    const struct matrix *w = p->w;
    bool subnormal = job->m->subnormal && job->n_tokens == 1;
    gemv_fn *gemv = isa_gemv(job->m->isa, w->type, subnormal);
    size_t x_stride = x_floats(p), y_stride = p->y_stride ? p->y_stride : (size_t)w->n_rows;
    int rows_at_once = job->n_tokens <= GEMV_TOKENS ? n_rows : GEMV_LOT_ROWS;
    for (int r = 0; r < n_rows; r += rows_at_once) {
        int n = min_int(n_rows - r, rows_at_once);
        for (int t = 0; t < job->n_tokens; t += GEMV_TOKENS) {
            gemv(w, row + r, n, x + (size_t)t * x_stride, x_stride,
                 min_int(job->n_tokens - t, GEMV_TOKENS), p->y + (size_t)t * y_stride + row + r,
                 y_stride);
        }
    }
}

static void gemv_rows(void *arg, long begin, long end, int thread) {
    const struct job *job = arg;
    const struct matmul *m = job->m;
    int64_t since = begin_noting(m);
    float *work = m->work + (size_t)thread * m->work_floats;
    struct place at = first_place(job);
    long first = 0; // number of the product's row 0
    for (int i = 0; i < job->n_products && begin < end; i++) {
        const struct product *p = &job->products[i];
        long stop = first + (long)p->w->n_rows;
        at = next_place(job, i, at);
        if (begin < stop) {
            int64_t row = begin - first;
            int n = (int)((end < stop ? end : stop) - begin);
            if (of_integers(m, p)) {
                integer_rows(job, p, row, n, at.part, work);
            } else {
                gemv_tokens(job, p, row, n, at.x);
            }
            begin += n;
            since = note_product(job, p, thread, since);
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

/* Rows that a batch passes by together. */
static int panel_rows(const struct matmul *m, const struct product *p) {
    return of_integers(m, p) ? 2 * m->isa->integers->rows : m->isa->panel_rows;
}

static long panels_of(const struct matmul *m, const struct product *p) {
    int rows = panel_rows(m, p);
    return (long)((p->w->n_rows + rows - 1) / rows);
}

static void gemm_panels(void *arg, long begin, long end, int thread) {
    const struct job *job = arg;
    const struct matmul *m = job->m;
    int64_t since = begin_noting(m);
    float *panel = m->work + (size_t)thread * m->work_floats;
    struct place at = first_place(job);
    long first = 0; // number of the product's panel 0
    for (int i = 0; i < job->n_products && begin < end; i++) {
        const struct product *p = &job->products[i];
        int rows = panel_rows(m, p);
        long stop = first + panels_of(m, p);
        bool mine = begin < stop;
        at = next_place(job, i, at);
        for (; begin < end && begin < stop; begin++) {
            int64_t row = (begin - first) * rows;
            if (of_integers(m, p)) {
                integer_rows(job, p, row, min_int(p->w->n_rows - row, rows), at.part, panel);
            } else {
                gemm_panel(job, p, row, at.x, panel, panel + rows * KC);
            }
        }
        if (mine) since = note_product(job, p, thread, since);
        first = stop;
    }
}

/* ---- pieces ---------------------------------------------------------------------------------- */

/* What a thread takes at a time; threads.h says how long that should last. Few tokens: equal pieces
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
#define PREPARE_PIECE_TOKENS 8

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
        const struct product *p = &job->products[i];
        n += by_gemv(job) ? (long)p->w->n_rows : panels_of(m, p);
    }
    if (by_gemv(job)) {
        parallel_for(m->threads, m->stop, n, gemv_grain(job, n), gemv_rows, job);
    } else {
        long grain = 1 + GEMM_PIECE_ROWS / m->isa->panel_rows;
        parallel_for(m->threads, m->stop, n, grain, gemm_panels, job);
    }
    lap_of_products(job);
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
    lap(m, "dequantizing (--reference)");
    struct matrix f32 = {GGML_TYPE_F32, w->n_rows, w->n_cols, row_bytes, (const uint8_t *)job.out};
    struct product copy = *product;
    copy.w = &f32;
    struct job one = {m, &copy, 1, n_tokens, x};
    run_products(&one);
    free(job.out);
}

/* ---- products of integers against their bounds ----------------------------------------------- */

#define CHECK_PIECE_ROWS 4
#define CHECK_TOKENS 32 // that share the unpacking of a row

struct check_job {
    const struct job *job;
    const struct product *p;
    struct place at;
};

/* Bits of doubles that are not negative have their order. */
static void note_largest(atomic_ullong *largest, double ratio) {
    unsigned long long bits, old = atomic_load(largest);
    memcpy(&bits, &ratio, sizeof bits);
    while (bits > old && !atomic_compare_exchange_weak(largest, &old, bits)) continue;
}

static void check_number(struct act_check *check, double y, const struct act_bound *b,
                         const struct matrix *w) {
    double difference = fabs(y - b->product);
    if (!isfinite(b->product) || !isfinite(b->bound)) return;
    atomic_fetch_add(&check->n_numbers, 1);
    note_largest(&check->largest, difference > 0 ? difference / b->bound : 0);
    if (!(difference <= b->bound)) atomic_store(&check->at, w->data);
}

static void check_rows(void *arg, long begin, long end, int thread) {
    (void)thread;
    const struct check_job *c = arg;
    const struct product *p = c->p;
    size_t y_stride = p->y_stride ? p->y_stride : (size_t)p->w->n_rows;
    for (long r = begin; r < end; r++) {
        const uint8_t *row = p->w->data + (size_t)r * p->w->row_bytes;
        for (int t = 0; t < c->job->n_tokens; t += CHECK_TOKENS) {
            struct act_bound bounds[CHECK_TOKENS];
            int n = min_int(c->job->n_tokens - t, CHECK_TOKENS);
            act_bounds(bounds, p->w->type, row, p->w->n_cols, unquantized(c->job, p, c->at, t),
                       x_floats(p), n, c->job->m->act);
            for (int i = 0; i < n; i++) {
                double y = (double)p->y[(size_t)(t + i) * y_stride + (size_t)r];
                check_number(c->job->m->check, y, &bounds[i], p->w);
            }
        }
    }
}

static void check_integers(const struct job *job) {
    const struct matmul *m = job->m;
    struct place at = first_place(job);
    for (int i = 0; i < job->n_products; i++) {
        at = next_place(job, i, at);
        struct check_job c = {job, &job->products[i], at};
        if (!of_integers(m, c.p)) continue;
        parallel_for(m->threads, m->stop, (long)c.p->w->n_rows, CHECK_PIECE_ROWS, check_rows, &c);
    }
}

static bool inputs_fit(const struct matmul *m, const struct product *products, int n_products) {
    uint64_t n = 0;
    int64_t n_parts = 0;
    for (int i = 0; i < n_products; i++) {
        if (shares_input(products, i)) continue;
        n += x_floats(&products[i]);
        n_parts += parts_of(&products[i]);
    }
    return n <= round_up_u64((uint64_t)m->max_cols, LANE_GROUP) && n_parts <= m->max_parts;
}

void mul_mat(struct matmul *m, const struct product *products, int n_products, int n_tokens) {
    struct job job = {m, products, n_products, n_tokens, m->x};
    assert(n_tokens <= m->max_tokens && inputs_fit(m, products, n_products));
    parallel_for(m->threads, m->stop, n_tokens, PREPARE_PIECE_TOKENS, prepare_tokens, &job);
    lap(m, PRODUCT_INPUTS);
    if (!m->reference) {
        run_products(&job);
        if (m->check && !(m->stop && atomic_load(m->stop))) {
            check_integers(&job);
            lap(m, "checking products (--verify)");
        }
        return;
    }
    struct place at = first_place(&job);
    for (int i = 0; i < n_products; i++) {
        at = next_place(&job, i, at);
        run_reference(m, &products[i], at.x, n_tokens);
    }
}
