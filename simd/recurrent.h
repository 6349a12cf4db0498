/* Recurrent steps on the vector layer of simd.h: a state of rows x cols floats, kept by a sequence
 * and changed token by token. What happens in one column concerns that column alone, so columns lie
 * in lanes: nothing is summed across lanes, every sum is one chain of FMAs in ascending row, and
 * the bits do not depend on how a prompt was cut. A block of columns stays in L1 while all tokens
 * of the run pass by. */
#ifndef RECURRENT_H
#define RECURRENT_H

#include "isa.h"
#include "simd.h"

SIMD_BEGIN

/* Columns of a block: 2 vectors, and 128 rows of them are 8 kB. */
#define STATE_COLS (2 * LANES)

/* Some columns of a row of the state, zeros behind the last. */
struct state_part {
    vf v[2];
};

INLINE struct state_part part_load(const float *p, int n) {
    struct state_part s;
    if (n >= STATE_COLS) {
        s.v[0] = vf_load(p);
        s.v[1] = vf_load(p + LANES);
        return s;
    }
    float padded[STATE_COLS] = {0};
    memcpy(padded, p, (size_t)n * sizeof *p);
    s.v[0] = vf_load(padded);
    s.v[1] = vf_load(padded + LANES);
    return s;
}

INLINE void part_store(float *p, int n, struct state_part s) {
    if (n >= STATE_COLS) {
        vf_store(p, s.v[0]);
        vf_store(p + LANES, s.v[1]);
        return;
    }
    float padded[STATE_COLS];
    vf_store(padded, s.v[0]);
    vf_store(padded + LANES, s.v[1]);
    memcpy(p, padded, (size_t)n * sizeof *p);
}

/* n columns of the state from `m` on. */
INLINE void delta_block(float *m, const struct delta *d, int n, const float *v, float *y) {
    size_t cols = (size_t)d->cols;
    for (int t = 0; t < d->n; t++) {
        const float *q = d->q + (size_t)t * d->qk_stride, *k = d->k + (size_t)t * d->qk_stride;
        const float *decay = d->decay + (size_t)t * d->decay_stride;
        const vf beta = vf_set1(d->beta[(size_t)t * d->beta_stride]);
        struct state_part u = {{vf_zero(), vf_zero()}}, out = u;
        for (int r = 0; r < d->rows; r++) {
            struct state_part s = part_load(m + (size_t)r * cols, n);
            vf e = vf_set1(decay[d->decay_by_row ? r : 0]), kr = vf_set1(k[r]);
            for (int i = 0; i < 2; i++) {
                s.v[i] = vf_mul(s.v[i], e);
                u.v[i] = vf_fma(s.v[i], kr, u.v[i]);
            }
            part_store(m + (size_t)r * cols, n, s);
        }
        struct state_part value = part_load(v + (size_t)t * d->v_stride, n);
        for (int i = 0; i < 2; i++) u.v[i] = vf_mul(beta, vf_sub(value.v[i], u.v[i]));
        for (int r = 0; r < d->rows; r++) {
            struct state_part s = part_load(m + (size_t)r * cols, n);
            vf kr = vf_set1(k[r]), qr = vf_set1(q[r]);
            for (int i = 0; i < 2; i++) {
                s.v[i] = vf_fma(kr, u.v[i], s.v[i]);
                out.v[i] = vf_fma(s.v[i], qr, out.v[i]);
            }
            part_store(m + (size_t)r * cols, n, s);
        }
        for (int i = 0; i < 2; i++) out.v[i] = vf_mul(out.v[i], vf_set1(d->scale));
        part_store(y + (size_t)t * d->v_stride, n, out);
    }
}

static void delta_rule(const struct delta *d) {
    for (int c = 0; c < d->cols; c += STATE_COLS) {
        delta_block(d->m + c, d, d->cols - c, d->v + c, d->y + c);
    }
}

INLINE void scan_block(float *m, const struct scan *s, int n, const float *x, float *y) {
    size_t cols = (size_t)s->cols;
    for (int t = 0; t < s->n; t++) {
        const float *b = s->b + (size_t)t * s->bc_stride, *c = s->c + (size_t)t * s->bc_stride;
        const vf dt = vf_set1(s->dt[(size_t)t * s->dt_stride]);
        const vf decay = vf_set1(s->decay[(size_t)t * s->dt_stride]);
        struct state_part in = part_load(x + (size_t)t * s->x_stride, n), out, scaled;
        for (int i = 0; i < 2; i++) {
            scaled.v[i] = vf_mul(dt, in.v[i]);
            out.v[i] = vf_zero();
        }
        for (int r = 0; r < s->rows; r++) {
            struct state_part p = part_load(m + (size_t)r * cols, n);
            vf br = vf_set1(b[r]), cr = vf_set1(c[r]);
            for (int i = 0; i < 2; i++) {
                p.v[i] = vf_fma(scaled.v[i], br, vf_mul(p.v[i], decay));
                out.v[i] = vf_fma(p.v[i], cr, out.v[i]);
            }
            part_store(m + (size_t)r * cols, n, p);
        }
        for (int i = 0; i < 2; i++) out.v[i] = vf_fma(vf_set1(s->d), in.v[i], out.v[i]);
        part_store(y + (size_t)t * s->x_stride, n, out);
    }
}

static void scan_head(const struct scan *s) {
    for (int c = 0; c < s->cols; c += STATE_COLS) {
        scan_block(s->m + c, s, s->cols - c, s->x + c, s->y + c);
    }
}

/* decay = e^(dt a), a different one for each row and column. */
INLINE void selective_block(float *m, const struct selective *s, int c0, int n) {
    size_t cols = (size_t)s->cols;
    for (int t = 0; t < s->n; t++) {
        const float *b = s->b + (size_t)t * s->bc_stride, *c = s->c + (size_t)t * s->bc_stride;
        size_t at = (size_t)t * s->x_stride + (size_t)c0;
        struct state_part dt = part_load(s->dt + at, n), x = part_load(s->x + at, n), out, scaled;
        struct state_part d = part_load(s->d + c0, n);
        for (int i = 0; i < 2; i++) {
            scaled.v[i] = vf_mul(dt.v[i], x.v[i]);
            out.v[i] = vf_zero();
        }
        for (int r = 0; r < s->rows; r++) {
            struct state_part p = part_load(m + (size_t)r * cols, n);
            struct state_part a = part_load(s->a + (size_t)r * cols + (size_t)c0, n);
            vf br = vf_set1(b[r]), cr = vf_set1(c[r]);
            for (int i = 0; i < 2; i++) {
                vf decay = vf_exp(vf_mul(dt.v[i], a.v[i]));
                p.v[i] = vf_fma(scaled.v[i], br, vf_mul(p.v[i], decay));
                out.v[i] = vf_fma(p.v[i], cr, out.v[i]);
            }
            part_store(m + (size_t)r * cols, n, p);
        }
        for (int i = 0; i < 2; i++) out.v[i] = vf_fma(d.v[i], x.v[i], out.v[i]);
        part_store(s->y + at, n, out);
    }
}

static void selective_scan(const struct selective *s, int begin, int end) {
    for (int c = begin; c < end; c += STATE_COLS) {
        selective_block(s->m + c, s, c, end - c);
    }
}

/* The taps before the newest come from the state, oldest first. */
INLINE void convolve_block(const struct convolution *k, int c0, int n) {
    size_t cols = (size_t)k->cols;
    for (int t = 0; t < k->n; t++) {
        size_t at = (size_t)t * cols + (size_t)c0;
        struct state_part x = part_load(k->x + at, n), sum = {{vf_zero(), vf_zero()}};
        for (int i = 0; i < k->n_taps; i++) {
            float *old = k->m + (size_t)i * cols + (size_t)c0;
            bool newest = i == k->n_taps - 1;
            struct state_part tap = newest ? x : part_load(old, n);
            struct state_part w = part_load(k->w + (size_t)i * cols + (size_t)c0, n);
            for (int j = 0; j < 2; j++) sum.v[j] = vf_fma(w.v[j], tap.v[j], sum.v[j]);
            if (i > 0) part_store(k->m + (size_t)(i - 1) * cols + (size_t)c0, n, tap);
        }
        part_store(k->y + at, n, sum);
    }
}

static void convolve(const struct convolution *k, int begin, int end) {
    for (int c = begin; c < end; c += STATE_COLS) convolve_block(k, c, end - c);
}

SIMD_END

#define OPS_RECURRENT                                                              \
    .delta_rule = delta_rule, .scan = scan_head, .selective_scan = selective_scan, \
    .convolve = convolve

#endif
