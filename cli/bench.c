/* --bench: how fast a prompt is read and text generated, and which share that is of what the
 * machine can do at most, measured in the same run: reading the weights, and multiply-adds without
 * loads. */
#include <math.h>
#include <stdlib.h>

#include "modes.h"
#include "stats.h"
#include "timing.h"

struct sample {
    double sum, sum2;
    int n;
};

static void add_sample(struct sample *s, double x) {
    s->sum += x;
    s->sum2 += x * x;
    s->n++;
}

static double mean(const struct sample *s) {
    return s->n ? s->sum / s->n : 0;
}

static double deviation(const struct sample *s) {
    double m = mean(s), variance = s->n > 1 ? (s->sum2 - s->n * m * m) / (s->n - 1) : 0;
    return variance > 0 ? sqrt(variance) : 0;
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* Runs n tokens, n_batch at a time, from an empty cache on. Returns the seconds it took, or -1. */
static double time_tokens(struct session *s, const int32_t *ids, int n, int n_batch) {
    const float *logits;
    rewind_to(s, 0);
    double start = now();
    for (int done = 0; done < n;) {
        int piece = n - done < n_batch ? n - done : n_batch;
        if (forward(s, ids + done, piece) != 0) return -1;
        done += piece;
        if ((n_batch == 1 || done == n) && logits_of(s, piece - 1, &logits) != 0) return -1;
    }
    return now() - start;
}

/* One of the tests: what it computes and reads, and how fast it was. */
struct test {
    const char *name;
    int n; // tokens
    struct sample rate;
    double macs, integer_macs; // all of them, and those of integers
    double bytes;              // of weights, if every token reads them all; 0: batches share them
};

/* Of a prompt's tokens the last one's logits alone are made; of tokens one by one each one's. */
static struct test new_test(const struct session *s, const char *name, int n, bool one_by_one) {
    struct model_work all = model_work(&s->model), logits = model_logits_work(&s->model);
    double n_rows = one_by_one || n == 0 ? n : 1; // of logits
    struct test t = {.name = name, .n = n};
    t.macs = n * (double)(all.macs - logits.macs) + n_rows * (double)logits.macs;
    if (s->o->act) {
        t.integer_macs = n * (double)(all.integer_macs - logits.integer_macs) +
                         n_rows * (double)logits.integer_macs;
    }
    if (one_by_one) t.bytes = n * (double)all.bytes;
    return t;
}

static double seconds_of(const struct test *t) {
    return mean(&t->rate) > 0 ? t->n / mean(&t->rate) : 0;
}

/* Shares of the limits; 0: unknown, or no limit of this test. */
static double share_of_macs(const struct test *t, const struct limits *l, int act) {
    double least = limits_seconds(l, t->macs - t->integer_macs, t->integer_macs, act);
    return seconds_of(t) > 0 ? least / seconds_of(t) : 0;
}

static double share_of_read(const struct test *t, const struct limits *l) {
    return seconds_of(t) > 0 && l->read > 0 ? t->bytes / seconds_of(t) / l->read : 0;
}

/* Says so if a share cannot be. */
static void print_row(const struct test *t, const struct limits *l, int act) {
    double seconds = seconds_of(t), macs = share_of_macs(t, l, act), read = share_of_read(t, l);
    if (t->n == 0) return;
    printf("%s%-6d %9.2f +- %-7.2f %9.1f", t->name, t->n, mean(&t->rate), deviation(&t->rate),
           seconds > 0 ? t->macs / seconds * 1e-9 : 0);
    if (macs > 0) printf(" (%3.0f %%)", 100 * macs);
    if (read > 0) printf(" %9.1f (%3.0f %%)", t->bytes / seconds * 1e-9, 100 * read);
    printf("\n");
    const char *objection = limits_objection(macs > read ? macs : read);
    if (objection) printf("%s\n", objection);
}

static void print_head(const struct session *s, const char *processor, const struct limits *l) {
    printf("%s: %s, %.2f G weights in products, %.1f MB\n", s->o->model, s->model.arch,
           (double)model_work(&s->model).macs * 1e-9, (double)s->gguf.mapped_bytes * 1e-6);
    printf("%s, %s, %d threads%s\nat most %.1f G MAC/s", processor, s->o->isa->name,
           threads_count(s->threads), how_computed(s->o), l->macs * 1e-9);
    if (l->integer_macs > 0) {
        printf(" of floats and %.1f of integers", l->integer_macs * 8 / s->o->act * 1e-9);
    }
    printf(", %.1f GB/s read, measured in this run\n\n", l->read * 1e-9);
    printf("test            tokens/s         G MAC/s (of peak)  GB/s weights (of reading)\n");
}

static void print_bench_json(const struct session *s, const char *processor, const struct limits *l,
                             const struct test *prompt, const struct test *gen) {
    int act = s->o->act;
    begin_message();
    fprintf(stderr,
            "{\"pp\": %d, \"pp_tok_s\": %.3f, \"pp_deviation\": %.3f, \"pp_macs\": %.0f, "
            "\"pp_mac_share\": %.4f, \"tg\": %d, \"tg_tok_s\": %.3f, \"tg_deviation\": %.3f, "
            "\"tg_macs\": %.0f, \"tg_mac_share\": %.4f, \"tg_read_share\": %.4f, "
            "\"read_gb_s\": %.2f, \"peak_gmac_s\": %.2f, \"peak_integer_gmac_s\": %.2f, "
            "\"weights_gb\": %.4f, \"processor\": \"%s\", \"isa\": \"%s\", \"act\": %d, "
            "\"threads\": %d",
            prompt->n, mean(&prompt->rate), deviation(&prompt->rate), prompt->macs,
            share_of_macs(prompt, l, act), gen->n, mean(&gen->rate), deviation(&gen->rate),
            gen->macs, share_of_macs(gen, l, act), share_of_read(gen, l), l->read * 1e-9,
            l->macs * 1e-9, act ? l->integer_macs * 8 / act * 1e-9 : 0,
            (double)model_work(&s->model).bytes * 1e-9, processor, s->o->isa->name, act ? act : 32,
            threads_count(s->threads));
    end_json(s);
}

/* The repetitions; those so far count if the user ends them. */
static int repeat_tests(struct session *s, const int32_t *ids, struct test *prompt,
                        struct test *gen) {
    double start = now();
    int warm_up = prompt->n < 8 ? prompt->n : 8;
    if (warm_up > 0 && time_tokens(s, ids, warm_up, s->n_batch) < 0) return EXIT_FAILED;
    for (int r = 0; r < s->o->n_reps; r++) {
        double p = prompt->n > 0 ? time_tokens(s, ids, prompt->n, s->n_batch) : 0;
        double g = p >= 0 && gen->n > 0 ? time_tokens(s, ids, gen->n, 1) : 0;
        if ((p < 0 || g < 0) && was_interrupted(s) && r > 0) break;
        if (p < 0 || g < 0) return EXIT_FAILED;
        if (prompt->n > 0) add_sample(&prompt->rate, prompt->n / p);
        if (gen->n > 0) add_sample(&gen->rate, gen->n / g);
        show_progress(start, "repetition", (size_t)r + 1, (size_t)s->o->n_reps);
    }
    return 0;
}

static int run_tests(struct session *s, const int32_t *ids, int n_prompt, int n_gen) {
    struct test prompt = new_test(s, "pp", n_prompt, false), gen = new_test(s, "tg", n_gen, true);
    struct limits limits = {0};
    char processor[128];
    processor_name(processor, sizeof processor);
    int status = measure_limits(s, &limits, s->stop);
    lap(s, "measuring limits");
    if (status == 0) status = repeat_tests(s, ids, &prompt, &gen);
    if (status == 0) status = measure_limits(s, &limits, s->stop);
    lap(s, "measuring limits");
    if (status) return status;
    print_head(s, processor, &limits);
    print_row(&prompt, &limits, s->o->act);
    print_row(&gen, &limits, s->o->act);
    if (s->o->json) print_bench_json(s, processor, &limits, &prompt, &gen);
    return flush();
}

/* How many tokens to read and to make; -p is a number here. */
static int read_counts(const struct options *o, int *n_prompt, int *n_gen) {
    *n_prompt = 512;
    *n_gen = options_given(o, "-n") ? o->n_gen : 128;
    if (o->prompt) {
        char *end;
        long n = strtol(o->prompt, &end, 10);
        if (end == o->prompt || *end || n < 0 || n > 1 << 20) {
            return USAGE("--bench: -p: expected a number of tokens, found \"%s\"", o->prompt);
        }
        *n_prompt = (int)n;
    }
    if (*n_gen < 0) return USAGE("--bench: -n: expected a number of tokens from 0 on");
    int longest = *n_prompt > *n_gen ? *n_prompt : *n_gen;
    if (o->n_ctx && longest > o->n_ctx) {
        return USAGE("--bench: %d tokens exceed -c %d", longest, o->n_ctx);
    }
    return 0;
}

/* The tokens are any: the model's speed does not depend on them. */
int run_bench(struct session *s) {
    int n_prompt, n_gen;
    int status = read_counts(s->o, &n_prompt, &n_gen);
    int longest = n_prompt > n_gen ? n_prompt : n_gen;
    if (status == 0) status = open_model(s);
    if (status == 0) status = open_transformer(s, longest > 0 ? longest : 1);
    if (status) return status;
    if (longest > s->n_ctx) {
        return USAGE("--bench: %d tokens exceed the %d positions of %s: see -p and -n", longest,
                     s->n_ctx, s->o->model);
    }
    say_context(s);
    int32_t *ids = malloc(((size_t)longest + 1) * sizeof *ids);
    if (!ids) return FAIL("out of memory for %d tokens", longest);
    for (int i = 0; i < longest; i++) {
        ids[i] = (int32_t)((1 + i * 7919LL) % s->model.n_vocab);
    }
    status = run_tests(s, ids, n_prompt, n_gen);
    free(ids);
    return status;
}
