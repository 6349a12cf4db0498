/* Products with integer activations in portable C: act.h's definition, for all tokens as blocks are
 * unpacked. */
#include "../act.h"
#include "isa.h"

static void portable_product(const struct matrix *w, int64_t row, int n_rows,
                             const struct act_input *x, float *y, size_t y_stride, float *work) {
    (void)work;
    const struct ggml_type_info *t = ggml_type_info(w->type);
    for (int r = 0; r < n_rows; r++, y++) {
        const uint8_t *p = w->data + (size_t)(row + r) * w->row_bytes;
        for (int i = 0; i < x->n_tokens; i++) y[(size_t)i * y_stride] = 0;
        for (int64_t k = 0; k < w->n_cols; k += ACT_PART) {
            struct integers blocks[ACT_PART / QK];
            int64_t n = w->n_cols - k < ACT_PART ? w->n_cols - k : ACT_PART;
            int n_blocks = act_unpack(blocks, w->type, p + k / t->block_len * t->block_bytes, n);
            size_t at = (size_t)(k / ACT_PART) * (size_t)x->n_rows;
            for (int i = 0; i < x->n_tokens; i++, at++) {
                float *sum = &y[(size_t)i * y_stride];
                *sum = act_add_part(*sum, blocks, n_blocks, t->block_len, x->wide + at * ACT_PART,
                                    x->scale[at]);
            }
        }
    }
}

static void portable_quantize(const float *x, int n, const struct act_input *to, size_t at) {
    act_quantize(x, n, 8 * to->planes, to->wide + at * ACT_PART, &to->scale[at]);
}

static act_fn *const portable_products[GGML_N_TYPES] = {
#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN_INTEGERS(kernels, [number] = portable_product, )
#include "../types.def"
};

const struct integer_products integers_portable = {
    .product = portable_products, .rows = 1, .quantize = portable_quantize};
