#include "error.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "utf8.h"

int error_format(struct error *err, enum kq_status status, const char *format, ...) {
    if (!err) return -1;
    err->status = status;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    // A file's text may be anything; a terminal is to obey none of it, and to show all of it.
    for (char *c = err->text; *c;) {
        unsigned char first = (unsigned char)*c, second = (unsigned char)c[1];
        size_t n = utf8_length(c, strlen(c));
        bool control = first < 0x20 || first == 0x7f || (first == 0xc2 && second < 0xa0);
        if (n == 0 || control) memset(c, '?', n ? n : 1);
        c += n ? n : 1;
    }
    return -1;
}
