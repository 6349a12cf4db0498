#include "verify.h"

#include <math.h>
#include <stdio.h>

#include "../elementary.h"

/* ---- logits ---------------------------------------------------------------------------------- */

static int likeliest(const float *logits, int n) {
    int best = 0;
    for (int k = 1; k < n; k++) best = logits[k] > logits[best] ? k : best;
    return best;
}

/* ln of the sum of e^x */
static double log_sum(const float *x, int n, double most) {
    double sum = 0;
    for (int k = 0; k < n; k++) sum += elementary_exp((double)x[k] - most);
    return most + elementary_log(sum);
}

void note_logits(struct verdict *v, const float *logits, const float *expected, int n) {
    const float *a = logits, *b = expected;
    int mine = likeliest(a, n), right = likeliest(b, n);
    double log_a = log_sum(a, n, (double)a[mine]), log_b = log_sum(b, n, (double)b[right]);
    double mean = 0, squares = 0, sum = 0, kl = 0;
    for (int k = 0; k < n; k++) {
        double difference = fabs((double)a[k] - (double)b[k]), p = (double)b[k] - log_b;
        if (!(difference < (double)INFINITY)) continue; // a token that is never chosen
        sum += difference;
        if (difference > v->largest) v->largest = difference;
        kl += elementary_exp(p) * (p - ((double)a[k] - log_a));
        mean += (double)b[k] / n;
        squares += (double)b[k] * (double)b[k] / n;
    }
    v->sum += sum / n;
    v->sum_of_squares += fmax(squares - mean * mean, 0);
    v->kl += kl > 0 ? kl : 0;
    v->n_tokens++;
    v->n_agree += mine == right;
    if (mine == right || v->first_other) return;
    v->first_other = v->n_tokens;
    v->first_margin = (double)b[right] - (double)b[mine];
}

/* ---- products -------------------------------------------------------------------------------- */

double worst_product(const struct verdict *v) {
    unsigned long long bits = atomic_load(&v->products.largest);
    double ratio;
    memcpy(&ratio, &bits, sizeof ratio);
    return ratio;
}

const char *wrong_tensor(const struct verdict *v, const struct gguf *g) {
    const uint8_t *data = atomic_load(&v->products.at);
    for (uint64_t i = 0; data && i < g->n_tensors; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        const uint8_t *begin = t->data;
        if (begin && data >= begin && data < begin + t->nbytes) return t->name;
    }
    return data ? "a matrix" : NULL;
}

/* ---- the verdict ----------------------------------------------------------------------------- */

void print_verdict(const struct verdict *v) {
    double n = v->n_tokens > 0 ? (double)v->n_tokens : 1, spread = sqrt(v->sum_of_squares / n);
    fprintf(stderr, "verified   %llu products within their bounds (the worst at %.2f)\n",
            atomic_load(&v->products.n_numbers), worst_product(v));
    fprintf(stderr,
            "           logits differ by %.2g on average, %.2g at most (deviation %.3g)\n"
            "           KL divergence %.2g; %zu of %zu tokens the same",
            v->sum / n, v->largest, spread, v->kl / n, v->n_agree, v->n_tokens);
    if (v->first_other) {
        fprintf(stderr, ", not number %zu (by %.2g)", v->first_other, v->first_margin);
    }
    fputc('\n', stderr);
}
