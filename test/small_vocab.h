/* Small vocabularies for the tests of the tokenizer, and what its ids are compared with. */
#ifndef SMALL_VOCAB_H
#define SMALL_VOCAB_H

#include "gguf_build.h"
#include "test.h"
#include "tokenizer.h"

enum { T_NORMAL = 1, T_UNKNOWN, T_CONTROL, T_USER, T_UNUSED, T_BYTE };

struct vocab {
    struct gguf_build build;
    const char *text[600];
    int32_t type[600];
    float score[600];
    size_t n;
    char bytes[256][8]; // texts of the byte tokens
    uint8_t *file;
    struct gguf gguf;
    struct tokenizer *t;
    struct error err;
};

static inline int32_t add(struct vocab *v, const char *text, int32_t type, float score) {
    v->text[v->n] = text;
    v->type[v->n] = type;
    v->score[v->n] = score;
    return (int32_t)v->n++;
}

/* Writes the arrays; the caller may change them in v->build before opening. */
static inline void write_arrays(struct vocab *v) {
    build_strs(&v->build, "tokenizer.ggml.tokens", v->n, v->text);
    build_i32s(&v->build, "tokenizer.ggml.token_type", v->n, v->type);
    build_f32s(&v->build, "tokenizer.ggml.scores", v->n, v->score);
}

static inline void open_vocab(struct vocab *v) {
    size_t size;
    v->file = build_file(&v->build, &size);
    v->err.text[0] = '\0';
    if (gguf_parse(&v->gguf, v->file, size, &v->err) == 0) {
        v->t = tokenizer_open(&v->gguf, &v->err);
    }
}

/* Opens a vocabulary that has to be right: else no test after it makes sense. */
static inline void open_good(struct vocab *v) {
    open_vocab(v);
    if (v->t) return;
    printf("a vocabulary of this test: %s\n", v->err.text);
    exit(1);
}

static inline void close_vocab(struct vocab *v) {
    tokenizer_close(v->t);
    gguf_close(&v->gguf);
    free(v->file);
    v->t = NULL;
    v->file = NULL;
}

static inline void free_vocab(struct vocab *v) {
    close_vocab(v);
    build_free(&v->build);
    free(v);
}

/* <unk> <s> </s>, the 256 byte tokens (3..258), then from 259 on a few words. */
static inline struct vocab *make_spm(void) {
    struct vocab *v = calloc(1, sizeof *v);
    if (!v) exit(1);
    build_str(&v->build, "general.architecture", "llama");
    build_str(&v->build, "tokenizer.ggml.model", "llama");
    add(v, "<unk>", T_UNKNOWN, 0);
    add(v, "<s>", T_CONTROL, 0);
    add(v, "</s>", T_CONTROL, 0);
    for (int b = 0; b < 256; b++) {
        snprintf(v->bytes[b], sizeof v->bytes[b], "<0x%02X>", (unsigned)b);
        add(v, v->bytes[b], T_BYTE, 0);
    }
    add(v, "▁", T_NORMAL, -9);       // 259
    add(v, "a", T_NORMAL, -9);       // 260
    add(v, "b", T_NORMAL, -9);       // 261
    add(v, "ab", T_NORMAL, -2);      // 262
    add(v, "ba", T_NORMAL, -2);      // 263
    add(v, "aba", T_NORMAL, -3);     // 264
    add(v, "▁a", T_NORMAL, -4);      // 265
    add(v, "▁▁", T_NORMAL, -5);      // 266
    add(v, "é", T_NORMAL, -9);       // 267
    add(v, "<mark>", T_USER, 0);     // 268
    add(v, "<mark>ab", T_USER, 0);   // 269
    add(v, "abc", T_UNUSED, -1);     // 270
    add(v, "<|im_end|>", T_USER, 0); // 271: a control token by its name
    add(v, "■▁■", T_NORMAL, -9);     // 272: begins like U+2581
    write_arrays(v);
    return v;
}

/* The 256 bytes (id = byte) in GPT-2's alphabet, then merges. */
static inline struct vocab *make_bpe(void) {
    static const char *const merges[] = {"a b",  "b c", "Ġ a", "Ġa b", "1 2", "12 3",
                                         "ab c", "x y", "Ã ©", "c",    " a"};
    struct vocab *v = calloc(1, sizeof *v);
    if (!v) exit(1);
    build_str(&v->build, "general.architecture", "llama");
    build_str(&v->build, "tokenizer.ggml.model", "gpt2");
    build_str(&v->build, "tokenizer.ggml.pre", "gpt-2");
    for (unsigned b = 0, next = 0x100; b < 256; b++) {
        unsigned cp = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad) ? b : next++;
        char *s = v->bytes[b];
        if (cp >= 0x80) *s++ = (char)(0xc0 | cp >> 6);
        *s = (char)(cp >= 0x80 ? 0x80 | (cp & 0x3f) : cp);
        add(v, v->bytes[b], T_NORMAL, 0);
    }
    add(v, "ab", T_NORMAL, 0);         // 256
    add(v, "bc", T_NORMAL, 0);         // 257
    add(v, "Ġa", T_NORMAL, 0);         // 258
    add(v, "Ġab", T_NORMAL, 0);        // 259
    add(v, "123", T_NORMAL, 0);        // 260: its part "12" is no token
    add(v, "xyz", T_NORMAL, 0);        // 261: a word that no merges make
    add(v, "中", T_NORMAL, 0);         // 262: not in the alphabet
    add(v, "<|end|>", T_NORMAL, 0);    // 263: control by name
    add(v, "<tool>", T_USER, 0);       // 264
    add(v, "q<|sys", T_CONTROL, 0);    // 265
    add(v, "<|sys|>", T_CONTROL, 0);   // 266
    add(v, "<|sys|> x", T_CONTROL, 0); // 267
    write_arrays(v);
    build_strs(&v->build, "tokenizer.ggml.merges", sizeof merges / sizeof *merges, merges);
    return v;
}

/* ids ends with -1. */
static inline void check_ids(const struct vocab *v, const char *text, bool special,
                             const int32_t *ids) {
    struct token_list out = {0};
    struct error err = {KQ_OK, ""};
    size_t n = 0;
    while (ids[n] >= 0) n++;
    int failed = !v->t || tokenizer_encode(v->t, text, strlen(text), special, special, &out, &err);
    CHECK(!failed, "'%s': %s%s", text, err.text, v->err.text);
    bool same = out.n == n && (n == 0 || memcmp(out.ids, ids, n * sizeof *ids) == 0);
    CHECK(same, "'%s': %zu ids expected, found %zu: %d %d %d %d ...", text, n, out.n,
          out.n > 0 ? out.ids[0] : -1, out.n > 1 ? out.ids[1] : -1, out.n > 2 ? out.ids[2] : -1,
          out.n > 3 ? out.ids[3] : -1);
    token_list_free(&out);
}
#define IDS(...) ((const int32_t[]){__VA_ARGS__, -1})
#define NO_IDS ((const int32_t[]){-1})

/* Valid until the next call. */
static inline struct gguf_str piece_of(const struct vocab *v, int32_t id, bool show) {
    static char piece[1024];
    size_t len = tokenizer_piece(v->t, id, show, piece, sizeof piece);
    CHECK(len <= sizeof piece && len <= tokenizer_piece_max(v->t), "token %d: %zu bytes", id, len);
    return (struct gguf_str){piece, len};
}

static inline void check_piece(const struct vocab *v, int32_t id, bool show, const char *expected,
                               size_t len) {
    struct gguf_str s = piece_of(v, id, show);
    CHECK(s.len == len && memcmp(s.data, expected, len) == 0,
          "token %d: '%s' expected, found '%.*s'", id, expected, (int)s.len, s.data);
    char cut[8] = "#######"; // room for 0 to 3 bytes
    for (size_t room = 0; room < 4; room++) {
        size_t n = room < len ? room : len;
        CHECK(tokenizer_piece(v->t, id, show, cut, room) == len && memcmp(cut, expected, n) == 0 &&
                  cut[n] == '#',
              "token %d in %zu bytes: '%s'", id, room, cut);
    }
}

static inline void check_refused(struct vocab *v, const char *what) {
    open_vocab(v);
    CHECK(!v->t && strstr(v->err.text, what), "expected '%s', found '%s'", what, v->err.text);
    free_vocab(v);
}

#endif
