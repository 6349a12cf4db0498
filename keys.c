/* Keys of a file's metadata as families name them, and what becomes of those that no family named.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "build.h"

/* Largest count accepted of anything: products of two fit 64 bits, one fits an int with room. */
#define MAX_COUNT (1 << 28)

/* Keys begin with the architecture's name: "llama.block_count". */
struct key {
    char text[160];
};

static struct key key_of(const struct plan *p, const char *name) {
    struct key k;
    if (name[0] == '/') {
        snprintf(k.text, sizeof k.text, "%s", name + 1);
    } else {
        snprintf(k.text, sizeof k.text, "%s.%s", p->arch, name);
    }
    return k;
}

/* NULL if it is not there; marked as used otherwise. */
static const struct gguf_kv *find(struct plan *p, const struct key *key) {
    const struct gguf_kv *kv = gguf_find(p->g, key->text);
    if (kv) p->used_keys[kv - p->g->kv] = true;
    return kv;
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* An array has an entry for each layer; those of block_count alone, until n_layer is known. */
static void check_entries(struct plan *p, const struct key *key, const struct gguf_kv *kv) {
    if (kv->n == 0) PLAN_FAIL(p, KQ_BAD_FILE, "%s is an empty array", key->text);
    if (kv->n < (uint64_t)p->n_layer) {
        PLAN_FAIL(p, KQ_BAD_FILE, "%s has %llu entries, the model has %d layers", key->text,
                  (unsigned long long)kv->n, p->n_layer);
    }
}

/* il -1: one number, or an array of equal ones. */
static int read_count(struct plan *p, const char *name, int il, int least, int otherwise) {
    struct key key = key_of(p, name);
    const struct gguf_kv *kv = find(p, &key);
    if (!kv && otherwise == NEEDED) PLAN_FAIL(p, KQ_BAD_FILE, "%s is missing", key.text);
    if (!kv) return otherwise;
    int64_t n;
    if (kv->type != GGUF_ARRAY) {
        uint32_t u = 0;
        if (gguf_get_u32(p->g, key.text, &u, p->err) < 0) plan_give_up(p);
        n = u;
    } else {
        if (gguf_get_array(p->g, key.text, GGUF_INT32, &kv, p->err) < 0) plan_give_up(p);
        check_entries(p, &key, kv);
        for (uint64_t i = 0; i < kv->n && il < 0; i++) {
            if (gguf_int_at(kv, i) == gguf_int_at(kv, 0)) continue;
            PLAN_FAIL(p, KQ_UNSUPPORTED, "%s differs from layer to layer, which is not supported",
                      key.text);
        }
        n = gguf_int_at(kv, il < 0 ? 0 : (uint64_t)il);
    }
    if (n < least || n > MAX_COUNT) {
        PLAN_FAIL(p, KQ_BAD_FILE, "%s is %lld, expected %d to %d", key.text, (long long)n, least,
                  MAX_COUNT);
    }
    return (int)n;
}

int count(struct plan *p, const char *name, int least, int otherwise) {
    return read_count(p, name, -1, least, otherwise);
}

int count_at(struct plan *p, const char *name, int il, int least, int otherwise) {
    return read_count(p, name, il, least, otherwise);
}

float number(struct plan *p, const char *name, float least, float otherwise) {
    struct key key = key_of(p, name);
    float x = otherwise;
    bool there = find(p, &key) != NULL;
    if (!there && otherwise < least) PLAN_FAIL(p, KQ_BAD_FILE, "%s is missing", key.text);
    if (!there) return x;
    if (gguf_get_f32(p->g, key.text, &x, p->err) < 0) plan_give_up(p);
    if (!(x >= least) || !isfinite(x)) {
        PLAN_FAIL(p, KQ_BAD_FILE, "%s is %g, expected a number from %g on", key.text, (double)x,
                  (double)least);
    }
    return x;
}

float number_at(struct plan *p, const char *name, int il, float least, float otherwise) {
    struct key key = key_of(p, name);
    const struct gguf_kv *kv = find(p, &key);
    if (!kv || kv->type != GGUF_ARRAY) return number(p, name, least, otherwise);
    if (gguf_get_array(p->g, key.text, GGUF_FLOAT32, &kv, p->err) < 0) plan_give_up(p);
    check_entries(p, &key, kv);
    double x = gguf_f32_at(kv, (uint64_t)il);
    if (!(x >= (double)least) || !(x <= (double)FLT_MAX)) {
        PLAN_FAIL(p, KQ_BAD_FILE, "%s is %g in layer %d, expected a number from %g on", key.text, x,
                  il, (double)least);
    }
    return (float)x;
}

float epsilon(struct plan *p, const char *name) {
    float eps = number(p, name, -1, -1);
    if (eps < 0) {
        PLAN_FAIL(p, KQ_BAD_FILE, "%s is missing or negative", key_of(p, name).text);
    }
    return eps;
}

void need_key(struct plan *p, const char *name) {
    struct key key = key_of(p, name);
    if (!find(p, &key)) PLAN_FAIL(p, KQ_BAD_FILE, "%s is missing", key.text);
}

bool flag(struct plan *p, const char *name, bool otherwise) {
    struct key key = key_of(p, name);
    bool x = otherwise;
    if (find(p, &key) && gguf_get_bool(p->g, key.text, &x, p->err) < 0) plan_give_up(p);
    return x;
}

/* ---- keys that many families have ------------------------------------------------------------ */

struct heads read_heads(struct plan *p) {
    return read_heads_at(p, -1);
}

struct heads read_heads_at(struct plan *p, int il) {
    struct heads h = {.n = read_count(p, "attention.head_count", il, 1, NEEDED)};
    h.n_kv = read_count(p, "attention.head_count_kv", il, 1, h.n);
    int first = il < 0 ? h.n : read_count(p, "attention.head_count", 0, 0, NEEDED);
    int dim = p->n_embd / (first > 0 ? first : h.n); // of all layers
    h.dim_k = read_count(p, "attention.key_length", il, 1, dim);
    h.dim_v = read_count(p, "attention.value_length", il, 1, dim);
    if (h.dim_k < 1 || h.dim_v < 1) {
        PLAN_FAIL(p, KQ_BAD_FILE, "%s: %d heads for an embedding of %d",
                  key_of(p, "attention.head_count").text, h.n, p->n_embd);
    }
    if (h.n % h.n_kv != 0) {
        PLAN_FAIL(p, KQ_BAD_FILE, "%s is %d, which does not divide the %d query heads",
                  key_of(p, "attention.head_count_kv").text, h.n_kv, h.n);
    }
    h.scale = 1.0f / sqrtf((float)h.dim_k);
    return h;
}

static enum rope_scaling read_scaling(struct plan *p, float factor) {
    static const char *const names[] = {"none", "linear", "yarn", "longrope"};
    struct key key = key_of(p, "rope.scaling.type");
    struct gguf_str type = {0};
    if (!find(p, &key)) return factor > 0 ? ROPE_LINEAR : ROPE_NONE;
    if (gguf_get_str(p->g, key.text, &type, p->err) < 0) plan_give_up(p);
    for (int i = 0; i < 4; i++) {
        if (gguf_str_eq(type, names[i])) return (enum rope_scaling)i;
    }
    PLAN_FAIL(p, KQ_UNSUPPORTED, "%s is \"%.*s\", expected none, linear, yarn or longrope",
              key.text, GGUF_SHORT(type));
}

struct rope read_rope(struct plan *p, int head_dim) {
    struct rope r = {.n_dims = count(p, "rope.dimension_count", 0, head_dim)};
    r.base = number(p, "rope.freq_base", 0, 10000);
    r.factor = number(p, "rope.scale_linear", 0, 0);
    r.factor = number(p, "rope.scaling.factor", 0, r.factor);
    r.attn_factor = number(p, "rope.scaling.attn_factor", 0, 1);
    r.beta_fast = number(p, "rope.scaling.yarn_beta_fast", 0, 32);
    r.beta_slow = number(p, "rope.scaling.yarn_beta_slow", 0, 1);
    r.log_multiplier = number(p, "rope.scaling.yarn_log_multiplier", 0, 0);
    r.ctx_orig = count(p, "rope.scaling.original_context_length", 1, p->n_ctx_train);
    r.scaling = read_scaling(p, r.factor);
    if (r.scaling == ROPE_YARN && r.factor == 0) r.factor = 1;
    if (r.n_dims > head_dim || r.n_dims % 2 != 0) {
        PLAN_FAIL(p, KQ_BAD_FILE, "%s is %d, expected an even number up to the head's %d",
                  key_of(p, "rope.dimension_count").text, r.n_dims, head_dim);
    }
    r.factors = vector_if(p, "rope_freqs", r.n_dims / 2);
    r.factors_long = vector_if(p, "rope_factors_long", r.n_dims / 2);
    r.factors_short = vector_if(p, "rope_factors_short", r.n_dims / 2);
    if (r.factors_long) need(p, "rope_factors_short.weight");
    if (r.factors_short) need(p, "rope_factors_long.weight");
    return r;
}

struct rope unscaled(struct rope r) {
    r.scaling = ROPE_NONE;
    r.attn_factor = 1;
    return r;
}

struct rope near_rope(struct plan *p, struct rope r) {
    r.base = number(p, "rope.freq_base_swa", 0, r.base);
    return r;
}

struct windows read_windows(struct plan *p, int period, int otherwise) {
    struct key key = key_of(p, "attention.sliding_window_pattern");
    struct windows w = {.n = count(p, "attention.sliding_window", 0, otherwise), .period = period};
    if (w.n == 0 && otherwise != NEEDED) w.n = otherwise;
    const struct gguf_kv *kv = find(p, &key);
    if (!kv || kv->type != GGUF_ARRAY) {
        w.period = count(p, "attention.sliding_window_pattern", 1, period);
        return w;
    }
    enum gguf_type type = kv->elem_type == GGUF_BOOL ? GGUF_BOOL : GGUF_INT32;
    if (gguf_get_array(p->g, key.text, type, &w.layers, p->err) < 0) plan_give_up(p);
    check_entries(p, &key, w.layers);
    return w;
}

int window_at(const struct windows *w, int il) {
    int skipped = w->full_first ? 0 : w->period - 1;
    bool windowed = w->period > 0 && il % w->period != skipped;
    if (w->layers) windowed = gguf_int_at(w->layers, (uint64_t)il) != 0;
    return windowed ? w->n : 0;
}

/* ---- keys that no family named --------------------------------------------------------------- */

/* What a key may say without changing what is computed. A name that ends in '*' stands for all that
 * begin so; an architecture of NULL for all. */
struct known_key {
    const char *arch, *name;
    enum { HARMLESS, ONE_OF } may; // have any value, or one of two
    double values[2];
    const char *why;
};

static const struct known_key known_keys[] = {
    {NULL, "vocab_size", HARMLESS, {0}, "the embedding has as many rows"},
    {NULL, "tensor_data_layout", HARMLESS, {0}, "a note of the converter's"},
    {NULL, "pooling_type", HARMLESS, {0}, "of embeddings of whole texts, which are not made here"},
    {NULL, "rope.dimension_sections", HARMLESS, {0}, "text has one position in all sections"},
    {NULL, "rope.scaling.finetuned", HARMLESS, {0}, "a note about the training"},
    {NULL, "vision.*", HARMLESS, {0}, "of the part that sees"},
    {NULL, "mm.*", HARMLESS, {0}, "of the part that sees"},
    {NULL, "n_deepstack_layers", HARMLESS, {0}, "of the part that sees"},
    {NULL, "attention.layer_norm_epsilon", HARMLESS, {0}, "norms are RMS, with a key of their own"},
    {NULL, "attention.layer_norm_rms_epsilon", HARMLESS, {0}, "norms are LayerNorm"},
    {NULL, "feed_forward_length", HARMLESS, {0}, "of dense layers: there are none"},
    {NULL, "attention.head_count", ONE_OF, {0, 0}, "no attention"},
    {"nemotron_h_moe", "expert_shared_count", ONE_OF, {1, 1}, "there is one"},
    {"gemma3n", "final_logit_softcapping", ONE_OF, {0, 30}, "it is 30, as the format fixes it"},
    {"plamo2", "ssm.group_count", ONE_OF, {0, 1}, "heads share B and C"},
    {NULL, "attention.causal", ONE_OF, {1, 1}, "attention looks back alone"},
    {NULL, "attention.sliding_window", ONE_OF, {0, 0}, "0: no window"},
    {NULL, "attention.max_alibi_bias", ONE_OF, {0, 0}, "0: no ALiBi"},
    {NULL, "attention.clamp_kqv", ONE_OF, {0, 0}, "0: no limit"},
    {NULL, "attention.temperature_scale", ONE_OF, {0, 0}, "0: queries are as they are"},
    {NULL, "attention.scale", ONE_OF, {0, 0}, "0: 1 / sqrt(head)"},
    {NULL, "attn_logit_softcapping", ONE_OF, {0, 0}, "0: none"},
    {NULL, "final_logit_softcapping", ONE_OF, {0, 0}, "0: none"},
    {NULL, "embedding_scale", ONE_OF, {0, 1}, "none"},
    {NULL, "residual_scale", ONE_OF, {0, 1}, "none"},
    {NULL, "logit_scale", ONE_OF, {0, 1}, "none"},
    {NULL, "rope.scaling.yarn_ext_factor", ONE_OF, {1, 1}, "what YaRN has"},
    {NULL, "rope.scaling.yarn_attn_factor", ONE_OF, {1, 1}, "what YaRN has"},
    {NULL, "nextn_predict_layers", ONE_OF, {0, 0}, "no layers but those that are run"},
    {NULL, "leading_dense_block_count", ONE_OF, {0, 0}, "all layers are alike"},
    {NULL, "use_parallel_residual", ONE_OF, {0, 0}, "attention comes first"},
    {"stablelm", "use_parallel_residual", HARMLESS, {0}, "it is if there is no second norm"},
    {"bloom", "attention.max_alibi_bias", ONE_OF, {8, 8}, "it is 8"},
    {"refact", "attention.max_alibi_bias", ONE_OF, {8, 8}, "it is 8"},
    {NULL, "expert_shared_count", ONE_OF, {0, 0}, "no shared experts"},
    {NULL, "expert_shared_feed_forward_length", ONE_OF, {0, 0}, "no shared experts"},
    {NULL, "expert_group_count", ONE_OF, {0, 1}, "no groups"},
    {NULL, "expert_group_used_count", ONE_OF, {0, 1}, "no groups"},
    {NULL, "expert_weights_norm", ONE_OF, {1, 1}, "weights add up to 1"},
    {NULL, "expert_weights_scale", ONE_OF, {0, 1}, "weights add up to 1"},
    {NULL, "expert_feed_forward_length", ONE_OF, {0, 0}, "no experts"},
    {"gpt-oss", "expert_gating_func", ONE_OF, {3, 3}, "a softmax over the chosen ones"},
    {"nemotron_h_moe", "expert_gating_func", ONE_OF, {2, 2}, "sigmoids"},
    {"mimo2", "expert_gating_func", ONE_OF, {2, 2}, "sigmoids"},
    {"qwen2moe", "expert_gating_func", ONE_OF, {1, 1}, "a softmax over all"},
    {"qwen2moe", "expert_weights_norm", ONE_OF, {0, 0}, "weights are as the softmax has them"},
    {"olmoe", "expert_gating_func", ONE_OF, {1, 1}, "a softmax over all"},
    {"olmoe", "expert_weights_norm", ONE_OF, {0, 0}, "weights are as the softmax has them"},
    {"deepseek", "expert_gating_func", ONE_OF, {1, 1}, "a softmax over all"},
    {"deepseek", "expert_weights_norm", ONE_OF, {0, 0}, "weights are as the softmax has them"},
    {"bailingmoe", "expert_gating_func", ONE_OF, {1, 1}, "a softmax over all"},
    {"ernie4_5-moe", "expert_gating_func", ONE_OF, {1, 1}, "a softmax over all"},
    {NULL, "expert_gating_func", ONE_OF, {1, 3}, "a softmax, and its weights add up to 1"},
    {"phi3", "attention.sliding_window", HARMLESS, {0}, "llama.cpp runs Phi-3 without it, too"},
    {"hy_v3", "leading_dense_block_count", HARMLESS, {0}, "a layer without a router is dense"},
    {"step35", "leading_dense_block_count", HARMLESS, {0}, "a layer without a router is dense"},
    {"mimo2", "leading_dense_block_count", HARMLESS, {0}, "a layer without a router is dense"},
    {"phimoe", "attention.sliding_window", HARMLESS, {0}, "llama.cpp runs it without, too"},
    {"mellum", "rope.freq_base_swa", HARMLESS, {0}, "llama.cpp turns all layers alike"},
    {"exaone4",
     "attention.sliding_window*",
     HARMLESS,
     {0},
     "the model of 64 layers alone has windows"},
};

static bool matches(const struct known_key *k, const struct plan *p, const char *name) {
    size_t n = strlen(k->name) - 1;
    bool same = k->name[n] == '*' ? strncmp(k->name, name, n) == 0 : strcmp(k->name, name) == 0;
    return same && (!k->arch || strcmp(k->arch, p->arch) == 0);
}

/* A number or a bool; NaN of anything else. */
static double value_of(const struct gguf_kv *kv) {
    if (kv->type == GGUF_STRING || kv->type == GGUF_ARRAY) return NAN;
    bool is_float = kv->type == GGUF_FLOAT32 || kv->type == GGUF_FLOAT64;
    return is_float ? gguf_f32_at(kv, 0) : (double)gguf_int_at(kv, 0);
}

/* What the table says of an architecture goes before what it says of all. */
static bool is_harmless(const struct plan *p, const char *name, const struct gguf_kv *kv) {
    const struct known_key *known = NULL;
    for (size_t i = 0; i < sizeof known_keys / sizeof known_keys[0]; i++) {
        const struct known_key *k = &known_keys[i];
        if (matches(k, p, name) && (!known || k->arch)) known = k;
    }
    if (!known || known->may == HARMLESS) return known != NULL;
    double x = value_of(kv);
    return x == known->values[0] || x == known->values[1];
}

static bool is_ignored(const struct plan_source *source, struct gguf_str key) {
    for (size_t i = 0; i < source->n_ignored; i++) {
        if (gguf_str_eq(key, source->ignored[i])) return true;
    }
    return false;
}

/* " (3)", " (\"text\")" or nothing. */
static struct key describe(const struct gguf_kv *kv) {
    struct key d = {""};
    double x = value_of(kv);
    if (kv->type == GGUF_STRING) {
        const uint8_t *cursor = kv->data;
        struct gguf_str s = gguf_next_str(&cursor);
        snprintf(d.text, sizeof d.text, " (\"%.*s\")", GGUF_SHORT(s));
    } else if (!isnan(x)) {
        snprintf(d.text, sizeof d.text, " (%g)", x);
    }
    return d;
}

void keys_tell_unused(struct plan *p, const struct plan_source *source, struct line *l) {
    size_t n = strlen(p->arch) + 1;
    int n_told = 0;
    for (size_t i = 0; i < p->g->n_kv; i++) {
        const struct gguf_kv *kv = &p->g->kv[i];
        bool ours = kv->key.len >= n && memcmp(kv->key.data, p->arch, n - 1) == 0 &&
                    kv->key.data[n - 1] == '.';
        if (!ours || p->used_keys[i] || is_ignored(source, kv->key)) continue;
        struct key name; // cut short it is not known either
        snprintf(name.text, sizeof name.text, "%.*s", (int)(kv->key.len - n), kv->key.data + n);
        if (strlen(name.text) == kv->key.len - n && is_harmless(p, name.text, kv)) continue;
        if (n_told++ == 0) {
            line_append(l,
                        "key %s.%s%s: this engine does not know what it does to a model of %s; "
                        "--ignore-key %s.%s runs all the same",
                        p->arch, name.text, describe(kv).text, p->arch, p->arch, name.text);
        } else {
            line_append(l, "%s %s.%s%s", n_told == 2 ? "; likewise" : ",", p->arch, name.text,
                        describe(kv).text);
        }
    }
}
