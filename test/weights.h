/* Weights and activations for the tests of products: random ones, and those that go to the limits
 * of their formats. */
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include "kernels.h"
#include "quant.h"
#include "simd/isa.h"

#include <math.h>
#include <stddef.h>

static inline float random_sign(float v) {
    return random_below(2) ? v : -v;
}

enum fill {
    FILL_RANDOM,
    FILL_MAX,      // every field at its largest
    FILL_MIN,      // every field at its smallest
    FILL_ZERO,     // scales +0 and -0, quants random
    FILL_NEGATIVE, // scales below 0
    FILL_SUBNORMAL,
    FILL_UNEQUAL, // all quants alike: only the scales tell sub-blocks and blocks apart
    FILL_TINY,    // activations so small that products underflow: zeros of both signs
    FILL_WILD,    // now and then a scale is no number; activations are none, or very large
    N_FILLS
};

static const char *const fill_names[N_FILLS] = {"random",    "max",     "min",  "zero", "negative",
                                                "subnormal", "unequal", "tiny", "wild"};

/* Where the fields of a block are, counted from 1; 0: it has no such field. The bytes of types that
 * are not listed are all random. */
struct layout {
    int d, m;                // halves
    int scales, n_scales;    // bytes
    int signed_at, n_signed; // bytes that are signed numbers
};

#define AT(block, field) 1 + (int)offsetof(block, field)

static const struct layout layouts[GGML_N_TYPES] = {
    [GGML_TYPE_Q4_0] = {.d = AT(block_q4_0, d)},
    [GGML_TYPE_Q4_1] = {.d = AT(block_q4_1, d), .m = AT(block_q4_1, m)},
    [GGML_TYPE_Q5_0] = {.d = AT(block_q5_0, d)},
    [GGML_TYPE_Q5_1] = {.d = AT(block_q5_1, d), .m = AT(block_q5_1, m)},
    [GGML_TYPE_Q8_0] = {.d = AT(block_q8_0, d), .signed_at = AT(block_q8_0, qs), .n_signed = QK},
    [GGML_TYPE_IQ4_NL] = {.d = AT(block_iq4_nl, d)},
    [GGML_TYPE_IQ4_XS] = {.d = AT(block_iq4_xs, d), .scales = AT(block_iq4_xs, scales_h), 6, 0, 0},
    [GGML_TYPE_IQ2_XXS] = {.d = AT(block_iq2_xxs, d)},
    [GGML_TYPE_IQ2_XS] = {.d = AT(block_iq2_xs, d), .scales = AT(block_iq2_xs, scales), 8, 0, 0},
    [GGML_TYPE_IQ2_S] = {.d = AT(block_iq2_s, d), .scales = AT(block_iq2_s, scales), 8, 0, 0},
    [GGML_TYPE_IQ3_XXS] = {.d = AT(block_iq3_xxs, d)},
    [GGML_TYPE_IQ3_S] = {.d = AT(block_iq3_s, d), .scales = AT(block_iq3_s, scales), 4, 0, 0},
    [GGML_TYPE_Q2_K] = {AT(block_q2_K, d), AT(block_q2_K, dmin), AT(block_q2_K, scales), 16, 0, 0},
    [GGML_TYPE_Q3_K] = {AT(block_q3_K, d), 0, AT(block_q3_K, scales), 12, 0, 0},
    [GGML_TYPE_Q4_K] = {AT(block_q4_K, d), AT(block_q4_K, dmin), AT(block_q4_K, scales), 12, 0, 0},
    [GGML_TYPE_Q5_K] = {AT(block_q5_K, d), AT(block_q5_K, dmin), AT(block_q5_K, scales), 12, 0, 0},
    [GGML_TYPE_Q6_K] = {AT(block_q6_K, d), 0, AT(block_q6_K, scales), 16, AT(block_q6_K, scales),
                        16},
};

/* A half: its sign, its 5 bits of exponent, its 10 of fraction. */
static inline ggml_half random_half(enum fill fill, int index) {
    unsigned sign = (unsigned)random_below(2) << 15, fraction = (unsigned)random_below(1024);
    unsigned exponent = 1 + (unsigned)random_below(15);
    switch (fill) {
    case FILL_MAX:
        return 0x7bff;
    case FILL_MIN:
        return 0xfbff;
    case FILL_ZERO:
        return (ggml_half)sign;
    case FILL_NEGATIVE:
        return (ggml_half)(0x8000 | exponent << 10 | fraction);
    case FILL_TINY: // times the largest quants still less than 0.5; some are zeros after others
        if (index % 3 == 2) fraction = 0;
        return (ggml_half)((unsigned)index / 32 % 2 << 15 | fraction);
    case FILL_SUBNORMAL:
        return (ggml_half)(sign | fraction);
    case FILL_WILD:
        if (random_below(300) > 0) return (ggml_half)(sign | exponent << 10 | fraction);
        return (ggml_half)(sign | 0x7c00 | (random_below(2) ? fraction : 0));
    case FILL_UNEQUAL:
        return (ggml_half)((10u + (unsigned)index % 5) << 10 | (unsigned)index * 37 % 1024);
    default:
        return (ggml_half)(sign | exponent << 10 | fraction);
    }
}

/* The exponent of a block of MXFP4, for the fills of a half. */
static inline uint8_t random_exponent(enum fill fill, int index) {
    switch (fill) {
    case FILL_MAX:
        return 127 + 12; // 12 times 2^11, about a half's largest
    case FILL_MIN:
        return 0;
    case FILL_SUBNORMAL:
        return (uint8_t)random_below(3);
    case FILL_UNEQUAL:
        return (uint8_t)(118 + index % 9);
    default:
        return (uint8_t)(90 + random_below(33)); // 12 times 2^-6 at most
    }
}

/* A scale of NVFP4, likewise. */
static inline uint8_t random_ue4m3(enum fill fill, int index) {
    switch (fill) {
    case FILL_MAX:
        return 0x7e;
    case FILL_MIN:
        return 0xff;
    case FILL_ZERO:
        return (uint8_t[]){0, 0x80, 0x7f}[random_below(3)];
    case FILL_SUBNORMAL:
        return (uint8_t)(1 + random_below(7));
    case FILL_UNEQUAL:
        return (uint8_t)(index * 11 % 127);
    case FILL_TINY:
        return (uint8_t)(1 + random_below(31)); // 12 times 2^-5 at most
    default:
        return (uint8_t)random_below(256);
    }
}

static inline void put_half(uint8_t *block, int at, ggml_half h) {
    memcpy(block + at, &h, sizeof h);
}

static inline void fill_block(uint8_t *block, uint32_t type, enum fill fill, int index) {
    const struct layout *l = &layouts[type];
    int n = ggml_type_info(type)->block_bytes;
    int alike = random_below(256);
    for (int i = 0; i < n; i++) block[i] = (uint8_t)(test_random(&seed) >> 56);
    if (fill == FILL_MAX) memset(block, 0xff, (size_t)n);
    if (fill == FILL_MIN) memset(block, 0, (size_t)n);
    if (fill == FILL_UNEQUAL) memset(block, alike, (size_t)n);
    if (fill == FILL_TINY && alike % 2) memset(block, 0xff, (size_t)n); // one sign, mostly
    for (int i = 0; i < l->n_scales && fill == FILL_UNEQUAL; i++) {
        block[l->scales - 1 + i] = (uint8_t)(29 * i + alike);
    }
    for (int i = 0; i < l->n_signed; i++) {
        if (fill == FILL_MAX) block[l->signed_at - 1 + i] = 0x7f;
        if (fill == FILL_MIN) block[l->signed_at - 1 + i] = 0x80;
    }
    if (type == GGML_TYPE_MXFP4) {
        block[0] = random_exponent(fill, index);
        if (fill == FILL_ZERO) memset(block + 1, 0x80, QK / 2); // zeros by both names
    }
    for (int i = 0; i < 4 && type == GGML_TYPE_NVFP4; i++) {
        block[i] = random_ue4m3(fill, 4 * index + i);
    }
    if (l->d) put_half(block, l->d - 1, random_half(fill, index));
    if (l->m) put_half(block, l->m - 1, random_half(fill, index + 3));
}

/* A weight of F32 (or, its upper half, of BF16): the fills of a half with an exponent of 8 bits. */
static inline uint32_t random_float_bits(enum fill fill, int index) {
    uint32_t random = (uint32_t)(test_random(&seed) >> 32), sign = random & 0x80000000;
    switch (fill) {
    case FILL_MAX:
        return 0x7f7fffff;
    case FILL_MIN:
        return 0xff7fffff;
    case FILL_ZERO:
        return sign;
    case FILL_SUBNORMAL:
        return random & 0x807fffff;
    case FILL_UNEQUAL:
        return float_bits((float)(index + 1));
    case FILL_NEGATIVE:
        sign = 0x80000000;
        break;
    case FILL_TINY:
        sign = (uint32_t)index / 32 % 2 << 31;
        break;
    default:
        break;
    }
    uint32_t exponent = 127 - 20 + random % 19; // all below 0.5
    return sign | exponent << 23 | (random & 0x7fffff);
}

static inline void fill_weights(const struct matrix *w, uint8_t *data, enum fill fill) {
    const struct ggml_type_info *t = ggml_type_info(w->type);
    int n = (int)(w->n_rows * w->n_cols / t->block_len);
    for (int i = 0; i < n; i++) {
        uint8_t *block = data + (size_t)i * (size_t)t->block_bytes;
        uint32_t bits = random_float_bits(fill, i);
        if (w->type == GGML_TYPE_F32) {
            memcpy(block, &bits, 4);
        } else if (w->type == GGML_TYPE_BF16) {
            put_half(block, 0, (ggml_half)(bits >> 16));
        } else if (w->type == GGML_TYPE_F16) {
            put_half(block, 0, random_half(fill, i));
        } else {
            fill_block(block, w->type, fill, i);
        }
    }
}

static inline void fill_activations(float *x, int64_t n_cols, int n_tokens, enum fill fill) {
    static const float wild[] = {0, 0x1p64f, 0x1p100f, 0x1p120f, INFINITY, NAN};
    for (int t = 0; t < n_tokens; t++) {
        int where = random_below((int)n_cols);
        for (int64_t i = 0; i < n_cols; i++, x++) {
            *x = test_normal(&seed);
            if (fill == FILL_WILD && i == where) *x *= wild[random_below(6)];
            if (fill != FILL_TINY) continue;
            float tiny = 0x1p-149f * (float)(1 + random_below(t % 2 ? 1000 : 1));
            *x = t % 3 == 0 ? -tiny : t % 3 == 1 ? tiny : random_sign(tiny);
        }
    }
}

#endif
