#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "families/families.h"
#include "fpstate.h"
#include "seq.h"

void model_families(char *out, size_t size) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; families[i].arch && used < size; i++) {
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", families[i].arch);
    }
}

/* How many letters must be changed, added or left out to make one name of the other, of up to 64
 * letters each. */
static size_t edits(struct gguf_str a, struct gguf_str b) {
    size_t row[65]; // of a's first letters to b's first i
    for (size_t i = 0; i <= b.len; i++) row[i] = i;
    for (size_t k = 1; k <= a.len; k++) {
        size_t diagonal = row[0];
        row[0] = k;
        for (size_t i = 1; i <= b.len; i++) {
            size_t changed = diagonal + (a.data[k - 1] != b.data[i - 1]);
            diagonal = row[i];
            size_t other = 1 + (row[i] < row[i - 1] ? row[i] : row[i - 1]);
            row[i] = changed < other ? changed : other;
        }
    }
    return row[b.len];
}

/* The family whose name is most like the architecture's, of several the newest; NULL: none is, more
 * than half of it is other. */
static const char *nearest(struct gguf_str arch) {
    const char *best = NULL;
    if (arch.len > 64) return NULL;
    size_t least = arch.len / 2;
    for (size_t i = 0; families[i].arch; i++) {
        size_t n = edits(arch, (struct gguf_str){families[i].arch, strlen(families[i].arch)});
        if (n <= least) {
            least = n;
            best = families[i].arch;
        }
    }
    return best;
}

static const struct family *find_family(const struct gguf *g, struct error *err) {
    struct gguf_str arch;
    int found = gguf_get_str(g, "general.architecture", &arch, err);
    if (found == 0) {
        error_set(err, KQ_BAD_FILE, "general.architecture is missing: not a model");
    }
    if (found != 1) return NULL;
    for (size_t i = 0; families[i].arch; i++) {
        if (gguf_str_eq(arch, families[i].arch)) return &families[i];
    }
    const char *like = nearest(arch);
    error_set(err, KQ_UNSUPPORTED,
              "general.architecture is \"%.*s\", which this engine does not run%s%s "
              "(--families lists what it does)",
              GGUF_SHORT(arch), like ? "; the nearest name is " : "", like ? like : "");
    return NULL;
}

static int read_model(struct model *m, const struct gguf *g, const struct model_params *params,
                      struct error *err) {
    *m = (struct model){0};
    const struct family *f = find_family(g, err);
    if (!f) return -1;
    m->plan = malloc(sizeof *m->plan);
    if (!m->plan) return error_set(err, KQ_NO_MEMORY, "out of memory for a model");
    struct plan_source source = {.g = g, .arch = f->arch, .write = f->write};
    if (params) {
        source.ignored = params->ignored_keys;
        source.n_ignored = params->n_ignored;
    }
    if (plan_write(m->plan, &source, err) < 0) {
        free(m->plan);
        *m = (struct model){0};
        return -1;
    }
    m->arch = f->arch;
    m->n_vocab = m->plan->n_vocab;
    m->n_embd = m->plan->n_embd;
    m->n_layer = m->plan->n_layer;
    m->n_ctx_train = m->plan->n_ctx_train;
    return 0;
}

int model_open(struct model *m, const struct gguf *g, const struct model_params *params,
               struct error *err) {
    struct fp_state callers = fp_enter();
    int failed = read_model(m, g, params, err);
    fp_leave(callers);
    return failed;
}

void model_close(struct model *m) {
    if (m->plan) plan_free(m->plan);
    free(m->plan);
    *m = (struct model){0};
}

static struct model_work told(struct work w) {
    return (struct model_work){w.macs, w.bytes, w.integer_macs};
}

struct model_work model_work(const struct model *m) {
    return told(plan_work(m->plan));
}

struct model_work model_logits_work(const struct model *m) {
    return told(plan_logits_work(m->plan));
}

struct model_windows model_windows(const struct model *m) {
    struct model_windows w = {0, 0};
    for (int i = 0; i < m->plan->n_memories; i++) {
        int window = m->plan->memories[i].window;
        if (window <= 0) continue;
        if (w.n_layers++ == 0) w.size = window;
    }
    return w;
}

size_t model_memory(const struct model *m, int n_ctx, int n_batch, bool kv_f32) {
    return seq_estimate(m->plan, n_ctx, n_batch, kv_f32);
}

/* What positions take beside keys and values: ids, and attention's scores of each thread. */
enum { BYTES_PER_POSITION = 128 };

static bool context_fits(const struct model *m, int n_ctx, int n_batch, bool kv_f32, size_t bytes) {
    size_t kv = model_memory(m, n_ctx, n_batch, kv_f32);
    return kv <= bytes && (size_t)n_ctx * BYTES_PER_POSITION <= bytes - kv;
}

int model_context(const struct model *m, int most, int n_batch, bool kv_f32, size_t bytes) {
    enum { STEP = 256 };
    if (context_fits(m, most, n_batch, kv_f32, bytes)) return most;
    int fits = 1, too_many = most / STEP + 1; // in steps
    while (too_many - fits > 1) {
        int middle = fits + (too_many - fits) / 2;
        if (context_fits(m, middle * STEP, n_batch, kv_f32, bytes)) {
            fits = middle;
        } else {
            too_many = middle;
        }
    }
    return fits * STEP < most ? fits * STEP : most;
}

void model_kinds(const struct model *m, char *out, size_t size) {
    plan_kinds(m->plan, out, size);
}

bool model_layers(const struct model *m,
                  void (*put)(void *to, const char *layers, const char *kinds, int window),
                  void *to) {
    return plan_layers(m->plan, put, to);
}

bool model_remembers(const struct model *m, int i, bool kv_f32, struct model_part *part) {
    struct memory_sum sums[16];
    if (i >= plan_memory_sums(m->plan, sums, 16)) return false;
    *part = (struct model_part){sums[i].state, sums[i].window, sums[i].n_layers,
                                memory_sum_bytes(&sums[i], 1, (int)seq_number_bytes(kv_f32))};
    return true;
}

void model_describe(const struct model *m, void (*put)(void *to, const char *line), void *to) {
    plan_describe(m->plan, put, to);
}
