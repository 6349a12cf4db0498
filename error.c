#include "error.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

int error_format(struct error *err, enum kq_status status, const char *format, ...) {
    if (!err) return -1;
    err->status = status;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    unsigned char before = 0;
    for (char *c = err->text; *c; c++) {
        unsigned char byte = (unsigned char)*c;
        bool c1 = before == 0xc2 && byte >= 0x80 && byte < 0xa0;
        if (c1) c[-1] = '?';
        if (c1 || byte < 0x20 || byte == 0x7f) *c = '?';
        before = byte;
    }
    return -1;
}
