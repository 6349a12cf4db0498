/* A template, a zero byte, and JSON: the variables it is rendered with. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat_template.h"
#include "jinja.h"
#include "json.h"
#include "utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Not assert: NDEBUG must not turn the target off. */
static void require(bool condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "fuzz_jinja: violated: %s\n", what);
    abort();
}

static void check_text(const struct str *s) {
    size_t chars = 0;
    for (size_t i = 0, n; i < s->len; i += n, chars++) {
        n = utf8_length(s->data + i, s->len - i);
        require(n > 0, "the text is UTF-8");
    }
    require(chars == s->n_chars, "characters are counted");
    for (size_t i = 0; i < s->n_runs; i++) {
        require(s->runs[i].end > (i ? s->runs[i - 1].end : 0), "runs follow each other");
        require(i == 0 || s->runs[i].input != s->runs[i - 1].input, "runs differ");
    }
    require(s->n_runs == 0 || s->runs[s->n_runs - 1].end == s->len, "runs cover the text");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct tm now = {.tm_year = 124, .tm_mday = 1};
    const uint8_t *end = size > 0 ? memchr(data, 0, size) : NULL;
    size_t source_len = end ? (size_t)(end - data) : size;
    size_t json_len = end ? size - source_len - 1 : 0;
    struct error err = {0};
    struct arena a;
    arena_init(&a, JINJA_MEMORY(json_len));
    struct value v = value_dict(&a);
    const struct str *out;
    struct jinja *t = jinja_open((const char *)data, source_len, &err);
    if (!t) require(err.text[0] != '\0', "a refusal says why");
    if (t && end && json_parse((const char *)end + 1, json_len, &a, &v, &err) == 0 &&
        v.type == V_DICT) {
        struct value chat;
        if (chat_template_variables(&a, v, "<s>", "</s>", &chat, &err) == 0) v = chat;
    } else {
        v = value_dict(&a);
    }
    if (t && v.type == V_DICT) {
        if (jinja_render(t, &a, v.u.dict, json_len, &now, &out, &err) == 0)
            check_text(out);
        else
            require(err.status != KQ_OK, "an error has a status");
    }
    jinja_close(t);
    arena_free(&a);
    return 0;
}
