/* Vocabularies that are not SPM or byte-level BPE, that hold a text twice, or say something in
 * their keys that is not followed or was left out: what is found, what is printed and what is said.
 */
#include "small_vocab.h"

/* ---- BPE over characters --------------------------------------------------------------------- */

/* As Gemma 4 has it: no alphabet, spaces as U+2581, bytes as <0x41>. The byte 0xa9 has no token. */
static struct vocab *make_raw(void) {
    static const char *const merges[] = {"a b", "▁ ▁", "▁ ab", "\n \n", "\n\n \n"};
    struct vocab *v = calloc(1, sizeof *v);
    if (!v) exit(1);
    build_str(&v->build, "tokenizer.ggml.model", "gemma4");
    build_u32(&v->build, "tokenizer.ggml.bos_token_id", 2);
    build_u32(&v->build, "tokenizer.ggml.eos_token_id", 1);
    add(v, "<pad>", T_CONTROL, 0);
    add(v, "<eos>", T_CONTROL, 0);
    add(v, "<bos>", T_CONTROL, 0);
    for (unsigned b = 0; b < 256; b++) { // 3 ...
        snprintf(v->bytes[b], sizeof v->bytes[b], b == 0xa9 ? "<0x%02x>" : "<0x%02X>", b);
        add(v, v->bytes[b], T_BYTE, 0);
    }
    add(v, "a", T_NORMAL, 0);        // 259
    add(v, "b", T_NORMAL, 0);        // 260
    add(v, "ab", T_NORMAL, 0);       // 261
    add(v, "▁", T_NORMAL, 0);        // 262
    add(v, "▁▁", T_NORMAL, 0);       // 263
    add(v, "▁ab", T_NORMAL, 0);      // 264
    add(v, "\n", T_NORMAL, 0);       // 265
    add(v, "\n\n", T_NORMAL, 0);     // 266
    add(v, "\n\n\n\n", T_NORMAL, 0); // 267
    add(v, "aé", T_NORMAL, 0);       // 268: no merge makes it
    add(v, "<tool>", T_USER, 0);     // 269
    add(v, "▁tool▁", T_USER, 0);     // 270
    write_arrays(v);
    build_strs(&v->build, "tokenizer.ggml.merges", sizeof merges / sizeof *merges, merges);
    return v;
}

#define BYTE(b) (3 + (b))

static void check_raw(const struct vocab *v, bool gemma4) {
    check_ids(v, "ab", false, IDS(261));
    check_ids(v, " ab", false, IDS(264));
    check_ids(v, "   ab", false, IDS(263, 264));
    check_ids(v, "▁ab", false, IDS(264));                     // the same as a space
    check_ids(v, "ab  \nab", false, IDS(261, 263, 265, 261)); // no merge crosses a line's end
    check_ids(v, "A", false, IDS(BYTE('A')));
    check_ids(v, "Ab\t", false, IDS(BYTE('A'), 260, BYTE('\t')));
    check_ids(v, "é", false, IDS(BYTE(0xc3)));       // and a byte without a token is dropped
    check_ids(v, "aé", false, IDS(259, BYTE(0xc3))); // a token, but words are merged
    check_ids(v, "中", false, IDS(BYTE(0xe4), BYTE(0xb8), BYTE(0xad)));
    check_ids(v, "\xff", false, IDS(BYTE(0xef), BYTE(0xbf), BYTE(0xbd))); // U+FFFD
    check_ids(v, "<tool>a<eos>", false,
              IDS(269, 259, BYTE('<'), BYTE('e'), BYTE('o'), BYTE('s'), BYTE('>')));
    check_ids(v, "\n", false, IDS(265));
    check_ids(v, "a\n\nb", false, IDS(259, 266, 260));
    /* Four newlines are a token that no merge makes; three are none, though a merge makes them. */
    if (gemma4) {
        check_ids(v, "\n\n\n\n", false, IDS(267));
    } else {
        check_ids(v, "\n\n\n\n", false, IDS(266, 266));
    }
    check_ids(v, "\n\n\n", false, IDS(BYTE('\n'), BYTE('\n'), BYTE('\n')));
}

static void test_gemma4(void) {
    struct vocab *v = make_raw();
    build_str(&v->build, "tokenizer.ggml.pre", "no such thing"); // is not asked
    build_bool(&v->build, "tokenizer.ggml.add_bos_token", false);
    open_good(v);
    check_raw(v, true);
    check_ids(v, "", true, IDS(2));
    check_ids(v, "<eos> ab", true, IDS(2, 1, 264));
    check_piece(v, 264, false, " ab", 3);
    check_piece(v, 270, false, "▁tool▁", 10);
    check_piece(v, BYTE(0xe4), false, "\xe4", 1);
    check_piece(v, BYTE(0xa9), false, "\xa9", 1); // a lower-case name is not found, but printed
    check_piece(v, 1, false, "", 0);
    CHECK(tokenizer_is_eog(v->t, 1) && !tokenizer_is_eog(v->t, 2), "ends");
    free_vocab(v);

    v = make_raw();
    build_remove(&v->build, "tokenizer.ggml.eos_token_id");
    open_good(v);
    CHECK(tokenizer_eos(v->t) == -1, "there are no default ids");
    free_vocab(v);

    v = make_raw();
    build_remove(&v->build, "tokenizer.ggml.bos_token_id");
    check_refused(v, "BOS is to be added, but there is none");
}

static void test_raw_names(void) {
    static const char *const names[] = {"gemma4", "granite-embed-multi-311m", "sarvam-moe"};
    for (int i = 0; i < 3; i++) {
        struct vocab *v = make_raw();
        build_str(&v->build, "tokenizer.ggml.model", "gpt2");
        build_str(&v->build, "tokenizer.ggml.pre", names[i]);
        open_good(v);
        check_raw(v, i < 2);
        check_piece(v, 264, false, " ab", 3);
        check_ids(v, "ab", true, i < 2 ? IDS(2, 261) : IDS(261));
        free_vocab(v);
    }
}

/* ---- the cheapest cut ------------------------------------------------------------------------ */

static struct vocab *make_plamo2(void) {
    struct vocab *v = make_spm(); // <unk> <s> </s>, bytes, then from 259 on
    build_str(&v->build, "tokenizer.ggml.model", "plamo2");
    for (size_t i = 259; i < v->n; i++) v->score[i] = -9;
    v->score[262] = -18.00004f;     // ab: as dear as a and b, in ten-thousandths, and longer
    v->score[263] = -18.00006f;     // ba: dearer
    v->score[264] = -26;            // aba
    add(v, "zzz", T_NORMAL, -2000); // 273: no piece
    add(v, "bbb", T_NORMAL, -1999); // 274: dearer than three b
    add(v, "c", T_NORMAL, -1500);   // 275: dearer than its byte
    add(v, "dd", T_NORMAL, 2);      // 276: better than free
    write_arrays(v);
    return v;
}

static void test_plamo2(void) {
    struct vocab *v = make_plamo2();
    open_good(v);
    check_ids(v, "a", true, IDS(260)); // no BOS, no space
    check_ids(v, "ab", false, IDS(262));
    check_ids(v, "aba", false, IDS(264));
    check_ids(v, "ba", false, IDS(261, 260));
    check_ids(v, "zzz", false, IDS(3 + 'z', 3 + 'z', 3 + 'z'));
    check_ids(v, "<0x41>", false, IDS(3 + '<', 3 + '0', 3 + 'x', 3 + '4', 3 + '1', 3 + '>'));
    check_ids(v, "bbbb", false, IDS(261, 261, 261, 261));
    check_ids(v, "c d", false, IDS(3 + 'c', 3 + ' ', 3 + 'd'));
    check_ids(v, "ddd", false, IDS(276, 3 + 'd')); // of equals the longest first
    check_ids(v, "é\xff", false, IDS(267, 3 + 0xef, 3 + 0xbf, 3 + 0xbd));
    check_ids(v, "\ufeffa\ufeff", false, IDS(260, 3 + 0xef, 3 + 0xbb, 3 + 0xbf));
    check_ids(v, "\ufeff", false, NO_IDS);
    check_ids(v, "<s> a<mark>", true, IDS(1, 3 + ' ', 260, 268));
    check_piece(v, 266, false, "▁▁", 6); // as it is
    check_piece(v, 270, false, "abc", 3);
    check_piece(v, 3 + 0xff, false, "\xff", 1);
    free_vocab(v);
    v = make_plamo2();
    build_bool(&v->build, "tokenizer.ggml.add_bos_token", true);
    open_good(v);
    check_ids(v, "a", true, IDS(260));
    CHECK(strstr(tokenizer_note(v->t, 0), "add_bos_token is not followed: nothing is put before"),
          "%s", tokenizer_note(v->t, 0));
    free_vocab(v);
    v = make_plamo2();
    v->text[3 + 0x80] = "<0x8>";
    write_arrays(v);
    check_refused(v, "there is no token for the byte 0x80");
}

/* ---- texts without tokens -------------------------------------------------------------------- */

static void check_lost(struct vocab *v, const char *text, size_t expected) {
    struct token_list ids = {0};
    tokenizer_encode(v->t, text, strlen(text), false, false, &ids, &v->err);
    CHECK(ids.n_lost == expected, "'%s': %zu bytes are lost, expected %zu", text, ids.n_lost,
          expected);
    token_list_free(&ids);
}

static void test_lost(void) {
    struct vocab *v = make_raw();
    open_good(v);
    check_lost(v, "ab é\n中", 1); // 0xa9
    check_lost(v, "éé", 2);
    free_vocab(v);
    v = make_bpe();
    v->text[' '] = "no space";
    v->text['z'] = "no z";
    v->text[0xe9] = "no byte";
    write_arrays(v);
    open_good(v);
    check_lost(v, "zab z", 3); // "Ġ" is two bytes that stand for one
    check_lost(v, "a b 鉰", 3);
    check_lost(v, "é", 2); // a merge makes what is no token
    check_lost(v, "ab\n", 0);
    free_vocab(v);
}

/* ---- texts that stand twice ------------------------------------------------------------------ */

static void test_equal_texts(void) {
    struct vocab *v = make_spm();
    add(v, "ab", T_NORMAL, 5);        // 273: would be the better pair
    add(v, "<mark>", T_CONTROL, 0);   // 274
    add(v, "<twice>", T_CONTROL, 0);  // 275
    add(v, "<twice>", T_USER, 0);     // 276
    add(v, "<twice>!", T_CONTROL, 0); // 277
    add(v, "", T_NORMAL, 0);
    add(v, "", T_NORMAL, 0);
    write_arrays(v);
    open_good(v);
    check_ids(v, "xaba", false, IDS(259, 3 + 'x', 264)); // by the first one's score
    check_ids(v, "xab", false, IDS(259, 3 + 'x', 262));
    check_ids(v, "<mark>a<twice>", true, IDS(1, 268, 265, 275));
    check_ids(v, "<twice>!<twice>", true, IDS(1, 277, 275));
    check_piece(v, 262, false, "ab", 2);
    check_piece(v, 273, false, "ab", 2);
    check_piece(v, 276, false, "<twice>", 7);
    check_piece(v, 279, false, "", 0);
    CHECK(tokenizer_find(v->t, "ab", 2) == 262 && tokenizer_find(v->t, "<twice>", 7) == 275,
          "the first is found");
    free_vocab(v);

    v = make_bpe();
    add(v, "ab", T_NORMAL, 0); // 268
    write_arrays(v);
    open_good(v);
    check_ids(v, "ab", false, IDS(256));
    check_piece(v, 268, false, "ab", 2);
    free_vocab(v);
}

/* ---- tokens that take the white space beside them -------------------------------------------- */

static void test_stripping(void) {
    static const struct {
        const char *key, *value;
        bool mask, brackets; // <mask> and [MASK] take the white space before them
    } cases[] = {
        {"tokenizer.ggml.pre", "jina-v2-code", true, false},
        {"tokenizer.ggml.pre", "jina-v2-de", true, false},
        {"tokenizer.ggml.pre", "jina-v2-es", true, false},
        {"general.architecture", "jina-bert-v3", true, false},
        {"general.architecture", "nomic-bert-moe", true, false},
        {"general.name", "Modern-BERT base", false, true},
        {"general.name", "another", false, false},
        {"tokenizer.ggml.pre", "jina-v1-en", false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct vocab *v = make_bpe();
        add(v, "<mask>", T_CONTROL, 0); // 268
        add(v, "[MASK]", T_CONTROL, 0); // 269
        add(v, "<x>", T_USER, 0);       // 270
        write_arrays(v);
        build_str(&v->build, cases[i].key, cases[i].value);
        open_good(v);
        check_ids(v, "x<mask> y", true, IDS('x', 268, ' ', 'y'));
        check_ids(v, "x \t<mask>", true, cases[i].mask ? IDS('x', 268) : IDS('x', ' ', '\t', 268));
        check_ids(v, " <mask> <mask>", true,
                  cases[i].mask ? IDS(268, 268) : IDS(' ', 268, ' ', 268));
        check_ids(v, "<x> <mask>", true, cases[i].mask ? IDS(270, 268) : IDS(270, ' ', 268));
        check_ids(v, "x [MASK] ", true,
                  cases[i].brackets ? IDS('x', 269, ' ') : IDS('x', ' ', 269, ' '));
        free_vocab(v);
    }
}

/* ---- keys ------------------------------------------------------------------------------------ */

/* All notes, a line each. */
static const char *notes_of(const struct vocab *v) {
    static char text[8192];
    const char *note;
    text[0] = '\0';
    for (size_t i = 0; v->t && (note = tokenizer_note(v->t, i)) != NULL; i++) {
        strncat(text, note, sizeof text - strlen(text) - 2);
        strcat(text, "\n");
    }
    return text;
}

/* expected NULL: nothing is said. Frees v. */
static void check_note(struct vocab *v, const char *expected) {
    open_good(v);
    const char *notes = notes_of(v);
    CHECK(expected ? strstr(notes, expected) != NULL && strchr(notes, '\n')[1] == '\0' : !*notes,
          "expected %s, found %s", expected ? expected : "nothing", notes);
    free_vocab(v);
}

static void test_missing_rules(void) {
    struct vocab *v = make_bpe();
    build_remove(&v->build, "tokenizer.ggml.pre");
    check_note(v, "tokenizer.ggml.pre is missing: the file names no pre-tokenizer, so that "
                  "\"default\" is used; answers may be worse for it\n");
    v = make_bpe();
    build_str(&v->build, "tokenizer.ggml.pre", "");
    check_note(v, "tokenizer.ggml.pre is missing");
    v = make_bpe();
    build_str(&v->build, "tokenizer.ggml.pre", "default");
    check_note(v, NULL);
    check_note(make_bpe(), NULL);
    check_note(make_spm(), NULL);
    check_note(make_raw(), NULL);
    v = make_raw();
    build_bool(&v->build, "tokenizer.ggml.add_bos_token", false);
    check_note(v, "tokenizer.ggml.add_bos_token is false, as in early files of this kind");
    v = make_raw();
    build_bool(&v->build, "tokenizer.ggml.add_bos_token", true);
    check_note(v, NULL);
}

static void test_keys(void) {
    static const char *const harmless[] = {
        "padding_token_id", "seperator_token_id", "separator_token_id",
        "cls_token_id",     "mask_token_id",      "token_type_count",
    };
    static const struct {
        const char *key, *note;
    } off[] = {
        {"add_sep_token", "is not followed: no separator is added to texts"},
        {"remove_extra_whitespaces", "is not followed: white space is kept as it is"},
        {"normalizer.lowercase", "is not followed: letters keep their case"},
        {"normalizer.strip_accents", "is not followed: letters keep their accents"},
        {"precompiled_charsmap", "is not followed: texts are not normalized"},
        {"a_new_key", "is not known to this engine: token ids may be other ones"},
    };
    char key[64];
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
        struct vocab *v = make_spm();
        snprintf(key, sizeof key, "tokenizer.ggml.%s", harmless[i]);
        build_u32(&v->build, key, 3);
        check_note(v, NULL);
    }
    for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
        for (int value = 0; value < 2; value++) {
            struct vocab *v = i % 2 ? make_spm() : make_bpe();
            snprintf(key, sizeof key, "tokenizer.ggml.%s", off[i].key);
            build_bool(&v->build, key, value);
            bool unknown = i + 1 == sizeof off / sizeof *off;
            check_note(v, value || unknown ? off[i].note : NULL);
        }
    }
    for (int space = 0; space < 2; space++) { // SPM does it
        struct vocab *v = make_bpe();
        build_bool(&v->build, "tokenizer.ggml.add_space_prefix", space);
        check_note(v, space ? "add_space_prefix is not followed: no space is put before" : NULL);
        v = make_spm();
        build_bool(&v->build, "tokenizer.ggml.add_space_prefix", space);
        check_note(v, NULL);
    }
}

static void test_other_keys(void) {
    char key[64];
    struct vocab *v = make_spm();
    build_str(&v->build, "tokenizer.chat_template", "a");
    build_str(&v->build, "tokenizer.chat_template.tool_use", "b");
    build_str(&v->build, "tokenizer.huggingface.json", "{}");
    build_array(&v->build, "tokenizer.ggml.precompiled_charsmap", GGUF_UINT8, 0, NULL, 0);
    check_note(v, NULL);
    v = make_spm();
    build_array(&v->build, "tokenizer.ggml.precompiled_charsmap", GGUF_UINT8, 3, "abc", 3);
    check_note(v, "texts are not normalized");
    v = make_spm();
    build_f32(&v->build, "tokenizer.ggml.add_sep_token", 0); // no bool: nobody knows
    check_note(v, "no separator is added");

    v = make_spm(); // a file may have as many keys as it likes
    for (int i = 0; i < 40; i++) {
        snprintf(key, sizeof key, "tokenizer.%d", i);
        build_bool(&v->build, key, true);
    }
    open_good(v);
    CHECK(strstr(notes_of(v), "tokenizer.15 is") && !strstr(notes_of(v), "tokenizer.16 is"), "%s",
          notes_of(v));
    free_vocab(v);
}

/* Roles by older keys, ends by a list, ids that are never to be generated. */
static void test_ids(void) {
    static const char *const older[] = {"prefix_token_id", "suffix_token_id", "middle_token_id"};
    static const char *const names[] = {"<PRE>", "<SUF>", "<MID>"};
    for (int i = 0; i < 3; i++) {
        for (int named = 0; named < 2; named++) {
            struct vocab *v = make_spm();
            char key[64];
            int32_t id = add(v, names[i], T_USER, 0); // found in any text, unless it has the role
            write_arrays(v);
            snprintf(key, sizeof key, "tokenizer.ggml.%s", older[i]);
            if (named) build_u32(&v->build, key, 260);
            open_good(v);
            struct token_list ids = {0};
            tokenizer_encode(v->t, names[i], 5, false, false, &ids, &v->err);
            CHECK((ids.n == 1 && ids.ids[0] == id) == named, "%s: %zu ids", names[i], ids.n);
            token_list_free(&ids);
            free_vocab(v);
        }
    }
    struct vocab *v = make_spm();
    static const int32_t ends[] = {262, -1, 264, 100000}, never[] = {5, -3, 272, 273, 6};
    build_i32s(&v->build, "tokenizer.ggml.eos_token_ids", 4, ends);
    build_i32s(&v->build, "tokenizer.ggml.suppress_tokens", 5, never);
    open_good(v);
    size_t n;
    const int32_t *ids = tokenizer_suppressed(v->t, &n);
    CHECK(n == 3 && ids[0] == 5 && ids[1] == 272 && ids[2] == 6, "%zu ids", n);
    for (int32_t id = 260; id < 266; id++) {
        CHECK(tokenizer_is_eog(v->t, id) == (id == 262 || id == 264), "token %d", id);
    }
    free_vocab(v);
    v = make_spm();
    build_u32(&v->build, "tokenizer.ggml.suppress_tokens", 5);
    check_refused(v, "tokenizer.ggml.suppress_tokens: expected an array of integers");
    v = make_spm();
    build_u32(&v->build, "tokenizer.ggml.prefix_token_id", 273);
    check_refused(v, "tokenizer.ggml.prefix_token_id: 273 is no token");
}

static void test_other_models(void) {
    static const char *const others[][2] = {
        {"t5", "'t5' (UGM, unigrams) is not supported"},
        {"bert", "'bert' (WPM, word pieces) is not supported"},
        {"rwkv", "'rwkv' (RWKV's greedy one) is not supported"},
        {"hybriddna", "'hybriddna' ("},
        {"whitespace", "'whitespace' ("},
        {"none", "'none' (no vocabulary at all) is not supported"},
        {"no_vocab", "'no_vocab' (no vocabulary at all) is not supported"},
        {"llama2", "'llama2' is not known"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct vocab *v = make_spm();
        build_str(&v->build, "tokenizer.ggml.model", others[i][0]);
        check_refused(v, others[i][1]);
    }
}

int main(void) {
    test_gemma4();
    test_raw_names();
    test_plamo2();
    test_lost();
    test_equal_texts();
    test_stripping();
    test_missing_rules();
    test_keys();
    test_other_keys();
    test_ids();
    test_other_models();
    return test_done("test_vocabulary");
}
