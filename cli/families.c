/* --families: the models that run, as the table that README has. */
#include <string.h>

#include "../families/families.h"
#include "modes.h"

enum { COLUMNS = 5 };

struct table_line {
    const char *cell[COLUMNS];
};

static struct table_line line_of(size_t i) {
    const struct sketch *s = &sketches[i];
    return (struct table_line){
        {families[i].arch, families[i].models, s->kinds, s->sees, s->remembers}};
}

static void put_line(const struct table_line *l, const size_t *widths) {
    for (int c = 0; c < COLUMNS; c++) printf("| %-*s ", (int)widths[c], l->cell[c]);
    printf("|\n");
}

int print_families(void) {
    const struct table_line head = {
        {"architecture", "models", "kinds of step", "looks back on", "1,000 tokens"}};
    size_t widths[COLUMNS];
    for (int c = 0; c < COLUMNS; c++) {
        widths[c] = strlen(head.cell[c]);
        for (size_t i = 0; families[i].arch; i++) {
            size_t n = strlen(line_of(i).cell[c]);
            if (n > widths[c]) widths[c] = n;
        }
    }
    put_line(&head, widths);
    for (int c = 0; c < COLUMNS; c++) printf("|---");
    printf("|\n");
    for (size_t i = 0; families[i].arch; i++) {
        struct table_line l = line_of(i);
        put_line(&l, widths);
    }
    return flush();
}
