#include "tokenizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"
#include "floats.h"
#include "fpstate.h"
#include "pretokenize.h"
#include "string_index.h"
#include "utf8.h"

#define KEY(name) "tokenizer.ggml." name

/* ---- the tokenizer --------------------------------------------------------------------------- */

enum {
    NORMAL = 1 << 0,
    UNKNOWN = 1 << 1,
    CONTROL = 1 << 2,
    USER_DEFINED = 1 << 3,
    BYTE = 1 << 4,
    STRIP_AFTER = 1 << 5, // white space after the token is dropped
    END_OF_GENERATION = 1 << 6,
    MADE_PLAIN = 1 << 7, // a control token that is treated as if users had defined it
};

/* A token that is looked for in the raw text. */
struct special {
    struct gguf_str text;
    int32_t id;
    int32_t shorter; // the longest other special that this one begins with, or -1
    uint32_t order;  // place among all: the longest first, then by id
};

/* Longer specials are not looked for: that bounds the work on every byte of text. */
#define SPECIAL_MAX 512

struct tokenizer {
    bool bpe; // else SPM
    const struct pretokenizer *pre;
    struct string_index vocab;
    struct string_index merges; // "left right", by rank
    uint8_t *attributes;        // (n_vocab)
    uint32_t *order;            // (n_vocab) SPM: ascending as the score falls
    int32_t byte_id[256];       // SPM: the token for a byte, or -1
    uint32_t byte_cp[256];      // BPE: the character that stands for a byte
    int16_t cp_byte[0x144];     // the byte that a character stands for, or -1
    int32_t bos, eos, unk;
    bool add_bos, add_eos, add_space_prefix;
    struct special *specials; // (n_specials) sorted by text
    size_t n_specials;
    bool special_start[256]; // by first byte
    atomic_int *stop;
};

static struct gguf_str token_text(const struct tokenizer *t, int32_t id) {
    return string_index_at(&t->vocab, (size_t)id);
}

int32_t tokenizer_find(const struct tokenizer *t, const char *text, size_t len) {
    return len == 0 ? -1
                    : string_index_find(&t->vocab, (struct string_key){.text = text, .len = len});
}

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
    t->attributes = malloc(t->vocab.n + 1);
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

/* Roles with a metadata key; without it, the first of the names that the vocabulary has. */
static const struct role {
    const char *key;
    bool ends; // a generation
    const char *names[9];
} roles[] = {
    {KEY("eot_token_id"), true, {NULL}}, // the names are among end_names
    {KEY("eom_token_id"), true, {NULL}},
    {KEY("fim_pre_token_id"),
     false,
     {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>",
      "<|code_prefix|>", "<|prefix|>"}},
    {KEY("fim_suf_token_id"),
     false,
     {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>",
      "<|code_suffix|>", "<|suffix|>"}},
    {KEY("fim_mid_token_id"),
     false,
     {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>",
      "<|code_middle|>", "<|middle|>"}},
    {KEY("fim_pad_token_id"), true, {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"}},
    {KEY("fim_rep_token_id"),
     true,
     {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}},
    {KEY("fim_sep_token_id"), true, {"<|file_sep|>"}},
};

static int load_role(struct tokenizer *t, const struct gguf *g, const struct role *role,
                     struct error *err) {
    int32_t id = -1;
    if (get_id(t, g, role->key, &id, err) != 0) return -1;
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
static void make_plain(struct tokenizer *t, int32_t id, uint8_t attributes) {
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

static int load_special_ids(struct tokenizer *t, const struct gguf *g, struct error *err) {
    t->bos = t->bpe ? (t->pre->no_bos ? -1 : 11) : 1;
    t->eos = t->bpe ? 11 : 2;
    t->unk = t->bpe ? -1 : 0;
    t->add_bos = t->bpe ? t->pre->add_bos : true;
    t->add_space_prefix = true;
    if (get_id(t, g, KEY("bos_token_id"), &t->bos, err) != 0) return -1;
    if (get_id(t, g, KEY("eos_token_id"), &t->eos, err) != 0) return -1;
    if (get_id(t, g, KEY("unknown_token_id"), &t->unk, err) != 0) return -1;
    if (gguf_get_bool(g, KEY("add_bos_token"), &t->add_bos, err) < 0) return -1;
    if (gguf_get_bool(g, KEY("add_eos_token"), &t->add_eos, err) < 0) return -1;
    if (gguf_get_bool(g, KEY("add_space_prefix"), &t->add_space_prefix, err) < 0) return -1;
    if (t->bpe) t->add_space_prefix = false;
    if (t->add_bos && t->bos < 0)
        return error_set(err, KQ_BAD_FILE, "BOS is to be added, but there is none");
    if (t->add_eos && t->eos < 0)
        return error_set(err, KQ_BAD_FILE, "EOS is to be added, but there is none");

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

/* Phi-3 was trained with the white space after its special tokens taken away. */
static int load_stripping(struct tokenizer *t, const struct gguf *g, struct error *err) {
    static const char *const kept[] = {"<unk>", "<s>", "<|endoftext|>"};
    struct gguf_str name = {0};
    if (gguf_get_str(g, "general.name", &name, err) < 0) return -1;
    if (!contains_fold(name, "phi-3") && !contains_fold(name, "phi3")) return 0;
    for (size_t i = 0; i < t->n_specials; i++) t->attributes[t->specials[i].id] |= STRIP_AFTER;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        int32_t id = find_name(t, kept[i]);
        if (id >= 0) t->attributes[id] &= (uint8_t)~STRIP_AFTER;
    }
    return 0;
}

static int compare_text(struct gguf_str a, struct gguf_str b) {
    int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int special_compare_text(const void *a, const void *b) {
    return compare_text(((const struct special *)a)->text, ((const struct special *)b)->text);
}

static int special_compare_order(const void *a, const void *b) {
    const struct special *x = *(struct special *const *)a, *y = *(struct special *const *)b;
    if (x->text.len != y->text.len) return x->text.len > y->text.len ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static bool begins_with(struct gguf_str s, struct gguf_str prefix) {
    return s.len >= prefix.len && memcmp(s.data, prefix.data, prefix.len) == 0;
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
    n = t->n_specials;
    qsort(t->specials, n, sizeof *t->specials, special_compare_text);
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

/* SPM: "<0x41>", or else the byte as a token of its own. */
static void load_bytes_spm(struct tokenizer *t) {
    for (int b = 0; b < 256; b++) {
        const char name[] = {'<', '0', 'x', "0123456789ABCDEF"[b >> 4], "0123456789ABCDEF"[b & 15],
                             '>'};
        const char text[] = {(char)b};
        t->byte_id[b] = tokenizer_find(t, name, sizeof name);
        if (t->byte_id[b] < 0) t->byte_id[b] = tokenizer_find(t, text, 1);
    }
}

/* BPE: GPT-2's alphabet, in which the printable bytes of Latin-1 stand for themselves and the
 * others, in their order, for U+0100 and up. */
static void load_bytes_bpe(struct tokenizer *t) {
    uint32_t next = 0x100;
    for (size_t i = 0; i < sizeof t->cp_byte / sizeof *t->cp_byte; i++) t->cp_byte[i] = -1;
    for (uint32_t b = 0; b < 256; b++) {
        bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad);
        t->byte_cp[b] = printable ? b : next++;
        t->cp_byte[t->byte_cp[b]] = (int16_t)b;
    }
}

static int load_bpe(struct tokenizer *t, const struct gguf *g, struct error *err) {
    struct gguf_str pre = {"default", 7};
    const struct gguf_kv *merges = NULL;
    if (gguf_get_str(g, KEY("pre"), &pre, err) < 0) return -1;
    t->pre = pretokenizer_find(pre);
    if (!t->pre) {
        return error_set(err, KQ_UNSUPPORTED, KEY("pre") ": the pre-tokenizer '%.*s' is not known",
                         GGUF_SHORT(pre));
    }
    int found = gguf_get_array(g, KEY("merges"), GGUF_STRING, &merges, err);
    if (found < 0) return -1;
    if (found == 0)
        return error_set(err, KQ_BAD_FILE, KEY("merges") " is missing, a BPE vocabulary needs it");
    load_bytes_bpe(t);
    return string_index_build(&t->merges, KEY("merges"), merges, true, err);
}

static int load(struct tokenizer *t, const struct gguf *g, struct error *err) {
    struct gguf_str model;
    const struct gguf_kv *tokens;
    int found = gguf_get_str(g, KEY("model"), &model, err);
    if (found == 0)
        return error_set(err, KQ_BAD_FILE, KEY("model") " is missing: the file has no vocabulary");
    if (found < 0) return -1;
    t->bpe = gguf_str_eq(model, "gpt2");
    if (!t->bpe && !gguf_str_eq(model, "llama")) {
        return error_set(err, KQ_UNSUPPORTED,
                         KEY("model") ": '%.*s' is not known, only llama and gpt2 are",
                         GGUF_SHORT(model));
    }
    found = gguf_get_array(g, KEY("tokens"), GGUF_STRING, &tokens, err);
    if (found < 0) return -1;
    if (found == 0 || tokens->n == 0)
        return error_set(err, KQ_BAD_FILE, KEY("tokens") " is missing or empty");
    if (string_index_build(&t->vocab, KEY("tokens"), tokens, false, err) != 0) return -1;
    if (load_types(t, g, err) != 0) return -1;
    if ((t->bpe ? load_bpe(t, g, err) : load_scores(t, g, err)) != 0) return -1;
    if (load_special_ids(t, g, err) != 0 || load_specials(t, err) != 0) return -1;
    if (load_stripping(t, g, err) != 0) return -1;
    if (!t->bpe) load_bytes_spm(t);
    return 0;
}

struct tokenizer *tokenizer_open(const struct gguf *g, struct error *err) {
    struct tokenizer *t = calloc(1, sizeof *t);
    if (!t) {
        error_set(err, KQ_NO_MEMORY, "out of memory for the tokenizer");
        return NULL;
    }
    struct fp_state callers = fp_enter(); // scores are floats
    int failed = load(t, g, err);
    fp_leave(callers);
    if (failed) {
        tokenizer_close(t);
        return NULL;
    }
    return t;
}

void tokenizer_close(struct tokenizer *t) {
    if (!t) return;
    string_index_free(&t->vocab);
    string_index_free(&t->merges);
    free(t->attributes);
    free(t->order);
    free(t->specials);
    free(t);
}

void tokenizer_stop_on(struct tokenizer *t, atomic_int *flag) {
    t->stop = flag;
}

int tokenizer_n_vocab(const struct tokenizer *t) {
    return (int)t->vocab.n;
}

int32_t tokenizer_bos(const struct tokenizer *t) {
    return t->bos;
}

int32_t tokenizer_eos(const struct tokenizer *t) {
    return t->eos;
}

static bool is_token(const struct tokenizer *t, int32_t id) {
    return id >= 0 && (size_t)id < t->vocab.n;
}

bool tokenizer_is_eog(const struct tokenizer *t, int32_t id) {
    return is_token(t, id) && t->attributes[id] & END_OF_GENERATION;
}

/* ---- what one encoding works with ------------------------------------------------------------ */

/* A stretch of the text that is, or will be, one token. */
struct symbol {
    uint32_t start, len; // in work.text; len 0: merged into the one before
    uint32_t prev, next; // NONE at the ends
};
#define NONE UINT32_MAX

/* An entry of the heap: a pair to be merged, or a special token to be placed. What comes first has
 * the lowest key: rank, score order or special order, then place in the text. */
struct todo {
    uint64_t key;
    uint32_t size; // BPE, SPM: length of the merged text; specials: index
};

struct work {
    const struct tokenizer *t;
    struct token_list *out;
    struct error *err;
    const bool *input; // for each byte: not part of a control token; or NULL
    bool parse_special;
    char *text;
    size_t text_capacity;
    struct symbol *symbols;
    size_t n_symbols, symbols_capacity;
    struct todo *heap;
    size_t n_heap, heap_capacity;
};

static int reserve(struct work *w, void *array, size_t *capacity, size_t n, size_t size) {
    if (array_reserve(array, capacity, n, size) == 0) return 0;
    return error_set(w->err, KQ_NO_MEMORY, "out of memory while reading a text");
}

static int emit(struct work *w, int32_t id) {
    struct token_list *out = w->out;
    if (reserve(w, &out->ids, &out->capacity, out->n + 1, sizeof *out->ids) != 0) return -1;
    out->ids[out->n++] = id;
    return 0;
}

void token_list_free(struct token_list *list) {
    free(list->ids);
    *list = (struct token_list){0};
}

static int heap_push(struct work *w, struct todo item) {
    if (reserve(w, &w->heap, &w->heap_capacity, w->n_heap + 1, sizeof *w->heap) != 0) return -1;
    size_t i = w->n_heap++;
    for (; i > 0 && w->heap[(i - 1) / 2].key > item.key; i = (i - 1) / 2) {
        w->heap[i] = w->heap[(i - 1) / 2];
    }
    w->heap[i] = item;
    return 0;
}

static struct todo heap_pop(struct work *w) {
    struct todo top = w->heap[0], last = w->heap[--w->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < w->n_heap; i = child) {
        if (child + 1 < w->n_heap && w->heap[child + 1].key < w->heap[child].key) child++;
        if (last.key <= w->heap[child].key) break;
        w->heap[i] = w->heap[child];
    }
    w->heap[i] = last;
    return top;
}

/* Whether a plain text may become this token: where some of it is input, no control token comes of
 * it, although a merge, or a whole word, may have such a token's text. */
static bool may_be(const struct work *w, int32_t id) {
    return id >= 0 && !(w->input && w->t->attributes[id] & (CONTROL | UNKNOWN | MADE_PLAIN));
}

/* ---- merging --------------------------------------------------------------------------------- */

/* Notes the pair of `left` and its right neighbour if it can be merged: in BPE if there is a merge
 * of the two texts (by rank), in SPM if their joined text is a token (by score). */
static int push_pair(struct work *w, uint32_t left) {
    if (left == NONE || w->symbols[left].next == NONE) return 0;
    const struct symbol *a = &w->symbols[left];
    uint32_t size = a->len + w->symbols[a->next].len;
    struct string_key key = {
        .text = w->text + a->start, .len = size, .split = w->t->bpe ? a->len : 0};
    int32_t found = string_index_find(w->t->bpe ? &w->t->merges : &w->t->vocab, key);
    if (found < 0 || (!w->t->bpe && !may_be(w, found))) return 0;
    uint32_t rank = w->t->bpe ? (uint32_t)found : w->t->order[found];
    return heap_push(w, (struct todo){.key = (uint64_t)rank << 32 | left, .size = size});
}

static int add_symbol(struct work *w, size_t start, size_t len) {
    if (reserve(w, &w->symbols, &w->symbols_capacity, w->n_symbols + 1, sizeof *w->symbols) != 0) {
        return -1;
    }
    uint32_t i = (uint32_t)w->n_symbols++;
    w->symbols[i] = (struct symbol){(uint32_t)start, (uint32_t)len, i ? i - 1 : NONE, NONE};
    if (i) w->symbols[i - 1].next = i;
    return 0;
}

static int check_stop(struct work *w) {
    atomic_int *stop = w->t->stop;
    return stop && *stop ? error_set(w->err, KQ_INTERRUPTED, "stopped while reading a text") : 0;
}

/* Merges the best pair, the leftmost of equals, until none is left. Every pair is noted once when
 * it comes to be; one that has changed since no longer has its length. */
static int merge_symbols(struct work *w) {
    w->n_heap = 0;
    for (uint32_t i = 0; i < w->n_symbols; i++) {
        if (check_stop(w) != 0 || push_pair(w, i) != 0) return -1;
    }
    while (w->n_heap > 0) {
        if (check_stop(w) != 0) return -1;
        struct todo best = heap_pop(w);
        uint32_t left = (uint32_t)best.key;
        struct symbol *a = &w->symbols[left];
        if (a->len == 0 || a->next == NONE) continue;
        struct symbol *b = &w->symbols[a->next];
        if (a->len + b->len != best.size) continue;
        a->len = best.size;
        b->len = 0;
        a->next = b->next;
        if (a->next != NONE) w->symbols[a->next].prev = left;
        if (push_pair(w, a->prev) != 0 || push_pair(w, left) != 0) return -1;
    }
    return 0;
}

/* ---- SPM ------------------------------------------------------------------------------------- */

/* Characters are taken by their first byte alone, so that broken UTF-8 falls to byte tokens. */
static size_t lead_len(char lead) {
    unsigned char c = (unsigned char)lead;
    return c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

static int emit_spm(struct work *w, const char *text, size_t len) {
    int32_t id = tokenizer_find(w->t, text, len);
    if (may_be(w, id)) return emit(w, id);
    for (size_t i = 0; i < len; i++) {
        id = w->t->byte_id[(unsigned char)text[i]];
        if (id < 0) id = w->t->unk;
        if (id < 0) {
            return error_set(w->err, KQ_BAD_FILE, "the vocabulary has no token for the byte 0x%02x",
                             (unsigned char)text[i]);
        }
        if (emit(w, id) != 0) return -1;
    }
    return 0;
}

/* Encodes a text whose spaces become U+2581; with space_before, one more comes first. */
static int encode_spm(struct work *w, const char *text, size_t len, bool space_before) {
    if (reserve(w, &w->text, &w->text_capacity, 3 * (len + 1), 1) != 0) return -1;
    size_t n = 0;
    for (size_t i = 0; i < len + space_before; i++) {
        char c = space_before ? (i ? text[i - 1] : ' ') : text[i];
        size_t step = c == ' ' ? 3 : 1;
        memcpy(w->text + n, c == ' ' ? "\xe2\x96\x81" : &c, step);
        n += step;
    }
    w->n_symbols = 0;
    for (size_t i = 0, step; i < n; i += step) {
        step = lead_len(w->text[i]);
        if (step > n - i) step = n - i;
        if (add_symbol(w, i, step) != 0) return -1;
    }
    if (merge_symbols(w) != 0) return -1;
    for (uint32_t i = 0; i != NONE; i = w->symbols[i].next) {
        if (emit_spm(w, w->text + w->symbols[i].start, w->symbols[i].len) != 0) return -1;
    }
    return 0;
}

/* ---- BPE ------------------------------------------------------------------------------------- */

/* A text that is no token gives those of its bytes that are tokens, as llama.cpp has it. */
static int emit_bpe(struct work *w, const char *text, size_t len) {
    int32_t id = tokenizer_find(w->t, text, len);
    if (may_be(w, id)) return emit(w, id);
    for (size_t i = 0; i < len; i++) {
        id = tokenizer_find(w->t, text + i, 1);
        if (may_be(w, id) && emit(w, id) != 0) return -1;
    }
    return 0;
}

/* Writes a word's bytes in GPT-2's alphabet, each a symbol; *len is the text's length. */
static int map_word(struct work *w, const uint32_t *cp, size_t n_cp, size_t *len) {
    if (reserve(w, &w->text, &w->text_capacity, 8 * n_cp, 1) != 0) return -1;
    w->n_symbols = *len = 0;
    for (size_t i = 0; i < n_cp; i++) {
        char bytes[4];
        int n = utf8_encode(cp[i], bytes);
        for (int k = 0; k < n; k++) {
            uint32_t mapped = w->t->byte_cp[(unsigned char)bytes[k]];
            size_t step = (size_t)utf8_encode(mapped, w->text + *len);
            if (add_symbol(w, *len, step) != 0) return -1;
            *len += step;
        }
    }
    return 0;
}

static int encode_word(struct work *w, const uint32_t *cp, size_t n_cp) {
    size_t len;
    if (map_word(w, cp, n_cp, &len) != 0) return -1;
    if (w->t->pre->whole_words) {
        int32_t id = tokenizer_find(w->t, w->text, len);
        if (may_be(w, id)) return emit(w, id);
    }
    if (merge_symbols(w) != 0) return -1;
    for (uint32_t i = 0; i != NONE; i = w->symbols[i].next) {
        if (emit_bpe(w, w->text + w->symbols[i].start, w->symbols[i].len) != 0) return -1;
    }
    return 0;
}

static int encode_bpe(struct work *w, const char *text, size_t len) {
    struct words words;
    int failed = pretokenize(w->t->pre, text, len, &words, w->err);
    for (size_t start = 0, end; !failed && start < words.n; start = end) {
        end = words_end(&words, start);
        failed = encode_word(w, words.cp + start, end - start);
    }
    words_free(&words);
    return failed;
}

/* ---- special tokens -------------------------------------------------------------------------- */

/* The longest special from s on down that may be recognised at this byte of the text, or NULL. */
static const struct special *usable(const struct work *w, int32_t s, size_t at) {
    const struct tokenizer *t = w->t;
    for (; s >= 0; s = t->specials[s].shorter) {
        const struct special *special = &t->specials[s];
        uint8_t attributes = t->attributes[special->id];
        bool input = w->input && memchr(w->input + at, 1, special->text.len);
        if (input && attributes & (CONTROL | UNKNOWN | MADE_PLAIN)) continue;
        if (w->parse_special || !(attributes & (CONTROL | UNKNOWN))) return special;
    }
    return NULL;
}

/* The longest special that the text begins with: the last one that does not sort after the text,
 * or one that it begins with. */
static const struct special *special_at(const struct work *w, struct gguf_str whole, size_t at) {
    const struct tokenizer *t = w->t;
    struct gguf_str text = {whole.data + at, whole.len - at};
    if (!t->special_start[(unsigned char)text.data[0]]) return NULL;
    int32_t low = -1, high = (int32_t)t->n_specials;
    while (high - low > 1) {
        int32_t mid = low + (high - low) / 2;
        if (compare_text(t->specials[mid].text, text) <= 0)
            low = mid;
        else
            high = mid;
    }
    while (low >= 0 && !begins_with(text, t->specials[low].text)) low = t->specials[low].shorter;
    return usable(w, low, at);
}

static int push_special(struct work *w, const struct special *s, uint32_t at) {
    if (!s) return 0;
    return heap_push(w, (struct todo){.key = (uint64_t)s->order << 32 | at,
                                      .size = (uint32_t)(s - w->t->specials)});
}

/* A special token found in the text, with the white space that it strips. */
struct place {
    size_t start, end;
    int32_t id;
};

static int place_compare(const void *a, const void *b) {
    size_t x = ((const struct place *)a)->start, y = ((const struct place *)b)->start;
    return (x > y) - (x < y);
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Places the longest tokens first, wherever they are in the text: a longer one further on wins over
 * a shorter one that reaches into it. taken[i]: byte i belongs to a token. */
static int place_specials(struct work *w, struct gguf_str text, bool *taken, struct place **places,
                          size_t *n) {
    size_t capacity = 0;
    while (w->n_heap > 0) {
        struct todo next = heap_pop(w);
        const struct special *s = &w->t->specials[next.size];
        struct place p = {.start = (uint32_t)next.key, .id = s->id};
        if (taken[p.start]) continue;
        if (memchr(taken + p.start, 1, s->text.len)) {
            s = usable(w, s->shorter, p.start);
            if (push_special(w, s, (uint32_t)next.key) != 0) return -1;
            continue;
        }
        p.end = p.start + s->text.len;
        if (w->t->attributes[p.id] & STRIP_AFTER) {
            while (p.end < text.len && !taken[p.end] && is_space(text.data[p.end])) p.end++;
        }
        memset(taken + p.start, true, p.end - p.start);
        if (reserve(w, places, &capacity, *n + 1, sizeof **places) != 0) return -1;
        (*places)[(*n)++] = p;
    }
    if (*n) qsort(*places, *n, sizeof **places, place_compare);
    return 0;
}

static int find_specials(struct work *w, struct gguf_str text, struct place **places, size_t *n) {
    w->n_heap = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (push_special(w, special_at(w, text, i), (uint32_t)i) != 0) return -1;
    }
    if (w->n_heap == 0) return 0;
    bool *taken = calloc(text.len, sizeof *taken);
    if (!taken) return error_set(w->err, KQ_NO_MEMORY, "out of memory while reading a text");
    int failed = place_specials(w, text, taken, places, n);
    free(taken);
    return failed;
}

/* ---- encoding -------------------------------------------------------------------------------- */

/* Encodes the text between two special tokens. */
static int encode_plain(struct work *w, const char *text, size_t len, bool after_special) {
    if (len == 0) return 0;
    if (w->t->bpe) return encode_bpe(w, text, len);
    return encode_spm(w, text, len, after_special && w->t->add_space_prefix);
}

static int encode(struct work *w, struct gguf_str text) {
    struct place *places = NULL;
    size_t n = 0, at = 0;
    int failed = find_specials(w, text, &places, &n);
    for (size_t i = 0; !failed && i < n; at = places[i++].end) {
        failed = encode_plain(w, text.data + at, places[i].start - at, at == 0 || i > 0) ||
                 emit(w, places[i].id);
    }
    if (!failed) failed = encode_plain(w, text.data + at, text.len - at, true);
    free(places);
    return failed ? -1 : 0;
}

int tokenizer_encode_marked(const struct tokenizer *t, const char *text, size_t len,
                            const bool *input, bool add_special, bool parse_special,
                            struct token_list *out, struct error *err) {
    /* Positions in the text, with spaces and bytes written as up to 3 bytes, must fit 32 bits. */
    if (len > INT32_MAX / 4)
        return error_set(err, KQ_BAD_ARGUMENT, "a text of %zu bytes is too long", len);
    struct work w = {
        .t = t, .out = out, .err = err, .input = input, .parse_special = parse_special};
    int failed = add_special && t->add_bos ? emit(&w, t->bos) : 0;
    if (!failed) failed = encode(&w, (struct gguf_str){text, len});
    if (!failed && add_special && t->add_eos) failed = emit(&w, t->eos);
    free(w.text);
    free(w.symbols);
    free(w.heap);
    return failed;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, bool add_special,
                     bool parse_special, struct token_list *out, struct error *err) {
    return tokenizer_encode_marked(t, text, len, NULL, add_special, parse_special, out, err);
}

/* ---- decoding -------------------------------------------------------------------------------- */

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* The byte that "<0x41>" stands for, or -1. */
static int byte_value(struct gguf_str s) {
    if (s.len != 6 || memcmp(s.data, "<0x", 3) != 0 || s.data[5] != '>') return -1;
    int high = hex_digit(s.data[3]), low = hex_digit(s.data[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Bytes for a caller's buffer: those beyond its end are only counted. */
struct sink {
    char *buf;
    size_t room, n;
};

static void put_byte(struct sink *out, char c) {
    if (out->n < out->room) out->buf[out->n] = c;
    out->n++;
}

static void put_text(struct sink *out, struct gguf_str s) {
    for (size_t i = 0; i < s.len; i++) put_byte(out, s.data[i]);
}

static void unescape_spm(struct sink *out, struct gguf_str s) {
    for (size_t i = 0; i < s.len;) {
        bool space = s.len - i >= 3 && memcmp(s.data + i, "\xe2\x96\x81", 3) == 0;
        put_byte(out, space ? ' ' : s.data[i]);
        i += space ? 3 : 1;
    }
}

/* Every character of GPT-2's alphabet has one or two bytes; others stay as they are. */
static void unmap_bpe(const struct tokenizer *t, struct sink *out, struct gguf_str s) {
    for (size_t i = 0; i < s.len;) {
        unsigned char a = (unsigned char)s.data[i];
        unsigned char b = i + 1 < s.len ? (unsigned char)s.data[i + 1] : 0;
        bool two = a >= 0xc2 && a <= 0xc5 && (b & 0xc0) == 0x80;
        size_t cp = two ? (size_t)(a & 0x1f) << 6 | (b & 0x3f) : a;
        bool known =
            (two || a < 0x80) && cp < sizeof t->cp_byte / sizeof *t->cp_byte && t->cp_byte[cp] >= 0;
        put_byte(out, known ? (char)t->cp_byte[cp] : s.data[i]);
        i += known && two ? 2 : 1;
    }
}

size_t tokenizer_piece(const struct tokenizer *t, int32_t id, bool show_special, char *buf,
                       size_t room) {
    struct sink out = {.buf = buf, .room = room};
    if (!is_token(t, id)) return 0;
    unsigned attributes = t->attributes[id];
    struct gguf_str text = token_text(t, id);
    int byte = attributes & BYTE ? byte_value(text) : -1;
    if (attributes & (CONTROL | UNKNOWN)) {
        if (show_special) put_text(&out, text);
    } else if (byte >= 0) {
        put_byte(&out, (char)byte);
    } else if (attributes & (USER_DEFINED | BYTE)) {
        put_text(&out, text);
    } else if (attributes & NORMAL) {
        if (t->bpe)
            unmap_bpe(t, &out, text);
        else
            unescape_spm(&out, text);
    }
    return out.n;
}

size_t tokenizer_piece_max(const struct tokenizer *t) {
    return t->vocab.max_len;
}

/* How many bytes at the end of s begin a character that is not complete yet: 0 to 3. */
static size_t unfinished(const char *s, size_t n) {
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = (unsigned char)s[n - back];
        if ((c & 0xc0) == 0x80) continue;
        return c >= 0xc2 && c <= 0xf4 && lead_len((char)c) > back ? back : 0;
    }
    return 0;
}

void token_stream_begin(struct token_stream *s, const struct tokenizer *t, bool from_start) {
    *s = (struct token_stream){.skip_space = from_start && t->add_space_prefix};
}

void token_stream_next(struct token_stream *s, struct gguf_str piece, struct gguf_str out[2]) {
    if (s->skip_space && piece.len > 0) {
        s->skip_space = false;
        if (piece.data[0] == ' ') piece = (struct gguf_str){piece.data + 1, piece.len - 1};
    }
    /* The character that was held back comes first, with what it takes of the piece: all of it may
     * still be too little, and a byte that begins another character shows that it was broken. */
    size_t n = s->n_pending, taken = 0;
    memcpy(s->ready, s->pending, n);
    while (n > 0 && taken < piece.len && unfinished(s->ready, n) == n) {
        s->ready[n++] = piece.data[taken++];
    }
    size_t held = unfinished(s->ready, n);
    if (held > 0 && held < n) { // the last byte begins another character
        held = 0;
        n--;
        taken--;
    }
    out[0] = (struct gguf_str){s->ready, n - held};
    out[1] = (struct gguf_str){piece.data + taken, piece.len - taken};
    const char *tail = s->ready;
    if (held == 0) {
        held = unfinished(out[1].data, out[1].len);
        out[1].len -= held;
        tail = out[1].data + out[1].len;
    }
    memcpy(s->pending, tail, held);
    s->n_pending = held;
}

struct gguf_str token_stream_end(struct token_stream *s) {
    struct gguf_str held = {s->pending, s->n_pending};
    s->n_pending = 0;
    return held;
}
