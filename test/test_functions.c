/* The functions that a step applies element by element (struct ops), over the floats: against their
 * definitions in double precision, and the same bits from every instance.
 *
 *   test_functions       every 4099th float, and all floats around those where a definition or an
 *                        implementation changes
 *   test_functions all   every float (minutes)
 *
 * The errors that isa.h states are the bounds in the table below. */
#include "kernels.h"

#include <float.h>
#include <math.h>

#include "simd/isa.h"
#include "threads.h"

static const float OAI_GATE = 3.5f;

/* The distance of the floats about a value; 2^-149 at least. */
static double ulp(double want) {
    uint64_t bits;
    memcpy(&bits, &want, sizeof bits);
    int e = (int)(bits >> 52 & 0x7ff) - 1023;
    e = e < -126 ? -126 : e > 127 ? 127 : e;
    bits = (uint64_t)(e - 23 + 1023) << 52;
    memcpy(&want, &bits, sizeof bits);
    return want;
}

/* ---- definitions ----------------------------------------------------------------------------- */

static double want_sigmoid(double x) {
    return 1 / (1 + exp(-x));
}
static double want_silu(double x) {
    return x == -INFINITY ? -0.0 : x / (1 + exp(-x));
}
static double want_gelu(double x) {
    double u = 0.79788456080286535588 * (x + 0.044715 * x * x * x); // sqrt(2 / pi)
    return x <= -10 ? 0 : x >= 10 ? x : x * (1 + tanh(u)) / 2;
}
static double want_softplus(double x) {
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}
/* g sigmoid(1.702 g), g up to 7: SwiGLU as gpt-oss has it, with up = 0 */
static double want_swiglu_oai(double x) {
    double g = x > 7 ? 7 : x;
    return g == -INFINITY ? -0.0 : g / (1 + exp(-(double)1.702f * g));
}
/* The same of gate = OAI_GATE, times u + 1 with u from -7 to 7. */
static double want_oai_up(double x) {
    return want_swiglu_oai((double)OAI_GATE) * ((x > 7 ? 7 : x < -7 ? -7 : x) + 1);
}

/* ---- the cases ------------------------------------------------------------------------------- */

enum { ROOM_X, ROOM_Y, CHUNK = 1 << 12 };

enum function {
    EXP,
    SOFTMAX, // of x <= 0, beside a 0
    EXPM1,
    TANH,
    SIGMOID,
    SILU,
    GELU,
    SOFTPLUS,
    SWIGLU_OAI,    // of gate, with up = 0
    SWIGLU_OAI_UP, // of up, with gate = OAI_GATE
    SOFTCAP
};

/* The error is counted in units in the last place of the true value, or in unit(x). */
struct test_case {
    const char *name;
    enum function function;
    double (*want)(double x);
    double most; // error
    double (*unit)(double x);
    float cap;
};

/* GELU goes through halves: argument and value are rounded to 11 bits. */
static double unit_gelu(double x) {
    return fabs(x) < 10 ? fabs(x) * 0x1p-10 + 0x1p-24 : 0;
}

/* 1.702 g is rounded before the exponential. */
static double unit_oai(double x) {
    return ulp(want_swiglu_oai(x)) * (1 + fabs(x));
}

static const struct test_case cases[] = {
    // as in enum function
    {"exp", EXP, exp, 1.02, NULL, 0},
    {"softmax", SOFTMAX, exp, 1.02, NULL, 0},
    {"expm1", EXPM1, expm1, 1.45, NULL, 0},
    {"tanh", TANH, tanh, 2.5, NULL, 0},
    {"sigmoid", SIGMOID, want_sigmoid, 2.5, NULL, 0},
    {"silu", SILU, want_silu, 2.5, NULL, 0},
    {"gelu", GELU, want_gelu, 1, unit_gelu, 0},
    {"softplus", SOFTPLUS, want_softplus, 2.8, NULL, 0},
    {"swiglu_oai", SWIGLU_OAI, want_swiglu_oai, 2, unit_oai, 0},
    {"swiglu_oai of up", SWIGLU_OAI_UP, want_oai_up, 1.5, NULL, 0},
    {"softcap 30", SOFTCAP, NULL, 3.8, NULL, 30},
    {"softcap 50", SOFTCAP, NULL, 3.8, NULL, 50},
    {"softcap 1e-38", SOFTCAP, NULL, 3.8, NULL, 1e-38f},
    {"softcap 3e38", SOFTCAP, NULL, 3.8, NULL, 3e38f},
};
enum { N_CASES = sizeof cases / sizeof *cases, N_OF_ALL = N_CASES - 3 }; // other caps: some floats

static void softmax_beside_0(const struct ops *ops, float *y, const float *x, int n) {
    float s[CHUNK + LANES];
    s[0] = 0;
    for (int i = 0; i < n; i++) s[1 + i] = x[i] <= 0 ? x[i] : 0;
    ops->softmax(s, n / LANES * LANES + LANES, 0, 1 + n);
    memcpy(y, s + 1, (size_t)n * sizeof *y);
}

/* y[i] = f(x[i]) */
static void apply(const struct ops *ops, const struct test_case *c, float *y, const float *x,
                  int n) {
    static const float zeros[CHUNK];
    switch (c->function) {
    case EXP:
        ops->exp(y, x, n);
        break;
    case SOFTMAX:
        softmax_beside_0(ops, y, x, n);
        break;
    case EXPM1:
        ops->expm1(y, x, n);
        break;
    case TANH:
        ops->tanh(y, x, n);
        break;
    case SIGMOID:
        ops->sigmoid(y, x, n);
        break;
    case SILU:
        ops->silu(y, x, n);
        break;
    case GELU:
        ops->gelu(y, x, n);
        break;
    case SOFTPLUS:
        ops->softplus(y, x, n);
        break;
    case SWIGLU_OAI:
        memmove(y, x, (size_t)n * sizeof *y);
        ops->swiglu_oai(y, zeros, n);
        break;
    case SWIGLU_OAI_UP:
        for (int i = 0; i < n; i++) y[i] = OAI_GATE;
        ops->swiglu_oai(y, x, n);
        break;
    case SOFTCAP:
        memmove(y, x, (size_t)n * sizeof *y);
        ops->softcap(y, n, c->cap);
        break;
    }
}

static double want(const struct test_case *c, double x) {
    if (c->function == SOFTCAP) return (double)c->cap * tanh(x / (double)c->cap);
    if (c->function == SOFTMAX && !(x <= 0)) return 1;
    return c->want(x);
}

/* ---- the errors ------------------------------------------------------------------------------ */

/* A float that overflowed counts as 2^128, the one that would come next. */
static double error_of(const struct test_case *c, float x, float got) {
    double w = want(c, (double)x), g = (double)got;
    float rounded = (float)w;
    if (memcmp(&rounded, &got, sizeof got) == 0) return 0; // 0.5 ulp at most: not worth a division
    if (isnan(w) || isnan(g)) return isnan(w) && isnan(g) ? 0 : INFINITY;
    if (!c->unit && !signbit(w) != !signbit(g)) return INFINITY;
    if (isinf(g)) g = copysign(0x1p128, g);
    if (fabs(w) > 0x1p128) w = copysign(0x1p128, w);
    double error = fabs(g - w), unit = c->unit ? c->unit((double)x) : ulp(w);
    return error == 0 ? 0 : error / unit;
}

struct finding {
    double error; // the largest
    float at, got;
    const char *differs; // an instance that gives other bits than portable C does
    float differs_at;
};

/* What to compare with portable C; instruction sets may share an instance. */
static const struct isa *instances[4];
static int n_instances;

static void measure(struct finding *found, int n_cases, const float *x, int n) {
    float y[CHUNK], other[CHUNK];
    for (int c = 0; c < n_cases; c++, found++) {
        apply(&ops_portable, &cases[c], y, x, n);
        for (int i = 0; i < n; i++) {
            double error = error_of(&cases[c], x[i], y[i]);
            if (!(error > found->error)) continue;
            found->error = error;
            found->at = x[i];
            found->got = y[i];
        }
        for (int k = 0; k < n_instances; k++) {
            apply(instances[k]->ops, &cases[c], other, x, n);
            long bad = first_difference(other, y, (size_t)n);
            if (bad < 0) continue;
            found->differs = instances[k]->name;
            found->differs_at = x[bad];
        }
    }
}

/* ---- which floats ---------------------------------------------------------------------------- */

static const float centers[] = {
    0,
    FLT_MIN,
    0x1p-25f, // from here expm1 is computed
    0x1p-12f, // and softcap, times the cap
    30 * 0x1p-12f,
    50 * 0x1p-12f,
    1e-38f,
    0.34657359f, // ln2 / 2: another power of 2
    1.0397208f,
    1,
    7,          // swiglu_oai's limits
    9.0109133f, // tanh rounds to 1
    10,         // gelu's table ends; tanh's clamp
    17.328680f, // e^-x is lost beside 1
    20,         // clamps of expm1, sigmoid, swiglu_oai
    64,
    65,
    87.336545f, // e^-x is FLT_MIN
    88.722839f, // e^x is FLT_MAX
    89,         // clamp of exp
    103.27893f, // e^-x is 2^-149, and 2^-150
    103.97208f,
    104,        // clamp of exp
    108.66012f, // x e^-x is 2^-150
    110,        // clamp of silu
    65504,      // the largest half
    FLT_MAX,
    INFINITY,
};
enum { N_CENTERS = sizeof centers / sizeof *centers, AROUND = 401, STRIDE = 4099 };
#define N_STRIDES ((UINT64_C(1) << 32) / STRIDE + 1)
#define N_SAMPLES (N_STRIDES + 2 * N_CENTERS * (2 * AROUND + 1))

static float sample(uint64_t i) {
    if (i < N_STRIDES) return float_from_bits((uint32_t)(i * STRIDE));
    i -= N_STRIDES;
    float center = centers[i / (2 * AROUND + 1) / 2];
    uint32_t bits, offset = (uint32_t)(i / 2 % (2 * AROUND + 1)) - AROUND;
    memcpy(&bits, &center, sizeof bits);
    return float_from_bits((bits + offset) ^ (i % 2 ? 0x80000000u : 0));
}

struct job {
    bool all;
    uint64_t n;
    struct finding (*found)[N_CASES]; // by each thread
};

static void measure_chunks(void *arg, long begin, long end, int thread) {
    const struct job *job = arg;
    for (long chunk = begin; chunk < end; chunk++) {
        float x[CHUNK];
        uint64_t first = (uint64_t)chunk * CHUNK;
        int n = job->n - first < CHUNK ? (int)(job->n - first) : CHUNK;
        for (int i = 0; i < n; i++) {
            uint64_t at = first + (uint64_t)i;
            x[i] = job->all ? float_from_bits((uint32_t)at) : sample(at);
        }
        measure(job->found[thread], job->all ? N_OF_ALL : N_CASES, x, n);
    }
}

static void report(const struct job *job, int n_threads) {
    printf("of %s:\n", job->all ? "every float" : "some floats");
    for (int c = 0; c < (job->all ? N_OF_ALL : N_CASES); c++) {
        struct finding worst = {0};
        for (int t = 0; t < n_threads; t++) {
            const struct finding *f = &job->found[t][c];
            if (f->error >= worst.error) worst = *f;
            CHECK(!f->differs, "%s of %a: %s is not portable", cases[c].name, (double)f->differs_at,
                  f->differs);
        }
        const char *unit = cases[c].unit ? "of its unit" : "ulp";
        CHECK(worst.error <= cases[c].most, "%s of %a is %a", cases[c].name, (double)worst.at,
              (double)worst.got);
        printf("%s: at most %.4f %s off, at %a\n", cases[c].name, worst.error, unit,
               (double)worst.at);
    }
}

static void test_floats(bool all) {
    struct error err = {KQ_OK, ""};
    int n_threads = threads_default_count();
    struct threads *threads = threads_open(n_threads, &err);
    struct job job = {all, all ? UINT64_C(1) << 32 : N_SAMPLES,
                      calloc((size_t)n_threads, sizeof *job.found)};
    if (!threads || !job.found) {
        printf("no threads, or no memory\n");
        exit(1);
    }
    parallel_for(threads, NULL, (long)((job.n + CHUNK - 1) / CHUNK), 1, measure_chunks, &job);
    report(&job, n_threads);
    free(job.found);
    threads_close(threads);
}

/* ---- the rows -------------------------------------------------------------------------------- */

/* A row of any length touches nothing beyond its ends, and may be its own result. */
static void check_row(const struct isa *isa, const struct test_case *c, int n, bool left) {
    float *x = place_floats(ROOM_X, (size_t)n, left), *y = place_floats(ROOM_Y, (size_t)n, left);
    float want[CHUNK];
    for (int i = 0; i < n; i++) {
        float one = test_normal(&seed);
        x[i] = one;
        apply(&ops_portable, c, want + i, &one, 1);
    }
    snprintf(now, sizeof now, "%s %s of %d", isa->name, c->name, n);
    apply(isa->ops, c, y, x, n);
    CHECK(first_difference(y, want, (size_t)n) < 0, "%s", now);
    if (c->function == SOFTMAX || c->function == SWIGLU_OAI_UP) return;
    apply(isa->ops, c, x, x, n);
    CHECK(first_difference(x, want, (size_t)n) < 0, "%s in place", now);
}

/* gate = f(gate) * up, with one rounding for the product; gpt-oss has up + 1, up from -7 to 7. */
static void check_product(const struct isa *isa, enum function f, int n, bool left) {
    float *gate = place_floats(ROOM_X, (size_t)n, left);
    float *up = place_floats(ROOM_Y, (size_t)n, left), want[CHUNK];
    for (int i = 0; i < n; i++) {
        gate[i] = test_normal(&seed) * 4;
        up[i] = test_normal(&seed) * 4;
    }
    apply(&ops_portable, &cases[f], want, gate, n);
    for (int i = 0; i < n; i++) {
        want[i] *= f == SWIGLU_OAI ? fminf(fmaxf(up[i], -7), 7) + 1 : up[i];
    }
    snprintf(now, sizeof now, "%s %s times up, of %d", isa->name, cases[f].name, n);
    if (f == SILU) isa->ops->swiglu(gate, up, n);
    if (f == GELU) isa->ops->geglu(gate, up, n);
    if (f == SWIGLU_OAI) isa->ops->swiglu_oai(gate, up, n);
    CHECK(first_difference(gate, want, (size_t)n) < 0, "%s", now);
}

static void test_rows(const struct isa *isa) {
    for (int n = 1; n <= 300; n += 1 + n / 20) {
        for (int c = 0; c < N_CASES; c++) check_row(isa, &cases[c], n, n % 2);
        check_product(isa, SILU, n, n % 2);
        check_product(isa, GELU, n, n % 2);
        check_product(isa, SWIGLU_OAI, n, n % 2);
    }
}

int main(int argc, char **argv) {
    tell_crashes();
    for (int i = 0; isa_all[i]; i++) {
        const struct isa *isa = isa_all[i];
        if (!isa->usable()) {
            printf("SKIP %s (cpu)\n", isa->name);
            continue;
        }
        test_rows(isa);
        bool known = isa->ops == &ops_portable;
        for (int k = 0; k < n_instances; k++) known |= isa->ops == instances[k]->ops;
        if (!known) instances[n_instances++] = isa;
    }
    test_floats(argc > 1 && strcmp(argv[1], "all") == 0);
    return test_done("test_functions");
}
