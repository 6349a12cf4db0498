/* How bad input is reported: the function that finds it fills a status and a message and returns
 * -1, every caller hands the -1 up, and cli/ prints the message. Library files neither print nor
 * exit. */
#ifndef ERROR_H
#define ERROR_H

#include "exact.h"
#include "kq.h" // enum kq_status: files tell each other what the library tells its caller

#if defined(__GNUC__)
#define PRINTF_LIKE(at, first) __attribute__((format(printf, at, first)))
#else
#define PRINTF_LIKE(at, first)
#endif

struct error {
    enum kq_status status;
    char text[512]; // one sentence without a newline: what, where, expected, found
};

/* Sets the status, formats the message (cut to fit) and gives -1, so that `return error_set(err,
 * KQ_..., ...)` reads as one act. Control characters (below 0x20, 0x7f, U+0080 to U+009f) become
 * '?': names in files are hostile and end up on a terminal. `err` may be NULL. */
#define error_set(err, status, ...) error_result(error_format(err, status, __VA_ARGS__))

int error_format(struct error *err, enum kq_status status, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* Here, so that compilers and analysers of every file see what an error gives. */
static inline int error_result(int result) {
    (void)result;
    return -1;
}

#endif
