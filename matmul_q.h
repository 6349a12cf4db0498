/* y = W x for weights that stay in their quantized blocks, and the reference that the result must
 * equal bit for bit.
 *
 * The arithmetic contract:
 *   - A weight is one float32: what dequantize_row gives.
 *   - A dot product has 8 lanes. Of each 32 columns, lane l takes 4l .. 4l + 3; a lane adds its
 *     products in ascending column order, each with one fused multiply-add, starting from +0.
 *     Columns beyond the last, up to a multiple of 32, count as 0 * 0.
 *   - The lanes end in one tree: ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)).
 * So a result depends on its row of W and on x alone: not on the other rows, the tokens that share
 * the batch, the threads or the instruction set. Why lane = column mod 32 / 4: a vector of 8 dwords
 * holds 32 bytes of quants, and step j of each group of four is cut out of all 8 lanes by one shift
 * and one mask; x is permuted to match once per product. docs/measurements.md has the figures.
 *
 * With `act` 16 or 8 activations become integers, which is faster and has bits of its own: act.h
 * has this other contract.
 *
 * With `reference` the whole matrix is dequantized to a float32 buffer, multiplied in the same
 * order, and the buffer is freed: what one would do without these kernels. */
#ifndef MATMUL_Q_H
#define MATMUL_Q_H

#include "act.h"
#include "profile.h"
#include "simd/isa.h"
#include "threads.h"

/* The profile's line for what is done before products: inputs put into lane order, or made
 * integers.
 */
#define PRODUCT_INPUTS "inputs of products"

#define ACT_FLOAT 0 // activations stay as they are

/* Everything a product needs besides its operands: made once, shared by all products of a model. */
struct matmul {
    const struct isa *isa;
    struct threads *threads;
    atomic_int *stop; // NULL, or once it is set results are incomplete (threads.h); see matmul_open
    bool reference;
    bool subnormal; // one token by the kernels that multiply by subnormal numbers
    int act; // ACT_FLOAT, or 16 or 8: what activations become in products of act_supported() types
    int64_t max_cols;
    int max_tokens;
    float *x;                  // (max_tokens or 2, max_cols) inputs in lane order
    struct act_input integers; // the same as integers; room for max_parts parts of each token
    int64_t max_parts;
    float *work;                 // per thread: a panel, and its sums for every token
    size_t work_floats;          // of one thread
    size_t scratch_bytes;        // allocated by matmul_open
    size_t reference_peak_bytes; // largest buffer of float32 weights so far
    struct act_check *check;     // NULL, or products of integers are held to their bounds: slow
    float *unquantized;          // (max_tokens or 2, max_cols) inputs as they came, if check
    struct profile *profile;     // NULL, or where products tell their time; see matmul_open
    bool failed;                 // out of memory for such a buffer: results since then are garbage
};

/* What --verify finds about products of integers. */
struct act_check {
    atomic_ullong n_numbers;     // compared
    atomic_ullong largest;       // bits of a double: the largest difference in units of its bound
    _Atomic(const uint8_t *) at; // NULL, or data of a matrix that gave a number beyond its bound
};

/* Different inputs of one call at most. */
#define MAX_INPUTS 16

/* For products of up to max_tokens tokens. max_cols: the most columns of one matrix, or of the
 * different inputs of one call together, each rounded up to LANE_GROUP. act: ACT_FLOAT, which
 * `reference` needs, or 16 or 8. Nothing stops products, and none is
 * timed, unless the owner sets m->stop and m->profile afterwards. */
int matmul_open(struct matmul *m, const struct isa *isa, struct threads *threads, bool reference,
                int act, struct act_check *check, int64_t max_cols, int max_tokens,
                struct error *err);
void matmul_close(struct matmul *m);

/* True if the matrix can be multiplied; otherwise err says what about `name` is not so. */
bool matmul_supports(const struct matrix *w, const char *name, struct error *err);

/* y = W x for each token: x and y are rows of floats, strides the floats from one token's row to
 * the next one's (0: the rows lie one after the other). So a head can be multiplied by a matrix of
 * its own where it lies, among the other heads of its token. */
struct product {
    const struct matrix *w;
    const float *x; // (n_tokens, w->n_cols)
    float *y;       // (n_tokens, w->n_rows); may be part of an x, which is copied first
    size_t x_stride, y_stride;
};

/* All products, 1 <= n_tokens <= max_tokens: their rows are shared out to the threads together. An
 * input that products have in common (query, key and value; gate and up) is put into lane order
 * once if they stand side by side. */
void mul_mat(struct matmul *m, const struct product *products, int n_products, int n_tokens);

#endif
