#include "sampler.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "floats.h"
#include "fpstate.h"

/* The order of likelihood is total: logit descending, then id ascending. What a step keeps is
 * always a prefix of this order, so nothing needs sorting: each step finds its last token. */
struct candidate {
    double weight; // what the current step adds up
    float logit;   // never NaN, +infinity or -0
    int32_t id;
};

struct sampler {
    struct sampler_params params;
    uint64_t random; // state of the generator
    int n_vocab;
    const int32_t *forbidden; // (n_forbidden)
    size_t n_forbidden;
    int n;                        // candidates left
    struct candidate candidate[]; // by ascending id
};

/* splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014): the seed
 * is the first state. Uniform in [0, 1), 53 bits. */
static double next_uniform(struct sampler *s) {
    uint64_t z = s->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

/* e^x for x <= 0, from additions and multiplications alone; exactly 1 at 0.
 * x = k ln 2 + r with |r| <= ln 2 / 2, e^r by its series: the first term left out,
 * r^11 / 11!, is below 3e-13. */
static double exp_nonpositive(double x) {
    if (x < -708) return 0; // below the normal numbers
    int k = (int)(x * 0x1.71547652b82fep+0 - 0.5);
    // ln 2 in two parts, the first with 21 low bits zero: k times it is exact.
    double r = (x - k * 0x1.62e42fee00000p-1) - k * 0x1.a39ef35793c76p-33;
    double e = 1.0 / 3628800;
    e = e * r + 1.0 / 362880;
    e = e * r + 1.0 / 40320;
    e = e * r + 1.0 / 5040;
    e = e * r + 1.0 / 720;
    e = e * r + 1.0 / 120;
    e = e * r + 1.0 / 24;
    e = e * r + 1.0 / 6;
    e = e * r + 0.5;
    e = e * r + 1;
    e = e * r + 1;
    uint64_t bits = (uint64_t)(k + 1023) << 52;
    double power; // 2^k
    memcpy(&power, &bits, sizeof power);
    return e * power;
}

/* Integers in the order of the floats (IEEE 754 is sign and magnitude). */
static uint32_t sort_key(float x) {
    uint32_t bits = float_bits(x);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

static float positive_zero(float x) {
    return x + 0.0f; // -0 + 0 is +0
}

static void load_candidates(struct sampler *s, const float *logits) {
    s->n = s->n_vocab;
    for (int i = 0; i < s->n; i++) {
        s->candidate[i] = (struct candidate){.logit = positive_zero(logits[i]), .id = i};
    }
    for (size_t i = 0; i < s->n_forbidden; i++) {
        int32_t id = s->forbidden[i];
        if (id >= 0 && id < s->n_vocab) s->candidate[id].logit = -INFINITY;
    }
}

/* What a recent token's logit becomes that occurs `times` times (llama.cpp's penalties). */
static float penalized(const struct sampler_params *p, float x, double times) {
    x = x > 0 ? x / p->repeat_penalty : x * p->repeat_penalty; // may overflow
    x = x - ((float)times * p->frequency_penalty + p->presence_penalty);
    return positive_zero(fminf(FLT_MAX, fmaxf(-FLT_MAX, x)));
}

/* All candidates are there, by their ids, and their weights are 0. */
static void penalize(struct sampler *s, const int32_t *history, size_t n_history) {
    const struct sampler_params *p = &s->params;
    int last_n = p->repeat_last_n;
    if (p->repeat_penalty == 1 && p->presence_penalty == 0 && p->frequency_penalty == 0) return;
    size_t from = last_n < 0 || (size_t)last_n > n_history ? 0 : n_history - (size_t)last_n;
    for (size_t i = from; i < n_history; i++) {
        if (history[i] >= 0 && history[i] < s->n_vocab) s->candidate[history[i]].weight++;
    }
    for (int i = 0; i < s->n; i++) {
        struct candidate *c = &s->candidate[i];
        if (c->weight == 0 || c->logit == -INFINITY) continue;
        c->logit = penalized(p, c->logit, c->weight);
    }
}

static struct candidate likeliest(const struct sampler *s) {
    struct candidate best = s->candidate[0];
    for (int i = 1; i < s->n; i++) {
        if (s->candidate[i].logit > best.logit) best = s->candidate[i];
    }
    return best;
}

/* Weights proportional to the probabilities, 1 for the likeliest. Returns their sum. */
static double weigh(struct sampler *s, float max, double temp) {
    double sum = 0, scale = 1 / temp; // finite for every float but 0
    for (int i = 0; i < s->n; i++) {
        struct candidate *c = &s->candidate[i];
        c->weight = exp_nonpositive(((double)c->logit - max) * scale);
        sum += c->weight;
    }
    return sum;
}

/* Keeps the shortest prefix of the order of likelihood whose weights reach target > 0; all if
 * they do not. A radix search for the last one's key, eight bits at a time: a fixed number of
 * passes whatever the logits are. */
static void keep_until(struct sampler *s, double target) {
    uint64_t last = 0; // the bits of its key that are known
    double before = 0; // the weight of all greater keys; stays below target
    for (int shift = 24; shift >= 0; shift -= 8) {
        double bucket[256] = {0};
        for (int i = 0; i < s->n; i++) {
            uint64_t key = sort_key(s->candidate[i].logit) >> shift;
            if (key >> 8 == last) bucket[key & 255] += s->candidate[i].weight;
        }
        unsigned b = 255;
        while (b > 0 && before + bucket[b] < target) before += bucket[b--];
        last = last << 8 | b;
    }
    int n = 0;
    for (int i = 0; i < s->n; i++) {
        uint64_t key = sort_key(s->candidate[i].logit);
        if (key < last || (key == last && before >= target)) continue;
        if (key == last) before += s->candidate[i].weight;
        s->candidate[n++] = s->candidate[i];
    }
    s->n = n;
}

static void keep_likely(struct sampler *s, double min_weight) {
    int n = 0;
    for (int i = 0; i < s->n; i++) {
        if (s->candidate[i].weight >= min_weight) s->candidate[n++] = s->candidate[i];
    }
    s->n = n;
}

static void apply_top_k(struct sampler *s) {
    int k = s->params.top_k;
    if (k <= 0 || k >= s->n) return;
    for (int i = 0; i < s->n; i++) s->candidate[i].weight = 1;
    keep_until(s, k);
}

static void apply_top_p_min_p(struct sampler *s, float max) {
    double top_p = s->params.top_p, min_p = s->params.min_p;
    if (top_p >= 1 && min_p <= 0) return;
    double sum = weigh(s, max, 1);
    if (top_p < 1) keep_until(s, top_p > 0 ? top_p * sum : 0x1p-1000);
    if (min_p > 0) keep_likely(s, min_p < 1 ? min_p : 1);
}

/* Draws a token by inversion: the first candidate, in ascending order of ids, at which the sum of
 * the weights exceeds a random share of the whole. */
static int32_t draw(struct sampler *s, double sum) {
    double limit = next_uniform(s) * sum, reached = 0;
    int i = 0;
    while (i < s->n - 1 && (reached += s->candidate[i].weight) <= limit) i++;
    return s->candidate[i].id;
}

static int32_t pick(struct sampler *s, const float *logits, const int32_t *history,
                    size_t n_history) {
    if (unusable_logits(logits, s->n_vocab)) return -1;
    load_candidates(s, logits);
    penalize(s, history, n_history);
    struct candidate best = likeliest(s);
    if (best.logit == -INFINITY) return -1;
    if (s->params.temp == 0) return best.id;
    apply_top_k(s);
    apply_top_p_min_p(s, best.logit);
    return draw(s, weigh(s, best.logit, s->params.temp));
}

int32_t sampler_pick(struct sampler *s, const float *logits, const int32_t *history,
                     size_t n_history) {
    struct fp_state callers = fp_enter();
    int32_t id = pick(s, logits, history, n_history);
    fp_leave(callers);
    return id;
}

static int check_params(const struct sampler_params *p, struct error *err) {
    if (!(p->temp >= 0 && p->temp < INFINITY)) {
        return error_set(err, KQ_BAD_ARGUMENT, "temperature: expected 0 or more, found %g",
                         (double)p->temp);
    }
    if (!(p->repeat_penalty > 0 && p->repeat_penalty < INFINITY)) {
        return error_set(err, KQ_BAD_ARGUMENT, "repeat penalty: expected more than 0, found %g",
                         (double)p->repeat_penalty);
    }
    if (!isfinite(p->presence_penalty) || !isfinite(p->frequency_penalty)) {
        return error_set(err, KQ_BAD_ARGUMENT,
                         "presence and frequency penalty: expected numbers, found %g and %g",
                         (double)p->presence_penalty, (double)p->frequency_penalty);
    }
    if (p->top_p != p->top_p || p->min_p != p->min_p) {
        return error_set(err, KQ_BAD_ARGUMENT, "top-p and min-p: expected numbers, found %g and %g",
                         (double)p->top_p, (double)p->min_p);
    }
    return 0;
}

struct sampler *sampler_open(const struct sampler_params *params, int n_vocab, struct error *err) {
    struct fp_state callers = fp_enter(); // or a subnormal parameter might be 0
    int failed = check_params(params, err);
    fp_leave(callers);
    if (failed) return NULL;
    if (n_vocab < 1) {
        error_set(err, KQ_BAD_ARGUMENT, "sampler: expected a vocabulary, found %d tokens", n_vocab);
        return NULL;
    }
    struct sampler *s = malloc(sizeof *s + (size_t)n_vocab * sizeof s->candidate[0]);
    if (!s) {
        error_set(err, KQ_NO_MEMORY, "sampler: out of memory for %d candidates", n_vocab);
        return NULL;
    }
    s->params = *params;
    s->random = params->seed;
    s->n_vocab = n_vocab;
    s->forbidden = NULL;
    s->n_forbidden = 0;
    return s;
}

void sampler_forbid(struct sampler *s, const int32_t *ids, size_t n) {
    s->forbidden = ids;
    s->n_forbidden = n;
}

void sampler_close(struct sampler *s) {
    free(s);
}
