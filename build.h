/* The language that families are written in (families/). A family's function is called once, when a
 * file is opened, and writes its model down as a straight line of steps: each word below adds one
 * and gives the value that it makes. Tensors and keys are looked up, and shapes checked, where they
 * are named. An error ends the function at once (by longjmp, to the place where it was called): so
 * nothing here returns a failure, and a family owns no memory.
 *
 * Tensors are named as in the file without "blk.N." (see layer) and without ".weight"; keys without
 * the architecture in front, those that have none with a "/" in its place. C does not say in which
 * order the arguments of one call are worked out: where two of them add steps, name them first, one
 * a line. */
#ifndef BUILD_H
#define BUILD_H

#include "plan.h"

#define NO_VALUE ((value){0})

/* ---- keys (keys.c) --------------------------------------------------------------------------- */

#define NEEDED (-1) // in the place of a default: the key must be there

int count(struct plan *p, const char *key, int least, int otherwise);
/* Of layer il, where the file has one number for all or an array. */
int count_at(struct plan *p, const char *key, int il, int least, int otherwise);
float number(struct plan *p, const char *key, float least, float otherwise); // NEEDED: below least
float number_at(struct plan *p, const char *key, int il, float least, float otherwise);
float epsilon(struct plan *p, const char *key); // must be there
bool flag(struct plan *p, const char *key, bool otherwise);
void need_key(struct plan *p, const char *key); // whatever its type

struct heads {
    int n, n_kv, dim_k, dim_v; // n * dim_k need not be n_embd
    float scale;               // of scores: 1 / sqrt(dim_k) unless a family sets another
    float softcap;             // 0: none
    float alibi;               // slopes go down to 2^-alibi (see attend), 0: none
    const float *sinks;        // (n) scores that count in the softmax, of no value; NULL: none
};
struct heads read_heads(struct plan *p);
struct heads read_heads_at(struct plan *p, int il); // of layer il, where they differ

enum rope_scaling { ROPE_NONE, ROPE_LINEAR, ROPE_YARN, ROPE_LONG };
struct rope {
    int n_dims; // of a head: the first ones turn
    float base;
    enum rope_scaling scaling;
    float factor; // linear, YaRN: positions are divided by it
    int ctx_orig; // YaRN, longrope: context of the original training
    float attn_factor, beta_fast, beta_slow;
    float log_multiplier; // YaRN: how much of its magnitude is left to scores
    const float *factors, *factors_long, *factors_short; // (n_dims / 2) or NULL
};
struct rope read_rope(struct plan *p, int head_dim);
struct rope unscaled(struct rope r); // the same without scaling
/* The same with the base of layers that have a window, if the file says one. */
struct rope near_rope(struct plan *p, struct rope r);

/* Sliding windows: of each `period` layers all but the last have one, unless the file has another
 * period or a bool for each layer. */
struct windows {
    int n, period;
    bool full_first; // the first of each period has none, not the last
    const struct gguf_kv *layers;
};
/* otherwise: the window of a file that says none, or NEEDED. */
struct windows read_windows(struct plan *p, int period, int otherwise);
int window_at(const struct windows *w, int il); // 0: none

/* ---- tensors (tensors.c) --------------------------------------------------------------------- */

/* Names are layer il's from here on. False when there is none: then they are the model's. */
bool layer(struct plan *p, int il);
bool has(struct plan *p, const char *name);  // NAME.weight
void need(struct plan *p, const char *name); // NAME as it is: "ffn_up_exps.bias"
const float *vector(struct plan *p, const char *name, int64_t n);    // NAME.weight, F32
const float *vector_if(struct plan *p, const char *name, int64_t n); // NULL if it is not there
/* NAME as it is, of any shape that has n numbers in one row or one column. */
const float *vector_named(struct plan *p, const char *name, int64_t n);
const float *vector_named_if(struct plan *p, const char *name, int64_t n);
void unused(struct plan *p, const char *name); // NAME as it is may be there, and is not used

/* ---- steps for each token alone -------------------------------------------------------------- */

value embed(struct plan *p, const char *name, int64_t n, float scale); // row of the token's id
/* Row of the token's position, of which there are as many as the model was trained with: no
 * sequence is longer. */
value learned_positions(struct plan *p, const char *name, int64_t n);
value heads(value x, int dim); // the same, seen as heads of dim

value l2_norm(value x);                      // each head divided by sqrt(length^2 + eps)
value group_norm(value x, const char *name); // of each head, NAME has a weight for each of x
/* The model's kind of norm, RMS (arXiv 1910.07467) or LayerNorm (1607.06450), times NAME, plus
 * NAME.bias if the file has it; NULL: no weight. */
value norm(value x, const char *name);
value head_norm(value x, const char *name);    // of each head, one weight for all
value head_norm_if(value x, const char *name); // x if the file has no NAME

value add(value x, value y);
value add_scaled(value x, value y, float scale);            // x + scale * y
value scaled(value x, float by);                            // by 1: x
value softcapped(value x, float cap);                       // cap * tanh(x / cap); 0: x
value biased(value x, const float *b, const char *name);    // b NULL: x
value gain(value x, const float *w, const char *name);      // x * w
value head_gain(value x, const float *w, const char *name); // each head times a number
/* x times a number for each expert, between experts_begin and experts_end; else one. w NULL: x */
value plane_scaled(value x, const float *w, const char *name);
value mul(value x, value by); // each of `by` for n / by.n of x
value clamped(value x, float least, float most);
value part(value x, int64_t first, int64_t n); // some of the columns
value like(value x, value y);                  // x with the length of y
value sparse(value x, float n_deviations);     // max(0, x - mean - so many standard deviations)
value join(value x, value y);                  // head by head, y behind x; y may be one for all
value head_part(value x, int64_t first, int64_t n); // of each head

enum function { F_EXP, F_SIGMOID, F_SOFTPLUS, F_TANH, F_SILU, F_GELU };
value act(value x, enum function f);
value relu_squared(value x); // max(0, x)^2 (arXiv 2109.08668)

/* xIELU (arXiv 2411.13010): alpha_p x^2 + beta x above 0; alpha_n (e^x - 1 - x) + beta x up to it,
 * where the power is that of eps for x above eps. */
struct xielu {
    float alpha_p, alpha_n, beta, eps;
};
value xielu(value x, struct xielu f);

enum activation { SILU, GELU, SWIGLU_OAI, RELU };
value glu(value gate, value up, enum activation act); // act(gate) * up (arXiv 2002.05202)

/* Rotary positions (arXiv 2104.09864): cosines and sines are a value, made once a pass. */
enum pairs { NEIGHBOURS, HALVES }; // (2i, 2i + 1) turn together, or (i, i + n_dims / 2)
struct turns {
    value angles;
    enum pairs pairs;
};
#define NO_TURNS ((struct turns){0})
struct turns turns(struct plan *p, struct rope r, enum pairs pairs);
/* 1 + scale * ln(floor((position + offset) / length) + 1): a factor of queries for contexts longer
 * than those of the training (arXiv 2501.19399). */
value temperature(struct plan *p, float scale, int length, int offset);
value rope(value x, struct turns t); // of each head; NO_TURNS: x

/* ---- steps for all tokens -------------------------------------------------------------------- */

/* W x, times NAME.scale and plus NAME.bias where the file has them (a scale, one number for each
 * expert, is what NVFP4 needs beside those of its blocks). Products of one input run together. */
value product(value x, const char *name, int64_t n_out);
/* With one of NAME's planes, (n_planes, n_out, x.n). */
value plane_product(value x, const char *name, int plane, int n_planes, int64_t n_out);
value product_heads(value x, const char *name, int n, int dim); // the same, seen as heads
/* NAME is one matrix for n parts of so many rows. */
void products(value x, const char *name, int n, const int64_t *n_out, value *out);
/* Each head's n_in values from `first` on, times the head's plane of NAME, (n_heads, n_out, n_in).
 */
value head_products(value x, int first, int n_in, const char *name, int64_t n_out);
struct qkv {
    value q, k, v;
};
struct qkv qkv(value x, const struct heads *h); // attn_qkv, or attn_q, attn_k, attn_v

/* Keys and values join those of earlier positions. `cache` is what attend() needs to find them. */
typedef value cache;
cache remember(value k, value v, int window);       // 0: all positions are seen
cache remember_chunks(value k, value v, int chunk); // those of the same chunk of positions
cache remember_latent(value k, int n_values);       // values are the first n_values of each key
/* Where h->alibi is a number b above 0, ALiBi (arXiv 2108.12409) takes slope * distance off each
 * score. With n the largest power of two up to the number of heads, head i < n has a slope of
 * 2^(-b (i + 1) / n), and head n + i one of 2^(-b (i + 1/2) / n). */
value attend(value q, cache kv, const struct heads *h);

/* ---- recurrent steps (steps/recurrent.c): a sequence keeps a state for each ------------------ */

/* The gated delta rule (arXiv 2412.06464), one matrix M of dim_k x dim_v for each head of v: M =
 * decay * M; u = beta * (v - M' k); M += k u'; y = M' q / sqrt(dim_k). decay and beta are one
 * number a head; decay may be one for each row of M (Kimi Linear, 2510.26692). Head j of v has that
 * of q and k with number j % n (TILED) or j / (how many share one) (GROUPED). */
enum sharing { GROUPED, TILED };
value delta_rule(value q, value k, value v, value beta, value decay, enum sharing sharing);
/* Mamba-2 (arXiv 2405.21060), M of state x dim for each head of x: M = decay * M + b (dt x)';
 * y = M' c + d x. Heads of b and c are shared by as many of x. */
value scan(value x, value b, value c, value dt, value decay, const float *d);
/* Mamba (arXiv 2312.00752), a state for each channel of x: as above with a decay of e^(dt a), a:
 * (x.n, state). */
value selective_scan(value x, value b, value c, value dt, const float *a, const float *d);
/* Each channel of x with its own n_taps weights, NAME (channels, n_taps), over the last tokens. */
value convolve(value x, const char *name, int n_taps);

/* ---- experts --------------------------------------------------------------------------------- */

/* Scores of experts: a softmax over all logits, or a sigmoid of each. Those of the OF_CHOSEN are
 * made for the chosen ones alone, and the choice is by logits. */
enum gate { SOFTMAX, SIGMOID, SOFTMAX_OF_CHOSEN, SIGMOID_OF_CHOSEN };
struct gating {
    enum gate gate;
    bool normed;                 // scores of the chosen ones are divided by their sum
    float scale;                 // and multiplied by this
    int n_groups, n_groups_used; // the choice is among the best groups; up to 1 group: among all
    const float *bias;           // (n) added to scores for the choice alone; NULL: none
    const float *gains;          // (n) of each expert's weight; NULL: none
    bool needs_bias;             // the file must have one (experts() looks for it)
};

struct choice {
    value scores;       // of all experts
    value ids, weights; // of the experts that a token uses, ascending by id
    int n, n_used;
    bool on_input; // weights are for what experts read, not for what they make
};
/* The n_used largest; of equal ones the first. */
struct choice choose(value logits, int n_used, struct gating g);
/* Experts lie in groups of `each`: those of the experts chosen, a group of several with all their
 * weights; of no more of them than there are groups (arXiv 2508.07785). */
struct choice choose_groups(const struct choice *c, int each);
/* What is between these two is done for each expert in turn with the tokens that chose it: tensors
 * have a plane for each. */
value experts_begin(value x, const struct choice *c);
value experts_end(value y, const struct choice *c); // the weighted sum, ascending by id

/* ---- the end --------------------------------------------------------------------------------- */

/* What comes after it is done for the tokens alone whose logits are asked for. */
value wanted(value x);
void logits(value x);

#endif
