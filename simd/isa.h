/* What one instruction set implements: the products of matmul_q.h and the rest of the forward pass.
 * Every implementation gives the same bits; portable C is the specification. */
#ifndef ISA_H
#define ISA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../quant.h"

/* W: n_rows x n_cols weights, rows of row_bytes one after the other in the mapped file. */
struct matrix {
    uint32_t type; // enum ggml_type; dequantize_supported()
    int64_t n_rows, n_cols;
    size_t row_bytes;
    const uint8_t *data; // aligned to the type's scalars: 2 bytes for halves, 4 for F32
};

/* Activations enter products in "lane order", permuted once per product: of each 32 values, the one
 * at 4 * lane + step goes to 8 * step + lane, because bytes are cut out of dwords that way. */
#define LANES 8
#define LANE_GROUP 32

/* A batch is computed in panels: panel_rows rows x KC columns of decoded weights that stay in L1
 * while every token passes by. */
#define KC 256

/* y[t * y_stride + r] = W[row + r] . token t for n_rows rows, 1 <= n_tokens <= GEMV_TOKENS. Token t
 * lies at x + t * x_stride, in lane order, padded with zeros to LANE_GROUP; a single one once more
 * behind that, each value times GEMV_SCALE: what kernels take that multiply by subnormal numbers.
 */
#define GEMV_TOKENS 4
#define GEMV_SCALE 0x1p64f
typedef void gemv_fn(const struct matrix *w, int64_t row, int n_rows, const float *x,
                     size_t x_stride, int n_tokens, float *y, size_t y_stride);

/* Decodes n_rows <= panel_rows rows, columns k0 .. k0 + kc, into panel, kc padded to LANE_GROUP x
 * panel_rows weights in the order in which tile() wants them; missing rows repeat the last. */
typedef void panel_fn(const struct matrix *w, int64_t row, int n_rows, int64_t k0, int kc,
                      float *panel);

/* Activations as integers (act.h), of n_tokens tokens: columns in parts of ACT_PART, the last one
 * filled up with zeros. X is planes of bytes, X = 256 * plane 1 + plane 0, or one alone, or, for
 * instruction sets that want it so, in one piece. */
struct act_input {
    int n_tokens, planes;
    int n_rows;               // n_tokens, or more if that is quicker: rows of no token
    int8_t *q;                // (parts, n_rows, planes, ACT_PART)
    int32_t *less16, *less32; // (parts, n_rows, planes, 16 or 8): minus the sums of 16, 32 bytes
    int16_t *wide;            // (parts, n_rows, ACT_PART)
    float *scale;             // (parts, n_rows)
};

/* y[t * y_stride + r] = W[row + r] . token t for n_rows rows, a multiple of `rows` or the matrix's
 * last ones; work: room for rows * n_rows floats. */
typedef void act_fn(const struct matrix *w, int64_t row, int n_rows, const struct act_input *x,
                    float *y, size_t y_stride, float *work);

struct integer_products {
    act_fn *const *product; // by type; NULL where act_supported() says no
    int rows;               // computed side by side
    /* n activations to row `at` of all: part * n_rows + token. */
    void (*quantize)(const float *x, int n, const struct act_input *to, size_t at);
    /* For benchmarks: n times loop_macs multiply-adds of bytes, as a batch has them; NULL: none. */
    float (*loop)(int64_t n);
    int loop_macs;
};

struct isa {
    const char *name;
    bool (*usable)(void); // does this CPU have it?

    /* By type: the kernels made for it, or NULL. No table: no type has kernels. */
    gemv_fn *const *gemv;
    gemv_fn *const *gemv_subnormal; // faster where subnormal numbers cost nothing
    panel_fn *const *panel;
    /* For every type that dequantize_row knows: they call it for some columns at a time. */
    gemv_fn *gemv_any;
    panel_fn *panel_any;

    int gemv_most;   // tokens up to which gemv is faster than panels, GEMV_TOKENS at a time
    int panel_rows;  // rows of a panel
    int tile_tokens; // most tokens of one tile() call
    /* acc[t][r][lane] += panel x token t, for n_tokens <= tile_tokens tokens at x + t * x_stride,
     * kc columns in lane order. */
    void (*tile)(float *acc, const float *panel, const float *x, size_t x_stride, int kc,
                 int n_tokens);
    /* y[r] = the tree over the lanes of acc[r], for n_rows <= panel_rows rows of one token. */
    void (*sum_rows)(const float *acc, int n_rows, float *y);
    /* To lane order; dst holds k rounded up to LANE_GROUP. */
    void (*to_lanes)(float *dst, const float *x, int64_t k);

    /* n times fma_loop_macs multiply-adds of a and b that wait for nothing: for benchmarks, and to
     * see what a number costs. The result only keeps the compiler from dropping them. */
    float (*fma_loop)(int64_t n, float a, float b);
    int fma_loop_macs;

    const struct integer_products *integers;
    const struct ops *ops;
};

/* Text for types with blocks of len, or for those of single numbers. */
#define IF_BLOCKS_1(...)
#define IF_BLOCKS_32(...) __VA_ARGS__
#define IF_BLOCKS_64(...) __VA_ARGS__
#define IF_BLOCKS_256(...) __VA_ARGS__
#define IF_NUMBERS_1(...) __VA_ARGS__
#define IF_NUMBERS_32(...)
#define IF_NUMBERS_64(...)
#define IF_NUMBERS_256(...)

/* What computes with a type: its own kernel if it has one. subnormal: the one that multiplies by
 * subnormal numbers, if there is one. */
static inline gemv_fn *isa_gemv(const struct isa *isa, uint32_t type, bool subnormal) {
    if (subnormal && isa->gemv_subnormal && isa->gemv_subnormal[type]) {
        return isa->gemv_subnormal[type];
    }
    return isa->gemv && isa->gemv[type] ? isa->gemv[type] : isa->gemv_any;
}
static inline panel_fn *isa_panel(const struct isa *isa, uint32_t type) {
    return isa->panel && isa->panel[type] ? isa->panel[type] : isa->panel_any;
}

/* The key/value cache of one head. Keys lie in groups of 8 positions, [group][head_dim][8], so that
 * a vector holds one dimension of 8 neighbours; values lie as [position][head_dim]. A ring:
 * position p is in slot p % n_slots, and n_slots is a multiple of 8. */
struct kv_head {
    const void *k;
    const void *v; // NULL: values are the first head_dim_v numbers of keys
    bool f16;      // ggml_half, otherwise float
    int head_dim_k, head_dim_v;
    int n_slots;
};

/* ---- recurrent steps ------------------------------------------------------------------------- */

/* Of one head or some channels of a sequence, n tokens in ascending position: row t of an input
 * lies at x + t * its stride. */

/* The gated delta rule (arXiv 2412.06464): m = decay * m; u = beta * (v - m' k); m += k u';
 * y = scale * m' q. */
struct delta {
    float *m; // (rows, cols)
    int rows, cols, n;
    const float *q, *k; // (rows)
    size_t qk_stride;
    const float *v; // (cols)
    float *y;       // (cols), with v's stride; not where v is
    size_t v_stride;
    const float *beta; // one number
    size_t beta_stride;
    const float *decay; // one number, or one for each row
    size_t decay_stride;
    bool decay_by_row;
    float scale;
};

/* Mamba-2 (arXiv 2405.21060): m = decay * m + b (dt x)'; y = m' c + d x. */
struct scan {
    float *m; // (rows, cols)
    int rows, cols, n;
    const float *b, *c; // (rows)
    size_t bc_stride;
    const float *x; // (cols)
    float *y;       // (cols), with x's stride; not where x is
    size_t x_stride;
    const float *dt, *decay; // one number
    size_t dt_stride;
    float d;
};

/* Mamba (arXiv 2312.00752): as above, with a decay of e^(dt a) for each row and column and a dt for
 * each column. */
struct selective {
    float *m; // (rows, cols)
    int rows, cols, n;
    const float *b, *c; // (rows)
    size_t bc_stride;
    const float *x, *dt; // (cols)
    float *y;            // (cols), with x's stride; not where x or dt is
    size_t x_stride;
    const float *a; // (rows, cols)
    const float *d; // (cols)
};

/* A causal convolution of each channel: y = sum over i of w[i] * the input n_taps - 1 - i tokens
 * ago. */
struct convolution {
    float *m; // (n_taps - 1, cols): the last inputs, oldest first
    int n_taps, cols, n;
    const float *w; // (n_taps, cols)
    const float *x; // (n, cols)
    float *y;       // (n, cols); may be x
};

/* The rest of the step. Sums run in LANES lanes (index mod 8), then in the tree of the products.
 *
 * The functions that go element by element hold for every float: at infinity they give the limit,
 * of NaN NaN (any), and zeros and results have the sign of the true value, but for GELU's zeros.
 * The largest errors below are in units in the last place of the true value (2^-149 below the
 * normal floats), found by test_functions on all floats. */
struct ops {
    /* y = x / sqrt(mean(x^2) + eps) * w, one row of n; w may be NULL (all ones). y may be x. */
    void (*rms_norm)(float *y, const float *x, const float *w, int n, float eps);
    /* The same of x less its mean. */
    void (*layer_norm)(float *y, const float *x, const float *w, int n, float eps);
    /* gate = silu(gate) * up, gate = gelu(gate) * up */
    void (*swiglu)(float *gate, const float *up, int64_t n);
    void (*geglu)(float *gate, const float *up, int64_t n);
    /* gate = g * sigmoid(1.702 g) * (u + 1), g = gate up to 7, u = up from -7 to 7. The part before
     * u: 2 (1 + |g|) ulp, since 1.702 g is rounded before it becomes an exponent. */
    void (*swiglu_oai)(float *gate, const float *up, int64_t n);
    /* x = cap * tanh(x / cap), cap > 0: 3.8 ulp */
    void (*softcap)(float *x, int64_t n, float cap);
    /* y[i] = f(x[i]); y may be x. */
    void (*exp)(float *y, const float *x, int64_t n);     // 1.02 ulp
    void (*expm1)(float *y, const float *x, int64_t n);   // e^x - 1: 1.45 ulp
    void (*tanh)(float *y, const float *x, int64_t n);    // 2.5 ulp
    void (*sigmoid)(float *y, const float *x, int64_t n); // 1 / (1 + e^-x): 2.5 ulp
    void (*silu)(float *y, const float *x, int64_t n);    // x / (1 + e^-x): 2.5 ulp
    /* By gelu_table() between -10 and 10, |x| / 1024 + 2^-24 from its formula; beyond, 0 or x. */
    void (*gelu)(float *y, const float *x, int64_t n);
    void (*softplus)(float *y, const float *x, int64_t n); // ln(1 + e^x): 2.8 ulp
    /* s[q][p - first] = scale * (q[q] . k[p]) for n_q <= ATTN_QUERIES queries and positions first
     * .. first + n; both multiples of 8. Each dot product is one chain of FMAs in ascending
     * dimension. */
    void (*attn_scores)(float *s, size_t s_stride, const float *const *q, int n_q,
                        const struct kv_head *kv, int64_t first, int n, float scale);
    /* s[0 .. n) = exp(s - max) over [begin, end), 0 elsewhere; returns the sum, which is NaN if a
     * score is NaN or +infinity, or if all are -infinity. n multiple of 8. */
    float (*softmax)(float *s, int n, int begin, int end);
    /* out[q] = sum over positions of s[q][p - first] * v[p], times inv_sum[q]; ascending positions.
     * Where values are part of the keys, each number's sum has LANES lanes of positions, and out[q]
     * is room for head_dim_v * LANES floats. */
    void (*attn_values)(float *const *out, const float *s, size_t s_stride, const float *inv_sum,
                        int n_q, const struct kv_head *kv, int64_t first, int n);
    void (*delta_rule)(const struct delta *d);
    void (*scan)(const struct scan *s);
    /* Columns begin .. end, multiples of 16 (end: or the last). */
    void (*selective_scan)(const struct selective *s, int begin, int end);
    void (*convolve)(const struct convolution *k, int begin, int end);
};
#define ATTN_QUERIES 4

/* GELU by its tanh formula, x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), for every half,
 * rounded to a half. ggml looks it up in such a table, for what lies between -10 and 10:
 * exact GELU changes the logits of Gemma by six times as much as another order of sums does. */
const ggml_half *gelu_table(void);

extern const struct isa isa_portable;
extern const struct ops ops_portable;
extern const struct integer_products integers_portable;
#if defined(__x86_64__)
extern const struct isa isa_avx2, isa_avx512, isa_avx512vnni;
extern const struct integer_products integers_avx2, integers_avx512vnni;
extern const struct ops ops_avx2;
#elif defined(__aarch64__)
extern const struct isa isa_neon, isa_neon_dotprod, isa_neon_i8mm;
extern const struct integer_products integers_neon, integers_dotprod, integers_i8mm;
#endif

/* The implementations compiled in, best first, NULL at the end. */
extern const struct isa *const isa_all[];
const struct isa *isa_best(void);
/* By name; NULL if it is not compiled in. Check usable() before using it. */
const struct isa *isa_find(const char *name);

#endif
