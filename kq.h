/* kq.h: GGUF language models on a CPU. The whole interface of libkq; docs/library.md has a program
 * of 30 lines.
 *
 *     kq_model    an open file: immutable, shared by threads and engines
 *     kq_engine   threads and scratch memory that compute: one call at a time
 *     kq_seq      a text and what the engine remembers of it: belongs to one engine
 *     kq_sampler  chooses a token by logits
 *
 * The logits of a token depend on the file, on the tokens before it in its sequence, and on the
 * engine's act, kv and (if the model has longrope) the sequence's n_ctx alone: the same bits for
 * every number of threads, batch, instruction set, processor, split of a text into evals, and
 * whatever other sequences share them.
 *
 * Results. A function that can fail gives a status, and fills *err, if err is not NULL, with the
 * status and a sentence in English; if all is well *err is left alone. A failed open sets the
 * pointer to NULL. After any failure every object can be used, and must be closed, as before.
 * Pointers are checked for NULL, numbers for their range; a pointer to something that was closed
 * cannot be seen, and is the caller's error.
 *
 * Threads. Calls for one model may come from any threads at the same time, and so may those for
 * different engines or samplers. Calls for one engine, its sequences included, come one at a time,
 * from whatever thread; kq_engine_stop alone may come at any time.
 *
 * The library does not print, exit or touch signals, and leaves the calling thread's floating-point
 * state (rounding, flags, traps) as it was; the state the caller set has no influence on results.
 * An engine's threads do not survive fork(). */
#ifndef KQ_H
#define KQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define KQ_API __attribute__((visibility("default")))
#else
#define KQ_API
#endif

/* This header's version; kq_version() is that of the library a program runs with. While the first
 * number is 0, the second one changes with whatever is not compatible. Static text. */
#define KQ_VERSION "0.1.0"
KQ_API const char *kq_version(void);

/* What kind of thing went wrong. */
typedef enum kq_status {
    KQ_OK = 0,
    KQ_BAD_FILE,     // a file is not what it claims to be
    KQ_UNSUPPORTED,  // a good file that this library cannot run
    KQ_NO_MEMORY,    // or no threads, no address space
    KQ_FULL,         // no room left: a context, a buffer of the caller's
    KQ_INTERRUPTED,  // somebody asked for a stop
    KQ_BAD_ARGUMENT, // what the caller asked for makes no sense
    KQ_NOT_FINITE,   // the model computed a NaN or an infinity
    KQ_IO            // a file could not be read or written; a missing one, too
} kq_status;

typedef struct kq_error {
    kq_status status;
    char text[512]; // one sentence, ends with a NUL; without control characters
} kq_error;

typedef struct kq_model kq_model;
typedef struct kq_engine kq_engine;
typedef struct kq_seq kq_seq;
typedef struct kq_sampler kq_sampler;

/* ---- models ---------------------------------------------------------------------------------- */

/* Maps the file (of a split one: the first part, the others lie beside it) and checks all of it but
 * the weights, which are read when they are needed; the file must not be changed or cut short
 * while the model is open, or the process gets a SIGBUS. KQ_IO, KQ_BAD_FILE, KQ_UNSUPPORTED (the
 * text names the key, the tensor, the architecture), KQ_NO_MEMORY, KQ_BAD_ARGUMENT (a NULL).
 *
 * A file without a vocabulary, or with one of a kind that is not built, can be opened: kq_encode
 * says what is missing, tokens have no bytes, no token ends a text. */
KQ_API kq_status kq_model_open(kq_model **model, const char *path, kq_error *err);
/* After the model's engines and samplers. NULL is fine. */
KQ_API void kq_model_close(kq_model *model);

/* Ids are 0 .. n_vocab - 1, and a row of logits has n_vocab floats. NULL: 0. */
KQ_API int kq_n_vocab(const kq_model *model);

/* Whether a text ends with this token: whoever generates stops there. Ids out of range: false. */
KQ_API bool kq_is_eog(const kq_model *model, int32_t id);

/* What the file says of its vocabulary and this library does not follow, so that ids may be others
 * than those of the training: a sentence each, i from 0 on; NULL after the last. The model's. */
KQ_API const char *kq_model_note(const kq_model *model, size_t i);

/* ---- text and tokens ------------------------------------------------------------------------- */

enum {
    KQ_ADD_BOS = 1,      // what the file wants at the beginning, and the end, of a text: BOS, EOS
    KQ_PARSE_SPECIAL = 2 // control tokens spelled out in the text become these tokens; not for
                         // texts of strangers
};

/* The ids of len bytes of text (of any kind: UTF-8 is expected, NUL is a byte; NULL if len is 0).
 * flags: a sum of those above, or 0. *n is the room in ids, which is NULL if it is 0; afterwards
 * it is how many ids there are. KQ_FULL: these are more than there was room for, of which the
 * first were written: call again with more. KQ_UNSUPPORTED, KQ_BAD_FILE: no vocabulary, or it
 * lacks a token; KQ_NO_MEMORY, KQ_BAD_ARGUMENT: *n is as it was. */
KQ_API kq_status kq_encode(const kq_model *model, const char *text, size_t len, int flags,
                           int32_t *ids, size_t *n, kq_error *err);

/* The bytes that a token adds to a text: how many, of which the first `room` are written to buf
 * (NULL if room is 0); no NUL is added. They need not be whole characters: a character of UTF-8
 * may be the work of several tokens. Control tokens, and ids out of range, have none. The first
 * word of a text may have a space before it that the vocabulary puts there. */
KQ_API size_t kq_piece(const kq_model *model, int32_t id, char *buf, size_t room);

/* ---- engines --------------------------------------------------------------------------------- */

enum { KQ_KV_F16 = 0, KQ_KV_F32 = 1 };

/* 0 in any field but the first is the default. A program that was compiled with an older header
 * has a smaller struct: what it does not know gets the default. */
typedef struct kq_engine_params {
    size_t size;     // sizeof(kq_engine_params)
    int threads;     // 1 .. 1024, the caller's one of them; 0: as many as there are usable cores
    int batch;       // tokens computed at a time, 1 .. 65536; 0: 256. Scratch memory grows with it
    const char *isa; // "portable", "avx2", "avx512", ...: an instruction set that this processor
                     // has; NULL: the best. Not used after the call
    int act;         // 32 or 0: activations are floats; 16 or 8: integers, faster, with bits of
                     // their own and a bounded error
    int kv;          // KQ_KV_F16: keys and values are kept as halves; KQ_KV_F32: as floats
    int reference;   // not 0: dequantize each tensor, then multiply: the same bits, slowly; not
                     // with act 16 or 8
} kq_engine_params;

/* Starts the threads, allocates scratch memory. params NULL: defaults. The model must outlive it.
 * KQ_NO_MEMORY; KQ_BAD_ARGUMENT: the text says which parameter; KQ_UNSUPPORTED: this build of the
 * library would not compute the same bits as others. */
KQ_API kq_status kq_engine_open(kq_engine **engine, const kq_model *model,
                                const kq_engine_params *params, kq_error *err);
/* After its sequences. NULL is fine. */
KQ_API void kq_engine_close(kq_engine *engine);

/* Ends the eval at work, or the next one, once: it fails with KQ_INTERRUPTED. From a signal handler
 * or another thread, but not while the engine is being closed. NULL is fine. */
KQ_API void kq_engine_stop(kq_engine *engine);

/* ---- sequences ------------------------------------------------------------------------------- */

/* An empty sequence with room for n_ctx tokens, 1 .. 2^30; 0: as many as the model was trained
 * with, or fewer so that they fit into a quarter of the free memory. A model with learned
 * positions never has more. Memory is used as the sequence grows. The engine must outlive it.
 * KQ_NO_MEMORY, KQ_BAD_ARGUMENT. */
KQ_API kq_status kq_seq_open(kq_seq **seq, kq_engine *engine, int n_ctx, kq_error *err);
KQ_API void kq_seq_close(kq_seq *seq); // NULL is fine

/* How many tokens it has room for, and how many it holds. NULL: 0. */
KQ_API int kq_seq_context(const kq_seq *seq);
KQ_API int kq_seq_length(const kq_seq *seq);

/* Forgets the tokens from `length` on (below 0: all) and gives the length reached. That is less
 * than was asked for where a model does not keep as much: one with a window of attention keeps the
 * window and a batch, one with recurrent layers goes back to a checkpoint, of which there is one
 * after each run of several tokens, one every 512 tokens, and at most 8. So go on by
 *     int kept = kq_seq_rewind(seq, length);    and eval the ids from `kept` on.
 * A length that is not reached yet changes nothing. NULL: 0. */
KQ_API int kq_seq_rewind(kq_seq *seq, int length);

/* ---- evaluation ------------------------------------------------------------------------------ */

/* n ids are appended to the sequence, and the logits after the last n_logits of them are made.
 * n may be 0 (and ids NULL): nothing happens to the sequence. */
typedef struct kq_run {
    kq_seq *seq;
    const int32_t *ids; // (n), not used after the call
    size_t n, n_logits; // n_logits <= n
} kq_run;

/* Evaluates n_runs runs of different sequences together, each of any length: they are cut into
 * batches as needed. Evaluating them one by one gives the same bits, more slowly. All logits asked
 * for are kept: 4 * n_vocab bytes each.
 *
 * KQ_BAD_ARGUMENT, KQ_FULL (a sequence has no room for its ids; nothing was evaluated): nothing
 * has changed. KQ_INTERRUPTED, KQ_NO_MEMORY, KQ_NOT_FINITE (a layer computed an infinity or a NaN;
 * the text says which, and counts tokens from 1): there are no logits. Some of the ids, but none
 * whose logits were asked for, may have been appended, or a sequence may be shorter than it was, as
 * by kq_seq_rewind: kq_seq_length tells, and whoever tries again goes on from there. */
KQ_API kq_status kq_eval(kq_engine *engine, const kq_run *runs, size_t n_runs, kq_error *err);

/* The n_vocab logits after id n - n_logits + i of runs[run] of the last eval, i from 0 on. They are
 * the engine's, and good until its next eval begins or it is closed. NULL and err: KQ_NOT_FINITE
 * if no token may be chosen by them, one of them being NaN or +infinity, or none finite;
 * KQ_BAD_ARGUMENT if that eval failed or did not want them. */
KQ_API const float *kq_logits(kq_engine *engine, size_t run, size_t i, kq_error *err);

/* ---- sampling -------------------------------------------------------------------------------- */

/* What is done to logits, in this order. 0 in any field but the first switches the step off: with
 * all of them the likeliest token is picked. */
typedef struct kq_sampler_params {
    size_t size;          // sizeof(kq_sampler_params)
    float repeat_penalty; // divides positive and multiplies other logits of recent tokens; 1: off
    int repeat_last_n;    // how many tokens are recent; 0: 64, -1: the whole history
    float presence_penalty, frequency_penalty; // are taken from logits of recent tokens: once, or
                                               // as often as the token is among them
    int top_k;                                 // keep the k likeliest
    float top_p;   // keep the likeliest until their sum reaches this share; 1: off
    float min_p;   // keep what is at least this much as likely as the likeliest
    float temp;    // divide by it, then draw; 0: the likeliest
    uint64_t seed; // the same seed, parameters and logits give the same tokens everywhere
} kq_sampler_params;

/* params NULL: the likeliest token. Tokens that the file says are never to be generated are not
 * picked. The model must outlive the sampler. KQ_NO_MEMORY, KQ_BAD_ARGUMENT. */
KQ_API kq_status kq_sampler_open(kq_sampler **sampler, const kq_model *model,
                                 const kq_sampler_params *params, kq_error *err);
KQ_API void kq_sampler_close(kq_sampler *sampler); // NULL is fine

/* The next token for logits (n_vocab, of whatever origin) after the n_history ids of history, of
 * which only penalties make use (NULL if n_history is 0). With a temperature each call uses
 * up one random number. -1 and err: KQ_NOT_FINITE as for kq_logits; KQ_BAD_FILE if the file forbids
 * every token that is left; KQ_BAD_ARGUMENT. */
KQ_API int32_t kq_sampler_pick(kq_sampler *sampler, const float *logits, const int32_t *history,
                               size_t n_history, kq_error *err);

#ifdef __cplusplus
}
#endif

#endif
