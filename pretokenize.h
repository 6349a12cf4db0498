/* How BPE cuts a text into words before it merges inside them: one rule per name of
 * tokenizer.ggml.pre. The published rules are regular expressions over Unicode categories, each
 * from a model's tokenizer.json; pretokenize.c holds them in a shorthand of its own. */
#ifndef PRETOKENIZE_H
#define PRETOKENIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "gguf.h"

struct pretokenizer {
    const char *name;
    int rule;         // private
    bool whole_words; // a word that is a token as it stands is not merged ("ignore_merges")
    bool whole_lines; // the same for words of newlines alone
    bool raw;         // tokens are UTF-8 with U+2581 for spaces and bytes like <0x41>, as in SPM
    bool add_bos;     // unless tokenizer.ggml.add_bos_token says otherwise
    bool needs_bos;   // whatever it says
    bool no_bos;      // no default BOS id
};

/* NULL if no rule has this name. */
const struct pretokenizer *pretokenizer_find(struct gguf_str name);

/* A text as code points, cut into words. */
struct words {
    uint32_t *cp;     // (n)
    uint32_t *traits; // (n) private: what each code point is, and whether a word starts there
    size_t n;
};

/* Decodes the text (utf8.h says what becomes of malformed bytes) and cuts it. 0, or -1 and err. */
int pretokenize(const struct pretokenizer *p, const char *text, size_t len, struct words *w,
                struct error *err);
void words_free(struct words *w);

/* The end of the word that starts at code point `start` < w->n. */
size_t words_end(const struct words *w, size_t start);

/* The general category of a code point, folded as unicode_data.h says. */
enum unicode_category {
    UNICODE_OTHER,
    UNICODE_LETTER,
    UNICODE_MARK,
    UNICODE_NUMBER,
    UNICODE_PUNCTUATION,
    UNICODE_SYMBOL,
    UNICODE_WHITE_SPACE
};
enum unicode_category unicode_category(uint32_t cp);

#endif
