/* Kernels alone: products of every type, instruction set and batch size, as shares of what the
 * machine can do, the fused product against dequantizing first, and attention. Medians of
 * interleaved repetitions, so that a change of clock or a neighbour's load meets all alike.
 *
 * usage: bench [-t THREADS] [--isa NAME] [--act 32|16|8] [--quick] [--json [FILE]] */
#include "machine.h"
#include "matmul_q.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_REPS = 9, MAX_ISAS = 8, N_TOKENS = 7, MAX_TOKENS = 512 };

static const uint32_t types[] = {GGML_TYPE_Q5_K, GGML_TYPE_Q6_K,  GGML_TYPE_Q8_0, GGML_TYPE_Q5_1,
                                 GGML_TYPE_Q4_K, GGML_TYPE_MXFP4, GGML_TYPE_F32,  GGML_TYPE_Q3_K};
static const int tokens[N_TOKENS] = {1, 2, 4, 8, 32, 128, MAX_TOKENS};

#define COUNT(array) (int)(sizeof(array) / sizeof *(array))

static struct options {
    int n_threads;
    const struct isa *isa; // NULL: all
    int act;               // ACT_FLOAT, 16 or 8
    bool quick, lines;     // lines: JSON on standard output instead of the tables
    FILE *json;            // NULL: none
} options;

static struct threads *threads;
static int n_reps;
static struct limits limits[MAX_ISAS]; // of isa_all[i]
static double read_peak;               // bytes/s, whatever the instruction set

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

/* 512 MB are read: far more than a last-level cache holds. */
static void measure_limits(void) {
    size_t bytes = (size_t)(options.quick ? 64 : 512) << 20;
    uint8_t *data = alloc_or_exit(bytes);
    memset(data, 1, bytes);
    struct span span = {data, bytes};
    for (int i = 0; isa_all[i]; i++) {
        if (!wanted(i)) continue;
        limits_macs(&limits[i], isa_all[i], threads, NULL);
        if (options.act) limits_integer_macs(&limits[i], isa_all[i], threads, NULL);
        limits_read(&limits[i], &span, 1, threads, NULL);
        if (limits[i].read > read_peak) read_peak = limits[i].read;
    }
    free(data);
}

/* MAC/s at most of products of the type. */
static double peak_of(int which, uint32_t type) {
    bool integers = options.act != ACT_FLOAT && act_supported(type);
    double seconds = limits_seconds(&limits[which], integers ? 0 : 1, integers, options.act);
    return seconds > 0 ? 1 / seconds : 0;
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
    if (matmul_open(&m, isa, threads, reference, reference ? ACT_FLOAT : options.act, NULL, n_cols,
                    n, &err) == 0)
        return m;
    fprintf(stderr, "bench: %s\n", err.text);
    exit(1);
}

static void print_kernel(const struct matrix *w, int which, int n, int64_t n_rows, double time) {
    double n_weights = (double)(n_rows * w->n_cols),
           n_bytes = (double)n_rows * (double)w->row_bytes;
    double weights = n_weights / time, bytes = n_bytes / time, macs = weights * n;
    const char *type = ggml_type_info(w->type)->name, *isa = isa_all[which]->name;
    double peak = peak_of(which, w->type); // 0: unknown
    if (!options.lines) {
        printf("%-5s %-10s %6d %10.2f %9.2f %9.2f %9.1f %% %9.1f %%\n", type, isa, n, weights / 1e9,
               bytes / 1e9, macs / 1e9, peak > 0 ? 100 * macs / peak : 0, 100 * bytes / read_peak);
        const char *objection = limits_objection(peak > 0 ? macs / peak : 0);
        if (objection) printf("%s\n", objection);
    }
    if (options.json) {
        fprintf(options.json,
                "{\"kind\": \"kernel\", \"type\": \"%s\", \"isa\": \"%s\", \"tokens\": %d, "
                "\"threads\": %d, \"rows\": %lld, \"cols\": %lld, \"seconds\": %.9g, "
                "\"weights_s\": %.6g, \"bytes_s\": %.6g, \"mac_s\": %.6g, \"mac_peak\": %.6g, "
                "\"read_peak\": %.6g, \"act\": %d}\n",
                type, isa, n, options.n_threads, (long long)n_rows, (long long)w->n_cols, time,
                weights, bytes, macs, peak, read_peak, options.act ? options.act : 32);
    }
}

/* Rows that keep one product to a fraction of a second; all of them for one token, so that the
 * weights come from memory. */
static int64_t rows_for(const struct matrix *w, int which, int n) {
    double macs = limits[which].macs * (options.quick ? 0.002 : 0.05);
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

/* ---- attention ------------------------------------------------------------------------------- */

/* One head of one layer after the other, as a model has them: from memory, not from a cache. */
struct attention {
    const struct ops *ops;
    struct kv_head *head; // (n_heads)
    float *q, *s, *out;   // of each thread: (n_q, dim), (n_q, n), (n_q, dim)
    int n_q, n, dim;
};

static void attend_heads(void *arg, long begin, long end, int thread) {
    const struct attention *a = arg;
    const float *q[ATTN_QUERIES];
    float *out[ATTN_QUERIES], inv_sum[ATTN_QUERIES];
    float *s = a->s + (size_t)thread * ATTN_QUERIES * (size_t)a->n;
    for (long h = begin; h < end; h++) {
        for (int i = 0; i < a->n_q; i++) {
            q[i] = a->q + i * a->dim;
            out[i] = a->out + (thread * ATTN_QUERIES + i) * a->dim;
        }
        a->ops->attn_scores(s, (size_t)a->n, q, a->n_q, &a->head[h], 0, a->n, 0.1f);
        for (int i = 0; i < a->n_q; i++) {
            inv_sum[i] = 1 / a->ops->softmax(s + (size_t)i * (size_t)a->n, a->n, 0, a->n);
        }
        a->ops->attn_values(out, s, (size_t)a->n, inv_sum, a->n_q, &a->head[h], 0, a->n);
    }
}

static double time_attention(const struct attention *a, long n_heads) {
    double times[MAX_REPS];
    for (int r = -1; r < n_reps; r++) {
        double start = seconds();
        parallel_for(threads, NULL, n_heads, 1, attend_heads, (void *)(uintptr_t)a);
        if (r >= 0) times[r] = seconds() - start;
    }
    return median(times, n_reps);
}

static void print_attention(const struct attention *a, int which, double bytes, double time) {
    double read = bytes / time, macs = read / 2 * a->n_q, peak = limits[which].macs;
    const char *isa = isa_all[which]->name;
    if (!options.lines) {
        printf("%9d %7d %9.2f %9.2f %9.1f %% %9.1f %%\n", a->n, a->n_q, read / 1e9, macs / 1e9,
               100 * macs / peak, 100 * read / read_peak);
    }
    if (options.json) {
        fprintf(
            options.json,
            "{\"kind\": \"attention\", \"isa\": \"%s\", \"positions\": %d, \"queries\": %d, "
            "\"threads\": %d, \"dim\": %d, \"seconds\": %.9g, \"bytes_s\": %.6g, \"mac_s\": %.6g, "
            "\"mac_peak\": %.6g, \"read_peak\": %.6g}\n",
            isa, a->n, a->n_q, options.n_threads, a->dim, time, read, macs, peak, read_peak);
    }
}

static void bench_attention(void) {
    static const int positions[] = {512, 4096, 16384};
    struct attention a = {.dim = 128};
    size_t bytes = (size_t)(options.quick ? 16 : 256) << 20, scores = 16384, which = 0;
    const struct isa *isa = options.isa ? options.isa : isa_best();
    while (isa_all[which] != isa) which++;
    uint8_t *cache = alloc_or_exit(bytes);
    for (size_t i = 0; i < bytes; i++) cache[i] = (uint8_t)(random_bits() & 0x3b);
    a.ops = isa->ops;
    a.q = make_activations((int64_t)ATTN_QUERIES * a.dim);
    a.s = alloc_or_exit((size_t)options.n_threads * ATTN_QUERIES * scores * sizeof *a.s);
    a.out = make_activations((int64_t)options.n_threads * ATTN_QUERIES * a.dim);
    a.head = alloc_or_exit(bytes / 512 / (size_t)positions[0] * sizeof *a.head);
    if (!options.lines) {
        printf("\nattention, %s, heads of %d halves, caches of %zu MB in all\n"
               "%9s %7s %9s %9s %11s %11s\n",
               isa->name, a.dim, bytes >> 20, "positions", "queries", "GB/s", "G MAC/s", "of peak",
               "of read");
    }
    for (int p = 0; p < COUNT(positions); p++) {
        size_t half = (size_t)(2 * a.dim) * (size_t)positions[p], n_heads = bytes / (2 * half);
        a.n = positions[p];
        for (size_t h = 0; h < n_heads; h++) {
            uint8_t *k = cache + h * 2 * half;
            a.head[h] = (struct kv_head){k, k + half, true, a.dim, a.dim, a.n};
        }
        for (a.n_q = 1; a.n_q <= ATTN_QUERIES; a.n_q++) {
            print_attention(&a, (int)which, (double)(2 * half * n_heads),
                            time_attention(&a, (long)n_heads));
        }
    }
    free(cache);
    free(a.q);
    free(a.s);
    free(a.out);
    free(a.head);
}

/* ---- main ------------------------------------------------------------------------------------ */

static int usage(const char *what) {
    fprintf(stderr,
            "bench: %s\nusage: bench [-t THREADS] [--isa NAME] [--act 32|16|8] [--quick] [--json "
            "[FILE]]\n",
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
        } else if (strcmp(argv[i], "--act") == 0 && value) {
            options.act = atoi(value) == 32 ? ACT_FLOAT : atoi(value);
            if (options.act && options.act != 16 && options.act != 8) {
                return usage("--act wants 32, 16 or 8");
            }
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
    char processor[128];
    processor_name(processor, sizeof processor);
    printf("kernels, %s, %d threads%s, medians of %d interleaved repetitions\n", processor,
           options.n_threads,
           options.act == ACT_FLOAT ? ""
           : options.act == 16      ? ", --act 16"
                                    : ", --act 8",
           n_reps);
    for (int i = 0; isa_all[i]; i++) {
        if (!wanted(i)) continue;
        printf("%s: %.1f G MAC/s peak of floats", isa_all[i]->name, limits[i].macs / 1e9);
        if (limits[i].integer_macs > 0) {
            printf(", %.1f of integers", limits[i].integer_macs * 8 / options.act / 1e9);
        }
        printf("\n");
    }
    printf("memory: %.1f GB/s read\n\n", read_peak / 1e9);
    printf("%-5s %-10s %6s %10s %9s %9s %11s %11s\n", "type", "isa", "tokens", "G weight/s", "GB/s",
           "G MAC/s", "of peak", "of read");
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
    measure_limits();
    if (!options.lines) print_limits();
    float *x = make_activations((int64_t)MAX_TOKENS * 14336);
    float *y = alloc_or_exit((size_t)MAX_TOKENS * 14336 * sizeof *y);
    for (int i = 0; i < COUNT(types); i++) bench_type(types[i], x, y);
    compare(x, y);
    bench_attention();
    free(x);
    free(y);
    threads_close(threads);
    if (options.json && !options.lines) fclose(options.json);
    return 0;
}
