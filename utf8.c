#include "utf8.h"

#include <stdbool.h>

uint32_t utf8_decode(const char *s, size_t n, size_t *used) {
    unsigned char c = (unsigned char)s[0];
    *used = 1;
    if (c < 0x80) return c;
    size_t len = c >= 0xf8 ? 0 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 0;
    if (len == 0 || len > n) return 0xfffd;
    uint32_t cp = c & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if (((unsigned char)s[i] & 0xc0) != 0x80) return 0xfffd;
        cp = cp << 6 | ((unsigned char)s[i] & 0x3f);
    }
    if (cp > 0x10ffff) return 0xfffd;
    *used = len;
    return cp;
}

int utf8_encode(uint32_t cp, char out[4]) {
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    int len = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (int i = len - 1; i > 0; i--, cp >>= 6) out[i] = (char)(0x80 | (cp & 0x3f));
    out[0] = (char)((0xf00 >> len & 0xff) | cp);
    return len;
}

size_t utf8_length(const char *s, size_t n) {
    const unsigned char *p = (const unsigned char *)s;
    size_t size = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (size == 0 || size > n || p[0] > 0xf4) return 0;
    for (size_t i = 1; i < size; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
    }
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool surrogate = p[0] == 0xed && p[1] > 0x9f;
    return overlong || surrogate || (p[0] == 0xf4 && p[1] > 0x8f) ? 0 : size;
}
