/* What a file is that should have been GGUF: the formats that people have models in, and what comes
 * of a download gone wrong. */
#ifndef FILE_KIND_H
#define FILE_KIND_H

#include <stddef.h>

/* From a file's first n bytes: a noun, and what to do about it behind a colon; NULL if it is
 * nothing known. */
const char *file_kind(const void *bytes, size_t n);

#endif
