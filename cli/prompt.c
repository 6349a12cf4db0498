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

int parse_ids(const char *name, struct gguf_str text, int n_vocab, struct token_list *ids,
              struct error *err) {
    for (size_t i = 0; i < text.len;) {
        const char *p = text.data + i;
        char *end, word[32] = ""; // none of a token's has as many digits
        if (strchr(" ,\t\r\n", *p) && *p) {
            i++;
            continue;
        }
        for (size_t n = 0; i + n < text.len && n + 1 < sizeof word; n++) word[n] = p[n];
        errno = 0;
        long long id = strtoll(word, &end, 10);
        if (end == word) {
            return error_set(err, KQ_BAD_ARGUMENT, "%s: expected numbers, found \"%.20s\"", name,
                             word);
        }
        if (end == word + sizeof word - 1) errno = ERANGE; // there may be more of it
        if (errno || id < 0 || id >= n_vocab) {
            return error_set(err, KQ_BAD_ARGUMENT, "%s: %.*s is not a token, expected 0 to %d",
                             name, (int)(end - word), word, n_vocab - 1);
        }
        if (array_reserve(&ids->ids, &ids->capacity, ids->n + 1, sizeof *ids->ids) != 0) {
            return error_set(err, KQ_NO_MEMORY, "out of memory for the prompt");
        }
        ids->ids[ids->n++] = (int32_t)id;
        i += (size_t)(end - word);
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

void unescape(char *text, size_t *len) {
    static const char names[] = "ntr\\\"'", means[] = "\n\t\r\\\"'";
    size_t n = 0;
    for (size_t i = 0; i < *len; i++) {
        const char *named = i + 1 < *len && text[i] == '\\' ? strchr(names, text[i + 1]) : NULL;
        char digits[3] = "", *end = digits;
        if (i + 3 < *len && text[i] == '\\' && text[i + 1] == 'x') {
            memcpy(digits, text + i + 2, 2);
            // strtol would take signs and blanks, too
            if (strspn(digits, "0123456789abcdefABCDEF") == 2) end = digits + 2;
        }
        if (end > digits) {
            text[n++] = (char)strtol(digits, NULL, 16);
            i += 3;
        } else if (named && *named) {
            text[n++] = means[named - names];
            i++;
        } else {
            text[n++] = text[i];
        }
    }
    *len = n;
}

int option_text(const struct session *s, const char *given, char **text, size_t *len) {
    *len = strlen(given);
    *text = malloc(*len + 1);
    if (!*text) return FAIL("out of memory for a text of %zu bytes", *len);
    memcpy(*text, given, *len + 1);
    if (s->o->escapes) unescape(*text, len);
    return 0;
}

int open_stops(struct session *s) {
    const struct option_texts *given = &s->o->stops;
    if (given->n == 0) return 0;
    s->stops.texts = calloc(given->n, sizeof *s->stops.texts);
    if (!s->stops.texts) return FAIL("out of memory for --stop");
    for (size_t i = 0; i < given->n; i++) {
        struct stop_text *text = &s->stops.texts[i];
        int status = option_text(s, given->text[i], &text->data, &text->len);
        if (status) return status;
        s->stops.n++;
    }
    return 0;
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

/* --ids or --ids-file. */
static int read_ids(struct session *s) {
    const struct options *o = s->o;
    const char *name = o->ids ? "--ids" : o->ids_file;
    char *text = NULL;
    size_t len = 0;
    int status = o->ids ? 0 : read_file(s, o->ids_file, &text, &len);
    // Of --tokens the model is not open.
    int n_vocab = o->tokens ? tokenizer_n_vocab(s->tokenizer) : s->model.n_vocab;
    struct gguf_str ids = {o->ids ? o->ids : text ? text : "", o->ids ? strlen(o->ids) : len};
    if (status == 0 && parse_ids(name, ids, n_vocab, &s->tokens, &s->err) < 0) {
        failed(s, NULL);
        bool usage = o->ids && s->err.status == KQ_BAD_ARGUMENT;
        status = usage ? EXIT_USAGE : EXIT_FAILED;
    }
    free(text);
    if (status == 0) warn_of_bos(s);
    return status;
}

int read_prompt(struct session *s) {
    const struct options *o = s->o;
    char *text = NULL;
    size_t len = 0;
    int status = 0;
    if (prompt_is_ids(o)) return read_ids(s);
    if (o->prompt) {
        status = option_text(s, o->prompt, &text, &len);
    } else if (o->prompt_file) {
        status = read_file(s, o->prompt_file, &text, &len);
    } else {
        if (isatty(STDIN_FILENO)) return USAGE("no prompt: give -p, -f or --ids, or pipe one in");
        status = read_all(s, stdin, "standard input", &text, &len);
    }
    struct gguf_str from = {text ? text : "", len};
    lap(s, o->prompt ? NULL : "waiting for input");
    if (!o->prompt && status == 0) from = as_typed(s, from);
    if (status == 0 && tokenizer_encode(s->tokenizer, from.data, from.len, !o->no_bos,
                                        !o->no_special, &s->tokens, &s->err) < 0) {
        status = failed(s, NULL);
    }
    lap(s, "tokenizing");
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
