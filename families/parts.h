/* Pieces of models that have a name in the papers, for those that share them. Like the words of
 * build.h each adds steps and gives the value they make. */
#ifndef PARTS_H
#define PARTS_H

#include "../build.h"

/* Which norms the model has: reads their epsilon. */
void rms(struct plan *p);

/* W_o attend(W_q h, W_k h, W_v h), queries and keys turned by t, `window` positions seen (0: all).
 */
value attention(value h, const struct heads *hd, struct turns t, int window);

/* W_down (act(W_gate h) * (W_up h)); W_gate and W_up may be one matrix, ffn_up (arXiv 2002.05202).
 */
value gated(value h, enum activation act);

/* Mixtral's router: a softmax over the chosen ones' logits (arXiv 2401.04088). */
#define MIXTRAL ((struct gating){.gate = SOFTMAX_OF_CHOSEN, .scale = 1})

/* What keys say about the router; which gate, and whether weights are normed, if they are silent.
 */
struct gating read_gating(struct plan *p, enum gate otherwise, bool normed);

/* As many gated networks as there are experts, of which the router, ffn_gate_inp, chooses some for
 * each token (arXiv 1701.06538); a bias of the choice (2408.15664) is taken from the file if it has
 * one. */
value experts(value h, struct gating g, enum activation act);
/* The same, chosen already. */
value chosen_experts(value h, const struct choice *c, enum activation act);
int expert_width(struct plan *p); // hidden values of each

/* A gated network that every token uses (arXiv 2401.06066), n_ff wide. */
value shared_expert(value h, int n_ff, enum activation act);

/* experts() and n_shared shared ones, as one network so many times as wide (arXiv 2401.06066). */
value deepseek_moe(value h, struct gating g, int n_shared);

/* The last layers predict tokens beyond the next one (arXiv 2404.19737): in the file, not run. */
void skip_prediction(struct plan *p);

/* experts() with Mixtral's router if the model has any, otherwise gated(). */
value feed_forward(value h, enum activation act);

/* The last norm and the output matrix (or the embedding again), for wanted tokens alone. */
value head(value x);

#endif
