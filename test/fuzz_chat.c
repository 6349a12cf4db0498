/* Any bytes, cut at the NULs: a template text, then the role and the content of each message. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_MESSAGES = 32, MAX_LITERAL = 128 }; // what a format adds to one message is shorter

/* Like assert, but NDEBUG does not turn it off. */
static void require(bool condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "fuzz_chat: violated: %s\n", what);
    abort();
}

static void check_render(const struct chat_format *f, const struct chat_message *messages, size_t n,
                         size_t size) {
    char *whole, *closed;
    struct error err;
    if (chat_render(f, messages, n, true, &whole, &err) != 0) return;
    if (chat_render(f, messages, n, false, &closed, &err) == 0) {
        size_t len = strlen(closed);
        require(strncmp(whole, closed, len) == 0, "the answer is opened at the end");
        require(strlen(whole) <= size + (n + 2) * MAX_LITERAL, "the length is bounded");
        free(closed);
    }
    free(whole);
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

    struct chat_message messages[MAX_MESSAGES];
    size_t n = 0;
    const char *p = copy + template_len + 1, *end = copy + size;
    while (n < MAX_MESSAGES && p < end) {
        const char *role = p;
        p += strlen(p) + 1;
        messages[n++] = (struct chat_message){role, p < end ? p : ""};
        if (p < end) p += strlen(p) + 1;
    }
    check_render(f, messages, n, size);
    free(copy);
    return 0;
}
