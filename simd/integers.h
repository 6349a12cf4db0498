/* Products with activations as integers (act.h), included once per instruction set, on a layer of
 * its own: a lane is a row, so that a dword of four weights, four columns of one row, meets four
 * activations that are the same for all lanes, sums need no order, and the one chain of floats that
 * a row has costs nothing.
 *
 * A type is two functions that unpack its blocks and a form that says what its integers are like;
 * all else is shared, and inlined into one function per type. */
#ifndef INTEGERS_H
#define INTEGERS_H

#include "../act.h"
#include "isa.h"
#include "simd.h"

SIMD_BEGIN

/* Loops whose variables are arrays of registers: compilers keep those only where the loop is gone.
 */
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wpass-failed" // of loops of one round, which are gone before
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 64")
#endif

/* What the integers of a type are like. All members are constants where code is made of them. */
struct form {
    int unit;    // dwords that are unpacked together: 8, 16 or 32
    int sub;     // dwords of a sub-block: 4 or 8
    int shift;   // q is stored with an offset of 1 << shift; 0: as it is
    int largest; // as stored
    bool scaled; // sub-blocks have integer scales, and one d; otherwise each has its own d
    bool mins;
    bool large; // with 16 bits S does not fit 32
};
#define N_LESS(f) (ACT_PART / 4 / (f).sub) // sums of sub-blocks that a part has

#if defined(SIMD_AVX512)
#include "int_avx512.h"
#elif defined(SIMD_AVX2)
#include "int_avx2.h"
#elif defined(SIMD_NEON)
#include "int_neon.h"
#endif

#define PART_DWORDS (ACT_PART / 4)
#define BYTES(b) ((int)((b)*0x01010101u))

/* INT_ROWS rows of ACT_PART columns. Columns 4k .. 4k + 3 of row r are lane r of q[k]. */
struct panel {
    ri q[PART_DWORDS];
    ri scale[16], min[16]; // of each sub-block, where there are integer scales
    rf d[8], m[8];         // of the block, or of each sub-block
    ri high[8];            // bits of weights that units take theirs from
};

/* ---- types ----------------------------------------------------------------------------------- */

/* Byte j of four dwords, as an integer. */
INLINE ri byte_of(const ri s[4], int j) {
    return ri_and(ri_shr(s[j / 4], 8 * (j % 4)), ri_set1(255));
}

INLINE ri masked(ri a, int shift, uint32_t mask) {
    return ri_and(ri_shr(a, shift), ri_set1(BYTES(mask)));
}

/* Bit n of each byte goes to bit `to`. */
INLINE ri bit_to(ri a, int n, int to) {
    ri moved = n > to ? ri_shr(a, n - to) : ri_shl(a, to - n);
    return ri_and(moved, ri_set1(BYTES(1u << to)));
}

/* 16 bytes of nibbles: columns 0 .. 15 are the low ones. */
INLINE void nibbles(ri q[8], const uint8_t *p, size_t stride) {
    ri packed[4];
    ri_rows16(p, stride, packed);
    for (int k = 0; k < 8; k++) q[k] = masked(packed[k % 4], k / 4 * 4, 15);
}

/* Adds 16 where the bit of the column is set in the row's dword. */
INLINE void fifth_bits(ri q[8], ri bits) {
    for (int k = 0; k < 8; k++) {
        ri four = ri_and(ri_shr(bits, 4 * k), ri_set1(15)); // a bit for each byte of the dword:
        ri spread = ri_and(ri_mul(four, ri_set1(0x204081)), ri_set1(0x01010101));
        q[k] = ri_or(q[k], ri_shl(spread, 4));
    }
}

/* A type is name_begin, which unpacks what a part of a K-quant has before its weights, and
 * name_unit, which unpacks the next name_form.unit dwords of every row: of the types with blocks of
 * QK weights a block and its scale, of the others 64 or 128 columns. */
INLINE void begin_nothing(struct panel *o, const uint8_t *p, size_t stride) {
    (void)o, (void)p, (void)stride;
}

static const struct form q4_0_form = {.unit = 8, .sub = 8, .shift = 3, .largest = 15};
#define q4_0_begin begin_nothing
INLINE void q4_0_unit(struct panel *o, const uint8_t *p, size_t stride, int u, ri *q) {
    p += (size_t)u * sizeof(block_q4_0);
    o->d[u] = rf_halves(p, stride);
    nibbles(q, p + offsetof(block_q4_0, qs), stride);
}

static const struct form q4_1_form = {.unit = 8, .sub = 8, .largest = 15, .mins = true};
#define q4_1_begin begin_nothing
INLINE void q4_1_unit(struct panel *o, const uint8_t *p, size_t stride, int u, ri *q) {
    p += (size_t)u * sizeof(block_q4_1);
    ri both = ri_dwords(p, stride);
    o->d[u] = rf_low_half(both);
    o->m[u] = rf_low_half(ri_shr(both, 16));
    nibbles(q, p + offsetof(block_q4_1, qs), stride);
}

static const struct form q5_0_form = {.unit = 8, .sub = 8, .shift = 4, .largest = 31};
#define q5_0_begin begin_nothing
INLINE void q5_0_unit(struct panel *o, const uint8_t *p, size_t stride, int u, ri *q) {
    p += (size_t)u * sizeof(block_q5_0);
    o->d[u] = rf_halves(p, stride);
    nibbles(q, p + offsetof(block_q5_0, qs), stride);
    fifth_bits(q, ri_dwords(p + offsetof(block_q5_0, qh), stride));
}

static const struct form q5_1_form = {.unit = 8, .sub = 8, .largest = 31, .mins = true};
#define q5_1_begin begin_nothing
INLINE void q5_1_unit(struct panel *o, const uint8_t *p, size_t stride, int u, ri *q) {
    p += (size_t)u * sizeof(block_q5_1);
    ri both = ri_dwords(p, stride);
    o->d[u] = rf_low_half(both);
    o->m[u] = rf_low_half(ri_shr(both, 16));
    nibbles(q, p + offsetof(block_q5_1, qs), stride);
    fifth_bits(q, ri_dwords(p + offsetof(block_q5_1, qh), stride));
}

static const struct form q8_0_form = {.unit = 8, .sub = 8, .shift = SIGNED_SHIFT, .largest = 255};
#define q8_0_begin begin_nothing
INLINE void q8_0_unit(struct panel *o, const uint8_t *p, size_t stride, int u, ri *q) {
    p += (size_t)u * sizeof(block_q8_0);
    o->d[u] = rf_halves(p, stride);
    ri_rows32(p + offsetof(block_q8_0, qs), stride, q);
    UNROLL for (int k = 0; k < 8; k++) q[k] = ri_from_signed(q[k]);
}

static const struct form mxfp4_form = {.unit = 8, .sub = 8, .shift = 4, .largest = 28};
#define mxfp4_begin begin_nothing
INLINE void mxfp4_unit(struct panel *o, const uint8_t *p, size_t stride, int u, ri *q) {
    p += (size_t)u * sizeof(block_mxfp4);
    float d[INT_ROWS];
    for (int r = 0; r < INT_ROWS; r++) d[r] = e8m0_half_to_fp32(p[(size_t)r * stride]);
    o->d[u] = rf_load(d);
    nibbles(q, p + offsetof(block_mxfp4, qs), stride);
    UNROLL for (int k = 0; k < 8; k++) { // -12 .. 12
        q[k] = ri_add8(ri_lookup(q[k], mxfp4_values), ri_set1(BYTES(16)));
    }
}

static const struct form iq4_nl_form = {.unit = 8, .sub = 8, .shift = SIGNED_SHIFT, .largest = 255};
#define iq4_nl_begin begin_nothing
INLINE void iq4_nl_unit(struct panel *o, const uint8_t *p, size_t stride, int u, ri *q) {
    p += (size_t)u * sizeof(block_iq4_nl);
    o->d[u] = rf_halves(p, stride);
    nibbles(q, p + offsetof(block_iq4_nl, qs), stride);
    UNROLL for (int k = 0; k < 8; k++) q[k] = ri_from_signed(ri_lookup(q[k], iq4_values));
}

static const struct form iq4_xs_form = {
    .unit = 8, .sub = 8, .shift = SIGNED_SHIFT, .largest = 255, .scaled = true, .large = true};
INLINE void iq4_xs_begin(struct panel *o, const uint8_t *p, size_t stride) {
    ri first = ri_dwords(p, stride); // d, and the high bits of all scales
    ri low = ri_dwords(p + offsetof(block_iq4_xs, scales_l), stride);
    o->d[0] = rf_low_half(first);
    UNROLL for (int j = 0; j < 8; j++) {
        ri nibble = ri_and(ri_shr(low, 4 * j), ri_set1(15));
        ri top = ri_and(ri_shr(first, 16 + 2 * j), ri_set1(3));
        o->scale[j] = ri_add(ri_or(nibble, ri_shl(top, 4)), ri_set1(-32));
    }
}
INLINE void iq4_xs_unit(struct panel *o, const uint8_t *p, size_t stride, int u, ri *q) {
    (void)o;
    nibbles(q, p + offsetof(block_iq4_xs, qs) + 16 * u, stride);
    UNROLL for (int k = 0; k < 8; k++) q[k] = ri_from_signed(ri_lookup(q[k], iq4_values));
}

static const struct form q2_K_form = {
    .unit = 32, .sub = 4, .largest = 3, .scaled = true, .mins = true};
INLINE void q2_K_begin(struct panel *o, const uint8_t *p, size_t stride) {
    ri s[4], both = ri_dwords(p + offsetof(block_q2_K, d), stride);
    o->d[0] = rf_low_half(both);
    o->m[0] = rf_low_half(ri_shr(both, 16));
    ri_rows16(p + offsetof(block_q2_K, scales), stride, s);
    UNROLL for (int j = 0; j < 16; j++) {
        ri pair = byte_of(s, j);
        o->scale[j] = ri_and(pair, ri_set1(15));
        o->min[j] = ri_shr(pair, 4);
    }
}
INLINE void q2_K_unit(struct panel *o, const uint8_t *p, size_t stride, int u, ri *q) {
    (void)o;
    ri packed[8];
    ri_rows32(p + offsetof(block_q2_K, qs) + 32 * u, stride, packed);
    UNROLL for (int i = 0; i < 32; i++) q[i] = masked(packed[i % 8], i / 8 * 2, 3);
}

/* The low 4 bits of the 16 scales are nibbles of two dwords, first all low ones; the high 2 bits
 * are the third. */
static const struct form q3_K_form = {
    .unit = 32, .sub = 4, .shift = 2, .largest = 7, .scaled = true};
INLINE void q3_K_begin(struct panel *o, const uint8_t *p, size_t stride) {
    ri w[4], s[4];
    ri_rows16(p + offsetof(block_q3_K, scales) - 4, stride, w);
    UNROLL for (int i = 0; i < 4; i++) {
        s[i] = ri_or(masked(w[1 + i % 2], i / 2 * 4, 15), ri_shl(masked(w[3], 2 * i, 3), 4));
    }
    UNROLL for (int j = 0; j < 16; j++) o->scale[j] = ri_add(byte_of(s, j), ri_set1(-32));
    o->d[0] = rf_halves(p + offsetof(block_q3_K, d), stride);
    ri_rows32(p + offsetof(block_q3_K, hmask), stride, o->high);
}
INLINE void q3_K_unit(struct panel *o, const uint8_t *p, size_t stride, int u, ri *q) {
    ri packed[8];
    ri_rows32(p + offsetof(block_q3_K, qs) + 32 * u, stride, packed);
    UNROLL for (int i = 0; i < 32; i++) {
        ri third = bit_to(o->high[i % 8], 4 * u + i / 8, 2);
        q[i] = ri_or(masked(packed[i % 8], i / 8 * 2, 3), third);
    }
}

/* get_scale_min_k4 (quant.c) of INT_ROWS rows, from the block's first four dwords. */
INLINE void k4_begin(struct panel *o, const uint8_t *p, size_t stride) {
    ri h[4], s[4];
    ri_rows16(p, stride, h);
    o->d[0] = rf_low_half(h[0]);
    o->m[0] = rf_low_half(ri_shr(h[0], 16));
    s[0] = masked(h[1], 0, 63);
    s[1] = ri_or(masked(h[3], 0, 15), masked(h[1], 2, 0x30));
    s[2] = masked(h[2], 0, 63);
    s[3] = ri_or(masked(h[3], 4, 15), masked(h[2], 2, 0x30));
    UNROLL for (int j = 0; j < 8; j++) {
        o->scale[j] = byte_of(s, j);
        o->min[j] = byte_of(s, 8 + j);
    }
}

static const struct form q4_K_form = {
    .unit = 16, .sub = 8, .largest = 15, .scaled = true, .mins = true, .large = true};
#define q4_K_begin k4_begin
INLINE void q4_K_unit(struct panel *o, const uint8_t *p, size_t stride, int u, ri *q) {
    (void)o;
    ri packed[8];
    ri_rows32(p + offsetof(block_q4_K, qs) + 32 * u, stride, packed);
    UNROLL for (int i = 0; i < 16; i++) q[i] = masked(packed[i % 8], i / 8 * 4, 15);
}

static const struct form q5_K_form = {
    .unit = 16, .sub = 8, .largest = 31, .scaled = true, .mins = true, .large = true};
INLINE void q5_K_begin(struct panel *o, const uint8_t *p, size_t stride) {
    k4_begin(o, p, stride);
    ri_rows32(p + offsetof(block_q5_K, qh), stride, o->high);
}
INLINE void q5_K_unit(struct panel *o, const uint8_t *p, size_t stride, int u, ri *q) {
    ri packed[8];
    ri_rows32(p + offsetof(block_q5_K, qs) + 32 * u, stride, packed);
    UNROLL for (int i = 0; i < 16; i++) {
        ri fifth = bit_to(o->high[i % 8], 2 * u + i / 8, 4);
        q[i] = ri_or(masked(packed[i % 8], i / 8 * 4, 15), fifth);
    }
}

static const struct form q6_K_form = {
    .unit = 32, .sub = 4, .shift = 5, .largest = 63, .scaled = true, .large = true};
INLINE void q6_K_begin(struct panel *o, const uint8_t *p, size_t stride) {
    ri s[4];
    ri_rows16(p + offsetof(block_q6_K, scales), stride, s);
    UNROLL for (int j = 0; j < 16; j++) {
        o->scale[j] = ri_sar(ri_shl(s[j / 4], 24 - 8 * (j % 4)), 24);
    }
    o->d[0] = rf_halves(p + offsetof(block_q6_K, d), stride);
}
INLINE void q6_K_unit(struct panel *o, const uint8_t *p, size_t stride, int u, ri *q) {
    (void)o;
    ri low[2][8], high[8];
    ri_rows32(p + offsetof(block_q6_K, ql) + 64 * u, stride, low[0]);
    ri_rows32(p + offsetof(block_q6_K, ql) + 64 * u + 32, stride, low[1]);
    ri_rows32(p + offsetof(block_q6_K, qh) + 32 * u, stride, high);
    UNROLL for (int i = 0; i < 32; i++) {
        ri top = ri_shl(masked(high[i % 8], i / 8 * 2, 3), 4);
        q[i] = ri_or(masked(low[i / 8 % 2][i % 8], i / 16 * 4, 15), top);
    }
}

typedef void begin_int_fn(struct panel *o, const uint8_t *p, size_t stride);
typedef void unit_int_fn(struct panel *o, const uint8_t *p, size_t stride, int u, ri *q);

/* ---- tiles: a part of the rows times some tokens --------------------------------------------- */

/* Sums are kept for so many vectors: a vector is a plane of a token or, where an instruction set
 * takes activations whole (IS_WIDE), a token. */
#define IS_WIDE(f) (HAS_WIDE && (f).largest > 127)
#define MAX_SUMS (2 * (TILE_VECTORS > 4 ? TILE_VECTORS : 4))

/* Where the dwords of a part come from: a panel that has been filled, or, if p is not NULL, the
 * rows themselves, a unit at a time. */
struct source {
    struct panel *panel;
    const uint8_t *p;
    size_t stride;
    unit_int_fn *unit;
    const uint8_t *ahead; // what is to be fetched meanwhile
    size_t n_ahead;       // its bytes for each unit
};

/* The tokens of a tile: T of them, from row `at` of act_input on. */
struct tokens {
    const int8_t *x;
    const int16_t *wide;
    const int32_t *less;
    const float *scale;
    int planes;
};

/* S of a block from those of its planes, rounded once. Both conversions of the long way are exact,
 * of 24 and of 16 bits. */
INLINE rf join(const ri *sum, bool large, const int planes) {
    if (planes == 1) return rf_from_ri(sum[0]);
    ri low = ri_add(ri_shl(sum[1], 8), sum[0]); // of S, modulo 2^32
    if (!large) return rf_from_ri(low);
    ri high = ri_and(ri_add(sum[1], ri_sar(sum[0], 8)), ri_set1(~255));
    return rf_fma(rf_from_ri(high), rf_set1(256), rf_from_ri(ri_and(low, ri_set1(0xffff))));
}

/* part[i] += F of token i's sums times d, for n sums. */
INLINE void add_joined(rf *part, const ri *sum, rf d, bool large, const int n, int planes) {
    if (planes == 1) {
        UNROLL for (int i = 0; i < n; i++) part[i] = rf_fma(join(sum + i, large, 1), d, part[i]);
    } else {
        UNROLL for (int i = 0; i < n / 2; i++) {
            part[i] = rf_fma(join(sum + 2 * i, large, 2), d, part[i]);
        }
    }
}

/* sum[i] += S of sub-block j of the part, whose dwords are at q, for n vectors. */
INLINE void add_columns(ri *sum, const struct source *w, const ri *q, int j, const struct tokens *t,
                        const struct form f, const int n) {
    if (IS_WIDE(f)) {
        add_wide(sum, q, t->wide + 4 * f.sub * j, w->panel->scale + j, f, n, t->planes);
    } else {
        add_sub_block(sum, q, t->x + 4 * f.sub * j, t->less + j, w->panel->scale + j, f, n);
    }
    if (!w->p) return;
    const size_t n_subs = (size_t)(f.unit / f.sub), lines = w->n_ahead / n_subs / CACHE_LINE + 1;
    const uint8_t *from = w->ahead + (size_t)j * (w->n_ahead / n_subs);
    UNROLL for (size_t i = 0; i < lines; i++) ri_fetch(&sum[0], from + i * CACHE_LINE);
}

/* Minus the sum of the activations of sub-block j of token i. */
INLINE int32_t less_of(const struct tokens *t, int i, int j, const struct form f) {
    const int32_t *l = t->less + i * t->planes * N_LESS(f) + j;
    return t->planes == 1 ? l[0] : l[N_LESS(f)] * 256 + l[0];
}

/* The part's sums for n vectors, in sub-blocks that have their own scales. */
INLINE void add_small_blocks(rf *part, const struct source *w, const struct tokens *t,
                             int n_columns, const struct form f, const int n) {
    const int planes = IS_WIDE(f) ? 1 : t->planes;
    for (int j = 0; j < n_columns / QK; j++) {
        ri sum[MAX_SUMS], room[8], *q = w->panel->q + 8 * j;
        UNROLL for (int i = 0; i < n; i++) sum[i] = ri_set1(0);
        if (w->p) w->unit(w->panel, w->p, w->stride, j, q = room);
        add_columns(sum, w, q, j, t, f, n);
        add_joined(part, sum, w->panel->d[j], false, n, planes);
        if (!f.mins) continue;
        for (int i = 0; i < n / planes; i++) {
            rf m = rf_set1((float)-less_of(t, i, j, f));
            part[i] = rf_fma(m, w->panel->m[j], part[i]);
        }
    }
}

/* The same of a K-quant. */
INLINE void add_large_block(rf *part, const struct source *w, const struct tokens *t,
                            const struct form f, const int n) {
    const int n_subs = f.unit / f.sub;
    const int n_sums = IS_WIDE(f) ? 2 * n : n;
    ri sum[MAX_SUMS];
    UNROLL for (int i = 0; i < n_sums; i++) sum[i] = ri_set1(0);
    for (int j = 0; !w->p && j < N_LESS(f); j++) {
        add_columns(sum, w, w->panel->q + f.sub * j, j, t, f, n);
    }
    for (int u = 0; w->p && u < PART_DWORDS / f.unit; u++) {
        ri q[32];
        w->unit(w->panel, w->p, w->stride, u, q);
        UNROLL for (int j = 0; j < n_subs; j++) {
            add_columns(sum, w, q + f.sub * j, n_subs * u + j, t, f, n);
        }
    }
    add_joined(part, sum, w->panel->d[0], f.large, IS_WIDE(f) ? n * t->planes : n, t->planes);
    if (!f.mins) return;
    UNROLL for (int i = 0; i < n; i++) sum[i] = ri_set1(0);
    for (int j = 0; j < N_LESS(f); j++) {
        UNROLL for (int i = 0; i < n; i++) { // these are the sums of -X
            ri s = ri_load1(t->less + i * N_LESS(f) + j);
            sum[i] = ri_add(sum[i], ri_mul(w->panel->min[j], s));
        }
    }
    add_joined(part, sum, w->panel->m[0], false, n, t->planes);
}

/* acc[i] += a part x token i for n vectors of tokens, from row `at` on. */
INLINE void int_tile(float *acc, const struct source *w, const struct act_input *x, size_t at,
                     int n_columns, const struct form f, const int n) {
    size_t planes = at * (size_t)x->planes;
    struct tokens t = {
        .x = x->q + planes * ACT_PART,
        .wide = x->wide + at * ACT_PART,
        .less = (f.sub == 4 ? x->less16 : x->less32) + planes * (size_t)N_LESS(f),
        .scale = x->scale + at,
        .planes = x->planes,
    };
    rf part[MAX_SUMS];
    UNROLL for (int i = 0; i < n; i++) part[i] = rf_set1(0);
    if (f.scaled) {
        add_large_block(part, w, &t, f, n);
    } else {
        add_small_blocks(part, w, &t, n_columns, f, n);
    }
    for (int i = 0; i < (IS_WIDE(f) ? n : n / x->planes); i++) {
        rf y = rf_load(acc + i * INT_ROWS);
        rf_store(acc + i * INT_ROWS, rf_fma(part[i], rf_set1(t.scale[i]), y));
    }
}

/* ---- products -------------------------------------------------------------------------------- */

/* INT_ROWS rows of a matrix, or fewer, and what is to be done with them. */
struct rows {
    const uint8_t *p;
    size_t stride;
    int n, block_len;
    size_t block_bytes;
    int64_t n_cols;
    begin_int_fn *begin;
    unit_int_fn *unit;
};

/* Part `part` of the rows: if there are fewer than INT_ROWS, a copy with the last one as often as
 * it takes. */
#define MOST_PART_BYTES (ACT_PART / QK * sizeof(block_q8_0))
INLINE struct source source_of(const struct rows *w, int64_t k, int n_columns, uint8_t *copy,
                               struct panel *panel, int n_units) {
    size_t offset = (size_t)(k / w->block_len) * w->block_bytes;
    size_t bytes = (size_t)(n_columns / w->block_len) * w->block_bytes;
    struct source s = {.panel = panel,
                       .p = w->p + offset,
                       .stride = w->stride,
                       .unit = w->unit,
                       .ahead = w->p + INT_ROWS * (w->stride + offset),
                       .n_ahead = INT_ROWS * (ACT_PART / (size_t)w->block_len) * w->block_bytes /
                                  (size_t)n_units};
    if (w->n == INT_ROWS) return s;
    for (int r = 0; r < INT_ROWS; r++) {
        int from = r < w->n ? r : w->n - 1;
        memcpy(copy + (size_t)r * MOST_PART_BYTES, s.p + (size_t)from * s.stride, bytes);
    }
    s.p = copy;
    s.stride = MOST_PART_BYTES;
    return s;
}

/* One or two vectors: the weights meet them as they are unpacked. */
INLINE void int_few(float *acc, const struct rows *w, const struct act_input *x,
                    const struct form f, const int n) {
    uint8_t copy[INT_ROWS * MOST_PART_BYTES];
    struct panel panel;
    for (int64_t k = 0; k < w->n_cols; k += ACT_PART) {
        int columns = (int)(w->n_cols - k < ACT_PART ? w->n_cols - k : ACT_PART);
        struct source s = source_of(w, k, columns, copy, &panel, PART_DWORDS / f.unit);
        w->begin(&panel, s.p, s.stride);
        int_tile(acc, &s, x, (size_t)(k / ACT_PART) * (size_t)x->n_rows, columns, f, n);
    }
}

/* Any number: a part is unpacked once, then all tokens pass by. */
INLINE void int_many(float *acc, const struct rows *w, const struct act_input *x,
                     const struct form f) {
    uint8_t copy[INT_ROWS * MOST_PART_BYTES];
    struct panel panel;
    const int vectors = IS_WIDE(f) ? 1 : x->planes; // of a token
    const int at_once = TILE_VECTORS / vectors, few = 4 / vectors;
    for (int64_t k = 0; k < w->n_cols; k += ACT_PART) {
        int n = (int)(w->n_cols - k < ACT_PART ? w->n_cols - k : ACT_PART), t = 0;
        size_t at = (size_t)(k / ACT_PART) * (size_t)x->n_rows;
        struct source s = source_of(w, k, n, copy, &panel, PART_DWORDS / f.unit);
        w->begin(&panel, s.p, s.stride);
        for (int u = 0; u < n / 4 / f.unit; u++) {
            for (size_t i = 0; i < s.n_ahead; i += CACHE_LINE) {
                prefetch(s.ahead, (size_t)u * s.n_ahead + i);
            }
            w->unit(&panel, s.p, s.stride, u, panel.q + f.unit * u);
        }
        s.p = NULL;
        for (; t + at_once <= x->n_rows; t += at_once) {
            int_tile(acc + t * INT_ROWS, &s, x, at + (size_t)t, n, f, TILE_VECTORS);
        }
        for (; TILE_VECTORS > 4 && t < x->n_rows; t += few) {
            int_tile(acc + t * INT_ROWS, &s, x, at + (size_t)t, n, f, 4);
        }
    }
}

INLINE void int_rows(float *acc, const struct rows *w, const struct act_input *x,
                     const struct form f) {
    int n = x->n_rows * (IS_WIDE(f) ? 1 : x->planes);
    memset(acc, 0, (size_t)(INT_ROWS * x->n_rows) * sizeof *acc);
    if (n == 1) {
        int_few(acc, w, x, f, 1);
    } else if (n == 2) {
        int_few(acc, w, x, f, 2);
    } else {
        int_many(acc, w, x, f);
    }
}

#define DEFINE_INTEGERS(name, len, bytes)                                             \
    static void integers_##name(const struct matrix *w, int64_t row, int n_rows,      \
                                const struct act_input *x, float *y, size_t y_stride, \
                                float *work) {                                        \
        for (int r = 0; r < n_rows; r += INT_ROWS) {                                  \
            struct rows rows = {.p = w->data + (size_t)(row + r) * w->row_bytes,      \
                                .stride = w->row_bytes,                               \
                                .n = n_rows - r < INT_ROWS ? n_rows - r : INT_ROWS,   \
                                .block_len = len,                                     \
                                .block_bytes = bytes,                                 \
                                .n_cols = w->n_cols,                                  \
                                .begin = name##_begin,                                \
                                .unit = name##_unit};                                 \
            int_rows(work, &rows, x, name##_form);                                    \
            for (int t = 0; t < x->n_tokens; t++) {                                   \
                float *to = y + (size_t)t * y_stride + r;                             \
                memcpy(to, work + t * INT_ROWS, (size_t)rows.n * sizeof *y);          \
            }                                                                         \
        }                                                                             \
    }

#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN_INTEGERS(kernels, DEFINE_INTEGERS(name, len, bytes))
#include "../types.def"

/* ---- activations ----------------------------------------------------------------------------- */

/* X, filled up with zeros, in the forms that products read (struct act_input). */
INLINE void lay_out(const int16_t *X, const struct act_input *to, size_t at) {
    int8_t *q = to->q + at * (size_t)to->planes * ACT_PART;
    for (int i = 0; i < ACT_PART; i++) q[i] = (int8_t)(uint8_t)X[i];
    for (int i = 0; to->planes == 2 && i < ACT_PART; i++) {
        q[ACT_PART + i] = (int8_t)((X[i] - q[i]) / 256);
    }
    for (int p = 0; p < to->planes; p++, q += ACT_PART) {
        int32_t *less16 = to->less16 + (at * (size_t)to->planes + (size_t)p) * (ACT_PART / 16);
        int32_t *less32 = to->less32 + (at * (size_t)to->planes + (size_t)p) * (ACT_PART / 32);
        for (int j = 0; j < ACT_PART / 16; j++) {
            int sum = 0;
            for (int i = 0; i < 16; i++) sum -= q[16 * j + i];
            less16[j] = sum;
        }
        for (int j = 0; j < ACT_PART / 32; j++) less32[j] = less16[2 * j] + less16[2 * j + 1];
    }
    int16_t *wide = to->wide + at * ACT_PART; // each four in the order that add_wide wants
    for (int i = 0; HAS_WIDE && i < ACT_PART; i += 4) {
        wide[i] = X[i];
        wide[i + 1] = X[i + 2];
        wide[i + 2] = X[i + 1];
        wide[i + 3] = X[i + 3];
    }
}

/* One part of one token, to row `at` (part * n_rows + token). */
static void int_quantize(const float *x, int n, const struct act_input *to, size_t at) {
    int16_t X[ACT_PART];
    float in[ACT_PART];
    memcpy(in, x, (size_t)n * sizeof *in);
    memset(in + n, 0, (size_t)(ACT_PART - n) * sizeof *in);
    act_quantize(in, ACT_PART, 8 * to->planes, X, &to->scale[at]);
    lay_out(X, to, at);
}

static float int_loop(int64_t n) {
    static const int8_t x[TILE_VECTORS * ACT_PART] = {1};
    static const int32_t less[TILE_VECTORS * 8] = {0};
    const struct form f = {.unit = 8, .sub = 8, .largest = 15};
    ri sum[TILE_VECTORS], q[8], all = ri_set1(0);
    UNROLL for (int k = 0; k < 8; k++) q[k] = ri_set1((int32_t)n & 0x0f0f0f0f);
    const int8_t *bytes = x;
    for (int64_t i = 0; i < n; i++) {
        __asm__ volatile("" : "+r"(bytes) : : "memory"); // or they would be multiplied once
        UNROLL for (int j = 0; j < TILE_VECTORS; j++) sum[j] = all;
        add_sub_block(sum, q, bytes, less, &all, f, TILE_VECTORS);
        UNROLL for (int j = 0; j < TILE_VECTORS; j++) all = ri_or(all, sum[j]);
    }
    float y[INT_ROWS];
    rf_store(y, rf_from_ri(all));
    return y[0];
}

SIMD_END

static act_fn *const integer_kernels[GGML_N_TYPES] = {
#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN_INTEGERS(kernels, [number] = integers_##name, )
#include "../types.def"
};

#define INTEGERS_SIMD                                                                         \
    .product = integer_kernels, .quantize = int_quantize, .rows = INT_ROWS, .loop = int_loop, \
    .loop_macs = TILE_VECTORS * 32 * INT_ROWS

#endif
