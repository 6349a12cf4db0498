#include "act.h"

#include <math.h>

typedef void integers_fn(const void *block, struct integers *o);

/* ---- blocks of 32 ---------------------------------------------------------------------------- */

static void simple(struct integers *o, ggml_half d) {
    o->sub = QK;
    o->d = fp16_to_fp32(d);
    o->scale[0] = 1;
}

static void with_offset(struct integers *o, ggml_half d, ggml_half m) {
    simple(o, d);
    o->mins = true;
    o->m = fp16_to_fp32(m);
    o->min[0] = 1;
}

/* The low four bits of the first half of the weights, the high ones of the second. */
static int nibble(const uint8_t *qs, int i) {
    return qs[i % 16] >> i / 16 * 4 & 15;
}

static int bit_of(const uint8_t *bytes, int i) {
    return bytes[i / 8] >> i % 8 & 1;
}

static void integers_q4_0(const void *block, struct integers *o) {
    const block_q4_0 *b = block;
    simple(o, b->d);
    for (int i = 0; i < QK; i++) o->q[i] = (int8_t)(nibble(b->qs, i) - 8);
}

static void integers_q4_1(const void *block, struct integers *o) {
    const block_q4_1 *b = block;
    with_offset(o, b->d, b->m);
    for (int i = 0; i < QK; i++) o->q[i] = (int8_t)nibble(b->qs, i);
}

static void integers_q5_0(const void *block, struct integers *o) {
    const block_q5_0 *b = block;
    simple(o, b->d);
    for (int i = 0; i < QK; i++) {
        o->q[i] = (int8_t)((nibble(b->qs, i) | bit_of(b->qh, i) << 4) - 16);
    }
}

static void integers_q5_1(const void *block, struct integers *o) {
    const block_q5_1 *b = block;
    with_offset(o, b->d, b->m);
    for (int i = 0; i < QK; i++) o->q[i] = (int8_t)(nibble(b->qs, i) | bit_of(b->qh, i) << 4);
}

static void integers_q8_0(const void *block, struct integers *o) {
    const block_q8_0 *b = block;
    simple(o, b->d);
    memcpy(o->q, b->qs, QK);
}

static void integers_mxfp4(const void *block, struct integers *o) {
    const block_mxfp4 *b = block;
    simple(o, 0);
    o->d = e8m0_half_to_fp32(b->e);
    for (int i = 0; i < QK; i++) o->q[i] = mxfp4_values[nibble(b->qs, i)];
}

static void integers_iq4_nl(const void *block, struct integers *o) {
    const block_iq4_nl *b = block;
    simple(o, b->d);
    for (int i = 0; i < QK; i++) o->q[i] = iq4_values[nibble(b->qs, i)];
}

/* ---- blocks of 256 --------------------------------------------------------------------------- */

static void integers_q2_K(const void *block, struct integers *o) {
    const block_q2_K *b = block;
    o->sub = 16;
    o->d = fp16_to_fp32(b->d);
    o->m = -fp16_to_fp32(b->dmin);
    o->mins = true;
    for (int j = 0; j < QK_K / 16; j++) {
        o->scale[j] = b->scales[j] & 15;
        o->min[j] = (int8_t)(b->scales[j] >> 4);
    }
    for (int i = 0; i < QK_K; i++) {
        o->q[i] = b->qs[i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3;
    }
}

/* Of a scale the low 4 bits are a nibble of the first 8 bytes, the high 2 bits in the last 4. */
static void integers_q3_K(const void *block, struct integers *o) {
    const block_q3_K *b = block;
    o->sub = 16;
    o->d = fp16_to_fp32(b->d);
    for (int j = 0; j < QK_K / 16; j++) {
        int low = b->scales[j % 8] >> j / 8 * 4 & 15, high = b->scales[8 + j % 4] >> j / 4 * 2 & 3;
        o->scale[j] = (int8_t)((low | high << 4) - 32);
    }
    for (int i = 0; i < QK_K; i++) {
        int low = b->qs[i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3;
        o->q[i] = (int8_t)(low - (b->hmask[i % 32] >> i / 32 & 1 ? 0 : 4));
    }
}

static void scales_k4(struct integers *o, const uint8_t scales[12], ggml_half d, ggml_half dmin) {
    o->sub = 32;
    o->d = fp16_to_fp32(d);
    o->m = -fp16_to_fp32(dmin);
    o->mins = true;
    for (int j = 0; j < QK_K / 32; j++) {
        uint8_t scale, min;
        get_scale_min_k4(j, scales, &scale, &min);
        o->scale[j] = (int8_t)scale;
        o->min[j] = (int8_t)min;
    }
}

static int nibble_k(const uint8_t *qs, int i) {
    return qs[i / 64 * 32 + i % 32] >> i / 32 % 2 * 4 & 15;
}

static void integers_q4_K(const void *block, struct integers *o) {
    const block_q4_K *b = block;
    scales_k4(o, b->scales, b->d, b->dmin);
    for (int i = 0; i < QK_K; i++) o->q[i] = (int8_t)nibble_k(b->qs, i);
}

static void integers_q5_K(const void *block, struct integers *o) {
    const block_q5_K *b = block;
    scales_k4(o, b->scales, b->d, b->dmin);
    for (int i = 0; i < QK_K; i++) {
        o->q[i] = (int8_t)(nibble_k(b->qs, i) | (b->qh[i % 32] >> i / 32 & 1) << 4);
    }
}

static void integers_q6_K(const void *block, struct integers *o) {
    const block_q6_K *b = block;
    o->sub = 16;
    o->d = fp16_to_fp32(b->d);
    memcpy(o->scale, b->scales, sizeof b->scales);
    for (int i = 0; i < QK_K; i++) {
        int low = b->ql[i / 128 * 64 + i % 64] >> i / 64 % 2 * 4 & 15;
        int high = b->qh[i / 128 * 32 + i % 32] >> i / 32 % 4 * 2 & 3;
        o->q[i] = (int8_t)((low | high << 4) - 32);
    }
}

static void integers_iq4_xs(const void *block, struct integers *o) {
    const block_iq4_xs *b = block;
    o->sub = 32;
    o->d = fp16_to_fp32(b->d);
    for (int j = 0; j < QK_K / 32; j++) {
        int low = b->scales_l[j / 2] >> j % 2 * 4 & 15, high = b->scales_h[j / 4] >> j % 4 * 2 & 3;
        o->scale[j] = (int8_t)((low | high << 4) - 32);
    }
    for (int i = 0; i < QK_K; i++) o->q[i] = iq4_values[nibble(b->qs + i / 32 * 16, i % 32)];
}

/* ---- the product ----------------------------------------------------------------------------- */

static integers_fn *const integers_of[GGML_N_TYPES] = {
#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN_INTEGERS(kernels, [number] = integers_##name, )
#include "types.def"
};

bool act_supported(uint32_t type) {
    return type < GGML_N_TYPES && integers_of[type];
}

/* part + F(S) d + F(M) m, each product added with one rounding. */
static float add_block(float part, const struct integers *b, int n, const int16_t *X) {
    int64_t sum = 0, min_sum = 0;
    for (int j = 0; j < n / b->sub; j++) {
        int32_t products = 0, ones = 0;
        for (int i = j * b->sub; i < (j + 1) * b->sub; i++) {
            products += b->q[i] * X[i];
            ones += X[i];
        }
        sum += (int64_t)b->scale[j] * products;
        min_sum += (int64_t)b->min[j] * ones;
    }
    part = fmaf((float)sum, b->d, part);
    return b->mins ? fmaf((float)min_sum, b->m, part) : part;
}

int act_unpack(struct integers *o, uint32_t type, const uint8_t *blocks, int64_t n) {
    const struct ggml_type_info *t = ggml_type_info(type);
    int n_blocks = (int)(n / t->block_len);
    memset(o, 0, (size_t)n_blocks * sizeof *o);
    for (int i = 0; i < n_blocks; i++, blocks += t->block_bytes) integers_of[type](blocks, &o[i]);
    return n_blocks;
}

float act_add_part(float sum, const struct integers *blocks, int n_blocks, int block_len,
                   const int16_t *X, float s) {
    float part = 0;
    for (int i = 0; i < n_blocks; i++)
        part = add_block(part, &blocks[i], block_len, X + i * block_len);
    return fmaf(part, s, sum);
}

float act_dot(uint32_t type, const uint8_t *row, int64_t n_cols, const int16_t *X, const float *s) {
    const struct ggml_type_info *t = ggml_type_info(type);
    float sum = 0;
    for (int64_t k = 0; k < n_cols; k += ACT_PART, s++) {
        struct integers blocks[ACT_PART / QK];
        int64_t n = n_cols - k < ACT_PART ? n_cols - k : ACT_PART;
        int n_blocks = act_unpack(blocks, type, row + k / t->block_len * t->block_bytes, n);
        sum = act_add_part(sum, blocks, n_blocks, t->block_len, X + k, *s);
    }
    return sum;
}

/* ---- how far it may be off ------------------------------------------------------------------- */

/* act_dot rounds F, a product added to part, and for mins the same once more; then, for each part,
 * one more sum. Each adds at most half an ulp of what has been summed up. */
#define ROUNDING 0x1p-24

/* A part of a row. */
struct part {
    int n;
    double w[ACT_PART];
    double size[ACT_PART]; // of a weight: of d * scale * q and m * min, which act_dot adds up apart
    double sum_w, sum_size; // of |w|, of size
};

static void read_part(struct part *p, uint32_t type, const uint8_t *blocks, int n) {
    struct integers in[ACT_PART / QK];
    int block_len = n / act_unpack(in, type, blocks, n);
    p->n = n;
    p->sum_w = p->sum_size = 0;
    for (int i = 0; i < n; i++) {
        const struct integers *b = &in[i / block_len];
        int k = i % block_len, j = k / b->sub;
        double scaled = (double)b->d * b->scale[j] * b->q[k];
        double min = b->mins ? (double)b->m * b->min[j] : 0;
        p->w[i] = scaled + min;
        p->size[i] = fabs(scaled) + fabs(min);
        p->sum_w += fabs(p->w[i]);
        p->sum_size += p->size[i];
    }
}

/* Four sums of each kind, which compilers put into vectors: this is what --verify waits for. */
static void add_part_bound(struct act_bound *b, const struct part *p, const float *x, int bits) {
    double product[4] = {0}, terms[4] = {0}, largest[4] = {0};
    for (int i = 0; i < p->n; i += 4) {
        for (int l = 0; l < 4; l++) {
            double v = (double)x[i + l], size = fabs(v);
            product[l] += p->w[i + l] * v; // NOLINT(clang-analyzer-*): n is whole blocks
            terms[l] += p->size[i + l] * size;
            largest[l] = size > largest[l] ? size : largest[l];
        }
    }
    for (int l = 0; l < 4; l++) {
        b->product += product[l];
        b->terms += terms[l];
        largest[0] = fmax(largest[0], largest[l]);
    }
    // the scale and the quotient are rounded, too
    double step = (double)act_scale((float)largest[0], bits) * (1 + act_limit(bits) * 4 * ROUNDING);
    b->bound += p->sum_w * (step > 0 ? step / 2 : largest[0]);
    b->terms += p->sum_size * step;
}

void act_bounds(struct act_bound *bounds, uint32_t type, const uint8_t *row, int64_t n_cols,
                const float *x, size_t x_stride, int n_tokens, int bits) {
    const struct ggml_type_info *info = ggml_type_info(type);
    int64_t roundings = 4 * (n_cols / info->block_len) + n_cols / ACT_PART + 2;
    memset(bounds, 0, (size_t)n_tokens * sizeof *bounds);
    for (int64_t k = 0; k < n_cols; k += ACT_PART) {
        struct part part;
        int n = (int)(n_cols - k < ACT_PART ? n_cols - k : ACT_PART);
        read_part(&part, type, row + k / info->block_len * info->block_bytes, n);
        for (int t = 0; t < n_tokens; t++) {
            add_part_bound(&bounds[t], &part, x + (size_t)t * x_stride + k, bits);
        }
    }
    for (int t = 0; t < n_tokens; t++) {
        bounds[t].bound += (double)roundings * ROUNDING * bounds[t].terms;
    }
}
