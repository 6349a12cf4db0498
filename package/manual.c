/* usage: manual TEMPLATE >FILE
 * Writes man pages and completions from the tables of options: copies the template, in which lines
 * like @RUN_MAN@ stand for what a table says. Runs on the machine that builds. */
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../cli/options.h"
#include "../cli/quantize_options.h"

/* ---- what an option's value is --------------------------------------------------------------- */

/* What can be offered for a value. */
struct values {
    char words[120];                   // with blanks between them
    bool any_file, model, is_optional; // is_optional: the option goes without it, too
};

static struct values values_of(const struct option *option) {
    struct values v = {.any_file = strcmp(option->value, "FILE") == 0 && option->kind != MODEL,
                       .model = option->kind == MODEL,
                       .is_optional = option->value[0] == '['};
    if (option->kind == ISA) {
        strcpy(v.words, "auto portable avx2 avx512 avx512vnni neon neon-dotprod neon-i8mm");
        return v;
    }
    for (const char *p = option->value; *p; p++) {
        if (isupper((unsigned char)*p) || *p == '"') return v; // only a name for what it is
    }
    char *to = v.words;
    for (const char *p = option->value; *p && to < v.words + sizeof v.words - 1; p++) {
        if (*p != '[' && *p != ']') *to++ = *p == '|' ? ' ' : *p;
    }
    *to = '\0';
    return v;
}

/* Calls fn with each name of an option: the first one, then the synonyms. */
static void each_name(const char *name, const char *synonyms,
                      void (*fn)(const char *name, size_t i, bool takes_value), bool takes_value) {
    char rest[200];
    size_t i = 0;
    fn(name, i++, takes_value);
    snprintf(rest, sizeof rest, "%s", synonyms);
    for (char *p = strtok(rest, " "); p; p = strtok(NULL, " ")) fn(p, i++, takes_value);
}

/* ---- man pages ------------------------------------------------------------------------------- */

/* Text as roff has it: a hyphen that can be copied, a backslash, no request in a line's beginning.
 */
static void put_roff(const char *text) {
    for (bool begins = true; *text; text++, begins = false) {
        if (begins && (*text == '.' || *text == '\'')) fputs("\\&", stdout);
        if (*text == '-') {
            fputs("\\-", stdout);
        } else if (*text == '\\') {
            fputs("\\e", stdout);
        } else {
            putchar(*text);
        }
    }
}

static void put_man_name(const char *name, size_t i, bool takes_value) {
    (void)takes_value;
    fputs(i ? ", \\fB" : "\\fB", stdout);
    put_roff(name);
    fputs("\\fR", stdout);
}

static void put_man_row(const char *name, const char *synonyms, const char *value,
                        const char *help) {
    puts(".TP");
    each_name(name, synonyms, put_man_name, *value);
    if (*value) {
        fputs(" \\fI", stdout);
        put_roff(value);
        fputs("\\fR", stdout);
    }
    putchar('\n');
    put_roff(help);
    putchar('\n');
}

static void put_run_man(void) {
    for (size_t i = 0; i < n_options; i++) {
        const struct option *o = &option_table[i];
        if (i == 0 || o->group != o[-1].group) {
            fputs(".SS ", stdout);
            put_roff(option_groups[o->group]);
            putchar('\n');
        }
        put_man_row(o->name, o->synonyms, o->value, o->help);
    }
}

static void put_quantize_rows(const struct quantize_option *rows) {
    for (; rows->name; rows++) put_man_row(rows->name, rows->synonym, rows->value, rows->help);
}

static void put_quantize_types(void) {
    put_quantize_rows(quantize_types);
}

static void put_quantize_man(void) {
    put_quantize_rows(quantize_options);
}

static void put_quantize_notes(void) {
    put_roff(quantize_notes);
    putchar('\n');
}

/* ---- bash ------------------------------------------------------------------------------------ */

static void put_pattern(const char *name, size_t i, bool takes_value) {
    (void)takes_value;
    printf("%s%s", i ? " | " : "    ", name);
}

static void put_word(const char *name, size_t i, bool takes_value) {
    (void)i;
    (void)takes_value;
    printf(" %s", name);
}

/* Arms of a case: what comes after an option that takes a value. */
static void put_run_bash_values(void) {
    for (size_t i = 0; i < n_options; i++) {
        const struct option *o = &option_table[i];
        if (!*o->value) continue;
        struct values v = values_of(o);
        each_name(o->name, o->synonyms, put_pattern, true);
        printf(") value=%s words='%s' files=%s ;;\n", v.is_optional ? "optional" : "required",
               v.words,
               v.model      ? "gguf"
               : v.any_file ? "any"
                            : "none");
    }
}

static void put_run_bash_options(void) {
    fputs("    options='", stdout);
    for (size_t i = 0; i < n_options; i++) {
        each_name(option_table[i].name, option_table[i].synonyms, put_word, false);
    }
    puts("'");
}

static void put_quantize_bash(void) {
    fputs("    options='", stdout);
    for (const struct quantize_option *o = quantize_options; o->name; o++) {
        each_name(o->name, o->synonym, put_word, false);
    }
    fputs("'\n    types='", stdout);
    for (const struct quantize_option *o = quantize_types; o->name; o++) printf(" %s", o->name);
    puts("'");
}

/* ---- zsh ------------------------------------------------------------------------------------- */

/* Text in single quotes, without what _arguments would read. */
static void put_zsh(const char *text) {
    for (; *text; text++) {
        if (*text == '\'') {
            fputs("'\\''", stdout);
        } else {
            if (strchr("[]:\\", *text)) putchar('\\');
            putchar(*text);
        }
    }
}

static void put_zsh_name(const char *name, size_t i, bool takes_value) {
    printf("%s%s%s", i ? "," : "", name, takes_value && name[1] == '-' ? "=" : "");
}

/* The names exclude each other, unless the option may be repeated. */
static void put_zsh_names(const char *name, const char *synonyms, bool takes_value, bool repeats) {
    if (repeats) {
        fputs("  '*'", stdout);
    } else {
        printf("  '(%s%s%s)'", name, *synonyms ? " " : "", synonyms);
    }
    if (*synonyms) putchar('{');
    each_name(name, synonyms, put_zsh_name, takes_value);
    if (*synonyms) putchar('}');
}

static void put_run_zsh(void) {
    for (size_t i = 0; i < n_options; i++) {
        const struct option *o = &option_table[i];
        struct values v = values_of(o);
        put_zsh_names(o->name, o->synonyms, *o->value && !v.is_optional, o->kind == TEXTS);
        fputs("'[", stdout);
        put_zsh(o->help);
        putchar(']');
        if (*o->value) {
            fputs(v.is_optional ? "::" : ":", stdout);
            put_zsh(o->value);
            putchar(':');
            if (*v.words) printf("(%s)", v.words);
            if (v.any_file) fputs("_files", stdout);
            if (v.model) fputs("_files -g \"*.gguf\"", stdout);
        }
        puts("' \\");
    }
}

static void put_quantize_zsh(void) {
    for (const struct quantize_option *o = quantize_options; o->name; o++) {
        put_zsh_names(o->name, o->synonym, *o->value, false);
        fputs("'[", stdout);
        put_zsh(o->help);
        putchar(']');
        if (*o->value) printf(":%s:", o->value);
        puts("' \\");
    }
    fputs("  ':input:_files -g \"*.gguf\"' ':output:_files -g \"*.gguf\"' ':type:(", stdout);
    for (const struct quantize_option *o = quantize_types; o->name; o++) {
        printf("%s%s", o == quantize_types ? "" : " ", o->name);
    }
    puts(")'");
}

/* ---- templates ------------------------------------------------------------------------------- */

static const struct part {
    const char *name;
    void (*put)(void);
} parts[] = {
    {"@RUN_MAN@\n", put_run_man},
    {"@RUN_BASH_VALUES@\n", put_run_bash_values},
    {"@RUN_BASH_OPTIONS@\n", put_run_bash_options},
    {"@RUN_ZSH@\n", put_run_zsh},
    {"@QUANTIZE_TYPES@\n", put_quantize_types},
    {"@QUANTIZE_MAN@\n", put_quantize_man},
    {"@QUANTIZE_NOTES@\n", put_quantize_notes},
    {"@QUANTIZE_BASH@\n", put_quantize_bash},
    {"@QUANTIZE_ZSH@\n", put_quantize_zsh},
};

static void put_line(const char *line) {
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (strcmp(line, parts[i].name) == 0) {
            parts[i].put();
            return;
        }
    }
    fputs(line, stdout);
}

int main(int argc, char **argv) {
    char line[500];
    FILE *f = argc == 2 ? fopen(argv[1], "r") : NULL;
    if (!f) {
        fputs("usage: manual TEMPLATE\n", stderr);
        return 2;
    }
    while (fgets(line, sizeof line, f)) put_line(line);
    fclose(f);
    return fflush(stdout) == 0 ? 0 : 1;
}
