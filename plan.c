#include "plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"
#include "build.h"

/* Choosing among experts takes time that the file's length does not bound; models have up to 512.
 */
#define MAX_EXPERTS 1024

#define NOT_YET (-1)

_Noreturn void plan_give_up(struct plan *p) {
    longjmp(*p->exit, 1);
}

/* ---- memory ---------------------------------------------------------------------------------- */

struct kept {
    struct kept *next;
    _Alignas(16) char data[];
};

void *plan_keep(struct plan *p, size_t n, size_t size) {
    bool fits = size == 0 || n <= (SIZE_MAX - sizeof(struct kept)) / size;
    struct kept *k = fits ? calloc(1, sizeof *k + n * size) : NULL;
    if (!k) PLAN_FAIL(p, KQ_NO_MEMORY, "out of memory for a model's list of steps");
    k->next = p->kept;
    p->kept = k;
    return k->data;
}

/* Room for one more in an array of n; arrays grow when n is a power of two. */
static void *grow(struct plan *p, void *array, int n, size_t size) {
    size_t room = (size_t)n;
    if (n > 0 && (n & (n - 1)) != 0) return array;
    if (array_reserve(&array, &room, room + 1, size) != 0) {
        PLAN_FAIL(p, KQ_NO_MEMORY, "out of memory for a model's list of steps");
    }
    return array;
}

/* ---- adding a step --------------------------------------------------------------------------- */

struct step *plan_step(struct plan *p, const struct step_kind *kind, value in, const void *args) {
    p->steps = grow(p, p->steps, p->n_steps, sizeof *p->steps);
    struct step *s = &p->steps[p->n_steps++];
    *s = (struct step){.kind = kind,
                       .in = {ref_of(in)},
                       .args = args,
                       .name = "",
                       .il = p->il,
                       .stage = NOT_YET,
                       .memory = -1};
    return s;
}

void step_reads(struct step *s, value v) {
    int k = 0;
    while (s->in[k].id) k++;
    s->in[k] = ref_of(v);
}

value step_makes(struct plan *p, struct step *s, int which, int64_t n) {
    if (n > INT32_MAX / 4) {
        PLAN_FAIL(p, KQ_BAD_FILE, "a value of %lld floats for each token", (long long)n);
    }
    p->values = grow(p, p->values, p->n_values, sizeof *p->values);
    p->values[p->n_values] =
        (struct plan_value){.by = (int)(s - p->steps), .wanted = p->in_wanted, .n = (int)n};
    s->out[which] = (struct ref){p->n_values++, (int)n};
    if (n > p->most_rows) p->most_rows = n;
    return (value){p, s->out[which].id, (int)n, (int)n};
}

value step_makes_like(struct step *s, value x) {
    value y = step_makes(x.p, s, 0, x.n);
    y.dim = x.dim;
    return y;
}

const struct step *plan_maker(value v) {
    return &v.p->steps[v.p->values[v.id].by];
}

int plan_remember(struct plan *p, struct memory m) {
    p->memories = grow(p, p->memories, p->n_memories, sizeof *p->memories);
    p->memories[p->n_memories] = m;
    p->memories[p->n_memories].il = p->il;
    return p->n_memories++;
}

/* Steps of the next part are not done before those of this one. */
static void end_part(struct plan *p) {
    p->parts = grow(p, p->parts, p->n_parts, sizeof *p->parts);
    p->parts[p->n_parts++] = p->n_steps;
}

bool layer(struct plan *p, int il) {
    end_part(p);
    bool more = il < p->n_layer;
    p->il = more ? il : -1;
    return more;
}

/* ---- stages ---------------------------------------------------------------------------------- */

static bool is_ready(const struct plan *p, const struct step *s) {
    for (int k = 0; k < STEP_INS; k++) {
        if (s->in[k].id && !p->values[s->in[k].id].made) return false;
    }
    return true;
}

static int new_stage(struct plan *p, const struct step *s) {
    p->stages = grow(p, p->stages, p->n_stages, sizeof *p->stages);
    p->stages[p->n_stages] = (struct stage){.does = s->kind->does};
    return p->n_stages++;
}

static void put(struct plan *p, struct step *s, int stage) {
    s->stage = stage;
    p->stages[stage].n++;
    for (int k = 0; k < STEP_OUTS; k++) p->values[s->out[k].id].made = true;
}

static struct step *first_of_all_tokens(const struct plan *p, int begin, int end) {
    for (int i = begin; i < end; i++) {
        struct step *s = &p->steps[i];
        if (s->stage == NOT_YET && s->kind->does != EACH_TOKEN && is_ready(p, s)) return s;
    }
    return NULL;
}

/* Steps begin .. end into stages. What is ready and takes all tokens comes first, products of one
 * input together; if there is none, all that is ready for each token. So stages do not depend on
 * the order in which a family wrote down what does not depend on each other. */
static void plan_part(struct plan *p, int begin, int end) {
    for (int left = end - begin; left > 0;) {
        const struct step *first = first_of_all_tokens(p, begin, end);
        bool joins = !first && p->n_stages > 0 && p->stages[p->n_stages - 1].does == EACH_TOKEN;
        int stage = joins ? p->n_stages - 1 : first ? new_stage(p, first) : NOT_YET;
        for (int i = begin; i < end; i++) {
            struct step *s = &p->steps[i];
            if (s->stage != NOT_YET) continue;
            bool beside = first && first->kind->does == SIDE_BY_SIDE && s->kind == first->kind &&
                          s->in[0].id == first->in[0].id;
            bool fits = first ? s == first || beside : s->kind->does == EACH_TOKEN;
            if (!fits || !is_ready(p, s)) continue;
            if (stage == NOT_YET) stage = new_stage(p, s);
            put(p, s, stage);
            left--;
        }
    }
}

/* Layer by layer; steps with a role of their own stand alone, and nothing moves past them. */
static void make_stages(struct plan *p) {
    end_part(p);
    for (int i = 0, begin = 0; i < p->n_parts; i++) {
        for (int k = begin; k <= p->parts[i]; k++) {
            bool fence = k < p->parts[i] && p->steps[k].kind->role != PLAIN;
            if (!fence && k < p->parts[i]) continue;
            plan_part(p, begin, k);
            begin = k;
            if (!fence) continue;
            put(p, &p->steps[k], new_stage(p, &p->steps[k]));
            if (p->steps[k].kind->role == WANTED) p->first_wanted = p->n_stages - 1;
            begin = k + 1;
        }
    }
}

/* By stage; within a stage as they were written. */
static void sort_steps(struct plan *p) {
    struct step *sorted = malloc((size_t)p->n_steps * sizeof *sorted);
    if (!sorted) PLAN_FAIL(p, KQ_NO_MEMORY, "out of memory for a model's list of steps");
    for (int i = 1; i < p->n_stages; i++) {
        p->stages[i].first = p->stages[i - 1].first + p->stages[i - 1].n;
    }
    for (int i = 0; i < p->n_steps; i++) sorted[p->stages[p->steps[i].stage].first++] = p->steps[i];
    for (int i = 0; i < p->n_stages; i++) p->stages[i].first -= p->stages[i].n;
    free(p->steps);
    p->steps = sorted;
}

/* ---- lives and buffers ----------------------------------------------------------------------- */

/* The stages of a part that is run again and again, and how long it reads what comes from outside:
 * rounds until their end, what is done on demand for as long as somebody may ask. */
struct repeated {
    int begin, end, until;
};

static struct repeated repeated_from(const struct plan *p, struct step *s,
                                     const struct repeated *so_far) {
    if (s->kind->role == WANTED) return (struct repeated){s->stage, p->n_stages - 1, p->n_stages};
    if (s->kind->role != ROUNDS) return *so_far;
    int end = s->stage;
    while (p->steps[p->stages[end].first].kind->role != ROUNDS_END) end++;
    s->rounds_end = end;
    return (struct repeated){s->stage, end, end};
}

/* Where every value is made and read for the last time. */
static void find_lives(struct plan *p) {
    struct repeated r = {-1, -1, -1};
    for (int i = 0; i < p->n_steps; i++) {
        struct step *s = &p->steps[i];
        r = repeated_from(p, s, &r);
        for (int k = 0; k < STEP_OUTS; k++) {
            struct plan_value *v = &p->values[s->out[k].id];
            if (s->out[k].id) v->born = v->last = s->stage;
        }
        for (int k = 0; k < STEP_INS; k++) {
            struct plan_value *v = &p->values[s->in[k].id];
            bool again = s->stage >= r.begin && s->stage <= r.end && v->born < r.begin;
            int last = again ? r.until : s->stage;
            int by = again ? p->stages[r.end].first + p->stages[r.end].n - 1 : i;
            if (last > v->last) v->last = last;
            if (by > v->last_by) v->last_by = by;
        }
    }
    p->values[p->logits.id].last = p->n_stages; // whoever asked for them reads them
}

/* A buffer for each value, or that of the value that it replaces. Values that are both alive in a
 * stage lie apart, because a stage's tokens are not in step with each other. */
static void assign_buffers(struct plan *p) {
    p->buffers = calloc((size_t)p->n_values + 1, sizeof *p->buffers);
    if (!p->buffers) PLAN_FAIL(p, KQ_NO_MEMORY, "out of memory for a model's list of steps");
    for (int i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->steps[i];
        for (int k = 0; k < STEP_OUTS; k++) {
            const struct plan_value *in = &p->values[s->in[0].id];
            struct plan_value *out = &p->values[s->out[k].id];
            if (!s->out[k].id) continue;
            bool replaces = k == 0 && s->kind->in_place && s->in[0].id && in->last_by == i &&
                            in->n == out->n && in->wanted == out->wanted;
            out->buffer = replaces ? in->buffer : p->n_buffers++;
            struct buffer *b = &p->buffers[out->buffer];
            if (!replaces) *b = (struct buffer){out->n, out->wanted, out->born, out->last};
            if (out->last > b->last) b->last = out->last;
        }
    }
}

/* ---- writing --------------------------------------------------------------------------------- */

static void read_experts(struct plan *p) {
    p->n_expert = count(p, "expert_count", 0, 0);
    p->n_expert_used = count(p, "expert_used_count", 0, 0);
    if (p->n_expert == 0) p->n_expert_used = 0;
    if (p->n_expert > MAX_EXPERTS) {
        PLAN_FAIL(p, KQ_UNSUPPORTED, "%s.expert_count is %d, at most %d are supported", p->arch,
                  p->n_expert, MAX_EXPERTS);
    }
    if (p->n_expert > 0 && (p->n_expert_used < 1 || p->n_expert_used > p->n_expert)) {
        PLAN_FAIL(p, KQ_BAD_FILE, "%s.expert_used_count is %d of %d experts", p->arch,
                  p->n_expert_used, p->n_expert);
    }
    if ((uint64_t)p->n_layer * (uint64_t)p->n_expert > p->g->mapped_bytes / 3) {
        PLAN_FAIL(p, KQ_BAD_FILE, "%d experts in %d layers announced in a file of %zu bytes",
                  p->n_expert, p->n_layer, p->g->mapped_bytes);
    }
}

/* What every model has. */
static void begin(struct plan *p) {
    p->used_tensors = calloc(p->g->n_tensors + 1, sizeof *p->used_tensors);
    p->used_keys = calloc(p->g->n_kv + 1, sizeof *p->used_keys);
    if (!p->used_tensors || !p->used_keys) {
        PLAN_FAIL(p, KQ_NO_MEMORY, "out of memory for a list of %zu tensors and %zu keys",
                  p->g->n_tensors, p->g->n_kv);
    }
    p->values = grow(p, NULL, 0, sizeof *p->values);
    p->values[p->n_values++] = (struct plan_value){0}; // NO_VALUE
    p->n_embd = count(p, "embedding_length", 1, NEEDED);
    p->n_layer = count(p, "block_count", 1, NEEDED);
    p->n_ctx_train = count(p, "context_length", 1, NEEDED);
    if ((uint64_t)p->n_layer > p->g->n_tensors) {
        PLAN_FAIL(p, KQ_BAD_FILE, "%s.block_count is %d, but the file has %zu tensors", p->arch,
                  p->n_layer, p->g->n_tensors);
    }
    read_experts(p);
}

/* What is left over would have changed the results: a bias, a norm, a layer more than announced, a
 * number that nobody asked for. */
static void check_unused(struct plan *p, const struct plan_source *source) {
    struct line tensors = {.len = 0}, keys = {.len = 0};
    tensors_tell_unused(p, &tensors);
    keys_tell_unused(p, source, &keys);
    if (tensors.len == 0 && keys.len == 0) return;
    PLAN_FAIL(p, KQ_UNSUPPORTED, "%s%s%s", tensors.text,
              tensors.len > 0 && keys.len > 0 ? "; " : "", keys.text);
}

static void finish(struct plan *p, const struct plan_source *source) {
    check_unused(p, source);
    make_stages(p);
    sort_steps(p);
    find_lives(p);
    assign_buffers(p);
    free(p->used_tensors);
    free(p->used_keys);
    free(p->parts);
    p->used_tensors = p->used_keys = NULL;
    p->parts = NULL;
    p->exit = NULL;
    p->err = NULL;
}

int plan_write(struct plan *p, const struct plan_source *source, struct error *err) {
    jmp_buf exit;
    *p = (struct plan){.g = source->g,
                       .err = err,
                       .arch = source->arch,
                       .exit = &exit,
                       .il = -1,
                       .n_planes = 1,
                       .widest = 1};
    if (setjmp(exit)) {
        plan_free(p);
        return -1;
    }
    begin(p);
    source->write(p);
    finish(p, source);
    return 0;
}

void plan_free(struct plan *p) {
    while (p->kept) {
        struct kept *next = p->kept->next;
        free(p->kept);
        p->kept = next;
    }
    free(p->used_tensors);
    free(p->used_keys);
    free(p->steps);
    free(p->stages);
    free(p->values);
    free(p->buffers);
    free(p->memories);
    free(p->parts);
    *p = (struct plan){0};
}
