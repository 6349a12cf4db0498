/* What one may ask of a plan: its kinds of step, what it reads, what a sequence remembers. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"

static struct work work_from(const struct plan *p, int stage) {
    struct work sum = {0};
    for (int i = 0; i < p->n_steps; i++) {
        const struct work *w = &p->steps[i].work;
        if (p->steps[i].stage < stage) continue;
        sum.macs += w->macs;
        sum.bytes += w->bytes;
        sum.integer_macs += w->integer_macs;
    }
    return sum;
}

struct work plan_work(const struct plan *p) {
    return work_from(p, 0);
}

struct work plan_logits_work(const struct plan *p) {
    return work_from(p, p->first_wanted);
}

struct kind_count {
    const struct step_kind *kind;
    int n;
};
enum { MAX_KINDS = 64 };

static int count_kinds(const struct plan *p, struct kind_count *counts) {
    int n = 0;
    for (int i = 0; i < p->n_steps; i++) {
        int k = 0;
        while (k < n && counts[k].kind != p->steps[i].kind) k++;
        if (k == n && n == MAX_KINDS) continue;
        if (k == n) counts[n++] = (struct kind_count){p->steps[i].kind, 0};
        counts[k].n++;
    }
    return n;
}

void plan_kinds(const struct plan *p, char *out, size_t size) {
    struct kind_count counts[MAX_KINDS];
    int n = count_kinds(p, counts);
    size_t used = 0;
    for (out[0] = '\0'; used < size;) {
        int most = 0; // the first of the largest counts left
        for (int k = 1; k < n; k++) most = counts[k].n > counts[most].n ? k : most;
        if (n == 0 || counts[most].n == 0) return;
        used += (size_t)snprintf(out + used, size - used, "%s%s %d", used ? ", " : "",
                                 counts[most].kind->name, counts[most].n);
        counts[most].n = 0;
    }
}

void line_append(struct line *l, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(l->text + l->len, sizeof l->text - l->len, format, args);
    va_end(args);
    if (n > 0) l->len += (size_t)n;
    if (l->len >= sizeof l->text) l->len = sizeof l->text - 1;
}

static void append_values(struct line *l, const struct plan *p, const struct ref *v, int n) {
    for (int k = 0; k < n; k++) {
        if (!v[k].id) continue;
        line_append(l, " v%d[%d]", v[k].id, v[k].n);
        if (v[k].n > 0) line_append(l, "@%d", p->values[v[k].id].buffer);
    }
}

/* ---- layers ---------------------------------------------------------------------------------- */

/* Kinds that say nothing about a model, because all have them or they only carry numbers about. */
static bool is_plumbing(const struct step_kind *kind) {
    static const char *const names[] = {
        "embed", "norm",  "product", "add",      "bias",   "part",   "join",        "gain",
        "mul",   "scale", "turns",   "remember", "choose", "wanted", "experts end", "act"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(kind->name, names[i]) == 0) return true;
    }
    return false;
}

/* What a layer is made of: a bit for each kind of step, and how far it looks back. */
struct make {
    uint64_t kinds;
    int window; // 0: on everything, or on nothing
};

/* NULL: out of memory. */
static struct make *make_of_layers(const struct plan *p, const struct kind_count *kinds, int n) {
    struct make *makes = calloc((size_t)p->n_layer + 1, sizeof *makes);
    for (int i = 0; makes && i < p->n_steps; i++) {
        const struct step *s = &p->steps[i];
        if (s->il < 0 || s->il >= p->n_layer) continue;
        int k = 0;
        while (k < n && kinds[k].kind != s->kind) k++;
        if (k < n && !is_plumbing(s->kind)) makes[s->il].kinds |= (uint64_t)1 << k;
        if (s->memory >= 0 && p->memories[s->memory].window > 0) {
            makes[s->il].window = p->memories[s->memory].window;
        }
    }
    return makes;
}

/* "attend, rope, glu", in the order of the table. */
static void append_kinds(struct line *l, const struct kind_count *kinds, int n, uint64_t which) {
    const char *before = "";
    for (int k = 0; k < n; k++) {
        if (!(which >> k & 1)) continue;
        line_append(l, "%s%s", before, kinds[k].kind->name);
        before = ", ";
    }
    if (which == 0) line_append(l, "nothing");
}

/* "0-2, 4-6": the layers made like layer `like`, each of which is marked as told. */
static void append_layers(struct line *l, struct make *makes, bool *told, int n_layer, int like) {
    struct make m = makes[like];
    const char *before = "";
    for (int first = like; first < n_layer; first++) {
        if (makes[first].kinds != m.kinds || makes[first].window != m.window) continue;
        int last = first;
        while (last < n_layer && makes[last].kinds == m.kinds && makes[last].window == m.window) {
            told[last++] = true;
        }
        line_append(l, last - first > 1 ? "%s%d-%d" : "%s%d", before, first, last - 1);
        before = ", ";
        first = last;
    }
}

bool plan_layers(const struct plan *p, plan_layers_fn *put, void *to) {
    struct kind_count kinds[MAX_KINDS];
    int n = count_kinds(p, kinds);
    struct make *makes = make_of_layers(p, kinds, n);
    bool *told = calloc((size_t)p->n_layer + 1, sizeof *told);
    bool enough = makes && told;
    for (int il = 0; enough && il < p->n_layer; il++) {
        if (told[il]) continue;
        struct line layers = {.len = 0}, made = {.len = 0};
        append_layers(&layers, makes, told, p->n_layer, il);
        append_kinds(&made, kinds, n, makes[il].kinds);
        put(to, layers.text, made.text, makes[il].window);
    }
    free(makes);
    free(told);
    return enough;
}

void plan_sketch(const struct plan *p, char *out, size_t size) {
    struct kind_count kinds[MAX_KINDS];
    int n = count_kinds(p, kinds);
    uint64_t which = 0;
    for (int k = 0; k < n; k++) which |= (uint64_t)!is_plumbing(kinds[k].kind) << k;
    struct line l = {.len = 0};
    append_kinds(&l, kinds, n, which);
    snprintf(out, size, "%s", l.text);
}

/* ---- what a sequence remembers --------------------------------------------------------------- */

int plan_memory_sums(const struct plan *p, struct memory_sum *out, int max) {
    int n = 0;
    for (int i = 0; i < p->n_memories; i++) {
        const struct memory *m = &p->memories[i];
        bool state = m->slot == 0;
        int k = 0;
        while (k < n && (out[k].state != state || out[k].window != m->window)) k++;
        if (k == max) return n;
        if (k == n) out[n++] = (struct memory_sum){.state = state, .window = m->window, .last = -1};
        out[k].numbers += state ? m->state : m->slot;
        out[k].n_layers += m->il != out[k].last;
        out[k].last = m->il;
    }
    return n;
}

double memory_sum_bytes(const struct memory_sum *m, int n_positions, int number_bytes) {
    if (m->state) return (double)m->numbers * sizeof(float);
    int n = m->window > 0 && m->window < n_positions ? m->window : n_positions;
    return (double)m->numbers * n * number_bytes;
}

/* ---- the line of steps ----------------------------------------------------------------------- */

void plan_describe(const struct plan *p, void (*put_line)(void *to, const char *line), void *to) {
    for (int i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->steps[i];
        struct line l = {.len = 0};
        bool again = i > 0 && s->stage == p->steps[i - 1].stage;
        if (again) {
            line_append(&l, "       ");
        } else {
            line_append(&l, "%5d%s ", s->stage, s->stage >= p->first_wanted ? "w" : " ");
        }
        line_append(&l, "%-12s %-28s", s->kind->name, s->name);
        append_values(&l, p, s->in, STEP_INS);
        line_append(&l, " ->");
        append_values(&l, p, s->out, STEP_OUTS);
        put_line(to, l.text);
    }
}
