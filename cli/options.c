#include "options.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ----------------------------------------------------------------------------------- */

/* Calls `visit` with every name of the option until it returns true; whether it did. */
static bool any_name(const struct option *option,
                     bool (*visit)(void *to, const char *name, size_t len), void *to) {
    if (visit(to, option->name, strlen(option->name))) return true;
    for (const char *p = option->synonyms; *p; p += strspn(p, " ")) {
        size_t len = strcspn(p, " ");
        if (visit(to, p, len)) return true;
        p += len;
    }
    return false;
}

struct wanted {
    const char *name;
    size_t len;
};

static bool is_wanted(void *to, const char *name, size_t len) {
    const struct wanted *w = to;
    return w->len == len && memcmp(w->name, name, len) == 0;
}

static const struct option *find_option(const char *name, size_t len) {
    struct wanted wanted = {name, len};
    for (size_t i = 0; i < n_options; i++) {
        if (any_name(&option_table[i], is_wanted, &wanted)) return &option_table[i];
    }
    return NULL;
}

enum { LONGEST_NAME = 40 }; // of those that are compared

/* How many letters have to be put in, left out, replaced or swapped with their neighbour to make b
 * of a (Damerau's distance, optimal string alignment). */
static size_t distance(const char *a, size_t n_a, const char *b, size_t n_b) {
    size_t d[LONGEST_NAME + 1][LONGEST_NAME + 1];
    for (size_t i = 0; i <= n_a; i++) d[i][0] = i;
    for (size_t k = 0; k <= n_b; k++) d[0][k] = k;
    for (size_t i = 1; i <= n_a; i++) {
        for (size_t k = 1; k <= n_b; k++) {
            size_t least = d[i - 1][k - 1] + (a[i - 1] != b[k - 1]);
            if (d[i - 1][k] + 1 < least) least = d[i - 1][k] + 1;
            if (d[i][k - 1] + 1 < least) least = d[i][k - 1] + 1;
            bool swapped = i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1];
            if (swapped && d[i - 2][k - 2] + 1 < least) least = d[i - 2][k - 2] + 1;
            d[i][k] = least;
        }
    }
    return d[n_a][n_b];
}

/* A name without the dashes before it, in small letters, with - for _. */
struct plain {
    char text[LONGEST_NAME];
    size_t len;
};

static struct plain plain_name(const char *name, size_t len) {
    struct plain p = {.len = 0};
    size_t i = 0;
    while (i < len && name[i] == '-') i++;
    for (; i < len && p.len < LONGEST_NAME; i++) {
        char c = name[i];
        p.text[p.len++] = c == '_' ? '-' : c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    return p;
}

struct nearest {
    struct plain typed;
    const char *name;
    size_t len, distance; // of the nearest so far
};

static bool is_nearer(void *to, const char *name, size_t len) {
    struct nearest *n = to;
    struct plain p = plain_name(name, len);
    size_t d = distance(n->typed.text, n->typed.len, p.text, p.len);
    bool begins = n->typed.len >= 3 && p.len > n->typed.len &&
                  memcmp(p.text, n->typed.text, n->typed.len) == 0;
    if (begins && d > 1) d = 1;
    if (d < n->distance) *n = (struct nearest){n->typed, name, len, d};
    return false;
}

/* The option that somebody may have meant, if one of four letters is wrong at most: a message's end
 * in `text`. */
static void suggest(const char *name, size_t len, char *text, size_t room) {
    struct nearest n = {.typed = plain_name(name, len)};
    n.distance = n.typed.len / 4 + 1 + (n.typed.len > 2);
    if (n.typed.len < 3) n.distance = 1;
    for (size_t i = 0; i < n_options; i++) any_name(&option_table[i], is_nearer, &n);
    *text = '\0';
    if (n.name) snprintf(text, room, ": did you mean %.*s?", (int)n.len, n.name);
}

const char *how_computed(const struct options *o) {
    return o->reference ? ", reference" : o->act == 16 ? ", --act 16" : o->act ? ", --act 8" : "";
}

bool prompt_is_ids(const struct options *o) {
    return o->ids || o->ids_file;
}

size_t options_find(const char *name) {
    const struct option *option = find_option(name, strlen(name));
    assert(option);
    return (size_t)(option - option_table);
}

bool options_given(const struct options *o, const char *name) {
    return o->given[options_find(name)] != NULL;
}

const char *options_typed(const struct options *o, size_t i) {
    return o->given[i];
}

/* ---- values ---------------------------------------------------------------------------------- */

/* A whole number in min..max, and nothing after it. */
static bool parse_long(const char *text, long long min, long long max, long long *value) {
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    return end != text && *end == '\0' && errno == 0 && *value >= min && *value <= max;
}

static bool parse_float(const char *text, double min, double max, float *value) {
    char *end;
    *value = strtof(text, &end);
    return end != text && *end == '\0' && (double)*value >= min && (double)*value <= max;
}

size_t option_size(enum option_kind kind) {
    switch (kind) {
    case FLAG:
    case KV:
        return sizeof(bool);
    case TEXT:
    case ISA:
        return sizeof(void *);
    case TEXTS:
        return sizeof(struct option_texts);
    case COUNT:
    case THREADS:
    case ACT:
        return sizeof(int);
    case NUMBER:
        return sizeof(float);
    case SEED:
        return sizeof(uint64_t);
    case THINK:
        return sizeof(enum think);
    case HELP:
    case MODEL:
    case IGNORED:
    case IGNORED_FLAG:
    case IGNORED_SWITCH:
        break;
    }
    return 0;
}

/* False if the value is not what the option expects. */
static bool set_option(struct options *o, const struct option *option, const char *value) {
    void *to = (char *)o + option->at;
    long long n = 0;
    switch (option->kind) {
    case FLAG:
        return *(bool *)to = true;
    case TEXT:
        *(const char **)to = value;
        return true;
    case TEXTS: {
        struct option_texts *texts = to;
        if (texts->n == OPTIONS_MOST_TEXTS || !*value) return false;
        texts->text[texts->n++] = value;
        return true;
    }
    case COUNT:
        if (!parse_long(value, (long long)option->min, (long long)option->max, &n)) return false;
        *(int *)to = (int)n;
        return true;
    case NUMBER:
        return parse_float(value, option->min, option->max, to);
    case SEED:
        if (!parse_long(value, -1, INT64_MAX, &n)) return false;
        *(uint64_t *)to = n < 0 ? 0 : (uint64_t)n;
        o->seeded = n >= 0;
        return true;
    case THREADS:
        if (!parse_long(value, -1, (long long)option->max, &n) || n == 0) return false;
        *(int *)to = n < 0 ? 0 : (int)n;
        return true;
    case KV:
        *(bool *)to = strcmp(value, "f32") == 0;
        return *(bool *)to || strcmp(value, "f16") == 0;
    case THINK:
        *(enum think *)to = strcmp(value, "on") == 0 ? THINK_ON : THINK_OFF;
        return strcmp(value, "on") == 0 || strcmp(value, "off") == 0;
    case ACT:
        *(int *)to = strcmp(value, "16") == 0 ? 16 : strcmp(value, "8") == 0 ? 8 : 0;
        return *(int *)to || strcmp(value, "32") == 0;
    case ISA: {
        const struct isa *isa = strcmp(value, "auto") == 0 ? isa_best() : isa_find(value);
        *(const struct isa **)to = isa;
        return isa && isa->usable();
    }
    case HELP:
        ((bool *)to)[0] = true;
        ((bool *)to)[1] = strcmp(value, "all") == 0;
        return *value == '\0' || ((bool *)to)[1];
    case MODEL:
    case IGNORED:
    case IGNORED_FLAG:
    case IGNORED_SWITCH:
        return true;
    }
    return false;
}

/* ---- the command line ------------------------------------------------------------------------ */

static int take_model(struct options *o, const char *name, struct error *err) {
    if (o->model) {
        return error_set(err, KQ_BAD_ARGUMENT,
                         "one model at a time: \"%s\" or \"%s\"? (see --help)", o->model, name);
    }
    o->model = name;
    return 0;
}

/* What does not begin with a dash names the model; a dash alone is the prompt on standard input. */
static int take_other(struct options *o, const char *name, struct error *err) {
    if (strcmp(name, "-") == 0) {
        size_t file = options_find("-f");
        o->repeated[file] = o->given[file] != NULL;
        o->given[file] = name;
        o->prompt_file = name;
        return 0;
    }
    if (name[0] == '-') {
        char meant[80];
        size_t len = strcspn(name, "=");
        suggest(name, len, meant, sizeof meant);
        return error_set(err, KQ_BAD_ARGUMENT, "%.*s is not an option%s (see --help)", (int)len,
                         name, meant);
    }
    return take_model(o, name, err);
}

/* Whether the value of an option that may stand alone is one of its own. */
static bool is_own_value(enum option_kind kind, const char *value) {
    static const char *const switches[] = {"on", "off", "auto", "0", "1"};
    if (kind == HELP) return strcmp(value, "all") == 0;
    for (size_t i = 0; kind == IGNORED_SWITCH && i < sizeof switches / sizeof *switches; i++) {
        if (strcmp(value, switches[i]) == 0) return true;
    }
    return false;
}

static bool needs_value(enum option_kind kind) {
    return kind != FLAG && kind != HELP && kind != IGNORED_FLAG && kind != IGNORED_SWITCH;
}

/* Of a text nobody knows whether it is the same again. */
static void note_given(struct options *o, const struct options *before, const struct option *option,
                       const char *name) {
    size_t i = (size_t)(option - option_table), size = option_size(option->kind);
    const char *is = (const char *)o + option->at, *was = (const char *)before + option->at;
    bool other = option->kind == TEXT || memcmp(is, was, size) != 0;
    if (o->given[i] && other && option->kind != TEXTS) o->repeated[i] = true;
    o->given[i] = name;
}

/* Takes argv[*i], with its value, if it is an option; *i is the last argument that was taken. */
static int take_argument(struct options *o, int argc, char **argv, int *i, struct error *err) {
    const char *name = argv[*i], *value = NULL;
    size_t len = strlen(name), before = strcspn(name, "=");
    const struct option *option = find_option(name, len);
    if (!option && before < len && (option = find_option(name, before)) != NULL) {
        value = name + before + 1;
        len = before;
    }
    if (!option) return take_other(o, name, err);
    enum option_kind kind = option->kind;
    if (value && (kind == FLAG || kind == IGNORED_FLAG)) {
        return error_set(err, KQ_BAD_ARGUMENT, "%.*s takes no value (see --help)", (int)len, name);
    }
    if (!value && *i + 1 < argc && (needs_value(kind) || is_own_value(kind, argv[*i + 1]))) {
        value = argv[++*i];
    }
    if (!value && needs_value(kind)) {
        return error_set(err, KQ_BAD_ARGUMENT, "%.*s needs a value (see --help)", (int)len, name);
    }
    if (kind == MODEL && take_model(o, value, err) < 0) return -1;
    const struct options before_it = *o;
    if (!set_option(o, option, value ? value : "")) {
        return error_set(err, KQ_BAD_ARGUMENT, "%.*s: expected %s, found \"%s\"", (int)len, name,
                         option->expects, value ? value : "");
    }
    note_given(o, &before_it, option, name);
    return 0;
}

int options_parse(struct options *o, int argc, char **argv, struct error *err) {
    *o = (struct options){.n_gen = 128, .n_batch = 256, .n_reps = 5, .isa = isa_best()};
    o->sampling = (struct sampler_params){.repeat_penalty = 1, .repeat_last_n = 64, .top_p = 1};
    const struct options defaults = *o;
    for (int i = 1; i < argc && !o->help && !o->version && !o->families; i++) {
        if (take_argument(o, argc, argv, &i, err) < 0) return -1;
    }
    if (o->help || o->version || o->families || !o->model) return 0;
    return options_settle(o, &defaults, err);
}
