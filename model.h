/* What a file says about its model: the family, the hyper-parameters, and the weights, bound to the
 * mapped file. Everything is checked here, once; the forward pass relies on it. */
#ifndef MODEL_H
#define MODEL_H

#include "gguf.h"
#include "simd/isa.h"

enum activation { SILU, GELU, SWIGLU_OAI }; // of the gate, by the op of that name

/* One row per general.architecture: what the metadata do not say. */
struct family {
    const char *arch;
    bool rope_neox; // rope turns (i, i + n/2) together, otherwise (2i, 2i + 1)
    enum activation activation;
    bool embd_sqrt;                  // the embedding is multiplied by sqrt(n_embd)
    bool no_pre_norms;               // attention and feed-forward do not begin with a norm
    bool post_norms;                 // attention and feed-forward end in a norm; elsewhere they may
    bool qk_norms;                   // queries and keys have norms; elsewhere they may
    bool wide_qk_norms;              // over all heads together, otherwise over each
    bool late_qk_norms;              // after rope, otherwise before
    bool ffn_norm_is_post_attention; // what the name of the feed-forward's first norm says
    int swa_period;       // of each so many layers all but the last have a sliding window; 0: none
    int swa_if_layers;    // windows in models of so many layers alone; 0: in all
    int swa_window;       // of files that do not say
    int nope_period;      // every so many layers one goes without rope; 0: none
    bool global_nope;     // where layers have windows, those without one go without rope
    float rope_base_swa;  // rope base of the layers with a window; 0: that of the others
    bool swa_unscaled;    // rope scaling is for the layers without a window alone
    bool sinks;           // attention has them
    bool expert_biases;   // the experts and their router have biases
    bool scales;          // embedding, residual, attention and logits have scales of their own
    bool softcaps;        // final_logit_softcapping is the family's, attn_... Gemma 2's alone
    int scale_by_embd_at; // with so many layers, attention is scaled by n_embd / n_head instead
};

enum rope_scaling { ROPE_NONE, ROPE_LINEAR, ROPE_YARN, ROPE_LONG };

struct hparams {
    int n_vocab, n_layer, n_embd, n_head, n_head_kv;
    int head_dim_k, head_dim_v;  // n_head * head_dim_k need not be n_embd
    int n_ff;                    // of a dense layer or of one expert
    int n_expert, n_expert_used; // 0: dense
    int n_ctx_train;
    int n_window;                     // 0: no sliding window
    int swa_period;                   // the family's, or the file's
    const struct gguf_kv *swa_layers; // or an array of bools: which layers have a window
    float rms_eps;
    float attn_scale, attn_softcap, final_softcap; // softcaps 0: none
    float embd_scale, residual_scale, logit_scale; // 1 if the family has none
    int rope_dim;
    float rope_base, rope_base_swa;
    enum rope_scaling rope_scaling;
    float rope_factor; // linear, YaRN: positions are divided by it
    int rope_ctx_orig; // YaRN, longrope: context of the original training
    float rope_attn_factor, yarn_beta_fast, yarn_beta_slow;
};

/* Matrices are (n_rows, n_cols); one without data is absent. Vectors that are NULL are absent. */
struct ffn {
    struct matrix gate, up, down; // (n_ff, n_embd), (n_ff, n_embd), (n_embd, n_ff)
    const float *gate_bias, *up_bias, *down_bias;
};

struct layer {
    const float *attn_norm, *attn_post_norm; // (n_embd)
    struct matrix q, k, v, o;                // (n_head * head_dim, n_embd), ...
    const float *q_bias, *k_bias, *v_bias, *o_bias;
    const float *q_norm, *k_norm;          // (head_dim_k), or of all heads together
    const float *sinks;                    // (n_head) scores that count in the softmax, of no value
    const float *ffn_norm, *ffn_post_norm; // (n_embd)
    struct ffn dense;
    struct matrix router;     // (n_expert, n_embd)
    const float *router_bias; // (n_expert)
    struct ffn *experts;      // (n_expert) in the place of the dense one
    int window;               // positions a token sees, itself included; 0: all
    bool rope;
};

struct model {
    const struct family *family;
    struct hparams hp;
    struct matrix token_embd, output; // (n_vocab, n_embd); output may be token_embd again
    const float *output_norm;         // (n_embd)
    const float *rope_factors, *rope_factors_long, *rope_factors_short; // (rope_dim / 2)
    struct layer *layers;
    struct ffn *experts; // of all layers
};

/* Reads hyper-parameters and binds weights; g must outlive the model. On failure the message says
 * which key or tensor is missing, misshapen, of a type that is not supported, or not known. */
int model_open(struct model *m, const struct gguf *g, struct error *err);
void model_close(struct model *m);

/* The weights that one token is multiplied with, output included, of experts only those used. */
struct model_work {
    int64_t macs;  // multiply-adds per token
    int64_t bytes; // read from the file per token
};
struct model_work model_work(const struct model *m);

/* Fills out with the supported architectures, comma-separated. */
void model_families(char *out, size_t size);

#endif
