#include "quantize_options.h"

#include <stdlib.h>
#include <string.h>

/* The row of the option, or -1. */
static int find(const char *name) {
    for (int i = 0; quantize_options[i].name; i++) {
        const struct quantize_option *option = &quantize_options[i];
        if (strcmp(name, option->name) == 0 || strcmp(name, option->synonym) == 0) return i;
    }
    return -1;
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
        int option = argv[i][0] == '-' ? find(argv[i]) : -1;
        if (option == QUANTIZE_HELP || option == QUANTIZE_VERSION) {
            o->help = option == QUANTIZE_HELP;
            o->version = option == QUANTIZE_VERSION;
            return 0;
        }
        if (option == QUANTIZE_THREADS) {
            if (parse_threads(argv[++i], &o->n_threads, err) != 0) return -1;
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
    o->mix = mix_find(type);
    if (o->mix) return 0;
    return error_set(err, KQ_BAD_ARGUMENT, "TYPE: expected " MIX_NAMES ", found %s", type);
}
