/* The command line of run: one table of options, in options.c, and its parser, which prints
 * nothing. What it leaves to the modes is what only they can judge: a model's tokens and layers. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "../sampler.h"
#include "../simd/isa.h"

#define OPTIONS_MOST_TEXTS 32 // of a repeated option

/* What an option that may be repeated was given. */
struct option_texts {
    const char *text[OPTIONS_MOST_TEXTS];
    size_t n;
};

struct options {
    const char *model, *prompt, *prompt_file, *ids, *logits, *perplexity, *system, *chat_template;
    const char *render, *template_file, *date;
    enum think { THINK_AS_IT_LIKES, THINK_ON, THINK_OFF } think;
    int n_gen;     // -1: until the end
    int n_ctx;     // 0: not given
    int n_threads; // 0: not given
    int n_batch, n_reps;
    int act; // 16 or 8; 0: float32
    struct sampler_params sampling;
    bool reference, verify, kv_f32, json, quiet, allow_special, keep_newline;
    struct option_texts ignored_keys;
    bool tokens, info, plan, bench, chat; // modes
    bool help, version, families;         // and nothing else
    const struct isa *isa;
    uint64_t given; // private: bit i for row i of the table
};

/* Most tokens, positions and so on that can be asked for. */
#define OPTIONS_MOST (1 << 30)

extern const char options_help[];

/* Fills o with the defaults and what argv[1 .. argc - 1] say; the texts are argv's. Reading ends
 * with --help, --version or --families, which take effect even if a model was named or an error
 * would follow. Without any model o->model is NULL. 0, or -1 and err, a sentence about the wrong
 * argument. */
int options_parse(struct options *o, int argc, char **argv, struct error *err);

/* What is not as usual about products: "", or ", reference" and so on. */
const char *how_computed(const struct options *o);

/* Whether the option was given; `name` is spelled as in the table. */
bool options_given(const struct options *o, const char *name);

#endif
