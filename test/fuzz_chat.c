/* Any bytes, cut at the NULs: a template text, then the role and the content of each message. The
 * template text names a conversation format, and the messages are written in it. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat.h"
#include "chat_template.h"
#include "utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_MESSAGES = 32, MAX_LITERAL = 128 }; // what a format adds to one message is shorter

/* Like assert, but NDEBUG does not turn it off. */
static void require(bool condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "fuzz_chat: violated: %s\n", what);
    abort();
}

/* The text as input, its malformed bytes replaced: contents are well-formed, as from JSON. */
static struct value text_value(struct arena *a, const char *text) {
    struct builder b;
    build_begin(&b, a);
    for (size_t i = 0, n, len = strlen(text); i < len; i += n ? n : 1) {
        n = utf8_length(text + i, len - i);
        build_bytes(&b, n ? text + i : "?", n ? n : 1, true);
    }
    return value_str(build_end(&b));
}

static size_t n_input(const struct str *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->len; i++) n += str_is_input(s, i);
    return n;
}

static void check_render(const struct chat_format *f, struct arena *a, struct value request,
                         size_t size) {
    const struct str *whole, *closed;
    struct list *messages;
    struct error err;
    if (chat_messages(a, request, &messages, &err) != 0 ||
        chat_render(f, a, messages, true, &whole, &err) != 0 ||
        chat_render(f, a, messages, false, &closed, &err) != 0) {
        return;
    }
    require(closed->len <= whole->len && memcmp(whole->data, closed->data, closed->len) == 0,
            "the answer is opened at the end");
    require(whole->len <= size + (messages->n + 2) * MAX_LITERAL, "the length is bounded");
    require(n_input(whole) == n_input(closed), "the opening of an answer is the format's own");
    require(n_input(whole) <= size, "no more input than there was");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *copy = malloc(size + 1); // with a NUL after the last piece
    if (!copy) return 0;
    memcpy(copy, data, size);
    copy[size] = '\0';
    size_t template_len = strlen(copy);
    // In `data` nothing readable follows a template text that is the whole input.
    const struct chat_format *f = chat_detect((const char *)data, template_len);
    require(!f || chat_find(chat_name(f)) == f, "a format is found by its name");
    if (!f) f = chat_find("chatml");

    struct arena a;
    arena_init(&a, (size_t)32 << 20);
    struct value request = value_dict(&a), messages = value_list(&a, V_LIST);
    const char *p = copy + template_len + 1, *end = copy + size;
    for (int n = 0; n < MAX_MESSAGES && p < end; n++) {
        struct value m = value_dict(&a);
        dict_set_text(&a, m.u.dict, "role", text_value(&a, p));
        p += strlen(p) + 1;
        dict_set_text(&a, m.u.dict, "content", text_value(&a, p < end ? p : ""));
        if (p < end) p += strlen(p) + 1;
        list_add(&a, messages.u.list, m);
    }
    dict_set_text(&a, request.u.dict, "messages", messages);
    check_render(f, &a, request, size);
    arena_free(&a);
    free(copy);
    return 0;
}
