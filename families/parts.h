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

/* As many gated networks as there are experts; the chosen ones' outputs are added with the weights
 * of a softmax over their logits (arXiv 2401.04088). */
value experts(value h, enum activation act);

/* experts() if the model has any, otherwise gated(). */
value feed_forward(value h, enum activation act);

/* The last norm and the output matrix (or the embedding again), for wanted tokens alone. */
value head(value x);

#endif
