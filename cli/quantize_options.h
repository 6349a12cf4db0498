/* The command line of quantize: a table of its options, of which usage, man page and completions
 * are made, too, and the parser, which prints nothing. */
#ifndef QUANTIZE_OPTIONS_H
#define QUANTIZE_OPTIONS_H

#include "../mix.h"

struct quantize_options {
    const char *in, *out;
    const struct mix *mix;
    int n_threads; // 0: not given
    bool requantize;
    bool help, version; // and nothing else
};

/* An option; or, in quantize_types, a value that TYPE may have. */
struct quantize_option {
    const char *name;
    const char *synonym; // "" if there is none
    const char *value;   // what stands for it in texts, "" if there is none
    const char *help;    // lines
};

enum {
    QUANTIZE_THREADS,
    QUANTIZE_REQUANTIZE,
    QUANTIZE_VERSION,
    QUANTIZE_HELP
}; // rows of the table

/* Both end with a row without a name. */
extern const struct quantize_option quantize_options[], quantize_types[];

extern const char quantize_synopsis[]; // what follows the program's name
extern const char quantize_notes[];    // two sentences on what becomes of tensors

/* Fills o with what argv[1 .. argc - 1] say; the texts are argv's. Reading ends with --help or
 * --version. 0, or -1 and err, a sentence about the wrong argument. */
int quantize_parse(struct quantize_options *o, int argc, char **argv, struct error *err);

#endif
