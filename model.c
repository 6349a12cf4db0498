#include "model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "matmul_q.h"

/* ------------------------------------------------------------------------------------ families */

static const struct family families[] = {
    {.arch = "llama"}, // also Mistral, Mixtral, TinyLlama, SmolLM2, Yi: rows permuted for adjacent
                       // pairs
    {.arch = "granite", .scales = true},
    {.arch = "granitemoe", .scales = true},
    {.arch = "minicpm", .scales = true},
    {.arch = "internlm2"},
    {.arch = "mistral3"},
    {.arch = "ernie4_5"},
    {.arch = "xverse"},
    {.arch = "exaone", .rope_neox = true},
    {.arch = "qwen2", .rope_neox = true},
    {.arch = "qwen2vl", .rope_neox = true}, // text has one position in all sections of rope
    {.arch = "qwen3", .rope_neox = true, .qk_norms = true},
    {.arch = "qwen3moe", .rope_neox = true, .qk_norms = true},
    {.arch = "qwen3vl", .rope_neox = true, .qk_norms = true},
    {.arch = "qwen3vlmoe", .rope_neox = true, .qk_norms = true},
    {.arch = "hunyuan-dense", .rope_neox = true, .qk_norms = true, .late_qk_norms = true},
    {.arch = "seed_oss", .rope_neox = true, .ffn_norm_is_post_attention = true},
    {.arch = "gpt-oss",
     .rope_neox = true,
     .activation = SWIGLU_OAI,
     .ffn_norm_is_post_attention = true,
     .sinks = true,
     .expert_biases = true,
     .swa_period = 2},
    {.arch = "glm4", .post_norms = true},
    {.arch = "olmo2",
     .rope_neox = true,
     .no_pre_norms = true,
     .post_norms = true,
     .qk_norms = true,
     .wide_qk_norms = true,
     .swa_period = 4,
     .swa_unscaled = true},
    {.arch = "exaone4",
     .rope_neox = true,
     .no_pre_norms = true,
     .post_norms = true,
     .qk_norms = true,
     .swa_period = 4,
     .swa_if_layers = 64,
     .swa_window = 4096,
     .global_nope = true},
    {.arch = "phi3", .rope_neox = true},
    {.arch = "gemma", .rope_neox = true, .activation = GELU, .embd_sqrt = true},
    {.arch = "gemma2",
     .rope_neox = true,
     .activation = GELU,
     .embd_sqrt = true,
     .post_norms = true,
     .softcaps = true,
     .swa_period = 2,
     .swa_window = 4096,
     .scale_by_embd_at = 46},
    {.arch = "gemma3",
     .rope_neox = true,
     .activation = GELU,
     .embd_sqrt = true,
     .qk_norms = true,
     .post_norms = true,
     .softcaps = true,
     .swa_period = 6,
     .rope_base_swa = 10000,
     .swa_unscaled = true,
     .scale_by_embd_at = 62},
    {.arch = "smollm3", .nope_period = 4},
};
#define N_FAMILIES (sizeof families / sizeof families[0])

void model_families(char *out, size_t size) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < N_FAMILIES && used < size; i++) {
        int n = snprintf(out + used, size - used, "%s%s", i ? ", " : "", families[i].arch);
        used += (size_t)n;
    }
}

static int find_family(struct model *m, const struct gguf *g, struct error *err) {
    struct gguf_str arch;
    int found = gguf_get_str(g, "general.architecture", &arch, err);
    if (found < 0) return -1;
    if (!found) return error_set(err, KQ_BAD_FILE, "general.architecture is missing: not a model");
    for (size_t i = 0; i < N_FAMILIES; i++) {
        if (gguf_str_eq(arch, families[i].arch)) m->family = &families[i];
    }
    if (m->family) return 0;
    char known[400];
    model_families(known, sizeof known);
    return error_set(err, KQ_UNSUPPORTED, "general.architecture is \"%.*s\"; this engine runs %s",
                     (int)(arch.len < 64 ? arch.len : 64), arch.data, known);
}

/* ---------------------------------------------------------------------------- hyper-parameters */

/* Keys begin with the architecture's name: "llama.block_count". */
struct key {
    char text[128];
};

static struct key key_of(const struct model *m, const char *name) {
    struct key k;
    snprintf(k.text, sizeof k.text, "%s.%s", m->family->arch, name);
    return k;
}

/* Largest count accepted of anything: products of two fit 64 bits, one fits an int with room. */
#define MAX_COUNT (1 << 28)
/* Choosing among experts takes time that the file's length does not bound; models have up to 512.
 */
#define MAX_EXPERTS 1024

/* A count, at least `least`; left alone if the key is missing. An array (one entry a layer, in some
 * files) must have equal entries. */
static int read_count(const struct model *m, const struct gguf *g, const char *name, int least,
                      int *value, struct error *err) {
    struct key key = key_of(m, name);
    uint32_t u = 0;
    int64_t count;
    const struct gguf_kv *kv = gguf_find(g, key.text);
    if (!kv) return 0;
    if (kv->type == GGUF_ARRAY) {
        if (gguf_get_array(g, key.text, GGUF_INT32, &kv, err) < 0) return -1;
        for (uint64_t i = 0; i < kv->n; i++) {
            if (gguf_int_at(kv, i) != gguf_int_at(kv, 0)) {
                return error_set(err, KQ_UNSUPPORTED,
                                 "%s differs from layer to layer, which is not supported",
                                 key.text);
            }
        }
        if (kv->n == 0) return error_set(err, KQ_BAD_FILE, "%s is an empty array", key.text);
        count = gguf_int_at(kv, 0);
    } else {
        if (gguf_get_u32(g, key.text, &u, err) < 0) return -1;
        count = u;
    }
    if (count < least || count > MAX_COUNT) {
        return error_set(err, KQ_BAD_FILE, "%s is %lld, expected %d to %d", key.text,
                         (long long)count, least, MAX_COUNT);
    }
    *value = (int)count;
    return 0;
}

static int need_count(const struct model *m, const struct gguf *g, const char *name, int *value,
                      struct error *err) {
    *value = 0;
    if (read_count(m, g, name, 1, value, err) < 0) return -1;
    if (*value == 0) return error_set(err, KQ_BAD_FILE, "%s is missing", key_of(m, name).text);
    return 0;
}

static int read_f32(const struct model *m, const struct gguf *g, const char *name, float least,
                    float *value, struct error *err) {
    struct key key = key_of(m, name);
    if (gguf_get_f32(g, key.text, value, err) < 0) return -1;
    if (!(*value >= least) || !isfinite(*value)) {
        return error_set(err, KQ_BAD_FILE, "%s is %g, expected a number from %g on", key.text,
                         (double)*value, (double)least);
    }
    return 0;
}

/* Which layers have a sliding window: a period, or a bool for each layer. */
static int read_windows(struct model *m, const struct gguf *g, struct error *err) {
    static const char pattern[] = "attention.sliding_window_pattern";
    const struct family *f = m->family;
    struct hparams *hp = &m->hp;
    if (read_count(m, g, "attention.sliding_window", 0, &hp->n_window, err) < 0) return -1;
    if (f->swa_period == 0 || (f->swa_if_layers > 0 && hp->n_layer != f->swa_if_layers)) return 0;
    if (!hp->n_window) hp->n_window = f->swa_window;
    hp->swa_period = f->swa_period;
    const struct key key = key_of(m, pattern);
    const struct gguf_kv *kv = gguf_find(g, key.text);
    if (!kv || kv->type != GGUF_ARRAY) return read_count(m, g, pattern, 1, &hp->swa_period, err);
    if (gguf_get_array(g, key.text, GGUF_BOOL, &hp->swa_layers, err) < 0) return -1;
    if (kv->n >= (uint64_t)hp->n_layer) return 0;
    return error_set(err, KQ_BAD_FILE, "%s: has %llu entries, the model has %d layers", key.text,
                     (unsigned long long)kv->n, hp->n_layer);
}

static int read_attention(struct model *m, const struct gguf *g, struct error *err) {
    struct hparams *hp = &m->hp;
    if (need_count(m, g, "attention.head_count", &hp->n_head, err) < 0) return -1;
    hp->n_head_kv = hp->n_head;
    hp->head_dim_k = hp->n_embd / hp->n_head;
    if (read_count(m, g, "attention.head_count_kv", 1, &hp->n_head_kv, err) < 0 ||
        read_count(m, g, "attention.key_length", 1, &hp->head_dim_k, err) < 0) {
        return -1;
    }
    hp->head_dim_v = hp->head_dim_k;
    hp->rms_eps = -1;
    if (read_count(m, g, "attention.value_length", 1, &hp->head_dim_v, err) < 0 ||
        read_f32(m, g, "attention.layer_norm_rms_epsilon", -1, &hp->rms_eps, err) < 0) {
        return -1;
    }
    if (hp->rms_eps < 0) {
        return error_set(err, KQ_BAD_FILE, "%s is missing or negative",
                         key_of(m, "attention.layer_norm_rms_epsilon").text);
    }
    if (hp->head_dim_k < 1) {
        return error_set(err, KQ_BAD_FILE, "%s: %d heads for an embedding of %d",
                         key_of(m, "attention.head_count").text, hp->n_head, hp->n_embd);
    }
    if (hp->n_head % hp->n_head_kv != 0) {
        return error_set(err, KQ_BAD_FILE, "%s is %d, which does not divide the %d query heads",
                         key_of(m, "attention.head_count_kv").text, hp->n_head_kv, hp->n_head);
    }
    float dims = (float)(hp->n_layer == m->family->scale_by_embd_at ? hp->n_embd / hp->n_head
                                                                    : hp->head_dim_k);
    hp->attn_scale = 1.0f / sqrtf(dims);
    if (strcmp(m->family->arch, "gemma2") == 0) { // the defaults of files written before the keys
        hp->attn_softcap = 50;
        hp->final_softcap = 30;
        if (read_f32(m, g, "attn_logit_softcapping", 0, &hp->attn_softcap, err) < 0) return -1;
    }
    if (read_windows(m, g, err) < 0) return -1;
    if (!m->family->softcaps) return 0;
    return read_f32(m, g, "final_logit_softcapping", 0, &hp->final_softcap, err);
}

static int read_rope(struct model *m, const struct gguf *g, struct error *err) {
    static const char *const scalings[] = {"none", "linear", "yarn", "longrope"};
    struct hparams *hp = &m->hp;
    hp->rope_dim = hp->head_dim_k;
    hp->rope_base = 10000;
    hp->rope_attn_factor = 1;
    hp->yarn_beta_fast = 32;
    hp->yarn_beta_slow = 1;
    hp->rope_ctx_orig = hp->n_ctx_train;
    struct gguf_str type = {0};
    if (read_count(m, g, "rope.dimension_count", 0, &hp->rope_dim, err) < 0 ||
        read_f32(m, g, "rope.freq_base", 0, &hp->rope_base, err) < 0 ||
        read_f32(m, g, "rope.scale_linear", 0, &hp->rope_factor, err) < 0 ||
        read_f32(m, g, "rope.scaling.factor", 0, &hp->rope_factor, err) < 0 ||
        read_f32(m, g, "rope.scaling.attn_factor", 0, &hp->rope_attn_factor, err) < 0 ||
        read_f32(m, g, "rope.scaling.yarn_beta_fast", 0, &hp->yarn_beta_fast, err) < 0 ||
        read_f32(m, g, "rope.scaling.yarn_beta_slow", 0, &hp->yarn_beta_slow, err) < 0 ||
        read_count(m, g, "rope.scaling.original_context_length", 1, &hp->rope_ctx_orig, err) < 0 ||
        gguf_get_str(g, key_of(m, "rope.scaling.type").text, &type, err) < 0) {
        return -1;
    }
    hp->rope_base_swa = m->family->rope_base_swa > 0 ? m->family->rope_base_swa : hp->rope_base;
    if (read_f32(m, g, "rope.freq_base_swa", 0, &hp->rope_base_swa, err) < 0) return -1;
    if (hp->rope_dim > hp->head_dim_k || hp->rope_dim % 2 != 0) {
        return error_set(err, KQ_BAD_FILE, "%s is %d, expected an even number up to the head's %d",
                         key_of(m, "rope.dimension_count").text, hp->rope_dim, hp->head_dim_k);
    }
    if (!(hp->rope_base > 0) || !(hp->rope_base_swa > 0)) {
        return error_set(err, KQ_BAD_FILE, "%s is not above 0", key_of(m, "rope.freq_base").text);
    }
    if (!type.data) {
        hp->rope_scaling = hp->rope_factor > 0 ? ROPE_LINEAR : ROPE_NONE;
        return 0;
    }
    for (int i = 0; i < 4; i++) {
        if (gguf_str_eq(type, scalings[i])) {
            hp->rope_scaling = (enum rope_scaling)i;
            return 0;
        }
    }
    return error_set(err, KQ_UNSUPPORTED, "%s is \"%.*s\", expected none, linear, yarn or longrope",
                     key_of(m, "rope.scaling.type").text, (int)(type.len < 64 ? type.len : 64),
                     type.data);
}

static int read_scales(struct model *m, const struct gguf *g, struct error *err) {
    struct hparams *hp = &m->hp;
    float scale = 0;
    if (read_f32(m, g, "embedding_scale", 0, &hp->embd_scale, err) < 0 ||
        read_f32(m, g, "residual_scale", 0, &hp->residual_scale, err) < 0 ||
        read_f32(m, g, "logit_scale", 0, &hp->logit_scale, err) < 0 ||
        read_f32(m, g, "attention.scale", 0, &scale, err) < 0) {
        return -1;
    }
    if (hp->logit_scale > 0) hp->logit_scale = 1 / hp->logit_scale; // the file has the divisor
    if (scale > 0) hp->attn_scale = scale;
    return 0;
}

static int read_hparams(struct model *m, const struct gguf *g, struct error *err) {
    struct hparams *hp = &m->hp;
    hp->residual_scale = hp->logit_scale = 1;
    if (need_count(m, g, "embedding_length", &hp->n_embd, err) < 0 ||
        need_count(m, g, "block_count", &hp->n_layer, err) < 0 ||
        need_count(m, g, "context_length", &hp->n_ctx_train, err) < 0 ||
        read_attention(m, g, err) < 0 || read_rope(m, g, err) < 0 ||
        read_count(m, g, "expert_count", 0, &hp->n_expert, err) < 0 ||
        read_count(m, g, "expert_used_count", 0, &hp->n_expert_used, err) < 0) {
        return -1;
    }
    hp->embd_scale = m->family->embd_sqrt ? sqrtf((float)hp->n_embd) : 1;
    if (m->family->scales && read_scales(m, g, err) < 0) return -1;
    if (hp->n_expert == 0) hp->n_expert_used = 0;
    if (hp->n_expert > MAX_EXPERTS) {
        return error_set(err, KQ_UNSUPPORTED, "%s is %d, at most %d are supported",
                         key_of(m, "expert_count").text, hp->n_expert, MAX_EXPERTS);
    }
    if (hp->n_expert > 0 && (hp->n_expert_used < 1 || hp->n_expert_used > hp->n_expert)) {
        return error_set(err, KQ_BAD_FILE, "%s is %d of %d experts",
                         key_of(m, "expert_used_count").text, hp->n_expert_used, hp->n_expert);
    }
    if ((uint64_t)hp->n_layer > g->n_tensors) {
        return error_set(err, KQ_BAD_FILE, "%s is %d, but the file has %zu tensors",
                         key_of(m, "block_count").text, hp->n_layer, g->n_tensors);
    }
    return 0;
}

/* ------------------------------------------------------------------------------------- weights */

/* Binding stops at the first error; later calls do nothing. */
struct binder {
    const struct gguf *g;
    struct error *err;
    bool *bound; // of each tensor in the file
    int layer;   // of names with a %d
    bool failed;
};

enum need { REQUIRED, OPTIONAL };

static const struct gguf_tensor *bind_tensor(struct binder *b, const char *format, char name[64],
                                             enum need need) {
    if (b->failed || !format) return NULL; // NULL: the family has no such tensor
    snprintf(name, 64, format, b->layer);
    const struct gguf_tensor *t = gguf_find_tensor(b->g, name);
    if (t) b->bound[t - b->g->tensors] = true;
    if (t || need == OPTIONAL) return t;
    error_set(b->err, KQ_BAD_FILE, "tensor %s is missing", name);
    b->failed = true;
    return NULL;
}

static void misshapen(struct binder *b, const struct gguf_tensor *t, int64_t n_cols, int64_t n_rows,
                      int64_t n_planes) {
    b->failed = true;
    error_set(b->err, KQ_BAD_FILE, "%s: expected %lld x %lld x %lld, found %llu x %llu x %llu",
              t->name, (long long)n_cols, (long long)n_rows, (long long)n_planes,
              (unsigned long long)t->ne[0], (unsigned long long)t->ne[1],
              (unsigned long long)t->ne[2]);
}

/* (n_planes, n_rows, n_cols), as one matrix of all planes' rows. n_rows 0: any number. */
static struct matrix bind_planes(struct binder *b, const char *format, enum need need,
                                 int64_t n_cols, int64_t n_rows, int n_planes) {
    char name[64];
    const struct matrix none = {0};
    const struct gguf_tensor *t = bind_tensor(b, format, name, need);
    if (!t) return none;
    bool fits = t->ne[0] == (uint64_t)n_cols && t->ne[2] == (uint64_t)n_planes && t->ne[3] == 1 &&
                (n_rows ? t->ne[1] == (uint64_t)n_rows : t->ne[1] > 0) && t->ne[1] <= MAX_COUNT;
    if (!fits) {
        misshapen(b, t, n_cols, n_rows, n_planes);
        return none;
    }
    struct matrix w = {t->type, (int64_t)(t->ne[1] * t->ne[2]), n_cols, 0, t->data};
    w.row_bytes = t->nbytes / (size_t)w.n_rows;
    if (matmul_supports(&w, t->name, b->err)) return w;
    b->failed = true;
    return none;
}

static struct matrix bind_matrix(struct binder *b, const char *format, enum need need,
                                 int64_t n_cols, int64_t n_rows) {
    return bind_planes(b, format, need, n_cols, n_rows, 1);
}

/* (n_rows, n), one row after the other */
static const float *bind_vectors(struct binder *b, const char *format, enum need need, int64_t n,
                                 int64_t n_rows) {
    char name[64];
    const struct gguf_tensor *t = bind_tensor(b, format, name, need);
    if (!t) return NULL;
    if (t->ne[0] != (uint64_t)n || t->ne[1] != (uint64_t)n_rows || t->ne[2] != 1 || t->ne[3] != 1) {
        misshapen(b, t, n, n_rows, 1);
    } else if (t->type != GGML_TYPE_F32 || (uintptr_t)t->data % sizeof(float) != 0) {
        error_set(b->err, KQ_BAD_FILE, "%s: expected aligned F32, found type %u", t->name,
                  (unsigned)t->type);
        b->failed = true;
    }
    return b->failed ? NULL : t->data;
}

static const float *bind_vector(struct binder *b, const char *format, enum need need, int64_t n) {
    return bind_vectors(b, format, need, n, 1);
}

static struct matrix rows_of(const struct matrix *w, int64_t row, int64_t n_rows) {
    struct matrix part = *w;
    if (w->data) part.data += (size_t)row * w->row_bytes; // else binding has failed
    part.n_rows = n_rows;
    return part;
}

static enum need needed(bool required) {
    return required ? REQUIRED : OPTIONAL;
}

static void bind_attention(struct binder *b, const struct model *m, struct layer *l) {
    const struct hparams *hp = &m->hp;
    const struct family *f = m->family;
    enum need post = needed(f->post_norms), qk = needed(f->qk_norms);
    int64_t nq = (int64_t)hp->n_head * hp->head_dim_k, nk = (int64_t)hp->n_head_kv * hp->head_dim_k;
    int64_t nv = (int64_t)hp->n_head_kv * hp->head_dim_v, no = (int64_t)hp->n_head * hp->head_dim_v;
    const char *first = f->no_pre_norms ? NULL : "blk.%d.attn_norm.weight";
    const char *last = f->ffn_norm_is_post_attention ? NULL : "blk.%d.post_attention_norm.weight";
    l->attn_norm = bind_vector(b, first, REQUIRED, hp->n_embd);
    l->attn_post_norm = bind_vector(b, last, post, hp->n_embd);
    struct matrix qkv =
        bind_matrix(b, "blk.%d.attn_qkv.weight", OPTIONAL, hp->n_embd, nq + nk + nv);
    if (qkv.data) { // fused: three runs of rows
        l->q = rows_of(&qkv, 0, nq);
        l->k = rows_of(&qkv, nq, nk);
        l->v = rows_of(&qkv, nq + nk, nv);
        const float *bias = bind_vector(b, "blk.%d.attn_qkv.bias", OPTIONAL, nq + nk + nv);
        l->q_bias = bias;
        l->k_bias = bias ? bias + nq : NULL;
        l->v_bias = bias ? bias + nq + nk : NULL;
    } else {
        l->q = bind_matrix(b, "blk.%d.attn_q.weight", REQUIRED, hp->n_embd, nq);
        l->k = bind_matrix(b, "blk.%d.attn_k.weight", REQUIRED, hp->n_embd, nk);
        l->v = bind_matrix(b, "blk.%d.attn_v.weight", REQUIRED, hp->n_embd, nv);
        l->q_bias = bind_vector(b, "blk.%d.attn_q.bias", OPTIONAL, nq);
        l->k_bias = bind_vector(b, "blk.%d.attn_k.bias", OPTIONAL, nk);
        l->v_bias = bind_vector(b, "blk.%d.attn_v.bias", OPTIONAL, nv);
    }
    int64_t q_normed = f->wide_qk_norms ? nq : hp->head_dim_k;
    int64_t k_normed = f->wide_qk_norms ? nk : hp->head_dim_k;
    l->q_norm = bind_vector(b, "blk.%d.attn_q_norm.weight", qk, q_normed);
    l->k_norm = bind_vector(b, "blk.%d.attn_k_norm.weight", qk, k_normed);
    l->o = bind_matrix(b, "blk.%d.attn_output.weight", REQUIRED, no, hp->n_embd);
    l->o_bias = bind_vector(b, "blk.%d.attn_output.bias", OPTIONAL, hp->n_embd);
    if (f->sinks) l->sinks = bind_vector(b, "blk.%d.attn_sinks.weight", REQUIRED, hp->n_head);
}

static void bind_dense(struct binder *b, const struct hparams *hp, struct ffn *ffn) {
    ffn->gate = bind_matrix(b, "blk.%d.ffn_gate.weight", OPTIONAL, hp->n_embd, hp->n_ff);
    if (ffn->gate.data || b->failed) {
        ffn->up = bind_matrix(b, "blk.%d.ffn_up.weight", REQUIRED, hp->n_embd, hp->n_ff);
    } else { // fused: gate, then up
        struct matrix both =
            bind_matrix(b, "blk.%d.ffn_up.weight", REQUIRED, hp->n_embd, 2 * (int64_t)hp->n_ff);
        ffn->gate = rows_of(&both, 0, hp->n_ff);
        ffn->up = rows_of(&both, hp->n_ff, hp->n_ff);
    }
    ffn->down = bind_matrix(b, "blk.%d.ffn_down.weight", REQUIRED, hp->n_ff, hp->n_embd);
}

/* One 3-D tensor for all experts or, in files of early 2024, one tensor each. */
static struct matrix bind_expert(struct binder *b, const struct matrix *all, const char *kind,
                                 int e, int64_t n_cols, int64_t n_rows) {
    char format[64];
    if (all->data) return rows_of(all, e * n_rows, n_rows);
    snprintf(format, sizeof format, "blk.%%d.ffn_%s.%d.weight", kind, e);
    return bind_matrix(b, format, REQUIRED, n_cols, n_rows);
}

static void bind_experts(struct binder *b, const struct model *m, struct layer *l) {
    const struct hparams *hp = &m->hp;
    int n = hp->n_expert, n_embd = hp->n_embd, n_ff = hp->n_ff;
    l->router = bind_matrix(b, "blk.%d.ffn_gate_inp.weight", REQUIRED, n_embd, n);
    struct matrix gates = bind_planes(b, "blk.%d.ffn_gate_exps.weight", OPTIONAL, n_embd, n_ff, n);
    struct matrix ups = bind_planes(b, "blk.%d.ffn_up_exps.weight", OPTIONAL, n_embd, n_ff, n);
    struct matrix downs = bind_planes(b, "blk.%d.ffn_down_exps.weight", OPTIONAL, n_ff, n_embd, n);
    for (int e = 0; e < n && !b->failed; e++) {
        l->experts[e].gate = bind_expert(b, &gates, "gate", e, n_embd, n_ff);
        l->experts[e].up = bind_expert(b, &ups, "up", e, n_embd, n_ff);
        l->experts[e].down = bind_expert(b, &downs, "down", e, n_ff, n_embd);
    }
    if (!m->family->expert_biases) return;
    l->router_bias = bind_vector(b, "blk.%d.ffn_gate_inp.bias", REQUIRED, n);
    const float *gate = bind_vectors(b, "blk.%d.ffn_gate_exps.bias", REQUIRED, n_ff, n);
    const float *up = bind_vectors(b, "blk.%d.ffn_up_exps.bias", REQUIRED, n_ff, n);
    const float *down = bind_vectors(b, "blk.%d.ffn_down_exps.bias", REQUIRED, n_embd, n);
    for (int e = 0; e < n && !b->failed; e++) {
        l->experts[e].gate_bias = gate + (size_t)e * (size_t)n_ff;
        l->experts[e].up_bias = up + (size_t)e * (size_t)n_ff;
        l->experts[e].down_bias = down + (size_t)e * (size_t)n_embd;
    }
}

static void bind_layer(struct binder *b, const struct model *m, int il, struct layer *l) {
    const struct hparams *hp = &m->hp;
    const struct family *f = m->family;
    b->layer = il;
    bind_attention(b, m, l);
    const char *first = f->no_pre_norms                 ? NULL
                        : f->ffn_norm_is_post_attention ? "blk.%d.post_attention_norm.weight"
                                                        : "blk.%d.ffn_norm.weight";
    l->ffn_norm = bind_vector(b, first, REQUIRED, hp->n_embd);
    l->ffn_post_norm =
        bind_vector(b, "blk.%d.post_ffw_norm.weight", needed(f->post_norms), hp->n_embd);
    if (hp->n_expert > 0) {
        bind_experts(b, m, l);
    } else {
        bind_dense(b, hp, &l->dense);
    }
    bool windowed = hp->swa_period > 0 && il % hp->swa_period < hp->swa_period - 1;
    if (hp->swa_layers) windowed = gguf_int_at(hp->swa_layers, (uint64_t)il) != 0;
    l->window = windowed ? hp->n_window : 0;
    bool nope = f->nope_period > 0 && (il + 1) % f->nope_period == 0;
    if (f->global_nope) nope = !windowed && hp->swa_period > 0;
    l->rope = !nope;
}

/* The sizes that the metadata may leave out come from the first layer's tensors. */
static int find_n_ff(struct model *m, const struct gguf *g, struct error *err) {
    struct hparams *hp = &m->hp;
    if (read_count(m, g, "feed_forward_length", 1, &hp->n_ff, err) < 0) return -1;
    if (hp->n_expert > 0 && read_count(m, g, "expert_feed_forward_length", 1, &hp->n_ff, err) < 0) {
        return -1;
    }
    if (hp->n_ff > 0) return 0;
    return error_set(err, KQ_BAD_FILE, "%s is missing", key_of(m, "feed_forward_length").text);
}

/* What is left over would have changed the results: a bias, a norm, a layer more than announced. */
static int all_bound(const struct binder *b, const struct model *m) {
    for (size_t i = 0; i < b->g->n_tensors; i++) {
        if (b->bound[i]) continue;
        return error_set(b->err, KQ_UNSUPPORTED,
                         "tensor %s is not part of a model of %s with %d layers",
                         b->g->tensors[i].name, m->family->arch, m->hp.n_layer);
    }
    return 0;
}

static int bind_all(struct binder *b, struct model *m) {
    struct hparams *hp = &m->hp;
    m->token_embd = bind_matrix(b, "token_embd.weight", REQUIRED, hp->n_embd, 0);
    hp->n_vocab = (int)m->token_embd.n_rows;
    m->output_norm = bind_vector(b, "output_norm.weight", REQUIRED, hp->n_embd);
    m->output = bind_matrix(b, "output.weight", OPTIONAL, hp->n_embd, hp->n_vocab);
    if (!m->output.data) m->output = m->token_embd;
    int64_t half = hp->rope_dim / 2;
    m->rope_factors = bind_vector(b, "rope_freqs.weight", OPTIONAL, half);
    m->rope_factors_long = bind_vector(b, "rope_factors_long.weight", OPTIONAL, half);
    m->rope_factors_short = bind_vector(b, "rope_factors_short.weight", OPTIONAL, half);
    for (int il = 0; il < hp->n_layer && !b->failed; il++) {
        m->layers[il].experts = m->experts + (size_t)il * (size_t)hp->n_expert;
        bind_layer(b, m, il, &m->layers[il]);
    }
    return b->failed ? -1 : all_bound(b, m);
}

int model_open(struct model *m, const struct gguf *g, struct error *err) {
    *m = (struct model){0};
    struct hparams *hp = &m->hp;
    if (find_family(m, g, err) < 0 || read_hparams(m, g, err) < 0 || find_n_ff(m, g, err) < 0) {
        return -1;
    }
    size_t n_layer = (size_t)hp->n_layer, n_experts = n_layer * (size_t)hp->n_expert;
    if (n_experts > g->mapped_bytes / 3) { // a matrix has at least a byte
        return error_set(err, KQ_BAD_FILE,
                         "%d experts in %d layers announced in a file of %zu bytes", hp->n_expert,
                         hp->n_layer, g->mapped_bytes);
    }
    struct binder b = {.g = g, .err = err, .bound = calloc(g->n_tensors, sizeof *b.bound)};
    m->layers = calloc(n_layer, sizeof *m->layers);
    m->experts = calloc(n_experts + 1, sizeof *m->experts);
    int result = -1;
    if (b.bound && m->layers && m->experts) {
        result = bind_all(&b, m);
    } else {
        error_set(err, KQ_NO_MEMORY, "out of memory for the list of %zu layers", n_layer);
    }
    free(b.bound);
    if (result < 0) model_close(m);
    return result;
}

void model_close(struct model *m) {
    free(m->layers);
    free(m->experts);
    *m = (struct model){0};
}

static void add_work(struct model_work *work, const struct matrix *w, int times) {
    if (!w->data) return;
    work->macs += times * w->n_rows * w->n_cols;
    work->bytes += times * w->n_rows * (int64_t)w->row_bytes;
}

struct model_work model_work(const struct model *m) {
    struct model_work work = {0};
    add_work(&work, &m->output, 1);
    for (int il = 0; il < m->hp.n_layer; il++) {
        const struct layer *l = &m->layers[il];
        const struct matrix *all[] = {&l->q, &l->k, &l->v, &l->o, &l->router};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) add_work(&work, all[i], 1);
        const struct ffn *ffn = m->hp.n_expert > 0 ? l->experts : &l->dense;
        int times = m->hp.n_expert > 0 ? m->hp.n_expert_used : 1;
        add_work(&work, &ffn->gate, times);
        add_work(&work, &ffn->up, times);
        add_work(&work, &ffn->down, times);
    }
    return work;
}
