/* Any vocabulary on any text: a refusal with a message, or ids of which every one is a token, the
 * same twice; and where the vocabulary allows it, the text comes back from them, in whole
 * characters.
 *
 * Input: flags, a choice, the number of tokens, the number of merges; for each token a byte for its
 * type and score, its length, its text; for each merge two token numbers; then the text to encode.
 * With RAW: a 16-bit length, a GGUF file of that length, the text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_build.h"
#include "tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    BPE = 1,
    RAW = 2,
    ADD_SPECIAL = 4,
    PARSE_SPECIAL = 8,
    PLAIN = 16, // normal tokens only: the text must come back
    NO_BYTES = 32,
    PHI3 = 64,
    NO_SPACE = 128,
};

static void require(bool condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "fuzz_tokenizer: violated: %s\n", what);
    abort();
}

/* Everything read ends up here, so that no read can be left out. */
static volatile unsigned sink;

struct input {
    const uint8_t *data;
    size_t size;
};

static unsigned take(struct input *in) {
    if (in->size == 0) return 0;
    in->size--;
    return *in->data++;
}

static size_t take_bytes(struct input *in, size_t n, const char **bytes) {
    *bytes = (const char *)in->data;
    if (n > in->size) n = in->size;
    in->data += n;
    in->size -= n;
    return n;
}

/* ---- the vocabulary -------------------------------------------------------------------------- */

struct vocab {
    struct gguf_writer tokens, merges;
    int32_t type[600];
    float score[600];
    size_t start[600], len[600]; // of each text in tokens.data
    size_t n, n_merges;
};

static void add_token(struct vocab *v, const char *text, size_t len, int32_t type, float score) {
    gguf_write_text(&v->tokens, text, len);
    v->start[v->n] = v->tokens.len - len;
    v->len[v->n] = len;
    v->type[v->n] = type;
    v->score[v->n++] = score;
}

/* <0x41> or GPT-2's alphabet. */
static void add_bytes(struct vocab *v, bool bpe) {
    for (unsigned b = 0, next = 0x100; b < 256; b++) {
        char text[8];
        bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad);
        unsigned cp = printable ? b : next++;
        int len = snprintf(text, sizeof text, "<0x%02X>", b);
        if (bpe && cp < 0x80) len = snprintf(text, sizeof text, "%c", cp);
        if (bpe && cp >= 0x80) {
            len = snprintf(text, sizeof text, "%c%c", 0xc0 | cp >> 6, 0x80 | (cp & 0x3f));
        }
        add_token(v, text, (size_t)len, bpe ? 1 : 6, 0);
    }
}

static void add_merge(struct vocab *v, unsigned a, unsigned b) {
    if (v->n == 0) return;
    a %= (unsigned)v->n;
    b %= (unsigned)v->n;
    uint64_t len = v->len[a] + v->len[b] + 1;
    gguf_write(&v->merges, &len, sizeof len);
    gguf_write(&v->merges, v->tokens.data + v->start[a], v->len[a]);
    gguf_write(&v->merges, " ", 1);
    gguf_write(&v->merges, v->tokens.data + v->start[b], v->len[b]);
    v->n_merges++;
}

/* *lossless: every text has tokens that print it. BPE goes from *given if the rules' tokens are as
 * in SPM. */
static uint8_t *make_file(struct input *in, unsigned *given, size_t *size, bool *lossless) {
    static const char *const pre[] = {
        "default",   "llama-bpe",  "jais-2", "laguna",     "deepseek-llm", "deepseek-coder",
        "spark2_5",  "youtu",      "falcon", "gpt-2",      "smollm",       "deepseek-v3",
        "qwen2",     "qwen35",     "bloom",  "viking",     "tekken",       "exaone-moe",
        "chameleon", "gpt-4o",     "afmoe",  "seed-coder", "superbpe",     "kimi-k2",
        "gemma4",    "sarvam-moe",
    };
    static struct vocab v;
    v = (struct vocab){.n = 0};
    struct gguf_build b = {0};
    unsigned flags = *given, choice = take(in), n_tokens = take(in) % 64, n_merges = take(in) % 64;
    const char *rules = pre[choice % (sizeof pre / sizeof *pre)];
    bool raw = strcmp(rules, "gemma4") == 0 || strcmp(rules, "sarvam-moe") == 0;
    if (raw) *given &= ~(unsigned)BPE;
    bool alphabet = *given & BPE;
    /* A merge may make what is no token: byte-level BPE drops that, and the bytes that another kind
     * writes instead print a merged space as U+2581. */
    *lossless = flags & PLAIN && !(flags & NO_BYTES) && !(flags & BPE && n_merges > 0);
    if (!(flags & NO_BYTES)) add_bytes(&v, alphabet);
    if (*lossless && !alphabet) add_token(&v, "▁", 3, 1, -9); // or bytes print U+2581
    for (unsigned i = 0; i < n_tokens; i++) {
        const char *text;
        unsigned kind = take(in);
        size_t len = take_bytes(in, take(in) % 24, &text);
        if (flags & PLAIN && (memchr(text, '<', len) || memchr(text, '[', len))) len = 0; // a name
        add_token(&v, text, len, flags & PLAIN ? 1 : (int32_t)(kind % 8), (float)(kind / 8) - 9);
    }
    for (unsigned i = 0; i < n_merges; i++) {
        unsigned left = take(in) | (take(in) & 1) << 8;
        add_merge(&v, left, take(in) | (take(in) & 1) << 8);
    }
    build_str(&b, "tokenizer.ggml.model", flags & BPE ? "gpt2" : choice & 32 ? "plamo2" : "llama");
    build_str(&b, "tokenizer.ggml.pre", rules);
    build_array(&b, "tokenizer.ggml.tokens", GGUF_STRING, v.n, v.tokens.data, v.tokens.len);
    build_array(&b, "tokenizer.ggml.merges", GGUF_STRING, v.n_merges, v.merges.data, v.merges.len);
    build_i32s(&b, "tokenizer.ggml.token_type", v.n, v.type);
    build_f32s(&b, "tokenizer.ggml.scores", v.n, v.score);
    if (flags & PHI3) build_str(&b, "general.name", "phi-3");
    if (flags & NO_SPACE) build_bool(&b, "tokenizer.ggml.add_space_prefix", false);
    if (choice & 128) build_bool(&b, "tokenizer.ggml.add_eos_token", true);
    if (choice & 64) build_u32(&b, "tokenizer.ggml.bos_token_id", n_tokens);
    uint8_t *file = build_file(&b, size);
    build_free(&b);
    free(v.tokens.data);
    free(v.merges.data);
    return file;
}

/* ---- the checks ------------------------------------------------------------------------------ */

/* Bytes of the well-formed character at s, or 0: the strict definition of RFC 3629. */
static size_t character(const unsigned char *s, size_t n) {
    if (s[0] < 0x80) return 1;
    size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || len > n) return 0;
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
    }
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0)) return 0;
    if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90)) return 0;
    return len;
}

static bool is_utf8(const char *s, size_t n) {
    for (size_t i = 0, len; i < n; i += len) {
        len = character((const unsigned char *)s + i, n - i);
        if (len == 0) return false;
    }
    return true;
}

static bool has_block(const char *s, size_t n) { // U+2581: decodes to a space
    for (size_t i = 0; i + 3 <= n; i++) {
        if (memcmp(s + i, "\xe2\x96\x81", 3) == 0) return true;
    }
    return false;
}

static void append(struct gguf_writer *out, struct gguf_str s) {
    gguf_write(out, s.data, s.len);
}

/* Prints the ids; text: what must come back, or NULL. */
static void check_pieces(const struct tokenizer *t, const struct token_list *ids, const char *text,
                         size_t len) {
    struct gguf_writer all = {0}, streamed = {0};
    struct token_stream s;
    size_t room = tokenizer_piece_max(t);
    char *buf = build_realloc(NULL, room);
    bool utf8 = text && is_utf8(text, len);
    token_stream_begin(&s, t, true);
    bool skips = s.skip_space;
    for (size_t i = 0; i < ids->n; i++) {
        size_t n = tokenizer_piece(t, ids->ids[i], false, buf, room);
        require(n <= room, "no piece is longer than the longest");
        struct gguf_str out[2], piece = {buf, n};
        append(&all, piece);
        token_stream_next(&s, piece, out);
        append(&streamed, out[0]);
        append(&streamed, out[1]);
        require(s.n_pending <= 3, "three bytes are held back at most");
        require(!utf8 || is_utf8((char *)streamed.data, streamed.len), "whole characters");
    }
    append(&streamed, token_stream_end(&s));
    size_t skipped = skips && all.len > 0 && all.data[0] == ' ';
    require(streamed.len + skipped == all.len, "as many bytes come out as pieces have");
    require(streamed.len == 0 || memcmp(streamed.data, all.data + skipped, streamed.len) == 0,
            "the pieces' bytes come out");
    if (text) {
        require(streamed.len == len && (len == 0 || memcmp(streamed.data, text, len) == 0),
                "the text comes back");
    }
    free(buf);
    free(all.data);
    free(streamed.data);
}

static void check_text(const struct tokenizer *t, unsigned flags, bool lossless, const char *text,
                       size_t len) {
    struct token_list ids = {0}, again = {0};
    struct error err = {KQ_OK, ""};
    bool add = flags & ADD_SPECIAL, parse = flags & PARSE_SPECIAL;
    if (tokenizer_encode(t, text, len, add, parse, &ids, &err) != 0) {
        require(err.text[0] != '\0', "a refusal has a message");
        require(flags & (RAW | NO_BYTES), "only a missing byte is refused");
        token_list_free(&ids);
        return;
    }
    require(tokenizer_encode(t, text, len, add, parse, &again, NULL) == 0 && again.n == ids.n &&
                (ids.n == 0 || memcmp(again.ids, ids.ids, ids.n * sizeof *ids.ids) == 0),
            "the same ids twice");
    for (size_t i = 0; i < ids.n; i++) {
        require(ids.ids[i] >= 0 && ids.ids[i] < tokenizer_n_vocab(t), "ids are tokens");
    }
    bool back = lossless && !add && is_utf8(text, len) && !(has_block(text, len) && !(flags & BPE));
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) back = false; // PLaMo 2 drops it
    check_pieces(t, &ids, back ? text : NULL, len);
    token_list_free(&ids);
    token_list_free(&again);
}

static void check_vocabulary(const struct tokenizer *t) {
    size_t room = tokenizer_piece_max(t);
    char *buf = build_realloc(NULL, room);
    for (int32_t id = -1; id <= tokenizer_n_vocab(t); id++) {
        for (int show = 0; show < 2; show++) {
            size_t n = tokenizer_piece(t, id, show, buf, room);
            require(n <= room, "no piece is longer than the longest");
            for (size_t i = 0; i < n; i++) sink += (unsigned char)buf[i];
        }
        (void)tokenizer_is_eog(t, id);
    }
    free(buf);
    require(!tokenizer_is_eog(t, -1) && !tokenizer_is_eog(t, tokenizer_n_vocab(t)), "no token");
    require(tokenizer_bos(t) < tokenizer_n_vocab(t) && tokenizer_eos(t) < tokenizer_n_vocab(t),
            "special ids are tokens or -1");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = {data, size};
    unsigned flags = take(&in);
    uint8_t *file;
    size_t file_size;
    bool lossless = false;
    if (flags & RAW) {
        const char *bytes;
        unsigned low = take(&in);
        file_size = take_bytes(&in, low | take(&in) << 8, &bytes);
        file = build_realloc(NULL, file_size);
        memcpy(file, bytes, file_size);
    } else {
        file = make_file(&in, &flags, &file_size, &lossless);
    }
    struct gguf g;
    struct error err = {KQ_OK, ""};
    struct tokenizer *t = NULL;
    if (gguf_parse(&g, file, file_size, &err) == 0) t = tokenizer_open(&g, &err);
    require(t || err.text[0] != '\0', "a refusal has a message");
    if (t) {
        check_vocabulary(t);
        check_text(t, flags, lossless, (const char *)in.data, in.size);
    }
    tokenizer_close(t);
    gguf_close(&g);
    free(file);
    return 0;
}
