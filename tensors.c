/* Tensors of a file as families name them: found, their shapes and types checked. */
#include <stdio.h>
#include <string.h>

#include "build.h"
#include "matmul_q.h"

/* Largest number of rows: an int with room. */
#define MAX_ROWS (1 << 28)

struct name {
    char text[96];
};

static struct name name_of(const struct plan *p, const char *name, const char *suffix) {
    struct name full;
    if (p->il < 0) {
        snprintf(full.text, sizeof full.text, "%s%s", name, suffix);
    } else {
        snprintf(full.text, sizeof full.text, "blk.%d.%s%s", p->il, name, suffix);
    }
    return full;
}

const char *tensor_full_name(struct plan *p, const char *name) {
    struct name full = name_of(p, name, "");
    char *kept = plan_keep(p, strlen(full.text) + 1, 1);
    return memcpy(kept, full.text, strlen(full.text) + 1);
}

static const struct gguf_tensor *find(struct plan *p, const char *name, const char *suffix,
                                      bool needed) {
    struct name full = name_of(p, name, suffix);
    const struct gguf_tensor *t = gguf_find_tensor(p->g, full.text);
    if (t) p->used_tensors[t - p->g->tensors] = true;
    if (!t && needed) PLAN_FAIL(p, KQ_BAD_FILE, "tensor %s is missing", full.text);
    return t;
}

bool has(struct plan *p, const char *name) {
    return gguf_find_tensor(p->g, name_of(p, name, ".weight").text) != NULL;
}

void unused(struct plan *p, const char *name) {
    find(p, name, "", false);
}

void need(struct plan *p, const char *name) {
    struct name full = name_of(p, name, "");
    if (!gguf_find_tensor(p->g, full.text)) {
        PLAN_FAIL(p, KQ_BAD_FILE, "tensor %s is missing", full.text);
    }
}

/* ---- vectors --------------------------------------------------------------------------------- */

_Noreturn static void misshapen(struct plan *p, const struct gguf_tensor *t, int64_t n_cols,
                                int64_t n_rows, int64_t n_planes) {
    PLAN_FAIL(p, KQ_BAD_FILE, "%s: expected %lld x %lld x %lld, found %llu x %llu x %llu", t->name,
              (long long)n_cols, (long long)n_rows, (long long)n_planes,
              (unsigned long long)t->ne[0], (unsigned long long)t->ne[1],
              (unsigned long long)t->ne[2]);
}

static void check_floats(struct plan *p, const struct gguf_tensor *t) {
    if (t->type == GGML_TYPE_F32 && (uintptr_t)t->data % sizeof(float) == 0) return;
    PLAN_FAIL(p, KQ_BAD_FILE, "%s: expected aligned F32, found type %u", t->name,
              (unsigned)t->type);
}

const float *tensor_vectors(struct plan *p, const char *name, const char *suffix, int64_t n,
                            int64_t n_rows, bool needed) {
    const struct gguf_tensor *t = find(p, name, suffix, needed);
    if (!t) return NULL;
    if (t->ne[0] != (uint64_t)n || t->ne[1] != (uint64_t)n_rows || t->ne[2] != 1 || t->ne[3] != 1) {
        misshapen(p, t, n, n_rows, 1);
    }
    check_floats(p, t);
    return (const float *)t->data;
}

const float *tensor_scale(struct plan *p, const char *name) {
    // for activations in 4 bits: ours are float32
    tensor_vectors(p, name, ".input_scale", p->n_planes, 1, false);
    struct name full = name_of(p, name, ".scale");
    const struct gguf_tensor *t = gguf_find_tensor(p->g, full.text);
    if (t && p->used_tensors[t - p->g->tensors]) return NULL;
    return tensor_vectors(p, name, ".scale", p->n_planes, 1, false);
}

const float *vector(struct plan *p, const char *name, int64_t n) {
    return tensor_vectors(p, name, ".weight", n, 1, true);
}

const float *vector_if(struct plan *p, const char *name, int64_t n) {
    return tensor_vectors(p, name, ".weight", n, 1, false);
}

static const struct gguf_tensor *find_row_or_column(struct plan *p, const char *name, int64_t n,
                                                    bool needed) {
    const struct gguf_tensor *t = find(p, name, "", needed);
    if (!t) return NULL;
    bool column = t->ne[0] == 1 && t->ne[1] == (uint64_t)n;
    if ((t->ne[0] != (uint64_t)n || t->ne[1] != 1) && !column) misshapen(p, t, n, 1, 1);
    if (t->ne[2] != 1 || t->ne[3] != 1) misshapen(p, t, n, 1, 1);
    check_floats(p, t);
    return t;
}

const float *vector_named(struct plan *p, const char *name, int64_t n) {
    return (const float *)find_row_or_column(p, name, n, true)->data;
}

const float *vector_named_if(struct plan *p, const char *name, int64_t n) {
    const struct gguf_tensor *t = find_row_or_column(p, name, n, false);
    return t ? (const float *)t->data : NULL;
}

const float *tensor_groups(struct plan *p, const char *name, int64_t n, int64_t n_groups) {
    const struct gguf_tensor *t = find(p, name, ".weight", true);
    bool flat = t->ne[1] == 1;
    return tensor_vectors(p, name, ".weight", flat ? n * n_groups : n, flat ? 1 : n_groups, true);
}

const float *tensor_transposed(struct plan *p, const char *name, const char *suffix, int64_t n_cols,
                               int64_t n_rows) {
    const struct gguf_tensor *t = find(p, name, suffix, true);
    bool planes = t->ne[1] == 1 && t->ne[2] == (uint64_t)n_rows && t->ne[3] == 1;
    if (!planes || t->ne[0] != (uint64_t)n_cols)
        tensor_vectors(p, name, suffix, n_cols, n_rows, true);
    check_floats(p, t);
    const float *x = (const float *)t->data;
    float *y = plan_keep(p, (size_t)(n_cols * n_rows), sizeof *y);
    for (int64_t r = 0; r < n_rows; r++) {
        for (int64_t c = 0; c < n_cols; c++) y[c * n_rows + r] = x[r * n_cols + c];
    }
    return y;
}

/* ---- matrices -------------------------------------------------------------------------------- */

/* As one matrix of all planes' rows. n_rows 0: any number. */
static struct matrix checked_planes(struct plan *p, const struct gguf_tensor *t, int64_t n_cols,
                                    int64_t n_rows, int n_planes) {
    bool fits = t->ne[0] == (uint64_t)n_cols && t->ne[2] == (uint64_t)n_planes && t->ne[3] == 1 &&
                (n_rows ? t->ne[1] == (uint64_t)n_rows : t->ne[1] > 0) && t->ne[1] <= MAX_ROWS;
    if (!fits) misshapen(p, t, n_cols, n_rows, n_planes);
    struct matrix w = {t->type, (int64_t)(t->ne[1] * t->ne[2]), n_cols, 0, t->data};
    w.row_bytes = t->nbytes / (size_t)w.n_rows;
    if (!matmul_supports(&w, t->name, p->err)) plan_give_up(p);
    return w;
}

struct matrix tensor_planes(struct plan *p, const char *name, int64_t n_cols, int64_t n_rows,
                            int n_planes) {
    return checked_planes(p, find(p, name, ".weight", true), n_cols, n_rows, n_planes);
}

struct matrix tensor_matrix(struct plan *p, const char *name, int64_t n_cols, int64_t n_rows) {
    return tensor_planes(p, name, n_cols, n_rows, 1);
}

struct matrix matrix_rows(const struct matrix *w, int64_t row, int64_t n_rows) {
    struct matrix part = *w;
    part.data += (size_t)row * w->row_bytes;
    part.n_rows = n_rows;
    return part;
}

/* "ffn_up_exps" and 3: "ffn_up.3", as in files of early 2024. */
static struct name name_of_expert(const char *name, int e) {
    struct name one;
    size_t n = strlen(name), suffix = strlen("_exps");
    bool plural = n > suffix && strcmp(name + n - suffix, "_exps") == 0;
    snprintf(one.text, sizeof one.text, "%.*s.%d", (int)(plural ? n - suffix : n), name, e);
    return one;
}

const struct matrix *tensor_experts(struct plan *p, const char *name, int64_t n_cols,
                                    int64_t n_rows) {
    struct matrix *w = plan_keep(p, (size_t)p->n_planes, sizeof *w);
    const struct gguf_tensor *t = find(p, name, ".weight", false);
    struct matrix all = {0};
    if (t) all = checked_planes(p, t, n_cols, n_rows, p->n_planes);
    for (int e = 0; e < p->n_planes; e++) {
        w[e] = t ? matrix_rows(&all, e * n_rows, n_rows)
                 : tensor_matrix(p, name_of_expert(name, e).text, n_cols, n_rows);
    }
    return w;
}

void skip_last_layers(struct plan *p, int n) {
    if (n >= p->n_layer) {
        PLAN_FAIL(p, KQ_BAD_FILE, "%s.nextn_predict_layers is %d of %d layers", p->arch, n,
                  p->n_layer);
    }
    p->n_layer -= n;
    for (size_t i = 0; i < p->g->n_tensors; i++) {
        int il = -1, end = 0;
        sscanf(p->g->tensors[i].name, "blk.%9d.%n", &il, &end);
        if (end > 0 && il >= p->n_layer && il < p->n_layer + n) p->used_tensors[i] = true;
    }
}

void tensors_tell_unused(struct plan *p, struct line *l) {
    int n_told = 0;
    for (size_t i = 0; i < p->g->n_tensors; i++) {
        if (p->used_tensors[i]) continue;
        const char *name = p->g->tensors[i].name;
        if (n_told++ == 0) {
            line_append(l, "tensor %s is not part of a model of %s with %d layers", name, p->arch,
                        p->n_layer);
        } else if (n_told <= 4) {
            line_append(l, "%s %s", n_told == 2 ? ", nor are" : ",", name);
        }
    }
    if (n_told > 4) line_append(l, " and %d others", n_told - 4);
}
