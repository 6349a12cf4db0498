/* Golden models, written by others, with one thing in the file made wrong: a tensor or a key that
 * is missing or that nobody asks for, a matrix that lies on its side, a dimension that is too small
 * must be refused by name, in every family. */
#include <dirent.h>

#include "model.h"
#include "test.h"

#define MODELS "test/data/models/"

static uint8_t *read_file(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) return NULL;
    *size = (size_t)ftell(f);
    rewind(f);
    uint8_t *file = malloc(*size);
    size_t n = file ? fread(file, 1, *size, f) : 0;
    fclose(f);
    return n == *size ? file : NULL;
}

/* "" or why the file does not open. */
static const char *open_message(const uint8_t *file, size_t size) {
    static struct error err;
    struct gguf g;
    struct model m;
    err.text[0] = '\0';
    if (gguf_parse(&g, file, size, &err) != 0) return err.text;
    if (model_open(&m, &g, NULL, &err) == 0) {
        model_close(&m);
        err.text[0] = '\0';
    }
    gguf_close(&g);
    return err.text;
}

/* Where a string of the header begins, after its length. */
static uint8_t *find_string(uint8_t *file, size_t size, const char *text, size_t len) {
    for (size_t i = 0; i + 8 + len <= size; i++) {
        uint64_t n;
        memcpy(&n, file + i, sizeof n);
        if (n == len && memcmp(file + i + 8, text, len) == 0) return file + i + 8;
    }
    return NULL;
}

/* With another letter the name is missing, or the new one is left over. */
static void check_renamed(const char *model, uint8_t *file, size_t size, uint8_t *letter,
                          const char *name) {
    uint8_t old = *letter;
    *letter = '#';
    CHECK(open_message(file, size)[0], "%s runs without %s", model, name);
    *letter = old;
}

/* What a file may lack: it is another model then, or the same one in the files of another year. All
 * else that a golden file has is what every model of its architecture has: without it none runs. */
struct optional {
    const char *model, *name; // up to a '-', or all; NULL: any
};

static const struct optional optional_tensors[] = {
    // without "blk.N."
    {NULL, "output.weight"}, // token_embd serves for both
    {NULL, "attn_q.bias"},
    {NULL, "attn_k.bias"},
    {NULL, "attn_v.bias"},
    {"apertus", "rope_freqs.weight"},
    {"bailingmoe2", "exp_probs_b.bias"},
    {"chatglm", "attn_qkv.bias"},
    {"codeshell", "token_embd.weight"},
    {"deepseek2", "exp_probs_b.bias"},
    {"dots1", "exp_probs_b.bias"},
    {"ernie4_5-moe", "exp_probs_b.bias"},
    {"exaone", "rope_freqs.weight"},
    {"exaone-moe", "exp_probs_b.bias"},
    {"exaone4", "rope_freqs.weight"},
    {"falcon-40b", "attn_norm_2.weight"},
    {"gemma3n", "attn_k.weight"}, // of layers that use others' keys and values
    {"gemma3n", "attn_k_norm.weight"},
    {"gemma3n", "attn_v.weight"},
    {"gemma4", "attn_v.weight"},
    {"gemma4", "layer_output_scale.weight"},
    {"glm4moe-qknorm", "attn_k_norm.weight"},
    {"glm4moe-qknorm", "attn_q_norm.weight"},
    {"hy_v3", "exp_probs_b"},
    {"llama-nvfp4", "scale"},
    {"llama-nvfp4", "input_scale"},
    {"llama3", "rope_freqs.weight"},
    {"llama4", "rope_freqs.weight"},
    {"mimo2", "attn_sinks.weight"},
    {"mimo2", "exp_probs_b.bias"},
    {"mpt-normed", ""}, // MPT's biases and norms of heads
    {"mpt-positions", "position_embd.weight"},
    {"qwen3moe-nvfp4", "scale"},
    {"qwen3moe-nvfp4", "input_scale"},
    {"stablelm", "ffn_norm.weight"}, // the branches are parallel
    {"stablelm-12b", "attn_q_norm.weight"},
    {"step35", "exp_probs_b.bias"},
    {"step35", "rope_freqs.weight"},
};

static const struct optional optional_keys[] = {
    // without the architecture; those that have a default
    {NULL, "attention.clamp_kqv"},
    {"mamba", "attention.head_count"},
    {"mamba2", "attention.head_count"},
    {NULL, "attention.head_count_kv"},
    {NULL, "attention.key_length"},
    {NULL, "attention.key_length_mla"},
    {"nemotron_h", "attention.layer_norm_epsilon"},
    {"nemotron_h_moe", "attention.layer_norm_epsilon"},
    {"mpt", "attention.max_alibi_bias"},
    {"deepseek2-lite", "attention.q_lora_rank"},
    {"deepseek2-old", "attention.q_lora_rank"},
    {NULL, "attention.scale"},
    {"gemma4-26b", "attention.shared_kv_layers"},
    {"gemma4-31b", "attention.shared_kv_layers"},
    {"gemma2", "attention.sliding_window"},
    {"gemma3", "attention.sliding_window"},
    {"laguna", "attention.sliding_window"},
    {"mellum", "attention.sliding_window"},
    {"olmo3", "attention.sliding_window"},
    {"plamo3", "attention.sliding_window"},
    {"smallthinker", "attention.sliding_window"},
    {"afmoe", "attention.sliding_window_pattern"},
    {"exaone", "attention.sliding_window_pattern"},
    {"gemma3n", "attention.sliding_window_pattern"},
    {"mellum", "attention.sliding_window_pattern"},
    {"olmo3", "attention.sliding_window_pattern"},
    {"plamo3", "attention.sliding_window_pattern"},
    {NULL, "attention.temperature_length"},
    {NULL, "attention.temperature_scale"},
    {NULL, "attention.value_length"},
    {"deepseek2-lite", "attention.value_length_mla"},
    {"deepseek2-v3", "attention.value_length_mla"},
    {"kimi", "attention.value_length_mla"},
    {"mistral4", "attention.value_length_mla"},
    {NULL, "attention.value_length_swa"},
    {NULL, "attention.value_scale"},
    {NULL, "attn_logit_softcapping"},
    {"gemma4-26b", "embedding_length_per_layer_input"},
    {"gemma4-31b", "embedding_length_per_layer_input"},
    {NULL, "embedding_scale"},
    {"granitehybrid", "expert_feed_forward_length"},
    {"granitemoe", "expert_feed_forward_length"},
    {"hunyuan", "expert_feed_forward_length"},
    {"minimax", "expert_feed_forward_length"},
    {"olmoe", "expert_feed_forward_length"},
    {"phimoe", "expert_feed_forward_length"},
    {"qwen3moe-iq", "expert_feed_forward_length"},
    {"qwen3moe-nvfp4", "expert_feed_forward_length"},
    {NULL, "expert_gating_func"},
    {NULL, "expert_group_count"},
    {"deepseek2-glm", "expert_group_used_count"},
    {"nemotron_h_moe", "expert_group_used_count"},
    {"bailingmoe2", "expert_shared_count"},
    {"exaone", "expert_shared_count"},
    {"nemotron_h_moe", "expert_shared_count"},
    {"bailingmoe2", "expert_shared_feed_forward_length"},
    {"exaone", "expert_shared_feed_forward_length"},
    {"step35", "expert_shared_feed_forward_length"},
    {NULL, "expert_weights_norm"},
    {NULL, "expert_weights_scale"},
    {NULL, "feed_forward_length"},
    {NULL, "final_logit_softcapping"},
    {"qwen35", "full_attention_interval"},
    {"ernie4_5", "interleave_moe_layer_step"},
    {"hy_v3", "leading_dense_block_count"},
    {"command", "logit_scale"},
    {"granitehybrid", "logit_scale"},
    {"minicpm", "logit_scale"},
    {NULL, "n_deepstack_layers"},
    {NULL, "residual_scale"},
    {NULL, "rope.dimension_count"},
    {NULL, "rope.dimension_count_swa"},
    {NULL, "rope.dimension_sections"},
    {NULL, "rope.freq_base"},
    {NULL, "rope.freq_base_swa"},
    {NULL, "rope.scaling.factor"},
    {NULL, "rope.scaling.finetuned"},
    {NULL, "rope.scaling.original_context_length"},
    {"arcee", "rope.scaling.type"},
    {"gemma3", "rope.scaling.type"},
    {"gpt", "rope.scaling.type"},
    {"laguna", "rope.scaling.type"},
    {"llama", "rope.scaling.type"},
    {"mistral3", "rope.scaling.type"},
    {"olmo3", "rope.scaling.type"},
    {"phi3", "rope.scaling.type"},
    {"phimoe", "rope.scaling.type"},
    {NULL, "rope.scaling.yarn_beta_fast"},
    {NULL, "rope.scaling.yarn_beta_slow"},
    {NULL, "rope.scaling.yarn_log_multiplier"},
    {NULL, "ssm.dt_b_c_rms"},
    {"plamo2", "ssm.group_count"},
    {NULL, "swiglu_clamp_exp"},
    {NULL, "swiglu_clamp_shexp"},
    {NULL, "vocab_size"},
};

static bool may_lack(const struct optional *o, int n, const char *model, const char *name) {
    for (size_t len = strlen(name); n > 0; n--, o++) {
        size_t of_model = o->model ? strlen(o->model) : 0, suffix = strlen(o->name);
        bool same = !o->model || (strncmp(model, o->model, of_model) == 0 &&
                                  strchr("-.", model[of_model]) != NULL);
        if (!same || suffix > len || strcmp(name + len - suffix, o->name) != 0) continue;
        if (suffix == 0 || suffix == len || name[len - suffix - 1] == '.') return true;
    }
    return false;
}

#define COUNT(array) (int)(sizeof(array) / sizeof *(array))

/* With another letter a tensor that every such model has is missing; any other is left over. */
static void check_lost(const char *model, uint8_t *file, size_t size, uint8_t *letter,
                       const char *name) {
    uint8_t old = *letter;
    *letter = '#';
    const char *text = open_message(file, size);
    bool left_over = strstr(text, " is not part of a model");
    bool may = may_lack(optional_tensors, COUNT(optional_tensors), model, name);
    CHECK(text[0] && (!left_over || may), "%s without %s: \"%s\"", model, name, text);
    *letter = old;
}

/* The number of the key, or 0. */
static uint32_t number(const struct gguf *g, const char *key) {
    struct gguf_str arch = {"", 0};
    struct error err;
    char name[128];
    uint32_t value = 0;
    gguf_get_str(g, "general.architecture", &arch, &err);
    snprintf(name, sizeof name, "%.*s.%s", (int)arch.len, arch.data, key);
    gguf_get_u32(g, name, &value, &err);
    return value;
}

/* The last layers may predict tokens further ahead: nothing of them is looked at. */
static bool is_used(const struct gguf *g, const char *tensor) {
    unsigned il = 0;
    return sscanf(tensor, "blk.%u.", &il) != 1 ||
           il < number(g, "block_count") - number(g, "nextn_predict_layers");
}

/* Each dimension one less, one after the other. The embedding alone says how many tokens there are,
 * if no output matrix does; what nobody reads may have any shape. */
static void check_smaller(const char *model, uint8_t *file, size_t size,
                          const struct gguf_tensor *t, uint8_t *ne) {
    bool unread = strncmp(model, "gemma3n", 7) == 0 &&
                  may_lack(optional_tensors, COUNT(optional_tensors), model, t->name);
    bool free_rows = strcmp(t->name, "token_embd.weight") == 0 ||
                     (strcmp(t->name, "output.weight") == 0 && strstr(model, "-one-matrix"));
    for (int d = 0; d < t->n_dims; d++) {
        uint64_t less = t->ne[d] - 1;
        if (less == 0) continue;
        memcpy(ne + 8 * d, &less, 8);
        const char *text = open_message(file, size);
        bool runs = !text[0] && (unread || (free_rows && d == 1));
        CHECK(runs || strstr(text, ": expected ") || strstr(text, " are no whole number of "),
              "%s with %llu in dimension %d of %s: \"%s\"", model, (unsigned long long)less, d,
              t->name, text);
        memcpy(ne + 8 * d, &t->ne[d], 8);
    }
}

/* Of a type that the engine does not compute with, and that takes less room than any it does. */
static void check_retyped(const char *model, uint8_t *file, size_t size,
                          const struct gguf_tensor *t, uint8_t *type) {
    const uint32_t iq1_s = GGML_TYPE_IQ1_S;
    memcpy(type, &iq1_s, sizeof iq1_s);
    const char *text = open_message(file, size);
    CHECK(strstr(text, "IQ1_S (19) is not one this engine computes with") ||
              strstr(text, " are no whole number of ") ||
              strstr(text, ": expected aligned F32, found type 19"),
          "%s with %s in IQ1_S: \"%s\"", model, t->name, text);
    memcpy(type, &t->type, sizeof t->type);
}

static void test_tensors(const char *model, const struct gguf *g, uint8_t *file, size_t size) {
    for (size_t i = 0; i < g->n_tensors; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        if (!is_used(g, t->name)) continue;
        size_t len = strlen(t->name);
        uint8_t *name = find_string(file, size, t->name, len);
        CHECK(name, "%s: %s is not in the file", model, t->name);
        if (!name) continue;
        check_lost(model, file, size, name + len - 1, t->name);
        check_smaller(model, file, size, t, name + len + 4);
        check_retyped(model, file, size, t, name + len + 4 + 8 * t->n_dims);
        bool vector = t->ne[0] == 1 || t->ne[1] == 1; // lies as it likes
        if (t->n_dims != 2 || t->ne[0] == t->ne[1] || vector) continue;
        uint8_t *ne = name + len + 4;
        memcpy(ne, &t->ne[1], 8);
        memcpy(ne + 8, &t->ne[0], 8);
        const char *text = open_message(file, size);
        CHECK(strstr(text, ": expected ") || strstr(text, " are no whole number of "),
              "%s with %s on its side: \"%s\"", model, t->name, text);
        memcpy(ne, &t->ne[0], 16);
    }
}

static void test_keys(const char *model, const struct gguf *g, uint8_t *file, size_t size) {
    struct gguf_str arch;
    struct error err;
    CHECK(gguf_get_str(g, "general.architecture", &arch, &err) == 1, "%s", model);
    for (size_t i = 0; i < g->n_kv; i++) {
        struct gguf_str key = g->kv[i].key;
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)key.len, key.data);
        if (key.len <= arch.len || memcmp(key.data, arch.data, arch.len) != 0) continue;
        uint8_t *letter = file + (key.data - (const char *)file) + key.len - 1;
        check_renamed(model, file, size, letter, name);
        letter = file + (key.data - (const char *)file); // of the architecture: it is another's now
        if (may_lack(optional_keys, COUNT(optional_keys), model, name)) continue;
        check_renamed(model, file, size, letter, name);
    }
}

int main(void) {
    DIR *dir = opendir(MODELS);
    int n = 0;
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
        char path[512];
        snprintf(path, sizeof path, MODELS "%s", e->d_name);
        if (!strstr(path, ".gguf")) continue;
        size_t size = 0;
        struct gguf g;
        struct error err = {0};
        uint8_t *file = read_file(path, &size);
        bool ok = file && gguf_parse(&g, file, size, &err) == 0;
        CHECK(ok, "%s: %s", path, err.text);
        if (ok) {
            CHECK(!open_message(file, size)[0], "%s: %s", path, open_message(file, size));
            test_tensors(e->d_name, &g, file, size);
            test_keys(e->d_name, &g, file, size);
            gguf_close(&g);
            n++;
        }
        free(file);
    }
    if (dir) closedir(dir);
    CHECK(n > 0, "no models in " MODELS);
    return test_done("test_golden");
}
