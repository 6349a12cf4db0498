/* Products: every kernel of every instruction set this CPU has, called directly and through
 * mul_mat, against the contract of matmul_q.h written once more below, bit for bit, with every
 * buffer between guard pages.
 *
 * usage: test_matmul [--full] [SEED]; without --full a covering subset of the shapes. */
#include "matmul_q.h"
#include "weights.h"

#include <math.h>

enum { MAX_ISAS = 24, MAX_PANEL = 64 * KC };
enum { MAX_ROWS = 35, MAX_TOKENS = 33, MAX_PRODUCTS = 3, N_POOLS = 3 };
enum { ROOM_X, ROOM_Y, ROOM_LANES, ROOM_WORK, ROOM_W }; // a ROOM_W for each product

static struct threads *pools[N_POOLS]; // of 1, 2 and 3 threads

/* Every instruction set of this CPU; each that has kernels once more as if it had none, what a type
 * without kernels goes through, and once more without those that use subnormal numbers. */
static struct isa isas[MAX_ISAS];
static int n_isas;

static int find_isas(void) {
    int n_skipped = 0;
    for (int i = 0; isa_all[i]; i++) {
        if (!isa_all[i]->usable()) {
            printf("SKIP %s (cpu)\n", isa_all[i]->name);
            n_skipped++;
            continue;
        }
        if (isa_all[i + 1] && isa_all[i]->tile == isa_all[i + 1]->tile) continue; // the next does
        if (n_isas + 3 > MAX_ISAS) {
            printf("more than %d instruction sets and variants of them\n", MAX_ISAS);
            exit(1);
        }
        isas[n_isas++] = *isa_all[i];
        if (!isa_all[i]->gemv) continue;
        static char names[2 * MAX_ISAS][32];
        snprintf(names[i], sizeof names[i], "%s without kernels,", isa_all[i]->name);
        isas[n_isas] = *isa_all[i];
        isas[n_isas].name = names[i];
        isas[n_isas].gemv = isas[n_isas].gemv_subnormal = NULL;
        isas[n_isas++].panel = NULL;
        snprintf(names[MAX_ISAS + i], sizeof names[i], "%s by conversions,", isa_all[i]->name);
        isas[n_isas] = *isa_all[i];
        isas[n_isas].name = names[MAX_ISAS + i];
        isas[n_isas++].gemv_subnormal = NULL;
    }
    return n_skipped;
}

/* ---- specification --------------------------------------------------------------------------- */

/* Written from the comment in matmul_q.h, not from the code. */
static float specified_dot(const float *w, const float *x, int64_t n) {
    float lane[8] = {0};
    for (int64_t k = 0; k < (n + 31) / 32 * 32; k++) {
        float *l = &lane[k % 32 / 4];
        *l = k < n ? fmaf(w[k], x[k], *l) : fmaf(0, 0, *l);
    }
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* Column k in lane order. */
static int64_t place_of(int64_t k) {
    return k / 32 * 32 + k % 4 * 8 + k % 32 / 4;
}

struct problem {
    struct matrix w[MAX_PRODUCTS];
    float *weights[MAX_PRODUCTS]; // (n_rows, n_cols) dequantized
    float *want[MAX_PRODUCTS];    // (n_tokens, n_rows)
    int n_products, n_tokens;
    int64_t n_cols;
    float *x; // (n_tokens, n_cols)
    enum fill fill;
    bool left;
    uint64_t seed; // that makes it
};

static long n_negative_zeros[GGML_N_TYPES]; // among the results expected

static void *alloc_floats(int64_t n) {
    void *p = malloc((size_t)n * sizeof(float));
    if (p) return p;
    printf("test_matmul: out of memory\n");
    exit(1);
}

static void add_product(struct problem *p, uint32_t type, int n_rows) {
    const struct ggml_type_info *t = ggml_type_info(type);
    int i = p->n_products++;
    size_t row_bytes = (size_t)(p->n_cols / t->block_len) * (size_t)t->block_bytes;
    uint8_t *data = place(ROOM_W + i, row_bytes * (size_t)n_rows, p->left);
    struct matrix *w = &p->w[i];
    *w = (struct matrix){type, n_rows, p->n_cols, row_bytes, data};
    fill_weights(w, data, p->fill);
    p->weights[i] = alloc_floats(n_rows * p->n_cols);
    p->want[i] = alloc_floats((int64_t)n_rows * p->n_tokens);
    for (int r = 0; r < n_rows; r++) {
        float *row = p->weights[i] + r * p->n_cols;
        dequantize_row(type, data + (size_t)r * row_bytes, row, p->n_cols);
        for (int token = 0; token < p->n_tokens; token++) {
            float y = specified_dot(row, p->x + token * p->n_cols, p->n_cols);
            p->want[i][token * n_rows + r] = y;
            n_negative_zeros[type] += float_bits(y) == 0x80000000;
        }
    }
}

static struct problem problem_open(int64_t n_cols, int n_tokens, enum fill fill) {
    struct problem p = {.n_cols = n_cols, .n_tokens = n_tokens, .fill = fill, .seed = seed};
    p.left = random_below(2);
    p.x = place_floats(ROOM_X, (size_t)(n_cols * n_tokens), p.left);
    fill_activations(p.x, n_cols, n_tokens, fill);
    return p;
}

static void problem_close(struct problem *p) {
    for (int i = 0; i < p->n_products; i++) {
        free(p->weights[i]);
        free(p->want[i]);
    }
}

/* "avx2 gemv of Q5_K, ..." */
static void announce(const struct isa *isa, const char *kernel, const struct problem *p,
                     int product) {
    const struct matrix *w = &p->w[product];
    snprintf(now, sizeof now, "%s %s of %s, %d x %d, %d tokens, fill %s, seed %llu", isa->name,
             kernel, ggml_type_info(w->type)->name, (int)w->n_rows, (int)w->n_cols, p->n_tokens,
             fill_names[p->fill], (unsigned long long)p->seed);
}

/* ---- direct calls ---------------------------------------------------------------------------- */

static int64_t padded(int64_t n) {
    return (n + LANE_GROUP - 1) / LANE_GROUP * LANE_GROUP;
}

/* Some rows of the first matrix times some tokens. */
static void check_gemv(const struct isa *isa, const struct problem *p, int row, int n_rows,
                       int token, int n_tokens) {
    const struct matrix *w = &p->w[0];
    size_t n = (size_t)padded(p->n_cols), stride = n + 8 * (size_t)random_below(3);
    size_t x_floats = n_tokens == 1 ? 2 * n : (size_t)(n_tokens - 1) * stride + n;
    size_t y_stride = (size_t)(n_rows + random_below(3));
    size_t y_floats = (size_t)(n_tokens - 1) * y_stride + (size_t)n_rows;
    float *x = place_floats(ROOM_LANES, x_floats, p->left);
    float *y = place_floats(ROOM_Y, y_floats, p->left);
    announce(isa, "gemv", p, 0);
    for (int t = 0; t < n_tokens; t++) {
        isa->to_lanes(x + (size_t)t * stride, p->x + (token + t) * p->n_cols, p->n_cols);
    }
    for (size_t k = 0; k < n && n_tokens == 1; k++) x[n + k] = x[k] * GEMV_SCALE;
    isa_gemv(isa, w->type, true)(w, row, n_rows, x, stride, n_tokens, y, y_stride);
    for (int t = 0; t < n_tokens; t++) {
        const float *got = y + (size_t)t * y_stride;
        const float *want = p->want[0] + (token + t) * w->n_rows + row;
        long bad = first_difference(got, want, (size_t)n_rows);
        CHECK(bad < 0, "%s: %d rows from %d, tokens %d + %d of %d: row %d is %a, expected %a", now,
              n_rows, row, token, t, n_tokens, row + (int)bad, (double)got[bad], (double)want[bad]);
    }
}

/* What tile() takes from entry i of a panel whose entries are their own index, for each row and
 * place of kc columns in lane order: order[row * kc + place] = i, or -1 if it is no entry's. */
static void find_order(const struct isa *isa, int kc, int *order) {
    static float panel[MAX_PANEL], acc[MAX_PANEL], x[KC];
    int n = isa->panel_rows * kc;
    for (int i = 0; i < n; i++) panel[i] = (float)i;
    for (int k = 0; k < kc; k++) {
        memset(acc, 0, sizeof acc[0] * (size_t)(isa->panel_rows * LANES));
        x[k] = 1;
        isa->tile(acc, panel, x, (size_t)kc, kc, 1);
        x[k] = 0;
        for (int r = 0; r < isa->panel_rows; r++) {
            float at = acc[r * LANES + k % LANES];
            order[r * kc + k] = at >= 0 && at < (float)n ? (int)at : -1;
        }
    }
}

/* The order of a panel's weights is the implementation's own choice: any, but each its own entry.
 */
static const int *panel_order(const struct isa *isa, int kc) {
    static int orders[MAX_ISAS][KC / LANE_GROUP + 1][MAX_PANEL];
    static bool known[MAX_ISAS][KC / LANE_GROUP + 1], seen[MAX_PANEL];
    int which = 0, n = isa->panel_rows * kc, n_seen = 0;
    while (&isas[which] != isa) which++;
    int *order = orders[which][kc / LANE_GROUP];
    if (known[which][kc / LANE_GROUP]) return order;
    known[which][kc / LANE_GROUP] = true;
    find_order(isa, kc, order);
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < n; i++) {
        if (order[i] < 0) order[i] = 0;
        n_seen += !seen[order[i]];
        seen[order[i]] = true;
    }
    CHECK(n_seen == n, "%s tile of %d columns uses %d of %d weights", isa->name, kc, n_seen, n);
    return order;
}

/* The first of the weights of column k in panel that is not as it must be, or -1. */
static int bad_row(const struct isa *isa, const struct problem *p, const float *panel, int row,
                   int n_rows, int64_t k0, int k, int kc) {
    const int *order = panel_order(isa, kc) + place_of(k);
    for (int r = 0; r < isa->panel_rows; r++, order += kc) {
        float zero = 0;
        const float *want = &zero;
        int from = row + (r < n_rows ? r : n_rows - 1);
        if (k0 + k < p->n_cols) want = p->weights[0] + from * p->n_cols + k0 + k;
        if (first_difference(panel + *order, want, 1) == 0) return r;
    }
    return -1;
}

/* One panel: the weights themselves, so the message can say which one is wrong. */
static void check_panel(const struct isa *isa, const struct problem *p, int row, int64_t k0) {
    const struct matrix *w = &p->w[0];
    int n_rows = (int)w->n_rows - row < isa->panel_rows ? (int)w->n_rows - row : isa->panel_rows;
    int kc = (int)(p->n_cols - k0 < KC ? p->n_cols - k0 : KC), bad = -1, k = 0;
    float *panel = place_floats(ROOM_WORK, (size_t)(isa->panel_rows * padded(kc)), p->left);
    announce(isa, "panel", p, 0);
    isa_panel(isa, w->type)(w, row, n_rows, k0, kc, panel);
    while (k < padded(kc) &&
           (bad = bad_row(isa, p, panel, row, n_rows, k0, k, (int)padded(kc))) < 0)
        k++;
    CHECK(bad < 0, "%s: %d rows from %d: weight of row %d, column %d", now, n_rows, row, row + bad,
          (int)k0 + k);
}

static void check_to_lanes(const struct isa *isa, int k, bool left) {
    float *x = place_floats(ROOM_X, (size_t)k, left), want[2 * KC] = {0};
    for (int i = 0; i < k; i++) want[place_of(i)] = x[i] = test_normal(&seed);
    float *lanes = place_floats(ROOM_LANES, (size_t)padded(k), left);
    snprintf(now, sizeof now, "%s to_lanes of %d", isa->name, k);
    isa->to_lanes(lanes, x, k);
    long bad = first_difference(lanes, want, (size_t)padded(k));
    CHECK(bad < 0, "%s: place %ld", now, bad);
}

static void check_tile(const struct isa *isa, int kc, int n_tokens, bool left) {
    size_t n_acc = (size_t)(n_tokens * isa->panel_rows * LANES);
    size_t step = (size_t)(isa->panel_rows * LANES), stride = (size_t)(kc + 4 * random_below(3));
    float *panel = place_floats(ROOM_W, (size_t)(isa->panel_rows * kc), left);
    float *x = place_floats(ROOM_X, (size_t)(n_tokens - 1) * stride + (size_t)kc, left);
    float *acc = place_floats(ROOM_WORK, n_acc, left), *want = alloc_floats((int64_t)n_acc);
    fill_activations(panel, isa->panel_rows * kc, 1, FILL_RANDOM);
    fill_activations(x, (n_tokens - 1) * (int64_t)stride + kc, 1, FILL_RANDOM);
    fill_activations(acc, (int64_t)n_acc, 1, FILL_RANDOM);
    const int *order = panel_order(isa, kc);
    for (size_t i = 0; i < n_acc; i++) { // i = ((token * panel_rows) + row) * LANES + lane
        want[i] = acc[i];
        for (size_t s = 0; s < (size_t)kc / LANES; s++) {
            size_t k = s * LANES + i % LANES, r = i % step / LANES;
            float xv = x[i / step * stride + k];
            want[i] = fmaf(panel[order[r * (size_t)kc + k]], xv, want[i]);
        }
    }
    snprintf(now, sizeof now, "%s tile of %d columns, %d tokens", isa->name, kc, n_tokens);
    isa->tile(acc, panel, x, stride, kc, n_tokens);
    long bad = first_difference(acc, want, n_acc);
    CHECK(bad < 0, "%s: token %ld, row %ld, lane %ld", now, bad / (long)step,
          bad / LANES % isa->panel_rows, bad % LANES);
    free(want);
}

/* The tree over the lanes, of every number of rows that a panel may have. */
static void check_sum_rows(const struct isa *isa, int n_rows, bool left) {
    float *acc = place_floats(ROOM_WORK, (size_t)(isa->panel_rows * LANES), left);
    float *y = place_floats(ROOM_Y, (size_t)n_rows, left);
    fill_activations(acc, isa->panel_rows * LANES, 1, FILL_RANDOM);
    snprintf(now, sizeof now, "%s sum_rows of %d", isa->name, n_rows);
    isa->sum_rows(acc, n_rows, y);
    for (int r = 0; r < n_rows; r++) {
        const float *l = acc + r * LANES;
        float want = ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
        CHECK(y[r] == want, "%s: row %d is %a, expected %a", now, r, (double)y[r], (double)want);
    }
}

/* ---- through mul_mat ------------------------------------------------------------------------- */

/* matmul_open's own buffers, replaced by guarded ones of the same sizes. */
static void guard_buffers(struct matmul *m, bool left) {
    size_t n_x = (size_t)padded(m->max_cols) * (size_t)(m->max_tokens < 2 ? 2 : m->max_tokens);
    size_t n_work = m->work_floats * (size_t)threads_count(m->threads);
    CHECK(m->scratch_bytes == (n_x + n_work) * sizeof(float), "scratch_bytes %zu",
          m->scratch_bytes);
    free(m->x);
    free(m->work);
    m->x = place_floats(ROOM_LANES, n_x, left);
    m->work = place_floats(ROOM_WORK, n_work, left);
}

static void check_mul_mat(const struct isa *isa, const struct problem *p, struct threads *threads,
                          bool reference) {
    struct error err;
    struct matmul m;
    if (matmul_open(&m, isa, threads, reference, ACT_FLOAT, NULL, p->n_cols, p->n_tokens, &err) !=
        0) {
        CHECK(false, "matmul_open: %s", err.text);
        return;
    }
    guard_buffers(&m, p->left);
    struct product products[MAX_PRODUCTS];
    size_t at = 0, n_y = 0, largest = 0;
    for (int i = 0; i < p->n_products; i++) n_y += (size_t)(p->w[i].n_rows * p->n_tokens);
    float *y = place_floats(ROOM_Y, n_y, p->left);
    for (int i = 0; i < p->n_products; i++) {
        size_t bytes = (size_t)(p->w[i].n_rows * p->n_cols) * sizeof(float);
        products[i] = (struct product){.w = &p->w[i], .x = p->x, .y = y + at};
        at += (size_t)(p->w[i].n_rows * p->n_tokens);
        if (bytes > largest) largest = bytes;
    }
    announce(isa, reference ? "mul_mat, reference," : "mul_mat", p, 0);
    mul_mat(&m, products, p->n_products, p->n_tokens);
    for (int i = 0; i < p->n_products; i++) {
        long n_rows = (long)p->w[i].n_rows;
        const float *got = products[i].y, *want = p->want[i];
        announce(isa, reference ? "mul_mat, reference," : "mul_mat", p, i);
        long bad = first_difference(got, want, (size_t)(n_rows * p->n_tokens));
        CHECK(bad < 0, "%s, %d threads, product %d: token %ld, row %ld is %a, expected %a", now,
              threads_count(threads), i, bad / n_rows, bad % n_rows, (double)got[bad],
              (double)want[bad]);
    }
    CHECK(!m.failed && m.reference_peak_bytes == (reference ? largest : 0), "%zu bytes",
          m.reference_peak_bytes);
    m.x = m.work = NULL;
    matmul_close(&m);
}

/* Heads: each a matrix, where its input and its results begin, how far the inputs of two tokens are
 * apart (0: one lies after the other). Rows of X_WIDTH for each token, behind them (at OWN) others.
 */
enum { N_HEADS = 9, HEAD_TOKENS = 25, X_WIDTH = 1000, Y_WIDTH = 300, OWN = HEAD_TOKENS * X_WIDTH };

static const struct head {
    uint32_t type;
    int n_rows, n_cols, x, x_stride, y;
} heads[N_HEADS] = {
    {GGML_TYPE_Q5_K, 40, 256, 0, X_WIDTH, 0},
    {GGML_TYPE_Q6_K, 19, 256, 0, X_WIDTH, 40},
    {GGML_TYPE_Q8_0, 24, 128, 0, X_WIDTH, 59}, // less of the same
    {GGML_TYPE_F32, 30, 37, 128, X_WIDTH, 83},
    {GGML_TYPE_F32, 1, 37, 165, X_WIDTH, 113},
    {GGML_TYPE_F32, 50, 300, OWN, 0, 114},
    {GGML_TYPE_F16, 26, 300, OWN, 150, 164}, // from the same place on, but closer
    {GGML_TYPE_Q4_0, 50, 544, 300, X_WIDTH, 190},
    {GGML_TYPE_Q4_K, 60, 512, 488, X_WIDTH, 240},
};

/* Every head alone, with copies of its input that lie as mul_mat wants them by default. */
static void multiply_copies(const struct isa *isa, const struct matrix *w, const float *x,
                            int n_tokens, float *y) {
    static float in[HEAD_TOKENS * X_WIDTH], out[HEAD_TOKENS * Y_WIDTH];
    struct matmul m;
    CHECK(matmul_open(&m, isa, pools[0], false, ACT_FLOAT, NULL, X_WIDTH, n_tokens, NULL) == 0,
          "no memory");
    for (int h = 0; h < N_HEADS; h++) {
        const struct head *head = &heads[h];
        int n_in = head->n_cols, n_out = head->n_rows;
        int stride = head->x_stride ? head->x_stride : n_in;
        for (int t = 0; t < n_tokens; t++) {
            memcpy(in + t * n_in, x + head->x + t * stride, (size_t)n_in * sizeof *in);
        }
        mul_mat(&m, &(struct product){.w = &w[h], .x = in, .y = out}, 1, n_tokens);
        for (int t = 0; t < n_tokens; t++) {
            memcpy(y + t * Y_WIDTH + head->y, out + t * n_out, (size_t)n_out * sizeof *out);
        }
    }
    matmul_close(&m);
}

/* The floats of all different inputs, each rounded up to LANE_GROUP. */
static int64_t width_of_inputs(void) {
    int64_t n = 0;
    for (int h = 0; h < N_HEADS; h++) {
        bool same = h > 0 && heads[h].x == heads[h - 1].x &&
                    heads[h].n_cols == heads[h - 1].n_cols &&
                    heads[h].x_stride == heads[h - 1].x_stride;
        if (!same) n += padded(heads[h].n_cols);
    }
    return n;
}

static void check_heads(const struct isa *isa, const struct matrix *w, int n_tokens,
                        struct threads *threads, bool reference) {
    static float want[HEAD_TOKENS * Y_WIDTH];
    bool left = random_below(2);
    size_t n_y = (size_t)n_tokens * Y_WIDTH, n_x = OWN + (size_t)n_tokens * 300;
    float *x = place_floats(ROOM_X, n_x, left), *y = place_floats(ROOM_Y, n_y, left);
    struct product products[N_HEADS];
    struct matmul m;
    fill_activations(x, (int64_t)n_x, 1, FILL_RANDOM);
    multiply_copies(isa, w, x, n_tokens, want);
    CHECK(matmul_open(&m, isa, threads, reference, ACT_FLOAT, NULL, width_of_inputs(), n_tokens,
                      NULL) == 0,
          "no memory");
    guard_buffers(&m, left);
    for (int h = 0; h < N_HEADS; h++) {
        products[h] = (struct product){.w = &w[h],
                                       .x = x + heads[h].x,
                                       .y = y + heads[h].y,
                                       .x_stride = (size_t)heads[h].x_stride,
                                       .y_stride = Y_WIDTH};
    }
    snprintf(now, sizeof now, "%s heads, %d tokens, %d threads%s", isa->name, n_tokens,
             threads_count(threads), reference ? ", reference" : "");
    mul_mat(&m, products, N_HEADS, n_tokens);
    long bad = first_difference(y, want, n_y);
    CHECK(bad < 0, "%s: token %ld, column %ld", now, bad / Y_WIDTH, bad % Y_WIDTH);
    m.x = m.work = NULL;
    matmul_close(&m);
}

/* Products of different inputs in one call, where they lie, give what they give one by one. */
static void test_own_inputs(const struct isa *isa) {
    struct matrix w[N_HEADS];
    uint8_t *data = place(ROOM_W, (size_t)1 << 20, true);
    for (int h = 0; h < N_HEADS; h++) {
        const struct ggml_type_info *t = ggml_type_info(heads[h].type);
        size_t row_bytes = (size_t)(heads[h].n_cols / t->block_len * t->block_bytes);
        w[h] = (struct matrix){heads[h].type, heads[h].n_rows, heads[h].n_cols, row_bytes, data};
        fill_weights(&w[h], data, FILL_RANDOM);
        data += ((size_t)heads[h].n_rows * row_bytes + 63) / 64 * 64;
    }
    for (int n_tokens = 1; n_tokens <= HEAD_TOKENS; n_tokens += 8) {
        for (int n = 0; n < 2 * N_POOLS; n++) {
            check_heads(isa, w, n_tokens, pools[n / 2], n % 2);
        }
    }
}

/* Once its flag is set a product begins no further piece; the flag of another one that shares the
 * pool of threads is not its business. */
static void test_stop(const struct isa *isa) {
    enum { N_ROWS = 400, N_TOKENS = 3 };
    static float data[N_ROWS * LANE_GROUP], x[N_TOKENS * LANE_GROUP], y[N_TOKENS * N_ROWS];
    static atomic_int flags[2];
    struct matrix w = {GGML_TYPE_F32, N_ROWS, LANE_GROUP, LANE_GROUP * 4, (uint8_t *)data};
    struct product product = {.w = &w, .x = x, .y = y};
    for (int i = 0; i < 8; i++) {
        struct matmul m;
        int n_tokens = i % 2 ? 1 : N_TOKENS;
        bool stopped = i / 2 % 2, reference = i / 4;
        CHECK(matmul_open(&m, isa, pools[1], reference, ACT_FLOAT, NULL, LANE_GROUP, N_TOKENS,
                          NULL) == 0,
              "open");
        m.stop = &flags[i % 2];
        flags[stopped == i % 2] = 1;
        y[n_tokens * N_ROWS - 1] = 7;
        mul_mat(&m, &product, 1, n_tokens);
        CHECK((y[n_tokens * N_ROWS - 1] == 7) == stopped, "%s, %d tokens%s: %s", isa->name,
              n_tokens, reference ? ", reference" : "",
              stopped ? "went on" : "stopped by another's flag");
        flags[0] = flags[1] = 0;
        matmul_close(&m);
    }
}

/* ---- cases ----------------------------------------------------------------------------------- */

static void check_problem(const struct isa *isa, const struct problem *p) {
    int n_rows = (int)p->w[0].n_rows, row;
    for (row = 0; row < n_rows; row += isa->panel_rows) {
        check_panel(isa, p, row, (p->n_cols - 1) / KC * KC);
        check_panel(isa, p, row, random_below((int)((p->n_cols + KC - 1) / KC)) * KC);
    }
    row = random_below(n_rows);
    check_gemv(isa, p, row, 1 + random_below(n_rows - row), p->n_tokens - 1, 1);
    for (int t = 0; t < p->n_tokens && t < 3; t++) check_gemv(isa, p, 0, n_rows, t, 1);
    for (int n = 2; n <= GEMV_TOKENS && n <= p->n_tokens; n++) {
        check_gemv(isa, p, 0, n_rows, p->n_tokens - n, n);
    }
    check_mul_mat(isa, p, pools[random_below(N_POOLS)], false);
}

static void run_problem(struct problem *p) {
    for (int i = 0; i < n_isas; i++) check_problem(&isas[i], p);
    problem_close(p);
}

static const int cols_256[] = {256, 512, 768, 1024, 1280, 2048, 4096};
static const int blocks[] = {1, 2, 3, 5, 7, 8, 9, 16, 17, 33}; // in a row
static const int cols_1[] = {1, 7, 31, 32, 33, 64, 100, 255, 256, 257, 288, 300, 511, 544, 801};

#define COUNT(array) (int)(sizeof(array) / sizeof *(array))

static const int *columns_of(uint32_t type, int *n) {
    static int cols[COUNT(blocks)];
    int block_len = ggml_type_info(type)->block_len;
    *n = block_len == 1 ? COUNT(cols_1) : block_len < QK_K ? COUNT(blocks) : COUNT(cols_256);
    for (int i = 0; i < COUNT(blocks); i++) cols[i] = block_len * blocks[i];
    return block_len == 1 ? cols_1 : block_len < QK_K ? cols : cols_256;
}

/* Deals 0 .. n - 1 in random order, again and again: a few dozen draws meet every value. */
struct deck {
    int card[64], n, left;
};

static int deal(struct deck *d) {
    if (d->left == 0) {
        for (d->left = 0; d->left < d->n; d->left++) d->card[d->left] = d->left;
    }
    int i = random_below(d->left), card = d->card[i];
    d->card[i] = d->card[--d->left];
    return card;
}

/* Every number of rows, of tokens and of columns of a type, each with several of the others; every
 * number of columns with every fill. */
static void test_type(uint32_t type) {
    int n_cols;
    const int *cols = columns_of(type, &n_cols);
    struct deck rows = {.n = MAX_ROWS}, tokens = {.n = MAX_TOKENS}, columns[N_FILLS];
    for (int f = 0; f < N_FILLS; f++) columns[f] = (struct deck){.n = n_cols};
    for (int i = 0; i < COUNT(cols_1) * N_FILLS; i++) {
        int n_tokens = 1 + deal(&tokens), n_rows = 1 + deal(&rows), fill = i % N_FILLS;
        struct problem p = problem_open(cols[deal(&columns[fill])], n_tokens, (enum fill)fill);
        add_product(&p, type, n_rows);
        run_problem(&p);
    }
}

static void test_type_fully(uint32_t type) {
    int n_cols;
    const int *cols = columns_of(type, &n_cols);
    for (int c = 0; c < n_cols; c++) {
        for (int fill = 0; fill < N_FILLS; fill++) {
            for (int shape = 0; shape < MAX_ROWS * MAX_TOKENS; shape++) {
                struct problem p = problem_open(cols[c], 1 + shape / MAX_ROWS, (enum fill)fill);
                add_product(&p, type, 1 + shape % MAX_ROWS);
                run_problem(&p);
            }
        }
    }
}

/* Several matrices of one input, large enough to be shared out to threads, in all modes. */
static void test_products(uint32_t type) {
    int n_cols;
    const int *cols = columns_of(type, &n_cols);
    for (int n_tokens = 1; n_tokens <= 25; n_tokens += 12) {
        struct problem p = problem_open(cols[random_below(2)], n_tokens, FILL_RANDOM);
        add_product(&p, type, 20 + random_below(80));
        while (p.n_products < MAX_PRODUCTS) {
            uint32_t other = (uint32_t)random_below(GGML_N_TYPES);
            if (!dequantize_supported(other)) continue;
            if (p.n_cols % ggml_type_info(other)->block_len != 0) continue;
            add_product(&p, other, 1 + random_below(60));
        }
        for (int i = 0; i < n_isas; i++) {
            for (int n = 0; n < 2 * N_POOLS; n++) check_mul_mat(&isas[i], &p, pools[n / 2], n % 2);
        }
        problem_close(&p);
    }
}

/* Kernels that no type selects. */
static void test_common(const struct isa *isa) {
    for (int k = 1; k <= 2 * KC; k += 1 + k / 40) check_to_lanes(isa, k, k % 2);
    for (int n = 1; n <= isa->tile_tokens; n += 1 + n / 5) {
        for (int kc = LANE_GROUP; kc <= KC; kc += LANE_GROUP) {
            check_tile(isa, kc, n, kc / LANE_GROUP % 2);
        }
    }
    for (int n = 1; n <= isa->panel_rows; n++) check_sum_rows(isa, n, n % 2);
    test_stop(isa);
    test_own_inputs(isa);
    float once = isa->fma_loop(1, 1, 1), often = isa->fma_loop(5, 1, 1); // its sums are of ones
    CHECK(once >= LANES && often == 5 * once, "%s: fma_loop %g, %g", isa->name, (double)once,
          (double)often);
}

/* Kernels for the types that types.def says have some, except in the portable specification. */
static void test_table(const struct isa *isa) {
    static const bool has_kernels[GGML_N_TYPES] = {
#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN(kernels, [number] = true, )
#include "types.def"
    };
    for (uint32_t type = 0; type < GGML_N_TYPES; type++) {
        bool own = isa != &isa_portable && has_kernels[type];
        CHECK((isa_gemv(isa, type, false) != isa->gemv_any) == own, "%s: gemv of %u", isa->name,
              type);
        CHECK((isa_panel(isa, type) != isa->panel_any) == own, "%s: panel of %u", isa->name, type);
        CHECK(!has_kernels[type] || dequantize_supported(type), "kernels alone of type %u", type);
    }
    CHECK(isa_find(isa->name) == isa, "isa_find(%s)", isa->name);
}

static void expect_refusal(struct matrix w, const char *text) {
    struct error err = {KQ_OK, ""};
    CHECK(!matmul_supports(&w, "blk.0.name", &err), "type %u", w.type);
    CHECK(strcmp(err.text, text) == 0, "%s", err.text);
}

static void test_refusals(void) {
    const uint8_t *at = place(ROOM_W, 64, true);
    struct error err;
    struct matrix good = {GGML_TYPE_Q5_K, 1, 256, sizeof(block_q5_K), at + 2};
    CHECK(matmul_supports(&good, "w", &err), "Q5_K at an even address");
    expect_refusal((struct matrix){GGML_TYPE_IQ1_S, 1, 256, 50, at},
                   "blk.0.name: type IQ1_S (19) is not one this engine computes with");
    expect_refusal((struct matrix){12345, 1, 256, 66, at},
                   "blk.0.name: type unknown (12345) is not one this engine computes with");
    expect_refusal((struct matrix){GGML_TYPE_Q5_K, 1, 256, sizeof(block_q5_K), at + 1},
                   "blk.0.name: data at an address that is no multiple of 2");
    expect_refusal((struct matrix){GGML_TYPE_F32, 1, 16, 64, at + 2},
                   "blk.0.name: data at an address that is no multiple of 4");
    CHECK(isa_find("sse9") == NULL, "isa_find of a name that is none");
    CHECK(isa_best()->usable(), "isa_best: %s", isa_best()->name);
}

/* Sizes beyond any address space; the sanitizers' malloc would end the program. */
static void test_out_of_memory(void) {
#if !TEST_SANITIZED
    struct error err = {KQ_OK, ""};
    struct matmul m;
    CHECK(matmul_open(&m, &isa_portable, pools[0], false, ACT_FLOAT, NULL, INT64_C(1) << 40,
                      1 << 10, &err) == -1 &&
              strcmp(err.text, "out of memory: products of 1024 tokens with 1099511627776 columns "
                               "need 4503599627404288 bytes") == 0,
          "%s", err.text);
    float x[KC] = {0}, y = 7;
    struct matrix huge = {GGML_TYPE_F32, INT64_C(1) << 40, KC, sizeof x, NULL};
    struct product product = {.w = &huge, .x = x, .y = &y};
    CHECK(matmul_open(&m, &isa_portable, pools[0], true, ACT_FLOAT, NULL, KC, 1, &err) == 0, "%s",
          err.text);
    mul_mat(&m, &product, 1, 1);
    CHECK(m.failed && y == 7, "a reference copy of 2^50 bytes was made");
    matmul_close(&m);
#endif
}

/* ---- main ------------------------------------------------------------------------------------ */

static int open_pools(void) {
    struct error err;
    for (int i = 0; i < N_POOLS; i++) {
        pools[i] = threads_open(i + 1, &err);
        if (!pools[i]) {
            printf("threads_open(%d): %s\n", i + 1, err.text);
            return -1;
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    bool full = argc > 1 && strcmp(argv[1], "--full") == 0;
    if (argc > 1 + full) seed = strtoull(argv[1 + full], NULL, 10) | 1;
    tell_crashes();
    printf("test_matmul: seed %llu%s\n", (unsigned long long)seed, full ? ", every shape" : "");
    if (open_pools() != 0) return 1;
    int n_skipped = find_isas();
    for (int i = 0; i < n_isas; i++) test_common(&isas[i]);
    for (int i = 0; isa_all[i]; i++) test_table(isa_all[i]);
    for (uint32_t type = 0; type < GGML_N_TYPES; type++) {
        if (!dequantize_supported(type)) continue;
        (full ? test_type_fully : test_type)(type);
        bool all_random = !layouts[type].d && ggml_type_info(type)->block_len > 1 &&
                          type != GGML_TYPE_MXFP4 && type != GGML_TYPE_NVFP4;
        CHECK(all_random || n_negative_zeros[type] > 0,
              "no result of %s was -0: the tiny fill is too mild", ggml_type_info(type)->name);
    }
    for (uint32_t type = 0; type < GGML_N_TYPES; type++) {
        if (dequantize_supported(type)) test_products(type);
    }
    test_refusals();
    test_out_of_memory();
    for (int i = 0; i < N_POOLS; i++) threads_close(pools[i]);
    if (n_skipped) printf("test_matmul: %d instruction sets skipped\n", n_skipped);
    return test_done("test_matmul");
}
