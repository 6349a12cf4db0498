/* The tokenizer. Without arguments: small vocabularies built here, and those in test/data/tokenizer
 * (byte-level BPE trained without pre-splitting: merges run over spaces and digits, so that a wrong
 * split shows; gemma4: BPE over characters; plamo2) with the ids that llama.cpp (v0.5.0) gives.
 * With arguments VOCAB.gguf TESTS: the same for any file; TESTS holds lines like
 * {"text_hex": "6869", "ids": [1, 2]}, special tokens parsed and BOS added as the file says. */
#include "tokenizer.h"

#include <signal.h>
#include <sys/time.h>

#include "small_vocab.h"

/* ---- files of tests -------------------------------------------------------------------------- */

/* Reads "text_hex": "..." into text; returns its length. */
static size_t read_hex(const char *line, char *text) {
    const char *s = strstr(line, "\"text_hex\": \"");
    size_t n = 0;
    unsigned byte;
    for (s = s ? s + 13 : ""; sscanf(s, "%2x", &byte) == 1; s += 2) text[n++] = (char)byte;
    return n;
}

static void check_line(const struct tokenizer *t, const char *path, int number, const char *line) {
    struct token_list ids = {0};
    struct error err = {KQ_OK, ""};
    char *text = malloc(strlen(line) + 1);
    size_t len = text ? read_hex(line, text) : 0;
    int failed = tokenizer_encode(t, text, len, true, true, &ids, &err);
    CHECK(!failed, "%s:%d: %s", path, number, err.text);
    const char *s = strstr(line, "\"ids\": [");
    s = s ? s + 8 : "";
    size_t n = 0;
    bool same = true;
    for (char *end; *s && *s != ']'; s = *end == ',' ? end + 1 : end, n++) {
        long id = strtol(s, &end, 10);
        if (end == s) break;
        same = same && n < ids.n && ids.ids[n] == id;
    }
    CHECK(same && n == ids.n, "%s:%d: %zu ids expected, %zu found", path, number, n, ids.n);
    token_list_free(&ids);
    free(text);
}

static void check_file(const char *vocab, const char *tests) {
    static char line[1 << 20];
    struct gguf g;
    struct error err = {KQ_OK, ""};
    FILE *f = fopen(tests, "r");
    struct tokenizer *t = NULL;
    if (gguf_open(&g, vocab, &err) == 0) t = tokenizer_open(&g, &err);
    CHECK(f, "%s: cannot be opened", tests);
    CHECK(t, "%s: %s", vocab, err.text);
    int number = 0;
    while (f && t && fgets(line, sizeof line, f)) check_line(t, tests, ++number, line);
    CHECK(number > 0, "%s: no tests", tests);
    if (f) fclose(f);
    tokenizer_close(t);
    gguf_close(&g);
}

static void test_files(void) {
    static const char *const names[] = {"gemma4", "gpt-2", "llama-bpe",
                                        "plamo2", "qwen2", "smollm"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char vocab[64], tests[64];
        snprintf(vocab, sizeof vocab, "test/data/tokenizer/%s.raw.gguf", names[i]);
        snprintf(tests, sizeof tests, "test/data/tokenizer/%s.raw.tests", names[i]);
        check_file(vocab, tests);
    }
}

/* marks: x for each byte of input. */
static void check_marked(const struct vocab *v, const char *text, const char *marks,
                         const int32_t *ids) {
    struct token_list out = {0};
    struct error err = {KQ_OK, ""};
    bool input[32];
    size_t n = 0;
    for (size_t i = 0; marks[i]; i++) input[i] = marks[i] == 'x';
    while (ids[n] >= 0) n++;
    int failed = tokenizer_encode_marked(v->t, text, strlen(text), input, false, true, &out, &err);
    bool same = !failed && out.n == n && memcmp(out.ids, ids, n * sizeof *ids) == 0;
    CHECK(same, "'%s' with input %s: %zu ids expected, found %zu: %d ...", text, marks, n, out.n,
          out.n > 0 ? out.ids[0] : -1);
    token_list_free(&out);
}

static void test_spm(void) {
    struct vocab *v = make_spm();
    open_good(v);
    check_ids(v, "", true, IDS(1));
    check_ids(v, "", false, NO_IDS);
    check_ids(v, "a", true, IDS(1, 265));
    check_ids(v, " ", false, IDS(266));
    check_ids(v, "ab", false, IDS(259, 262)); // "ab" scores better than "▁a"
    check_ids(v, "xaba", false, IDS(259, 3 + 'x', 264));
    check_ids(v, "ababab", false, IDS(259, 262, 262, 262)); // of equals the leftmost first
    check_ids(v, "xbaba", false, IDS(259, 3 + 'x', 263, 263));
    check_ids(v, "é\xe9", false, IDS(259, 267, 3 + 0xe9));
    check_ids(v, "\xc3", false, IDS(259, 3 + 0xc3));
    check_ids(v, "\xe2\x96\x81", false, IDS(266)); // as good as a space
    check_ids(v, "abc", false, IDS(259, 270));     // unused ones too
    /* specials: the prefix comes again after each */
    check_ids(v, "<s>a</s>a", true, IDS(1, 1, 265, 2, 265));
    check_ids(v, "b<mark>a", false, IDS(259, 261, 268, 265));
    check_ids(v, "<mark>ab<mark>", false, IDS(269, 268));
    check_ids(v, "<|im_end|>", true, IDS(1, 271));
    check_ids(v, "<0x41>", true, IDS(1, 259, 3 + '<', 3 + '0', 3 + 'x', 3 + '4', 3 + '1', 3 + '>'));
    check_marked(v, "</s>", "....", IDS(2));
    check_marked(v, "</s>", "...x", IDS(259, 3 + '<', 3 + '/', 3 + 's', 3 + '>'));
    check_marked(v, "</s></s>", "xxxx....", IDS(259, 3 + '<', 3 + '/', 3 + 's', 3 + '>', 2));
    check_marked(v, "<mark>", "xxxxxx", IDS(268)); // user-defined
    struct token_list out = {0};
    tokenizer_encode(v->t, "<|im_end|>", 10, false, false, &out, NULL);
    CHECK(out.n == 11, "a control token is not found where none is asked for: %zu", out.n);
    token_list_free(&out);
    free_vocab(v);
}

static void test_spm_keys(void) {
    struct vocab *v = make_spm();
    build_bool(&v->build, "tokenizer.ggml.add_space_prefix", false);
    build_bool(&v->build, "tokenizer.ggml.add_bos_token", false);
    build_bool(&v->build, "tokenizer.ggml.add_eos_token", true);
    open_good(v);
    check_ids(v, "ab", true, IDS(262, 2));
    check_ids(v, " a", false, IDS(265));
    check_ids(v, "", true, IDS(2));
    close_vocab(v);
    build_u32(&v->build, "tokenizer.ggml.bos_token_id", 260);
    build_u32(&v->build, "tokenizer.ggml.eos_token_id", 261);
    build_bool(&v->build, "tokenizer.ggml.add_bos_token", true);
    open_good(v);
    check_ids(v, "", true, IDS(260, 261));
    CHECK(tokenizer_bos(v->t) == 260 && tokenizer_eos(v->t) == 261, "ids from the file");
    CHECK(tokenizer_is_eog(v->t, 261) && !tokenizer_is_eog(v->t, 260), "EOS ends");
    close_vocab(v);
    build_u32(&v->build, "tokenizer.ggml.eos_token_id", 0);
    open_good(v);
    CHECK(tokenizer_is_eog(v->t, 0), "EOS ends, whatever its id");
    free_vocab(v);
}

static void test_phi3(void) {
    struct vocab *v = make_spm();
    build_str(&v->build, "general.name", "Microsoft Phi-3 mini");
    open_good(v);
    check_ids(v, "</s> \n\t a<s> a<mark> ", true, IDS(1, 2, 265, 1, 259, 265, 268));
    free_vocab(v);
}

static void test_bpe(void) {
    struct vocab *v = make_bpe();
    open_good(v);
    check_ids(v, "", true, NO_IDS);
    check_ids(v, "ab ab", true, IDS(256, ' ', 256)); // "a b" ranks before "Ġ a"
    check_ids(v, " ac", true, IDS(258, 'c'));
    check_ids(v, "bc", true, IDS(257));
    check_ids(v, "123", true, IDS(260));
    check_ids(v, "12", true, IDS('1', '2')); // merged, no token: its bytes
    check_ids(v, "xyz", true, IDS('x', 'y', 'z'));
    check_ids(v, "é", true, NO_IDS); // merged, no token, and its bytes are no ASCII
    check_ids(v, "\xff", true, IDS(0xef, 0xbf, 0xbd));
    struct token_list zero = {0};
    CHECK(tokenizer_encode(v->t, "a\0", 2, true, true, &zero, NULL) == 0 && zero.n == 2 &&
              zero.ids[0] == 'a' && zero.ids[1] == 0,
          "a NUL is a byte like others");
    token_list_free(&zero);
    check_ids(v, "<|end|>a", true, IDS(263, 'a'));
    check_ids(v, "<tool>ab", false, IDS(264, 256));
    check_ids(v, "<|sys|> x", true, IDS(267));
    check_ids(v, "<|sys|> y", true, IDS(266, ' ', 'y'));
    check_ids(v, "q<|sys|>", true, IDS('q', 266)); // the longest, not the leftmost
    check_ids(v, "q<|sys|", true, IDS(265, '|'));
    check_ids(v, "q<|sys|> x", true, IDS('q', 267));
    close_vocab(v);
    build_str(&v->build, "tokenizer.ggml.pre", "youtu");
    open_good(v);
    check_ids(v, "xyz xyz", true, IDS(261, ' ', 'x', 'y', 'z'));
    close_vocab(v);
    build_str(&v->build, "tokenizer.ggml.pre", "llama-bpe");
    open_good(v);
    check_ids(v, "a", true, IDS(11, 'a'));
    close_vocab(v);
    build_remove(&v->build, "tokenizer.ggml.pre");
    open_good(v);
    check_ids(v, "1231", true, IDS(260, '1'));
    free_vocab(v);
}

/* ---- pieces ---------------------------------------------------------------------------------- */

static void test_pieces(void) {
    struct vocab *v = make_spm();
    open_good(v);
    check_piece(v, 1, false, "", 0);
    check_piece(v, 1, true, "<s>", 3);
    check_piece(v, 0, false, "", 0);
    check_piece(v, 3 + 0xe9, false, "\xe9", 1);
    check_piece(v, 3, false, "\0", 1);
    check_piece(v, 265, false, " a", 2);
    check_piece(v, 266, false, "  ", 2);
    check_piece(v, 268, false, "<mark>", 6);
    check_piece(v, 272, false, "■ ■", 7);
    check_piece(v, 270, true, "", 0);
    check_piece(v, -1, true, "", 0);
    check_piece(v, (int32_t)v->n, true, "", 0);
    CHECK(tokenizer_n_vocab(v->t) == (int)v->n, "%d", tokenizer_n_vocab(v->t));
    CHECK(tokenizer_find(v->t, "aba", 3) == 264 && tokenizer_find(v->t, "abab", 4) == -1 &&
              tokenizer_find(v->t, "", 0) == -1,
          "tokenizer_find");
    free_vocab(v);
    v = make_bpe();
    open_good(v);
    for (int b = 0; b < 256; b++) check_piece(v, b, false, (char[]){(char)b}, 1);
    check_piece(v, 259, false, " ab", 3);
    check_piece(v, 262, false, "中", 3);
    check_piece(v, 263, false, "", 0);
    check_piece(v, 264, false, "<tool>", 6);
    free_vocab(v);
    v = make_bpe(); // the alphabet ends with U+0143
    int32_t id = add(v, "ŃńÅ", T_NORMAL, 0);
    write_arrays(v);
    open_good(v);
    check_piece(v, id, false, "\xadń\xc5", 4);
    free_vocab(v);
    v = make_bpe(); // a space stands for no byte
    id = add(v, "a b", T_NORMAL, 0);
    write_arrays(v);
    open_good(v);
    check_piece(v, id, false, "a b", 3);
    free_vocab(v);
    v = make_spm();
    int32_t gz = add(v, "<0xGZ>", T_BYTE, 0), fg = add(v, "<0xfg>", T_BYTE, 0);
    id = add(v, "ก", T_NORMAL, 0); // begins with 0xe0
    write_arrays(v);
    open_good(v);
    check_piece(v, gz, false, "<0xGZ>", 6);
    check_piece(v, fg, false, "<0xfg>", 6);
    check_ids(v, "ก", false, IDS(259, id));
    free_vocab(v);
}

/* Special tokens of one character; of none, which is never found; and one that sorts before all
 * others and begins none of them, when the one after it is not to be recognised. */
static void test_odd_specials(void) {
    struct vocab *v = make_bpe();
    add(v, "", T_USER, 0);
    int32_t one = add(v, "\x01", T_USER, 0), two = add(v, "\x02x", T_CONTROL, 0);
    write_arrays(v);
    open_good(v);
    check_ids(v, "\x01", false, IDS(one));
    check_ids(v, "\x02x", true, IDS(two));
    check_ids(v, "\x02x", false, IDS(2, 'x'));
    free_vocab(v);
}

static void test_ends(void) {
    static const char *const names[] = {
        "<|eot_id|>",           "<end_of_turn>", "<|endoftext|>", "<|eom_id|>", "<EOT>",
        "<|file_sep|>",         "<fim_pad>",     "<|repo_name|>", "[EOS]",      "<|end_of_text|>",
        "<｜end▁of▁sentence｜>"};
    struct vocab *v = make_spm();
    int32_t first = (int32_t)v->n;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) add(v, names[i], T_NORMAL, 0);
    int32_t pre = add(v, "<fim-prefix>", T_USER, 0);
    write_arrays(v);
    build_u32(&v->build, "tokenizer.ggml.eot_token_id", 260);
    build_u32(&v->build, "tokenizer.ggml.eom_token_id", 261);
    open_good(v);
    for (int32_t id = first; id < pre; id++) {
        CHECK(tokenizer_is_eog(v->t, id), "%s", names[id - first]);
        check_piece(v, id, false, "", 0);
    }
    CHECK(tokenizer_is_eog(v->t, 2) && tokenizer_is_eog(v->t, 260) && tokenizer_is_eog(v->t, 261) &&
              tokenizer_is_eog(v->t, 271),
          "EOS, EOT, EOM, <|im_end|>");
    CHECK(!tokenizer_is_eog(v->t, 1) && !tokenizer_is_eog(v->t, pre) &&
              !tokenizer_is_eog(v->t, -1) && !tokenizer_is_eog(v->t, 1 << 30),
          "BOS, <fim-prefix>, none");
    check_piece(v, pre, false, "", 0);
    check_piece(v, 260, false, "a", 1);
    free_vocab(v);
}

/* gpt-oss: <|end|> ends a message, not the answer; its channels are shown. */
static void test_harmony(void) {
    struct vocab *v = make_bpe();
    int32_t ret = add(v, "<|return|>", T_CONTROL, 0), call = add(v, "<|call|>", T_CONTROL, 0);
    int32_t channel = add(v, "<|channel|>", T_CONTROL, 0);
    write_arrays(v);
    open_good(v);
    CHECK(tokenizer_is_eog(v->t, ret) && tokenizer_is_eog(v->t, call), "<|return|>, <|call|>");
    CHECK(!tokenizer_is_eog(v->t, 263), "<|end|>");
    check_piece(v, 263, false, "<|end|>", 7);
    check_piece(v, channel, false, "<|channel|>", 11);
    free_vocab(v);
    v = make_spm();
    add(v, "<|tool_response>", T_CONTROL, 0);
    write_arrays(v);
    open_good(v);
    CHECK(!tokenizer_is_eog(v->t, 2), "</s> beside <|tool_response>");
    free_vocab(v);
}

/* ---- streaming ------------------------------------------------------------------------------- */

/* What comes out for pieces separated by '|', with '|' after each, then the rest. */
static void check_stream(const char *pieces, const char *expected) {
    char out[256];
    size_t n = 0;
    struct token_stream s = {.n_pending = 0};
    for (const char *p = pieces; *p;) {
        size_t len = strcspn(p, "|");
        struct gguf_str part[2];
        char *piece = malloc(len + 1); // its own, so that a sanitizer sees its end
        if (!piece) return;
        memcpy(piece, p, len);
        token_stream_next(&s, (struct gguf_str){piece, len}, part);
        for (int k = 0; k < 2; k++) {
            if (part[k].len) memcpy(out + n, part[k].data, part[k].len);
            n += part[k].len;
        }
        free(piece);
        out[n++] = '|';
        p += len + (p[len] == '|');
    }
    struct gguf_str rest = token_stream_end(&s);
    memcpy(out + n, rest.data, rest.len);
    out[n + rest.len] = '\0';
    CHECK(strcmp(out, expected) == 0, "%s: expected %s, found %s", pieces, expected, out);
    CHECK(token_stream_end(&s).len == 0, "nothing is held after the end");
}

static void test_stream(void) {
    check_stream("a|b", "a|b|");
    check_stream("é|\xc3|\xa9|x", "é||é|x|");
    check_stream("\xe2|\x82|\xac", "||€|");
    check_stream("\xf0\x9f|\x98\x80z", "|😀z|");
    check_stream("a\xe2\x82|\xac"
                 "b\xc3|\xa9",
                 "a|€b|é|");
    check_stream("\xe2\x82", "|\xe2\x82");          // the text ends inside a character
    check_stream("\xe2|x", "|\xe2x|");              // broken: not held back
    check_stream("\xe2|\xe2\x82|\xac", "|\xe2|€|"); // broken by the next character
    check_stream("\xe2|\xe2|\xe2", "|\xe2|\xe2|\xe2");
    check_stream("\x80\x80\xff|\xc0|\xf5|\xa9", "\x80\x80\xff|\xc0|\xf5|\xa9|");
    check_stream("\xf0|\x9f|\x98|\x80|", "|||😀|");
    check_stream("\xf0\x9f\x98|é\xe2", "|\xf0\x9f\x98é|\xe2");
    check_stream("\xc3||\xa9", "||é|");
    check_stream("\xf4\x8f|\xbf\xbf", "|\xf4\x8f\xbf\xbf|"); // the last code point
    check_stream("\xc2|\x80", "|\xc2\x80|");
}

static void test_stream_space(void) {
    struct vocab *v = make_spm();
    open_good(v);
    struct token_stream s;
    struct gguf_str out[2];
    token_stream_begin(&s, v->t, true);
    token_stream_next(&s, piece_of(v, 1, false), out); // <s>: nothing
    token_stream_next(&s, piece_of(v, 265, false), out);
    CHECK(out[0].len == 0 && out[1].len == 1 && out[1].data[0] == 'a', "the added space goes");
    token_stream_next(&s, piece_of(v, 265, false), out);
    CHECK(out[1].len == 2, "others stay");
    token_stream_begin(&s, v->t, false);
    token_stream_next(&s, piece_of(v, 265, false), out);
    CHECK(out[1].len == 2, "a continuation keeps its space");
    free_vocab(v);
}

/* ---- round trips ----------------------------------------------------------------------------- */

/* ASCII and stray bytes through SPM, random code points through BPE, printed piece by piece. */
static void check_round_trip(const struct vocab *v, const char *text, size_t len, bool spm) {
    struct token_list ids = {0};
    struct token_stream s;
    char out[1024];
    size_t n = 0;
    int failed = tokenizer_encode(v->t, text, len, false, false, &ids, NULL);
    token_stream_begin(&s, v->t, true);
    for (size_t i = 0; i < ids.n; i++) {
        struct gguf_str part[2];
        token_stream_next(&s, piece_of(v, ids.ids[i], false), part);
        for (int k = 0; k < 2; k++) {
            if (part[k].len) memcpy(out + n, part[k].data, part[k].len);
            n += part[k].len;
        }
    }
    struct gguf_str rest = token_stream_end(&s);
    memcpy(out + n, rest.data, rest.len);
    n += rest.len;
    CHECK(!failed && n == len && memcmp(out, text, len) == 0, "%s: %zu bytes in, %zu out",
          spm ? "spm" : "bpe", len, n);
    token_list_free(&ids);
}

static void test_round_trip(void) {
    static const char *const merges[] = {"a b", "b c", "Ġ a", "Ġa b"}; // all make tokens
    struct vocab *spm = make_spm(), *bpe = make_bpe();
    build_strs(&bpe->build, "tokenizer.ggml.merges", 4, merges);
    open_good(spm);
    open_good(bpe);
    uint64_t state = 20260101;
    for (int i = 0; i < 2000; i++) {
        char text[256];
        size_t len = test_random(&state) % 60, n = 0;
        for (size_t k = 0; k < len; k++) {
            uint64_t r = test_random(&state);
            text[k] = r & 1 ? "ab <>12\0"[r / 2 % 8] : (char)(0x80 | (r >> 8 & 0x3f));
        }
        check_round_trip(spm, text, len, true);
        while (n < len) {
            uint32_t cp = (uint32_t)(test_random(&state) >> (43 + test_random(&state) % 14));
            if (cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000)) continue;
            if (cp < 0x80) {
                text[n++] = (char)cp;
            } else {
                int bytes = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
                for (int k = bytes - 1; k > 0; k--, cp >>= 6)
                    text[n + (size_t)k] = (char)(0x80 | (cp & 63));
                text[n] = (char)((0xf00 >> bytes) | (int)cp);
                n += (size_t)bytes;
            }
        }
        check_round_trip(bpe, text, n, false);
    }
    free_vocab(spm);
    free_vocab(bpe);
}

/* ---- bad vocabularies ------------------------------------------------------------------------ */

static void test_refusals(void) {
    struct vocab *v = make_spm();
    build_remove(&v->build, "tokenizer.ggml.model");
    check_refused(v, "tokenizer.ggml.model is missing");
    v = make_spm();
    build_u32(&v->build, "tokenizer.ggml.model", 1);
    check_refused(v, "tokenizer.ggml.model: expected a string");
    v = make_spm();
    build_str(&v->build, "tokenizer.ggml.model", "new");
    check_refused(
        v, "tokenizer.ggml.model: 'new' is not known, only llama, gpt2, gemma4 and plamo2 are");
    v = make_bpe();
    build_str(&v->build, "tokenizer.ggml.pre", "new-one");
    check_refused(v, "tokenizer.ggml.pre: the pre-tokenizer 'new-one' is not known");
    v = make_bpe();
    build_remove(&v->build, "tokenizer.ggml.merges");
    check_refused(v, "tokenizer.ggml.merges is missing");
    v = make_bpe();
    build_u32(&v->build, "tokenizer.ggml.merges", 7);
    check_refused(v, "tokenizer.ggml.merges: expected an array of strings");
    v = make_spm();
    build_remove(&v->build, "tokenizer.ggml.tokens");
    check_refused(v, "tokenizer.ggml.tokens is missing");
    v = make_spm();
    build_strs(&v->build, "tokenizer.ggml.tokens", 0, NULL);
    check_refused(v, "tokenizer.ggml.tokens is missing or empty");
    v = make_spm();
    build_i32s(&v->build, "tokenizer.ggml.tokens", v->n, v->type);
    check_refused(v, "tokenizer.ggml.tokens: expected an array of strings");
}

static void test_bad_arrays(void) {
    struct vocab *v = make_spm();
    build_i32s(&v->build, "tokenizer.ggml.token_type", v->n - 1, v->type);
    check_refused(v, "tokenizer.ggml.token_type: has 272 entries, the vocabulary has 273");
    v = make_spm();
    build_f32s(&v->build, "tokenizer.ggml.scores", 3, v->score);
    check_refused(v, "tokenizer.ggml.scores: has 3 entries, the vocabulary has 273");
    v = make_spm();
    build_i32s(&v->build, "tokenizer.ggml.scores", v->n, v->type);
    check_refused(v, "tokenizer.ggml.scores: expected an array of floats");
    v = make_spm();
    v->score[260] = 0.0f / (float)(v->n - v->n);
    write_arrays(v);
    check_refused(v, "tokenizer.ggml.scores: entry 260 is not a number");
    v = make_spm();
    build_f32s(&v->build, "tokenizer.ggml.token_type", v->n, v->score);
    check_refused(v, "tokenizer.ggml.token_type: expected an array of integers");
}

static void test_bad_ids(void) {
    static const char *const keys[] = {"bos_token_id",     "eos_token_id",     "unknown_token_id",
                                       "eot_token_id",     "eom_token_id",     "fim_pre_token_id",
                                       "fim_suf_token_id", "fim_mid_token_id", "fim_pad_token_id",
                                       "fim_rep_token_id", "fim_sep_token_id"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char key[64], what[128];
        snprintf(key, sizeof key, "tokenizer.ggml.%s", keys[i]);
        snprintf(what, sizeof what, "%s: 273 is no token, the vocabulary has 273", key);
        struct vocab *v = make_spm();
        build_u32(&v->build, key, 273);
        check_refused(v, what);
        v = make_spm();
        build_str(&v->build, key, "1");
        snprintf(what, sizeof what, "%s: expected an integer", key);
        check_refused(v, what);
    }
    struct vocab *v = make_bpe();
    v->n = 5;
    write_arrays(v);
    build_bool(&v->build, "tokenizer.ggml.add_bos_token", true);
    check_refused(v, "BOS is to be added, but there is none");
    v = make_bpe();
    build_u32(&v->build, "tokenizer.ggml.eos_token_id", UINT32_MAX);
    v->n = 5;
    write_arrays(v);
    build_bool(&v->build, "tokenizer.ggml.add_eos_token", true);
    check_refused(v, "EOS is to be added, but there is none");
    v = make_spm();
    build_u32(&v->build, "tokenizer.ggml.add_bos_token", 1);
    check_refused(v, "tokenizer.ggml.add_bos_token: expected a bool");
}

/* Vocabularies that are odd, but can be worked with. */
static void test_odd(void) {
    struct vocab *v = make_spm();
    v->text[100] = v->text[101] = ""; // empty texts stand for no text at all
    v->type[260] = 77;                // no known type: never printed
    v->n -= 1;
    build_strs(&v->build, "tokenizer.ggml.tokens", v->n, v->text); // the other arrays are longer
    build_i32s(&v->build, "tokenizer.ggml.token_type", v->n + 1, v->type);
    build_u32(&v->build, "tokenizer.ggml.eot_token_id", UINT32_MAX);
    open_good(v);
    check_ids(v, "a", false, IDS(265));
    check_piece(v, 260, true, "", 0);
    check_piece(v, 100, true, "", 0);
    check_ids(v, "a", true, IDS(1, 265));
    check_ids(v, "aa b", false, IDS(265, 260, 259, 261));
    free_vocab(v);

    v = make_spm(); // bytes without tokens are unknown
    v->text[3 + 'x'] = "";
    write_arrays(v);
    open_good(v);
    check_ids(v, "x", false, IDS(259, 0));
    free_vocab(v);
    v = make_spm(); // and an error if that is none either
    v->n = 1;
    v->text[0] = "a";
    v->type[0] = T_NORMAL;
    write_arrays(v);
    build_bool(&v->build, "tokenizer.ggml.add_bos_token", false);
    build_bool(&v->build, "tokenizer.ggml.add_space_prefix", false);
    open_good(v);
    check_ids(v, "aa", true, IDS(0, 0));
    check_ids(v, "b", true, IDS(0)); // the default id of <unk>
    free_vocab(v);
}

/* A long special token is text; so is a special token's beginning. */
static void test_long_special(void) {
    static char name[600];
    memset(name, '<', sizeof name - 1);
    struct vocab *v = make_bpe();
    int32_t id = add(v, name, T_CONTROL, 0);
    int32_t shorter = add(v, name + 599 - 512, T_CONTROL, 0);
    write_arrays(v);
    open_good(v);
    struct token_list out = {0};
    int failed = tokenizer_encode(v->t, name, 599, true, true, &out, NULL);
    CHECK(!failed && out.n == 1 + 599 - 512 && out.ids[0] == shorter && out.ids[1] != id,
          "%zu ids, the first %d", out.n, out.ids[0]);
    token_list_free(&out);
    free_vocab(v);
}

/* A merge that looked at the whole text for every step would take minutes. */
static void test_long_text(void) {
    size_t len = 1 << 18;
    char *text = malloc(len);
    struct vocab *v[] = {make_spm(), make_bpe()};
    if (!text) return;
    for (int i = 0; i < 2; i++) {
        open_good(v[i]);
        for (const char *unit = "a <\nb\xe2"; *unit; unit++) {
            struct token_list out = {0};
            memset(text, *unit, len);
            int failed = tokenizer_encode(v[i]->t, text, len, true, true, &out, NULL);
            CHECK(!failed && out.n >= len / 4, "%zu ids for '%c'", out.n, *unit);
            token_list_free(&out);
        }
        free_vocab(v[i]);
    }
    free(text);
}

static atomic_int alarmed;

static void on_alarm(int signal_number) {
    (void)signal_number;
    alarmed = 1;
}

/* 4 MB take a second; after 20 ms of it a signal asks for the end. */
static void test_stop(void) {
    size_t len = 1 << 22;
    char *text = malloc(len);
    struct vocab *v[] = {make_spm(), make_bpe()};
    if (!text) return;
    memset(text, 'a', len);
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGVTALRM, &action, NULL);
    for (int i = 0; i < 2; i++) {
        struct token_list out = {0};
        struct error err = {KQ_OK, ""};
        struct itimerval once = {.it_value = {.tv_usec = 20000}};
        open_good(v[i]);
        alarmed = 0;
        tokenizer_stop_on(v[i]->t, &alarmed);
        CHECK(tokenizer_encode(v[i]->t, text, 64, true, true, &out, &err) == 0, "%s", err.text);
        setitimer(ITIMER_VIRTUAL, &once, NULL);
        int failed = tokenizer_encode(v[i]->t, text, len, true, true, &out, &err);
        CHECK(failed && strcmp(err.text, "stopped while reading a text") == 0, "%d, \"%s\"", failed,
              err.text);
        token_list_free(&out);
        free_vocab(v[i]);
    }
    free(text);
}

int main(int argc, char **argv) {
    if (argc == 3) {
        check_file(argv[1], argv[2]);
        return test_done("test_tokenizer");
    }
    test_files();
    test_spm();
    test_spm_keys();
    test_phi3();
    test_bpe();
    test_pieces();
    test_ends();
    test_harmony();
    test_stream();
    test_stream_space();
    test_round_trip();
    test_refusals();
    test_bad_arrays();
    test_bad_ids();
    test_odd();
    test_odd_specials();
    test_long_special();
    test_long_text();
    test_stop();
    return test_done("test_tokenizer");
}
