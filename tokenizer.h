/* Text to token ids and back, from a GGUF file's tokenizer.ggml.* metadata: SentencePiece-style
 * merging by score with byte fallback (model "llama"), byte-level BPE (model "gpt2") with the
 * pre-tokenizer that tokenizer.ggml.pre names, and BPE over characters with byte fallback (model
 * "gemma4", and a few names of tokenizer.ggml.pre), and PLaMo 2's cheapest cut. The ids are
 * llama.cpp's. Where two tokens have one text, the first is found, and both decode to it. */
#ifndef TOKENIZER_H
#define TOKENIZER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gguf.h"

struct tokenizer;

/* g must outlive the tokenizer (pieces point into the map). An unknown model or pre-tokenizer is
 * an error that names it. NULL on failure. */
struct tokenizer *tokenizer_open(const struct gguf *g, struct error *err);
void tokenizer_close(struct tokenizer *t); // NULL is fine

/* What the file says and is not followed, or leaves out and was assumed: a sentence each, i from 0
 * on; NULL after the last. Ids may be other ones than those the model was trained with. */
const char *tokenizer_note(const struct tokenizer *t, size_t i);

/* From now on tokenizer_encode gives up, with an error, once *flag is not 0: megabytes take
 * seconds. Atomic for a signal handler. NULL: no flag. */
void tokenizer_stop_on(struct tokenizer *t, atomic_int *flag);

int tokenizer_n_vocab(const struct tokenizer *t);

struct token_list {
    int32_t *ids;
    size_t n, capacity;
    size_t n_lost; // bytes of the texts that have no token and were left out, as llama.cpp does
};
void token_list_free(struct token_list *list);

/* Appends the ids of text (any bytes, NUL included). add_special: BOS/EOS as the file says;
 * parse_special: control tokens written out in the text are recognised (user-defined ones always
 * are). 0, or -1 and err. */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, bool add_special,
                     bool parse_special, struct token_list *out, struct error *err);

/* The same, of a text some of whose bytes are somebody's input: where input[i], byte i is not part
 * of a control token, whatever it spells or merges to. input has len entries, or is NULL. */
int tokenizer_encode_marked(const struct tokenizer *t, const char *text, size_t len,
                            const bool *input, bool add_special, bool parse_special,
                            struct token_list *out, struct error *err);

/* The bytes that a token adds to the text: a byte token its byte, a BPE token its bytes unmapped,
 * an SPM token with U+2581 as space; unused tokens and ids out of range none, and control and
 * unknown tokens none unless show_special. Returns how many they are, and writes the first `room`
 * of them to buf (no NUL is added). */
size_t tokenizer_piece(const struct tokenizer *t, int32_t id, bool show_special, char *buf,
                       size_t room);
/* No piece has more bytes. */
size_t tokenizer_piece_max(const struct tokenizer *t);

/* Streaming: takes the pieces one by one and gives back whole UTF-8 characters only. All bytes
 * come out in the end, invalid ones too, in their order. */
struct token_stream {
    char pending[4]; // the beginning of a character
    size_t n_pending;
    char ready[4];   // what the last call gave back beside the piece
    bool skip_space; // the space that the encoder put before the text is not printed
};

/* Before the first piece. from_start: the pieces begin with the text's first. */
void token_stream_begin(struct token_stream *s, const struct tokenizer *t, bool from_start);
/* out[0], then out[1], is the text that is now complete; valid until the next call, while the
 * piece is. */
void token_stream_next(struct token_stream *s, struct gguf_str piece, struct gguf_str out[2]);
/* After the last piece: what was still held back. */
struct gguf_str token_stream_end(struct token_stream *s);

/* Special ids, -1 if the file has none. */
int32_t tokenizer_bos(const struct tokenizer *t);
int32_t tokenizer_eos(const struct tokenizer *t);
/* The *n ids that the file says are never to be generated; the tokenizer's. */
const int32_t *tokenizer_suppressed(const struct tokenizer *t, size_t *n);
bool tokenizer_is_eog(const struct tokenizer *t, int32_t id); // ends a generation
/* The id of the token with exactly this text, or -1. */
int32_t tokenizer_find(const struct tokenizer *t, const char *text, size_t len);

#endif
