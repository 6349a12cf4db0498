/* Where a model begins and ends: rows of the embedding and of positions, and the tokens whose
 * logits are wanted. */
#include "../build.h"
#include "../pass.h"

/* ---- embed ----------------------------------------------------------------------------------- */

struct embed_args {
    struct matrix w; // (n_vocab, n)
    float scale;
};

static void embed_token(struct pass *p, const struct step *s, int i) {
    const struct embed_args *a = s->args;
    float *y = row(p, s->out[0], i);
    dequantize_row(a->w.type, a->w.data + (size_t)p->ids[i] * a->w.row_bytes, y, a->w.n_cols);
    for (int64_t k = 0; a->scale != 1 && k < a->w.n_cols; k++) y[k] *= a->scale;
}

static const struct step_kind embed_kind = {
    .name = "embed", .does = EACH_TOKEN, .token = embed_token};

value embed(struct plan *p, const char *name, int64_t n, float scale) {
    struct embed_args *a = plan_keep(p, 1, sizeof *a);
    *a = (struct embed_args){tensor_matrix(p, name, n, p->n_vocab), scale};
    p->n_vocab = (int)a->w.n_rows; // the first one decides it for all
    struct step *s = plan_step(p, &embed_kind, NO_VALUE, a);
    s->name = tensor_full_name(p, name);
    return step_makes(p, s, 0, n);
}

/* ---- learned positions ----------------------------------------------------------------------- */

static void position_token(struct pass *p, const struct step *s, int i) {
    const struct embed_args *a = s->args;
    const uint8_t *data = a->w.data + (size_t)position(p, i) * a->w.row_bytes;
    dequantize_row(a->w.type, data, row(p, s->out[0], i), a->w.n_cols);
}

static const struct step_kind position_kind = {
    .name = "position", .does = EACH_TOKEN, .token = position_token};

value learned_positions(struct plan *p, const char *name, int64_t n) {
    struct embed_args *a = plan_keep(p, 1, sizeof *a);
    *a = (struct embed_args){tensor_matrix(p, name, n, p->n_ctx_train), 1};
    p->n_positions = (int)a->w.n_rows;
    struct step *s = plan_step(p, &position_kind, NO_VALUE, a);
    s->name = tensor_full_name(p, name);
    return step_makes(p, s, 0, n);
}

/* ---- wanted ---------------------------------------------------------------------------------- */

static void wanted_all(struct pass *p, const struct step *s, int n) {
    (void)n;
    for (int i = 0; i < p->n; i++) {
        memcpy(row(p, s->out[0], i), row(p, s->in[0], p->wanted[i]),
               (size_t)s->in[0].n * sizeof(float));
    }
}

static const struct step_kind wanted_kind = {
    .name = "wanted", .does = ALL_TOKENS, .role = WANTED, .group = wanted_all};

value wanted(value x) {
    struct step *s = plan_step(x.p, &wanted_kind, x, NULL);
    x.p->in_wanted = true;
    return step_makes_like(s, x);
}

void logits(value x) {
    x.p->logits = x;
}
