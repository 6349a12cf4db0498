/* A model: the plan that its family's function writes down (build.h), bound to the mapped file.
 * Everything about the file is checked here, once; passes rely on it. */
#ifndef MODEL_H
#define MODEL_H

#include "gguf.h"

struct plan;

struct model {
    const char *arch;
    int n_vocab, n_embd, n_layer, n_ctx_train;
    struct plan *plan;
};

/* Keys that are not refused although nobody knows what they mean: whole names. */
struct model_params {
    const char *const *ignored_keys;
    size_t n_ignored;
};

/* Writes the plan of g, which must outlive the model. params may be NULL. On failure the message
 * says which key or tensor is missing, misshapen, of a type that is not supported, or not known,
 * and nothing is left to close. */
int model_open(struct model *m, const struct gguf *g, const struct model_params *params,
               struct error *err);
void model_close(struct model *m);

/* The weights that one token is multiplied with, output included, of experts only those used. */
struct model_work {
    int64_t macs;         // multiply-adds per token
    int64_t bytes;        // read from the file per token
    int64_t integer_macs; // of macs, those that --act makes products of integers
};
struct model_work model_work(const struct model *m);
/* Of these what is done for logits alone: a prompt's tokens but the last need none. */
struct model_work model_logits_work(const struct model *m);

/* Of the layers that look back on a window of positions: how many, and the window's size (that of
 * the first, if they differ). */
struct model_windows {
    int n_layers, size;
};
struct model_windows model_windows(const struct model *m);

/* What a sequence of n_ctx positions would reserve, in bytes; SIZE_MAX if no system has that. */
size_t model_memory(const struct model *m, int n_ctx, int n_batch, bool kv_f32);

/* The most positions, up to `most` >= 1, of which `bytes` hold what a sequence remembers, in whole
 * steps of 256; one step where they hold none. */
int model_context(const struct model *m, int most, int n_batch, bool kv_f32, size_t bytes);

/* Fills out with the kinds of step and how many there are of each: "product 15, norm 9, ...". */
void model_kinds(const struct model *m, char *out, size_t size);

/* Layers that are made alike: "0-2, 4-6", their kinds of step, and how many positions they look
 * back on (0: all, or none). False: out of memory. */
bool model_layers(const struct model *m,
                  void (*put)(void *to, const char *layers, const char *kinds, int window),
                  void *to);

/* What a sequence remembers, part i: n_layers layers keep so many bytes of each position, or of
 * each of the last `window` ones, or a state of so many bytes. False: there is no part i. */
struct model_part {
    bool state;
    int window, n_layers;
    double bytes;
};
bool model_remembers(const struct model *m, int i, bool kv_f32, struct model_part *part);

/* The line of steps, a line of text each. */
void model_describe(const struct model *m, void (*put)(void *to, const char *line), void *to);

/* Fills out with the supported architectures, comma-separated. */
void model_families(char *out, size_t size);

#endif
