/* quant.c: where every bit of every block goes, all halves, rows made with ggml, the error of the
 * quantizers beside ggml's, and inputs no model should have. */
#include "quant.h"
#include "test.h"

#include <float.h>
#include <math.h>

static const struct {
    uint32_t type;
    size_t bytes, align; // of its block struct
} all_types[] = {
#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN(dequantize, {number, sizeof(block_##name), _Alignof(block_##name)}, )
#include "types.def"
};
enum { N_TYPES = sizeof all_types / sizeof all_types[0] };

static size_t row_bytes(uint32_t type, int64_t k) {
    const struct ggml_type_info *info = ggml_type_info(type);
    return (size_t)(k / info->block_len * info->block_bytes);
}

/* ---- halves ---------------------------------------------------------------------------------- */

enum { HALF_BITS = 11, HALF_MIN_EXPONENT = -24, BF16_BITS = 8, BF16_MIN_EXPONENT = -133 };

/* What IEEE 754 says a half is worth; no NaN, no infinity. */
static double half_by_definition(uint32_t h) {
    int exponent = (int)(h >> 10 & 31), fraction = (int)(h & 1023);
    double v = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return h >> 15 ? -v : v;
}

static void test_half_to_float(void) {
    for (uint32_t h = 0; h < 65536; h++) {
        float f = fp16_to_fp32((ggml_half)h);
        bool is_special = (h & 0x7c00) == 0x7c00;
        if (!is_special) {
            CHECK((double)f == half_by_definition(h), "half %04x gives %.9g", h, (double)f);
        } else if (h & 0x3ff) {
            CHECK(isnan(f), "half %04x is NaN, gives %.9g", h, (double)f);
        } else {
            CHECK(isinf(f), "half %04x is infinite, gives %.9g", h, (double)f);
        }
        CHECK(float_bits(f) >> 31 == h >> 15, "half %04x: the sign is lost", h);
        CHECK(fp32_to_fp16(f) == h || isnan(f), "half %04x comes back as %04x", h, fp32_to_fp16(f));
        CHECK(float_bits(bf16_to_fp32((uint16_t)h)) == h << 16, "bf16 %04x", h);
    }
}

/* f rounded to `bits` significant bits, no finer than 2^min_exponent, in exact double steps. */
static double rounded_by_definition(float f, int bits, int min_exponent) {
    int exponent;
    frexp((double)f, &exponent);
    int unit = exponent - bits > min_exponent ? exponent - bits : min_exponent;
    return ldexp(nearbyint(ldexp((double)f, -unit)), unit);
}

static void check_rounding(uint32_t bits) {
    float f = float_from_bits(bits);
    float half = fp16_to_fp32(fp32_to_fp16(f)), bf16 = bf16_to_fp32(fp32_to_bf16(f));
    if (isnan(f)) {
        CHECK(isnan(half) && isnan(bf16), "NaN %08x: %g %g", bits, (double)half, (double)bf16);
        return;
    }
    double want = rounded_by_definition(f, HALF_BITS, HALF_MIN_EXPONENT);
    if (fabs(want) >= 65536) want = copysign(INFINITY, want);
    CHECK((double)half == want, "%08x to half: %.9g, not %.9g", bits, (double)half, want);
    want = rounded_by_definition(f, BF16_BITS, BF16_MIN_EXPONENT);
    if (fabs(want) >= 0x1p128) want = copysign(INFINITY, want);
    CHECK((double)bf16 == want, "%08x to bf16: %.9g, not %.9g", bits, (double)bf16, want);
    CHECK(float_bits(half) >> 31 == bits >> 31, "%08x to half: the sign is lost", bits);
}

static void test_float_to_half(void) {
    for (uint32_t h = 0; h < 65536; h++) { // every half and bf16, every midpoint, and beside them
        uint32_t from_half = float_bits(fp16_to_fp32((ggml_half)h)), from_bf16 = h << 16;
        for (uint32_t d = 0; d < 3; d++) {
            check_rounding(from_half + d - 1);
            check_rounding(from_half + 0x1000 + d - 1);
            check_rounding(from_bf16 + d - 1);
            check_rounding(from_bf16 + 0x8000 + d - 1);
        }
        float middle = (float)((h & 0x7fff) + 0.5) * 0x1p-24f; // between subnormal halves
        check_rounding(float_bits(middle));
        check_rounding(float_bits(middle) + 1);
        check_rounding(float_bits(middle) - 1);
    }
    uint64_t seed = 1;
    for (int i = 0; i < 1000000; i++) check_rounding((uint32_t)(test_random(&seed) >> 32));
}

/* ---- layouts --------------------------------------------------------------------------------- */

union any_block {
    uint8_t bytes[256];
#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN(dequantize, block_##name name;)
#include "types.def"
};

enum { ONE = 0x3c00 }; // 1 as a half

/* A block whose weights are all `base`, for one bit of it to be changed at a time. */
struct layout {
    uint32_t type;
    union any_block block;
    float base;
};

/* Flipping bit `bit` of *byte adds `delta` to the n weights from `first` and changes no other. */
static void check_bit(struct layout *l, uint8_t *byte, int bit, int first, int n, float delta) {
    float y[QK_K];
    int len = ggml_type_info(l->type)->block_len;
    *byte ^= (uint8_t)(1 << bit);
    dequantize_row(l->type, &l->block, y, len);
    *byte ^= (uint8_t)(1 << bit);
    for (int i = 0; i < len; i++) {
        float want = i >= first && i < first + n ? l->base + delta : l->base;
        CHECK(y[i] == want, "%s, byte %d bit %d: weight %d is %g, not %g",
              ggml_type_info(l->type)->name, (int)(byte - l->block.bytes), bit, i, (double)y[i],
              (double)want);
    }
}

static void layout_q4_0(void) {
    struct layout l = {GGML_TYPE_Q4_0, .block.q4_0.d = ONE, .base = -8};
    for (int i = 0; i < QK; i++) {
        for (int b = 0; b < 4; b++) {
            check_bit(&l, &l.block.q4_0.qs[i % 16], 4 * (i / 16) + b, i, 1, (float)(1 << b));
        }
    }
}

static void layout_q4_1(void) {
    struct layout l = {GGML_TYPE_Q4_1, .block.q4_1 = {.d = ONE, .m = ONE}, .base = 1};
    for (int i = 0; i < QK; i++) {
        for (int b = 0; b < 4; b++) {
            check_bit(&l, &l.block.q4_1.qs[i % 16], 4 * (i / 16) + b, i, 1, (float)(1 << b));
        }
    }
}

static void layout_q5_0(void) {
    struct layout l = {GGML_TYPE_Q5_0, .block.q5_0.d = ONE, .base = -16};
    for (int i = 0; i < QK; i++) {
        for (int b = 0; b < 4; b++) {
            check_bit(&l, &l.block.q5_0.qs[i % 16], 4 * (i / 16) + b, i, 1, (float)(1 << b));
        }
        check_bit(&l, &l.block.q5_0.qh[i / 8], i % 8, i, 1, 16);
    }
}

static void layout_q5_1(void) {
    struct layout l = {GGML_TYPE_Q5_1, .block.q5_1 = {.d = ONE, .m = ONE}, .base = 1};
    for (int i = 0; i < QK; i++) {
        for (int b = 0; b < 4; b++) {
            check_bit(&l, &l.block.q5_1.qs[i % 16], 4 * (i / 16) + b, i, 1, (float)(1 << b));
        }
        check_bit(&l, &l.block.q5_1.qh[i / 8], i % 8, i, 1, 16);
    }
}

/* Every value by its definition: a sign, an exponent of 2 bits with a bias of 1, a bit of mantissa;
 * and every scale: an exponent with a bias of 127. */
static void layout_mxfp4(void) {
    struct layout l = {GGML_TYPE_MXFP4, .block.mxfp4.e = 128};
    for (int i = 0; i < QK; i++) {
        for (int b = 0; b < 3; b++) {
            check_bit(&l, &l.block.mxfp4.qs[i % 16], 4 * (i / 16) + b, i, 1, (float)(1 << b));
        }
    }
    for (int e = 0; e < 256; e++) {
        for (int q = 0; q < 16; q++) {
            float y[QK];
            int exponent = q >> 1 & 3, mantissa = q & 1;
            double value = exponent ? ldexp(2 + mantissa, exponent - 2) : mantissa / 2.0;
            float want = (float)ldexp(q & 8 ? -value : value, e - 127);
            l.block.mxfp4.e = (uint8_t)e;
            memset(l.block.mxfp4.qs, q * 0x11, QK / 2);
            dequantize_row(l.type, &l.block, y, QK);
            CHECK(y[0] == want && y[QK - 1] == want, "e %d, q %d: %g, not %g", e, q, (double)y[0],
                  (double)want);
        }
    }
}

static void layout_nvfp4(void) {
    struct layout l = {GGML_TYPE_NVFP4, .block.nvfp4.d = {0x40, 0x40, 0x40, 0x40}}; // 2, halved
    for (int i = 0; i < 64; i++) {
        for (int b = 0; b < 3; b++) {
            uint8_t *byte = &l.block.nvfp4.qs[i / 16 * 8 + i % 8];
            check_bit(&l, byte, 4 * (i / 8 % 2) + b, i, 1, (float)(1 << b));
        }
    }
    for (int e = 0; e < 256; e++) { // each place's scale: exponents with a bias of 7
        int exponent = e >> 3 & 15, mantissa = e & 7, at = 16 * (e % 4);
        double scale = exponent ? ldexp(8 + mantissa, exponent - 10) : ldexp(mantissa, -9);
        float y[64], want = e == 0x7f ? 0 : (float)(-1.5 * scale);
        memset(l.block.nvfp4.d, 0, 4);
        l.block.nvfp4.d[e % 4] = (uint8_t)e;
        memset(l.block.nvfp4.qs, 0xbb, 32);
        dequantize_row(l.type, &l.block, y, 64);
        CHECK(y[at] == want && y[at + 15] == want && y[(at + 16) % 64] == 0,
              "NVFP4, scale %d: %g, not %g", e, (double)y[at], (double)want);
    }
}

/* What 4 bits at bit `bit` of *byte stand for, in all 16 cases: weight i alone changes. */
static void check_nibble(struct layout *l, uint8_t *byte, int bit, int i) {
    static const float values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};
    uint8_t old = *byte;
    float y[QK_K];
    for (int q = 0; q < 16; q++) {
        *byte = (uint8_t)((old & 0xf0 >> bit) | q << bit);
        dequantize_row(l->type, &l->block, y, ggml_type_info(l->type)->block_len);
        for (int k = 0; k < ggml_type_info(l->type)->block_len; k++) {
            float want = k == i ? values[q] : l->base;
            CHECK(y[k] == want, "%s, nibble %d is %d: weight %d is %g, not %g",
                  ggml_type_info(l->type)->name, i, q, k, (double)y[k], (double)want);
        }
    }
    *byte = old;
}

static void layout_iq4_nl(void) {
    struct layout l = {GGML_TYPE_IQ4_NL, .block.iq4_nl.d = ONE, .base = 1};
    memset(l.block.iq4_nl.qs, 0x88, QK / 2);
    for (int i = 0; i < QK; i++) check_nibble(&l, &l.block.iq4_nl.qs[i % 16], 4 * (i / 16), i);
}

static void layout_iq4_xs(void) {
    struct layout l = {GGML_TYPE_IQ4_XS, .block.iq4_xs.d = ONE, .base = 1};
    memset(l.block.iq4_xs.scales_l, 0x11, 4); // every scale is 33 - 32 = 1
    memset(l.block.iq4_xs.scales_h, 0xaa, 2);
    memset(l.block.iq4_xs.qs, 0x88, QK_K / 2);
    for (int i = 0; i < QK_K; i++) {
        uint8_t *byte = &l.block.iq4_xs.qs[i / 32 * 16 + i % 16];
        check_nibble(&l, byte, 4 * (i / 16 % 2), i);
    }
    memset(l.block.iq4_xs.scales_l, 0, 4);
    memset(l.block.iq4_xs.scales_h, 0, 2);
    l.base = -32;
    for (int j = 0; j < 8; j++) {
        for (int b = 0; b < 4; b++) {
            uint8_t *byte = &l.block.iq4_xs.scales_l[j / 2];
            check_bit(&l, byte, 4 * (j % 2) + b, 32 * j, 32, (float)(1 << b));
        }
        for (int b = 0; b < 2; b++) {
            uint8_t *byte = &l.block.iq4_xs.scales_h[j / 4];
            check_bit(&l, byte, 2 * (j % 4) + b, 32 * j, 32, (float)(16 << b));
        }
    }
}

/* ---- types with a grid: each table's entry 0 is all of its least value ----------------------- */

/* Flipping the bit changes weights of the group of n at `first` (all into what they can be: the
 * largest is at most `most`), and no other. What the entries are, the golden rows tell. */
static void check_number(struct layout *l, uint8_t *byte, int bit, int first, int n, float most) {
    float y[QK_K], sum = 0;
    *byte ^= (uint8_t)(1 << bit);
    dequantize_row(l->type, &l->block, y, QK_K);
    *byte ^= (uint8_t)(1 << bit);
    for (int i = 0; i < QK_K; i++) {
        bool in = i >= first && i < first + n;
        sum += in ? y[i] - l->base : 0;
        CHECK(in ? y[i] >= l->base && y[i] <= most : y[i] == l->base,
              "%s, byte %d bit %d: weight %d is %g", ggml_type_info(l->type)->name,
              (int)(byte - l->block.bytes), bit, i, (double)y[i]);
    }
    CHECK(sum > 0, "%s, byte %d bit %d: nothing changes", ggml_type_info(l->type)->name,
          (int)(byte - l->block.bytes), bit);
}

/* Sign b of 8 weights from i on is bit `bit` + b from *bytes on; where there are 7 of them each
 * turns the eighth weight, too. */
static void check_signs(struct layout *l, uint8_t *bytes, int bit, int i, int n_signs) {
    float y[QK_K];
    for (int b = 0; b < n_signs; b++) {
        uint8_t *byte = bytes + (bit + b) / 8;
        *byte ^= (uint8_t)(1 << (bit + b) % 8);
        dequantize_row(l->type, &l->block, y, QK_K);
        *byte ^= (uint8_t)(1 << (bit + b) % 8);
        for (int k = 0; k < QK_K; k++) {
            bool turned = k == i + b || (n_signs == 7 && k == i + 7);
            CHECK(y[k] == (turned ? -l->base : l->base), "%s, sign %d: weight %d is %g",
                  ggml_type_info(l->type)->name, i + b, k, (double)y[k]);
        }
    }
}

/* 4 bits of scale of n weights from `first` on: the base, of a scale with sc = 0, grows by `step`
 * for each. */
static void check_scale(struct layout *l, uint8_t *byte, int bit, int first, int n, float step) {
    for (int b = 0; b < 4; b++) check_bit(l, byte, bit + b, first, n, step * (float)(1 << b));
}

static void layout_iq2_xxs(void) {
    struct layout l = {GGML_TYPE_IQ2_XXS, .block.iq2_xxs.d = 0x4800, .base = 8}; // 8 / 8
    for (int j = 0; j < 8; j++) {
        uint8_t *qs = &l.block.iq2_xxs.qs[8 * j];
        for (int s = 0; s < 4; s++) {
            for (int b = 0; b < 8; b++) check_number(&l, qs + s, b, 32 * j + 8 * s, 8, 43);
            check_signs(&l, qs + 4, 7 * s, 32 * j + 8 * s, 7);
        }
        check_scale(&l, qs + 7, 4, 32 * j, 32, 16);
    }
}

static void layout_iq2_xs(void) {
    struct layout l = {GGML_TYPE_IQ2_XS, .block.iq2_xs.d = 0x4800, .base = 8};
    for (int g = 0; g < 32; g++) {
        uint8_t *qs = &l.block.iq2_xs.qs[2 * g];
        for (int b = 0; b < 9; b++) check_number(&l, qs + b / 8, b % 8, 8 * g, 8, 43);
        check_signs(&l, qs, 9, 8 * g, 7);
    }
    for (int h = 0; h < 16; h++) {
        check_scale(&l, &l.block.iq2_xs.scales[h / 2], 4 * (h % 2), 16 * h, 16, 16);
    }
}

static void layout_iq2_s(void) {
    struct layout l = {GGML_TYPE_IQ2_S, .block.iq2_s.d = 0x4800, .base = 8};
    for (int g = 0; g < 32; g++) {
        for (int b = 0; b < 8; b++) check_number(&l, &l.block.iq2_s.qs[g], b, 8 * g, 8, 43);
        for (int b = 0; b < 2; b++) {
            check_number(&l, &l.block.iq2_s.qh[g / 4], 2 * (g % 4) + b, 8 * g, 8, 43);
        }
        check_signs(&l, &l.block.iq2_s.signs[g], 0, 8 * g, 8);
    }
    for (int h = 0; h < 16; h++) {
        check_scale(&l, &l.block.iq2_s.scales[h / 2], 4 * (h % 2), 16 * h, 16, 16);
    }
}

static void layout_iq3_xxs(void) {
    struct layout l = {GGML_TYPE_IQ3_XXS, .block.iq3_xxs.d = 0x4400, .base = 4}; // 4 / 4
    for (int g = 0; g < 64; g++) {
        for (int b = 0; b < 8; b++) check_number(&l, &l.block.iq3_xxs.qs[g], b, 4 * g, 4, 62);
    }
    for (int j = 0; j < 8; j++) {
        uint8_t *signs = &l.block.iq3_xxs.signs[4 * j];
        for (int s = 0; s < 4; s++) check_signs(&l, signs, 7 * s, 32 * j + 8 * s, 7);
        check_scale(&l, signs + 3, 4, 32 * j, 32, 8);
    }
}

static void layout_iq3_s(void) {
    struct layout l = {GGML_TYPE_IQ3_S, .block.iq3_s.d = ONE, .base = 1};
    for (int g = 0; g < 64; g++) {
        for (int b = 0; b < 8; b++) check_number(&l, &l.block.iq3_s.qs[g], b, 4 * g, 4, 15);
        check_number(&l, &l.block.iq3_s.qh[g / 8], g % 8, 4 * g, 4, 15);
    }
    for (int i = 0; i < QK_K; i += 8) check_signs(&l, &l.block.iq3_s.signs[i / 8], 0, i, 8);
    for (int j = 0; j < 8; j++) {
        check_scale(&l, &l.block.iq3_s.scales[j / 2], 4 * (j % 2), 32 * j, 32, 2);
    }
}

/* What flipping bit b of a signed byte that is 0 adds. */
static float signed_bit(int b) {
    return b == 7 ? -128 : (float)(1 << b);
}

static void layout_q8_0(void) {
    struct layout l = {GGML_TYPE_Q8_0, .block.q8_0.d = ONE};
    for (int i = 0; i < QK; i++) {
        for (int b = 0; b < 8; b++) {
            check_bit(&l, (uint8_t *)&l.block.q8_0.qs[i], b, i, 1, signed_bit(b));
        }
    }
}

static void layout_q2_K(void) {
    struct layout l = {GGML_TYPE_Q2_K, .block.q2_K = {.d = ONE}};
    memset(l.block.q2_K.scales, 1, 16);
    for (int i = 0; i < QK_K; i++) {
        for (int b = 0; b < 2; b++) {
            uint8_t *byte = &l.block.q2_K.qs[32 * (i / 128) + i % 32];
            check_bit(&l, byte, 2 * (i / 32 % 4) + b, i, 1, (float)(1 << b));
        }
    }
    struct layout s = {GGML_TYPE_Q2_K, .block.q2_K = {.d = ONE, .dmin = ONE}};
    memset(s.block.q2_K.qs, 0x55, 64); // every q2 is 1
    for (int j = 0; j < 16; j++) {
        for (int b = 0; b < 4; b++) {
            check_bit(&s, &s.block.q2_K.scales[j], b, 16 * j, 16, (float)(1 << b));
            check_bit(&s, &s.block.q2_K.scales[j], b + 4, 16 * j, 16, (float)-(1 << b));
        }
    }
}

static void layout_q3_K(void) {
    struct layout l = {GGML_TYPE_Q3_K, .block.q3_K.d = ONE, .base = -4};
    memset(l.block.q3_K.scales, 0x11, 8);     // every scale is 33 - 32 = 1: low bits 1,
    memset(l.block.q3_K.scales + 8, 0xaa, 4); // high bits 2
    for (int i = 0; i < QK_K; i++) {
        for (int b = 0; b < 2; b++) {
            uint8_t *byte = &l.block.q3_K.qs[32 * (i / 128) + i % 32];
            check_bit(&l, byte, 2 * (i / 32 % 4) + b, i, 1, (float)(1 << b));
        }
        check_bit(&l, &l.block.q3_K.hmask[i % 32], i / 32, i, 1, 4);
    }
    struct layout s = {GGML_TYPE_Q3_K, .block.q3_K.d = ONE, .base = 3 * -32};
    memset(s.block.q3_K.qs, 0xff, 64); // every weight is 3 times its scale - 32
    memset(s.block.q3_K.hmask, 0xff, 32);
    for (int j = 0; j < 16; j++) {
        for (int b = 0; b < 4; b++) {
            uint8_t *byte = &s.block.q3_K.scales[j % 8];
            check_bit(&s, byte, 4 * (j / 8) + b, 16 * j, 16, (float)(3 << b));
        }
        for (int b = 0; b < 2; b++) {
            uint8_t *byte = &s.block.q3_K.scales[8 + j % 4];
            check_bit(&s, byte, 2 * (j / 4) + b, 16 * j, 16, (float)(3 << (b + 4)));
        }
    }
}

static void layout_q4_K(void) {
    struct layout l = {GGML_TYPE_Q4_K, .block.q4_K.d = ONE};
    memset(l.block.q4_K.scales, 1, 4); // every scale is 1
    memset(l.block.q4_K.scales + 8, 1, 4);
    for (int i = 0; i < QK_K; i++) {
        for (int b = 0; b < 4; b++) {
            uint8_t *byte = &l.block.q4_K.qs[32 * (i / 64) + i % 32];
            check_bit(&l, byte, 4 * (i / 32 % 2) + b, i, 1, (float)(1 << b));
        }
    }
}

static void layout_q5_K(void) {
    struct layout l = {GGML_TYPE_Q5_K, .block.q5_K.d = ONE};
    memset(l.block.q5_K.scales, 1, 4); // every scale is 1
    memset(l.block.q5_K.scales + 8, 1, 4);
    for (int i = 0; i < QK_K; i++) {
        for (int b = 0; b < 4; b++) {
            uint8_t *byte = &l.block.q5_K.qs[32 * (i / 64) + i % 32];
            check_bit(&l, byte, 4 * (i / 32 % 2) + b, i, 1, (float)(1 << b));
        }
        check_bit(&l, &l.block.q5_K.qh[i % 32], i / 32, i, 1, 16);
    }
}

/* The 12 bytes of scales and mins at `scales`, in a block with d = dmin = 1 and every q = 1. */
static void check_scales_k4(struct layout *l, uint8_t *scales) {
    for (int j = 0; j < 8; j++) {
        for (int b = 0; b < 6; b++) {
            uint8_t *sc = j < 4 ? &scales[j] : b < 4 ? &scales[j + 4] : &scales[j - 4];
            uint8_t *m = j < 4 ? &scales[j + 4] : b < 4 ? &scales[j + 4] : &scales[j];
            int sc_bit = j < 4 ? b : b < 4 ? b : b + 2, m_bit = j < 4 ? b : b < 4 ? b + 4 : b + 2;
            check_bit(l, sc, sc_bit, 32 * j, 32, (float)(1 << b));
            check_bit(l, m, m_bit, 32 * j, 32, (float)-(1 << b));
        }
    }
}

static void layout_scales_k4(void) {
    struct layout q4 = {GGML_TYPE_Q4_K, .block.q4_K = {.d = ONE, .dmin = ONE}};
    struct layout q5 = {GGML_TYPE_Q5_K, .block.q5_K = {.d = ONE, .dmin = ONE}};
    memset(q4.block.q4_K.qs, 0x11, 128);
    memset(q5.block.q5_K.qs, 0x11, 128);
    check_scales_k4(&q4, q4.block.q4_K.scales);
    check_scales_k4(&q5, q5.block.q5_K.scales);
}

static void layout_q6_K(void) {
    struct layout l = {GGML_TYPE_Q6_K, .block.q6_K.d = ONE, .base = -32};
    memset(l.block.q6_K.scales, 1, 16);
    for (int i = 0; i < QK_K; i++) {
        for (int b = 0; b < 4; b++) {
            uint8_t *byte = &l.block.q6_K.ql[64 * (i / 128) + i % 64];
            check_bit(&l, byte, 4 * (i / 64 % 2) + b, i, 1, (float)(1 << b));
        }
        for (int b = 0; b < 2; b++) {
            uint8_t *byte = &l.block.q6_K.qh[32 * (i / 128) + i % 32];
            check_bit(&l, byte, 2 * (i / 32 % 4) + b, i, 1, (float)(16 << b));
        }
    }
    struct layout s = {GGML_TYPE_Q6_K, .block.q6_K.d = ONE};
    memset(s.block.q6_K.ql, 0x11, 128); // every q is 33 - 32 = 1
    memset(s.block.q6_K.qh, 0xaa, 64);
    for (int j = 0; j < 16; j++) {
        for (int b = 0; b < 8; b++) {
            check_bit(&s, (uint8_t *)&s.block.q6_K.scales[j], b, 16 * j, 16, signed_bit(b));
        }
    }
}

/* The half that multiplies or is added or subtracted, one field at a time: all q and scales 1. */
static void layout_halves(void) {
    struct layout l = {GGML_TYPE_Q4_1, .block.q4_1 = {.d = ONE, .m = 0x4000}, .base = 1 + 2};
    memset(l.block.q4_1.qs, 0x11, 16);
    check_bit(&l, (uint8_t *)&l.block.q4_1.d + 1, 7, 0, QK, -2); // 1 -> -1
    check_bit(&l, (uint8_t *)&l.block.q4_1.m + 1, 7, 0, QK, -4); // 2 -> -2
    struct layout k = {GGML_TYPE_Q2_K, .block.q2_K = {.d = ONE, .dmin = 0x4000}, .base = 1 - 2};
    memset(k.block.q2_K.qs, 0x55, 64);
    memset(k.block.q2_K.scales, 0x11, 16);
    check_bit(&k, (uint8_t *)&k.block.q2_K.d + 1, 7, 0, QK_K, -2);
    check_bit(&k, (uint8_t *)&k.block.q2_K.dmin + 1, 7, 0, QK_K, 4);
}

static void test_layouts(void) {
    layout_q4_0();
    layout_q4_1();
    layout_q5_0();
    layout_q5_1();
    layout_q8_0();
    layout_mxfp4();
    layout_nvfp4();
    layout_iq4_nl();
    layout_iq4_xs();
    layout_iq2_xxs();
    layout_iq2_xs();
    layout_iq2_s();
    layout_iq3_xxs();
    layout_iq3_s();
    layout_q2_K();
    layout_q3_K();
    layout_q4_K();
    layout_q5_K();
    layout_q6_K();
    layout_scales_k4();
    layout_halves();
}

/* ---- rows made with ggml --------------------------------------------------------------------- */

enum { N_ROWS = 64, N_INPUT = 256 * 256 };

/* Exactly `size` bytes of a file in test/data/quant, right before an unreadable page. */
static struct guarded load(const char *name, const char *ending, size_t size) {
    char path[128];
    snprintf(path, sizeof path, "test/data/quant/%s.%s", name, ending);
    struct guarded g = guarded_alloc(size, false);
    FILE *f = fopen(path, "rb");
    if (!f || fread(g.data, 1, size, f) != size || fgetc(f) != EOF) {
        printf("%s: expected %zu bytes (run from the repository's root)\n", path, size);
        exit(1);
    }
    fclose(f);
    return g;
}

static void test_golden_rows(void) {
    for (int t = 0; t < N_TYPES; t++) {
        uint32_t type = all_types[t].type;
        if (type == GGML_TYPE_F32) continue; // which needs no golden data
        const char *name = ggml_type_info(type)->name;
        struct guarded blocks = load(name, "blocks", row_bytes(type, N_ROWS * QK_K));
        struct guarded want = load(name, "f32", N_ROWS * QK_K * sizeof(float));
        struct guarded got = guarded_alloc(N_ROWS * QK_K * sizeof(float), false);
        const float *y = (const float *)(void *)got.data, *w = (const float *)(void *)want.data;
        dequantize_row(type, blocks.data, (float *)(void *)got.data, N_ROWS * QK_K);
        for (int i = 0; i < N_ROWS * QK_K; i++) { // any NaN is like another
            CHECK(memcmp(y + i, w + i, 4) == 0 || (isnan(y[i]) && isnan(w[i])),
                  "%s: weight %d is %a, not %a", name, i, (double)y[i], (double)w[i]);
        }
        guarded_free(&blocks);
        guarded_free(&want);
        guarded_free(&got);
    }
}

/* ---- quantizers ------------------------------------------------------------------------------ */

static uint64_t fnv1a(const uint8_t *data, size_t n) {
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < n; i++) h = (h ^ data[i]) * 1099511628211u;
    return h;
}

/* The root mean square error that ggml's quantizers make on input.f32, how much of it ours may
 * make, and the bytes that ours must write on every platform (F16 and BF16 are the bytes that ggml
 * writes, too). */
static const struct quantizer {
    uint32_t type;
    double ggml_error, allowed;
    uint64_t hash;
} quantizers[] = {
    {GGML_TYPE_F16, 1.742688e-05, 1.0001, 0x54096cc49143b5d5},
    {GGML_TYPE_BF16, 1.385662e-04, 1.0001, 0x2364d8fc389f14eb},
    {GGML_TYPE_Q5_0, 3.857889e-03, 0.97, 0x527eb7dbb5866502},
    {GGML_TYPE_Q5_1, 3.121424e-03, 0.93, 0xff1b448b7e480577},
    {GGML_TYPE_Q8_0, 4.799523e-04, 0.97, 0x9e9cc612bb1c4ab1},
    {GGML_TYPE_Q4_K, 6.071957e-03, 0.99, 0xe5940f913745afbc},
    {GGML_TYPE_Q5_K, 3.128615e-03, 0.97, 0x586251223768af7a},
    {GGML_TYPE_Q6_K, 1.626172e-03, 1.00, 0xc312e0bacbc76be9},
};
enum { N_QUANTIZERS = sizeof quantizers / sizeof quantizers[0] };

static void test_quantizer_errors(void) {
    static float y[N_INPUT];
    struct guarded input = load("input", "f32", sizeof y);
    const float *x = (const float *)(void *)input.data;
    for (int q = 0; q < N_QUANTIZERS; q++) {
        uint32_t type = quantizers[q].type;
        const char *name = ggml_type_info(type)->name;
        struct guarded blocks = guarded_alloc(row_bytes(type, N_INPUT), false);
        quantize_row(type, x, blocks.data, N_INPUT);
        dequantize_row(type, blocks.data, y, N_INPUT);
        double sum = 0;
        for (int i = 0; i < N_INPUT; i++) sum += ((double)y[i] - x[i]) * ((double)y[i] - x[i]);
        double error = sqrt(sum / N_INPUT) / quantizers[q].ggml_error;
        CHECK(error <= quantizers[q].allowed, "%s: %.4f times ggml's error", name, error);
        uint64_t hash = fnv1a(blocks.data, row_bytes(type, N_INPUT));
        CHECK(hash == quantizers[q].hash, "%s: other bytes, hash 0x%016llx", name,
              (unsigned long long)hash);
        guarded_free(&blocks);
    }
    guarded_free(&input);
}

/* Rows no model should have: even and odd weights, plus normal ones times `spread`, a spike at 77.
 * The error may be `allowed` times the largest weight of the block; below 0: anything finite. */
static const struct hostile {
    const char *name;
    float allowed, even, odd, spread, spike;
} hostile_rows[] = {
    {"zeros", 0, 0, 0, 0, 0},
    {"minus zeros", 0, -0.0f, -0.0f, 0, -0.0f},
    {"a positive constant", 0.02f, 0.7f, 0.7f, 0, 0.7f},
    {"a negative constant", 0.02f, -0.7f, -0.7f, 0, -0.7f},
    {"one positive weight", 0.02f, 0, 0, 0, 5},
    {"one negative weight", 0.04f, 0, 0, 0, -5},
    {"far above zero", 0.05f, 1000, 1000, 1, 1000},
    {"far below zero", 0.05f, -1000, -1000, 1, -1000},
    {"one far from the rest", 0.05f, 0, 0, 0.001f, 100},
    {"the largest half, both signs", 0.05f, 65504, -65504, 0, 65504},
    {"one NaN", 0.1f, 0, 0, 1, NAN},
    {"NaN alone", 0, NAN, NAN, 0, NAN},
    {"one infinity", -1, 0, 0, 1, INFINITY},
    {"one negative infinity", -1, 0, 0, 1, -INFINITY},
    {"infinities", -1, INFINITY, -INFINITY, 0, NAN},
    {"the largest floats", -1, FLT_MAX, FLT_MAX, 0, FLT_MAX},
    {"the largest floats, both signs", -1, FLT_MAX, -FLT_MAX, 0, FLT_MAX},
    {"beyond halves", -1, 0, 0, 1e30f, 0},
    {"scales are subnormal halves", 0.1f, 0, 0, 1e-5f, 0},
    {"scales are the smallest halves", 0.1f, 0, 0, 1e-6f, 0},
    {"scales vanish", -1, 0, 0, 1e-9f, 0},
    {"squares vanish", -1, 0, 0, 1e-23f, 0},
    {"subnormals", -1, 0, 0, 1e-40f, 0},
    {"the smallest float", -1, 0, 0, 0, 1e-45f},
};

/* NaN counts as 0. */
static void check_hostile(uint32_t type, const char *what, const float x[QK_K], float allowed) {
    const char *name = ggml_type_info(type)->name;
    int block_len = ggml_type_info(type)->block_len;
    float y[QK_K];
    struct guarded blocks = guarded_alloc(row_bytes(type, QK_K), false);
    quantize_row(type, x, blocks.data, QK_K);
    dequantize_row(type, blocks.data, y, QK_K);
    guarded_free(&blocks);
    for (int from = 0; from < QK_K; from += block_len) {
        float largest = 0; // fmaxf passes over NaN
        for (int i = from; i < from + block_len; i++) largest = fmaxf(largest, fabsf(x[i]));
        for (int i = from; i < from + block_len; i++) {
            float want = isnan(x[i]) ? 0 : x[i];
            CHECK(isfinite(y[i]), "%s, %s: weight %d is %g for %g", name, what, i, (double)y[i],
                  (double)x[i]);
            CHECK(allowed < 0 || fabsf(y[i] - want) <= allowed * largest,
                  "%s, %s: weight %d is %g for %g", name, what, i, (double)y[i], (double)x[i]);
        }
    }
}

static void check_hostile_by_type(const char *what, const float x[QK_K], float allowed) {
    for (int q = 0; q < N_QUANTIZERS; q++) {
        uint32_t type = quantizers[q].type;
        bool in_blocks = ggml_type_info(type)->block_len > 1; // a half may be infinite
        if (in_blocks) check_hostile(type, what, x, allowed);
    }
}

static void test_hostile_rows(void) {
    uint64_t seed = 7;
    float x[QK_K];
    for (size_t r = 0; r < sizeof hostile_rows / sizeof hostile_rows[0]; r++) {
        const struct hostile *h = &hostile_rows[r];
        for (int i = 0; i < QK_K; i++) {
            x[i] = i == 77 ? h->spike : i % 2 ? h->odd : h->even;
            if (h->spread > 0 && i != 77) x[i] += h->spread * test_normal(&seed);
        }
        check_hostile_by_type(h->name, x, h->allowed);
    }
    for (int i = 0; i < QK_K; i++) x[i] = test_normal(&seed) * ldexpf(1, i / 16 - 8);
    check_hostile_by_type("sub-blocks of growing size", x, 0.07f);
    for (int r = 0; r < 2000; r++) {
        for (int i = 0; i < QK_K; i++) x[i] = float_from_bits((uint32_t)(test_random(&seed) >> 32));
        check_hostile_by_type("any bits", x, -1);
    }
}

/* ---- the table ------------------------------------------------------------------------------- */

static void test_types(void) {
    for (uint32_t type = 0; type < 100; type++) {
        bool known = false, quantized = type == GGML_TYPE_F32;
        for (int t = 0; t < N_TYPES; t++) known |= all_types[t].type == type;
        for (int q = 0; q < N_QUANTIZERS; q++) quantized |= quantizers[q].type == type;
        CHECK(dequantize_supported(type) == known, "type %u", type);
        CHECK(quantize_supported(type) == quantized, "type %u", type);
    }
    for (int t = 0; t < N_TYPES; t++) {
        const struct ggml_type_info *info = ggml_type_info(all_types[t].type);
        CHECK(info->block_bytes == (int)all_types[t].bytes, "%s: %d bytes", info->name,
              info->block_bytes);
        CHECK(all_types[t].bytes % all_types[t].align == 0, "%s: rows are not aligned", info->name);
    }
    float x[3] = {1, -0.0f, NAN}, y[3], z[3];
    quantize_row(GGML_TYPE_F32, x, y, 3);
    dequantize_row(GGML_TYPE_F32, y, z, 3);
    CHECK(memcmp(x, z, sizeof x) == 0, "F32 is not copied bit by bit");
}

int main(void) {
    test_types();
    test_half_to_float();
    test_float_to_half();
    test_layouts();
    test_golden_rows();
    test_quantizer_errors();
    test_hostile_rows();
    return test_done("test_quant");
}
