/* Hyper-parameters and tensors that lie: a tiny valid model is built in memory, one thing in it is
 * broken, and the message must name it. */
#include <limits.h>

#include "changed_model.h"
#include "plan.h"

/* ---- keys that lie --------------------------------------------------------------------------- */
static const struct lie lies[] = {
    {"llama", "embedding_length", REMOVE, 0, "llama.embedding_length is missing"},
    {"llama", "embedding_length", STRING, 0, "llama.embedding_length: expected an integer, found"},
    {"llama", "embedding_length", FLOAT, 32, "llama.embedding_length: expected an integer, found"},
    {"llama", "embedding_length", INT, 0, "llama.embedding_length is 0, expected 1 to 268435456"},
    {"llama", "embedding_length", INT, -1, "llama.embedding_length: -1 does not fit"},
    {"llama", "embedding_length", INT, BIG, "token_embd.weight: expected 268435456 x 0 x 1, found"},
    {"llama", "embedding_length", INT, BIG + 1, "is 268435457, expected 1 to 268435456"},
    {"llama", "embedding_length", INT, 4294967295., "is 4294967295, expected 1 to 268435456"},
    {"llama", "embedding_length", INT, 0x1p60, "1152921504606846976 does not fit"},
    {"llama", "embedding_length", INT, 31, "token_embd.weight: expected 31 x 0 x 1, found 32 x 11"},
    {"llama", "embedding_length", EMPTY_ARRAY, 0, "llama.embedding_length is an empty array"},
    {"llama", "block_count", REMOVE, 0, "llama.block_count is missing"},
    {"llama", "block_count", STRING, 0, "llama.block_count: expected an integer, found"},
    {"llama", "block_count", INT, 0, "llama.block_count is 0, expected 1"},
    {"llama", "block_count", INT, -2, "llama.block_count: -2 does not fit"},
    {"llama", "block_count", INT, 1,
     "tensor blk.1.attn_norm.weight is not part of a model of llama"},
    {"llama", "block_count", INT, 3, "tensor blk.2.attn_norm.weight is missing"},
    {"llama", "block_count", INT, 22, "llama.block_count is 22, but the file has 21 tensors"},
    {"llama", "block_count", INT, BIG, "llama.block_count is 268435456, but the file has 21"},
    {"llama", "context_length", REMOVE, 0, "llama.context_length is missing"},
    {"llama", "context_length", INT, 0, "llama.context_length is 0, expected 1"},
    {"llama", "context_length", INT, -1, "llama.context_length: -1 does not fit"},
    {"llama", "context_length", STRING, 0, "llama.context_length: expected an integer"},
    {"llama", "context_length", INT, BIG, NULL}, // the cache is as large as the user wants
    {"llama", "feed_forward_length", REMOVE, 0, "llama.feed_forward_length is missing"},
    {"llama", "feed_forward_length", INT, 0, "llama.feed_forward_length is 0, expected 1"},
    {"llama", "feed_forward_length", INT, 63, "blk.0.ffn_gate.weight: expected 32 x 63 x 1, found"},
    {"llama", "feed_forward_length", INT, BIG, "blk.0.ffn_gate.weight: expected 32 x 268435456"},
    {"llama", "feed_forward_length", TWO_INTS, 64, "blk.1.ffn_gate.weight: expected 32 x 65 x 1"},
    {"phi3", "feed_forward_length", INT, 63, "blk.0.ffn_up.weight: expected 32 x 126 x 1, found"},
    {"phi3", "feed_forward_length", INT, BIG, "blk.0.ffn_up.weight: expected 32 x 536870912 x 1"},
    // heads
    {"llama", "attention.head_count", REMOVE, 0, "llama.attention.head_count is missing"},
    {"llama", "attention.head_count", STRING, 0, "llama.attention.head_count: expected an integer"},
    {"llama", "attention.head_count", INT, 0, "llama.attention.head_count is 0, expected 1"},
    {"llama", "attention.head_count", INT, 3, "head_count_kv is 2, which does not divide the 3 q"},
    {"llama", "attention.head_count", INT, 8, "blk.0.attn_q.weight: expected 32 x 64 x 1, found"},
    {"llama", "attention.head_count", INT, BIG, "attn_q.weight: expected 32 x 2147483648 x 1"},
    {"llama", "attention.head_count", TWO_INTS, 4, "head_count differs from layer to layer"},
    {"llama", "attention.head_count_kv", INT, 0, "llama.attention.head_count_kv is 0, expected 1"},
    {"llama", "attention.head_count_kv", INT, 3, "is 3, which does not divide the 4 query heads"},
    {"llama", "attention.head_count_kv", INT, 8, "is 8, which does not divide the 4 query heads"},
    {"llama", "attention.head_count_kv", INT, 1,
     "attn_k.weight: expected 32 x 8 x 1, found 32 x 16"},
    {"llama", "attention.head_count_kv", REMOVE, 0, "attn_k.weight: expected 32 x 32 x 1, found"},
    {"llama", "attention.key_length", INT, 0, "llama.attention.key_length is 0, expected 1"},
    {"llama", "attention.key_length", INT, 16,
     "attn_q.weight: expected 32 x 64 x 1, found 32 x 32"},
    {"llama", "attention.key_length", INT, BIG, "llama: rope over 268435456 dimensions in a file"},
    {"llama", "attention.key_length", REMOVE, 0, NULL}, // 32 / 4
    {"llama", "attention.value_length", INT, 4,
     "attn_v.weight: expected 32 x 8 x 1, found 32 x 16"},
    {"llama", "attention.value_length", INT, 0, "llama.attention.value_length is 0, expected 1"},
    {"llama", "attention.value_length", REMOVE, 0, NULL},
    {"phi3", "attention.head_count_kv", INT, 4, "attn_qkv.weight: expected 32 x 96 x 1, found"},
    // numbers
    {"llama", "attention.layer_norm_rms_epsilon", REMOVE, 0, "rms_epsilon is missing or negative"},
    {"llama", "attention.layer_norm_rms_epsilon", FLOAT, -1e-5, "rms_epsilon is missing or negat"},
    {"llama", "attention.layer_norm_rms_epsilon", FLOAT, -5, "is -5, expected a number from"},
    {"llama", "attention.layer_norm_rms_epsilon", FLOAT, NAN, "nan, expected a number"},
    {"llama", "attention.layer_norm_rms_epsilon", FLOAT, INFINITY, "is inf, expected a number"},
    {"llama", "attention.layer_norm_rms_epsilon", INT, 1, "rms_epsilon: expected a float, found"},
    {"llama", "attention.layer_norm_rms_epsilon", FLOAT, 0, NULL},
    {"granite", "attention.scale", FLOAT, NAN, "granite.attention.scale is "},
    {"granite", "embedding_scale", FLOAT, INFINITY, "granite.embedding_scale is inf"},
    {"granite", "embedding_scale", FLOAT, -1, "granite.embedding_scale is -1, expected a number"},
    {"granite", "residual_scale", FLOAT, NAN, "granite.residual_scale is "},
    {"granite", "logit_scale", STRING, 0, "granite.logit_scale: expected a float, found"},
    {"gemma2", "attn_logit_softcapping", FLOAT, -50, "attn_logit_softcapping is -50, expected"},
    {"gemma2", "final_logit_softcapping", FLOAT, NAN, "gemma2.final_logit_softcapping is "},
    {"gemma3", "attention.sliding_window_pattern", INT, 0, "window_pattern is 0, expected 1 to"},
    {"gemma2", "attention.sliding_window", INT, -1, "sliding_window: -1 does not fit"},
    {"gemma2", "attention.sliding_window", INT, 4294967295., "is 4294967295, expected 0 to 2684"},
    // rope
    {"llama", "rope.dimension_count", INT, 7, "is 7, expected an even number up to the head's 8"},
    {"llama", "rope.dimension_count", INT, 10, "is 10, expected an even number up to the head's 8"},
    {"llama", "rope.dimension_count", INT, BIG, "is 268435456, expected an even number up to the"},
    {"llama", "rope.dimension_count", STRING, 0, "rope.dimension_count: expected an integer"},
    {"llama", "rope.dimension_count", INT, 0, NULL},
    {"llama", "rope.freq_base", FLOAT, 0, "llama.rope.freq_base is not above 0"},
    {"llama", "rope.freq_base", FLOAT, -1, "llama.rope.freq_base is -1, expected a number from 0"},
    {"llama", "rope.freq_base", FLOAT, NAN, "llama.rope.freq_base is "},
    {"gemma3", "rope.freq_base", FLOAT, 0, "gemma3.rope.freq_base is not above 0"},
    {"gemma3", "rope.freq_base_swa", FLOAT, 0, "rope.freq_base is not above 0"},
    {"llama", "rope.scaling.type", STRING, 0,
     "type is \"text\", expected none, linear, yarn or lon"},
    {"llama", "rope.scaling.type", INT, 1, "llama.rope.scaling.type: expected a string, found"},
    {"llama", "rope.scaling.factor", FLOAT, -2, "llama.rope.scaling.factor is -2, expected a num"},
    {"llama", "rope.scaling.factor", FLOAT, INFINITY, "llama.rope.scaling.factor is inf"},
    {"llama", "rope.scale_linear", FLOAT, NAN, "llama.rope.scale_linear is "},
    {"llama", "rope.scaling.attn_factor", FLOAT, -1, "llama.rope.scaling.attn_factor is -1"},
    {"llama", "rope.scaling.yarn_beta_fast", FLOAT, NAN, "llama.rope.scaling.yarn_beta_fast is "},
    {"llama", "rope.scaling.yarn_beta_slow", FLOAT, -1, "rope.scaling.yarn_beta_slow is -1"},
    {"llama", "rope.scaling.original_context_length", INT, 0, "context_length is 0, expected 1"},
    // experts
    {"qwen3moe", "expert_count", INT, 0, "tensor blk.0.ffn_up.weight is missing"},
    {"qwen3moe", "expert_count", REMOVE, 0, "tensor blk.0.ffn_up.weight is missing"},
    {"qwen3moe", "expert_count", INT, 2, "ffn_gate_inp.weight: expected 32 x 2 x 1, found 32 x 3"},
    {"qwen3moe", "expert_count", INT, 4, "ffn_gate_inp.weight: expected 32 x 4 x 1, found 32 x 3"},
    {"qwen3moe", "expert_count", INT, 1025, "expert_count is 1025, at most 1024 are supported"},
    {"qwen3moe", "expert_count", INT, BIG, "expert_count is 268435456, at most 1024 are"},
    {"qwen3moe", "expert_count", INT, -1, "qwen3moe.expert_count: -1 does not fit"},
    {"qwen3moe", "expert_used_count", REMOVE, 0, "expert_used_count is 0 of 3 experts"},
    {"qwen3moe", "expert_used_count", INT, 0, "expert_used_count is 0 of 3 experts"},
    {"qwen3moe", "expert_used_count", INT, 4, "expert_used_count is 4 of 3 experts"},
    {"qwen3moe", "expert_used_count", INT, BIG, "expert_used_count is 268435456 of 3 experts"},
    {"qwen3moe", "expert_feed_forward_length", INT, 0, "is 0, expected 1 to 268435456"},
    {"qwen3moe", "expert_feed_forward_length", INT, 32, "gate_exps.weight: expected 32 x 32 x 3"},
    {"llama", "expert_count", INT, 2, "expert_used_count is 0 of 2 experts"},
    {"llama", "expert_count", INT, 1, "expert_used_count is 0 of 1 experts"},
    {"llama", "expert_used_count", INT, BIG, NULL}, // means nothing without experts
};

static void test_keys(void) {
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct tiny t = tiny_family(lies[i].arch);
        struct gguf_build b = tiny_build(&t);
        apply(&b, tiny_key(&t, lies[i].key), &lies[i]);
        if (lies[i].expected) {
            check_refused(&b, lies[i].expected);
        } else {
            free(run_every_way(&b, lies[i].key, true));
        }
    }
    struct tiny t = tiny_llama();
    struct gguf_build b = tiny_build(&t);
    build_remove(&b, "general.architecture");
    check_refused(&b, "general.architecture is missing: not a model");
    b = tiny_build(&t);
    build_u32(&b, "general.architecture", 1);
    check_refused(&b, "general.architecture: expected a string");
    b = tiny_build(&t);
    build_str(&b, "general.architecture", "bert");
    check_refused(&b, "is \"bert\", which this engine does not run");
    static const char *const near[][2] = {
        {"qwen36", "qwen35"}, {"gemma5", "gemma4"}, {"lama", "llama"}, {"deepseek3", "deepseek2"}};
    for (size_t i = 0; i < sizeof near / sizeof near[0]; i++) {
        char expected[64];
        snprintf(expected, sizeof expected, "; the nearest name is %s (", near[i][1]);
        b = tiny_build(&t);
        build_str(&b, "general.architecture", near[i][0]);
        check_refused(&b, expected);
    }
    t.n_head = t.n_head_kv = 64; // more heads than the embedding has room for
    b = tiny_build(&t);
    build_remove(&b, "llama.attention.key_length");
    check_refused(&b, "llama.attention.head_count: 64 heads for an embedding of 32");
    b = (struct gguf_build){0};
    build_str(&b, "general.architecture", "llama");
    check_refused(&b, "llama.embedding_length is missing");
}

/* Three planes for each of 1000 experts and 1000 layers, in a file of some kilobytes. */
static void test_more_experts_than_bytes(void) {
    struct tiny t = tiny_llama();
    t.n_expert = t.n_used = 2;
    struct gguf_build b = tiny_build(&t);
    build_u32(&b, "llama.expert_count", 1000);
    build_u32(&b, "llama.block_count", 20);
    build_u32(&b, "llama.feed_forward_length", 1);
    struct gguf_build small = {0};
    for (size_t i = 0; i < b.n_kv; i++) {
        struct gguf_writer v = {0};
        gguf_write(&v, b.kv[i].value.data, b.kv[i].value.len);
        build_set(&small, b.kv[i].key, v);
    }
    for (int i = 0; i < 20; i++) build_tensor(&small, tiny_name(i, "x"), GGML_TYPE_F32, 1, 0, NULL);
    build_free(&b);
    check_refused(&small, "1000 experts in 20 layers announced in a file of ");
}

/* ---- tensors that lie ------------------------------------------------------------------------ */

static void test_missing_tensors(void) {
    static const char *const families[] = {"llama",    "qwen3moe",      "phi3",
                                           "gemma3",   "olmo2",         "exaone4",
                                           "seed_oss", "hunyuan-dense", "gpt-oss"};
    for (int f = 0; f < 9; f++) {
        struct tiny t = tiny_family(families[f]);
        struct gguf_build all = tiny_build(&t);
        for (size_t i = 0; i < all.n_tensors; i++) {
            char expected[128], name[64];
            snprintf(name, sizeof name, "%s", all.tensors[i].name);
            if (strcmp(name, "output.weight") == 0) continue;              // the embedding serves
            if (strstr(name, ".attn_") && strstr(name, ".bias")) continue; // may be there
            struct gguf_build b = tiny_build(&t);
            build_remove_tensor(&b, name);
            char *exps = strstr(name, "_exps.weight"), *qkv = strstr(name, "_qkv");
            if (exps) memcpy(exps, ".0.weight", sizeof ".0.weight"); // the older name
            if (qkv) memcpy(qkv, "_q.weight", sizeof "_q.weight");   // or three instead of one
            bool up = t.n_expert == 0 && strstr(name, "ffn_gate.weight");
            if (up) { // then ffn_up.weight would have to hold both
                check_refused(&b, "ffn_up.weight: expected 32 x 128 x 1, found 32 x 64 x 1");
                continue;
            }
            snprintf(expected, sizeof expected, "tensor %s is missing", name);
            check_refused(&b, expected);
        }
        build_free(&all);
    }
}

/* Every dimension of every tensor one too large, and a vector as a matrix. */
static void test_misshapen_tensors(void) {
    static const char *const families[] = {"llama", "qwen3moe", "phi3",
                                           "qwen2", "gemma2",   "gpt-oss"};
    for (int f = 0; f < 6; f++) {
        struct tiny t = tiny_family(families[f]);
        struct gguf_build all = tiny_build(&t);
        for (size_t i = 0; i < all.n_tensors; i++) {
            for (int d = 0; d < 4; d++) {
                const struct build_tensor *old = &all.tensors[i];
                if (d == 1 && strcmp(old->name, "token_embd.weight") == 0 && t.tied) continue;
                struct gguf_build b = tiny_build(&t);
                uint64_t ne[4] = {old->ne[0], old->ne[1], old->ne[2], old->ne[3]};
                char expected[160];
                ne[d]++;
                build_tensor_nd(&b, old->name, old->type, 4, ne, NULL);
                snprintf(expected, sizeof expected, "%s: expected ", old->name);
                if (d == 1 && strcmp(old->name, "token_embd.weight") == 0) {
                    snprintf(expected, sizeof expected,
                             "output.weight: expected 32 x 12 x 1, found 32 x 11 x 1");
                }
                check_refused(&b, expected);
            }
        }
        build_free(&all);
    }
}

struct retyped {
    const char *tensor;
    enum ggml_type type;
    const char *expected;
};

static const struct retyped retypes[] = {
    {"output_norm.weight", GGML_TYPE_F16, "output_norm.weight: expected aligned F32, found type 1"},
    {"output_norm.weight", GGML_TYPE_Q8_0,
     "output_norm.weight: expected aligned F32, found type 8"},
    {"blk.1.attn_norm.weight", GGML_TYPE_BF16, "blk.1.attn_norm.weight: expected aligned F32, fou"},
    {"blk.0.ffn_norm.weight", GGML_TYPE_F64, "blk.0.ffn_norm.weight: expected aligned F32, found"},
    {"token_embd.weight", GGML_TYPE_I8, "token_embd.weight: type I8 (24) is not one this"},
    {"output.weight", GGML_TYPE_Q8_1, "output.weight: type Q8_1 (9) is not one this engine"},
    {"blk.0.attn_q.weight", GGML_TYPE_I32, "blk.0.attn_q.weight: type I32 (26) is not one this"},
    {"blk.1.attn_k.weight", GGML_TYPE_F64, "blk.1.attn_k.weight: type F64 (28) is not one this"},
    {"blk.1.ffn_down.weight", GGML_TYPE_Q2_0, "blk.1.ffn_down.weight: type Q2_0 (42) is not one"},
};

static void test_types_of_tensors(void) {
    for (size_t i = 0; i < sizeof retypes / sizeof retypes[0]; i++) {
        const struct retyped *r = &retypes[i];
        struct tiny t = tiny_llama();
        struct gguf_build b = tiny_build(&t);
        const struct build_tensor *old = build_find_tensor(&b, r->tensor);
        uint64_t ne[2] = {old->ne[0], old->n_dims > 1 ? old->ne[1] : 0};
        build_tensor(&b, r->tensor, r->type, ne[0], ne[1], NULL);
        check_refused(&b, r->expected);
    }
    struct tiny t = tiny_llama();
    t.n_embd = 256; // K-quants and their like have blocks of 256
    struct gguf_build b = tiny_build(&t);
    build_tensor(&b, "blk.0.attn_q.weight", GGML_TYPE_IQ1_M, 256, 32, NULL);
    check_refused(&b, "blk.0.attn_q.weight: type IQ1_M (29) is not one this engine computes with");
    b = tiny_build(&t);
    build_find_tensor(&b, "blk.0.attn_q.weight")->type = 1000;
    check_refused(&b, "blk.0.attn_q.weight: type unknown (1000) is not one this engine computes");
}

static void test_left_over_tensors(void) {
    static const char *const names[] = {"blk.0.attn_q_norm.weight",  "blk.1.post_ffw_norm.weight",
                                        "blk.2.attn_norm.weight",    "blk.0.attn_qkv.bias",
                                        "blk.0.ffn_gate_inp.weight", "x"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct tiny t = tiny_llama();
        struct gguf_build b = tiny_build(&t);
        char expected[128];
        build_tensor(&b, names[i], GGML_TYPE_F32, 32, 0, NULL);
        snprintf(expected, sizeof expected, "tensor %s is not part of a model of llama", names[i]);
        check_refused(&b, expected);
    }
}

/* ---- keys that nobody knows ------------------------------------------------------------------ */

/* What would change the results is refused by name and value. */
static void test_unknown_keys(void) {
    static const struct {
        const char *arch, *key;
        enum kind kind;
        double value;
        const char *expected;
    } keys[] = {
        {"llama", "nonsense", INT, 3, "key llama.nonsense (3): this engine does not know what it"},
        {"llama", "nonsense", STRING, 0, "key llama.nonsense (\"text\"): this engine does not"},
        {"llama", "nonsense", TWO_INTS, 1, "key llama.nonsense: this engine does not know what"},
        {"llama", "attention.causal", INT, 0, "key llama.attention.causal (0): this engine"},
        {"llama", "attention.sliding_window", INT, 3, "key llama.attention.sliding_window (3): "},
        {"llama", "final_logit_softcapping", FLOAT, 30, "final_logit_softcapping (30): this"},
        {"llama", "logit_scale", FLOAT, 0.5, "key llama.logit_scale (0.5): this engine does"},
        {"llama", "logit_scale", FLOAT, NAN, "key llama.logit_scale: this engine does not"},
        {"llama", "attention.temperature_scale", FLOAT, 0.1, "temperature_scale (0.1): this"},
        {"qwen3moe", "expert_weights_norm", INT, 0, "key qwen3moe.expert_weights_norm (0): this"},
        {"qwen3moe", "expert_gating_func", INT, 2, "key qwen3moe.expert_gating_func (2): this"},
        {"qwen3moe", "expert_shared_count", INT, 1,
         "qwen3moe.expert_shared_count (1): this engine"},
        {"llama", "nextn_predict_layers", INT, 1,
         "key llama.nextn_predict_layers (1): this engine"},
        {"gemma", "attn_logit_softcapping", FLOAT, 50, "gemma.attn_logit_softcapping (50): this"},
        {"phi3", "attention.sliding_window", INT, 2047, NULL},
        {"qwen3moe", "expert_weights_norm", INT, 1, NULL},
        {"qwen3moe", "expert_gating_func", INT, 1, NULL},
        {"llama", "nextn_predict_layers", INT, 0, NULL},
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        struct tiny t = tiny_family(keys[i].arch);
        struct gguf_build b = tiny_build(&t);
        struct lie l = {.kind = keys[i].kind, .value = keys[i].value};
        apply(&b, tiny_key(&t, keys[i].key), &l);
        if (keys[i].expected) {
            check_refused(&b, keys[i].expected);
        } else {
            const char *text = open_message(&b);
            CHECK(!text[0], "%s.%s: \"%s\"", keys[i].arch, keys[i].key, text);
        }
    }
    char name[300] = "llama."; // longer than any that is known
    memset(name + 6, 'x', sizeof name - 7);
    struct tiny t = tiny_llama();
    struct gguf_build b = tiny_build(&t);
    build_u32(&b, name, 1);
    check_refused(&b, "key llama.xxxxxxxx");
}

/* Whoever wants to may run all the same, naming the whole key. */
static void test_ignored_keys(void) {
    static const char *const all[] = {"llama.other", "llama.nonsense"};
    struct tiny t = tiny_llama();
    for (size_t n = 0; n <= 2; n++) {
        struct gguf_build b = tiny_build(&t);
        struct error err = {KQ_OK, ""};
        struct gguf g;
        struct model m;
        size_t size;
        build_u32(&b, "llama.nonsense", 1);
        uint8_t *file = build_file(&b, &size);
        struct model_params params = {all, n};
        bool parsed = gguf_parse(&g, file, size, &err) == 0;
        bool opened = parsed && model_open(&m, &g, &params, &err) == 0;
        CHECK(parsed && opened == (n == 2), "%zu keys ignored: %s", n, err.text);
        if (opened) model_close(&m);
        gguf_close(&g);
        free(file);
        build_free(&b);
    }
}

/* An array with an entry for each layer must not be shorter. */
static void test_short_arrays(void) {
    static const char *const names[] = {"attention.head_count", "attention.head_count_kv",
                                        "feed_forward_length"};
    for (size_t i = 0; i < 3; i++) {
        struct tiny t = tiny_llama();
        t.n_layer = 3;
        struct gguf_build b = tiny_build(&t);
        int32_t v = i == 0 ? t.n_head : i == 1 ? t.n_head_kv : t.n_ff;
        build_i32s(&b, tiny_key(&t, names[i]), 2, (const int32_t[]){v, v});
        char expected[128];
        snprintf(expected, sizeof expected, "llama.%s has 2 entries, the model has 3 layers",
                 names[i]);
        check_refused(&b, expected);
    }
}

/* ---- allocations ----------------------------------------------------------------------------- */

/* What no machine has is refused, not attempted. */
static void test_too_large(void) {
    struct tiny t = tiny_llama();
    struct gguf_build b = tiny_build(&t);
    struct opened o = open_built(&b, "too large");
    struct error err = {KQ_OK, ""};
    struct threads *threads = threads_open(1, &err);
    struct transformer_params p = {.isa = isa_best(), .threads = threads, .n_batch = INT_MAX / 4};
    CHECK(!transformer_open(&o.m, &p, &err), "a batch of 2^29");
    CHECK(strstr(err.text, "a batch of 536870911 tokens is too large for rows of 64"), "\"%s\"",
          err.text);
    o.m.plan->memories[0].slot = INT64_MAX / 4; // what only a file of many gigabytes could confirm
    CHECK(model_memory(&o.m, 1 << 30, 1, true) == SIZE_MAX, "no overflow");
    o.m.plan->memories[0].slot = 1;
    o.m.plan->memories[0].state = INT64_MAX / 4;
    CHECK(model_memory(&o.m, 8, 1, true) > SIZE_MAX / 4, "the state counts");
    threads_close(threads);
    close_opened(&o);
}

/* ---- main ------------------------------------------------------------------------------------ */

int main(void) {
    test_keys();
    test_more_experts_than_bytes();
    test_missing_tensors();
    test_misshapen_tensors();
    test_types_of_tensors();
    test_left_over_tensors();
    test_unknown_keys();
    test_ignored_keys();
    test_short_arrays();
    test_too_large();
    return test_done("test_model");
}
