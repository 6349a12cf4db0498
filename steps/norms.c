/* Norms of a token's values, or of each of its heads. */
#include "../build.h"
#include "../pass.h"

struct norm_args {
    int n; // floats of one norm
    const float *weight;
    float eps;
};

static void norm_token(struct pass *p, const struct step *s, int i) {
    const struct norm_args *a = s->args;
    const float *x = row(p, s->in[0], i);
    float *y = row(p, s->out[0], i);
    for (int at = 0; at < s->in[0].n; at += a->n) {
        p->ops->rms_norm(y + at, x + at, a->weight, a->n, a->eps);
    }
}

static const struct step_kind norm_kind = {
    .name = "norm", .does = EACH_TOKEN, .in_place = true, .token = norm_token};

static value norm_of(value x, int n, const char *name) {
    struct plan *p = x.p;
    struct norm_args *a = plan_keep(p, 1, sizeof *a);
    *a = (struct norm_args){n, name ? vector(p, name, n) : NULL, p->eps};
    struct step *s = plan_step(p, &norm_kind, x, a);
    if (name) s->name = tensor_full_name(p, name);
    return step_makes_like(s, x);
}

value norm(value x, const char *name) {
    return norm_of(x, x.n, name);
}

value head_norm(value x, const char *name) {
    return norm_of(x, x.dim, name);
}

value head_norm_if(value x, const char *name) {
    return has(x.p, name) ? head_norm(x, name) : x;
}
