#include "machine.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- its name -------------------------------------------------------------------------------- */

/* The rest of the first line of the file that begins with `label`, behind its colon. */
static bool line_of(const char *path, const char *label, char *out, size_t size) {
    char line[256];
    size_t n = strlen(label);
    bool found = false;
    FILE *f = fopen(path, "r");
    while (f && !found && fgets(line, sizeof line, f)) {
        const char *value = strchr(line, ':');
        found = value && strncmp(line, label, n) == 0;
        if (found) snprintf(out, size, "%s", value + 1 + strspn(value + 1, " \t"));
    }
    if (f) fclose(f);
    return found;
}

void processor_name(char *out, size_t size) {
    struct utsname system;
    if (!line_of("/proc/cpuinfo", "model name", out, size) && uname(&system) == 0) {
        snprintf(out, size, "%s", system.machine);
    }
    size_t len = 0;
    for (const char *c = out; *c; c++) {
        if (*c >= ' ' && *c <= '~' && *c != '"' && *c != '\\') out[len++] = *c;
    }
    while (len > 0 && out[len - 1] == ' ') len--;
    out[len] = '\0';
    if (len == 0) snprintf(out, size, "unknown processor");
}

/* ---- its limits ------------------------------------------------------------------------------ */

/* Short repetitions: the best of them shows the machine while a neighbour rests for a moment. */
enum { REPETITIONS = 40 };

static void raise_limit(double *limit, double work, double start, const atomic_int *stop) {
    double took = seconds() - start;
    if (stop && atomic_load(stop)) return; // not all of the work was done
    if (took > 0 && work / took > *limit) *limit = work / took;
}

/* Rounds of a loop that take some tenths of a millisecond with vectors. */
enum { FMA_ROUNDS = 20000, INTEGER_ROUNDS = 10000, PIECES_PER_THREAD = 2 };

static void fma_pieces(void *arg, long begin, long end, int thread) {
    (void)thread;
    const struct isa *const *isa = arg;
    for (long i = begin; i < end; i++) {
        volatile float keep = (*isa)->fma_loop(FMA_ROUNDS, 1, 1);
        (void)keep;
    }
}

static void integer_pieces(void *arg, long begin, long end, int thread) {
    (void)thread;
    const struct isa *const *isa = arg;
    for (long i = begin; i < end; i++) {
        volatile float keep = (*isa)->integers->loop(INTEGER_ROUNDS);
        (void)keep;
    }
}

static void measure_loop(double *limit, double macs, threads_fn *fn, const struct isa *isa,
                         struct threads *t, atomic_int *stop) {
    long pieces = (long)PIECES_PER_THREAD * threads_count(t);
    for (int r = 0; r < REPETITIONS; r++) {
        double start = seconds();
        parallel_for(t, stop, pieces, 1, fn, &isa);
        raise_limit(limit, macs * (double)pieces, start, stop);
    }
}

void limits_macs(struct limits *l, const struct isa *isa, struct threads *t, atomic_int *stop) {
    measure_loop(&l->macs, (double)FMA_ROUNDS * isa->fma_loop_macs, fma_pieces, isa, t, stop);
}

void limits_integer_macs(struct limits *l, const struct isa *isa, struct threads *t,
                         atomic_int *stop) {
    if (!isa->integers->loop) return;
    measure_loop(&l->integer_macs, (double)INTEGER_ROUNDS * isa->integers->loop_macs,
                 integer_pieces, isa, t, stop);
}

#define READ_PIECE 65536

static void read_pieces(void *arg, long begin, long end, int thread) {
    (void)thread;
    const struct span *span = arg;
    size_t from = (size_t)begin * READ_PIECE, to = (size_t)end * READ_PIECE;
    if (to > span->bytes) to = span->bytes;
    const uint64_t *p = (const uint64_t *)(const void *)(span->data + from);
    size_t n = (to - from) / sizeof *p, i = 0;
    uint64_t sum[8] = {0}; // several, as a chain of dependent operations would be a limit itself
    for (; i + 8 <= n; i += 8) {
        for (int j = 0; j < 8; j++) sum[j] ^= p[i + (size_t)j];
    }
    for (; i < n; i++) sum[0] ^= p[i];
    for (int j = 1; j < 8; j++) sum[0] ^= sum[j];
    volatile uint64_t keep = sum[0]; // or the compiler would drop the loads
    (void)keep;
}

void limits_read(struct limits *l, const struct span *spans, size_t n, struct threads *t,
                 atomic_int *stop) {
    const double at_least = 1e-3, enough = 0.05;
    double begun = seconds();
    for (int r = 0; r < 3 || (r < REPETITIONS && seconds() - begun < enough); r++) {
        double start = seconds(), bytes = 0;
        do {
            for (size_t i = 0; i < n; i++) {
                struct span span = spans[i];
                long pieces = (long)((span.bytes + READ_PIECE - 1) / READ_PIECE);
                long grain = pieces / threads_count(t) + 1;
                parallel_for(t, stop, pieces, grain, read_pieces, &span);
                size_t words = span.bytes / sizeof(uint64_t);
                bytes += (double)(words * sizeof(uint64_t));
            }
        } while (bytes > 0 && seconds() - start < at_least && !(stop && atomic_load(stop)));
        raise_limit(&l->read, bytes, start, stop);
    }
}

double limits_seconds(const struct limits *l, double float_macs, double integer_macs, int act) {
    double integer_rate = act ? l->integer_macs * 8 / act : l->integer_macs;
    if ((float_macs > 0 && !(l->macs > 0)) || (integer_macs > 0 && !(integer_rate > 0))) return 0;
    return (float_macs > 0 ? float_macs / l->macs : 0) +
           (integer_macs > 0 ? integer_macs / integer_rate : 0);
}

const char *limits_objection(double share) {
    if (share < 1.005) return NULL; // is printed as 100 %
    return "  A share above 100 % cannot be: the machine was busier while its limits were\n"
           "  measured than in the tests. Run it again.";
}
