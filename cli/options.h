/* The command line of run: one table of options, in option_table.c, of which the help is made, too;
 * and its parser, which prints nothing. What it leaves to the modes is what only they can judge: a
 * model's tokens and layers. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "../sampler.h"
#include "../simd/isa.h"

#define OPTIONS_MOST_TEXTS 32 // of a repeated option
#define OPTIONS_MOST_ROWS 96  // of the table

/* What an option that may be repeated was given. */
struct option_texts {
    const char *text[OPTIONS_MOST_TEXTS];
    size_t n;
};

/* What the program does: one of these at a time. */
enum mode {
    IN_TEXT = 1, // continues a prompt, as without any of the options that follow
    IN_CHAT = 2,
    IN_RENDER = 4,
    IN_TOKENS = 8,
    IN_INFO = 16,
    IN_PLAN = 32,
    IN_PERPLEXITY = 64,
    IN_BENCH = 128,
};

struct options {
    const char *model, *prompt, *prompt_file, *ids, *ids_file, *logits, *perplexity, *system;
    const char *chat_template, *render, *template_file, *date;
    enum think { THINK_AS_IT_LIKES, THINK_ON, THINK_OFF } think;
    int n_gen;     // -1: until the end
    int n_ctx;     // 0: the model's
    int n_threads; // 0: not given
    int n_batch, n_reps;
    int act; // 16 or 8; 0: float32
    struct sampler_params sampling;
    bool reference, verify, kv_f32, profile, json, quiet, allow_special, keep_newline;
    bool escapes, no_bos, no_special; // of the prompt
    bool ignore_eos, no_mmap;
    bool seeded; // a seed was given
    struct option_texts ignored_keys, stops;
    bool tokens, info, plan, bench, chat;   // modes
    bool help, help_all, version, families; // and nothing else
    const struct isa *isa;
    enum mode mode; // of the run, if a model was named
    // Private, of row i of the table: as it was typed, or NULL; likewise if it has no effect, and
    // then it is not among those given; whether another value came before.
    const char *given[OPTIONS_MOST_ROWS], *unused[OPTIONS_MOST_ROWS];
    bool repeated[OPTIONS_MOST_ROWS];
};

/* Most tokens, positions and so on that can be asked for. */
#define OPTIONS_MOST (1 << 30)

/* ---- the table ------------------------------------------------------------------------------- */

/* How an option reads its value. FLAG and IGNORED_FLAG have none, HELP and IGNORED_SWITCH one if
 * the next argument is one of theirs, all others take the next argument. */
enum option_kind {
    FLAG,           // bool: set
    HELP,           // bool: set; "all" sets the bool behind it, too
    TEXT,           // const char *: as it stands
    TEXTS,          // struct option_texts: one more, not empty
    MODEL,          // const char *: as an argument that is no option is
    COUNT,          // int from min to max
    NUMBER,         // float from min to max
    SEED,           // uint64_t; -1 is as if it were not given
    THREADS,        // int from 1 to max; -1 is as if it were not given
    KV,             // bool: whether it is f32
    ACT,            // int: bits of activations that become integers, 0 for 32
    ISA,            // const struct isa *
    THINK,          // enum think
    IGNORED,        // a value that is not looked at
    IGNORED_FLAG,   // nothing
    IGNORED_SWITCH, // nothing, or on, off, auto, 0 or 1
};

enum option_group {
    GROUP_PROMPT,
    GROUP_LENGTH,
    GROUP_SAMPLING,
    GROUP_SPEED,
    GROUP_ARITHMETIC,
    GROUP_OUTPUT,
    GROUP_CHAT,
    GROUP_MODES,
    GROUP_IGNORED, // llama.cpp's, taken so that its command lines work
    N_GROUPS,
};

struct option {
    const char *name;
    const char *synonyms; // other names with a blank between them, or ""
    const char *value;    // what stands for it in texts, "" if there is none
    const char *help;     // what it does, the default in brackets; of ignored options why
    enum option_group group;
    bool common;   // in the short help, too
    unsigned used; // the modes that it means something to, a sum of enum mode
    enum option_kind kind;
    size_t at; // the member of struct options that it sets
    double min, max;
    const char *expects; // what the value must be, in messages
};

/* Options of a group are neighbours. */
extern const struct option option_table[];
extern const size_t n_options;
extern const char *const option_groups[N_GROUPS]; // titles

/* ---- the command line ------------------------------------------------------------------------ */

/* Fills o with the defaults and what argv[1 .. argc - 1] say; the texts are argv's. Reading ends
 * with --help, --version or --families, which take effect even if a model was named or an error
 * would follow. Without any model o->model is NULL. 0, or -1 and err, a sentence about the wrong
 * argument. */
int options_parse(struct options *o, int argc, char **argv, struct error *err);

/* Note i, counted from 0, of options that were given to no effect: that have nothing to do with the
 * mode, which leaves them at their defaults and as if not given, or come again with another value.
 * False if there are no more of them. */
bool options_note(const struct options *o, size_t i, char *text, size_t room);

/* What is not as usual about products: "", or ", reference" and so on. */
const char *how_computed(const struct options *o);

/* Whether the prompt is token ids, not a text. */
bool prompt_is_ids(const struct options *o);

/* Whether the option was given, by whichever of its names. */
bool options_given(const struct options *o, const char *name);

/* Row i of the table as it was typed last, with its value if that stood behind "="; NULL if it was
 * not given. */
const char *options_typed(const struct options *o, size_t i);

/* ---- for option_use.c alone ------------------------------------------------------------------ */

size_t options_find(const char *name);     // the row with this name
size_t option_size(enum option_kind kind); // of the member that it sets; 0: none, or not ours
/* Sets the mode, and has nothing left that means nothing to it. -1 and err if options exclude each
 * other. */
int options_settle(struct options *o, const struct options *defaults, struct error *err);

#endif
