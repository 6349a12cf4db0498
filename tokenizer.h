/* Text to token ids and back, from a GGUF file's tokenizer.ggml.* metadata: SentencePiece-style
 * merging by score with byte fallback (model "llama") and byte-level BPE (model "gpt2") with the
 * pre-tokenizer that tokenizer.ggml.pre names. The ids are llama.cpp's. */
#ifndef TOKENIZER_H
#define TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gguf.h"

struct tokenizer;

/* g must outlive the tokenizer (pieces point into the map). An unknown model or pre-tokenizer is
 * an error that names it and says which are known. NULL on failure. */
struct tokenizer *tokenizer_open(const struct gguf *g, struct error *err);
void tokenizer_close(struct tokenizer *t); // NULL is fine

int tokenizer_n_vocab(const struct tokenizer *t);

struct token_list {
    int32_t *ids;
    size_t n, capacity;
};
void token_list_free(struct token_list *list);

/* Appends the ids of text (any bytes, NUL included). add_special: BOS/EOS as the file says;
 * parse_special: control tokens written out in the text are recognised. 0, or -1 and err. */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, bool add_special,
                     bool parse_special, struct token_list *out, struct error *err);

/* The bytes that a token adds to the text: control tokens give none, a byte token its byte, a BPE
 * token its bytes unmapped, an SPM token with U+2581 as space. Valid until the next call with the
 * same buf; at most TOKENIZER_PIECE_MAX bytes are needed only for tokens that must be unmapped,
 * hence the result may point into the map or into buf. id out of range: empty. */
struct gguf_str tokenizer_piece(const struct tokenizer *t, int32_t id, bool show_special);

/* Streaming: takes the pieces one by one and gives back only whole UTF-8 characters. */
struct token_stream {
    char pending[4]; // an unfinished character
    int n_pending;
    bool at_start; // SPM: the space that the encoder put before the text is not printed
};

/* Special ids, -1 if the file has none. */
int32_t tokenizer_bos(const struct tokenizer *t);
int32_t tokenizer_eos(const struct tokenizer *t);
bool tokenizer_is_eog(const struct tokenizer *t, int32_t id); // ends a generation
/* The id of the token with exactly this text, or -1. */
int32_t tokenizer_find(const struct tokenizer *t, const char *text, size_t len);

#endif
