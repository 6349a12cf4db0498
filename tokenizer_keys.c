/* What becomes of the keys of a vocabulary that tokenizer_load.c does not follow. */
#include "tokenizer_internal.h"

#define KEY(name) "tokenizer.ggml." name

/* A name that ends in '*' stands for all that begin so. */
static const struct known_key {
    const char *name;
    enum {
        USED,     // by tokenizer_load.c, or by chat templates
        HARMLESS, // whatever it says
        OFF,      // if it is false, 0 or absent: else `why` is said
        OFF_BPE,  // the same for BPE; SPM uses it
        OFF_PLAMO2,
    } is;
    const char *why;
} known_keys[] = {
    {KEY("model"), USED, NULL},
    {KEY("pre"), USED, NULL},
    {KEY("tokens"), USED, NULL},
    {KEY("token_type"), USED, NULL},
    {KEY("scores"), USED, NULL},
    {KEY("merges"), USED, NULL},
    {KEY("add_bos_token"), OFF_PLAMO2, "nothing is put before texts, as in llama.cpp"},
    {KEY("add_eos_token"), OFF_PLAMO2, "nothing is put after texts, as in llama.cpp"},
    {KEY("bos_token_id"), USED, NULL},
    {KEY("eos_token_id"), USED, NULL},
    {KEY("eos_token_ids"), USED, NULL},
    {KEY("eot_token_id"), USED, NULL},
    {KEY("eom_token_id"), USED, NULL},
    {KEY("unknown_token_id"), USED, NULL},
    {KEY("fim_pre_token_id"), USED, NULL},
    {KEY("fim_suf_token_id"), USED, NULL},
    {KEY("fim_mid_token_id"), USED, NULL},
    {KEY("fim_pad_token_id"), USED, NULL},
    {KEY("fim_rep_token_id"), USED, NULL},
    {KEY("fim_sep_token_id"), USED, NULL},
    {KEY("prefix_token_id"), USED, NULL},
    {KEY("suffix_token_id"), USED, NULL},
    {KEY("middle_token_id"), USED, NULL},
    {KEY("suppress_tokens"), USED, NULL},
    {"tokenizer.chat_template*", USED, NULL},
    {KEY("padding_token_id"), HARMLESS, "nothing is padded"},
    {KEY("seperator_token_id"), HARMLESS, "no separator is added"}, // so it is spelled
    {KEY("separator_token_id"), HARMLESS, "no separator is added"},
    {KEY("cls_token_id"), HARMLESS, "of encoders"},
    {KEY("mask_token_id"), HARMLESS, "of encoders"},
    {KEY("token_type_count"), HARMLESS, "of encoders"},
    {KEY("added_tokens"), HARMLESS, "they are among the tokens, too"},
    {"tokenizer.huggingface.json", HARMLESS, "the vocabulary in another form"},
    {"tokenizer.rwkv.world", HARMLESS, "the vocabulary in another form"},
    {KEY("add_space_prefix"), OFF_BPE, "no space is put before texts"},
    {KEY("add_sep_token"), OFF, "no separator is added to texts"},
    {KEY("remove_extra_whitespaces"), OFF, "white space is kept as it is"},
    {KEY("normalizer.lowercase"), OFF, "letters keep their case"},
    {KEY("normalizer.strip_accents"), OFF, "letters keep their accents"},
    {KEY("precompiled_charsmap"), OFF, "texts are not normalized"},
};

/* "KEY what why". */
static void note(struct tokenizer *t, struct gguf_str key, const char *what, const char *why) {
    if (t->n_notes == NOTES_MAX) return;
    error_set(&t->notes[t->n_notes++], KQ_UNSUPPORTED, "%.*s %s%s", GGUF_SHORT(key), what, why);
}

#define TEXT(literal) ((struct gguf_str){literal, sizeof(literal) - 1})

static const struct known_key *find(struct gguf_str key) {
    for (size_t i = 0; i < sizeof known_keys / sizeof *known_keys; i++) {
        const struct known_key *k = &known_keys[i];
        struct gguf_str stem = {k->name, strlen(k->name) - 1};
        bool is_stem = k->name[stem.len] == '*';
        if (is_stem ? begins_with(key, stem) : gguf_str_eq(key, k->name)) return k;
    }
    return NULL;
}

static bool is_off(const struct gguf_kv *kv) {
    if (kv->type == GGUF_ARRAY) return kv->n == 0;
    bool is_integer =
        kv->type != GGUF_STRING && kv->type != GGUF_FLOAT32 && kv->type != GGUF_FLOAT64;
    return is_integer && gguf_int_at(kv, 0) == 0;
}

void tokenizer_check_keys(struct tokenizer *t, const struct gguf *g) {
    bool add_bos = true;
    struct gguf_str pre = {0};
    struct error err;
    if (t->bpe && !t->pre->raw && (gguf_get_str(g, KEY("pre"), &pre, &err) <= 0 || !pre.len)) {
        note(
            t, TEXT(KEY("pre")),
            "is missing: the file names no pre-tokenizer, so that \"default\" is used; answers may "
            "be worse for it",
            "");
    }
    if (t->bpe && t->pre->needs_bos && gguf_get_bool(g, KEY("add_bos_token"), &add_bos, &err) > 0 &&
        !add_bos) {
        note(t, TEXT(KEY("add_bos_token")),
             "is false, as in early files of this kind: BOS is added all the same", "");
    }
    for (size_t i = 0; i < g->n_kv; i++) {
        const struct gguf_kv *kv = &g->kv[i];
        if (!begins_with(kv->key, TEXT("tokenizer."))) continue;
        const struct known_key *known = find(kv->key);
        bool off = known && (known->is == OFF || (known->is == OFF_BPE && (t->bpe || t->plamo2)) ||
                             (known->is == OFF_PLAMO2 && t->plamo2));
        if (!known) {
            note(t, kv->key, "is not known to this engine: token ids may be other ones", "");
        } else if (off && !is_off(kv)) {
            note(t, kv->key, "is not followed: ", known->why);
        }
    }
}
