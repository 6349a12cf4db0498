/* quantize_row on weights of many shapes: in no block is its root mean square error larger than
 * ggml's, nor the one in ggml's own weights, which stand in test/data/quant/errors.txt. That file
 * is made by test/peer_quantize.py table, for the weights that `test_quant_errors write FILE`
 * writes. */
#include "elementary.h"
#include "quant.h"
#include "test.h"

#include <math.h>

enum { N_ROWS = 2, ROW = 768, N_WEIGHTS = N_ROWS * ROW, N_SEEDS = 3, N_BLOCKS = N_WEIGHTS / QK_K };

/* ---- weights --------------------------------------------------------------------------------- */

static float uniform(uint64_t *seed) { // 0 to 1
    return (float)((double)(test_random(seed) >> 11) * 0x1p-53);
}

static void normal(float *x, uint64_t *seed) {
    for (int i = 0; i < N_WEIGHTS; i++) x[i] = 0.02f * test_normal(seed);
}

static void laplace(float *x, uint64_t *seed) {
    for (int i = 0; i < N_WEIGHTS; i++) {
        float size = -0.02f * (float)elementary_log((double)uniform(seed) + 0x1p-30);
        x[i] = test_random(seed) >> 63 ? size : -size;
    }
}

static void even(float *x, uint64_t *seed) {
    for (int i = 0; i < N_WEIGHTS; i++) x[i] = 0.08f * uniform(seed) - 0.04f;
}

/* n values around 0, of a width that the seed decides. */
static void lattice(float *x, uint64_t *seed, int n) {
    float step = 0.005f + 0.05f * uniform(seed);
    for (int i = 0; i < N_WEIGHTS; i++) {
        x[i] = step * ((float)(test_random(seed) % (uint64_t)n) - 0.5f * (float)(n - 1));
    }
}

static void lattice_2(float *x, uint64_t *seed) {
    lattice(x, seed, 2);
}

static void lattice_3(float *x, uint64_t *seed) {
    lattice(x, seed, 3);
}

static void lattice_4(float *x, uint64_t *seed) {
    lattice(x, seed, 4);
}

static void lattice_8(float *x, uint64_t *seed) {
    lattice(x, seed, 8);
}

static void lattice_16(float *x, uint64_t *seed) {
    lattice(x, seed, 16);
}

static void one_outlier_in_32(float *x, uint64_t *seed) {
    normal(x, seed);
    for (int i = 0; i < N_WEIGHTS; i += 32) x[i + (int)(test_random(seed) % 32)] *= 30;
}

/* Every 16 weights have a scale of their own, over five powers of ten. */
static void mixed_scales(float *x, uint64_t *seed) {
    normal(x, seed);
    for (int i = 0; i < N_WEIGHTS; i += 16) {
        float scale = 1;
        for (uint64_t k = test_random(seed) >> 8; k % 6 > 0; k--) scale *= 0.1f;
        for (int k = i; k < i + 16; k++) x[k] *= scale;
    }
}

static void constant(float *x, uint64_t *seed) {
    float value = 0.02f * test_normal(seed);
    for (int i = 0; i < N_WEIGHTS; i++) x[i] = value;
}

static void constant_rows(float *x, uint64_t *seed) {
    float value = 0;
    for (int i = 0; i < N_WEIGHTS; i++) {
        if (i % ROW == 0) value = 0.02f * test_normal(seed);
        x[i] = value;
    }
}

static void one_not_zero(float *x, uint64_t *seed) {
    memset(x, 0, N_WEIGHTS * sizeof *x);
    for (int i = 0; i < N_WEIGHTS; i += 256) {
        x[i + (int)(test_random(seed) % 256)] = 0.02f * test_normal(seed);
    }
}

static void above_zero(float *x, uint64_t *seed) {
    for (int i = 0; i < N_WEIGHTS; i++) x[i] = 0.1f + 0.02f * test_normal(seed);
}

static void tiny(float *x, uint64_t *seed) {
    for (int i = 0; i < N_WEIGHTS; i++) x[i] = 1e-6f * test_normal(seed);
}

static const struct shape {
    const char *name;
    void (*make)(float *x, uint64_t *seed);
} shapes[] = {
    {"normal", normal},
    {"laplace", laplace},
    {"uniform", even},
    {"lattice-2", lattice_2},
    {"lattice-3", lattice_3},
    {"lattice-4", lattice_4},
    {"lattice-8", lattice_8},
    {"lattice-16", lattice_16},
    {"one-outlier-in-32", one_outlier_in_32},
    {"mixed-scales", mixed_scales},
    {"constant", constant},
    {"constant-rows", constant_rows},
    {"one-not-zero", one_not_zero},
    {"above-zero", above_zero},
    {"tiny", tiny},
};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

static void make_weights(int shape, int seed, float x[N_WEIGHTS]) {
    uint64_t state = (uint64_t)(shape * N_SEEDS + seed + 1) * 0x9E3779B97F4A7C15u;
    shapes[shape].make(x, &state);
}

static int write_weights(const char *path) {
    static float x[N_WEIGHTS];
    FILE *f = fopen(path, "wb");
    if (!f) {
        perror(path);
        return 1;
    }
    for (int shape = 0; shape < N_SHAPES; shape++) {
        for (int seed = 0; seed < N_SEEDS; seed++) {
            make_weights(shape, seed, x);
            fwrite(x, sizeof *x, N_WEIGHTS, f);
            printf("%s.%d %d\n", shapes[shape].name, seed, ROW);
        }
    }
    return fclose(f) != 0;
}

/* ---- errors ---------------------------------------------------------------------------------- */

/* How often ggml's reference quantizer of the type counts the squared error of each of n weights,
 * a sub-block of it. */
static void weights_of_ggml(uint32_t type, const float *x, int n, double *weight) {
    double mean = 0;
    for (int i = 0; i < n; i++) mean += (double)x[i] * x[i] / n;
    for (int i = 0; i < n; i++) {
        weight[i] = type == GGML_TYPE_Q6_K ? (double)x[i] * x[i] : 1;
        if (type == GGML_TYPE_Q4_K || type == GGML_TYPE_Q5_K) weight[i] = sqrt(mean) + fabsf(x[i]);
    }
}

/* Root mean squares of the errors of 256 weights, which became y. */
static void measure(uint32_t type, const float *x, const float *y, double *error,
                    double *weighted) {
    double sum = 0, sum_weighted = 0;
    for (int at = 0; at < QK_K; at += 32) {
        double weight[32];
        weights_of_ggml(type, x + at, 32, weight);
        for (int i = at; i < at + 32; i++) {
            double e = (double)y[i] - x[i];
            sum += e * e;
            sum_weighted += weight[i - at] * e * e;
        }
    }
    *error = sqrt(sum / QK_K);
    *weighted = sqrt(sum_weighted / QK_K);
}

static uint32_t type_named(const char *name) {
    for (uint32_t type = 0; type < 100; type++) {
        const struct ggml_type_info *info = ggml_type_info(type);
        if (info && strcmp(info->name, name) == 0) return type;
    }
    return UINT32_MAX;
}

static bool shape_named(const char *name, int *shape) {
    for (*shape = 0; *shape < N_SHAPES; ++*shape) {
        if (strcmp(shapes[*shape].name, name) == 0) return true;
    }
    return false;
}

/* "SHAPE.SEED TYPE", and of each block ggml's error and its weighted one. */
static void check_line(const char *line) {
    static float x[N_WEIGHTS], y[N_WEIGHTS];
    static uint8_t blocks[N_WEIGHTS * 2];
    char name[64], type_name[16];
    int seed, shape, at = 0;
    int n = sscanf(line, "%63[^.].%d %15s%n", name, &seed, type_name, &at);
    uint32_t type = type_named(type_name);
    if (n != 3 || !shape_named(name, &shape) || !quantize_supported(type)) {
        CHECK(false, "cannot read: %s", line);
        return;
    }
    // The search sums in single precision and the table is rounded. What lies on a lattice, the
    // formats of 32 weights hold much better than by ggml's rule.
    bool is_lattice = strncmp(name, "lattice", 7) == 0;
    double allowed = is_lattice && ggml_type_info(type)->block_len == QK ? 0.4 : 1 + 1e-5;
    make_weights(shape, seed, x);
    quantize_row(type, x, blocks, N_WEIGHTS);
    dequantize_row(type, blocks, y, N_WEIGHTS);
    for (int block = 0; block < N_BLOCKS; block++) {
        double want[2], got[2];
        int len = 0;
        n = sscanf(line + at, "%lf %lf%n", &want[0], &want[1], &len);
        CHECK(n == 2, "cannot read: %s", line + at);
        at += len;
        measure(type, x + QK_K * block, y + QK_K * block, &got[0], &got[1]);
        for (int i = 0; i < 2; i++) {
            CHECK(got[i] <= want[i] * allowed, "%s.%d, %s, block %d: %.5f times ggml's%s error",
                  name, seed, type_name, block, got[i] / want[i], i ? " weighted" : "");
        }
    }
}

static void test_errors(void) {
    char line[1024];
    int n = 0;
    FILE *f = fopen("test/data/quant/errors.txt", "r");
    if (!f) {
        perror("test/data/quant/errors.txt (run from the repository's root)");
        exit(1);
    }
    while (fgets(line, sizeof line, f)) {
        if (*line == '#') continue;
        check_line(line);
        n++;
    }
    fclose(f);
    CHECK(n == N_SHAPES * N_SEEDS * 6, "%d lines", n);
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "write") == 0) return write_weights(argv[2]);
    test_errors();
    return test_done("test_quant_errors");
}
