/* Reading a vocabulary from a file's tokenizer.ggml.* keys. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "floats.h"
#include "fpstate.h"
#include "tokenizer_internal.h"
#include "utf8.h"

#define KEY(name) "tokenizer.ggml." name

static int32_t find_name(const struct tokenizer *t, const char *name) {
    return tokenizer_find(t, name, strlen(name));
}

/* ---- loading: arrays ------------------------------------------------------------------------- */

static int get_array(const struct gguf *g, const char *key, enum gguf_type type, uint64_t n,
                     const struct gguf_kv **array, struct error *err) {
    int found = gguf_get_array(g, key, type, array, err);
    if (found > 0 && (*array)->n < n) {
        return error_set(err, KQ_BAD_FILE, "%s: has %llu entries, the vocabulary has %llu tokens",
                         key, (unsigned long long)(*array)->n, (unsigned long long)n);
    }
    return found;
}

static int load_types(struct tokenizer *t, const struct gguf *g, struct error *err) {
    /* Undefined and unused tokens (0, 5) are neither found in a text nor printed. */
    static const uint8_t attributes[] = {0, NORMAL, UNKNOWN, CONTROL, USER_DEFINED, 0, BYTE};
    const struct gguf_kv *types = NULL;
    if (get_array(g, KEY("token_type"), GGUF_INT32, t->vocab.n, &types, err) < 0) return -1;
    t->attributes = malloc(t->vocab.n * sizeof *t->attributes + 1);
    if (!t->attributes)
        return error_set(err, KQ_NO_MEMORY, "out of memory for %zu token types", t->vocab.n);
    for (size_t i = 0; i < t->vocab.n; i++) {
        int64_t type = types ? gguf_int_at(types, i) : 1;
        t->attributes[i] = type >= 0 && type <= 6 ? attributes[type] : 0;
    }
    return 0;
}

/* Floats compare like these integers, higher scores first. */
static uint32_t score_order(float score) {
    uint32_t bits = float_bits(score + 0.0f); // -0 + 0 is +0
    return bits >> 31 ? bits : ~(bits | 0x80000000);
}

static int load_scores(struct tokenizer *t, const struct gguf *g, struct error *err) {
    const struct gguf_kv *scores = NULL;
    if (get_array(g, KEY("scores"), GGUF_FLOAT32, t->vocab.n, &scores, err) < 0) return -1;
    t->order = malloc(t->vocab.n * sizeof *t->order + 1);
    if (!t->order) return error_set(err, KQ_NO_MEMORY, "out of memory for %zu scores", t->vocab.n);
    for (size_t i = 0; i < t->vocab.n; i++) {
        float score = scores ? (float)gguf_f32_at(scores, i) : 0;
        if (isnan(score))
            return error_set(err, KQ_BAD_FILE, KEY("scores") ": entry %zu is not a number", i);
        t->order[i] = score_order(score);
    }
    return 0;
}

static int load_costs(struct tokenizer *t, const struct gguf *g, struct error *err) {
    const struct gguf_kv *scores = NULL;
    if (get_array(g, KEY("scores"), GGUF_FLOAT32, t->vocab.n, &scores, err) < 0) return -1;
    t->cost = malloc(t->vocab.n * sizeof *t->cost + 1);
    if (!t->cost) return error_set(err, KQ_NO_MEMORY, "out of memory for %zu scores", t->vocab.n);
    for (size_t i = 0; i < t->vocab.n; i++) {
        double score = round((scores ? gguf_f32_at(scores, i) : 0) * 1e4);
        bool is_piece = score > -NO_PIECE && score < INT32_MAX && !(t->attributes[i] & BYTE);
        t->cost[i] = is_piece ? -(int32_t)score : NO_PIECE;
    }
    return 0;
}

/* ---- loading: special tokens ----------------------------------------------------------------- */

/* Sets *id to the key's value, which must be a token; without the key *id, a default, becomes -1 if
 * there is no such token. */
static int get_id(const struct tokenizer *t, const struct gguf *g, const char *key, int32_t *id,
                  struct error *err) {
    uint32_t value = UINT32_MAX;
    if (gguf_get_u32(g, key, &value, err) < 0) return -1;
    if (value == UINT32_MAX) { // absent, or written as "none"
        if (*id >= 0 && (size_t)*id >= t->vocab.n) *id = -1;
        return 0;
    }
    if (value >= t->vocab.n) {
        return error_set(err, KQ_BAD_FILE, "%s: %u is no token, the vocabulary has %zu", key, value,
                         t->vocab.n);
    }
    *id = (int32_t)value;
    return 0;
}

/* Tokens that are what their name says, whatever type the file gives them. */
static const char *const end_names[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
};

/* Roles with a metadata key, or an older one; without them, the first of the names that the
 * vocabulary has. */
static const struct role {
    const char *key, *older;
    bool ends; // a generation
    const char *names[9];
} roles[] = {
    {KEY("eot_token_id"), NULL, true, {NULL}}, // the names are among end_names
    {KEY("eom_token_id"), NULL, true, {NULL}},
    {KEY("fim_pre_token_id"),
     KEY("prefix_token_id"),
     false,
     {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>",
      "<|code_prefix|>", "<|prefix|>"}},
    {KEY("fim_suf_token_id"),
     KEY("suffix_token_id"),
     false,
     {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>",
      "<|code_suffix|>", "<|suffix|>"}},
    {KEY("fim_mid_token_id"),
     KEY("middle_token_id"),
     false,
     {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>",
      "<|code_middle|>", "<|middle|>"}},
    {KEY("fim_pad_token_id"),
     NULL,
     true,
     {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"}},
    {KEY("fim_rep_token_id"),
     NULL,
     true,
     {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}},
    {KEY("fim_sep_token_id"), NULL, true, {"<|file_sep|>"}},
};

static int load_role(struct tokenizer *t, const struct gguf *g, const struct role *role,
                     struct error *err) {
    int32_t id = -1;
    if (get_id(t, g, role->key, &id, err) != 0) return -1;
    if (role->older && get_id(t, g, role->older, &id, err) != 0) return -1;
    if (id < 0) {
        for (const char *const *name = role->names; *name && id < 0; name++) {
            id = find_name(t, *name);
        }
        if (id >= 0) t->attributes[id] |= CONTROL;
    }
    if (id >= 0 && role->ends) t->attributes[id] |= END_OF_GENERATION;
    return 0;
}

static bool ends(const struct tokenizer *t, const char *name) {
    int32_t id = find_name(t, name);
    return id >= 0 && t->attributes[id] & END_OF_GENERATION;
}

/* Messages must not spell it, all the same. */
static void make_plain(struct tokenizer *t, int32_t id, uint16_t attributes) {
    if (t->attributes[id] & (CONTROL | MADE_PLAIN)) attributes |= MADE_PLAIN;
    t->attributes[id] = attributes;
}

/* gpt-oss, Solar and Gemma 4 have tokens that look like others' ends and are not. */
static void correct_ends(struct tokenizer *t) {
    static const char *const shown[] = {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"};
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        int32_t id = find_name(t, shown[i]);
        if (id >= 0) make_plain(t, id, USER_DEFINED | (t->attributes[id] & END_OF_GENERATION));
    }
    bool calls = ends(t, "<|call|>") || ends(t, "<|calls|>");
    if (calls && (ends(t, "<|return|>") || ends(t, "<|flush|>")) && ends(t, "<|end|>")) {
        make_plain(t, find_name(t, "<|end|>"), USER_DEFINED);
    }
    if (ends(t, "<|tool_response>") && ends(t, "</s>")) {
        make_plain(t, find_name(t, "</s>"), NORMAL);
    }
}

/* The tokens that are never to be generated. */
static int load_suppressed(struct tokenizer *t, const struct gguf *g, struct error *err) {
    const struct gguf_kv *ids = NULL;
    if (gguf_get_array(g, KEY("suppress_tokens"), GGUF_INT32, &ids, err) < 0) return -1;
    if (!ids) return 0;
    t->suppressed = malloc((size_t)ids->n * sizeof *t->suppressed + 1);
    if (!t->suppressed) return error_set(err, KQ_NO_MEMORY, "out of memory for the vocabulary");
    for (uint64_t i = 0; i < ids->n; i++) {
        int64_t id = gguf_int_at(ids, i);
        if (id < 0 || (uint64_t)id >= t->vocab.n) continue;
        t->suppressed[t->n_suppressed++] = (int32_t)id;
    }
    return 0;
}

/* The tokens that end a generation: by the file's word, or by their names. */
static int load_ends(struct tokenizer *t, const struct gguf *g, struct error *err) {
    const struct gguf_kv *ids = NULL;
    if (gguf_get_array(g, KEY("eos_token_ids"), GGUF_INT32, &ids, err) < 0) return -1;
    for (uint64_t i = 0; ids && i < ids->n; i++) {
        int64_t id = gguf_int_at(ids, i);
        if (id >= 0 && (uint64_t)id < t->vocab.n) t->attributes[id] |= END_OF_GENERATION;
    }
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (load_role(t, g, &roles[i], err) != 0) return -1;
    }
    for (size_t i = 0; i < sizeof end_names / sizeof *end_names; i++) {
        int32_t id = find_name(t, end_names[i]);
        if (id >= 0) t->attributes[id] |= CONTROL | END_OF_GENERATION;
    }
    if (t->eos >= 0) t->attributes[t->eos] |= END_OF_GENERATION;
    correct_ends(t);
    return 0;
}

/* defaults: this kind of vocabulary has ids where the file says nothing. */
static int load_special_ids(struct tokenizer *t, const struct gguf *g, bool defaults,
                            struct error *err) {
    t->bos = !defaults ? -1 : !t->bpe ? 1 : t->pre->no_bos ? -1 : 11;
    t->eos = !defaults ? -1 : !t->bpe ? 2 : 11;
    t->unk = t->bpe ? -1 : 0;
    t->add_bos = t->bpe ? t->pre->add_bos : !t->plamo2;
    t->add_space_prefix = true;
    if (get_id(t, g, KEY("bos_token_id"), &t->bos, err) != 0) return -1;
    if (get_id(t, g, KEY("eos_token_id"), &t->eos, err) != 0) return -1;
    if (get_id(t, g, KEY("unknown_token_id"), &t->unk, err) != 0) return -1;
    if (gguf_get_bool(g, KEY("add_bos_token"), &t->add_bos, err) < 0) return -1;
    if (gguf_get_bool(g, KEY("add_eos_token"), &t->add_eos, err) < 0) return -1;
    if (gguf_get_bool(g, KEY("add_space_prefix"), &t->add_space_prefix, err) < 0) return -1;
    if (t->bpe || t->plamo2) t->add_space_prefix = false;
    if (t->plamo2) t->add_bos = t->add_eos = false; // whatever the keys say, as in llama.cpp
    if (t->bpe && t->pre->needs_bos) t->add_bos = true;
    if (t->add_bos && t->bos < 0)
        return error_set(err, KQ_BAD_FILE, "BOS is to be added, but there is none");
    if (t->add_eos && t->eos < 0)
        return error_set(err, KQ_BAD_FILE, "EOS is to be added, but there is none");
    return load_ends(t, g, err);
}

static bool contains_fold(struct gguf_str s, const char *lower) {
    size_t n = strlen(lower);
    for (size_t i = 0; i + n <= s.len; i++) {
        size_t k = 0;
        while (k < n && (s.data[i + k] |
                         (s.data[i + k] >= 'A' && s.data[i + k] <= 'Z' ? 0x20 : 0)) == lower[k])
            k++;
        if (k == n) return true;
    }
    return false;
}

static void set_attribute(struct tokenizer *t, const char *name, unsigned which, bool on) {
    int32_t id = find_name(t, name);
    if (id >= 0) t->attributes[id] = (uint16_t)((t->attributes[id] & ~which) | (on ? which : 0));
}

/* Which tokens take the white space beside them is not in the file: llama.cpp goes by names. Phi-3
 * drops it after all but three of its special tokens, encoders before the mask. */
static int load_stripping(struct tokenizer *t, const struct gguf *g, struct error *err) {
    static const char *const masked[] = {"jina-v2-de", "jina-v2-es", "jina-v2-code",
                                         "nomic-bert-moe", "jina-bert-v3"};
    static const char *const kept[] = {"<unk>", "<s>", "<|endoftext|>"};
    struct gguf_str name = {0}, pre = {0}, arch = {0};
    if (gguf_get_str(g, "general.name", &name, err) < 0) return -1;
    if (gguf_get_str(g, KEY("pre"), &pre, err) < 0) return -1;
    if (gguf_get_str(g, "general.architecture", &arch, err) < 0) return -1;
    for (size_t i = 0; i < sizeof masked / sizeof *masked; i++) {
        if (!contains_fold(i < 3 ? pre : arch, masked[i])) continue;
        set_attribute(t, "<mask>", STRIP_BEFORE, true);
        return 0;
    }
    if (contains_fold(name, "phi-3") || contains_fold(name, "phi3")) {
        for (size_t i = 0; i < t->n_specials; i++) t->attributes[t->specials[i].id] |= STRIP_AFTER;
        for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
            set_attribute(t, kept[i], STRIP_AFTER, false);
        }
    } else if (contains_fold(name, "modern-bert")) {
        set_attribute(t, "[MASK]", STRIP_BEFORE, true);
    }
    return 0;
}

static int special_compare_text(const void *a, const void *b) {
    const struct special *x = a, *y = b;
    int order = compare_text(x->text, y->text);
    return order ? order : x->id < y->id ? -1 : 1;
}

static int special_compare_order(const void *a, const void *b) {
    const struct special *x = *(struct special *const *)a, *y = *(struct special *const *)b;
    if (x->text.len != y->text.len) return x->text.len > y->text.len ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* Sorts the specials by text. Of several with one text the first is looked for. */
static void sort_specials(struct tokenizer *t) {
    size_t n = 0;
    qsort(t->specials, t->n_specials, sizeof *t->specials, special_compare_text);
    for (size_t i = 0; i < t->n_specials; i++) {
        struct special s = t->specials[i];
        if (n == 0 || compare_text(t->specials[n - 1].text, s.text) != 0) t->specials[n++] = s;
    }
    t->n_specials = n;
}

static int load_specials(struct tokenizer *t, struct error *err) {
    size_t n = 0;
    for (size_t i = 0; i < t->vocab.n; i++) {
        if (t->attributes[i] & (UNKNOWN | CONTROL | USER_DEFINED)) n++;
    }
    t->specials = malloc(n * sizeof *t->specials + 1);
    struct special **by_order = malloc(n * sizeof(struct special *) + 1);
    if (!t->specials || !by_order) {
        free(by_order);
        return error_set(err, KQ_NO_MEMORY, "out of memory for %zu special tokens", n);
    }
    for (size_t i = 0; i < t->vocab.n; i++) {
        struct gguf_str text = token_text(t, (int32_t)i);
        if (!(t->attributes[i] & (UNKNOWN | CONTROL | USER_DEFINED))) continue;
        if (text.len == 0 || text.len > SPECIAL_MAX) continue;
        t->specials[t->n_specials++] = (struct special){.text = text, .id = (int32_t)i};
        t->special_start[(unsigned char)text.data[0]] = true;
    }
    sort_specials(t);
    n = t->n_specials;
    for (size_t i = 0; i < n; i++) {
        int32_t shorter = (int32_t)i - 1;
        while (shorter >= 0 && !begins_with(t->specials[i].text, t->specials[shorter].text)) {
            shorter = t->specials[shorter].shorter;
        }
        t->specials[i].shorter = shorter;
        by_order[i] = &t->specials[i];
    }
    qsort(by_order, n, sizeof *by_order, special_compare_order);
    for (size_t i = 0; i < n; i++) by_order[i]->order = (uint32_t)i;
    free(by_order);
    return 0;
}

/* ---- loading: the rest ----------------------------------------------------------------------- */

/* "<0x41>"; in SPM, where there is no such token, one that is the byte itself. */
static int load_byte_tokens(struct tokenizer *t, struct error *err) {
    for (int b = 0; b < 256; b++) {
        const char name[] = {'<', '0', 'x', "0123456789ABCDEF"[b >> 4], "0123456789ABCDEF"[b & 15],
                             '>'};
        const char text[] = {(char)b};
        t->byte_id[b] = tokenizer_find(t, name, sizeof name);
        if (t->byte_id[b] < 0 && !t->bpe) t->byte_id[b] = tokenizer_find(t, text, 1);
        if (t->plamo2 && t->byte_id[b] < 0)
            return error_set(err, KQ_BAD_FILE, "there is no token for the byte 0x%02x",
                             (unsigned)b);
    }
    return 0;
}

/* BPE: GPT-2's alphabet, in which the printable bytes of Latin-1 stand for themselves and the
 * others, in their order, for U+0100 and up. */
static void load_byte_alphabet(struct tokenizer *t) {
    uint32_t next = 0x100;
    for (size_t i = 0; i < sizeof t->cp_byte / sizeof *t->cp_byte; i++) t->cp_byte[i] = -1;
    for (uint32_t b = 0; b < 256; b++) {
        bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad);
        t->byte_cp[b] = printable ? b : next++;
        t->cp_byte[t->byte_cp[b]] = (int16_t)b;
    }
}

static int load_bpe(struct tokenizer *t, const struct gguf *g, const char *rules,
                    struct error *err) {
    struct gguf_str pre = {rules ? rules : "default", rules ? strlen(rules) : 7};
    const struct gguf_kv *merges = NULL;
    struct gguf_str name = {0};
    if (!rules && gguf_get_str(g, KEY("pre"), &name, err) < 0) return -1;
    if (name.len > 0) pre = name;
    t->pre = pretokenizer_find(pre);
    if (!t->pre) {
        return error_set(err, KQ_UNSUPPORTED, KEY("pre") ": the pre-tokenizer '%.*s' is not known",
                         GGUF_SHORT(pre));
    }
    int found = gguf_get_array(g, KEY("merges"), GGUF_STRING, &merges, err);
    if (found < 0) return -1;
    if (found == 0)
        return error_set(err, KQ_BAD_FILE, KEY("merges") " is missing, a BPE vocabulary needs it");
    load_byte_alphabet(t);
    return string_index_build(&t->merges, KEY("merges"), merges, err);
}

/* Values of tokenizer.ggml.model. */
static const struct model_kind {
    const char *name;
    bool bpe, plamo2;  // else SPM
    const char *rules; // whatever tokenizer.ggml.pre says
    const char *other; // not built: what it is
} kinds[] = {
    {.name = "llama"},
    {.name = "gpt2", .bpe = true},
    {.name = "gemma4", .bpe = true, .rules = "gemma4"},
    {.name = "t5", .other = "UGM, unigrams"},
    {.name = "bert", .other = "WPM, word pieces"},
    {.name = "rwkv", .other = "RWKV's greedy one"},
    {.name = "plamo2", .plamo2 = true},
    {.name = "hybriddna", .other = "BPE with DNA in words of six"},
    {.name = "whitespace", .other = "BPE of words without their spaces"},
    {.name = "none", .other = "no vocabulary at all"},
    {.name = "no_vocab", .other = "no vocabulary at all"},
};

static const struct model_kind *find_kind(const struct gguf *g, struct error *err) {
    struct gguf_str model;
    int found = gguf_get_str(g, KEY("model"), &model, err);
    if (found == 0)
        error_set(err, KQ_BAD_FILE, KEY("model") " is missing: the file has no vocabulary");
    if (found <= 0) return NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!gguf_str_eq(model, kinds[i].name)) continue;
        if (!kinds[i].other) return &kinds[i];
        error_set(err, KQ_UNSUPPORTED, KEY("model") ": '%s' (%s) is not supported", kinds[i].name,
                  kinds[i].other);
        return NULL;
    }
    error_set(err, KQ_UNSUPPORTED,
              KEY("model") ": '%.*s' is not known, only llama, gpt2, gemma4 and plamo2 are",
              GGUF_SHORT(model));
    return NULL;
}

static int load(struct tokenizer *t, const struct gguf *g, struct error *err) {
    const struct gguf_kv *tokens;
    const struct model_kind *kind = find_kind(g, err);
    if (!kind) return -1;
    t->bpe = kind->bpe;
    t->plamo2 = kind->plamo2;
    int found = gguf_get_array(g, KEY("tokens"), GGUF_STRING, &tokens, err);
    if (found < 0) return -1;
    if (found == 0 || tokens->n == 0)
        return error_set(err, KQ_BAD_FILE, KEY("tokens") " is missing or empty");
    if (string_index_build(&t->vocab, KEY("tokens"), tokens, err) != 0) return -1;
    if (load_types(t, g, err) != 0) return -1;
    if ((t->bpe      ? load_bpe(t, g, kind->rules, err)
         : t->plamo2 ? load_costs(t, g, err)
                     : load_scores(t, g, err)) != 0) {
        return -1;
    }
    if (load_special_ids(t, g, !kind->rules, err) != 0 || load_specials(t, err) != 0) return -1;
    if (load_stripping(t, g, err) != 0) return -1;
    if (load_suppressed(t, g, err) != 0) return -1;
    if (load_byte_tokens(t, err) != 0) return -1;
    tokenizer_check_keys(t, g);
    return 0;
}

int tokenizer_load(struct tokenizer *t, const struct gguf *g, struct error *err) {
    struct fp_state callers = fp_enter(); // scores are floats
    int failed = load(t, g, err);
    fp_leave(callers);
    return failed;
}
