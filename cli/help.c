#include "help.h"

#include <stdio.h>
#include <string.h>

#include "print.h"

enum { TEXT_COLUMN = 22 };

static void put_option(FILE *to, const struct option *option, bool all) {
    int at = fprintf(to, "  %s%s%s", option->name, *option->value ? " " : "", option->value);
    if (at >= TEXT_COLUMN) {
        fprintf(to, "\n");
        at = 0;
    }
    fprintf(to, "%*s", TEXT_COLUMN - at, "");
    char text[400];
    bool also = all && *option->synonyms;
    snprintf(text, sizeof text, "%s%s%s", option->help, also ? "; also " : "",
             also ? option->synonyms : "");
    put_words(to, TEXT_COLUMN, TEXT_COLUMN, text);
}

void print_help(FILE *to, bool all) {
    enum option_group group = N_GROUPS;
    fprintf(to, "usage: %s MODEL.gguf [options]%s\n", program_name(),
            all ? "" : " (--help all tells the rest)\n");
    for (size_t i = 0; i < n_options; i++) {
        const struct option *option = &option_table[i];
        if (!all && !option->common) continue;
        if (all && option->group != group) fprintf(to, "\n%s\n", option_groups[option->group]);
        group = option->group;
        put_option(to, option, all);
    }
    if (all) {
        fputs("\nText goes to standard output, everything else to standard error. Exit status: 0\n"
              "done, 1 the run failed, 2 wrong usage.\n",
              to);
    }
}

void say_ignored(const struct options *o) {
    for (size_t i = 0; i < n_options; i++) {
        const char *typed = options_typed(o, i);
        if (!typed || option_table[i].group != GROUP_IGNORED) continue;
        say("%s is ignored: %s", typed, option_table[i].help);
    }
}
