/* Logits to a token. The same parameters, seed and logits give the same tokens on every platform,
 * compiler and instruction set: no libm, no generator but our own, every sum in a fixed order. */
#ifndef SAMPLER_H
#define SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* The steps, in llama.cpp's order and with its meanings. Each has a value that switches it off. */
struct sampler_params {
    float repeat_penalty; // > 0: divides positive and multiplies other logits of recent tokens;
                          // 1: off
    int repeat_last_n;    // how many tokens are recent; 0: none, -1: the whole history
    int top_k;            // keep the k likeliest; <= 0: off
    float top_p;          // keep the likeliest until their sum reaches p of what top_k left;
                          // always one; >= 1: off
    float min_p;          // keep what is at least p times as likely as the likeliest, which always
                          // stays; <= 0: off
    float temp;           // logits are divided by it, after the steps above; 0: the likeliest token
    uint64_t seed;
    // Taken from the logits of recent tokens, after repeat_penalty; 0: off
    float presence_penalty;  // once
    float frequency_penalty; // as often as the token is among them
};

struct sampler;

/* NULL and err if a parameter is out of its range or there is no memory. */
struct sampler *sampler_open(const struct sampler_params *params, int n_vocab, struct error *err);
void sampler_close(struct sampler *s); // NULL is fine

/* From now on these are not picked, as if their logits were -infinity; ids out of range are
 * skipped. The array must outlive the sampler. */
void sampler_forbid(struct sampler *s, const int32_t *ids, size_t n);

/* The next token, 0..n_vocab-1, for logits[n_vocab] after the tokens history[n_history] (ids out
 * of range are skipped; NULL if n_history is 0). Of equal logits the lower id counts as likelier,
 * -infinity is never picked. -1 if a logit is NaN or +infinity, or none is finite: that is no
 * answer of a model, or if all that are left must not be picked. Otherwise each call with temp > 0
 * uses up one number of the generator. */
int32_t sampler_pick(struct sampler *s, const float *logits, const int32_t *history,
                     size_t n_history);

#endif
