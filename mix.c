#include "mix.h"
#include "quant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum mix_number { Q4_K_S, Q4_K_M, Q5_K_S, Q5_K_M, Q6_K, Q8_0 };

static const struct mix mixes[] = {
    [Q4_K_S] = {"Q4_K_S", 14, GGML_TYPE_Q4_K}, [Q4_K_M] = {"Q4_K_M", 15, GGML_TYPE_Q4_K},
    [Q5_K_S] = {"Q5_K_S", 16, GGML_TYPE_Q5_K}, [Q5_K_M] = {"Q5_K_M", 17, GGML_TYPE_Q5_K},
    [Q6_K] = {"Q6_K", 18, GGML_TYPE_Q6_K},     [Q8_0] = {"Q8_0", 7, GGML_TYPE_Q8_0},
};

const struct mix *mix_find(const char *name) {
    for (size_t i = 0; i < sizeof mixes / sizeof mixes[0]; i++) {
        if (strcmp(name, mixes[i].name) == 0) return &mixes[i];
    }
    return NULL;
}

/* ---- kinds of tensors ------------------------------------------------------------------------ */

static bool contains(const char *name, const char *part) {
    return strstr(name, part) != NULL;
}

/* Whether a tensor is copied as it is, because it is small or delicate. */
static bool keeps_its_type(const struct gguf_tensor *t) {
    static const char *const whole_names[] = {"position_embd.weight", "token_types.weight"};
    static const char *const parts[] = {
        "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", // norms, routers
        "altup", "laurel", "per_layer_model_proj", "ssm_conv1d", "shortconv.conv.weight",
        "indexer.k_proj.weight", "indexer.q_proj.weight",
        // RWKV
        "time_mix_first.weight", "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight",
        "time_mix_v0.weight", "time_mix_v1.weight", "time_mix_v2.weight", "time_mix_a0.weight",
        "time_mix_a1.weight", "time_mix_a2.weight", "time_mix_g1.weight", "time_mix_g2.weight",
        "time_mix_decay_w1.weight", "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight",
        // encoders, pictures, sound
        "attn_rel_b.weight", ".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos",
        ".patch_embd", ".patch_merger", "a.rvq.codebook", "mm.a.code_embd"};
    size_t len = strlen(t->name);
    if (len < 6 || strcmp(t->name + len - 6, "weight") != 0) return true;
    if (t->ne[1] == 1 && t->ne[2] == 1 && t->ne[3] == 1) return true;
    for (size_t i = 0; i < sizeof whole_names / sizeof whole_names[0]; i++) {
        if (strcmp(t->name, whole_names[i]) == 0) return true;
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (contains(t->name, parts[i])) return true;
    }
    return false;
}

enum kind { OUTPUT, EMBEDDING, VALUES, KEYS, ATTN_OUTPUT, FFN_DOWN, OTHER };

/* Where keys or queries share a tensor with the values, it counts as values. */
static enum kind kind_of(const char *name) {
    if (strcmp(name, "output.weight") == 0) return OUTPUT;
    if (strcmp(name, "token_embd.weight") == 0) return EMBEDDING;
    if (strcmp(name, "per_layer_token_embd.weight") == 0) return EMBEDDING;
    if (contains(name, "attn_qkv.weight") || contains(name, "attn_kv_b.weight")) return VALUES;
    if (contains(name, "attn_v.weight")) return VALUES;
    if (contains(name, "attn_k.weight")) return KEYS;
    if (contains(name, "attn_q.weight")) return OTHER;
    if (contains(name, "attn_output.weight")) return ATTN_OUTPUT;
    if (contains(name, "ffn_up") || contains(name, "ffn_gate")) return OTHER;
    return contains(name, "ffn_down") ? FFN_DOWN : OTHER;
}

/* N of a name that begins with "blk.N."; -1 of another. */
static int64_t layer_of(const char *name) {
    unsigned layer;
    return sscanf(name, "blk.%9u.", &layer) == 1 ? (int64_t)layer : -1;
}

/* ---- the model ------------------------------------------------------------------------------- */

/* What decides the types besides a tensor's name and shape. */
struct model {
    int64_t n_layer, n_expert;
    int64_t n_values;   // tensors of this kind
    bool tied;          // no output.weight: the embedding serves for both
    bool narrow_values; // few heads of values to many of queries: 70B models of some families
    bool is_falcon;     // which has a rule of its own here and there
};

/* Reads ARCHITECTURE.name if it is there, a list's first element of lists. */
static int read_count(const struct gguf *g, struct gguf_str arch, const char *name, int64_t *count,
                      struct error *err) {
    char key[128];
    uint32_t value = 0;
    const struct gguf_kv *kv;
    snprintf(key, sizeof key, "%.*s.%s", (int)arch.len, arch.data, name);
    kv = gguf_find(g, key);
    if (kv && kv->type == GGUF_ARRAY) {
        int found = gguf_get_array(g, key, GGUF_INT32, &kv, err);
        if (found == 1 && kv->n > 0) *count = gguf_int_at(kv, 0);
        return found < 0 ? -1 : 0;
    }
    int found = gguf_get_u32(g, key, &value, err);
    if (found == 1) *count = value;
    return found < 0 ? -1 : 0;
}

static int read_model(const struct gguf *g, struct model *m, struct error *err) {
    struct gguf_str arch;
    int found = gguf_get_str(g, "general.architecture", &arch, err);
    if (found < 0) return -1;
    if (!found || arch.len > 64) {
        return error_set(err, KQ_BAD_FILE, "general.architecture: expected a short name, found %s",
                         found ? "a long one" : "none: not a model?");
    }
    int64_t n_head = 0, n_head_kv = -1;
    *m = (struct model){.tied = !gguf_find_tensor(g, "output.weight"),
                        .is_falcon = gguf_str_eq(arch, "falcon")};
    if (read_count(g, arch, "block_count", &m->n_layer, err) != 0 ||
        read_count(g, arch, "expert_count", &m->n_expert, err) != 0 ||
        read_count(g, arch, "attention.head_count", &n_head, err) != 0 ||
        read_count(g, arch, "attention.head_count_kv", &n_head_kv, err) != 0) {
        return -1;
    }
    if (n_head_kv < 0) n_head_kv = n_head;
    m->narrow_values = m->n_layer == 80 && ((gguf_str_eq(arch, "llama") && n_head != n_head_kv) ||
                                            gguf_str_eq(arch, "qwen2") ||
                                            gguf_str_eq(arch, "deci") || gguf_str_eq(arch, "olmo"));
    for (size_t i = 0; i < g->n_tensors; i++) {
        m->n_values += kind_of(g->tensors[i].name) == VALUES;
    }
    return 0;
}

/* ---- types ----------------------------------------------------------------------------------- */

/* The first and the last eighth of n, and every third between them. */
static bool gets_more_bits(int64_t i, int64_t n) {
    return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

/* The output matrix; llama.cpp looks at its rows before it knows that it gets Q6_K. */
static uint32_t type_of_output(const struct gguf_tensor *t, const struct mix *mix,
                               const struct model *m) {
    bool whole_blocks = t->ne[0] % (uint64_t)ggml_type_info(mix->type)->block_len == 0;
    bool is_q8_0 = mix->type == GGML_TYPE_Q8_0 || m->is_falcon || !whole_blocks;
    return is_q8_0 ? GGML_TYPE_Q8_0 : GGML_TYPE_Q6_K;
}

/* Values; i is how many of their kind came before. Those of 8-expert models are small and get 8
 * bits. */
static uint32_t type_of_values(int64_t i, enum mix_number number, const struct model *m) {
    uint32_t type = mixes[number].type;
    if (m->n_expert == 8) return GGML_TYPE_Q8_0;
    if (number == Q4_K_S && i < 4) type = GGML_TYPE_Q5_K;
    if ((number == Q4_K_M || number == Q5_K_M) && gets_more_bits(i, m->n_values)) {
        type = GGML_TYPE_Q6_K;
    }
    return type == GGML_TYPE_Q4_K && m->narrow_values ? GGML_TYPE_Q5_K : type;
}

/* ffn_down; i is its layer in models with experts, in others how many of its kind came before. */
static uint32_t type_of_ffn_down(int64_t i, enum mix_number number, const struct model *m) {
    bool more = gets_more_bits(i, m->n_layer);
    if (m->is_falcon && number == Q4_K_S) return GGML_TYPE_Q4_K;
    if (m->is_falcon && number == Q4_K_M && i >= m->n_layer / 16) {
        return more ? GGML_TYPE_Q5_K : GGML_TYPE_Q4_K;
    }
    if (number == Q4_K_S && i < m->n_layer / 8) return GGML_TYPE_Q5_K;
    if ((number == Q4_K_M || number == Q5_K_M) && more) return GGML_TYPE_Q6_K;
    return mixes[number].type;
}

/* A type that has whole blocks in a row of this length: the one asked for, or its fall-back. */
static uint32_t type_that_fits(uint32_t type, uint64_t row) {
    if (row % QK_K != 0) {
        type = type == GGML_TYPE_Q4_K   ? GGML_TYPE_Q5_0
               : type == GGML_TYPE_Q5_K ? GGML_TYPE_Q5_1
               : type == GGML_TYPE_Q6_K ? GGML_TYPE_Q8_0
                                        : type;
    }
    return row % QK == 0 ? type : GGML_TYPE_F16;
}

/* The tensors in the order in which llama.cpp counts them: by layer, by name within it. */
static int compare_tensors(const void *a, const void *b) {
    const struct gguf_tensor *x = *(const struct gguf_tensor *const *)a;
    const struct gguf_tensor *y = *(const struct gguf_tensor *const *)b;
    int64_t layer_x = layer_of(x->name), layer_y = layer_of(y->name);
    return layer_x != layer_y ? (layer_x > layer_y) - (layer_x < layer_y)
                              : strcmp(x->name, y->name);
}

/* Chooses the type of the next tensor; i_values and i_down count those that came before. */
static uint32_t type_of(const struct gguf_tensor *t, enum mix_number number, const struct model *m,
                        int64_t *i_values, int64_t *i_down) {
    const struct mix *mix = &mixes[number];
    switch (kind_of(t->name)) {
    case OUTPUT:
        return type_of_output(t, mix, m);
    case EMBEDDING:
        return m->tied ? type_of_output(t, mix, m) : mix->type;
    case VALUES:
        return type_of_values((*i_values)++, number, m);
    case KEYS:
        return m->n_expert == 8 ? GGML_TYPE_Q8_0 : mix->type;
    case ATTN_OUTPUT:
        if (m->n_expert == 8 && !m->is_falcon && mix->type == GGML_TYPE_Q4_K) return GGML_TYPE_Q5_K;
        return mix->type;
    case FFN_DOWN: {
        int64_t i = (*i_down)++;
        return type_of_ffn_down(m->n_expert > 1 ? layer_of(t->name) : i, number, m);
    }
    default:
        return mix->type;
    }
}

int mix_types(const struct mix *mix, const struct gguf *g, uint32_t *types, struct error *err) {
    struct model m;
    int64_t i_values = 0, i_down = 0;
    if (read_model(g, &m, err) != 0) return -1;
    const struct gguf_tensor **order = malloc((g->n_tensors + 1) * sizeof *order);
    if (!order) return error_set(err, KQ_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < g->n_tensors; i++) order[i] = &g->tensors[i];
    qsort(order, g->n_tensors, sizeof *order, compare_tensors);
    for (size_t i = 0; i < g->n_tensors; i++) {
        const struct gguf_tensor *t = order[i];
        enum mix_number number = (enum mix_number)(mix - mixes);
        uint32_t type = t->type;
        if (!keeps_its_type(t)) {
            type = type_that_fits(type_of(t, number, &m, &i_values, &i_down), t->ne[0]);
        }
        types[t - g->tensors] = type;
    }
    free(order);
    return 0;
}
