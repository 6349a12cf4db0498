/* --verify: what is found by running both ways. */
#ifndef VERIFY_H
#define VERIFY_H

#include <stddef.h>

#include "../gguf.h"
#include "../matmul_q.h"

/* Of --act 16 and 8, whose logits are others than those of float32 activations. */
struct verdict {
    struct act_check products;
    size_t n_tokens, n_agree; // tokens; those whose likeliest next one is the same
    size_t first_other;       // the first of the others, counted from 1; 0: none
    double first_margin;      // there: how much likelier the float32 choice was
    double largest, sum;      // of differences of logits, sum of means
    double sum_of_squares;    // of float32 logits' deviations
    double kl;                // sum of the Kullback-Leibler divergences
};

/* n logits with --act against those of float32 activations. */
void note_logits(struct verdict *v, const float *logits, const float *expected, int n);

/* NULL, or the name of a tensor of which a product was beyond its bound. */
const char *wrong_tensor(const struct verdict *v, const struct gguf *g);
/* The worst difference of a product from the exact one, in units of its bound. */
double worst_product(const struct verdict *v);

/* The lines of the statistics. */
void print_verdict(const struct verdict *v);

#endif
