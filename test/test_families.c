/* Families and odd but legal models: tiny ones, built in memory, must run, and give the same logits
 * every way; NaN and infinite weights must neither crash nor hang.
 *
 *   test_families DIR   writes one small valid model per family there, for the fuzzer */
#include "changed_model.h"
#include "plan.h"

/* ---- odd but legal --------------------------------------------------------------------------- */

struct odd {
    const char *what;
    struct tiny t;
};

static void test_odd_shapes(void) {
    const struct odd odds[] = {
        {"head of 100", {"llama", 11, 1, 200, 2, 1, 100, 100, 64, .seed = 2}},
        {"head of 20", {"llama", 11, 2, 60, 3, 3, 20, 20, 44, .seed = 2}},
        {"embedding of 48", {"llama", 11, 2, 48, 4, 2, 12, 12, 96, .seed = 2}},
        {"one of everything", {"llama", 1, 1, 2, 1, 1, 2, 1, 1, .seed = 2}},
        {"embedding of 1", {"llama", 3, 1, 1, 1, 1, 2, 1, 1, .seed = 2, .tied = true}},
        {"one key head", {"llama", 11, 1, 32, 8, 1, 4, 4, 64, .seed = 2}},
        {"no groups", {"llama", 11, 1, 32, 4, 4, 8, 8, 64, .seed = 2}},
        {"groups of 7", {"qwen2", 11, 1, 28, 7, 1, 4, 4, 36, .seed = 2, .qkv_bias = true}},
        {"values shorter", {"llama", 11, 2, 32, 4, 2, 16, 6, 64, .seed = 2}},
        {"values longer", {"llama", 11, 2, 32, 4, 2, 4, 12, 64, .seed = 2}},
        {"heads wider than the embedding", {"llama", 11, 1, 16, 4, 2, 32, 32, 64, .seed = 2}},
        {"seven heads with ALiBi", {"refact", 11, 1, 32, 7, 1, 5, 3, 64, .seed = 2}},
        {"tied", {"llama", 11, 1, 32, 4, 2, 8, 8, 64, .seed = 2, .tied = true}},
        {"five layers of smollm3", {"smollm3", 11, 5, 32, 4, 2, 8, 8, 64, .seed = 2}},
        {"f16", {"llama", 11, 1, 30, 3, 1, 10, 10, 50, .type = GGML_TYPE_F16, .seed = 2}},
        {"bf16", {"llama", 11, 1, 30, 3, 1, 10, 10, 50, .type = GGML_TYPE_BF16, .seed = 2}},
        {"q8_0", {"llama", 11, 1, 96, 3, 1, 32, 32, 160, .type = GGML_TYPE_Q8_0, .seed = 2}},
        {"q5_1", {"llama", 11, 1, 96, 3, 1, 32, 32, 160, .type = GGML_TYPE_Q5_1, .seed = 2}},
        {"q4_k", {"llama", 11, 1, 256, 4, 2, 64, 64, 512, .type = GGML_TYPE_Q4_K, .seed = 2}},
        {"q6_k", {"llama", 11, 1, 512, 4, 2, 128, 128, 256, .type = GGML_TYPE_Q6_K, .seed = 2}},
        {"one expert", {"llama", 11, 1, 32, 4, 2, 8, 8, 64, 1, 1, .seed = 2}},
        {"all experts", {"llama", 11, 2, 32, 4, 2, 8, 8, 64, 5, 5, .seed = 2}},
        {"nine of seventeen", {"llama", 11, 1, 32, 4, 2, 8, 8, 20, 17, 9, .seed = 2}},
    };
    for (size_t i = 0; i < sizeof odds / sizeof odds[0]; i++) {
        free(run_tiny(&odds[i].t, odds[i].what));
    }
}

/* Those that are llama with some other norms, biases or fused matrices; the others' shapes are too
 * much their own: test_transformer runs golden models of all. */
static void test_families(void) {
    static const char *const names[] = {
        "llama",    "refact",  "granite",       "granitemoe", "minicpm", "internlm2",
        "mistral3", "xverse",  "ernie4_5",      "exaone",     "qwen2",   "qwen3",
        "qwen3moe", "phi3",    "hunyuan-dense", "seed_oss",   "gpt-oss", "glm4",
        "olmo2",    "exaone4", "gemma",         "gemma2",     "gemma3",  "smollm3"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct tiny t = tiny_family(names[i]);
        free(run_tiny(&t, names[i]));
    }
    char few[8];
    model_families(few, sizeof few);
    CHECK(strcmp(few, "gpt2, s") == 0, "cut to \"%s\"", few);
}

/* The text part of a model that sees is the model without eyes. */
static void test_vision_models(void) {
    static const char *const pairs[][2] = {
        {"qwen2", "qwen2vl"}, {"qwen3", "qwen3vl"}, {"qwen3moe", "qwen3vlmoe"}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        float *rows[2];
        struct tiny t = tiny_family(pairs[i][0]);
        for (int k = 0; k < 2; k++) {
            t.arch = pairs[i][k];
            rows[k] = run_tiny(&t, t.arch);
        }
        size_t bytes = N_TOKENS * (size_t)t.n_vocab * sizeof(float);
        CHECK(rows[0] && rows[1] && memcmp(rows[0], rows[1], bytes) == 0, "%s", t.arch);
        free(rows[0]);
        free(rows[1]);
    }
}

static struct gguf_build with(const struct tiny *t, const char *key, const struct lie *l) {
    struct gguf_build b = tiny_build(t);
    apply(&b, tiny_key(t, key), l);
    return b;
}

/* The first row of logits, of a model with one key set. */
static float *with_float(const struct tiny *t, const char *key, float number) {
    struct lie l = {.kind = FLOAT, .value = (double)number};
    struct gguf_build b = with(t, key, &l);
    return run_every_way(&b, key, true);
}

/* Numbers that the file may set: each must do something, except where it says nothing new. */
static void test_numbers(void) {
    static const struct {
        const char *arch, *key;
        float same, other; // same: what the default is
    } numbers[] = {
        {"llama", "rope.freq_base", 10000, 500000},
        {"llama", "rope.scaling.factor", 1, 4},
        {"llama", "rope.scale_linear", 1, 4},
        {"llama", "rope.scaling.attn_factor", 1, 2},
        {"granite", "attention.scale", 0.35355338f, 1},
        {"gemma3", "final_logit_softcapping", 0, 0.5f},
        {"granite", "embedding_scale", 1, 3},
        {"granite", "residual_scale", 1, 0.2f},
        {"granite", "logit_scale", 1, 8},
        {"gemma2", "attn_logit_softcapping", 50, 0.5f},
        {"gemma2", "final_logit_softcapping", 30, 0.5f},
        {"gemma3", "rope.freq_base_swa", 10000, 1000},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct tiny t = tiny_family(numbers[i].arch);
        struct gguf_build plain = tiny_build(&t);
        float *unset = run_every_way(&plain, numbers[i].key, true);
        float *same = with_float(&t, numbers[i].key, numbers[i].same);
        float *other = with_float(&t, numbers[i].key, numbers[i].other);
        size_t bytes = N_TOKENS * (size_t)t.n_vocab * sizeof *unset;
        CHECK(memcmp(unset, same, bytes) == 0, "%s %s", t.arch, numbers[i].key);
        CHECK(memcmp(unset, other, bytes) != 0, "%s %s", t.arch, numbers[i].key);
        free(unset);
        free(same);
        free(other);
    }
}

/* A larger divisor makes logits smaller by as much; the embedding's scale is gone after a norm. */
static void test_granite_scales(void) {
    struct tiny t = tiny_family("granite");
    float *plain = run_tiny(&t, "granite"), *eighth = with_float(&t, "logit_scale", 8);
    for (int i = 0; i < N_TOKENS * t.n_vocab; i++) {
        CHECK(plain[i] == 8 * eighth[i], "%g is not 8 times %g", (double)plain[i],
              (double)eighth[i]);
    }
    free(plain);
    free(eighth);
}

/* ---- one model, written down in two ways ----------------------------------------------------- */

/* Rows or bytes of several tensors one after the other, into a new one; the old ones go. */
static void join(struct gguf_build *b, const char *name, int n, const char *const *parts) {
    struct gguf_writer data = {0};
    const struct build_tensor *first = build_find_tensor(b, parts[0]);
    uint64_t ne[2] = {first->ne[0], 0};
    uint32_t type = first->type;
    bool vector = first->n_dims == 1;
    if (vector) ne[0] = 0;
    for (int i = 0; i < n; i++) {
        const struct build_tensor *part = build_find_tensor(b, parts[i]);
        ne[vector ? 0 : 1] += part->ne[vector ? 0 : 1];
        gguf_write(&data, part->data.data, part->data.len);
    }
    for (int i = 0; i < n; i++) build_remove_tensor(b, parts[i]);
    build_tensor(b, name, type, ne[0], ne[1], data.data);
    free(data.data);
}

static void test_fused_tensors(void) {
    struct tiny t = tiny_family("qwen2");
    t.n_layer = 1;
    struct gguf_build separate = tiny_build(&t), fused = tiny_build(&t);
    join(
        &fused, "blk.0.attn_qkv.weight", 3,
        (const char *const[]){"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"});
    join(&fused, "blk.0.attn_qkv.bias", 3,
         (const char *const[]){"blk.0.attn_q.bias", "blk.0.attn_k.bias", "blk.0.attn_v.bias"});
    join(&fused, "blk.0.ffn_up.weight", 2,
         (const char *const[]){"blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"});
    check_equal(&separate, &fused, t.n_vocab, "fused tensors");
}

/* Weights of each plane times a power of two, and what takes it back beside them. */
static void move_to_scale(struct gguf_build *b, const char *name, int n_planes, float factor) {
    char full[64];
    float scales[8];
    snprintf(full, sizeof full, "%s.weight", name);
    const struct build_tensor *t = build_find_tensor(b, full);
    size_t n = t->data.len / sizeof(float) / (size_t)n_planes;
    for (int e = 0; e < n_planes; e++, factor *= 2) {
        float *w = (float *)(void *)t->data.data + n * (size_t)e;
        for (size_t i = 0; i < n; i++) w[i] *= factor;
        scales[e] = 1 / factor;
    }
    snprintf(full, sizeof full, "%s.scale", name);
    build_tensor(b, full, GGML_TYPE_F32, (uint64_t)n_planes, 0, scales);
}

/* NAME.scale is a factor of what the product makes, before its bias, one for each expert;
 * NAME.input_scale has no meaning for activations in float32. */
static void test_tensor_scales(void) {
    struct tiny t = tiny_family("qwen2");
    t.n_layer = 1;
    struct gguf_build plain = tiny_build(&t), with_scales = tiny_build(&t);
    struct gguf_build *const both[] = {&plain, &with_scales};
    for (int i = 0; i < 2; i++) {
        join(both[i], "blk.0.attn_qkv.weight", 3,
             (const char *const[]){"blk.0.attn_q.weight", "blk.0.attn_k.weight",
                                   "blk.0.attn_v.weight"});
        join(both[i], "blk.0.attn_qkv.bias", 3,
             (const char *const[]){"blk.0.attn_q.bias", "blk.0.attn_k.bias", "blk.0.attn_v.bias"});
    }
    static const char *const names[] = {"blk.0.attn_qkv", "blk.0.attn_output", "blk.0.ffn_up",
                                        "blk.0.ffn_gate", "blk.0.ffn_down",    "output"};
    for (int i = 0; i < 6; i++) move_to_scale(&with_scales, names[i], 1, ldexpf(1, i - 3));
    build_tensor(&with_scales, "blk.0.attn_qkv.input_scale", GGML_TYPE_F32, 1, 0, (float[]){7});
    check_equal(&plain, &with_scales, t.n_vocab, "scales of tensors");

    t = tiny_family("qwen3moe");
    t.n_layer = 1;
    plain = tiny_build(&t);
    with_scales = tiny_build(&t);
    move_to_scale(&with_scales, "blk.0.ffn_gate_exps", t.n_expert, 0.25f);
    move_to_scale(&with_scales, "blk.0.ffn_up_exps", t.n_expert, 1);
    move_to_scale(&with_scales, "blk.0.ffn_down_exps", t.n_expert, 0.5f);
    check_equal(&plain, &with_scales, t.n_vocab, "scales of experts");

    struct gguf_build wrong = tiny_build(&t);
    build_tensor(&wrong, "blk.0.ffn_up_exps.scale", GGML_TYPE_F32, 1, 0, NULL);
    check_refused(&wrong, "blk.0.ffn_up_exps.scale: expected 3 x 1 x 1, found 1 x 1 x 1");
    wrong = tiny_build(&t);
    build_tensor(&wrong, "blk.0.attn_q.scale", GGML_TYPE_F16, 1, 0, NULL);
    check_refused(&wrong, "blk.0.attn_q.scale: expected aligned F32, found type 1");
    wrong = tiny_build(&t);
    build_tensor(&wrong, "blk.0.attn_norm.scale", GGML_TYPE_F32, 1, 0, NULL);
    check_refused(&wrong, "blk.0.attn_norm.scale is not part of a model of qwen3moe");
}

static void test_tied_output(void) {
    struct tiny t = tiny_llama();
    t.tied = true;
    struct gguf_build tied = tiny_build(&t), twice = tiny_build(&t);
    const struct build_tensor *embd = build_find_tensor(&twice, "token_embd.weight");
    uint64_t ne[2] = {embd->ne[0], embd->ne[1]};
    build_tensor(&twice, "output.weight", embd->type, ne[0], ne[1],
                 build_find_tensor(&tied, "token_embd.weight")->data.data);
    check_equal(&tied, &twice, t.n_vocab, "tied output");
}

/* One tensor for each expert, as the first Mixtral files have it. */
static void test_separate_experts(void) {
    static const char *const kinds[] = {"gate", "up", "down"};
    struct tiny t = tiny_llama();
    t.n_layer = 1;
    t.n_expert = 3;
    t.n_used = 2;
    struct gguf_build together = tiny_build(&t), apart = tiny_build(&t);
    for (int kind = 0; kind < 3; kind++) {
        char name[64];
        snprintf(name, sizeof name, "blk.0.ffn_%s_exps.weight", kinds[kind]);
        build_remove_tensor(&apart, name);
        const struct build_tensor *all = build_find_tensor(&together, name);
        for (int e = 0; e < 3; e++) {
            snprintf(name, sizeof name, "blk.0.ffn_%s.%d.weight", kinds[kind], e);
            build_tensor(&apart, name, all->type, all->ne[0], all->ne[1],
                         all->data.data + all->data.len / 3 * (size_t)e);
        }
    }
    struct gguf_build one_less = tiny_build(&t);
    build_remove_tensor(&one_less, "blk.0.ffn_up_exps.weight");
    check_equal(&together, &apart, t.n_vocab, "separate experts");
    check_refused(&one_less, "tensor blk.0.ffn_up.0.weight is missing");
}

/* The dense model's feed-forward becomes expert e of layer il. */
static void set_expert(struct gguf_build *moe, int il, int e, struct gguf_build *dense) {
    static const char *const kinds[] = {"gate", "up", "down"};
    for (int kind = 0; kind < 3; kind++) {
        char rest[32];
        snprintf(rest, sizeof rest, "ffn_%s.weight", kinds[kind]);
        const struct gguf_writer *one = &build_find_tensor(dense, tiny_name(il, rest))->data;
        snprintf(rest, sizeof rest, "ffn_%s_exps.weight", kinds[kind]);
        struct build_tensor *planes = build_find_tensor(moe, tiny_name(il, rest));
        memcpy(planes->data.data + (size_t)e * one->len, one->data, one->len);
    }
}

/* One expert is used: the model is the dense one with that expert's weights. */
static void test_router(void) {
    struct tiny t = tiny_llama();
    t.n_layer = 1;
    struct gguf_build dense = tiny_build(&t), same = tiny_build(&t);
    t.n_expert = 3;
    t.n_used = 1;
    struct gguf_build tie = tiny_build(&t), routed = tiny_build(&t);
    float router[3 * 32] = {0};
    build_tensor(&tie, "blk.0.ffn_gate_inp.weight", GGML_TYPE_F32, 32, 3, router);
    set_expert(&tie, 0, 0, &dense); // of equal logits the first is taken
    check_equal(&tie, &same, t.n_vocab, "a tie between experts");
    // logits are -x, 0 and x: expert 0 or 2 has the largest
    router[5] = -1;
    router[2 * 32 + 5] = 1;
    build_tensor(&routed, "blk.0.ffn_gate_inp.weight", GGML_TYPE_F32, 32, 3, router);
    set_expert(&routed, 0, 0, &dense);
    set_expert(&routed, 0, 2, &dense);
    check_equal(&routed, &dense, t.n_vocab, "the expert with the largest logit");
}

/* Two experts with the same weights are one: their shares add up to 1. */
static void test_expert_weights(void) {
    struct tiny t = tiny_llama();
    struct gguf_build dense = tiny_build(&t);
    t.n_expert = t.n_used = 2;
    struct gguf_build moe = tiny_build(&t);
    for (int i = 0; i < 4; i++) set_expert(&moe, i / 2, i % 2, &dense);
    float *x = run_every_way(&dense, "dense", true), *y = run_every_way(&moe, "experts", true);
    for (int i = 0; i < N_TOKENS * t.n_vocab; i++) {
        CHECK(fabsf(x[i] - y[i]) < 1e-4f, "logit %d: %g, with experts %g", i, (double)x[i],
              (double)y[i]);
    }
    free(x);
    free(y);
}

static void test_keys_that_say_nothing(void) {
    struct tiny t = tiny_llama();
    struct gguf_build a = tiny_build(&t), b = tiny_build(&t);
    build_u32(&b, "llama.rope.dimension_count", 8);
    build_str(&b, "llama.rope.scaling.type", "none");
    build_f32(&b, "llama.rope.scaling.factor", 4); // of no scaling
    build_i32s(&b, "llama.attention.head_count_kv", 2, (const int32_t[]){2, 2});
    build_i32s(&b, "llama.feed_forward_length", 2, (const int32_t[]){64, 64});
    build_u64(&b, "llama.embedding_length", 32);
    build_u8(&b, "llama.attention.head_count", 4);
    build_f64(&b, "llama.attention.layer_norm_rms_epsilon", (double)1e-5f);
    build_u32(&b, "llama.vocab_size", 7); // the embedding knows better
    build_u32(&b, "llama.attention.sliding_window", 0);
    build_f32(&b, "llama.final_logit_softcapping", 0);
    build_f32(&b, "llama.attn_logit_softcapping", 0);
    build_f32(&b, "llama.logit_scale", 1);
    build_bool(&b, "llama.attention.causal", true);
    build_str(&b, "llama.tensor_data_layout", "Meta AI original pth");
    build_i32s(&b, "llama.rope.dimension_sections", 4, (const int32_t[]){1, 1, 2, 0});
    build_u32(&b, "llama.vision.block_count", 3);
    build_u32(&b, "llama2.nonsense", 3); // another's
    build_u32(&b, "llama", 3);
    build_tensor(&b, "rope_freqs.weight", GGML_TYPE_F32, 4, 0, (const float[]){1, 1, 1, 1});
    check_equal(&a, &b, t.n_vocab, "keys that say nothing");
}

static void test_rope(void) {
    struct tiny t = tiny_llama();
    struct gguf_build linear = tiny_build(&t), factors = tiny_build(&t);
    build_str(&linear, "llama.rope.scaling.type", "linear");
    build_f32(&linear, "llama.rope.scaling.factor", 4);
    build_tensor(&factors, "rope_freqs.weight", GGML_TYPE_F32, 4, 0, (const float[]){4, 4, 4, 4});
    check_equal(&linear, &factors, t.n_vocab, "linear scaling is a factor");

    // without rope a token does not know where it is: the same ones everywhere, the same logits
    t.n_vocab = 1;
    struct gguf_build none = tiny_build(&t);
    build_u32(&none, "llama.rope.dimension_count", 0);
    float *rows = run_every_way(&none, "no rope", true);
    CHECK(fabsf(rows[0] - rows[N_TOKENS - 1]) < 1e-5f, "%g, %g", (double)rows[0],
          (double)rows[N_TOKENS - 1]);
    free(rows);
}

/* Each tensor that may be there does something. */
static void test_optional_tensors(void) {
    static const struct {
        const char *name;
        int n;
    } tensors[] = {
        {"blk.1.attn_q.bias", 32},      {"blk.1.attn_k.bias", 16}, {"blk.1.attn_v.bias", 16},
        {"blk.1.attn_output.bias", 32}, {"rope_freqs.weight", 4},
    };
    struct tiny t = tiny_llama();
    size_t bytes = N_TOKENS * (size_t)t.n_vocab * sizeof(float);
    float *without = run_tiny(&t, "no optional tensors");
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        struct gguf_build b = tiny_build(&t);
        tiny_vector(&b, &t, tensors[i].name, tensors[i].n, 2);
        float *rows = run_every_way(&b, tensors[i].name, true);
        CHECK(memcmp(rows, without, bytes) != 0, "%s does nothing", tensors[i].name);
        free(rows);
    }
    // weights of attention add up to 1: a bias of all values is one of the output
    struct gguf_build values = tiny_build(&t), output = tiny_build(&t);
    float bias[16], sums[32] = {0};
    for (int i = 0; i < 16; i++) bias[i] = 0.1f * (float)i;
    const float *w =
        (const float *)(void *)build_find_tensor(&output, "blk.1.attn_output.weight")->data.data;
    for (int i = 0; i < 32 * 32; i++) { // two heads share each value
        sums[i / 32] += w[i] * bias[i % 32 / 16 * 8 + i % 8];
    }
    build_tensor(&values, "blk.1.attn_v.bias", GGML_TYPE_F32, 16, 0, bias);
    build_tensor(&output, "blk.1.attn_output.bias", GGML_TYPE_F32, 32, 0, sums);
    float *x = run_every_way(&values, "a bias of values", true);
    float *y = run_every_way(&output, "a bias of the output", true);
    for (int i = 0; i < N_TOKENS * t.n_vocab; i++) {
        CHECK(fabsf(x[i] - y[i]) < 1e-2f, "logit %d: %g and %g", i, (double)x[i], (double)y[i]);
    }
    free(x);
    free(y);
    free(without);
}

/* Does the key change the logits of a model in which layer il alone looks at other tokens? */
static bool matters_in(const struct tiny *t, int il, const struct lie *l) {
    float *rows[2];
    for (int i = 0; i < 2; i++) {
        struct gguf_build b = tiny_build(t);
        if (i == 1) apply(&b, tiny_key(t, l->key), l);
        for (int other = 0; other < t->n_layer; other++) {
            struct gguf_writer *o =
                &build_find_tensor(&b, tiny_name(other, "attn_output.weight"))->data;
            if (other != il) memset(o->data, 0, o->len);
        }
        rows[i] = run_every_way(&b, l->key, true);
    }
    bool same = memcmp(rows[0], rows[1], N_TOKENS * (size_t)t->n_vocab * 4) == 0;
    free(rows[0]);
    free(rows[1]);
    return !same;
}

/* Positions that layer il looks back on; 0: all. */
static int window_of(const struct model *m, int il) {
    return m->plan->memories[il].window; // one layer, one memory
}

static bool has_rope(const struct model *m, int il) {
    bool found = false;
    for (int i = 0; i < m->plan->n_steps; i++) {
        const struct step *s = &m->plan->steps[i];
        found = found || (s->il == il && strcmp(s->kind->name, "rope") == 0);
    }
    return found;
}

static void multiply(struct gguf_build *b, const char *name, float by) {
    struct gguf_writer *data = &build_find_tensor(b, name)->data;
    for (size_t i = 0; i < data->len; i += 4) {
        float x;
        memcpy(&x, data->data + i, 4);
        x *= by;
        memcpy(data->data + i, &x, 4);
    }
}

/* What Gemma 2 takes for granted, and how its model of 46 layers (27B) scales attention: by the 8
 * values of the embedding for each head, not the 32 that a head has. So it is the model of 47
 * layers whose last adds nothing and whose other queries are twice as long. */
static void test_gemma2_defaults(void) {
    struct tiny t = tiny_family("gemma2");
    t.dim_k = 32;
    t.n_layer = 46;
    struct gguf_build b = tiny_build(&t), few = tiny_build(&t);
    build_remove(&b, "gemma2.attention.sliding_window");
    struct opened o = open_built(&b, "gemma2");
    CHECK(o.ok && window_of(&o.m, 0) == 4096 && window_of(&o.m, 1) == 0, "windows");
    close_opened(&o);
    t.n_layer = 47;
    struct gguf_build many = tiny_build(&t);
    for (int il = 0; il < 46; il++) multiply(&many, tiny_name(il, "attn_q.weight"), 2);
    multiply(&many, tiny_name(46, "attn_output.weight"), 0);
    multiply(&many, tiny_name(46, "ffn_down.weight"), 0);
    check_equal(&few, &many, t.n_vocab, "the scale of gemma2's 46 layers");
}

/* EXAONE 4 has windows in its model of 64 layers (32B) alone, and there no rope in the others. */
static void test_exaone4(void) {
    struct tiny t = tiny_family("exaone4");
    for (t.n_layer = 63; t.n_layer <= 64; t.n_layer++) {
        struct gguf_build b = tiny_build(&t);
        build_remove(&b, "exaone4.attention.sliding_window");
        struct opened o = open_built(&b, "exaone4");
        for (int il = 0; o.ok && il < t.n_layer; il++) {
            bool global = t.n_layer < 64 || il % 4 == 3;
            CHECK(window_of(&o.m, il) == (global ? 0 : 4096), "layer %d of %d: window %d", il,
                  t.n_layer, window_of(&o.m, il));
            CHECK(has_rope(&o.m, il) == (t.n_layer < 64 || !global), "layer %d of %d: rope", il,
                  t.n_layer);
        }
        CHECK(o.ok, "exaone4 of %d layers", t.n_layer);
        close_opened(&o);
    }
}

/* An array of bools says of each layer whether it has a window. */
static void test_window_of_each_layer(void) {
    static const bool layers[] = {false, true, true, false, true};
    struct tiny t = tiny_family("olmo2");
    t.n_layer = 5;
    t.windows = true;
    for (size_t n = 4; n <= 5; n++) {
        struct gguf_build b = tiny_build(&t);
        build_bools(&b, "olmo2.attention.sliding_window_pattern", n, layers);
        if (n < 5) {
            check_refused(&b, "sliding_window_pattern has 4 entries, the model has 5 layers");
            continue;
        }
        struct opened o = open_built(&b, "olmo2");
        for (int il = 0; o.ok && il < 5; il++) {
            CHECK(window_of(&o.m, il) == 4 * layers[il], "layer %d: %d", il, window_of(&o.m, il));
        }
        CHECK(o.ok, "olmo2 with an array");
        close_opened(&o);
    }
}

/* Which layers have rope, and which have a window. */
static void test_layers(void) {
    const struct lie base = {.key = "rope.freq_base", .kind = FLOAT, .value = 100};
    const struct lie window = {.key = "attention.sliding_window", .kind = INT, .value = 7};
    struct tiny smollm3 = tiny_family("smollm3"), gemma2 = tiny_family("gemma2");
    struct tiny gemma3 = tiny_family("gemma3"), olmo2 = tiny_family("olmo2");
    smollm3.n_layer = 5;
    olmo2.n_layer = 5;
    olmo2.windows = true;
    gemma2.n_layer = 4;
    gemma3.n_layer = 7;
    for (int il = 0; il < 7; il++) {
        if (il < 5) CHECK(matters_in(&smollm3, il, &base) == (il != 3), "smollm3, layer %d", il);
        if (il < 5) CHECK(matters_in(&olmo2, il, &window) == (il != 3), "olmo2, layer %d", il);
        if (il < 4) CHECK(matters_in(&gemma2, il, &window) == (il % 2 == 0), "gemma2, %d", il);
        CHECK(matters_in(&gemma3, il, &window) == (il != 5), "gemma3, layer %d", il);
        CHECK(matters_in(&gemma3, il, &base) == (il == 5), "gemma3, base of layer %d", il);
    }
}

/* ---- numbers at the edge --------------------------------------------------------------------- */

/* Settings at the edge of what floats can hold. */
static void test_extreme_numbers(void) {
    static const struct lie extremes[] = {
        {"llama", "rope.freq_base", FLOAT, 1, NULL},
        {"llama", "rope.freq_base", FLOAT, 1e-38, NULL},
        {"llama", "rope.freq_base", FLOAT, 3e38, NULL},
        {"llama", "rope.scaling.factor", FLOAT, 1e-38, NULL},
        {"llama", "rope.scaling.factor", FLOAT, 3e38, NULL},
        {"llama", "rope.scaling.yarn_beta_fast", FLOAT, 0, NULL},
        {"llama", "rope.scaling.yarn_beta_slow", FLOAT, 3e38, NULL},
        {"llama", "rope.scaling.original_context_length", INT, BIG, NULL},
        {"llama", "rope.scaling.attn_factor", FLOAT, 3e38, NULL},
        {"granite", "attention.scale", FLOAT, 3e38, NULL},
        {"gemma2", "attn_logit_softcapping", FLOAT, 1e-38, NULL},
        {"gemma2", "final_logit_softcapping", FLOAT, 3e38, NULL},
        {"granite", "logit_scale", FLOAT, 1e-38, NULL},
        {"granite", "logit_scale", FLOAT, 0, NULL},
        {"granite", "embedding_scale", FLOAT, 0, NULL},
        {"llama", "attention.layer_norm_rms_epsilon", FLOAT, 3e38, NULL},
        {"gemma2", "attention.sliding_window", INT, 1, NULL},
        {"gemma2", "attention.sliding_window", INT, BIG, NULL},
        {"gemma3", "attention.sliding_window", INT, 3, NULL},
    };
    for (size_t i = 0; i < sizeof extremes / sizeof extremes[0]; i++) {
        struct tiny t = tiny_family(extremes[i].arch);
        for (int yarn = 0; yarn < 2; yarn++) {
            struct gguf_build b = with(&t, extremes[i].key, &extremes[i]);
            if (yarn) build_str(&b, tiny_key(&t, "rope.scaling.type"), "yarn");
            free(run_every_way(&b, extremes[i].key, false));
        }
    }
}

/* ---- what else a model says about itself ----------------------------------------------------- */

/* The weights that one token is multiplied with: of each tensor but the embedding, and of the
 * experts as many as are used. */
static void test_work(void) {
    static const char *const archs[] = {"llama", "phi3", "gemma", "qwen3moe"};
    for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++) {
        struct tiny t = tiny_family(archs[i]);
        t.n_layer = 3;
        struct gguf_build b = tiny_build(&t);
        struct opened o = open_built(&b, archs[i]);
        int64_t heads = 2 * t.n_head * t.dim_k + 2 * t.n_head_kv * t.dim_k; // q, o; k, v
        int64_t ffn = 3 * t.n_ff * (t.n_expert ? t.n_used : 1) + t.n_expert;
        int64_t macs = t.n_embd * (t.n_layer * (heads + ffn) + t.n_vocab);
        struct model_work work = model_work(&o.m);
        CHECK(work.macs == macs, "%s: %lld, expected %lld", archs[i], (long long)work.macs,
              (long long)macs);
        CHECK(work.bytes == 4 * macs, "%s: %lld bytes", archs[i], (long long)work.bytes);
        CHECK(work.integer_macs == 0, "%s: F32 as integers", archs[i]);
        work = model_logits_work(&o.m);
        CHECK(work.macs == t.n_embd * t.n_vocab, "%s: %lld for logits", archs[i],
              (long long)work.macs);
        close_opened(&o);
    }
}

/* Gemma 3's layers with a window turn without the scaling of the others; with the same base and no
 * scaling the window's layers turn as those without. */
static void test_rope_of_windows(void) {
    float *rows[2];
    for (int i = 0; i < 2; i++) {
        struct tiny t = tiny_family("gemma3");
        struct gguf_build b = tiny_build(&t);
        build_f32(&b, "gemma3.rope.freq_base", 10000);
        build_f32(&b, "gemma3.rope.freq_base_swa", 10000);
        build_u32(&b, "gemma3.attention.sliding_window", i ? 64 : 0);
        struct opened o = open_built(&b, "gemma3");
        rows[i] = o.ok ? logits_with(&o.m, isa_best(), 1, 5, false) : NULL;
        close_opened(&o);
    }
    size_t bytes = N_TOKENS * (size_t)tiny_llama().n_vocab * sizeof(float);
    CHECK(rows[0] && rows[1] && memcmp(rows[0], rows[1], bytes) == 0, "gemma3: rope of windows");
    free(rows[0]);
    free(rows[1]);
}

/* ---- main ------------------------------------------------------------------------------------ */

/* One file per family that has something of its own, below 8 kB. */
static void write_seeds(const char *dir) {
    static const char *const names[] = {"llama",    "granite", "granitemoe", "qwen2",  "qwen3",
                                        "qwen3moe", "phi3",    "gemma",      "gemma2", "gemma3",
                                        "smollm3",  "olmo2",   "seed_oss",   "gpt-oss"};
    char path[512];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct tiny t = tiny_family(names[i]);
        bool small = t.fused || t.n_expert > 0;
        t.n_layer = 1;
        t.n_vocab = 5;
        t.n_embd = small ? 16 : 32;
        t.n_ff = small ? 8 : 32;
        t.n_head = 2;
        t.n_head_kv = 1;
        t.type = small ? GGML_TYPE_F16 : GGML_TYPE_Q5_1;
        struct gguf_build b = tiny_build(&t);
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        build_write(&b, path);
        build_free(&b);
    }
}

int main(int argc, char **argv) {
    if (argc == 2) {
        write_seeds(argv[1]);
        return 0;
    }
    test_odd_shapes();
    test_families();
    test_vision_models();
    test_numbers();
    test_granite_scales();
    test_fused_tensors();
    test_tensor_scales();
    test_tied_output();
    test_separate_experts();
    test_router();
    test_expert_weights();
    test_keys_that_say_nothing();
    test_rope();
    test_optional_tensors();
    test_gemma2_defaults();
    test_exaone4();
    test_window_of_each_layer();
    test_layers();
    test_extreme_numbers();
    test_work();
    test_rope_of_windows();
    return test_done("test_families");
}
