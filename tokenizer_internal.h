/* What the files of the tokenizer share: tokenizer_load.c reads a vocabulary, tokenizer_keys.c says
 * which of its keys are not followed, tokenizer.c encodes and decodes. */
#ifndef TOKENIZER_INTERNAL_H
#define TOKENIZER_INTERNAL_H

#include <string.h>

#include "pretokenize.h"
#include "string_index.h"
#include "tokenizer.h"

/* What a token is. */
enum {
    NORMAL = 1 << 0,
    UNKNOWN = 1 << 1,
    CONTROL = 1 << 2,
    USER_DEFINED = 1 << 3,
    BYTE = 1 << 4,
    STRIP_BEFORE = 1 << 5, // white space before the token is dropped
    STRIP_AFTER = 1 << 6,  // and after it
    END_OF_GENERATION = 1 << 7,
    MADE_PLAIN = 1 << 8, // a control token that is treated as if users had defined it
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

/* PLaMo 2 has scores of about -20 to 0 and counts in ten-thousandths. A character that is written
 * as its bytes costs as much as a score of -1000; pieces with scores from -2000 down are none. */
#define BYTES_COST 10000000
#define NO_PIECE 20000000

/* A file has a dozen keys of a vocabulary; of one that has very many odd ones the rest is not said.
 */
#define NOTES_MAX 16

struct tokenizer {
    bool bpe;    // else SPM
    bool plamo2; // else SPM, too: texts are cut where the pieces cost least
    const struct pretokenizer *pre;
    struct string_index vocab;
    struct string_index merges; // "left right", by rank
    uint16_t *attributes;       // (n_vocab)
    uint32_t *order;            // (n_vocab) SPM: ascending as the score falls
    int32_t *cost;              // (n_vocab) PLaMo 2; NO_PIECE for what no text is cut into
    int32_t byte_id[256];       // SPM, raw BPE: the token for a byte, or -1
    uint32_t byte_cp[256];      // byte-level BPE: the character that stands for a byte
    int16_t cp_byte[0x144];     // the byte that a character stands for, or -1
    int32_t bos, eos, unk;
    bool add_bos, add_eos, add_space_prefix;
    struct special *specials; // (n_specials) sorted by text, no two alike
    size_t n_specials;
    bool special_start[256]; // by first byte
    int32_t *suppressed;     // (n_suppressed)
    size_t n_suppressed;
    struct error notes[NOTES_MAX]; // (n_notes)
    size_t n_notes;
    atomic_int *stop;
};

/* Fills an all-zero tokenizer, tokenizer_close's from then on in any case. 0, or -1 and err. */
int tokenizer_load(struct tokenizer *t, const struct gguf *g, struct error *err);
/* Notes what the file says and what is not followed, or not known. */
void tokenizer_check_keys(struct tokenizer *t, const struct gguf *g);

static inline struct gguf_str token_text(const struct tokenizer *t, int32_t id) {
    return string_index_at(&t->vocab, (size_t)id);
}

static inline int compare_text(struct gguf_str a, struct gguf_str b) {
    int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static inline bool begins_with(struct gguf_str s, struct gguf_str prefix) {
    return s.len >= prefix.len && memcmp(s.data, prefix.data, prefix.len) == 0;
}

#endif
