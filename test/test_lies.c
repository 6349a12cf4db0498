/* Golden models with one thing in the file changed: a key or tensor that is missing, a number that
 * lies, a shape the other way round. Each must be refused with a message, or run, with other
 * results if it is a number; what certain lies are answered with stands in a table. */
#include <dirent.h>
#include <math.h>

#include "test.h"
#include "engine.h"
#include "plan.h"

#define MODELS "test/data/models/"

/* A file in memory, and what it says: keys point into it. */
struct golden {
    const char *name;
    uint8_t *file;
    size_t size;
    struct gguf g;
};

static void die(const char *what, const char *why) {
    printf("%s: %s\n", what, why);
    exit(1);
}

static struct golden load(const char *name) {
    struct golden m = {.name = name};
    struct error err = {KQ_OK, ""};
    char path[512];
    snprintf(path, sizeof path, MODELS "%s.gguf", name);
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) die(path, "cannot be read");
    m.size = (size_t)ftell(f);
    rewind(f);
    m.file = malloc(m.size);
    if (!m.file || fread(m.file, 1, m.size, f) != m.size) die(path, "cannot be read");
    fclose(f);
    if (gguf_parse(&m.g, m.file, m.size, &err) < 0) die(path, err.text);
    return m;
}

static void unload(struct golden *m) {
    gguf_close(&m->g);
    free(m->file);
}

/* ---- changes, each of which is taken back ---------------------------------------------------- */

struct change {
    uint8_t *at;
    uint8_t old[16];
    size_t n;
};

static struct change change(uint8_t *at, const void *bytes, size_t n) {
    struct change c = {.at = at, .n = n};
    memcpy(c.old, at, n);
    memcpy(at, bytes, n);
    return c;
}

static void take_back(const struct change *c) {
    memcpy(c->at, c->old, c->n);
}

/* Another name hides a key (the architecture's changes) or a tensor. */
static struct change hide(const char *name) {
    return change((uint8_t *)(uintptr_t)name, "_", 1);
}

static uint8_t *in_file(const struct golden *m, const void *at) {
    return m->file + ((const uint8_t *)at - m->file);
}

/* Where the tensor's name stands in the file, behind its length. */
static uint8_t *tensor_name(const struct golden *m, const char *name) {
    uint64_t n = strlen(name);
    for (uint8_t *at = m->file; at + 8 + n < m->file + m->size; at++) {
        if (memcmp(at, &n, 8) == 0 && memcmp(at + 8, name, n) == 0) return at + 8;
    }
    die(name, "not in the file");
    return NULL;
}

/* A whole number for those, a number for floats, whatever its size. */
static struct change set(const struct golden *m, const struct gguf_kv *kv, double number) {
    uint8_t *at = in_file(m, kv->data);
    enum gguf_type type = kv->type == GGUF_ARRAY ? kv->elem_type : kv->type;
    uint64_t u = number < 0 ? (uint64_t)(int64_t)number : isfinite(number) ? (uint64_t)number : 0;
    float f = (float)number;
    if (type == GGUF_FLOAT32) return change(at, &f, sizeof f);
    return change(at, &u, gguf_type_bytes(type));
}

/* Swaps the first two dimensions. */
static struct change turn(const struct golden *m, const struct gguf_tensor *t) {
    uint64_t ne[2] = {t->ne[1], t->ne[0]};
    return change(tensor_name(m, t->name) + strlen(t->name) + 4, ne, sizeof ne);
}

static uint64_t logits_hash; // of the last answer; 0: there were none

/* The message, "" if the model opens; then it also runs a few tokens. */
static const char *answer(const struct golden *m) {
    logits_hash = 0;
    static struct error err;
    struct gguf g;
    struct model model;
    err = (struct error){KQ_OK, ""};
    if (gguf_parse(&g, m->file, m->size, &err) < 0) return err.text;
    if (model_open(&model, &g, NULL, &err) == 0) {
        struct threads *threads = threads_open(1, &err);
        struct transformer_params p = {.isa = isa_best(), .threads = threads, .n_batch = 3};
        struct engine e = engine_open(&model, &p, 8, &err);
        const int32_t ids[] = {1, 2, 0};
        int n = model.n_vocab < 3 ? model.n_vocab : 3;
        const float *logits = NULL;
        if (e.t && engine_feed(&e, ids, n, 0, &err) == 0) logits = engine_logits(&e, n - 1, &err);
        for (int i = 0; logits && i < model.n_vocab; i++) {
            logits_hash = (logits_hash ^ float_bits(logits[i])) * 0x100000001b3;
        }
        engine_close(&e);
        threads_close(threads);
        model_close(&model);
        err.text[0] = '\0';
    } else {
        CHECK(err.text[0], "%s: a refusal without a message", m->name);
    }
    gguf_close(&g);
    return err.text;
}

/* ---- every key and tensor -------------------------------------------------------------------- */

/* Does a step of the model name the tensor? Those of blocks that are not run do not count. */
static bool is_used(const struct golden *m, const char *tensor) {
    struct error err;
    struct model model;
    bool found = false;
    if (model_open(&model, &m->g, NULL, &err) < 0) die(m->name, err.text);
    for (int i = 0; i < model.plan->n_steps; i++) {
        const char *name = model.plan->steps[i].name;
        size_t n = strlen(name);
        found = found || (n > 0 && strncmp(tensor, name, n) == 0 && tensor[n] == '.');
    }
    model_close(&model);
    return found;
}

static void check_tensors(const struct golden *m) {
    for (size_t i = 0; i < m->g.n_tensors; i++) {
        const struct gguf_tensor *t = &m->g.tensors[i];
        char name[64];
        snprintf(name, sizeof name, "%s", t->name);
        struct change c = hide((const char *)tensor_name(m, name));
        const char *text = answer(m);
        CHECK(text[0], "%s without %s", m->name, name); // at least the other name is unknown
        take_back(&c);
        if (t->n_dims < 2 || t->ne[0] == t->ne[1] || !is_used(m, name)) continue;
        c = turn(m, t);
        text = answer(m);
        CHECK(text[0], "%s with %s turned", m->name, name);
        take_back(&c);
    }
}

/* Keys that may say what they like, or of which three tokens of the model do not show it. */
static const struct {
    const char *model, *key; // without the architecture; model NULL: any
} harmless[] = {
    {NULL, "vocab_size"},              // the embedding says it
    {NULL, "feed_forward_length"},     // of dense layers: where there are none
    {NULL, "rope.dimension_sections"}, // a text has one position
    {"qwen3vl", "n_deepstack_layers"}, // for images
    {"qwen3vlmoe", "n_deepstack_layers"},
    {"nemotron_h", "attention.layer_norm_epsilon"}, // norms are RMS
    {"nemotron_h_moe", "attention.layer_norm_epsilon"},
    {"nemotron_h_moe-latent", "attention.layer_norm_epsilon"},
    {"mellum", "rope.freq_base_swa"},       // as in llama.cpp
    {"hy_v3", "leading_dense_block_count"}, // tensors say it
    {"step35", "swiglu_clamp_exp"},         // of the first layer, which is dense
    {"step35", "swiglu_clamp_shexp"},
    {"apertus", "xielu.eps"}, // a limit above 0 is none
    {"gemma2-small-logits", "final_logit_softcapping"},
    {"mistral3-temperature", "attention.temperature_scale"}, // begins at position 64
    {"mistral3-temperature", "rope.scaling.yarn_beta_fast"}, // of frequencies, rounded to one
    {"mistral4", "attention.temperature_scale"},             // begins at position 16
};

static bool is_harmless(const char *model, struct gguf_str key) {
    for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++) {
        size_t n = strlen(harmless[i].key);
        bool same = !harmless[i].model || strcmp(harmless[i].model, model) == 0;
        if (!same || n > key.len || memcmp(key.data + key.len - n, harmless[i].key, n) != 0)
            continue;
        if (n == key.len || key.data[key.len - n - 1] == '.') return true;
    }
    return false;
}

static void check_keys(const struct golden *m) {
    static const double values[] = {0, 1, 3, 65, 1 << 28, -1, NAN, 1e38};
    const char *arch = NULL;
    for (size_t i = 0; i < m->g.n_kv; i++) {
        const struct gguf_kv *kv = &m->g.kv[i];
        if (!arch) arch = strchr(kv->key.data, '.') ? kv->key.data : NULL;
        bool skipped = strncmp(kv->key.data, "general.", 8) == 0 ||
                       strncmp(kv->key.data, "tokenizer.", 10) == 0 || kv->type == GGUF_STRING;
        if (skipped) continue;
        struct change c = hide(kv->key.data);
        answer(m);
        take_back(&c);
        answer(m);
        uint64_t hash = logits_hash;
        bool matters = false; // is some value refused, or are the logits others?
        for (size_t k = 0; k < sizeof values / sizeof values[0]; k++) {
            c = set(m, kv, values[k]);
            matters = answer(m)[0] || logits_hash != hash || matters;
            take_back(&c);
        }
        if (kv->elem_type == GGUF_FLOAT32) { // some of those are none; this is one
            c = set(m, kv, 0.25 + 1.5 * gguf_f32_at(kv, 0));
            matters = answer(m)[0] || logits_hash != hash;
            take_back(&c);
        }
        CHECK(matters || is_harmless(m->name, kv->key), "%s: %.*s changes nothing", m->name,
              (int)kv->key.len, kv->key.data);
    }
    CHECK(answer(m)[0] == '\0', "%s itself: %s", m->name, answer(m));
}

/* ---- certain lies ---------------------------------------------------------------------------- */

#define HIDDEN (-2) // in the place of a value

static const struct {
    const char *model, *what; // a key, with its architecture, or a tensor
    double value;
    const char *expected;
} lies[] = {
    {"deepseek2-lite", "deepseek2.attention.kv_lora_rank", HIDDEN, "kv_lora_rank is missing"},
    {"deepseek2-lite", "deepseek2.attention.kv_lora_rank", 0, "is 0, expected 1"},
    {"deepseek2-lite", "deepseek2.attention.kv_lora_rank", 64, "expected 64 x 80 x 1"},
    {"deepseek2-lite", "deepseek2.attention.key_length_mla", 16, "is 16 of keys of 16"},
    {"deepseek2-old", "deepseek2.attention.value_length", HIDDEN, "attn_kv_b.weight: expected"},
    {"deepseek2-lite", "deepseek2.attention.head_count_kv", 2, "is 2, expected 1 or 4"},
    {"deepseek2-lite", "deepseek2.attention.value_length_mla", 64, "expected 32 x 64 x 4"},
    {"deepseek2-lite", "blk.1.attn_k_b.weight", HIDDEN, "blk.1.attn_kv_b.weight is missing"},
    {"deepseek2-lite", "blk.1.attn_v_b.weight", HIDDEN, "blk.1.attn_v_b.weight is missing"},
    {"deepseek2-lite", "deepseek2.expert_gating_func", 4, "is 4, expected 1 to 3"},
    {"deepseek2-lite", "deepseek2.expert_shared_count", 3, "expected 64 x 96 x 1"},
    {"deepseek2-lite", "deepseek2.expert_shared_count", 1 << 28, "expert_shared_count is 2684"},
    {"deepseek2-lite", "deepseek2.leading_dense_block_count", 0, "blk.0.ffn_gate_inp"},
    {"deepseek2-v3", "deepseek2.attention.q_lora_rank", 0, "q_lora_rank is 0 or missing"},
    {"deepseek2-v3", "deepseek2.expert_group_count", 3, "3 of 8 experts from 2 of 3 groups"},
    {"deepseek2-v3", "deepseek2.expert_group_used_count", 0, "from 0 of 4 groups"},
    {"deepseek2-v3", "deepseek2.expert_group_used_count", 1, "from 1 of 4 groups"},
    {"deepseek2-v3", "deepseek2.expert_group_used_count", 5, "from 5 of 4 groups"},
    {"deepseek2-v3", "deepseek2.expert_weights_scale", NAN, "expert_weights_scale is "},
    {"deepseek2-v3", "blk.1.exp_probs_b.bias", HIDDEN, "is not part of a model"},
    {"deepseek2-v3", "deepseek2.rope.scaling.type", HIDDEN, "rope.scaling.type is not yarn"},
    {"mimo2", "mimo2.attention.value_scale", NAN, "value_scale is "},
    {"cohere2moe", "cohere2moe.attention.layer_norm_epsilon", HIDDEN, "epsilon is missing or"},
    {"cohere2moe", "cohere2moe.expert_shared_count", 0, "shexp.weight is not part of"},
    {"bailingmoe2", "bailingmoe2.nextn_predict_layers", 3, "is 3 of 3 layers"},
    {"bailingmoe2", "bailingmoe2.nextn_predict_layers", 0, "tensor blk.2."},
    {"glm4moe", "glm4moe.expert_shared_count", 0, "shexp.weight is not part of"},
    {"llama4", "llama4.interleave_moe_layer_step", HIDDEN, "step is missing"},
    {"llama4", "llama4.interleave_moe_layer_step", 0, "is 0, expected 1"},
    {"llama4", "llama4.interleave_moe_layer_step", 1, "blk.0.ffn_gate_inp.weight is missing"},
    {"qwen2moe", "blk.0.ffn_gate_inp_shexp.weight", HIDDEN, "inp_shexp.weight is missing"},
    {"grovemoe", "grovemoe.experts_per_group", 4, "6 experts in groups of 4"},
    {"grovemoe", "grovemoe.experts_per_group", 0, "is 0, expected 1"},
    {"grovemoe", "grovemoe.experts_per_group", 3, "expected 64 x 32 x 2, found 64 x 32 x 3"},
    {"grovemoe", "grovemoe.expert_group_scale", HIDDEN, "expert_group_scale is missing"},
    {"mimo2", "mimo2.attention.head_count_kv", 3, "which does not divide the 4 query heads"},
    {"step35", "step35.swiglu_clamp_exp", -1, "is -1 in layer 0, expected a number from 0"},
    {"step35", "step35.rope.dimension_count_swa", 31, "rope over 31"},
    {"laguna", "laguna.rope.dimension_count_swa", 64, "rope over 64 of 32"},
    {"kimi-linear", "kimi-linear.kda.head_dim", HIDDEN, "kda.head_dim is missing"},
    {"kimi-linear", "kimi-linear.kda.head_dim", 0, "is 0, expected 1"},
    {"kimi-linear", "kimi-linear.kda.head_dim", 33, "expected 64 x 132 x 1"},
    {"kimi-linear", "kimi-linear.ssm.conv_kernel", 3, "expected 3 x 128 x 1, found 4 x 1 x 128"},
    {"kimi-linear", "kimi-linear.attention.head_count_kv", 2, "is 2, expected 1 or 4"},
    {"kimi-linear", "blk.0.ssm_conv1d_k.weight", HIDDEN, "ssm_conv1d_k.weight is missing"},
    {"kimi-linear", "blk.0.ssm_dt.bias", HIDDEN, "blk.0.ssm_dt.bias is missing"},
    {"apertus", "xielu.beta", HIDDEN, "xielu.beta is missing"},
    {"apertus", "xielu.alpha_p", NAN, "xielu.alpha_p is nan in layer 0"},
    {"olmo", "olmo.attention.clamp_kqv", -1, "clamp_kqv is -1, expected"},
    {"cohere2", "cohere2.logit_scale", NAN, "logit_scale is "},
    {"qwen", "qwen.feed_forward_length", 1, "is 1, expected 2"},
    {"qwen", "qwen.feed_forward_length", 510, "expected 64 x 255 x 1"},
    {"openelm", "openelm.attention.head_count", 3, "expected 64 x 160 x 1"},
    {"baichuan-13b", "baichuan.block_count", 33, "baichuan of 33 layers"},
    {"deci", "deci.attention.head_count", 0, "blk.0.attn_"},
    {"deci", "deci.attention.head_count_kv", 0, "blk.0.attn_"},
    {"deci", "deci.attention.head_count_kv", 3, "which does not divide the 4 query heads"},
    {"plamo3", "plamo3.attention.value_length", 32, "expected 64 x 256 x 1"},
    {"plamo3", "blk.1.post_ffw_norm", HIDDEN, "blk.1.post_ffw_norm is missing"},
    {"gpt2", "gpt2.context_length", 65,
     "position_embd.weight: expected 96 x 65 x 1, found 96 x 64"},
    {"gpt2", "gpt2.attention.head_count_kv", 1, "expected 96 x 160 x 1, found 96 x 288 x 1"},
    {"gpt2", "position_embd.weight", HIDDEN, "position_embd.weight is missing"},
    {"gpt2", "blk.1.attn_qkv.bias", HIDDEN, "blk.1.attn_qkv.bias is missing"},
    {"gpt2", "blk.1.ffn_up.bias", HIDDEN, "blk.1.ffn_up.bias is missing"},
    {"gpt2", "output_norm.bias", HIDDEN, "output_norm.bias is missing"},
    {"starcoder2", "blk.0.attn_q.bias", HIDDEN, "blk.0.attn_q.bias is missing"},
    {"codeshell", "output.weight", HIDDEN, "is not part of a model"},
    {"gptneox", "gptneox.rope.dimension_count", 34, "is 34, expected an even number up to"},
    {"falcon-40b", "blk.0.attn_norm_2.weight", HIDDEN, "is not part of a model"},
    {"falcon-40b", "blk.0.attn_norm_2.bias", HIDDEN, "blk.0.attn_norm_2.bias is missing"},
    {"falcon-40b", "falcon.attention.head_count_kv", 3, "expected 96 x 288 x 1, found 96 x 160"},
    {"phi2", "output.bias", HIDDEN, "output.bias is missing"},
    {"stablelm", "blk.0.ffn_norm.bias", HIDDEN, "blk.0.ffn_norm.bias is missing"},
    {"stablelm", "blk.0.ffn_norm.weight", HIDDEN, "is not part of a model"},
    {"stablelm-12b", "stablelm.attention.head_count_kv", 1, "expected 64 x 16 x 1"},
    {"stablelm-12b", "blk.1.attn_k_norm.weight", HIDDEN, "attn_k_norm.weight is missing"},
    {"bloom", "token_embd_norm.weight", HIDDEN, "token_embd_norm.weight is missing"},
    {"bloom", "blk.0.ffn_down.bias", HIDDEN, "blk.0.ffn_down.bias is missing"},
    {"mpt", "mpt.attention.max_alibi_bias", -8, "is -8, expected a number from 0"},
    {"mpt", "mpt.attention.max_alibi_bias", NAN, "max_alibi_bias is "},
    {"mpt", "mpt.attention.clamp_kqv", -1, "is -1, expected a number from 0"},
    {"mpt", "mpt.attention.clamp_kqv", NAN, "clamp_kqv is "},
    {"jais", "jais.attention.max_alibi_bias", HIDDEN, "max_alibi_bias is missing"},
    {"jais", "blk.1.ffn_gate.bias", HIDDEN, "blk.1.ffn_gate.bias is missing"},
    {"nemotron", "blk.0.ffn_norm.bias", HIDDEN, "blk.0.ffn_norm.bias is missing"},
    {"orion", "blk.0.attn_norm.bias", HIDDEN, "blk.0.attn_norm.bias is missing"},
    {"qwen3moe-nvfp4", "blk.0.ffn_up_exps.scale", HIDDEN, "is not part of a model of qwen3moe"},
    {"mistral4", "mistral4.attention.temperature_length", 0, "is 0, expected 1"},
    {"mistral4", "mistral4.attention.temperature_scale", -1, "temperature_scale is -1"},
};

static void check_lies(const struct golden *m) {
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        if (strcmp(lies[i].model, m->name) != 0) continue;
        const struct gguf_kv *kv = gguf_find(&m->g, lies[i].what);
        bool hidden = lies[i].value == HIDDEN;
        if (!kv && !gguf_find_tensor(&m->g, lies[i].what)) die(lies[i].what, "not in the model");
        const char *name = kv ? kv->key.data : (const char *)tensor_name(m, lies[i].what);
        struct change c = hidden ? hide(name) : set(m, kv, lies[i].value);
        const char *text = answer(m);
        CHECK(strstr(text, lies[i].expected), "%s, %s %g: expected \"%s\", found \"%s\"", m->name,
              lies[i].what, lies[i].value, lies[i].expected, text);
        take_back(&c);
    }
}

int main(void) {
    DIR *dir = opendir(MODELS);
    if (!dir) die(MODELS, "cannot be read");
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        char *ending = strrchr(e->d_name, '.');
        if (!ending || strcmp(ending, ".gguf") != 0) continue;
        *ending = '\0';
        struct golden m = load(e->d_name);
        check_tensors(&m);
        check_keys(&m);
        check_lies(&m);
        unload(&m);
    }
    closedir(dir);
    return test_done("test_lies");
}
