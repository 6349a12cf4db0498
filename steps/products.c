/* Products with quantized matrices (matmul_q.h). */
#include "../build.h"
#include "../pass.h"
#include "../round.h"

/* Products of one input that are shared out together. */
#define MAX_TOGETHER 16

struct product_args {
    const struct matrix *w; // of each expert, between experts_begin and experts_end; else one
};

static void products_group(struct pass *p, const struct step *s, int n) {
    struct product together[MAX_TOGETHER];
    for (int done = 0; done < n; done += MAX_TOGETHER) {
        int m = n - done < MAX_TOGETHER ? n - done : MAX_TOGETHER;
        for (int k = 0; k < m; k++) {
            const struct step *one = &s[done + k];
            const struct product_args *a = one->args;
            together[k] = (struct product){
                .w = a->w + p->round, .x = row(p, s->in[0], 0), .y = row(p, one->out[0], 0)};
        }
        mul_mat(p->mm, together, m, p->n);
    }
}

static const struct step_kind product_kind = {
    .name = "product", .does = SIDE_BY_SIDE, .group = products_group};

/* Of n products with such a matrix. */
static struct work work_of(const struct matrix *w, int64_t n) {
    int64_t macs = n * w->n_rows * w->n_cols;
    return (struct work){macs, n * w->n_rows * (int64_t)w->row_bytes,
                         act_supported(w->type) ? macs : 0};
}

static value product_of(value x, const struct matrix *w, const char *name) {
    struct plan *p = x.p;
    struct product_args *a = plan_keep(p, 1, sizeof *a);
    a->w = w;
    struct step *s = plan_step(p, &product_kind, x, a);
    int64_t times = p->in_rounds ? p->n_expert_used : 1;
    s->name = tensor_full_name(p, name);
    s->work = work_of(w, times);
    if (x.n > p->widest) p->widest = x.n;
    return step_makes(p, s, 0, w->n_rows);
}

/* NAME of each expert, between experts_begin and experts_end; else one. */
static const struct matrix *planes(value x, const char *name, int64_t n_out) {
    struct plan *p = x.p;
    if (p->in_rounds) return tensor_experts(p, name, x.n, n_out);
    struct matrix *w = plan_keep(p, 1, sizeof *w);
    *w = tensor_matrix(p, name, x.n, n_out);
    return w;
}

static bool needs_bias(const struct plan *p) {
    return p->biases == NORMS_AND_PRODUCTS && p->il >= 0;
}

value product(value x, const char *name, int64_t n_out) {
    struct plan *p = x.p;
    const struct matrix *w = planes(x, name, n_out);
    const float *scale = tensor_scale(p, name);
    const float *b = tensor_vectors(p, name, ".bias", n_out, p->n_planes, needs_bias(p));
    return biased(plane_scaled(product_of(x, w, name), scale, name), b, name);
}

value plane_product(value x, const char *name, int plane, int n_planes, int64_t n_out) {
    struct matrix *w = plan_keep(x.p, 1, sizeof *w);
    struct matrix all = tensor_planes(x.p, name, x.n, n_out, n_planes);
    *w = matrix_rows(&all, plane * n_out, n_out);
    return product_of(x, w, name);
}

value product_heads(value x, const char *name, int n, int dim) {
    return heads(product(x, name, (int64_t)n * dim), dim);
}

void products(value x, const char *name, int n, const int64_t *n_out, value *out) {
    struct plan *p = x.p;
    int64_t n_all = 0, first = 0;
    for (int i = 0; i < n; i++) n_all += n_out[i];
    const struct matrix *all = planes(x, name, n_all);
    const float *b =
        p->in_rounds ? NULL : tensor_vectors(p, name, ".bias", n_all, 1, needs_bias(p));
    const float *scale = tensor_scale(p, name);
    for (int i = 0; i < n; first += n_out[i++]) {
        struct matrix *w = plan_keep(p, (size_t)p->n_planes, sizeof *w);
        for (int e = 0; e < p->n_planes; e++) w[e] = matrix_rows(&all[e], first, n_out[i]);
        value y = plane_scaled(product_of(x, w, name), scale, name);
        out[i] = biased(y, b ? b + first : NULL, name);
    }
}

/* ---- a matrix for each head ------------------------------------------------------------------ */

struct head_products_args {
    const struct matrix *w; // (n)
    int n, dim, first;      // heads of dim, of which the matrices read from `first` on
};

static void head_products_group(struct pass *p, const struct step *s, int n_steps) {
    (void)n_steps;
    const struct head_products_args *a = s->args;
    struct product together[MAX_TOGETHER];
    for (int done = 0; done < a->n; done += MAX_TOGETHER) {
        int m = a->n - done < MAX_TOGETHER ? a->n - done : MAX_TOGETHER;
        for (int k = 0; k < m; k++) {
            const struct matrix *w = &a->w[done + k];
            together[k] = (struct product){
                .w = w,
                .x = row(p, s->in[0], 0) + (done + k) * a->dim + a->first,
                .y = row(p, s->out[0], 0) + (done + k) * w->n_rows,
                .x_stride = (size_t)s->in[0].n,
                .y_stride = (size_t)s->out[0].n,
            };
        }
        mul_mat(p->mm, together, m, p->n);
    }
}

static const struct step_kind head_products_kind = {
    .name = "head products", .does = ALL_TOKENS, .group = head_products_group};

value head_products(value x, int first, int n_in, const char *name, int64_t n_out) {
    struct plan *p = x.p;
    int n = n_heads(x);
    if (first < 0 || n_in < 1 || n_in > x.dim - first) {
        PLAN_FAIL(p, KQ_BAD_FILE, "no %d values from %d on in heads of %d in layer %d", n_in, first,
                  x.dim, p->il);
    }
    struct matrix all = tensor_planes(p, name, n_in, n_out, n);
    struct matrix *w = plan_keep(p, (size_t)n, sizeof *w);
    for (int i = 0; i < n; i++) w[i] = matrix_rows(&all, i * n_out, n_out);
    struct head_products_args *a = plan_keep(p, 1, sizeof *a);
    *a = (struct head_products_args){w, n, x.dim, first};
    struct step *s = plan_step(p, &head_products_kind, x, a);
    s->name = tensor_full_name(p, name);
    s->work = work_of(&all, 1);
    int64_t inputs = (int64_t)(n < MAX_TOGETHER ? n : MAX_TOGETHER) * round_up(n_in, LANE_GROUP);
    if (inputs > p->widest) p->widest = inputs;
    value y = step_makes(p, s, 0, n * n_out);
    y.dim = (int)n_out;
    return y;
}

/* ---- queries, keys and values ---------------------------------------------------------------- */

struct qkv qkv(value x, const struct heads *h) {
    struct qkv a;
    if (has(x.p, "attn_qkv")) {
        value y[3];
        products(x, "attn_qkv", 3,
                 (const int64_t[]){(int64_t)h->n * h->dim_k, (int64_t)h->n_kv * h->dim_k,
                                   (int64_t)h->n_kv * h->dim_v},
                 y);
        a = (struct qkv){heads(y[0], h->dim_k), heads(y[1], h->dim_k), heads(y[2], h->dim_v)};
    } else {
        a.q = product_heads(x, "attn_q", h->n, h->dim_k);
        a.k = product_heads(x, "attn_k", h->n_kv, h->dim_k);
        a.v = product_heads(x, "attn_v", h->n_kv, h->dim_v);
    }
    return a;
}
