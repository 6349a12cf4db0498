/* sampler.c: distributions worked out by hand, every step against a plain model that sorts, and
 * tokens that must come out the same on every platform. */
#include "sampler.h"
#include "test.h"

#include <float.h>
#include <limits.h>
#include <math.h>

/* Every step off; a test switches on what it is about. */
static const struct sampler_params neutral = {
    .repeat_penalty = 1, .repeat_last_n = 64, .top_p = 1, .temp = 1, .seed = 42};

static struct sampler *open_or_exit(struct sampler_params p, int n_vocab) {
    struct error err;
    struct sampler *s = sampler_open(&p, n_vocab, &err);
    if (!s) {
        printf("sampler_open: %s\n", err.text);
        exit(1);
    }
    return s;
}

static int32_t pick_once(struct sampler_params p, const float *logits, int n_vocab,
                         const int32_t *history, size_t n_history) {
    struct sampler *s = open_or_exit(p, n_vocab);
    int32_t id = sampler_pick(s, logits, history, n_history);
    sampler_close(s);
    return id;
}

static int32_t greedy(const float *logits, int n_vocab) {
    struct sampler_params p = neutral;
    p.temp = 0;
    return pick_once(p, logits, n_vocab, NULL, 0);
}

/* Which of up to 8 tokens ever come, as a mask. At this temperature all that the other steps
 * leave are equally likely: that one of 8 misses 400 draws has a chance below 10^-22. */
static unsigned support(struct sampler_params p, const float *logits, int n_vocab) {
    p.temp = 1e9f;
    struct sampler *s = open_or_exit(p, n_vocab);
    unsigned mask = 0;
    for (int i = 0; i < 400; i++) mask |= 1u << sampler_pick(s, logits, NULL, 0);
    sampler_close(s);
    return mask;
}

/* ---- each step ------------------------------------------------------------------------------- */

static void test_greedy(void) {
    CHECK(greedy((float[]){1, 3, 2}, 3) == 1, "the largest");
    CHECK(greedy((float[]){1, 3, 3}, 3) == 1, "of equals the lowest");
    CHECK(greedy((float[]){-0.0f, 0}, 2) == 0, "-0 equals 0");
    CHECK(greedy((float[]){-5}, 1) == 0, "a vocabulary of one");
    CHECK(greedy((float[]){-FLT_MAX, -INFINITY, FLT_MAX}, 3) == 2, "extremes");
}

/* -infinity is never picked; with NaN or +infinity, or with nothing else, nothing is. */
static void test_not_numbers(void) {
    static const struct {
        float logits[3];
        int32_t expected;
    } cases[] = {
        {{NAN, -5, NAN}, -1},
        {{NAN, NAN, NAN}, -1},
        {{-INFINITY, -INFINITY, -INFINITY}, -1},
        {{NAN, -INFINITY, -9}, -1},
        {{1, INFINITY, 2}, -1},
        {{-NAN, -1, -INFINITY}, -1},
        {{1, 2, NAN}, -1},
        {{INFINITY, 3, 2}, -1},
        {{-INFINITY, -INFINITY, -9}, 2},
        {{-INFINITY, 0, -INFINITY}, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK(greedy(cases[i].logits, 3) == cases[i].expected, "greedy, case %zu", i);
        struct sampler_params p = neutral;
        for (int steps = 0; steps < 8; steps++) {
            p.top_k = steps & 1 ? 2 : 0;
            p.top_p = steps & 2 ? 0.9f : 1;
            p.min_p = steps & 4 ? 0.1f : 0;
            int32_t id = pick_once(p, cases[i].logits, 3, (int32_t[]){0, 1, 2}, 3);
            CHECK(id == cases[i].expected, "case %zu, steps %d: %d", i, steps, id);
        }
    }
    struct sampler_params p = neutral;
    const float two_finite[] = {-INFINITY, 1, 1, -INFINITY};
    CHECK(support(p, two_finite, 4) == 6, "both finite ones, %x", support(p, two_finite, 4));
    p.top_p = 0.5f;
    CHECK(support(p, two_finite, 4) == 2, "half of two, %x", support(p, two_finite, 4));

    // The seed whose first number is 0: even then no token without probability.
    p = neutral;
    p.seed = 0 - 0x9e3779b97f4a7c15u;
    CHECK(pick_once(p, (float[]){-INFINITY, 0, 0}, 3, NULL, 0) == 1, "the number 0");
}

/* Halves and quarters, so that the sums are known: 1/2, 1/4, 1/8, 1/8, in another order. */
static const float powers[] = {-2.0794415f, -0.6931472f, -2.0794415f, -1.3862944f};

static void test_top_k(void) {
    static const struct {
        int k;
        unsigned expected;
    } cases[] = {{-1, 15}, {0, 15}, {1, 2}, {2, 10}, {3, 11}, {4, 15}, {5, 15}, {INT_MAX, 15}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sampler_params p = neutral;
        p.top_k = cases[i].k;
        unsigned mask = support(p, powers, 4);
        CHECK(mask == cases[i].expected, "k %d: %x", p.top_k, mask);
    }
    struct sampler_params p = neutral;
    p.top_k = 1;
    CHECK(support(p, (float[]){-0.0f, 0}, 2) == 1, "-0 equals 0");
    p.top_k = 3;
    CHECK(support(p, (float[]){7, 7, 7, 7, 7}, 5) == 7, "of equals the lowest");
    CHECK(support(p, (float[]){-1e-30f, 1e-30f, -9, 9, 0}, 5) == 26, "signs and sizes");
}

static void test_top_p(void) {
    static const struct {
        float p;
        unsigned powers, equal;
    } cases[] = {
        {-1, 2, 1},     {0, 2, 1},      {1e-30f, 2, 1},      {0.25f, 2, 1},        {0.49f, 2, 3},
        {0.51f, 10, 7}, {0.74f, 10, 7}, {0.76f, 11, 15},     {0.87f, 11, 15},      {0.88f, 15, 15},
        {0.5f, 0, 3},   {0.75f, 0, 7},  {0.7500001f, 0, 15}, {0.9999999f, 15, 15}, {2, 15, 15},
    };
    static const float equal[] = {-3, -3, -3, -3};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sampler_params p = neutral;
        p.top_p = cases[i].p;
        unsigned mask = support(p, powers, 4);
        // 0: too near to a sum of rounded logarithms to call.
        CHECK(!cases[i].powers || mask == cases[i].powers, "p %g: %x", (double)p.top_p, mask);
        mask = support(p, equal, 4);
        CHECK(mask == cases[i].equal, "p %g of equals: %x", (double)p.top_p, mask);
    }
}

static void test_min_p(void) {
    static const struct {
        float p;
        unsigned expected;
    } cases[] = {{-1, 15},    {0, 15},    {0.24f, 15}, {0.26f, 10},
                 {0.49f, 10}, {0.51f, 2}, {1, 2},      {3, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sampler_params p = neutral;
        p.min_p = cases[i].p;
        unsigned mask = support(p, powers, 4);
        CHECK(mask == cases[i].expected, "p %g: %x", (double)p.min_p, mask);
    }
    struct sampler_params p = neutral;
    p.min_p = 1;
    CHECK(support(p, (float[]){1, 1, 0}, 3) == 3, "all that equal the likeliest");
}

static void test_order_of_steps(void) {
    struct sampler_params p = neutral;
    p.top_k = 2; // leaves 2/3 and 1/3
    p.top_p = 0.6f;
    CHECK(support(p, powers, 4) == 2, "top-p counts what top-k left: %x", support(p, powers, 4));
    p = neutral;
    p.top_p = 0.6f;
    CHECK(support(p, powers, 4) == 10, "temperature comes last: %x", support(p, powers, 4));
    p = neutral;
    p.top_k = 1;
    p.repeat_penalty = 2;
    int32_t id = pick_once(p, (float[]){2, 1.9f, 1.8f}, 3, (int32_t[]){0}, 1);
    CHECK(id == 1, "the penalty comes first: %d", id);
}

static void test_penalty(void) {
    static const struct {
        float penalty;
        int last_n;
        float logits[3];
        int32_t history[4];
        size_t n_history;
        int32_t expected;
    } cases[] = {
        {2, 64, {2, 1.5f, -9}, {0}, 1, 1},           // divided
        {2, 64, {-1, -1.5f, -9}, {0}, 1, 1},         // multiplied
        {1.25f, 64, {2, 1.5f, -9}, {0, 0, 0}, 3, 0}, // once
        {2, 1, {2, 1.5f, -9}, {0, 2}, 2, 0},         // too long ago
        {2, 2, {2, 1.5f, -9}, {0, 2}, 2, 1},         //
        {2, 0, {2, 1.5f, -9}, {0, 2}, 2, 0},         // none
        {2, -1, {2, 1.5f, -9}, {0, 2}, 2, 1},        // all
        {2, INT_MAX, {2, 1.5f, -9}, {0, 2}, 2, 1},   //
        {1, 64, {2, 1.5f, -9}, {0, 0}, 2, 0},        // off
        {0.5f, 64, {1, 1.5f, -9}, {0}, 1, 0},        // a reward
        {2, 64, {2, 1.5f, -9}, {-1, 3, INT32_MAX, INT32_MIN}, 4, 0},
        {1e-38f, 64, {9, FLT_MAX, -9}, {1}, 1, 1}, // overflows
        {1e-38f, 64, {9, -FLT_MAX, -INFINITY}, {0}, 1, 0},
        {2, 64, {-INFINITY, -FLT_MAX, -INFINITY}, {0, 1, 2}, 3, 1}, // overflows, is possible still
        {2, 64, {2, NAN, -9}, {0, 1, 2}, 3, -1},
        {2, 64, {0, -1, -9}, {0}, 1, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sampler_params p = neutral;
        p.temp = 0;
        p.repeat_penalty = cases[i].penalty;
        p.repeat_last_n = cases[i].last_n;
        int32_t id = pick_once(p, cases[i].logits, 3, cases[i].history, cases[i].n_history);
        CHECK(id == cases[i].expected, "case %zu: %d, expected %d", i, id, cases[i].expected);
    }
}

/* What is taken from a recent token's logit, once and for each time. */
static void test_presence_and_frequency(void) {
    static const struct {
        float presence, frequency;
        int last_n;
        float logits[3];
        int32_t history[4];
        size_t n_history;
        int32_t expected;
    } cases[] = {
        {1, 0, 64, {2, 1.5f, -9}, {0}, 1, 1},
        {0.25f, 0, 64, {2, 1.5f, -9}, {0, 0, 0}, 3, 0}, // once
        {0, 0.25f, 64, {2, 1.5f, -9}, {0, 0}, 2, 0},    // 1.5 each: the lower id
        {0, 0.25f, 64, {2, 1.5f, -9}, {0, 0, 0}, 3, 1}, // 1.25
        {0, 0.25f, 2, {2, 1.5f, -9}, {0, 0, 0}, 3, 0},  // the last two
        {0.25f, 0.2f, 64, {2, 1.5f, -9}, {0, 0}, 2, 1}, // both: 1.35
        {1, 1, 0, {2, 1.5f, -9}, {0, 0}, 2, 0},         // no token is recent
        {-1, 0, 64, {2, 1.5f, -9}, {1}, 1, 1},          // a reward
        {100, 0, 64, {2, -FLT_MAX, -INFINITY}, {1, 2}, 2, 0},
        {-100, 0, 64, {2, 1, -INFINITY}, {2}, 1, 0}, // what is impossible stays so
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sampler_params p = neutral;
        p.temp = 0;
        p.presence_penalty = cases[i].presence;
        p.frequency_penalty = cases[i].frequency;
        p.repeat_last_n = cases[i].last_n;
        int32_t id = pick_once(p, cases[i].logits, 3, cases[i].history, cases[i].n_history);
        CHECK(id == cases[i].expected, "case %zu: %d, expected %d", i, id, cases[i].expected);
    }
    struct sampler_params p = neutral;
    p.temp = 0;
    p.repeat_penalty = 2;
    p.presence_penalty = 0.25f; // 4 / 2 - 0.25
    CHECK(pick_once(p, (float[]){4, 1.8f, 1}, 3, (int32_t[]){0}, 1) == 1, "after the division");
    struct error err;
    p.presence_penalty = NAN;
    CHECK(!sampler_open(&p, 3, &err) && err.status == KQ_BAD_ARGUMENT, "NaN");
}

/* Tokens that must not be picked, however likely; the penalty does not revive them. */
static void test_forbidden(void) {
    const float logits[] = {1, 9, 3, 8, -INFINITY};
    const int32_t some[] = {1, 3, -1, 5, 1}, all[] = {0, 1, 2, 3}, history[] = {1, 3};
    for (int greedy = 0; greedy < 2; greedy++) {
        for (int penalty = 0; penalty < 2; penalty++) {
            struct sampler_params p = neutral;
            p.temp = greedy ? 0 : 1e9f;
            if (penalty) p.repeat_penalty = 1.1f;
            struct sampler *s = open_or_exit(p, 5);
            sampler_forbid(s, some, 5);
            unsigned seen = 0;
            for (int i = 0; i < 400; i++) seen |= 1u << sampler_pick(s, logits, history, 2);
            CHECK(seen == (greedy ? 4 : 5), "tokens %x", seen);
            sampler_forbid(s, all, 4);
            CHECK(sampler_pick(s, logits, history, 2) == -1, "none is left");
            sampler_close(s);
        }
    }
}

static void test_temperature_edges(void) {
    static const float temps[] = {1e-45f, FLT_MIN, 1e-6f};
    for (size_t i = 0; i < sizeof temps / sizeof temps[0]; i++) {
        struct sampler_params p = neutral;
        p.temp = temps[i];
        CHECK(pick_once(p, (float[]){1, 1.001f, -FLT_MAX}, 3, NULL, 0) == 1, "temp case %zu", i);
    }
    struct sampler_params p = neutral;
    p.temp = FLT_MAX;
    struct sampler *s = open_or_exit(p, 2);
    int ones = 0;
    for (int i = 0; i < 1000; i++) ones += sampler_pick(s, (float[]){100, -100}, NULL, 0);
    CHECK(ones > 400 && ones < 600, "%d ones of 1000", ones);
    sampler_close(s);
}

/* 100000 draws: each count within five deviations of what it should be. */
static void check_frequencies(struct sampler_params p, const double *expected) {
    enum { N = 100000 };
    struct sampler *s = open_or_exit(p, 4);
    int count[4] = {0};
    for (int i = 0; i < N; i++) count[sampler_pick(s, powers, NULL, 0)]++;
    for (int i = 0; i < 4; i++) {
        double deviation = sqrt(N * expected[i] * (1 - expected[i]));
        CHECK(fabs(count[i] - N * expected[i]) <= 5 * deviation,
              "temp %g, k %d, p %g: token %d came %d times, expected %.0f +- %.0f", (double)p.temp,
              p.top_k, (double)p.top_p, i, count[i], N * expected[i], deviation);
    }
    sampler_close(s);
}

static void test_frequencies(void) {
    struct sampler_params p = neutral;
    check_frequencies(p, (double[]){1. / 8, 1. / 2, 1. / 8, 1. / 4});
    p.temp = 0.5f; // squares: 1, 16, 1, 4
    check_frequencies(p, (double[]){1. / 22, 16. / 22, 1. / 22, 4. / 22});
    p.top_k = 3;
    check_frequencies(p, (double[]){1. / 21, 16. / 21, 0, 4. / 21});
    p.temp = 1;
    p.top_p = 0.7f; // 1/2 and 1/4 of 7/8
    check_frequencies(p, (double[]){0, 2. / 3, 0, 1. / 3});
}

/* ---- against a plain sampler ----------------------------------------------------------------- */

/* The same semantics the plain way: sort, cut, draw with libm's exp. */
struct model {
    const float *logits;
    int *order, *kept; // (n_vocab)
    uint64_t random;
};

static const float *sort_logits;

static int by_likelihood(const void *a, const void *b) {
    int i = *(const int *)a, j = *(const int *)b;
    if (sort_logits[i] != sort_logits[j]) return sort_logits[i] > sort_logits[j] ? -1 : 1;
    return i < j ? -1 : 1;
}

static int by_id(const void *a, const void *b) {
    return *(const int *)a - *(const int *)b;
}

static double model_uniform(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

static int model_pick(struct model *m, int n, const struct sampler_params *p) {
    sort_logits = m->logits;
    for (int i = 0; i < n; i++) m->order[i] = i;
    qsort(m->order, (size_t)n, sizeof m->order[0], by_likelihood);
    if (p->top_k > 0 && p->top_k < n) n = p->top_k;
    double max = m->logits[m->order[0]], sum = 0, reached = 0;
    for (int i = 0; i < n; i++) sum += exp(m->logits[m->order[i]] - max);
    int n_kept = 0;
    for (int i = 0; i < n && (i == 0 || p->top_p >= 1 || reached < p->top_p * sum); i++) {
        double weight = exp(m->logits[m->order[i]] - max);
        reached += weight;
        if (p->min_p <= 0 || weight >= p->min_p) m->kept[n_kept++] = m->order[i];
    }
    qsort(m->kept, (size_t)n_kept, sizeof m->kept[0], by_id);
    sum = reached = 0;
    for (int i = 0; i < n_kept; i++) sum += exp((m->logits[m->kept[i]] - max) / p->temp);
    double limit = model_uniform(&m->random) * sum;
    for (int i = 0; i < n_kept; i++) {
        reached += exp((m->logits[m->kept[i]] - max) / p->temp);
        if (reached > limit) return m->kept[i];
    }
    return m->kept[n_kept - 1];
}

static void check_against_model(struct sampler_params p, float *logits, int n, int n_draws,
                                float step, uint64_t *random) {
    struct sampler *s = open_or_exit(p, n);
    struct model m = {.logits = logits, .random = p.seed};
    m.order = malloc((size_t)n * sizeof m.order[0]);
    m.kept = malloc((size_t)n * sizeof m.kept[0]);
    if (!m.order || !m.kept) exit(1);
    for (int draw = 0; draw < n_draws; draw++) {
        for (int i = 0; i < n; i++) {
            float x = test_normal(random) * 3;
            logits[i] = step > 0 ? roundf(x / step) * step : x;
        }
        int expected = model_pick(&m, n, &p);
        int32_t id = sampler_pick(s, logits, NULL, 0);
        CHECK(id == expected, "n %d, k %d, p %g, min %g, temp %g, draw %d: %d, expected %d", n,
              p.top_k, (double)p.top_p, (double)p.min_p, (double)p.temp, draw, id, expected);
    }
    free(m.order);
    free(m.kept);
    sampler_close(s);
}

static void test_against_model(void) {
    enum { N_LARGE = 152064 };
    float *logits = malloc(N_LARGE * sizeof *logits);
    if (!logits) exit(1);
    uint64_t random = 7;
    printf("seed %d\n", 7);
    for (int i = 0; i < 3000; i++) {
        uint64_t r = test_random(&random);
        struct sampler_params p = neutral;
        int n = (int)(1 + r % 300);
        if (r >> 10 & 1) p.top_k = (int)(r >> 11) & 63;
        if (r >> 20 & 1) p.top_p = (float)(r >> 21 & 1023) / 1000 + 0.0001234f;
        if (r >> 32 & 1) p.min_p = (float)(r >> 33 & 1023) / 4000 + 0.0000567f;
        p.temp = 0.25f + (float)(r >> 44 & 15) / 4;
        p.seed = r;
        check_against_model(p, logits, n, 4, r >> 50 & 1 ? 0.5f : 0, &random); // with ties
    }
    struct sampler_params p = neutral;
    check_against_model(p, logits, N_LARGE, 1, 0, &random);
    p.top_p = 0.95f;
    check_against_model(p, logits, N_LARGE, 1, 0, &random);
    p.top_k = 40;
    check_against_model(p, logits, N_LARGE, 1, 0.5f, &random);
    free(logits);
}

/* ---- draws ----------------------------------------------------------------------------------- */

/* With 2^16 equal logits the token is the upper 16 bits of the generator's number. The numbers are
 * the published ones of splitmix64 for the seed 1234567. */
static void test_generator(void) {
    static const uint64_t published[] = {6457827717110365317u, 3203168211198807973u,
                                         9817491932198370423u, 4593380528125082431u,
                                         16408922859458223821u};
    float *logits = calloc(65536, sizeof *logits);
    if (!logits) exit(1);
    struct sampler_params p = neutral;
    p.seed = 1234567;
    struct sampler *s = open_or_exit(p, 65536);
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        int32_t id = sampler_pick(s, logits, NULL, 0);
        CHECK(id == (int32_t)(published[i] >> 48), "number %zu: %d", i, id);
    }
    sampler_close(s);
    free(logits);
}

/* 200 tokens, each penalized by those before it, from 1000 logits that are exact in float. The
 * expected ones (the first 12 and the last) come from a program in another language (Python: sort,
 * math.exp, math.fsum), not from sampler.c. */
static void test_same_everywhere(void) {
    static const struct {
        struct sampler_params params;
        int32_t first[12], last;
    } cases[] = {
        {{1, 64, 0, 1, 0, 1, 42, 0, 0},
         {735, 157, 269, 339, 36, 865, 213, 798, 334, 614, 202, 487},
         762},
        {{1, 64, 40, 1, 0, 0.7f, 42, 0, 0},
         {726, 139, 251, 316, 18, 847, 195, 791, 316, 605, 195, 484},
         735},
        {{1, 64, 0, 0.9f, 0, 1.5f, 42, 0, 0},
         {735, 155, 269, 341, 36, 865, 213, 798, 334, 614, 202, 489},
         762},
        {{1, 64, 0, 1, 0.05f, 0.8f, 42, 0, 0},
         {735, 155, 269, 334, 36, 865, 213, 798, 334, 612, 202, 484},
         762},
        {{1.3f, 64, 100, 0.95f, 0.02f, 0.8f, 42, 0, 0},
         {735, 148, 269, 343, 36, 865, 222, 800, 334, 605, 195, 484},
         791},
        {{1.1f, -1, 20, 1, 0, 2, 42, 0, 0},
         {670, 130, 251, 363, 9, 912, 242, 791, 316, 605, 195, 493},
         726},
    };
    float logits[1000];
    for (int i = 0; i < 1000; i++) logits[i] = (float)(i * 40503 % 1024) / 128 - 4;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        struct sampler *s = open_or_exit(cases[c].params, 1000);
        int32_t history[200];
        for (size_t i = 0; i < 200; i++) history[i] = sampler_pick(s, logits, history, i);
        for (size_t i = 0; i < 12; i++) {
            CHECK(history[i] == cases[c].first[i], "case %zu, token %zu: %d, expected %d", c, i,
                  history[i], cases[c].first[i]);
        }
        CHECK(history[199] == cases[c].last, "case %zu, the last token: %d", c, history[199]);
        sampler_close(s);
    }
}

/* The exponential, seen through min-p: whether e^x reaches p shows the side on which it lies, and
 * among many x some e^x lie within 10^-10 of a float p. */
static void test_exponential(void) {
    uint64_t random = 11;
    int n_near = 0;
    for (int i = 0; i < 300000; i++) {
        float x = -(float)(test_random(&random) >> 40) * 0x1p-20f; // -16 .. 0
        struct sampler_params p = neutral;
        p.min_p = (float)exp(x);
        double above = exp(x) / p.min_p - 1;
        if (fabs(above) > 1e-10 || fabs(above) < 1e-12) continue;
        n_near++;
        unsigned mask = support(p, (float[]){0, x}, 2);
        CHECK(mask == (above > 0 ? 3 : 1), "e^%.9g is %g above %.9g, support %x", (double)x, above,
              (double)p.min_p, mask);
    }
    CHECK(n_near > 100, "%d near enough", n_near);
}

/* Not a logit beyond the vocabulary is read, not a token beyond the history. */
static void test_bounds(void) {
    for (int flush_left = 0; flush_left < 2; flush_left++) {
        struct guarded logits = guarded_alloc(1024 * sizeof(float), flush_left);
        struct guarded history = guarded_alloc(1024 * sizeof(int32_t), flush_left);
        struct sampler_params p = {1.1f, -1, 40, 0.9f, 0.01f, 0.8f, 1, 0, 0};
        int32_t id = pick_once(p, (float *)logits.data, 1024, (int32_t *)history.data, 1024);
        CHECK(id >= 0 && id < 1024, "%d", id);
        guarded_free(&logits);
        guarded_free(&history);
    }
}

static void test_refusals(void) {
    static const struct {
        struct sampler_params params;
        const char *word;
    } cases[] = {
        {{1, 64, 0, 1, 0, -1, 0, 0, 0}, "temperature"},
        {{1, 64, 0, 1, 0, NAN, 0, 0, 0}, "temperature"},
        {{1, 64, 0, 1, 0, INFINITY, 0, 0, 0}, "temperature"},
        {{0, 64, 0, 1, 0, 1, 0, 0, 0}, "penalty"},
        {{-1, 64, 0, 1, 0, 1, 0, 0, 0}, "penalty"},
        {{NAN, 64, 0, 1, 0, 1, 0, 0, 0}, "penalty"},
        {{INFINITY, 64, 0, 1, 0, 1, 0, 0, 0}, "penalty"},
        {{1, 64, 0, NAN, 0, 1, 0, 0, 0}, "top-p"},
        {{1, 64, 0, 1, NAN, 1, 0, 0, 0}, "min-p"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = {0};
        CHECK(!sampler_open(&cases[i].params, 10, &err), "case %zu", i);
        CHECK(strstr(err.text, cases[i].word), "case %zu: %s", i, err.text);
    }
    struct error err = {0};
    CHECK(!sampler_open(&neutral, 0, &err) && err.text[0], "no vocabulary");
    CHECK(!sampler_open(&neutral, -1, &err), "a negative vocabulary");
    sampler_close(NULL);
}

int main(void) {
    test_greedy();
    test_not_numbers();
    test_top_k();
    test_top_p();
    test_min_p();
    test_order_of_steps();
    test_penalty();
    test_presence_and_frequency();
    test_forbidden();
    test_temperature_edges();
    test_frequencies();
    test_against_model();
    test_generator();
    test_same_everywhere();
    test_exponential();
    test_bounds();
    test_refusals();
    return test_done("test_sampler");
}
