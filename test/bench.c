/* Kernels alone: products of every type, instruction set and batch size, as shares of what the
 * machine can do, and the fused product against dequantizing first. Medians of interleaved
 * repetitions, so that a change of clock or a neighbour's load meets all alike.
 *
 * usage: bench [-t THREADS] [--isa NAME] [--quick] [--json [FILE]] */
#include "matmul_q.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_REPS = 9, MAX_ISAS = 4, N_TOKENS = 7, MAX_TOKENS = 512 };

static const uint32_t types[] = {GGML_TYPE_Q5_K, GGML_TYPE_Q6_K,  GGML_TYPE_Q8_0, GGML_TYPE_Q5_1,
                                 GGML_TYPE_Q4_K, GGML_TYPE_MXFP4, GGML_TYPE_F32,  GGML_TYPE_Q3_K};
static const int tokens[N_TOKENS] = {1, 2, 4, 8, 32, 128, MAX_TOKENS};

#define COUNT(array) (int)(sizeof(array) / sizeof *(array))

static struct options {
    int n_threads;
    const struct isa *isa; // NULL: all
    bool quick, lines;     // lines: JSON on standard output instead of the tables
    FILE *json;            // NULL: none
} options;

static struct threads *threads;
static int n_reps;
static double fma_peak[MAX_ISAS]; // MAC/s of isa_all[i]
static double read_peak;          // bytes/s

static void *alloc_or_exit(size_t bytes) {
    void *p = malloc(bytes);
    if (p) return p;
    fprintf(stderr, "bench: out of memory: %zu bytes\n", bytes);
    exit(1);
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static bool wanted(int i) {
    return isa_all[i]->usable() && (!options.isa || options.isa == isa_all[i]);
}

/* ---- the machine's limits -------------------------------------------------------------------- */

enum { FMA_PIECES = 16, FMA_LOOPS = 200000, READ_PIECE = 1 << 20 };

struct fma_job {
    const struct isa *isa;
    int64_t n;
};

static volatile float keep_float;
static volatile uint64_t keep_bits;

static void run_fma(void *arg, long begin, long end, int thread) {
    (void)thread;
    const struct fma_job *job = arg;
    for (long i = begin; i < end; i++) keep_float = job->isa->fma_loop(job->n, 1, 1);
}

static void measure_fma(int which) {
    struct fma_job job = {isa_all[which], options.quick ? FMA_LOOPS / 10 : FMA_LOOPS};
    long n = FMA_PIECES * options.n_threads;
    for (int r = 0; r < n_reps; r++) {
        double start = seconds();
        parallel_for(threads, NULL, n, 1, run_fma, &job);
        double macs = (double)n * (double)job.n * job.isa->fma_loop_macs;
        double rate = macs / (seconds() - start);
        if (rate > fma_peak[which]) fma_peak[which] = rate;
    }
}

static void read_piece(void *arg, long begin, long end, int thread) {
    (void)thread;
    const uint64_t *data = (const uint64_t *)arg;
    uint64_t sum[8] = {0};
    long step = READ_PIECE / (long)sizeof *data;
    for (long i = begin * step; i < end * step; i += 8) {
        for (int j = 0; j < 8; j++) sum[j] += data[i + j];
    }
    for (int j = 0; j < 8; j++) keep_bits = sum[j];
}

/* 512 MB: far more than a last-level cache holds. */
static void measure_read(void) {
    long n = options.quick ? 64 : 512;
    uint64_t *data = alloc_or_exit((size_t)n * READ_PIECE);
    memset(data, 1, (size_t)n * READ_PIECE);
    for (int r = 0; r < n_reps; r++) {
        double start = seconds();
        parallel_for(threads, NULL, n, 1, read_piece, data);
        double rate = (double)n * READ_PIECE / (seconds() - start);
        if (rate > read_peak) read_peak = rate;
    }
    free(data);
}

/* ---- products -------------------------------------------------------------------------------- */

static uint32_t random_bits(void) {
    static uint32_t state = 1;
    state = state * 1664525 + 1013904223;
    return state >> 8;
}

/* Bytes that are a finite, ordinary weight in every format: halves below 1, no subnormal floats. */
static struct matrix make_matrix(uint32_t type, int64_t n_rows, int64_t n_cols) {
    const struct ggml_type_info *t = ggml_type_info(type);
    size_t row_bytes = (size_t)(n_cols / t->block_len) * (size_t)t->block_bytes;
    uint8_t *data = alloc_or_exit(row_bytes * (size_t)n_rows);
    for (size_t i = 0; i < row_bytes * (size_t)n_rows; i++)
        data[i] = (uint8_t)(random_bits() & 0x3b);
    for (int64_t i = 0; i < n_rows * n_cols && type == GGML_TYPE_F32; i++) {
        float w = (float)random_bits() * 0x1p-24f;
        memcpy(data + i * 4, &w, 4);
    }
    return (struct matrix){type, n_rows, n_cols, row_bytes, data};
}

static float *make_activations(int64_t n) {
    float *x = alloc_or_exit((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = (float)random_bits() * 0x1p-23f - 1;
    return x;
}

/* One product; its time, after one that touches the buffers and brings weights that fit a cache. */
static double time_product(struct matmul *m, const struct matrix *w, const float *x, float *y,
                           int n) {
    struct product product = {.w = w, .x = x, .y = y};
    mul_mat(m, &product, 1, n);
    double start = seconds();
    mul_mat(m, &product, 1, n);
    double time = seconds() - start;
    if (!m->failed) return time;
    fprintf(stderr, "bench: out of memory for the reference's copy\n");
    exit(1);
}

static struct matmul open_or_exit(const struct isa *isa, bool reference, int64_t n_cols, int n) {
    struct matmul m;
    struct error err;
    if (matmul_open(&m, isa, threads, reference, ACT_FLOAT, NULL, n_cols, n, &err) == 0) return m;
    fprintf(stderr, "bench: %s\n", err.text);
    exit(1);
}

static void print_kernel(const struct matrix *w, int which, int n, int64_t n_rows, double time) {
    double n_weights = (double)(n_rows * w->n_cols),
           n_bytes = (double)n_rows * (double)w->row_bytes;
    double weights = n_weights / time, bytes = n_bytes / time, macs = weights * n;
    const char *type = ggml_type_info(w->type)->name, *isa = isa_all[which]->name;
    if (!options.lines) {
        printf("%-5s %-9s %6d %10.2f %9.2f %9.2f %9.1f %% %9.1f %%\n", type, isa, n, weights / 1e9,
               bytes / 1e9, macs / 1e9, 100 * macs / fma_peak[which], 100 * bytes / read_peak);
    }
    if (options.json) {
        fprintf(options.json,
                "{\"kind\": \"kernel\", \"type\": \"%s\", \"isa\": \"%s\", \"tokens\": %d, "
                "\"threads\": %d, \"rows\": %lld, \"cols\": %lld, \"seconds\": %.9g, "
                "\"weights_s\": %.6g, \"bytes_s\": %.6g, \"mac_s\": %.6g, \"fma_peak\": %.6g, "
                "\"read_peak\": %.6g}\n",
                type, isa, n, options.n_threads, (long long)n_rows, (long long)w->n_cols, time,
                weights, bytes, macs, fma_peak[which], read_peak);
    }
}

/* Rows that keep one product to a fraction of a second; all of them for one token, so that the
 * weights come from memory. */
static int64_t rows_for(const struct matrix *w, int which, int n) {
    double macs = fma_peak[which] * (options.quick ? 0.002 : 0.05);
    if (isa_all[which] == &isa_portable) macs /= 16;
    int64_t rows = (int64_t)(macs / (double)n / (double)w->n_cols) / 96 * 96;
    rows = rows < 96 ? 96 : rows;
    return n == 1 || rows > w->n_rows ? w->n_rows : rows;
}

static void bench_type(uint32_t type, const float *x, float *y) {
    static double times[MAX_ISAS][N_TOKENS][MAX_REPS];
    struct matrix w = make_matrix(type, options.quick ? 960 : 14304, options.quick ? 1024 : 4096);
    for (int r = -1; r < n_reps; r++) { // the first round only warms up
        for (int i = 0; isa_all[i]; i++) {
            if (!wanted(i)) continue;
            struct matmul m = open_or_exit(isa_all[i], false, w.n_cols, MAX_TOKENS);
            for (int t = 0; t < N_TOKENS; t++) {
                struct matrix part = w;
                part.n_rows = rows_for(&w, i, tokens[t]);
                double time = time_product(&m, &part, x, y, tokens[t]);
                if (r >= 0) times[i][t][r] = time;
            }
            matmul_close(&m);
        }
    }
    for (int i = 0; isa_all[i]; i++) {
        for (int t = 0; t < N_TOKENS && wanted(i); t++) {
            print_kernel(&w, i, tokens[t], rows_for(&w, i, tokens[t]), median(times[i][t], n_reps));
        }
    }
    free((void *)(uintptr_t)w.data);
}

/* ---- fused against dequantize first ---------------------------------------------------------- */

static void compare_shape(uint32_t type, int64_t n_rows, int64_t n_cols, int n, const float *x,
                          float *y) {
    double times[2][MAX_REPS], time[2];
    size_t bytes[2];
    struct matrix w = make_matrix(type, n_rows, n_cols);
    const struct isa *isa = options.isa ? options.isa : isa_best();
    struct matmul m[2] = {open_or_exit(isa, false, n_cols, n), open_or_exit(isa, true, n_cols, n)};
    for (int r = -1; r < n_reps; r++) {
        for (int i = 0; i < 2; i++) {
            double took = time_product(&m[i], &w, x, y, n);
            if (r >= 0) times[i][r] = took;
        }
    }
    for (int i = 0; i < 2; i++) {
        time[i] = median(times[i], n_reps);
        bytes[i] = m[i].scratch_bytes + m[i].reference_peak_bytes;
        matmul_close(&m[i]);
    }
    free((void *)(uintptr_t)w.data);
    const char *name = ggml_type_info(type)->name;
    if (!options.lines) {
        printf("%-5s %5lld x %-5lld %6d %11.1f %11.1f %7.1f x %13zu %13zu\n", name,
               (long long)n_rows, (long long)n_cols, n, time[0] * 1e6, time[1] * 1e6,
               time[1] / time[0], bytes[0], bytes[1]);
    }
    if (options.json) {
        fprintf(options.json,
                "{\"kind\": \"fused\", \"type\": \"%s\", \"isa\": \"%s\", \"tokens\": %d, "
                "\"threads\": %d, \"rows\": %lld, \"cols\": %lld, \"fused_s\": %.9g, "
                "\"reference_s\": %.9g, \"fused_bytes\": %zu, \"reference_bytes\": %zu}\n",
                name, isa->name, n, options.n_threads, (long long)n_rows, (long long)n_cols,
                time[0], time[1], bytes[0], bytes[1]);
    }
}

static void compare(const float *x, float *y) {
    static const int shapes[][2] = {{256, 256},   {1024, 1024},  {2048, 2048},
                                    {4096, 4096}, {14336, 4096}, {4096, 14336}};
    if (!options.lines) {
        printf("\nfused against dequantize-then-multiply (--reference), bytes: largest allocation "
               "at one time\n%-5s %13s %6s %11s %11s %9s %13s %13s\n",
               "type", "rows x cols", "tokens", "fused us", "first us", "faster", "fused bytes",
               "first bytes");
    }
    for (int t = 0; t < 2; t++) {
        for (int s = 0; s < (options.quick ? 2 : COUNT(shapes)); s++) {
            for (int n = 1; n <= 128; n += 127) {
                compare_shape(types[t], shapes[s][0], shapes[s][1], n, x, y);
            }
        }
    }
}

/* ---- main ------------------------------------------------------------------------------------ */

static int usage(const char *what) {
    fprintf(stderr, "bench: %s\nusage: bench [-t THREADS] [--isa NAME] [--quick] [--json [FILE]]\n",
            what);
    return -1;
}

static int parse(int argc, char **argv) {
    options.n_threads = threads_default_count();
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc && argv[i + 1][0] != '-' ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--quick") == 0) {
            options.quick = true;
            continue;
        } else if (strcmp(argv[i], "--json") == 0) {
            options.json = value ? fopen(value, "w") : stdout;
            options.lines = !value;
            if (!options.json) return usage("cannot write that file");
        } else if (strcmp(argv[i], "-t") == 0 && value) {
            options.n_threads = atoi(value);
            if (options.n_threads < 1) return usage("-t wants at least 1");
        } else if (strcmp(argv[i], "--isa") == 0 && value) {
            options.isa = isa_find(value);
            if (!options.isa || !options.isa->usable()) return usage("no such --isa here");
        } else {
            return usage(argv[i]);
        }
        i += value != NULL;
    }
    return 0;
}

static void print_limits(void) {
    for (int i = 0; isa_all[i]; i++) {
        if (!wanted(i)) continue;
        measure_fma(i);
        if (!options.lines) printf("%s: %.1f G MAC/s peak\n", isa_all[i]->name, fma_peak[i] / 1e9);
    }
    measure_read();
    if (options.lines) return;
    printf("memory: %.1f GB/s read\n\n", read_peak / 1e9);
    printf("%-5s %-9s %6s %10s %9s %9s %11s %11s\n", "type", "isa", "tokens", "G weight/s", "GB/s",
           "G MAC/s", "of FMA peak", "of read");
}

int main(int argc, char **argv) {
    struct error err;
    if (parse(argc, argv) != 0) return 2;
    threads = threads_open(options.n_threads, &err);
    if (!threads) {
        fprintf(stderr, "bench: %s\n", err.text);
        return 1;
    }
    n_reps = options.quick ? 3 : MAX_REPS;
    if (!options.lines) {
        printf("kernels, %d threads, medians of %d interleaved repetitions\n", options.n_threads,
               n_reps);
    }
    print_limits();
    float *x = make_activations((int64_t)MAX_TOKENS * 14336);
    float *y = alloc_or_exit((size_t)MAX_TOKENS * 14336 * sizeof *y);
    for (int i = 0; i < COUNT(types); i++) bench_type(types[i], x, y);
    compare(x, y);
    free(x);
    free(y);
    threads_close(threads);
    if (options.json && !options.lines) fclose(options.json);
    return 0;
}
