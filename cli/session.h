/* What one run of the program holds: the file, the model, the engine and the tokens so far; and the
 * steps that the modes are made of. Like print.h's, the functions say what went wrong and return an
 * exit status, 0 if all is well. That the user stopped the run is told by s->err.status, which is
 * then KQ_INTERRUPTED, and said by main. */
#ifndef SESSION_H
#define SESSION_H

#include <stdatomic.h>
#include <stdio.h>

#include "../profile.h"
#include "../tokenizer.h"
#include "../transformer.h"
#include "../memory.h"
#include "options.h"
#include "print.h"
#include "stops.h"
#include "verify.h"

struct engine {
    struct transformer *transformer;
    struct seq *seq;
};

/* Why generation ended. */
enum stopped {
    STOPPED_LENGTH,  // -n
    STOPPED_EOS,     // a token that ends a text or a turn
    STOPPED_TEXT,    // --stop
    STOPPED_CONTEXT, // which is full
    STOPPED_BY_USER,
};

struct session {
    const struct options *o;
    atomic_int *stop; // not 0: the user wants the run to end; main's, set by a signal
    struct gguf gguf;
    struct model model;
    struct tokenizer *tokenizer;
    char *piece; // (tokenizer_piece_max) for piece_of
    struct threads *threads;
    struct engine main, reference; // reference: for --verify alone
    struct sampler *sampler;
    struct sampler_params sampling; // its parameters
    uint64_t seed;                  // the sampler's
    int n_ctx, n_batch;             // the transformer's
    int n_ctx_asked;                // for longrope (seq.h); 0: n_ctx
    struct token_list tokens;       // prompt, then what was generated
    size_t n_prompt, n_reused;      // n_reused of the prompt were in the cache before it was read
    size_t n_read;                  // tokens read in prompt_s
    size_t n_passes;                // of single tokens, in gen_s
    size_t n_stable;                // of the prompt: so many are likely to begin the next one, too
    bool ends_turn;                 // a conversation's turns end with a token of their own,
    int32_t end_of_turn;            // this one
    enum stopped stopped;           // the last time that something was generated
    struct stops stops;
    int32_t *forbidden; // malloc'ed: what the sampler must not pick
    FILE *logits_file;
    uint64_t logits_hash; // 0: no token was picked yet
    char *said;           // with --json: what was generated, as far as it was printed; malloc'ed
    size_t n_said, said_capacity;
    struct verdict verdict; // of --verify
    char date[24];          // that a template was told, "" if it did not ask
    char where[32];         // in front of what is said of a pass that failed, may be empty
    double start, load_s, prompt_s, gen_s;
    struct profile *profile;              // main's; NULL: nobody asked where the time goes
    size_t anon_bytes;                    // largest seen
    size_t prompt_disk_bytes, disk_bytes; // read from disks up to the prompt's end, and later
    size_t disk_seen;                     // of both, and of what was before them
    struct error err;
};

/* Says what s->err holds, behind "NAME: " unless the name is NULL or empty, and gives EXIT_FAILED.
 * Of an interruption nothing is said. */
int failed(const struct session *s, const char *name);

bool stop_asked(const struct session *s);
bool was_interrupted(const struct session *s); // s->err says so
int interrupted(struct session *s);            // makes s->err say so, and gives EXIT_FAILED

/* The time since the last call went into this, a text that stays; NULL: into nothing that has a
 * name. With --profile the table of it all is printed at the end. */
static inline void lap(struct session *s, const char *what) {
    if (!s->profile) return;
    profile_lap(s->profile, what ? profile_named(s->profile, what) : PROFILE_OTHER);
}

/* Each opens one part of the session. */
int open_file(struct session *s);  // maps it, or reads it (--no-mmap)
int open_model(struct session *s); // and the file
/* Encoding ends when a stop is asked for. Says what is to be said of the vocabulary. With
 * --ids one of a kind that is not built does not end the run: s->tokenizer is NULL then. */
int open_tokenizer(struct session *s);
/* The model's transformer, with -c or else n_ctx positions, to which longrope's factors are made
 * unless default_context chose them; starts the threads. */
int open_transformer(struct session *s, int n_ctx);

/* Says so if -c asks for more than the model was made for. */
void say_context(const struct session *s);
/* What to do about a context that is full: part of a message. */
const char *more_context(const struct session *s);
/* Chooses a seed if none was given. With --ignore-eos, no token that ends a text or a turn will be
 * picked. */
int open_sampler(struct session *s, const struct sampler_params *params);
void close_session(struct session *s);

/* How the file lies in memory at the moment; false: unknown. */
bool count_file_pages(const struct session *s, struct page_count *count);

/* open_model's work behind the file for a caller that goes on without one: -1 and err. */
int try_model(struct session *s, struct error *err);
/* open_tokenizer's work for a caller that goes on without one: -1 and err. */
int try_tokenizer(struct session *s, struct error *err);

/* -c of runs that do not say: the model's own, as far as a quarter of the free memory holds what a
 * sequence remembers; that it is less is said. Longrope's factors are those of the model's own in
 * any case: no logit depends on the memory. */
int default_context(struct session *s);

/* The bytes of a token, valid until the next call. See tokenizer_piece. */
struct gguf_str piece_of(struct session *s, int32_t id, bool show_special);

int n_past(const struct session *s); // positions in the cache
/* Runs n <= n_batch tokens after those. */
int forward(struct session *s, const int32_t *ids, int n);
/* Logits after token i of the last forward call, verified and written to --logits if asked for. */
int logits_of(struct session *s, int i, const float **logits);
/* --verify with --act, at the end: EXIT_FAILED, and it was said, if a product was beyond its bound.
 */
int verify_products(struct session *s);
/* Makes it likely that one can go back to here (seq_checkpoint). */
void remember_place(struct session *s);
/* Goes back to `length` <= n_past() positions, or less where a layer has not kept as much
 * (seq_rewind). Returns the length reached. */
int rewind_to(struct session *s, int length);

#endif
