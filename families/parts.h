/* Pieces of models that have a name in the papers, for those that share them. Like the words of
 * build.h each adds steps and gives the value they make. */
#ifndef PARTS_H
#define PARTS_H

#include "../build.h"

/* Which norms the model has, RMS or LayerNorm: reads their epsilon. */
void rms(struct plan *p);
void centred(struct plan *p);
/* A file without these biases is broken, not of another model. */
void need_biases(struct plan *p, enum biases which);

/* W_o attend(W_q h, W_k h, W_v h), queries and keys turned by t, `window` positions seen (0: all).
 */
value attention(value h, const struct heads *hd, struct turns t, int window);

/* All of them within -most .. most; 0: as they are. */
struct qkv limited(struct qkv a, float most);

/* The same with norms of each head's queries and keys, in front of rope (arXiv 2010.04245). */
value normed_attention(value h, const struct heads *hd, struct turns t, int window);

/* Latent attention (arXiv 2405.04434): keys and values of all heads are made from `rank` numbers,
 * c, and one key that turns, the same for all heads. Files have attn_k_b and attn_v_b, and queries
 * go to where c is, which alone is remembered; those of early 2025 have attn_kv_b, which makes all
 * heads' keys and values. `temper`: a factor of queries, or NO_VALUE. */
struct latent {
    int n, n_nope, n_rope, n_v; // heads; numbers of a key that do not turn, and do; of a value
    int rank, q_rank;           // q_rank: of what queries are made from, if not from h
    float scale;                // of scores
};
struct latent read_latent(struct plan *p); // within a layer: where the number of heads differs
value latent_attention(value h, const struct latent *l, struct turns t, value temper);

/* The temperature of queries that keys set, for each `length` of positions if they do not say how
 * many; NO_VALUE if they set none. */
value position_temper(struct plan *p, int length);

/* W_down (act(W_gate h) * (W_up h)); W_gate and W_up may be one matrix, ffn_up (arXiv 2002.05202).
 */
value gated(value h, enum activation act);

/* W_down f(W_up h), the feed-forward of the first transformers (arXiv 1706.03762). */
value ungated(value h, value (*f)(value x));
value gelu(value x); // arXiv 1606.08415

/* Mamba-2 (arXiv 2405.21060) in place of attention. */
value mamba2_mixer(value h);

/* Mixtral's router: a softmax over the chosen ones' logits (arXiv 2401.04088). */
#define MIXTRAL ((struct gating){.gate = SOFTMAX_OF_CHOSEN, .scale = 1})

/* What keys say about the router; which gate, and whether weights are normed, if they are silent.
 */
struct gating read_gating(struct plan *p, enum gate otherwise, bool normed);
/* Parts of it, for families that take the rest for granted. */
enum gate read_gate(struct plan *p, enum gate otherwise);
float expert_scale(struct plan *p);

/* As many gated networks as there are experts, of which the router, ffn_gate_inp, chooses some for
 * each token (arXiv 1701.06538); a bias of the choice (2408.15664) is taken from the file if it has
 * one. */
value experts(value h, struct gating g, enum activation act);
/* The same, chosen already. */
value chosen_experts(value h, const struct choice *c, enum activation act);
int expert_width(struct plan *p); // hidden values of each

/* A gated network that every token uses (arXiv 2401.06066), n_ff wide; what keys say about the
 * width (0: there is none). */
value shared_expert(value h, int n_ff, enum activation act);
int shared_width(struct plan *p);

/* The sum of both (arXiv 2401.06066). */
value deepseek_moe(value h, struct gating g);

/* The last layers, nextn_predict_layers of them, predict tokens beyond the next one (arXiv
 * 2404.19737): they are in the file and not run. */
void skip_prediction(struct plan *p);

/* experts() with Mixtral's router if the model has any, otherwise gated(). */
value feed_forward(value h, enum activation act);

/* The last norm and the output matrix (or the embedding again), for wanted tokens alone. */
value head(value x);

#endif
