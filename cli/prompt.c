#include "prompt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../array.h"

/* More than any context holds; a device may have no end, and tokens take 45 times the room. */
#define MAX_TEXT (8 << 20)

/* ---- texts ----------------------------------------------------------------------------------- */

/* The whole of a stream, which may hold any bytes; *text is malloc'ed, or NULL if it is empty. */
static int read_all(struct session *s, FILE *f, const char *name, char **text, size_t *len) {
    size_t capacity = 0;
    *text = NULL;
    *len = 0;
    for (;;) {
        if (*len == capacity && array_reserve(text, &capacity, *len + 65536, 1) != 0) {
            return FAIL("%s: out of memory after %zu bytes", name, *len);
        }
        if (*len > MAX_TEXT) return FAIL("%s: longer than %d bytes", name, MAX_TEXT);
        size_t got = fread(*text + *len, 1, capacity - *len, f);
        *len += got;
        if (got == 0) break;
    }
    if (stop_asked(s)) return interrupted(s);
    return ferror(f) ? FAIL("%s: %s", name, strerror(errno)) : 0;
}

int read_file(struct session *s, const char *path, char **text, size_t *len) {
    *text = NULL;
    *len = 0;
    if (strcmp(path, "-") == 0) return read_all(s, stdin, "standard input", text, len);
    FILE *f = fopen(path, "rb");
    if (!f) return FAIL("%s: %s", path, strerror(errno));
    int status = read_all(s, f, path, text, len);
    fclose(f);
    return status;
}

/* ---- the prompt ------------------------------------------------------------------------------ */

int parse_ids(const char *text, int n_vocab, struct token_list *ids, struct error *err) {
    for (const char *p = text; *p;) {
        char *end;
        if (strchr(" ,\t\n", *p)) {
            p++;
            continue;
        }
        errno = 0;
        long long id = strtoll(p, &end, 10);
        if (end == p) {
            return error_set(err, KQ_BAD_ARGUMENT, "--ids: expected numbers, found \"%.20s\"", p);
        }
        if (errno || id < 0 || id >= n_vocab) {
            return error_set(err, KQ_BAD_ARGUMENT, "--ids: %.*s is not a token, expected 0 to %d",
                             (int)(end - p), p, n_vocab - 1);
        }
        if (array_reserve(&ids->ids, &ids->capacity, ids->n + 1, sizeof *ids->ids) != 0) {
            return error_set(err, KQ_NO_MEMORY, "out of memory for the prompt");
        }
        ids->ids[ids->n++] = (int32_t)id;
        p = end;
    }
    return 0;
}

struct gguf_str as_typed(const struct session *s, struct gguf_str text) {
    if (s->o->tokens) return text;
    if (text.len >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0) {
        say("the byte order mark in front of the prompt is left out");
        text = (struct gguf_str){text.data + 3, text.len - 3};
    }
    if (s->o->keep_newline || text.len == 0 || text.data[text.len - 1] != '\n') return text;
    text.len--;
    if (text.len > 0 && text.data[text.len - 1] == '\r') text.len--;
    return text;
}

/* BOS twice: mostly once because the vocabulary says so, and once more in the text. */
static void warn_of_bos(const struct session *s) {
    const int32_t *ids = s->tokens.ids, bos = s->tokenizer ? tokenizer_bos(s->tokenizer) : -1;
    if (bos < 0 || s->tokens.n < 2 || ids[0] != bos || ids[1] != bos) return;
    say("the prompt begins with BOS (token %d) twice, and models expect it once: where the "
        "vocabulary asks for it, it is put in front of every text",
        (int)bos);
}

void say_lost(const struct token_list *tokens) {
    if (tokens->n_lost == 0) return;
    say("%zu byte%s of the text without a token in this vocabulary left out", tokens->n_lost,
        tokens->n_lost > 1 ? "s" : "");
}

int read_prompt(struct session *s) {
    const struct options *o = s->o;
    char *text = NULL;
    size_t len = 0;
    int status = 0;
    if (o->ids) {
        if (parse_ids(o->ids, s->model.n_vocab, &s->tokens, &s->err) < 0) {
            failed(s, NULL);
            return s->err.status == KQ_BAD_ARGUMENT ? EXIT_USAGE : EXIT_FAILED;
        }
        warn_of_bos(s);
        return 0;
    }
    if (o->prompt_file) {
        status = read_file(s, o->prompt_file, &text, &len);
    } else if (!o->prompt) {
        if (isatty(STDIN_FILENO)) return USAGE("no prompt: give -p, -f or --ids, or pipe one in");
        status = read_all(s, stdin, "standard input", &text, &len);
    }
    struct gguf_str from = {o->prompt, o->prompt ? strlen(o->prompt) : 0};
    if (!o->prompt && status == 0) from = as_typed(s, (struct gguf_str){text ? text : "", len});
    if (status == 0 &&
        tokenizer_encode(s->tokenizer, from.data, from.len, true, true, &s->tokens, &s->err) < 0) {
        status = failed(s, NULL);
    }
    if (status == 0) warn_of_bos(s);
    if (status == 0) say_lost(&s->tokens);
    free(text);
    return status;
}

int check_ids(const struct session *s) {
    for (size_t i = 0; i < s->tokens.n; i++) {
        if (s->tokens.ids[i] >= s->model.n_vocab) {
            return FAIL("token %d of the vocabulary has no row in token_embd.weight (%d rows)",
                        (int)s->tokens.ids[i], s->model.n_vocab);
        }
    }
    return 0;
}

int check_prompt(struct session *s) {
    s->n_prompt = s->tokens.n;
    if (s->n_prompt == 0) return FAIL("the prompt is empty: there is nothing to continue");
    if (s->n_prompt > (size_t)s->n_ctx) {
        return FAIL("the prompt has %zu tokens, the context holds %d: %s", s->n_prompt, s->n_ctx,
                    more_context(s));
    }
    if (check_ids(s) != 0) return EXIT_FAILED;
    size_t longest = (size_t)s->n_ctx + 1; // the last token may not fit the context any more
    if (array_reserve(&s->tokens.ids, &s->tokens.capacity, longest, sizeof *s->tokens.ids) != 0) {
        return FAIL("out of memory for %zu tokens", longest);
    }
    return 0;
}
