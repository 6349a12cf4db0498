/* UTF-8 and code points. */
#ifndef UTF8_H
#define UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The code point that s[0, n) begins with, n > 0; *used says how many bytes it took. A byte that
 * begins no well-formed sequence is U+FFFD and 1 byte (a U+FFFD that is written out has 3).
 * Overlong forms are taken for what they mean, surrogates are kept. */
uint32_t utf8_decode(const char *s, size_t n, size_t *used);

/* The bytes of the well-formed sequence (RFC 3629: nothing overlong, no surrogates) that s[0, n)
 * begins with, n > 0; 0 if it begins with none. */
size_t utf8_length(const char *s, size_t n);

/* Writes a code point (surrogates too) as 1 to 4 bytes; returns how many. */
int utf8_encode(uint32_t cp, char out[4]);

#endif
