#include "quantize_options.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The row of the option with these first letters as its name, or -1. */
static int find(const char *name, size_t len) {
    for (int i = 0; quantize_options[i].name; i++) {
        const char *const names[] = {quantize_options[i].name, quantize_options[i].synonym};
        for (int k = 0; k < 2; k++) {
            if (strlen(names[k]) == len && memcmp(names[k], name, len) == 0) return i;
        }
    }
    return -1;
}

/* The TYPE, in capitals or not. */
static const struct mix *find_mix(const char *type) {
    for (int i = 0; quantize_types[i].name; i++) {
        if (strcasecmp(type, quantize_types[i].name) == 0) return mix_find(quantize_types[i].name);
    }
    return NULL;
}

static int parse_threads(const char *text, int *n_threads, struct error *err) {
    char *end = NULL;
    long n = text ? strtol(text, &end, 10) : 0;
    if (!text || end == text || *end != '\0' || n < 1 || n > 512) {
        return error_set(err, KQ_BAD_ARGUMENT,
                         "-t: expected a number of threads from 1 to 512, found %s",
                         text ? text : "nothing");
    }
    *n_threads = (int)n;
    return 0;
}

int quantize_parse(struct quantize_options *o, int argc, char **argv, struct error *err) {
    const char *type = "", **const places[] = {&o->in, &o->out, &type};
    int n = 0;
    *o = (struct quantize_options){0};
    for (int i = 1; i < argc; i++) {
        size_t len = strcspn(argv[i], "=");
        const char *value = argv[i][len] ? argv[i] + len + 1 : NULL;
        int option = argv[i][0] == '-' ? find(argv[i], len) : -1;
        if (value && option >= 0 && option != QUANTIZE_THREADS) {
            return error_set(err, KQ_BAD_ARGUMENT, "%.*s takes no value", (int)len, argv[i]);
        }
        if (option == QUANTIZE_HELP || option == QUANTIZE_VERSION) {
            o->help = option == QUANTIZE_HELP;
            o->version = option == QUANTIZE_VERSION;
            return 0;
        }
        if (option == QUANTIZE_THREADS) {
            if (parse_threads(value ? value : argv[++i], &o->n_threads, err) != 0) return -1;
        } else if (option == QUANTIZE_REQUANTIZE) {
            o->requantize = true;
        } else if (argv[i][0] == '-') {
            return error_set(err, KQ_BAD_ARGUMENT, "unknown option %s", argv[i]);
        } else if (n == 3) {
            return error_set(err, KQ_BAD_ARGUMENT,
                             "expected IN.gguf OUT.gguf TYPE, found one more: %s", argv[i]);
        } else {
            *places[n++] = argv[i];
        }
    }
    if (n < 3)
        return error_set(err, KQ_BAD_ARGUMENT, "expected IN.gguf OUT.gguf TYPE, found %d of them",
                         n);
    o->mix = find_mix(type);
    if (o->mix) return 0;
    return error_set(err, KQ_BAD_ARGUMENT, "TYPE: expected " MIX_NAMES ", found %s", type);
}
