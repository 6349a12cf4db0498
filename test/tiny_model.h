/* Whole models of a few kilobytes for tests, built in memory: any shape, and the tensors that the
 * golden model of the family has. */
#ifndef TINY_MODEL_H
#define TINY_MODEL_H

#include "gguf.h"
#include "gguf_build.h"
#include "quant.h"
#include "test.h"

struct tiny {
    const char *arch;
    int n_vocab, n_layer, n_embd, n_head, n_head_kv, dim_k, dim_v, n_ff;
    int n_expert, n_used; // 0: dense
    uint32_t type;        // of the matrices
    bool tied;            // no output.weight
    bool fused;           // attn_qkv, and gate with up
    bool qkv_bias, qk_norm, post_norms;
    bool no_pre_norms; // no attn_norm, no ffn_norm
    bool wide_qk_norm; // over all heads
    bool ffn_norm_is_post_attention;
    bool sinks, expert_biases, output_bias;
    bool windows;     // of 4 positions
    bool logit_scale; // of 1
    uint64_t seed;
};

static inline struct tiny tiny_llama(void) {
    return (struct tiny){.arch = "llama",
                         .n_vocab = 11,
                         .n_layer = 2,
                         .n_embd = 32,
                         .n_head = 4,
                         .n_head_kv = 2,
                         .dim_k = 8,
                         .dim_v = 8,
                         .n_ff = 64,
                         .seed = 1};
}

/* The tensor of the first layer. */
static inline const struct gguf_tensor *golden_tensor(const struct gguf *g, const char *rest) {
    char name[64];
    snprintf(name, sizeof name, "blk.0.%s", rest);
    return gguf_find_tensor(g, name);
}

/* What else the family has, told by its golden model: others wrote down which tensors that is. */
static inline struct tiny tiny_family(const char *arch) {
    struct tiny t = tiny_llama();
    struct gguf g;
    struct error err;
    char path[128], key[128];
    snprintf(path, sizeof path, "test/data/models/%s.gguf", arch);
    if (gguf_open(&g, path, &err) != 0) {
        printf("%s: %s\n", path, err.text);
        exit(1);
    }
    t.arch = arch;
    t.tied = !gguf_find_tensor(&g, "output.weight");
    t.fused = golden_tensor(&g, "attn_qkv.weight");
    t.qkv_bias = golden_tensor(&g, "attn_q.bias") || golden_tensor(&g, "attn_qkv.bias");
    t.no_pre_norms = !golden_tensor(&g, "attn_norm.weight");
    t.post_norms = golden_tensor(&g, "post_ffw_norm.weight");
    t.ffn_norm_is_post_attention = !t.no_pre_norms && !golden_tensor(&g, "ffn_norm.weight");
    t.sinks = golden_tensor(&g, "attn_sinks.weight");
    t.expert_biases = golden_tensor(&g, "ffn_gate_exps.bias");
    const struct gguf_tensor *norm = golden_tensor(&g, "attn_q_norm.weight"),
                             *q = golden_tensor(&g, "attn_q.weight");
    t.output_bias = golden_tensor(&g, "attn_output.bias");
    t.qk_norm = norm;
    t.wide_qk_norm = norm && q && norm->ne[0] == q->ne[1];
    if (golden_tensor(&g, "ffn_gate_inp.weight")) {
        t.n_expert = 3;
        t.n_used = 2;
    }
    snprintf(key, sizeof key, "%s.attention.sliding_window", arch);
    t.windows = gguf_find(&g, key);
    snprintf(key, sizeof key, "%s.logit_scale", arch);
    t.logit_scale = gguf_find(&g, key);
    gguf_close(&g);
    return t;
}

static inline const char *tiny_key(const struct tiny *t, const char *name) {
    static char key[128];
    snprintf(key, sizeof key, "%s.%s", t->arch, name);
    return key;
}

/* n normal numbers of the deviation given around `mean`, the same for the same name and seed. */
static inline float *tiny_floats(const struct tiny *t, const char *name, size_t n, float mean,
                                 float deviation) {
    uint64_t state = t->seed + 0x9E3779B97F4A7C15ull;
    for (const char *c = name; *c; c++) state = (state ^ (uint8_t)*c) * 0x100000001b3ull;
    float *x = build_realloc(NULL, n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = mean + deviation * test_normal(&state);
    return x;
}

static inline void tiny_vector(struct gguf_build *b, const struct tiny *t, const char *name, int n,
                               float mean) {
    float *x = tiny_floats(t, name, (size_t)n, mean, 0.1f);
    build_tensor(b, name, GGML_TYPE_F32, (uint64_t)n, 0, x);
    free(x);
}

/* n_rows vectors of n around 0. */
static inline void tiny_biases(struct gguf_build *b, const struct tiny *t, const char *name, int n,
                               int n_rows) {
    float *x = tiny_floats(t, name, (size_t)n * (size_t)n_rows, 0, 0.1f);
    build_tensor(b, name, GGML_TYPE_F32, (uint64_t)n, (uint64_t)n_rows, x);
    free(x);
}

/* n_planes 0: two dimensions. Rows whose length is no whole number of blocks stay F32. */
static inline void tiny_matrix(struct gguf_build *b, const struct tiny *t, const char *name,
                               int n_cols, int n_rows, int n_planes) {
    bool whole = n_cols % ggml_type_info(t->type)->block_len == 0;
    uint32_t type = whole ? t->type : GGML_TYPE_F32;
    uint64_t ne[3] = {(uint64_t)n_cols, (uint64_t)n_rows, n_planes ? (uint64_t)n_planes : 1};
    size_t n = (size_t)(ne[0] * ne[1] * ne[2]);
    float *x = tiny_floats(t, name, n, 0, 0.2f);
    struct build_tensor *tensor = build_tensor_nd(b, name, type, n_planes ? 3 : 2, ne, NULL);
    quantize_row(type, x, tensor->data.data, (int64_t)n);
    free(x);
}

static inline const char *tiny_name(int il, const char *rest) {
    static char name[64];
    snprintf(name, sizeof name, "blk.%d.%s", il, rest);
    return name;
}

static inline void tiny_attention(struct gguf_build *b, const struct tiny *t, int il) {
    int nq = t->n_head * t->dim_k, nk = t->n_head_kv * t->dim_k, nv = t->n_head_kv * t->dim_v;
    if (!t->no_pre_norms) tiny_vector(b, t, tiny_name(il, "attn_norm.weight"), t->n_embd, 1);
    if (t->fused) {
        tiny_matrix(b, t, tiny_name(il, "attn_qkv.weight"), t->n_embd, nq + nk + nv, 0);
    } else {
        tiny_matrix(b, t, tiny_name(il, "attn_q.weight"), t->n_embd, nq, 0);
        tiny_matrix(b, t, tiny_name(il, "attn_k.weight"), t->n_embd, nk, 0);
        tiny_matrix(b, t, tiny_name(il, "attn_v.weight"), t->n_embd, nv, 0);
    }
    if (t->qkv_bias && t->fused) {
        tiny_vector(b, t, tiny_name(il, "attn_qkv.bias"), nq + nk + nv, 0);
    } else if (t->qkv_bias) {
        tiny_vector(b, t, tiny_name(il, "attn_q.bias"), nq, 0);
        tiny_vector(b, t, tiny_name(il, "attn_k.bias"), nk, 0);
        tiny_vector(b, t, tiny_name(il, "attn_v.bias"), nv, 0);
    }
    if (t->qk_norm) {
        bool wide = t->wide_qk_norm;
        tiny_vector(b, t, tiny_name(il, "attn_q_norm.weight"), wide ? nq : t->dim_k, 1);
        tiny_vector(b, t, tiny_name(il, "attn_k_norm.weight"), wide ? nk : t->dim_k, 1);
    }
    tiny_matrix(b, t, tiny_name(il, "attn_output.weight"), t->n_head * t->dim_v, t->n_embd, 0);
    if (t->output_bias) tiny_vector(b, t, tiny_name(il, "attn_output.bias"), t->n_embd, 0);
    if (t->sinks) tiny_vector(b, t, tiny_name(il, "attn_sinks.weight"), t->n_head, 0);
    if (t->post_norms || t->ffn_norm_is_post_attention) {
        tiny_vector(b, t, tiny_name(il, "post_attention_norm.weight"), t->n_embd, 1);
    }
}

static inline void tiny_feed_forward(struct gguf_build *b, const struct tiny *t, int il) {
    if (!t->no_pre_norms && !t->ffn_norm_is_post_attention) {
        tiny_vector(b, t, tiny_name(il, "ffn_norm.weight"), t->n_embd, 1);
    }
    if (t->n_expert) {
        int n = t->n_expert;
        tiny_matrix(b, t, tiny_name(il, "ffn_gate_inp.weight"), t->n_embd, n, 0);
        tiny_matrix(b, t, tiny_name(il, "ffn_gate_exps.weight"), t->n_embd, t->n_ff, n);
        tiny_matrix(b, t, tiny_name(il, "ffn_up_exps.weight"), t->n_embd, t->n_ff, n);
        tiny_matrix(b, t, tiny_name(il, "ffn_down_exps.weight"), t->n_ff, t->n_embd, n);
        if (t->expert_biases) {
            tiny_vector(b, t, tiny_name(il, "ffn_gate_inp.bias"), n, 0);
            tiny_biases(b, t, tiny_name(il, "ffn_gate_exps.bias"), t->n_ff, n);
            tiny_biases(b, t, tiny_name(il, "ffn_up_exps.bias"), t->n_ff, n);
            tiny_biases(b, t, tiny_name(il, "ffn_down_exps.bias"), t->n_embd, n);
        }
    } else {
        if (!t->fused) tiny_matrix(b, t, tiny_name(il, "ffn_gate.weight"), t->n_embd, t->n_ff, 0);
        tiny_matrix(b, t, tiny_name(il, "ffn_up.weight"), t->n_embd, t->n_ff * (1 + t->fused), 0);
        tiny_matrix(b, t, tiny_name(il, "ffn_down.weight"), t->n_ff, t->n_embd, 0);
    }
    if (t->post_norms) tiny_vector(b, t, tiny_name(il, "post_ffw_norm.weight"), t->n_embd, 1);
}

static inline void tiny_u32(struct gguf_build *b, const struct tiny *t, const char *name, int v) {
    build_u32(b, tiny_key(t, name), (uint32_t)v);
}

static inline struct gguf_build tiny_build(const struct tiny *t) {
    struct gguf_build b = {0};
    build_str(&b, "general.architecture", t->arch);
    tiny_u32(&b, t, "context_length", 64);
    tiny_u32(&b, t, "embedding_length", t->n_embd);
    tiny_u32(&b, t, "block_count", t->n_layer);
    tiny_u32(&b, t, "feed_forward_length", t->n_ff);
    tiny_u32(&b, t, "attention.head_count", t->n_head);
    tiny_u32(&b, t, "attention.head_count_kv", t->n_head_kv);
    tiny_u32(&b, t, "attention.key_length", t->dim_k);
    tiny_u32(&b, t, "attention.value_length", t->dim_v);
    build_f32(&b, tiny_key(t, "attention.layer_norm_rms_epsilon"), 1e-5f);
    if (t->n_expert) {
        tiny_u32(&b, t, "expert_count", t->n_expert);
        tiny_u32(&b, t, "expert_used_count", t->n_used);
    }
    if (t->logit_scale) build_f32(&b, tiny_key(t, "logit_scale"), 1);
    if (t->windows) tiny_u32(&b, t, "attention.sliding_window", 4);
    tiny_matrix(&b, t, "token_embd.weight", t->n_embd, t->n_vocab, 0);
    tiny_vector(&b, t, "output_norm.weight", t->n_embd, 1);
    if (!t->tied) tiny_matrix(&b, t, "output.weight", t->n_embd, t->n_vocab, 0);
    for (int il = 0; il < t->n_layer; il++) {
        tiny_attention(&b, t, il);
        tiny_feed_forward(&b, t, il);
    }
    return b;
}

#endif
