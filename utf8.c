#include "utf8.h"

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
