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
    char known[400];
    model_families(known, sizeof known);
    error_set(err, KQ_UNSUPPORTED, "general.architecture is \"%.*s\"; this engine runs %s",
              GGUF_SHORT(arch), known);
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

struct model_work model_work(const struct model *m) {
    struct work w = plan_work(m->plan);
    return (struct model_work){w.macs, w.bytes};
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

void model_kinds(const struct model *m, char *out, size_t size) {
    plan_kinds(m->plan, out, size);
}

void model_describe(const struct model *m, void (*put)(void *to, const char *line), void *to) {
    plan_describe(m->plan, put, to);
}
