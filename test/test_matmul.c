/* Products: every kernel of every instruction set this CPU has, called directly and through
 * mul_mat, against the contract of matmul_q.h written once more below, bit for bit, with every
 * buffer between guard pages.
 *
 * usage: test_matmul [--full] [SEED]; without --full a covering subset of the shapes. */
#include "kernels.h"
#include "matmul_q.h"

#include <math.h>
#include <stddef.h>

enum { MAX_ISAS = 8, MAX_PANEL = 64 * KC };
enum { MAX_ROWS = 17, MAX_TOKENS = 33, MAX_PRODUCTS = 3, N_POOLS = 3 };
enum { ROOM_X, ROOM_Y, ROOM_LANES, ROOM_WORK, ROOM_W }; // a ROOM_W for each product

static struct threads *pools[N_POOLS]; // of 1, 2 and 3 threads

/* Every instruction set of this CPU, and each that has kernels once more as if it had none: what a
 * type without kernels goes through. */
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
        isas[n_isas++] = *isa_all[i];
        if (!isa_all[i]->gemv) continue;
        static char names[MAX_ISAS][32];
        snprintf(names[i], sizeof names[i], "%s without kernels,", isa_all[i]->name);
        isas[n_isas] = *isa_all[i];
        isas[n_isas].name = names[i];
        isas[n_isas].gemv = NULL;
        isas[n_isas++].panel = NULL;
    }
    return n_skipped;
}

static float random_sign(float v) {
    return random_below(2) ? v : -v;
}

/* ---- fills ----------------------------------------------------------------------------------- */

enum fill {
    FILL_RANDOM,
    FILL_MAX,      // every field at its largest
    FILL_MIN,      // every field at its smallest
    FILL_ZERO,     // scales +0 and -0, quants random
    FILL_NEGATIVE, // scales below 0
    FILL_SUBNORMAL,
    FILL_UNEQUAL, // all quants alike: only the scales tell sub-blocks and blocks apart
    FILL_TINY,    // activations so small that products underflow: zeros of both signs
    N_FILLS
};

static const char *const fill_names[N_FILLS] = {"random",   "max",       "min",     "zero",
                                                "negative", "subnormal", "unequal", "tiny"};

/* Where the fields of a block are, counted from 1; 0: it has no such field. The bytes of types that
 * are not listed are all random. */
struct layout {
    int d, m;                // halves
    int scales, n_scales;    // bytes
    int signed_at, n_signed; // bytes that are signed numbers
};

#define AT(block, field) 1 + (int)offsetof(block, field)

static const struct layout layouts[GGML_N_TYPES] = {
    [GGML_TYPE_Q4_0] = {.d = AT(block_q4_0, d)},
    [GGML_TYPE_Q4_1] = {.d = AT(block_q4_1, d), .m = AT(block_q4_1, m)},
    [GGML_TYPE_Q5_0] = {.d = AT(block_q5_0, d)},
    [GGML_TYPE_Q5_1] = {.d = AT(block_q5_1, d), .m = AT(block_q5_1, m)},
    [GGML_TYPE_Q8_0] = {.d = AT(block_q8_0, d), .signed_at = AT(block_q8_0, qs), .n_signed = QK},
    [GGML_TYPE_Q2_K] = {AT(block_q2_K, d), AT(block_q2_K, dmin), AT(block_q2_K, scales), 16, 0, 0},
    [GGML_TYPE_Q3_K] = {AT(block_q3_K, d), 0, AT(block_q3_K, scales), 12, 0, 0},
    [GGML_TYPE_Q4_K] = {AT(block_q4_K, d), AT(block_q4_K, dmin), AT(block_q4_K, scales), 12, 0, 0},
    [GGML_TYPE_Q5_K] = {AT(block_q5_K, d), AT(block_q5_K, dmin), AT(block_q5_K, scales), 12, 0, 0},
    [GGML_TYPE_Q6_K] = {AT(block_q6_K, d), 0, AT(block_q6_K, scales), 16, AT(block_q6_K, scales),
                        16},
};

/* A half: its sign, its 5 bits of exponent, its 10 of fraction. */
static ggml_half random_half(enum fill fill, int index) {
    unsigned sign = (unsigned)random_below(2) << 15, fraction = (unsigned)random_below(1024);
    unsigned exponent = 1 + (unsigned)random_below(15);
    switch (fill) {
    case FILL_MAX:
        return 0x7bff;
    case FILL_MIN:
        return 0xfbff;
    case FILL_ZERO:
        return (ggml_half)sign;
    case FILL_NEGATIVE:
        return (ggml_half)(0x8000 | exponent << 10 | fraction);
    case FILL_TINY: // times the largest quants still less than 0.5
        return (ggml_half)((unsigned)index / 32 % 2 << 15 | fraction);
    case FILL_SUBNORMAL:
        return (ggml_half)(sign | fraction);
    case FILL_UNEQUAL:
        return (ggml_half)((10u + (unsigned)index % 5) << 10 | (unsigned)index * 37 % 1024);
    default:
        return (ggml_half)(sign | exponent << 10 | fraction);
    }
}

/* Of a block of MXFP4: the fills of a half. */
static uint8_t random_exponent(enum fill fill, int index) {
    switch (fill) {
    case FILL_MAX:
        return 127 + 12; // 12 times 2^11, about a half's largest
    case FILL_MIN:
        return 0;
    case FILL_SUBNORMAL:
        return (uint8_t)random_below(3);
    case FILL_UNEQUAL:
        return (uint8_t)(118 + index % 9);
    default:
        return (uint8_t)(90 + random_below(33)); // 12 times 2^-6 at most
    }
}

static void put_half(uint8_t *block, int at, ggml_half h) {
    memcpy(block + at, &h, sizeof h);
}

static void fill_block(uint8_t *block, uint32_t type, enum fill fill, int index) {
    const struct layout *l = &layouts[type];
    int n = ggml_type_info(type)->block_bytes;
    int alike = random_below(256);
    for (int i = 0; i < n; i++) block[i] = (uint8_t)(test_random(&seed) >> 56);
    if (fill == FILL_MAX) memset(block, 0xff, (size_t)n);
    if (fill == FILL_MIN) memset(block, 0, (size_t)n);
    if (fill == FILL_UNEQUAL) memset(block, alike, (size_t)n);
    if (fill == FILL_TINY && alike % 2) memset(block, 0xff, (size_t)n); // one sign, mostly
    for (int i = 0; i < l->n_scales && fill == FILL_UNEQUAL; i++) {
        block[l->scales - 1 + i] = (uint8_t)(29 * i + alike);
    }
    for (int i = 0; i < l->n_signed; i++) {
        if (fill == FILL_MAX) block[l->signed_at - 1 + i] = 0x7f;
        if (fill == FILL_MIN) block[l->signed_at - 1 + i] = 0x80;
    }
    if (type == GGML_TYPE_MXFP4) {
        block[0] = random_exponent(fill, index);
        if (fill == FILL_ZERO) memset(block + 1, 0x80, QK / 2); // zeros by both names
    }
    if (l->d) put_half(block, l->d - 1, random_half(fill, index));
    if (l->m) put_half(block, l->m - 1, random_half(fill, index + 3));
}

/* A weight of F32 (or, its upper half, of BF16): the fills of a half with an exponent of 8 bits. */
static uint32_t random_float_bits(enum fill fill, int index) {
    uint32_t random = (uint32_t)(test_random(&seed) >> 32), sign = random & 0x80000000;
    switch (fill) {
    case FILL_MAX:
        return 0x7f7fffff;
    case FILL_MIN:
        return 0xff7fffff;
    case FILL_ZERO:
        return sign;
    case FILL_SUBNORMAL:
        return random & 0x807fffff;
    case FILL_UNEQUAL:
        return float_bits((float)(index + 1));
    case FILL_NEGATIVE:
        sign = 0x80000000;
        break;
    case FILL_TINY:
        sign = (uint32_t)index / 32 % 2 << 31;
        break;
    default:
        break;
    }
    uint32_t exponent = 127 - 20 + random % 19; // all below 0.5
    return sign | exponent << 23 | (random & 0x7fffff);
}

static void fill_weights(const struct matrix *w, uint8_t *data, enum fill fill) {
    const struct ggml_type_info *t = ggml_type_info(w->type);
    int n = (int)(w->n_rows * w->n_cols / t->block_len);
    for (int i = 0; i < n; i++) {
        uint8_t *block = data + (size_t)i * (size_t)t->block_bytes;
        uint32_t bits = random_float_bits(fill, i);
        if (w->type == GGML_TYPE_F32) {
            memcpy(block, &bits, 4);
        } else if (w->type == GGML_TYPE_BF16) {
            put_half(block, 0, (ggml_half)(bits >> 16));
        } else if (w->type == GGML_TYPE_F16) {
            put_half(block, 0, random_half(fill, i));
        } else {
            fill_block(block, w->type, fill, i);
        }
    }
}

static void fill_activations(float *x, int64_t n_cols, int n_tokens, enum fill fill) {
    for (int t = 0; t < n_tokens; t++) {
        for (int64_t i = 0; i < n_cols; i++, x++) {
            *x = test_normal(&seed);
            if (fill != FILL_TINY) continue;
            float tiny = 0x1p-149f * (float)(1 + random_below(t % 2 ? 1000 : 1));
            *x = t % 3 == 0 ? -tiny : t % 3 == 1 ? tiny : random_sign(tiny);
        }
    }
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

/* Some rows of the first matrix times one token. */
static void check_gemv(const struct isa *isa, const struct problem *p, int row, int n_rows,
                       int token) {
    const struct matrix *w = &p->w[0];
    const float *want = p->want[0] + token * w->n_rows + row;
    float *x = place_floats(ROOM_LANES, (size_t)padded(p->n_cols), p->left);
    float *y = place_floats(ROOM_Y, (size_t)n_rows, p->left);
    announce(isa, "gemv", p, 0);
    isa->to_lanes(x, p->x + token * p->n_cols, p->n_cols);
    isa_gemv(isa, w->type)(w, row, n_rows, x, y);
    long bad = first_difference(y, want, (size_t)n_rows);
    CHECK(bad < 0, "%s: %d rows from %d, token %d: row %d is %a, expected %a", now, n_rows, row,
          token, row + (int)bad, (double)y[bad], (double)want[bad]);
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
    size_t n_x = (size_t)padded(m->max_cols) * (size_t)m->max_tokens;
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
    if (matmul_open(&m, isa, threads, reference, p->n_cols, p->n_tokens, &err) != 0) {
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
        products[i] = (struct product){&p->w[i], y + at};
        at += (size_t)(p->w[i].n_rows * p->n_tokens);
        if (bytes > largest) largest = bytes;
    }
    announce(isa, reference ? "mul_mat, reference," : "mul_mat", p, 0);
    mul_mat(&m, products, p->n_products, p->x, p->n_tokens);
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

/* Once its flag is set a product begins no further piece; the flag of another one that shares the
 * pool of threads is not its business. */
static void test_stop(const struct isa *isa) {
    enum { N_ROWS = 400, N_TOKENS = 3 };
    static float data[N_ROWS * LANE_GROUP], x[N_TOKENS * LANE_GROUP], y[N_TOKENS * N_ROWS];
    static atomic_int flags[2];
    struct matrix w = {GGML_TYPE_F32, N_ROWS, LANE_GROUP, LANE_GROUP * 4, (uint8_t *)data};
    struct product product = {&w, y};
    for (int i = 0; i < 8; i++) {
        struct matmul m;
        int n_tokens = i % 2 ? 1 : N_TOKENS;
        bool stopped = i / 2 % 2, reference = i / 4;
        CHECK(matmul_open(&m, isa, pools[1], reference, LANE_GROUP, N_TOKENS, NULL) == 0, "open");
        m.stop = &flags[i % 2];
        flags[stopped == i % 2] = 1;
        y[n_tokens * N_ROWS - 1] = 7;
        mul_mat(&m, &product, 1, x, n_tokens);
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
    check_gemv(isa, p, row, 1 + random_below(n_rows - row), p->n_tokens - 1);
    for (int t = 0; t < p->n_tokens && t < 4; t++) check_gemv(isa, p, 0, n_rows, t);
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

/* Every number of rows, of tokens and of columns of a type, each with several of the others. */
static void test_type(uint32_t type) {
    int n_cols;
    const int *cols = columns_of(type, &n_cols);
    struct deck rows = {.n = MAX_ROWS}, tokens = {.n = MAX_TOKENS}, columns = {.n = n_cols};
    for (int i = 0; i < 15 * N_FILLS; i++) {
        int n_tokens = 1 + deal(&tokens), n_rows = 1 + deal(&rows);
        struct problem p = problem_open(cols[deal(&columns)], n_tokens, (enum fill)(i % N_FILLS));
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
    float once = isa->fma_loop(1), often = isa->fma_loop(5); // its sums are of ones
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
        CHECK((isa_gemv(isa, type) != isa->gemv_any) == own, "%s: gemv of %u", isa->name, type);
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
    expect_refusal((struct matrix){GGML_TYPE_IQ2_XXS, 1, 256, 66, at},
                   "blk.0.name: type IQ2_XXS (16) is not one this engine computes with");
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
    CHECK(matmul_open(&m, &isa_portable, pools[0], false, INT64_C(1) << 40, 1 << 10, &err) == -1 &&
              strcmp(err.text, "out of memory: products of 1024 tokens with 1099511627776 columns "
                               "need 4503599627404288 bytes") == 0,
          "%s", err.text);
    float x[KC] = {0}, y = 7;
    struct matrix huge = {GGML_TYPE_F32, INT64_C(1) << 40, KC, sizeof x, NULL};
    struct product product = {&huge, &y};
    CHECK(matmul_open(&m, &isa_portable, pools[0], true, KC, 1, &err) == 0, "%s", err.text);
    mul_mat(&m, &product, 1, x, 1);
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
        bool all_random =
            !layouts[type].d && ggml_type_info(type)->block_len > 1 && type != GGML_TYPE_MXFP4;
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
