/* Steps alone: families written for the test, whose embedding holds what a step reads. */
#include <math.h>

#include "test.h"
#include "gguf_build.h"
#include "engine.h"
#include "build.h"

enum { N_TOKENS = 40, N_CTX = 64, MAX_ROW = 64 };

/* What the embedding says of each token, and what became of it. */
struct table {
    int n;
    float rows[N_TOKENS][MAX_ROW];
};

struct way {
    const struct isa *isa;
    int n_threads, n_batch;
};

/* Runs the model that `write` makes of an embedding with the rows of `in`: `out` gets what it calls
 * logits, n floats a token, up to the pass that fails. */
static struct error try(void (*write)(struct plan *), const struct table *in, const struct way *way,
                        struct table *out) {
    struct error err = {KQ_OK, ""};
    struct gguf_build b = {0};
    struct gguf g;
    struct plan plan;
    size_t size;
    float rows[N_TOKENS * MAX_ROW];
    for (int i = 0; i < N_TOKENS; i++) {
        memcpy(rows + i * in->n, in->rows[i], (size_t)in->n * sizeof *rows);
    }
    build_u32(&b, "x.embedding_length", (uint32_t)in->n);
    build_u32(&b, "x.block_count", 1);
    build_u32(&b, "x.context_length", N_CTX);
    build_tensor(&b, "token_embd.weight", GGML_TYPE_F32, (uint64_t)in->n, N_TOKENS, rows);
    uint8_t *file = build_file(&b, &size);
    build_free(&b);
    struct plan_source source = {.g = &g, .arch = "x", .write = write};
    if (gguf_parse(&g, file, size, &err) < 0 || plan_write(&plan, &source, &err) < 0) {
        printf("%s\n", err.text);
        exit(1);
    }
    struct model m = {.plan = &plan, .n_vocab = N_TOKENS};
    struct threads *threads = threads_open(way->n_threads, &err);
    struct transformer_params p = {
        .isa = way->isa, .threads = threads, .kv_f32 = true, .n_batch = way->n_batch};
    struct engine e = engine_open(&m, &p, N_CTX, &err);
    out->n = plan.logits.n;
    for (int pos = 0; e.t && !err.status && pos < N_TOKENS; pos += way->n_batch) {
        int32_t ids[N_TOKENS];
        int n = N_TOKENS - pos < way->n_batch ? N_TOKENS - pos : way->n_batch;
        for (int i = 0; i < n; i++) ids[i] = pos + i;
        engine_feed(&e, ids, n, pos, &err);
        for (int i = 0; !err.status && i < n; i++) {
            const float *logits = engine_logits(&e, i, &err);
            if (logits) memcpy(out->rows[pos + i], logits, (size_t)out->n * sizeof(float));
        }
    }
    engine_close(&e);
    threads_close(threads);
    plan_free(&plan);
    gguf_close(&g);
    free(file);
    return err;
}

static void run(void (*write)(struct plan *), const struct table *in, const struct way *way,
                struct table *out) {
    struct error err = try(write, in, way, out);
    CHECK(!err.status, "\"%s\"", err.text);
}

/* The plainest way; the others must give its bits. */
static struct table run_every_way(void (*write)(struct plan *), const struct table *in,
                                  const char *what) {
    static const int batches[] = {1, 7, 33, N_TOKENS};
    struct way way = {&isa_portable, 1, 1};
    struct table expected = {0}, found = {0};
    run(write, in, &way, &expected);
    for (int i = 0; isa_all[i]; i++) {
        if (!isa_all[i]->usable()) continue;
        for (int k = 0; k < 4; k++) {
            way = (struct way){isa_all[i], 1 + k % 3, batches[k]};
            run(write, in, &way, &found);
            CHECK(memcmp(&found, &expected, sizeof found) == 0, "%s: %s, batch %d", what,
                  way.isa->name, way.n_batch);
        }
    }
    return expected;
}

static struct table normal_rows(int n) {
    struct table t = {.n = n};
    uint64_t seed = 5;
    for (int i = 0; i < N_TOKENS; i++) {
        for (int k = 0; k < n; k++) t.rows[i][k] = test_normal(&seed);
    }
    return t;
}

/* ---- routers --------------------------------------------------------------------------------- */

enum { EXPERTS = 8 };

static struct {
    struct gating g;
    int n_used, each; // each > 0: groups of so many are chosen
    bool ids;
} router;

static void write_router(struct plan *p) {
    struct choice c = choose(embed(p, "token_embd", p->n_embd, 1), router.n_used, router.g);
    if (router.each > 0) c = choose_groups(&c, router.each);
    logits(wanted(router.ids ? c.ids : part(c.weights, 0, c.n_used))); // the rest is room
}

struct routed {
    int32_t ids[EXPERTS];
    float weights[EXPERTS];
};

static struct routed route(const float *scores, int n) {
    struct table in = {.n = n}, out;
    struct routed r;
    for (int i = 0; i < N_TOKENS; i++) memcpy(in.rows[i], scores, (size_t)n * sizeof *scores);
    router.ids = true;
    out = run_every_way(write_router, &in, "ids");
    memcpy(r.ids, out.rows[N_TOKENS - 1], sizeof r.ids);
    router.ids = false;
    out = run_every_way(write_router, &in, "weights");
    memcpy(r.weights, out.rows[N_TOKENS - 1], sizeof r.weights);
    return r;
}

static bool close_to(float x, double y) {
    return fabs((double)x - y) <= 1e-6 * (1 + fabs(y));
}

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static const float some[EXPERTS] = {0.5f, 3, -1, 2, 0.25f, 1, -2, 2.5f}; // 1, 7, 3, 5 are largest

static void check_ids(const struct routed *r, int n, const int *expected, const char *what) {
    for (int u = 0; u < n; u++) {
        CHECK(r->ids[u] == expected[u], "%s: %d at %d, expected %d", what, r->ids[u], u,
              expected[u]);
    }
}

static void test_gates(void) {
    static const int ids[] = {1, 3, 7};
    double all = 0, chosen = 0, sigmoids = 0;
    for (int e = 0; e < EXPERTS; e++) all += exp((double)some[e]);
    for (int u = 0; u < 3; u++) chosen += exp((double)some[ids[u]]);
    for (int u = 0; u < 3; u++) sigmoids += sigmoid((double)some[ids[u]]);
    for (int gate = SOFTMAX; gate <= SIGMOID_OF_CHOSEN; gate++) {
        for (int normed = 0; normed < 2; normed++) {
            router.g = (struct gating){.gate = (enum gate)gate, .normed = normed, .scale = 2.5f};
            router.n_used = 3;
            struct routed r = route(some, EXPERTS);
            check_ids(&r, 3, ids, "a gate");
            for (int u = 0; u < 3; u++) {
                double x = (double)some[ids[u]], s = sigmoid(x) / (normed ? sigmoids : 1);
                double of_all = exp(x) / (normed ? chosen : all);
                double expected = gate == SOFTMAX             ? of_all
                                  : gate == SOFTMAX_OF_CHOSEN ? exp(x) / chosen
                                                              : s;
                CHECK(close_to(r.weights[u], 2.5 * expected), "gate %d, normed %d: %g, not %g",
                      gate, normed, (double)r.weights[u], 2.5 * expected);
            }
        }
    }
}

/* Of equal logits the first are taken; sums too small to divide by are taken for 2^-14. */
static void test_ties(void) {
    static const float equal[EXPERTS] = {0}, tiny[EXPERTS] = {-50, -50, -50, -50, -50};
    router.g = (struct gating){.gate = SOFTMAX_OF_CHOSEN, .scale = 1};
    router.n_used = 5;
    struct routed r = route(equal, EXPERTS);
    check_ids(&r, 5, (const int[]){0, 1, 2, 3, 4}, "ties");
    CHECK(close_to(r.weights[4], 0.2), "%g", (double)r.weights[4]);
    router.g = (struct gating){.gate = SIGMOID, .normed = true, .scale = 1};
    r = route(tiny, 5);
    CHECK(close_to(r.weights[0] * 0x1p40f, sigmoid(-50) * 0x1p54), "%g", (double)r.weights[0]);
}

/* A bias is for the choice, a gain for the weight. */
static void test_bias_and_gains(void) {
    static const float bias[EXPERTS] = {0, 0, 9, 0, 0, 0, 8, 0};
    static const float gains[EXPERTS] = {1, 1, 3, 1, 1, 1, 5, 1};
    router.g = (struct gating){.gate = SIGMOID, .scale = 1, .bias = bias, .gains = gains};
    router.n_used = 2;
    struct routed r = route(some, EXPERTS);
    check_ids(&r, 2, (const int[]){2, 6}, "a bias");
    CHECK(close_to(r.weights[0], 3 * sigmoid(-1)), "%g", (double)r.weights[0]);
    CHECK(close_to(r.weights[1], 5 * sigmoid(-2)), "%g", (double)r.weights[1]);
}

/* The best groups are those whose two largest sum up to most, the first ones of equals. */
static void test_groups(void) {
    static const float apart[EXPERTS] = {5, 0, 3, 3, 4, 1.5f, -1, -1};
    static const float equal[EXPERTS] = {1, 2, 2, 1, 1, 2, 2, 1};
    static const float three[9] = {9, -9, 0.5f, 4, 3, -20, 4, 1, 2}; // 9.5, 7, 6
    router.g =
        (struct gating){.gate = SIGMOID_OF_CHOSEN, .scale = 1, .n_groups = 4, .n_groups_used = 2};
    router.n_used = 3;
    struct routed r = route(apart, EXPERTS);
    check_ids(&r, 3, (const int[]){2, 3, 4}, "groups");
    r = route(equal, EXPERTS);
    check_ids(&r, 3, (const int[]){0, 1, 2}, "equal groups");
    router.g.n_groups = 3;
    r = route(three, 9);
    check_ids(&r, 3, (const int[]){0, 3, 4}, "groups of three");
}

/* A router's NaN and +infinity end the pass; -infinity is not chosen as long as others are left. */
static void test_no_numbers(void) {
    const float firsts[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 4 * (1 + SIGMOID_OF_CHOSEN - SOFTMAX); i++) {
        router.g = (struct gating){.gate = (enum gate)(SOFTMAX + i / 4), .scale = 1};
        router.n_used = 2;
        router.ids = false;
        struct table in = {.n = EXPERTS}, out;
        memcpy(in.rows[0], some, sizeof some);
        in.rows[0][6] = firsts[i % 4];
        struct way way = {isa_best(), 1, 1};
        struct error err = try(write_router, &in, &way, &out);
        CHECK(err.status == (i % 4 < 3 ? KQ_NOT_FINITE : KQ_OK), "gate %d, %g: \"%s\"", i / 4,
              (double)firsts[i % 4], err.text);
    }
}

/* Experts 1, 3 and 7 of 8, in groups of 2 and of 4. */
static void test_groups_of_chosen(void) {
    double sum = 0, e[EXPERTS];
    for (int k = 0; k < EXPERTS; k++) e[k] = exp((double)some[k]);
    router.g = (struct gating){.gate = SOFTMAX, .normed = true, .scale = 1};
    router.n_used = 3;
    router.each = 2;
    struct routed r = route(some, EXPERTS);
    check_ids(&r, 3, (const int[]){0, 1, 3}, "groups of two");
    sum = e[0] + e[1] + e[3];
    CHECK(close_to(r.weights[1], e[1] / sum), "%g", (double)r.weights[1]);
    router.each = 4; // two groups: of the three chosen the two best, 1 and 7
    r = route(some, EXPERTS);
    check_ids(&r, 2, (const int[]){0, 1}, "groups of four");
    CHECK(close_to(r.weights[0], e[0] / (e[0] + e[1])), "%g", (double)r.weights[0]);
    static const float same[EXPERTS] = {9, 8, 0, 0, 1, 2, 0, 0};
    router.n_used = 2; // both of the first group: it is there once
    r = route(same, EXPERTS);
    check_ids(&r, 2, (const int[]){0, INT32_MIN}, "one group");
    CHECK(close_to(r.weights[0], 1) && r.weights[1] == 0, "%g", (double)r.weights[0]);
    router.each = 0;
}

/* ---- attention ------------------------------------------------------------------------------- */

enum { DIM = 6, CHUNK = 8, LATENT = 5 };
static const struct heads one_head = {.n = 1, .n_kv = 1, .scale = 0.7f};

static void write_chunks(struct plan *p) {
    value x = embed(p, "token_embd", p->n_embd, 1);
    value q = part(x, 0, DIM), k = part(x, DIM, DIM), v = part(x, 2 * DIM, DIM);
    logits(wanted(attend(q, remember_chunks(k, v, CHUNK), &one_head)));
}

/* Both ways to remember; heads of 13, whose first numbers are the values. */
static bool keep_values;

static void write_latent(struct plan *p) {
    value x = embed(p, "token_embd", p->n_embd, 1);
    value k = part(x, 0, 13), q = heads(part(x, 13, 26), 13);
    cache kv = keep_values ? remember(k, part(k, 0, LATENT), 0) : remember_latent(k, LATENT);
    logits(wanted(attend(q, kv, &one_head)));
}

static void write_temperature(struct plan *p) {
    value t = temperature(p, 0.3f, 16, 1), x = embed(p, "token_embd", p->n_embd, 1);
    logits(wanted(mul(x, t)));
}

/* A token sees the positions of its chunk up to its own. */
static void test_chunks(void) {
    struct table in = normal_rows(3 * DIM), out = run_every_way(write_chunks, &in, "chunks");
    for (int i = 0; i < N_TOKENS; i++) {
        double sum = 0, o[DIM] = {0};
        for (int j = i / CHUNK * CHUNK; j <= i; j++) {
            double s = 0;
            for (int d = 0; d < DIM; d++) {
                s += (double)in.rows[i][d] * (double)in.rows[j][DIM + d];
            }
            double e = exp(s * (double)one_head.scale);
            sum += e;
            for (int d = 0; d < DIM; d++) o[d] += e * (double)in.rows[j][2 * DIM + d];
        }
        for (int d = 0; d < DIM; d++) {
            CHECK(close_to(out.rows[i][d], o[d] / sum), "token %d, %d: %g, not %g", i, d,
                  (double)out.rows[i][d], o[d] / sum);
        }
    }
}

static void test_latent(void) {
    struct table in = normal_rows(39);
    keep_values = true;
    struct table twice = run_every_way(write_latent, &in, "values of their own");
    keep_values = false;
    struct table once = run_every_way(write_latent, &in, "values in keys");
    CHECK(once.n == 2 * LATENT && twice.n == once.n, "%d values", once.n);
    for (int i = 0; i < N_TOKENS; i++) {
        for (int d = 0; d < once.n; d++) {
            CHECK(close_to(once.rows[i][d], (double)twice.rows[i][d]), "token %d, %d: %g, not %g",
                  i, d, (double)once.rows[i][d], (double)twice.rows[i][d]);
        }
    }
}

static void test_temperature(void) {
    struct table in = normal_rows(3), out = run_every_way(write_temperature, &in, "temperature");
    for (int i = 0; i < N_TOKENS; i++) {
        double t = 1 + (double)0.3f * log(floor((i + 1) / 16.0) + 1);
        CHECK(close_to(out.rows[i][1], t * (double)in.rows[i][1]), "position %d", i);
    }
}

/* ---- xIELU ----------------------------------------------------------------------------------- */

static const struct xielu bends = {.alpha_p = 1.5f, .alpha_n = 1.25f, .beta = 0.5f, .eps = -1e-6f};

static value bent(value x) {
    return xielu(x, bends);
}

static void write_xielu(struct plan *p) {
    logits(wanted(bent(embed(p, "token_embd", p->n_embd, 1))));
}

static void test_xielu(void) {
    struct table in = normal_rows(MAX_ROW - 1), out;
    in.rows[0][0] = 0;
    in.rows[0][1] = -1e-7f; // above eps
    in.rows[0][2] = -200;
    out = run_every_way(write_xielu, &in, "xielu");
    for (int i = 0; i < N_TOKENS; i++) {
        for (int k = 0; k < in.n; k++) {
            double x = (double)in.rows[i][k], least = fmin(x, (double)bends.eps);
            double y = x > 0 ? 1.5 * x * x : 1.25 * (expm1(least) - x);
            CHECK(close_to(out.rows[i][k], y + 0.5 * x), "xielu of %g is %g, expected %g", x,
                  (double)out.rows[i][k], y + 0.5 * x);
        }
    }
}

/* ---- length 1 -------------------------------------------------------------------------------- */

static void write_l2(struct plan *p) {
    p->eps = 0.5f;
    logits(wanted(l2_norm(heads(embed(p, "token_embd", p->n_embd, 1), 6))));
}

static void test_l2_norm(void) {
    struct table in = normal_rows(18), out = run_every_way(write_l2, &in, "l2 norm");
    for (int i = 0; i < N_TOKENS; i++) {
        for (int k = 0; k < in.n; k++) {
            double sum = 0.5;
            for (int j = k / 6 * 6; j < k / 6 * 6 + 6; j++) {
                sum += (double)in.rows[i][j] * (double)in.rows[i][j];
            }
            CHECK(close_to(out.rows[i][k], (double)in.rows[i][k] / sqrt(sum)), "row %d", i);
        }
    }
}

/* ---- what is not finite ---------------------------------------------------------------------- */

enum { WIDTH = 16, HALF = WIDTH / 2 };

static value all_of(value x) {
    return x;
}
static value cap(value x) {
    return softcapped(x, 30);
}
static value limits(value x) {
    return clamped(x, -1, 1);
}
static value normed(value x) {
    return norm(x, NULL);
}
static value like_ones(value x) {
    return like(x, act(scaled(clamped(x, 0, 0), 0), F_EXP));
}
static value cut(value x) {
    return sparse(x, 1);
}

#define ACT(f)                      \
    static value act_##f(value x) { \
        return act(x, f);           \
    }
ACT(F_EXP)
ACT(F_SIGMOID)
ACT(F_SOFTPLUS)
ACT(F_TANH)
ACT(F_SILU)
ACT(F_GELU)

#define GLU(f)                                                   \
    static value glu_##f(value x) {                              \
        value gate = part(x, 0, HALF), up = part(x, HALF, HALF); \
        return glu(gate, up, f);                                 \
    }
GLU(SILU)
GLU(GELU)
GLU(SWIGLU_OAI)
GLU(RELU)

/* Each fails for a NaN and for an infinity, some for what overflows. */
static const struct {
    const char *name;
    value (*of)(value x);
    bool overflows; // from 1e30
} hiding[] = {
    {"nothing", all_of, false},
    {"cap", cap, false},
    {"limits", limits, false},
    {"exp", act_F_EXP, false},
    {"sigmoid", act_F_SIGMOID, false},
    {"softplus", act_F_SOFTPLUS, false},
    {"tanh", act_F_TANH, false},
    {"silu", act_F_SILU, false},
    {"gelu", act_F_GELU, false},
    {"relu squared", relu_squared, false},
    {"xielu", bent, false},
    {"swiglu", glu_SILU, false},
    {"geglu", glu_GELU, false},
    {"swiglu_oai", glu_SWIGLU_OAI, false},
    {"reglu", glu_RELU, false},
    {"norm", normed, true},
    {"l2 norm", l2_norm, true},
    {"like", like_ones, true},
    {"sparse", cut, true},
};

static size_t hidden_by;

static void write_hiding(struct plan *p) {
    p->eps = 1e-6f;
    logits(wanted(hiding[hidden_by].of(embed(p, "token_embd", p->n_embd, 1))));
}

static void test_not_finite(void) {
    const float worst[] = {NAN, -NAN, INFINITY, -INFINITY, 1e30f, -1e30f};
    for (hidden_by = 0; hidden_by < sizeof hiding / sizeof hiding[0]; hidden_by++) {
        for (int at = 0; at < WIDTH; at += 5) {
            for (int i = -1; i < (hiding[hidden_by].overflows ? 6 : 4); i++) {
                struct table in = {.n = WIDTH}, out;
                for (int k = 0; k < WIDTH; k++) in.rows[0][k] = 0.25f * (float)(k % 7 - 3);
                for (int t = 1; t < N_TOKENS; t++)
                    memcpy(in.rows[t], in.rows[0], sizeof in.rows[0]);
                if (i >= 0) in.rows[0][at] = worst[i];
                struct way way = {isa_all[at / 5 % 2], 1, 1};
                if (!way.isa->usable()) way.isa = isa_best();
                struct error err = try(write_hiding, &in, &way, &out);
                bool fails = i >= 0;
                if (hidden_by < 2 && i == 3) fails = false; // -infinity, as a logit
                CHECK(fails == (err.status == KQ_NOT_FINITE), "%s: %g at %d: \"%s\"",
                      hiding[hidden_by].name, i < 0 ? 0.0 : (double)worst[i], at, err.text);
            }
        }
    }
}

int main(void) {
    test_gates();
    test_ties();
    test_bias_and_gains();
    test_groups();
    test_no_numbers();
    test_groups_of_chosen();
    test_chunks();
    test_latent();
    test_temperature();
    test_xielu();
    test_l2_norm();
    test_not_finite();
    return test_done("test_steps");
}
