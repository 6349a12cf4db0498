/* The atlas: what families/atlas.def says of each architecture against the plan of a golden model,
 * that of the architecture's own name or else the first in the alphabet.
 *
 *   test_atlas print   writes the file */
#include <dirent.h>
#include <stdarg.h>

#include "test.h"
#include "families/families.h"
#include "model.h"

#define MODELS "test/data/models/"

enum { N_TOKENS = 1000, MAX_SUMS = 16, HALF_BYTES = 2 };

struct found {
    char arch[64], file[256];
    char kinds[256], sees[256], remembers[256];
};

static void die(const char *what, const char *why) {
    printf("%s: %s\n", what, why);
    exit(1);
}

struct text {
    char *at;
    size_t size, used;
};

PRINTF_LIKE(2, 3) static void append(struct text *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    t->used += (size_t)vsnprintf(t->at + t->used, t->size - t->used, format, args);
    va_end(args);
    if (t->used >= t->size) die(t->at, "too long");
}

/* "8 back (3), all (1)": how many layers see how much. */
static void tell_sight(const struct memory_sum *sums, int n, int n_layer, struct text *t) {
    for (int i = 0; i < n; i++) {
        if (sums[i].state) continue;
        if (t->used) append(t, ", ");
        if (sums[i].window) {
            append(t, "%d back", sums[i].window);
        } else {
            append(t, "all");
        }
        if (sums[i].n_layers < n_layer) append(t, " (%d of %d)", sums[i].n_layers, n_layer);
    }
    if (!t->used) append(t, "-");
}

static void tell_memory(const struct memory_sum *sums, int n, struct text *t) {
    double slots = 0, states = 0;
    for (int i = 0; i < n; i++) {
        double bytes = memory_sum_bytes(&sums[i], N_TOKENS, HALF_BYTES);
        *(sums[i].state ? &states : &slots) += bytes;
    }
    if (slots > 0) append(t, "%.0f kB", slots / 1000);
    if (states > 0) append(t, "%s%.0f kB of states", slots > 0 ? " + " : "", states / 1000);
}

static void open_golden(const char *file, struct found *f) {
    struct error err = {0};
    struct gguf g;
    struct model m;
    struct memory_sum sums[MAX_SUMS];
    char path[512];
    snprintf(path, sizeof path, MODELS "%s", file);
    if (gguf_open(&g, path, &err) < 0 || model_open(&m, &g, NULL, &err) < 0) die(path, err.text);
    *f = (struct found){0};
    snprintf(f->arch, sizeof f->arch, "%s", m.arch);
    snprintf(f->file, sizeof f->file, "%s", file);
    plan_sketch(m.plan, f->kinds, sizeof f->kinds);
    int n = plan_memory_sums(m.plan, sums, MAX_SUMS);
    tell_sight(sums, n, m.n_layer, &(struct text){f->sees, sizeof f->sees, 0});
    tell_memory(sums, n, &(struct text){f->remembers, sizeof f->remembers, 0});
    model_close(&m);
    gguf_close(&g);
}

/* The example of an architecture. */
static bool is_better(const struct found *a, const struct found *b) {
    size_t n = strlen(a->arch);
    bool named = strncmp(a->file, a->arch, n) == 0 && strcmp(a->file + n, ".gguf") == 0;
    bool other = strncmp(b->file, b->arch, n) == 0 && strcmp(b->file + n, ".gguf") == 0;
    return named != other ? named : strcmp(a->file, b->file) < 0;
}

static struct found examples[256];
static size_t n_examples;

static void find_examples(void) {
    DIR *dir = opendir(MODELS);
    if (!dir) die(MODELS, "cannot be read");
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        char *ending = strrchr(e->d_name, '.');
        struct found f;
        size_t i = 0;
        if (!ending || strcmp(ending, ".gguf") != 0) continue;
        open_golden(e->d_name, &f);
        while (i < n_examples && strcmp(examples[i].arch, f.arch) != 0) i++;
        if (i == sizeof examples / sizeof examples[0]) die(MODELS, "too many architectures");
        if (i == n_examples || is_better(&f, &examples[i])) examples[i] = f;
        n_examples += i == n_examples;
    }
    closedir(dir);
}

static const struct found *example_of(const char *arch) {
    for (size_t i = 0; i < n_examples; i++) {
        if (strcmp(examples[i].arch, arch) == 0) return &examples[i];
    }
    return NULL;
}

static void print(void) {
    printf("/* Written by `make atlas`: see struct sketch. */\n");
    for (size_t i = 0; families[i].arch; i++) {
        const struct found *f = example_of(families[i].arch);
        if (!f) die(families[i].arch, "no model in " MODELS);
        printf("SKETCH(\"%s\", \"%s\", \"%s\", \"%s\")\n", f->arch, f->kinds, f->sees,
               f->remembers);
    }
}

static void test_sketches(void) {
    size_t n = 0;
    for (size_t i = 0; families[i].arch; i++, n++) {
        const struct sketch *s = &sketches[i];
        const struct found *f = example_of(families[i].arch);
        CHECK(f, "no model of %s in " MODELS, families[i].arch);
        CHECK(s->arch && strcmp(s->arch, families[i].arch) == 0, "%s: not in atlas.def",
              families[i].arch);
        if (!s->arch) return;
        CHECK(f && strcmp(s->kinds, f->kinds) == 0, "%s: atlas.def says \"%s\", the plan \"%s\"",
              s->arch, s->kinds, f ? f->kinds : "");
        CHECK(f && strcmp(s->sees, f->sees) == 0, "%s: atlas.def says \"%s\", the plan \"%s\"",
              s->arch, s->sees, f ? f->sees : "");
        CHECK(f && strcmp(s->remembers, f->remembers) == 0, "%s: atlas.def has \"%s\", not \"%s\"",
              s->arch, s->remembers, f ? f->remembers : "");
        CHECK(families[i].models[0] && !strchr(families[i].models, '|'), "%s", s->arch);
    }
    CHECK(!sketches[n].arch, "atlas.def has %s, which is no family", sketches[n].arch);
}

int main(int argc, char **argv) {
    find_examples();
    if (argc == 2 && strcmp(argv[1], "print") == 0) {
        print();
        return 0;
    }
    test_sketches();
    return test_done("test_atlas");
}
