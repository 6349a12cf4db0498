/* Any bytes as JSON: what is read is written, read again, and written as the same bytes. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Not assert: NDEBUG must not turn the target off. */
static void require(bool condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "fuzz_json: violated: %s\n", what);
    abort();
}

static const struct str *write(struct arena *a, struct value v, bool ascii) {
    struct json_style style = {.ascii = ascii, .indent = &str_empty};
    struct builder b;
    struct error err;
    build_begin(&b, a);
    require(json_write(&b, v, &style, &err) == 0, "what was read can be written");
    return build_end(&b);
}

/* 1e999 becomes what JSON does not have. */
static bool has_infinity(const struct str *s) {
    for (size_t i = 0; i + 8 <= s->len; i++) {
        if (memcmp(s->data + i, "Infinity", 8) == 0) return true;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena a;
    struct value v;
    struct error err;
    arena_init(&a, ((size_t)1 << 20) + 1000 * size);
    if (json_parse((const char *)data, size, &a, &v, &err) == 0) {
        const struct str *first = write(&a, v, true);
        bool finite = !has_infinity(first);
        for (size_t i = 0; i < first->len; i++) require(first->data[i] > 0, "ASCII");
        if (finite) {
            require(json_parse(first->data, first->len, &a, &v, &err) == 0, "it can be read again");
            require(str_equal(first, write(&a, v, true)), "the same value, the same bytes");
            const struct str *plain = write(&a, v, false);
            require(json_parse(plain->data, plain->len, &a, &v, &err) == 0, "UTF-8 can be read");
            require(str_equal(first, write(&a, v, true)), "in both styles");
        }
    }
    arena_free(&a);
    return 0;
}
