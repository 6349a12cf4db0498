/* The rest of the step (struct ops) but for what goes element by element (test_functions.c): the
 * portable instance against its definitions in double precision, within bounds that follow from the
 * number of roundings, and every other instance against the portable one, bit for bit. Every buffer
 * lies between guard pages.
 *
 * usage: test_ops [SEED] */
#include "kernels.h"

#include <math.h>

#include "simd/isa.h"

enum {
    ROOM_A,
    ROOM_B,
    ROOM_WANT,
    ROOM_K,
    ROOM_V,
    ROOM_S,
    ROOM_Q,
    ROOM_OUT = ROOM_Q + ATTN_QUERIES
};

static const double U = 0x1p-24;      // one rounding changes a value by this much of it at most
static const double EXP_ERROR = 2.04; // of e^x in U: 1.02 ulp
static const double TINY = 0x1p-140;  // what roundings below the normal floats add up to

/* The largest error met, as a share of its bound. */
static struct worst {
    const char *name;
    double share;
} worst[] = {
    {"rms_norm", 0}, {"layer_norm", 0}, {"softmax", 0}, {"attn_scores", 0}, {"attn_values", 0}};
enum { RMS_NORM, LAYER_NORM, SOFTMAX, SCORES, VALUES, N_OPS };

static void check_near(int op, double got, double want, double bound) {
    double share = fabs(got - want) / bound;
    if (share > worst[op].share) worst[op].share = share;
    CHECK(share <= 1, "%s: %.9g, expected %.17g within %g", now, got, want, bound);
}

/* Random floats of all sizes that a model meets; now and then a row of extremes. */
static void fill(float *x, size_t n) {
    int kind = random_below(8);
    for (size_t i = 0; i < n; i++) {
        float v = test_normal(&seed);
        if (kind == 1) v *= 30;
        if (kind == 2) v *= 0x1p-120f;
        if (kind == 3) v *= 1e9f;
        x[i] = kind == 4 ? (v < 0 ? -0.0f : 0.0f) : v;
    }
}

/* ---- norm ------------------------------------------------------------------------------------ */

typedef void norm_fn(float *y, const float *x, const float *w, int n, float eps);

static void check_norm(const struct isa *isa, int n, bool left, bool centred) {
    norm_fn *portable = centred ? ops_portable.layer_norm : ops_portable.rms_norm;
    norm_fn *norm = centred ? isa->ops->layer_norm : isa->ops->rms_norm;
    float eps = 1e-5f, *x = place_floats(ROOM_A, (size_t)n, left);
    float *w = random_below(4) ? place_floats(ROOM_B, (size_t)n, left) : NULL;
    float *y = place_floats(ROOM_OUT, (size_t)n, left);
    float *want = place_floats(ROOM_WANT, (size_t)n, left);
    do {
        fill(x, (size_t)n);
    } while (fabsf(x[0]) < 0x1p-60f || fabsf(x[0]) > 1e8f); // squares must not under- or overflow
    if (w) fill(w, (size_t)n);
    snprintf(now, sizeof now, "%s %s of %d", isa->name, centred ? "layer_norm" : "rms_norm", n);
    portable(want, x, w, n, eps);
    norm(y, x, w, n, eps);
    long bad = first_difference(y, want, (size_t)n);
    CHECK(bad < 0, "%s: %ld", now, bad);
    norm(x, x, w, n, eps);
    CHECK(first_difference(x, want, (size_t)n) < 0, "%s in place", now);
}

/* A chain of n / 8 FMAs, 3 additions and the division, halved by the square root; then the root
 * itself, the reciprocal, two products and eps. */
static void check_rms_norm_exactly(int n) {
    float x[300], w[300], y[300], eps = 1e-5f;
    double squares = 0;
    for (int i = 0; i < n; i++) {
        x[i] = test_normal(&seed);
        w[i] = test_normal(&seed);
        squares += (double)x[i] * (double)x[i];
    }
    snprintf(now, sizeof now, "rms_norm of %d", n);
    ops_portable.rms_norm(y, x, w, n, eps);
    for (int i = 0; i < n; i++) {
        double want = (double)x[i] / sqrt(squares / n + (double)eps) * (double)w[i];
        check_near(RMS_NORM, (double)y[i], want, (n / 16.0 + 8) * U * fabs(want) + TINY);
    }
}

/* As above; besides, the mean is off by n / 8 + 4 roundings of numbers below 6, and so is what it
 * is taken from. */
static void check_layer_norm_exactly(int n) {
    float x[300], w[300], y[300], eps = 1e-5f;
    double sum = 0, squares = 0;
    for (int i = 0; i < n; i++) {
        x[i] = test_normal(&seed);
        w[i] = test_normal(&seed);
        sum += (double)x[i];
    }
    for (int i = 0; i < n; i++) squares += pow((double)x[i] - sum / n, 2);
    snprintf(now, sizeof now, "layer_norm of %d", n);
    ops_portable.layer_norm(y, x, w, n, eps);
    double scale = 1 / sqrt(squares / n + (double)eps);
    for (int i = 0; i < n; i++) {
        double want = ((double)x[i] - sum / n) * scale * (double)w[i];
        double off = (n / 8.0 + 5) * U * 6 * scale * fabs((double)w[i]);
        check_near(LAYER_NORM, (double)y[i], want,
                   (n / 16.0 + 8) * U * fabs(want) + 2 * off + TINY);
    }
}

/* ---- softmax --------------------------------------------------------------------------------- */

/* e^(s - max): one rounding of the difference, |s - max| times as large, and exp's error. */
static void near_softmax(const float *s, const float *got, double sum, int n, int begin, int end) {
    double want_sum = 0, bound = 0, max = (double)s[begin];
    for (int i = begin; i < end; i++) max = (double)s[i] > max ? (double)s[i] : max;
    for (int i = 0; i < n; i++) {
        double d = (double)s[i] - max, want = i >= begin && i < end ? exp(d) : 0;
        double error = (fabs(d) + EXP_ERROR + 1) * U * want + TINY;
        check_near(SOFTMAX, (double)got[i], want, error);
        want_sum += want;
        bound += error;
    }
    check_near(SOFTMAX, sum, want_sum, bound + (n / 8.0 + 3) * U * want_sum);
}

/* With a NaN among the scores when `nan`: no instance has numbers where another has none. */
static void check_softmax(const struct isa *isa, int n, bool left, bool nan) {
    float *s = place_floats(ROOM_A, (size_t)n, left),
          *got = place_floats(ROOM_OUT, (size_t)n, left);
    float *want = place_floats(ROOM_WANT, (size_t)n, left);
    int begin = random_below(n), end = begin + 1;
    end += random_below(n - begin);
    fill(s, (size_t)n);
    if (nan) s[random_below(n)] = NAN;
    memcpy(got, s, (size_t)n * sizeof *s);
    memcpy(want, s, (size_t)n * sizeof *s);
    snprintf(now, sizeof now, "%s softmax of %d, from %d to %d", isa->name, n, begin, end);
    float sum = isa->ops->softmax(got, n, begin, end);
    float want_sum = ops_portable.softmax(want, n, begin, end);
    CHECK(first_difference(&sum, &want_sum, 1) < 0, "%s: sum", now);
    CHECK(first_difference(got, want, (size_t)n) < 0, "%s", now);
    if (nan) return;
    if (isa == &isa_portable) near_softmax(s, want, (double)want_sum, n, begin, end);
    int first = begin / LANES * LANES, last = (end + LANES - 1) / LANES * LANES;
    float alone = isa->ops->softmax(s + first, last - first, begin - first, end - first);
    CHECK(alone == sum && first_difference(s + first, got + first, (size_t)(last - first)) < 0,
          "%s: not as alone", now);
}

/* The sum, by which the weights are divided, is NaN if a score is NaN or +infinity, or all are
 * -infinity; beside others, -infinity has no weight. Wherever it stands, whatever is masked. */
static void test_not_finite(const struct isa *isa) {
    enum { N = 5 * LANES, BEGIN = 3, END = N - 2 };
    float s[N], clean[N];
    for (int at = BEGIN; at < END; at++) {
        for (int i = 0; i < N; i++) s[i] = clean[i] = test_normal(&seed);
        s[at] = NAN;
        float sum = isa->ops->softmax(s, N, BEGIN, END);
        CHECK(sum != sum, "%s softmax: %g with a NaN at %d", isa->name, (double)sum, at);
        memcpy(s, clean, sizeof s);
        s[at] = INFINITY;
        sum = isa->ops->softmax(s, N, BEGIN, END);
        CHECK(sum != sum, "%s softmax: %g with infinity at %d", isa->name, (double)sum, at);
        memcpy(s, clean, sizeof s);
        s[at] = -INFINITY;
        s[0] = s[N - 1] = NAN; // masked
        clean[at] = -1e30f;
        sum = isa->ops->softmax(s, N, BEGIN, END);
        float want = isa->ops->softmax(clean, N, BEGIN, END);
        CHECK(sum == want && s[at] == 0 && memcmp(s, clean, sizeof s) == 0,
              "%s softmax: %g with -infinity at %d", isa->name, (double)sum, at);
        for (int i = 0; i < N; i++) s[i] = i > at ? NAN : -INFINITY;
        sum = isa->ops->softmax(s, N, BEGIN, at + 1);
        CHECK(sum != sum, "%s softmax: %g of -infinity", isa->name, (double)sum);
        memcpy(s, clean, sizeof s);
        s[at] = NAN;
        isa->ops->rms_norm(s, s, NULL, N, 1e-5f);
        for (int i = 0; i < N; i++) {
            CHECK(s[i] != s[i], "%s rms_norm: %g with a NaN at %d", isa->name, (double)s[i], at);
        }
    }
}

/* ---- attention ------------------------------------------------------------------------------- */

struct attention {
    struct kv_head kv;
    int n_q, n;
    int64_t first;
    size_t stride; // between the rows of s
    bool left;
    double scale;
};

static float cached(const void *base, bool f16, size_t i) {
    return f16 ? fp16_to_fp32(((const ggml_half *)base)[i]) : ((const float *)base)[i];
}

static void *fill_cache(int room, size_t n, bool f16, bool left, float factor) {
    uint8_t *p = place(room, n * (f16 ? 2 : 4), left);
    for (size_t i = 0; i < n; i++) {
        float v = test_normal(&seed) * factor;
        ggml_half h = fp32_to_fp16(v);
        memcpy(p + i * (f16 ? 2 : 4), f16 ? (void *)&h : (void *)&v, f16 ? 2 : 4);
    }
    return p;
}

static struct attention attention_open(void) {
    static const int dims[] = {8, 16, 24, 40, 64, 80, 96, 112, 128, 256};
    struct attention a = {.kv = {.f16 = random_below(2)}, .left = random_below(2), .scale = 0.125};
    a.kv.head_dim_k = dims[random_below(10)];
    a.kv.head_dim_v = dims[random_below(10)];
    a.kv.n_slots = LANES * (1 + random_below(30));
    a.n = LANES * (1 + random_below(a.kv.n_slots / LANES));
    a.n_q = 1 + random_below(ATTN_QUERIES);
    a.first = (int64_t)LANES * random_below(1000);
    a.stride = (size_t)(a.n + LANES * random_below(3));
    float factor = random_below(4) ? 1.0f : 0x1p-14f; // small ones: products that underflow
    size_t n_slots = (size_t)a.kv.n_slots;
    a.kv.k = fill_cache(ROOM_K, n_slots * (size_t)a.kv.head_dim_k, a.kv.f16, a.left, factor);
    a.kv.v = fill_cache(ROOM_V, n_slots * (size_t)a.kv.head_dim_v, a.kv.f16, a.left, factor);
    return a;
}

static void announce(const struct isa *isa, const char *op, const struct attention *a) {
    snprintf(now, sizeof now,
             "%s %s, head_dim %d and %d, %d queries, positions %d + %d of a ring of %d, f%d",
             isa->name, op, a->kv.head_dim_k, a->kv.head_dim_v, a->n_q, (int)a->first, a->n,
             a->kv.n_slots, a->kv.f16 ? 16 : 32);
}

static void near_scores(const struct attention *a, const float *const *q, const float *s) {
    for (int i = 0; i < a->n_q * a->n; i++) {
        int p = i % a->n, dim = a->kv.head_dim_k;
        size_t slot = (size_t)(a->first + p) % (size_t)a->kv.n_slots;
        double want = 0, sum = 0;
        for (int d = 0; d < dim; d++) {
            size_t at = (slot / LANES * (size_t)dim + (size_t)d) * LANES + slot % LANES;
            double product = (double)q[i / a->n][d] * (double)cached(a->kv.k, a->kv.f16, at);
            want += product;
            sum += fabs(product);
        }
        check_near(SCORES, (double)s[(size_t)(i / a->n) * a->stride + (size_t)p], want * a->scale,
                   (dim + 1) * U * sum * a->scale + TINY);
    }
}

static void check_scores(const struct isa *isa, const struct attention *a) {
    const float *q[ATTN_QUERIES];
    for (int i = 0; i < a->n_q; i++) {
        float *row = place_floats(ROOM_Q + i, (size_t)a->kv.head_dim_k, a->left);
        for (int d = 0; d < a->kv.head_dim_k; d++) row[d] = test_normal(&seed);
        q[i] = row;
    }
    size_t size = (size_t)(a->n_q - 1) * a->stride + (size_t)a->n;
    float *s = place_floats(ROOM_S, size, a->left), *want = place_floats(ROOM_WANT, size, a->left);
    float scale = (float)a->scale;
    announce(isa, "attn_scores", a);
    isa->ops->attn_scores(s, a->stride, q, a->n_q, &a->kv, a->first, a->n, scale);
    ops_portable.attn_scores(want, a->stride, q, a->n_q, &a->kv, a->first, a->n, scale);
    CHECK(memcmp(s, want, size * sizeof *s) == 0, "%s", now); // with what lies between the rows
    if (isa == &isa_portable) near_scores(a, q, want);
    int skip = LANES * random_below(a->n / LANES), i = random_below(a->n_q);
    float *alone = place_floats(ROOM_WANT, LANES, a->left);
    isa->ops->attn_scores(alone, LANES, q + i, 1, &a->kv, a->first + skip, LANES, scale);
    CHECK(first_difference(alone, s + (size_t)i * a->stride + skip, LANES) < 0,
          "%s: query %d, position %d: not as alone", now, i, skip);
}

static void near_values(const struct attention *a, const float *s, double inv_sum,
                        const float *out) {
    for (int d = 0; d < a->kv.head_dim_v; d++) {
        double want = 0, sum = 0;
        for (int p = 0; p < a->n; p++) {
            size_t slot = (size_t)(a->first + p) % (size_t)a->kv.n_slots;
            size_t at = slot * (size_t)a->kv.head_dim_v + (size_t)d;
            double product = (double)s[p] * (double)cached(a->kv.v, a->kv.f16, at);
            want += product;
            sum += fabs(product);
        }
        check_near(VALUES, (double)out[d], want * inv_sum,
                   ((a->n + 1) * U * sum + a->n * 0x1p-149) * inv_sum + TINY);
    }
}

/* Weights of query i: some positions on both sides have none, as in a batch. */
static void fill_shares(float *s, int n, int *begin, int *end) {
    float factor = random_below(3) ? 1.0f : 0x1p-130f;
    *begin = random_below(n);
    *end = *begin + 1 + random_below(n - *begin);
    for (int p = 0; p < n; p++) {
        s[p] = p >= *begin && p < *end ? fabsf(test_normal(&seed)) * factor : 0;
    }
}

static long n_negative_sums; // results that would be -0 but for the positions with weight 0

static void check_values(const struct isa *isa, const struct attention *a) {
    float *out[ATTN_QUERIES], *want[ATTN_QUERIES], inv_sum[ATTN_QUERIES];
    int begin[ATTN_QUERIES], end[ATTN_QUERIES];
    size_t dim = (size_t)a->kv.head_dim_v, size = (size_t)(a->n_q - 1) * a->stride + (size_t)a->n;
    float *s = place_floats(ROOM_S, size, a->left);
    float *wants = place_floats(ROOM_WANT, 2 * ATTN_QUERIES * dim, a->left);
    for (int i = 0; i < a->n_q; i++) {
        out[i] = place_floats(ROOM_Q + i, dim, a->left);
        want[i] = wants + (size_t)i * dim;
        inv_sum[i] = 1 / (1 + (float)random_below(100));
        fill_shares(s + (size_t)i * a->stride, a->n, &begin[i], &end[i]);
    }
    announce(isa, "attn_values", a);
    isa->ops->attn_values(out, s, a->stride, inv_sum, a->n_q, &a->kv, a->first, a->n);
    ops_portable.attn_values(want, s, a->stride, inv_sum, a->n_q, &a->kv, a->first, a->n);
    for (int i = 0; i < a->n_q; i++) {
        const float *si = s + (size_t)i * a->stride;
        CHECK(first_difference(out[i], want[i], dim) < 0, "%s: query %d", now, i);
        if (isa == &isa_portable) near_values(a, si, (double)inv_sum[i], want[i]);
        float *alone = wants + ATTN_QUERIES * dim, last = 0;
        isa->ops->attn_values(&alone, si + begin[i], a->stride, inv_sum + i, 1, &a->kv,
                              a->first + begin[i], end[i] - begin[i]);
        CHECK(first_difference(alone, out[i], dim) < 0, "%s: query %d: not as alone", now, i);
        for (size_t d = 0; d < dim; d++) {
            size_t slot = (size_t)(a->first + end[i] - 1) % (size_t)a->kv.n_slots;
            last = si[end[i] - 1] * cached(a->kv.v, a->kv.f16, slot * dim + d);
            n_negative_sums += last == 0 && signbit(last) && alone[d] == 0;
        }
    }
}

/* Values that are part of the keys: every number's sum has 8 lanes, then their tree. */
static void near_key_values(const struct attention *a, const float *s, double inv_sum,
                            const float *out) {
    for (int d = 0; d < a->kv.head_dim_v; d++) {
        double want = 0, sum = 0;
        for (int p = 0; p < a->n; p++) {
            size_t slot = (size_t)(a->first + p) % (size_t)a->kv.n_slots;
            size_t at =
                (slot / LANES * (size_t)a->kv.head_dim_k + (size_t)d) * LANES + slot % LANES;
            double product = (double)s[p] * (double)cached(a->kv.k, a->kv.f16, at);
            want += product;
            sum += fabs(product);
        }
        check_near(VALUES, (double)out[d], want * inv_sum,
                   ((a->n + 1) * U * sum + a->n * 0x1p-149) * inv_sum + TINY);
    }
}

static void check_key_values(const struct isa *isa, struct attention a) {
    float *out[ATTN_QUERIES], *want[ATTN_QUERIES], inv_sum[ATTN_QUERIES];
    a.kv.v = NULL;
    if (a.kv.head_dim_v > a.kv.head_dim_k) a.kv.head_dim_v = a.kv.head_dim_k;
    size_t dim = (size_t)a.kv.head_dim_v, room = dim * LANES;
    float *s = place_floats(ROOM_S, (size_t)(a.n_q - 1) * a.stride + (size_t)a.n, a.left);
    float *wants = place_floats(ROOM_WANT, (ATTN_QUERIES + 1) * room, a.left);
    float *alone = wants + ATTN_QUERIES * room;
    for (int i = 0; i < a.n_q; i++) {
        int begin, end;
        out[i] = place_floats(ROOM_Q + i, room, a.left);
        want[i] = wants + (size_t)i * room;
        inv_sum[i] = 1 / (1 + (float)random_below(100));
        fill_shares(s + (size_t)i * a.stride, a.n, &begin, &end);
    }
    announce(isa, "attn_values of keys", &a);
    isa->ops->attn_values(out, s, a.stride, inv_sum, a.n_q, &a.kv, a.first, a.n);
    ops_portable.attn_values(want, s, a.stride, inv_sum, a.n_q, &a.kv, a.first, a.n);
    for (int i = 0; i < a.n_q; i++) {
        const float *si = s + (size_t)i * a.stride;
        CHECK(first_difference(out[i], want[i], dim) < 0, "%s: query %d", now, i);
        if (isa == &isa_portable) near_key_values(&a, si, (double)inv_sum[i], want[i]);
        isa->ops->attn_values(&alone, si, a.stride, inv_sum + i, 1, &a.kv, a.first, a.n);
        CHECK(first_difference(alone, out[i], dim) < 0, "%s: query %d: not as alone", now, i);
    }
}

/* ---- main ------------------------------------------------------------------------------------ */

static void test_isa(const struct isa *isa) {
    for (int n = 1; n <= 300; n += 1 + n / 20) {
        check_norm(isa, n, n % 2, false);
        check_norm(isa, n, n % 2, true);
    }
    for (int i = 0; i < 300; i++) {
        int n = LANES * (1 + random_below(60));
        check_softmax(isa, n, i % 2, i % 10 == 0);
        struct attention a = attention_open();
        check_scores(isa, &a);
        check_values(isa, &a);
        check_key_values(isa, a);
    }
    test_not_finite(isa);
}

int main(int argc, char **argv) {
    if (argc > 1) seed = strtoull(argv[1], NULL, 10) | 1;
    tell_crashes();
    printf("test_ops: seed %llu\n", (unsigned long long)seed);
    for (int n = 1; n <= 300; n++) {
        check_rms_norm_exactly(n);
        check_layer_norm_exactly(n);
    }
    for (int i = 0; isa_all[i]; i++) {
        if (isa_all[i]->usable()) {
            test_isa(isa_all[i]);
        } else {
            printf("SKIP %s (cpu)\n", isa_all[i]->name);
        }
    }
    CHECK(n_negative_sums > 0, "no sum was -0: the shares are not small enough");
    for (int i = 0; i < N_OPS; i++) {
        printf("%s: the largest error is %.2f of its bound\n", worst[i].name, worst[i].share);
    }
    return test_done("test_ops");
}
