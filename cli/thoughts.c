#include "thoughts.h"

#include <stdlib.h>
#include <string.h>

/* Longer marks that begin alike come first. */
static const struct thought_marks known[] = {
    {"<think>", "</think>", NULL},
    {"<seed:think>", "</seed:think>", NULL},
    {"[THINK]", "[/THINK]", NULL},
    {"<|START_THINKING|>", "<|END_THINKING|>", NULL},
    {"<|inner_prefix|>", "<|inner_suffix|>", NULL},
    {"<|channel>thought\n", "<channel|>", NULL},
    {"<|channel|>analysis<|message|>", "<|end|>", "<|channel|>final<|message|>"},
    {"<thinking>", "</thinking>", NULL},
};
#define N_KNOWN (sizeof known / sizeof *known)

static bool is_space(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

const struct thought_marks *thoughts_opened(const char *prompt, size_t len) {
    for (size_t i = 0; i < N_KNOWN; i++) {
        size_t n = strlen(known[i].begin), end = len;
        while (end > 0 && !is_space(known[i].begin[n - 1]) && is_space(prompt[end - 1])) end--;
        if (n <= end && memcmp(prompt + end - n, known[i].begin, n) == 0) return &known[i];
    }
    return NULL;
}

bool is_thought_mark(struct gguf_str token) {
    if (token.len < 3 || memchr(token.data, 0, token.len)) return false;
    for (size_t i = 0; i < N_KNOWN; i++) {
        const char *parts[] = {known[i].begin, known[i].end, known[i].answer};
        for (int k = 0; k < 3 && parts[k]; k++) {
            const char *at = strchr(parts[k], token.data[0]);
            for (; at; at = strchr(at + 1, token.data[0])) {
                if (strncmp(at, token.data, token.len) == 0) return true;
            }
        }
    }
    return false;
}

/* ---- taking apart ---------------------------------------------------------------------------- */

/* All that was generated; control[i] tells whether byte i is a control token's. */
struct spoken {
    char *data;
    bool *control;
    size_t len;
};

static int read_spoken(struct session *s, struct spoken *out) {
    size_t room = tokenizer_piece_max(s->tokenizer), n = s->tokens.n - s->n_prompt;
    for (size_t i = s->n_prompt; i < s->tokens.n; i++) {
        out->len += piece_of(s, s->tokens.ids[i], true).len;
    }
    out->data = calloc(out->len + room + 1, 1);
    out->control = calloc(out->len + 1, sizeof *out->control);
    if (!out->data || !out->control) return FAIL("out of memory for an answer of %zu tokens", n);
    size_t at = 0;
    for (size_t i = s->n_prompt; i < s->tokens.n; i++) {
        bool control = piece_of(s, s->tokens.ids[i], false).len == 0;
        struct gguf_str piece = piece_of(s, s->tokens.ids[i], true);
        memcpy(out->data + at, piece.data, piece.len);
        memset(out->control + at, control, piece.len);
        at += piece.len;
    }
    // What --stop left out was at the end, between control tokens perhaps.
    size_t n_cut = s->stopped == STOPPED_TEXT ? s->stops.n_cut : 0;
    while (n_cut > 0 && out->len > 0) n_cut -= !out->control[--out->len];
    return 0;
}

/* The place of `text` in from .. to, SIZE_MAX if it is not there. */
static size_t find(const struct spoken *all, size_t from, const char *text) {
    size_t n = strlen(text);
    for (; from + n <= all->len; from++) {
        if (memcmp(all->data + from, text, n) == 0) return from;
    }
    return SIZE_MAX;
}

/* A malloc'ed copy of from .. to without control tokens. */
static char *plain(const struct spoken *all, size_t from, size_t to, size_t *len) {
    char *text = malloc(to - from + 1);
    *len = 0;
    if (!text) return NULL;
    for (size_t i = from; i < to; i++) {
        if (!all->control[i]) text[(*len)++] = all->data[i];
    }
    return text;
}

/* Whether a mark is one token, which is not shown. */
static bool is_control(struct session *s, const char *mark) {
    int32_t id = tokenizer_find(s->tokenizer, mark, strlen(mark));
    return id >= 0 && piece_of(s, id, false).len == 0;
}

static int take_apart(struct session *s, const struct spoken *all, const struct thought_marks *m,
                      size_t begin, struct answer *out) {
    size_t end = find(all, begin, m->end), answer;
    out->marks = m;
    out->marks_are_control = is_control(s, m->end);
    if (end == SIZE_MAX) {
        end = answer = all->len; // stopped while it was thinking
    } else {
        answer = end + strlen(m->end);
        size_t before = m->answer ? find(all, answer, m->answer) : SIZE_MAX;
        if (before != SIZE_MAX) answer = before + strlen(m->answer);
    }
    while (begin < end && all->data[begin] == '\n') begin++;
    while (begin < end && all->data[end - 1] == '\n') end--;
    while (answer < all->len && is_space(all->data[answer])) answer++;
    out->thoughts = plain(all, begin, end, &out->thoughts_len);
    out->text = plain(all, answer, all->len, &out->text_len);
    return out->thoughts && out->text ? 0 : FAIL("out of memory for an answer");
}

static int split(struct session *s, const struct spoken *all, const struct thought_marks *opened,
                 struct answer *out) {
    size_t start = 0;
    if (opened) return take_apart(s, all, opened, 0, out);
    while (start < all->len && is_space(all->data[start])) start++;
    for (size_t i = 0; i < N_KNOWN; i++) {
        size_t n = strlen(known[i].begin);
        if (all->len - start < n || memcmp(all->data + start, known[i].begin, n) != 0) continue;
        return take_apart(s, all, &known[i], start + n, out);
    }
    for (size_t i = 0; i < N_KNOWN; i++) { // no thoughts, but what stands before an answer
        size_t n = known[i].answer ? strlen(known[i].answer) : 0;
        if (n == 0 || all->len - start < n || memcmp(all->data + start, known[i].answer, n) != 0) {
            continue;
        }
        start += n;
        out->text = plain(all, start, all->len, &out->text_len);
        return out->text ? 0 : FAIL("out of memory for an answer");
    }
    out->text = plain(all, 0, all->len, &out->text_len);
    return out->text ? 0 : FAIL("out of memory for an answer");
}

int read_answer(struct session *s, const struct thought_marks *opened, struct answer *out) {
    struct spoken all = {0};
    *out = (struct answer){0};
    int status = read_spoken(s, &all);
    if (status == 0) status = split(s, &all, opened, out);
    if (status == 0 && !(out->whole = plain(&all, 0, all.len, &out->whole_len))) {
        status = FAIL("out of memory for an answer");
    }
    free(all.data);
    free(all.control);
    if (status) free_answer(out);
    return status;
}

void free_answer(struct answer *a) {
    free(a->text);
    free(a->thoughts);
    free(a->whole);
    *a = (struct answer){0};
}
