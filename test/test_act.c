/* Products with activations as integers: act.h's definition against its own words, written once
 * more below for three types, and the weights that all types stand for; then every kernel of every
 * instruction set this CPU has against the definition, through mul_mat, bit for bit, with the
 * matrices and results between guard pages.
 *
 * usage: test_act [SEED] */
#include "act.h"
#include "matmul_q.h"
#include "weights.h"

#include <math.h>

enum { MAX_COLS = 1024 + 5 * QK, MAX_ROWS = 37, MAX_TOKENS = 31, N_POOLS = 3 };
enum { ROOM_X, ROOM_Y, ROOM_W };

static struct threads *pools[N_POOLS]; // of 1, 2 and 3 threads
static const uint32_t types[] = {
#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN_INTEGERS(kernels, number, )
#include "types.def"
};
enum { N_TYPES = sizeof types / sizeof *types };

/* ---- activations ----------------------------------------------------------------------------- */

enum activations {
    NORMAL,
    AT_LIMIT,  // all X at +limit
    AT_MINUS,  // all at -limit
    SIGNS,     // at either
    LOW_BYTES, // with 16 bits planes of 127 and -128
    LARGE,     // near the limit, of no round value: sums that float32 must round
    ODD_SIZES, // parts of zeros, of subnormal numbers, of huge ones
    NOT_FINITE,
    N_ACTIVATIONS
};

static float activation(enum activations kind, int i) {
    float v = test_normal(&seed);
    switch (kind) {
    case AT_LIMIT:
        return 32639;
    case AT_MINUS:
        return -32639;
    case SIGNS:
        return random_sign(32639);
    case LOW_BYTES:
        return i % ACT_PART == 0 ? 32639 : i % 3 && i % 512 < 256 ? -32384 : 32384;
    case LARGE:
        v = i % ACT_PART == 0 ? 32639 : 32639 - (float)random_below(2048);
        return i / ACT_PART % 2 ? -v : v;
    case ODD_SIZES:
        return i / ACT_PART % 3 == 0 ? 0 : i / ACT_PART % 3 == 1 ? v * 0x1p-146f : v * 1e30f;
    case NOT_FINITE:
        return random_below(300) ? v : random_below(2) ? INFINITY : NAN;
    default:
        return v;
    }
}

/* ---- the definition -------------------------------------------------------------------------- */

static void test_quantize(void) {
    int16_t X[ACT_PART];
    float s;
    const float ties[4] = {2, 1.5f, -0.5f, -1.5f}; // with a scale of 1 / 63.5, no ties
    act_quantize(ties, 4, 8, X, &s);
    CHECK(s == 2 / 127.0f && X[0] == 127 && X[1] == 95 && X[2] == -32 && X[3] == -95,
          "%g: %d %d %d %d", (double)s, X[0], X[1], X[2], X[3]);
    const float even[4] = {127, 0.5f, 1.5f, -2.5f}; // a scale of 1: ties go to even
    act_quantize(even, 4, 8, X, &s);
    CHECK(s == 1 && X[0] == 127 && X[1] == 0 && X[2] == 2 && X[3] == -2, "%g: %d %d %d %d",
          (double)s, X[0], X[1], X[2], X[3]);
    const float wide[3] = {-32639, 32638.4f, -0.0f};
    act_quantize(wide, 3, 16, X, &s);
    CHECK(s == 1 && X[0] == -32639 && X[1] == 32638 && X[2] == 0, "%g: %d %d %d", (double)s, X[0],
          X[1], X[2]);
    const float zero[2] = {0, -0.0f}, tiny[2] = {0x1p-140f, 0x1p-149f};
    act_quantize(zero, 2, 8, X, &s);
    CHECK(s == 0 && X[0] == 0 && X[1] == 0, "of zeros: %g", (double)s);
    act_quantize(tiny, 2, 8, X, &s);
    CHECK(s == 0 && X[0] == 0 && X[1] == 0, "a scale that cannot be inverted: %g", (double)s);
    const float bad[3] = {1, INFINITY, 2}, nan[3] = {1, 2, NAN};
    act_quantize(bad, 3, 16, X, &s);
    CHECK(isnan(s) && X[0] == 0 && X[2] == 0, "of an infinity: %g, %d", (double)s, X[0]);
    act_quantize(nan, 3, 8, X, &s);
    CHECK(isnan(s) && X[0] == 0 && X[1] == 0, "of a NaN: %g, %d", (double)s, X[0]);
}

/* From the words of act.h, for Q8_0, Q4_1 and Q6_K. */
static float specified(uint32_t type, const uint8_t *row, int n_cols, const int16_t *X,
                       const float *s) {
    float acc = 0;
    for (int begin = 0; begin < n_cols; begin += 256) {
        float part = 0;
        for (int k = begin; k < n_cols && k < begin + 256;) {
            int64_t S = 0, M = 0;
            if (type == GGML_TYPE_Q8_0) {
                const block_q8_0 *b = (const void *)(row + k / 32 * 34);
                for (int i = 0; i < 32; i++) S += b->qs[i] * X[k + i];
                part = fmaf((float)S, fp16_to_fp32(b->d), part);
                k += 32;
            } else if (type == GGML_TYPE_Q4_1) {
                const block_q4_1 *b = (const void *)(row + k / 32 * 20);
                for (int i = 0; i < 16; i++) {
                    S += (b->qs[i] & 15) * X[k + i] + (b->qs[i] >> 4) * X[k + 16 + i];
                    M += X[k + i] + X[k + 16 + i];
                }
                part = fmaf((float)S, fp16_to_fp32(b->d), part);
                part = fmaf((float)M, fp16_to_fp32(b->m), part);
                k += 32;
            } else {
                const block_q6_K *b = (const void *)(row + k / 256 * 210);
                for (int i = 0; i < 256; i++) {
                    int byte = b->ql[i / 128 * 64 + i % 64], top = b->qh[i / 128 * 32 + i % 32];
                    int q = (i % 128 < 64 ? byte & 15 : byte >> 4) | (top >> i % 128 / 32 * 2 & 3)
                                                                         << 4;
                    S += (int64_t)b->scales[i / 16] * (q - 32) * X[k + i];
                }
                part = fmaf((float)S, fp16_to_fp32(b->d), part);
                k += 256;
            }
        }
        acc = fmaf(part, s[begin / 256], acc);
    }
    return acc;
}

static struct matrix random_matrix(uint32_t type, int n_rows, int n_cols, enum fill fill) {
    const struct ggml_type_info *t = ggml_type_info(type);
    size_t row_bytes = (size_t)(n_cols / t->block_len * t->block_bytes);
    uint8_t *data = place(ROOM_W, row_bytes * (size_t)n_rows, random_below(2));
    struct matrix w = {
        .type = type, .n_rows = n_rows, .n_cols = n_cols, .row_bytes = row_bytes, .data = data};
    fill_weights(&w, data, fill);
    return w;
}

/* act_dot with X that are exact, so that it differs from the product of the dequantized weights by
 * rounding alone. */
static void check_weights(uint32_t type) {
    enum { N = 512 };
    static float weights[N];
    struct matrix w = random_matrix(type, 1, N, FILL_RANDOM);
    int16_t X[N];
    float s[N / ACT_PART] = {1, 0.5f};
    double want = 0, magnitude = 0;
    dequantize_row(type, w.data, weights, N);
    for (int i = 0; i < N; i++) {
        X[i] = (int16_t)(random_below(2 * 32639 + 1) - 32639);
        double product = (double)weights[i] * X[i] * (double)s[i / ACT_PART];
        want += product;
        magnitude += fabs(product);
    }
    double got = (double)act_dot(type, w.data, N, X, s);
    CHECK(fabs(got - want) <= 1e-6 * magnitude, "%s: %g, expected %g of %g",
          ggml_type_info(type)->name, got, want, magnitude);
    if (type == GGML_TYPE_Q8_0 || type == GGML_TYPE_Q4_1 || type == GGML_TYPE_Q6_K) {
        float words = specified(type, w.data, N, X, s), dot = (float)got;
        CHECK(first_difference(&dot, &words, 1) < 0, "%s: %a, by the definition's words %a",
              ggml_type_info(type)->name, got, (double)words);
    }
}

/* act_dot is as near to the exact product as act_bounds says, and sometimes not much nearer. dot:
 * of token t at dot[t * stride]. */
static double largest_ratio;

static void check_bounds(uint32_t type, const uint8_t *row, int n_cols, const float *x, int n,
                         int act, const float *dot, int stride) {
    struct act_bound bounds[MAX_TOKENS];
    act_bounds(bounds, type, row, n_cols, x, (size_t)n_cols, n, act);
    for (int t = 0; t < n; t++) {
        const struct act_bound *b = &bounds[t];
        float y = dot[t * stride];
        double difference = fabs((double)y - b->product);
        if (!isfinite(b->product) || !isfinite(b->bound) || !isfinite(y)) continue;
        CHECK(difference <= b->bound, "%s, --act %d, %d columns: %g from %g, the bound is %g",
              ggml_type_info(type)->name, act, n_cols, difference, b->product, b->bound);
        if (difference > largest_ratio * b->bound) largest_ratio = difference / b->bound;
    }
}

/* ---- kernels --------------------------------------------------------------------------------- */

static void check_products(const struct isa *isa, const struct matrix *w, const float *x, int n,
                           int act, const float *want, struct threads *threads) {
    struct matmul m;
    float *y = place_floats(ROOM_Y, (size_t)(w->n_rows * n), random_below(2));
    struct product product = {.w = w, .x = x, .y = y};
    CHECK(matmul_open(&m, isa, threads, false, act, NULL, w->n_cols, n, NULL) == 0, "no memory");
    mul_mat(&m, &product, 1, n);
    long bad = first_difference(y, want, (size_t)(w->n_rows * n));
    CHECK(bad < 0, "%s: token %ld, row %ld is %a, expected %a", now, bad / (long)w->n_rows,
          bad % (long)w->n_rows, (double)y[bad], (double)want[bad]);
    matmul_close(&m);
}

static void check_shape(uint32_t type, int n_rows, int n_cols, int n, int act, enum fill fill,
                        enum activations kind) {
    static float want[MAX_ROWS * MAX_TOKENS];
    uint64_t start = seed;
    struct matrix w = random_matrix(type, n_rows, n_cols, fill);
    float *x = place_floats(ROOM_X, (size_t)(n * n_cols), random_below(2));
    for (int i = 0; i < n * n_cols; i++) x[i] = activation(kind, i % n_cols);
    for (int t = 0; t < n; t++) {
        int16_t X[MAX_COLS];
        float s[MAX_COLS / ACT_PART + 1];
        for (int k = 0; k < n_cols; k += ACT_PART) {
            int some = n_cols - k < ACT_PART ? n_cols - k : ACT_PART;
            act_quantize(x + t * n_cols + k, some, act, X + k, &s[k / ACT_PART]);
        }
        for (int r = 0; r < n_rows; r++) {
            const uint8_t *row = w.data + (size_t)r * w.row_bytes;
            want[t * n_rows + r] = act_dot(type, row, n_cols, X, s);
        }
    }
    for (int r = 0; r < n_rows; r++) {
        const uint8_t *row = w.data + (size_t)r * w.row_bytes;
        check_bounds(type, row, n_cols, x, n, act, want + r, n_rows);
    }
    for (int i = 0; isa_all[i]; i++) {
        if (!isa_all[i]->usable()) continue;
        snprintf(now, sizeof now, "%s --act %d, %s, %d x %d, %d tokens, fill %s, x %d, seed %llu",
                 isa_all[i]->name, act, ggml_type_info(type)->name, n_rows, n_cols, n,
                 fill_names[fill], (int)kind, (unsigned long long)start);
        check_products(isa_all[i], &w, x, n, act, want, pools[random_below(N_POOLS)]);
    }
}

/* Every number of tokens that is computed in its own way, every number of rows over the vector
 * widths, every fill with every kind of activations. */
static void test_type(uint32_t type) {
    static const int tokens[] = {1, 2, 3, 4, 5, 8, 12, 13, MAX_TOKENS};
    int len = ggml_type_info(type)->block_len;
    for (int act = 8; act <= 16; act += 8) {
        for (int fill = 0; fill < FILL_TINY; fill++) {
            for (int kind = 0; kind < N_ACTIVATIONS; kind++) {
                int n_cols =
                    len == QK ? MAX_COLS - QK * random_below(12) : 256 * (1 + random_below(4));
                int n = tokens[random_below(sizeof tokens / sizeof *tokens)];
                check_shape(type, 1 + random_below(MAX_ROWS), n_cols, n, act, (enum fill)fill,
                            (enum activations)kind);
            }
        }
        for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
            check_shape(type, MAX_ROWS, 512, tokens[i], act, FILL_RANDOM, LARGE);
        }
        for (int rows = 1; rows <= MAX_ROWS; rows++) {
            check_shape(type, rows, len, 1 + rows % 2, act, FILL_RANDOM, NORMAL);
        }
    }
}

/* Several inputs, shared and not, of types with and without integers, in one call: each product is
 * what it is alone. */
static void test_mixed(const struct isa *isa, int act) {
    enum { N = 6, COLS = 512, ROWS = 21, TOKENS = 5 };
    static const uint32_t of[N] = {GGML_TYPE_Q4_K, GGML_TYPE_F32,  GGML_TYPE_Q6_K,
                                   GGML_TYPE_Q8_0, GGML_TYPE_Q5_K, GGML_TYPE_F16};
    static const int from[N] = {0, 0, 0, 1, 1, 2};
    static float x[3][TOKENS * COLS], y[N][TOKENS * ROWS], alone[TOKENS * ROWS];
    static uint8_t data[N][ROWS * COLS * 4];
    struct matrix w[N];
    struct product products[N];
    struct matmul m;
    for (int i = 0; i < 3; i++) fill_activations(x[i], COLS, TOKENS, FILL_RANDOM);
    for (int i = 0; i < N; i++) {
        const struct ggml_type_info *t = ggml_type_info(of[i]);
        w[i] = (struct matrix){.type = of[i],
                               .n_rows = ROWS,
                               .n_cols = COLS,
                               .row_bytes = (size_t)(COLS / t->block_len * t->block_bytes),
                               .data = data[i]};
        fill_weights(&w[i], data[i], FILL_RANDOM);
        products[i] = (struct product){.w = &w[i], .x = x[from[i]], .y = y[i]};
    }
    for (int n = 1; n <= TOKENS; n += 2) {
        CHECK(matmul_open(&m, isa, pools[2], false, act, NULL, 3 * COLS, TOKENS, NULL) == 0,
              "no memory");
        mul_mat(&m, products, N, n);
        for (int i = 0; i < N; i++) {
            mul_mat(&m, &(struct product){.w = &w[i], .x = x[from[i]], .y = alone}, 1, n);
            long bad = first_difference(y[i], alone, (size_t)(n * ROWS));
            CHECK(bad < 0, "%s --act %d, %d tokens: product %d differs from itself alone at %ld",
                  isa->name, act, n, i, bad);
        }
        matmul_close(&m);
    }
}

/* ---- what checks products -------------------------------------------------------------------- */

static void wrong_product(const struct matrix *w, int64_t row, int n_rows,
                          const struct act_input *x, float *y, size_t y_stride, float *work) {
    integers_portable.product[w->type](w, row, n_rows, x, y, y_stride, work);
    y[n_rows - 1] -= 1e30f; // beyond any bound, whatever the weights
}

/* A kernel that is wrong is found, one that is right is not. */
static void test_check(void) {
    enum { ROWS = 5, COLS = 512, TOKENS = 3 };
    static act_fn *const wrong[GGML_N_TYPES] = {[GGML_TYPE_Q5_K] = wrong_product};
    struct integer_products bad = integers_portable;
    struct isa isa = isa_portable;
    bad.product = wrong;
    struct matrix w = random_matrix(GGML_TYPE_Q5_K, ROWS, COLS, FILL_RANDOM);
    float *x = place_floats(ROOM_X, TOKENS * COLS, true), y[ROWS * TOKENS];
    fill_activations(x, COLS, TOKENS, FILL_RANDOM);
    for (int i = 0; i < 8; i++) {
        struct act_check check = {0};
        struct matmul m;
        int n = i % 2 ? 1 : TOKENS, act = i / 2 % 2 ? 8 : 16;
        isa.integers = i / 4 ? &bad : &integers_portable;
        CHECK(matmul_open(&m, &isa, pools[1], false, act, &check, COLS, TOKENS, NULL) == 0, "open");
        mul_mat(&m, &(struct product){.w = &w, .x = x, .y = y}, 1, n);
        CHECK((atomic_load(&check.at) == w.data) == (i / 4 == 1), "case %d", i);
        CHECK(atomic_load(&check.n_numbers) == (unsigned long long)(ROWS * n), "case %d", i);
        matmul_close(&m);
    }
}

int main(int argc, char **argv) {
    tell_crashes();
    if (argc > 1) seed = strtoull(argv[1], NULL, 10);
    printf("seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < N_POOLS; i++) pools[i] = threads_open(i + 1, NULL);
    test_quantize();
    for (int i = 0; i < N_TYPES; i++) {
        for (int times = 0; times < 20; times++) check_weights(types[i]);
        test_type(types[i]);
    }
    CHECK(largest_ratio > 0.1, "the bound is %g times too large", 1 / largest_ratio);
    test_check();
    CHECK(!act_supported(GGML_TYPE_F32) && !act_supported(GGML_TYPE_IQ2_S), "types of floats");
    for (int i = 0; isa_all[i]; i++) {
        if (!isa_all[i]->usable()) {
            printf("SKIP %s (cpu)\n", isa_all[i]->name);
            continue;
        }
        test_mixed(isa_all[i], 16);
        test_mixed(isa_all[i], 8);
    }
    for (int i = 0; i < N_POOLS; i++) threads_close(pools[i]);
    return test_done("test_act");
}
