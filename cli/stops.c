#include "stops.h"

#include "../array.h"

/* The first place in what is held at which a text is complete, n_held if there is none. */
static size_t first_found(const struct stops *s) {
    for (size_t at = 0; at < s->n_held; at++) {
        for (size_t i = 0; i < s->n; i++) {
            size_t len = s->texts[i].len;
            if (len > s->n_held - at) continue;
            if (memcmp(s->held + at, s->texts[i].data, len) == 0) return at;
        }
    }
    return s->n_held;
}

/* The first place in what is held from which on it is the beginning of a text. */
static size_t first_begun(const struct stops *s) {
    for (size_t at = 0; at < s->n_held; at++) {
        size_t left = s->n_held - at;
        for (size_t i = 0; i < s->n; i++) {
            if (s->texts[i].len > left && memcmp(s->held + at, s->texts[i].data, left) == 0) {
                return at;
            }
        }
    }
    return s->n_held;
}

int stops_next(struct stops *s, struct gguf_str text, struct gguf_str *out, bool *found) {
    *found = false;
    *out = text;
    if (s->n == 0) return 0;
    s->n_held -= s->n_given;
    if (s->n_given) memmove(s->held, s->held + s->n_given, s->n_held);
    s->n_given = 0;
    if (array_reserve(&s->held, &s->capacity, s->n_held + text.len, 1) != 0) return -1;
    if (text.len) memcpy(s->held + s->n_held, text.data, text.len);
    s->n_held += text.len;
    s->n_given = first_found(s);
    *found = s->n_given < s->n_held;
    if (*found) {
        s->n_cut = s->n_held - s->n_given;
        s->n_held = s->n_given;
    } else {
        s->n_given = first_begun(s);
    }
    *out = (struct gguf_str){s->held, s->n_given};
    return 0;
}

struct gguf_str stops_end(struct stops *s) {
    struct gguf_str held = {s->n ? s->held + s->n_given : NULL, s->n_held - s->n_given};
    s->n_held = s->n_given = 0;
    return held;
}

void stops_free(struct stops *s) {
    for (size_t i = 0; i < s->n; i++) free(s->texts[i].data);
    free(s->texts);
    free(s->held);
    *s = (struct stops){0};
}
