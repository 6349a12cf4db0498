/* --bench: how fast a prompt is read and text generated, and which share that is of what the
 * machine can do at most, measured in the same run: reading the weights, and multiply-adds without
 * loads. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "modes.h"

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

/* ---- the machine's limits -------------------------------------------------------------------- */

struct read_job {
    const uint8_t *data; // aligned to 8 bytes, as gguf.h promises
};

#define PIECE 65536

static void read_pieces(void *arg, long begin, long end, int thread) {
    (void)thread;
    const struct read_job *job = arg;
    const uint64_t *p = (const uint64_t *)(const void *)(job->data + (size_t)begin * PIECE);
    size_t n = (size_t)(end - begin) * PIECE / sizeof *p;
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) sum ^= p[i];
    volatile uint64_t keep = sum; // or the compiler would drop the loads
    (void)keep;
}

/* GB/s at which the threads read all tensors, each thread its share of each; the best of three. */
static double read_bandwidth(struct session *s) {
    double best = 0, bytes = 0;
    for (int r = 0; r < 3; r++) {
        double start = now();
        bytes = 0;
        for (size_t i = 0; i < s->gguf.n_tensors; i++) {
            struct read_job job = {s->gguf.tensors[i].data};
            long pieces = (long)(s->gguf.tensors[i].nbytes / PIECE);
            long grain = pieces / threads_count(s->threads) + 1;
            parallel_for(s->threads, s->stop, pieces, grain, read_pieces, &job);
            bytes += (double)pieces * PIECE;
        }
        double rate = bytes / (now() - start);
        if (rate > best) best = rate;
    }
    return best * 1e-9;
}

#define FMA_ROUNDS 400000

#define INTEGER_ROUNDS 100000

static void integer_pieces(void *arg, long begin, long end, int thread) {
    (void)thread;
    const struct isa *isa = arg;
    for (long i = begin; i < end; i++) {
        volatile float keep = isa->integers->loop(INTEGER_ROUNDS);
        (void)keep;
    }
}

static void fma_pieces(void *arg, long begin, long end, int thread) {
    (void)thread;
    const struct isa *isa = arg;
    for (long i = begin; i < end; i++) {
        volatile float keep = isa->fma_loop(FMA_ROUNDS, 1, 1);
        (void)keep;
    }
}

/* G multiply-adds per second of all threads without reading weights, of integers with --act, of
 * which 16 bits take two; the best of three. 0: nobody knows. */
static double peak_of(struct session *s) {
    long pieces = 4L * threads_count(s->threads);
    const struct isa *isa = s->o->isa;
    bool integers = s->o->act != ACT_FLOAT;
    double best = 0, macs = (double)pieces * FMA_ROUNDS * isa->fma_loop_macs;
    if (integers && !isa->integers->loop) return 0;
    if (integers) {
        macs = (double)pieces * INTEGER_ROUNDS * isa->integers->loop_macs * 8 / s->o->act;
    }
    for (int r = 0; r < 3; r++) {
        double start = now();
        parallel_for(s->threads, s->stop, pieces, 1, integers ? integer_pieces : fma_pieces,
                     (void *)(uintptr_t)isa);
        double rate = macs / (now() - start);
        if (rate > best) best = rate;
    }
    return best * 1e-9;
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

static void print_row(const char *name, int n, const struct sample *rate, const struct session *s,
                      bool each_reads, double bandwidth, double peak) {
    struct model_work work = model_work(&s->model);
    double macs = mean(rate) * (double)work.macs * 1e-9;
    double bytes = mean(rate) * (double)work.bytes * 1e-9;
    printf("%s%-6d %9.2f +- %-7.2f %9.1f", name, n, mean(rate), deviation(rate), macs);
    if (peak > 0) printf(" (%3.0f %%)", 100 * macs / peak);
    if (each_reads) printf(" %9.1f (%3.0f %%)", bytes, 100 * bytes / bandwidth);
    printf("\n");
}

static int run_tests(struct session *s, const int32_t *ids, int n_prompt, int n_gen) {
    struct sample prompt = {0}, gen = {0};
    double bandwidth = read_bandwidth(s), peak = peak_of(s), start = now();
    int warm_up = n_prompt < 8 ? n_prompt : 8;
    if (warm_up > 0 && time_tokens(s, ids, warm_up, s->n_batch) < 0) return EXIT_FAILED;
    for (int r = 0; r < s->o->n_reps; r++) {
        double p = n_prompt > 0 ? time_tokens(s, ids, n_prompt, s->n_batch) : 0;
        double g = p >= 0 && n_gen > 0 ? time_tokens(s, ids, n_gen, 1) : 0;
        if ((p < 0 || g < 0) && was_interrupted(s) && r > 0) break; // with the repetitions so far
        if (p < 0 || g < 0) return EXIT_FAILED;
        if (n_prompt > 0) add_sample(&prompt, n_prompt / p);
        if (n_gen > 0) add_sample(&gen, n_gen / g);
        show_progress(start, "repetition", (size_t)r + 1, (size_t)s->o->n_reps);
    }
    printf("%s: %s, %.2f G weights in products, %.1f MB\n", s->o->model, s->model.arch,
           (double)model_work(&s->model).macs * 1e-9, (double)s->gguf.mapped_bytes * 1e-6);
    printf("%s, %d threads%s; at most %.1f G multiply-adds/s, %.1f GB/s read (measured now)\n\n",
           s->o->isa->name, threads_count(s->threads), how_computed(s->o), peak, bandwidth);
    printf("test            tokens/s         G MAC/s (of peak)  GB/s of weights (of reading)\n");
    if (n_prompt > 0) print_row("pp", n_prompt, &prompt, s, false, bandwidth, peak);
    if (n_gen > 0) print_row("tg", n_gen, &gen, s, true, bandwidth, peak);
    if (s->o->json) {
        fprintf(
            stderr,
            "{\"pp\": %d, \"pp_tok_s\": %.3f, \"pp_deviation\": %.3f, \"tg\": %d, \"tg_tok_s\": "
            "%.3f, \"tg_deviation\": %.3f, \"read_gb_s\": %.2f, \"peak_gmac_s\": %.2f, "
            "\"weights_gb\": %.4f, \"isa\": \"%s\", \"act\": %d, \"threads\": %d}\n",
            n_prompt, mean(&prompt), deviation(&prompt), n_gen, mean(&gen), deviation(&gen),
            bandwidth, peak, (double)model_work(&s->model).bytes * 1e-9, s->o->isa->name,
            s->o->act ? s->o->act : 32, threads_count(s->threads));
    }
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
    int32_t *ids = malloc(((size_t)longest + 1) * sizeof *ids);
    if (!ids) return FAIL("out of memory for %d tokens", longest);
    for (int i = 0; i < longest; i++) {
        ids[i] = (int32_t)((1 + i * 7919LL) % s->model.n_vocab);
    }
    status = run_tests(s, ids, n_prompt, n_gen);
    free(ids);
    return status;
}
