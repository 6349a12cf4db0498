/* Options beside each other: which exclude each other, and which have no effect. */
#include <stdio.h>
#include <string.h>

#include "options.h"

/* The options that say what the program does. */
static const struct {
    enum mode mode;
    const char *name;
} modes[] = {
    {IN_RENDER, "--render"}, {IN_PERPLEXITY, "--perplexity"},
    {IN_TOKENS, "--tokens"}, {IN_INFO, "--info"},
    {IN_PLAN, "--plan"},     {IN_BENCH, "--bench"},
    {IN_CHAT, "--chat"},
};
#define N_MODES (sizeof modes / sizeof modes[0])

/* Sets o->mode; -1 if there are two of them. --render --tokens is one. */
static int find_mode(struct options *o, struct error *err) {
    const char *first = NULL;
    o->mode = IN_TEXT;
    for (size_t i = 0; i < N_MODES; i++) {
        if (!options_given(o, modes[i].name)) continue;
        if (!first) {
            first = modes[i].name;
            o->mode = modes[i].mode;
        } else if (o->mode != IN_RENDER || modes[i].mode != IN_TOKENS) {
            return error_set(err, KQ_BAD_ARGUMENT, "%s and %s exclude each other", first,
                             modes[i].name);
        }
    }
    return 0;
}

/* What can be done to one thing only, and would be done to the last. */
static int check_repeated(const struct options *o, struct error *err) {
    static const char *const once[] = {"-p",         "-f",       "--ids",
                                       "--ids-file", "--render", "--perplexity"};
    for (size_t i = 0; i < sizeof once / sizeof once[0]; i++) {
        if (o->repeated[options_find(once[i])]) {
            return error_set(err, KQ_BAD_ARGUMENT, "%s was given twice", once[i]);
        }
    }
    return 0;
}

static int check_together(const struct options *o, struct error *err) {
    bool file = o->prompt_file != NULL, ids_file = o->ids_file != NULL;
    if ((o->prompt != NULL) + file + (o->ids != NULL) + ids_file > 1) {
        return error_set(err, KQ_BAD_ARGUMENT, "-p, -f and --ids exclude each other");
    }
    if (o->reference && o->verify) {
        return error_set(err, KQ_BAD_ARGUMENT, "--verify runs --reference by itself");
    }
    if (o->reference && o->act) {
        return error_set(err, KQ_BAD_ARGUMENT,
                         "--reference computes with float32 activations: not with --act %d",
                         o->act);
    }
    return 0;
}

/* ---- what has no effect ---------------------------------------------------------------------- */

static bool is_one_of(const char *name, const char *const *names, size_t n) {
    size_t i = 0;
    while (i < n && strcmp(name, names[i]) != 0) i++;
    return i < n;
}
#define IS_ONE_OF(name, names) is_one_of(name, names, sizeof(names) / sizeof(names)[0])

static bool penalizes(const struct sampler_params *p) {
    return p->repeat_penalty < 1 || p->repeat_penalty > 1 || p->presence_penalty < 0 ||
           p->presence_penalty > 0 || p->frequency_penalty < 0 || p->frequency_penalty > 0;
}

/* Why the option means nothing although its mode is right: the end of a sentence, or NULL. */
static const char *why_idle(const struct options *o, const char *name) {
    static const char *const chosen[] = {"-s", "--top-k", "--top-p", "--min-p"};
    static const char *const of_texts[] = {"--no-bos", "--no-special", "--keep-newline"};
    bool cold = !(o->sampling.temp > 0), asked = options_given(o, "--temp");
    if (IS_ONE_OF(name, of_texts) && prompt_is_ids(o)) return "with ids";
    if (strcmp(name, "--keep-newline") == 0 && o->prompt) return "with -p";
    if (strcmp(name, "-e") == 0 && !o->prompt && !o->system && o->stops.n == 0) {
        return "without -p, --system or --stop";
    }
    if (strcmp(name, "--repeat-last-n") == 0 && o->mode == IN_TEXT && !penalizes(&o->sampling)) {
        return "without a penalty";
    }
    if (!IS_ONE_OF(name, chosen) || !cold || (o->mode == IN_CHAT && !asked)) return NULL;
    return asked ? "with --temp 0: the likeliest token is taken"
                 : "without --temp: the likeliest token is taken";
}

static void drop_unused(struct options *o, const struct options *defaults) {
    const struct options all = *o;
    if (o->chat_template && strcmp(o->chat_template, "list") == 0) return; // whatever the mode
    for (size_t i = 0; i < n_options; i++) {
        const struct option *option = &option_table[i];
        if (!all.given[i]) continue;
        if ((option->used & o->mode) && !why_idle(&all, option->name)) continue;
        memcpy((char *)o + option->at, (const char *)defaults + option->at,
               option_size(option->kind));
        o->unused[i] = all.given[i];
        o->given[i] = NULL;
        o->repeated[i] = false;
    }
}

int options_settle(struct options *o, const struct options *defaults, struct error *err) {
    if (check_together(o, err) < 0 || check_repeated(o, err) < 0 || find_mode(o, err) < 0) {
        return -1;
    }
    drop_unused(o, defaults);
    return 0;
}

/* ---- what is said of it ---------------------------------------------------------------------- */

/* Appends to text, as far as there is room. */
static void append(char *text, size_t room, const char *more) {
    size_t n = strlen(text);
    snprintf(text + n, room - n, "%s", more);
}

/* Where the option would be used, or with what it is not. */
static void add_reason(const struct options *o, const struct option *option, char *text,
                       size_t room) {
    const char *before = " without ";
    if (option->used & o->mode) {
        append(text, room, " ");
        append(text, room, why_idle(o, option->name));
        return;
    }
    for (size_t i = 0; i < N_MODES; i++) {
        if (o->mode == IN_TEXT && !(option->used & modes[i].mode)) continue;
        if (o->mode != IN_TEXT && modes[i].mode != o->mode) continue;
        append(text, room, o->mode == IN_TEXT ? before : " with ");
        append(text, room, modes[i].name);
        before = " or ";
    }
}

bool options_note(const struct options *o, size_t i, char *text, size_t room) {
    for (size_t k = 0; k < n_options; k++) {
        const char *typed = o->unused[k] ? o->unused[k] : o->repeated[k] ? o->given[k] : NULL;
        if (!typed || i-- > 0) continue;
        snprintf(text, room, "%.*s", (int)strcspn(typed, "="), typed);
        if (o->unused[k]) {
            append(text, room, " is not used");
            add_reason(o, &option_table[k], text, room);
        } else {
            append(text, room, " was given more than once: the last one counts");
        }
        return true;
    }
    return false;
}
