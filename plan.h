/* A model as a line of steps: what a family's function (families/, in the words of build.h) writes
 * down, and what follows from it: which steps run together, who reads what and how long, which
 * buffers are shared, what a sequence remembers. transformer.c runs it.
 *
 * A value is n floats for each token of a pass. One step makes it and nothing changes it, so steps
 * may be put together, and buffers shared, by looking at who reads what. */
#ifndef PLAN_H
#define PLAN_H

#include <setjmp.h>

#include "gguf.h"
#include "simd/isa.h"

/* What families hold of a value: n floats for each token, in heads of dim. id 0: none. */
typedef struct {
    struct plan *p;
    int id, n, dim;
} value;

/* What steps keep of it. */
struct ref {
    int id, n;
};

struct pass;
struct step;

/* ---- kinds of step --------------------------------------------------------------------------- */

/* A file of steps/ has, for each of its kinds, the builder that families call, the arguments that
 * it leaves, and what runs. */

enum step_does {
    EACH_TOKEN,   // treats every token for itself: token()
    SIDE_BY_SIDE, // with the steps of its kind that have the same input: group()
    ALL_TOKENS    // needs all tokens of the pass: group(), alone
};

enum step_role {
    PLAIN,
    ROUNDS,     // begins a part that is run once for each round, with the tokens that begin_round
                // gathers
    ROUNDS_END, // ends it: group() of every round that had tokens
    WANTED      // begins what is done for the tokens alone whose logits somebody asks for
};

struct step_kind {
    const char *name;
    enum step_does does;
    enum step_role role;
    bool in_place; // out[0] may lie where in[0] does
    /* Of a kind for each token that has finite results for what is not, a limit or a function that
     * tends to one: what a pass says that fails because a row it reads is not finite. */
    const char *not_finite;
    void (*token)(struct pass *pass, const struct step *s, int i);
    void (*group)(struct pass *pass, const struct step *s, int n); // steps s[0] .. s[n - 1]
    int (*begin_round)(struct pass *pass, const struct step *s, int round); // tokens gathered
    size_t (*scratch)(const struct step *s,
                      int n_ctx); // floats that each thread needs; may be NULL
};

enum { STEP_INS = 6, STEP_OUTS = 4 };

/* Multiply-adds, and bytes of weights, for each token. */
struct work {
    int64_t macs, bytes;
    int64_t integer_macs; // those of macs whose weights may be multiplied as integers (--act)
};

struct step {
    const struct step_kind *kind;
    struct ref in[STEP_INS], out[STEP_OUTS];
    const void *args; // of the kind's own type
    const char *name; // of its tensor, "" if it has none
    int il;           // layer, -1: none
    int stage;
    int memory;     // of the sequence, index into plan.memories; -1: none
    int n_rounds;   // ROUNDS
    int rounds_end; // ROUNDS: the stage of their end
    struct work work;
};

/* Steps that are done together. */
struct stage {
    int first, n; // steps
    enum step_does does;
};

/* ---- what follows ---------------------------------------------------------------------------- */

struct plan_value {
    int by;                  // the step that makes it, while the plan is written
    bool made;               // while stages are planned
    bool wanted;             // rows for wanted tokens, otherwise for each of the pass
    int n, buffer;           // floats a token; the buffer it lies in
    int born, last, last_by; // stages, and the last step that reads it
};

struct buffer {
    int n; // floats a token
    bool wanted;
    int born, last; // stages
};

/* Biases that the file must have: of all norms; of the products in layers, too. Others it may. */
enum biases { NO_BIASES_NEEDED, NORMS, NORMS_AND_PRODUCTS };

/* A part of what a sequence remembers. */
struct memory {
    int64_t slot;  // cached numbers of each position, floats or halves; 0: none
    int window;    // positions that are looked back on, the newest included; 0: all
    int64_t state; // floats, whatever the length
    int il;        // layer
};

struct plan {
    /* what nearly all families have, read before the family's function is called */
    const char *arch;
    int n_vocab, n_embd, n_layer, n_expert, n_expert_used, n_ctx_train;
    float eps;    // of norms: rms() or centred() of families/parts.h set both
    bool centred; // norms take the mean off: LayerNorm, not RMS
    enum biases biases;
    bool ctx_matters; // results depend on the length of the context: longrope
    int n_positions;  // that can be told from each other; 0: any number

    struct step *steps;
    int n_steps;
    struct stage *stages;
    int n_stages, first_wanted; // stages from first_wanted on are for wanted tokens
    struct plan_value *values;  // [0] is none
    int n_values;
    struct buffer *buffers;
    int n_buffers;
    struct memory *memories;
    int n_memories;
    value logits;
    int64_t widest;    // input of a product
    int64_t most_rows; // of heads or values of one token: a pass of n tokens has n times as many
    struct kept *kept; // what steps' args point to

    /* while it is written */
    const struct gguf *g;
    struct error *err;
    jmp_buf *exit; // where an error leads
    bool *used_tensors, *used_keys;
    int il;       // layer that names are of, -1: the model
    int n_planes; // experts, between their begin and end; otherwise 1
    bool in_rounds;
    bool in_wanted;
    value round_sum;
    int *parts; // steps at which a part ends: nothing behind is done before what is in front
    int n_parts;
};

/* Has a family's function write the plan of file g, which must outlive it. Keys named in `ignored`
 * (n of them) are not refused, whatever they may mean. On an error nothing is left to free. */
struct plan_source {
    const struct gguf *g;
    const char *arch;
    void (*write)(struct plan *);
    const char *const *ignored;
    size_t n_ignored;
};
int plan_write(struct plan *p, const struct plan_source *source, struct error *err);
void plan_free(struct plan *p);

/* Of all products for one token and its logits: of experts those that it uses. */
struct work plan_work(const struct plan *p);
/* The part of it that only tokens cost whose logits are made. */
struct work plan_logits_work(const struct plan *p);

/* "product 15, norm 9, ...": the kinds of step and how many there are, most frequent first. */
void plan_kinds(const struct plan *p, char *out, size_t size);

/* "attend, rope, glu": the kinds that tell one model from another. */
void plan_sketch(const struct plan *p, char *out, size_t size);

/* What layers are made of: put gets "0-2, 4-6", their kinds as plan_sketch has them, and how many
 * positions they look back on (0: all, or none). Layers that are made alike are told together.
 * False: out of memory. */
typedef void plan_layers_fn(void *to, const char *layers, const char *kinds, int window);
bool plan_layers(const struct plan *p, plan_layers_fn *put, void *to);

/* What a sequence remembers in all layers that do so alike: so many cached numbers of each
 * position, or of the last `window` ones, or so many floats of a state. */
struct memory_sum {
    bool state;
    int window, n_layers;
    int64_t numbers;
    int last; // layer, private
};
int plan_memory_sums(const struct plan *p, struct memory_sum *out, int max); // gives how many
/* Of so many positions. */
double memory_sum_bytes(const struct memory_sum *m, int n_positions, int number_bytes);

/* Prints the line of steps, a step a line: stage, kind, tensor, values and their buffers. `put`
 * gets each line without its newline. */
void plan_describe(const struct plan *p, void (*put)(void *to, const char *line), void *to);

/* ---- for builders (steps/, keys.c, tensors.c) ------------------------------------------------ */

/* Sets the message and leaves the family's function: nothing here or in a family goes on after an
 * error, and nothing but the plan owns memory meanwhile. */
#define PLAN_FAIL(p, status, ...)                    \
    do {                                             \
        error_format((p)->err, status, __VA_ARGS__); \
        plan_give_up(p);                             \
    } while (0)
_Noreturn void plan_give_up(struct plan *p);

/* n times size bytes, zeroed, freed with the plan. */
void *plan_keep(struct plan *p, size_t n, size_t size);

/* A new step that reads `in` (none: NO_VALUE) and has `args`, which plan_keep gave; what else it
 * reads is added by step_reads. */
struct step *plan_step(struct plan *p, const struct step_kind *kind, value in, const void *args);
void step_reads(struct step *s, value v);
/* out[which] of the step, n floats in one head. */
value step_makes(struct plan *p, struct step *s, int which, int64_t n);
/* out[0], as wide as x and in heads as wide. */
value step_makes_like(struct step *s, value x);
int plan_remember(struct plan *p, struct memory m); // gives step.memory
/* The step that made v. Only until the plan is written: then steps are sorted. */
const struct step *plan_maker(value v);

static inline struct ref ref_of(value x) {
    return (struct ref){x.id, x.n};
}
static inline int n_heads(value x) {
    return x.n / x.dim;
}

/* A line of text that is cut where it is full. */
struct line {
    char text[400];
    size_t len;
};
PRINTF_LIKE(2, 3) void line_append(struct line *l, const char *format, ...);

/* keys.c, tensors.c: what a plan's family did not use, and what that means; nothing if all is well.
 */
void keys_tell_unused(struct plan *p, const struct plan_source *source, struct line *l);
void tensors_tell_unused(struct plan *p, struct line *l);

/* tensors.c, for builders. Names are those of build.h; each fails by PLAN_FAIL if the tensor is
 * missing, misshapen or of a type that cannot be used. */
struct matrix tensor_matrix(struct plan *p, const char *name, int64_t n_cols, int64_t n_rows);
/* (n_planes, n_rows, n_cols) */
struct matrix tensor_planes(struct plan *p, const char *name, int64_t n_cols, int64_t n_rows,
                            int n_planes);
/* Some rows of it. */
struct matrix matrix_rows(const struct matrix *w, int64_t row, int64_t n_rows);
/* One matrix for each expert: NAME_exps has a plane for each, files of early 2024 a tensor each. */
const struct matrix *tensor_experts(struct plan *p, const char *name, int64_t n_cols,
                                    int64_t n_rows);
/* The last n layers, which are there to predict tokens beyond the next one (arXiv 2404.19737), are
 * in the file and not run. */
void skip_last_layers(struct plan *p, int n);
/* (n_rows, n) floats of NAME + suffix; NULL if it is not there and not needed. */
const float *tensor_vectors(struct plan *p, const char *name, const char *suffix, int64_t n,
                            int64_t n_rows, bool needed);
/* NAME.scale, the factor of a product, (n_planes); NULL: there is none, or the family has made use
 * of it under its own name. */
const float *tensor_scale(struct plan *p, const char *name);
/* (n_groups, n) floats of NAME.weight, or as many in one row. */
const float *tensor_groups(struct plan *p, const char *name, int64_t n, int64_t n_groups);
/* (n_cols, n_rows) of a tensor of floats that has (n_rows, n_cols) or (n_rows, 1, n_cols): kept by
 * the plan. */
const float *tensor_transposed(struct plan *p, const char *name, const char *suffix, int64_t n_cols,
                               int64_t n_rows);
/* "blk.3.attn_q", for messages and --plan; kept by the plan. */
const char *tensor_full_name(struct plan *p, const char *name);

#endif
