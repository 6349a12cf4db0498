#include "quantize_options.h"

#include <stdlib.h>
#include <string.h>

const char quantize_synopsis[] = "[options] IN.gguf OUT.gguf TYPE";

enum { THREADS, REQUANTIZE, VERSION, HELP };

const struct quantize_option quantize_options[] = {
    [THREADS] = {"-t", "--threads", "N", "threads (usable physical cores)"},
    [REQUANTIZE] =
        {"--allow-requantize", "", "",
         "reads quantized weights, too, of every type that can be computed with: what their "
         "first rounding took away is lost twice"},
    [VERSION] = {"--version", "", "", "this program's version, and how it was built"},
    [HELP] = {"--help", "-h", "", "this text"},
    {NULL, NULL, NULL, NULL},
};

const struct quantize_option quantize_types[] = {
    {"Q4_K_S", "", "", "about 4.6 bits per weight: Q4_K, and Q5_K for few layers"},
    {"Q4_K_M", "", "", "about 4.8: Q4_K, and Q6_K where it matters most"},
    {"Q5_K_S", "", "", "about 5.5: Q5_K, output in Q6_K"},
    {"Q5_K_M", "", "", "about 5.7: Q5_K, and Q6_K where it matters most"},
    {"Q6_K", "", "", "about 6.6"},
    {"Q8_0", "", "", "8.5"},
    {NULL, NULL, NULL, NULL},
};

const char quantize_notes[] =
    "Tensors of one dimension, norms and expert gates keep their type; rows that are no multiple "
    "of "
    "256 get Q5_0 for Q4_K, Q5_1 for Q5_K and Q8_0 for Q6_K. A weight that is NaN or infinite, or "
    "that its type cannot hold, is named and nothing is written.";

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
        if (option == HELP || option == VERSION) {
            o->help = option == HELP;
            o->version = option == VERSION;
            return 0;
        }
        if (option == THREADS) {
            if (parse_threads(argv[++i], &o->n_threads, err) != 0) return -1;
        } else if (option == REQUANTIZE) {
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
