#include "version.h"

#include <stdio.h>

#include "../kq.h"
#include "../simd/isa.h"
#include "print.h"

// make includes a file that says these; a plain cc knows neither.
#ifndef BUILD_INFO
static const char build_commit[] = "unknown", build_flags[] = "unknown";
#endif

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "unknown"
#endif

void print_version(void) {
    char sets[200] = "";
    size_t n = 0;
    for (int i = 0; isa_all[i]; i++) {
        const char *how = isa_all[i] == isa_best() ? " (used here)"
                          : isa_all[i]->usable()   ? ""
                                                   : " (not of this processor)";
        n += (size_t)snprintf(sets + n, sizeof sets - n, "%s%s%s", i ? ", " : "", isa_all[i]->name,
                              how);
    }
    printf("kq.c " KQ_VERSION "\ncommit     %s\ncompiler   ", build_commit);
    put_words(stdout, 11, 11, COMPILER);
    printf("flags      ");
    put_words(stdout, 11, 11, build_flags);
    printf("isa        ");
    put_words(stdout, 11, 11, sets);
}
