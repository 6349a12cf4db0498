/* What the files of the program `run` share: run.c (command line, generation, statistics, main),
 * info.c, perplexity.c, bench.c and chat.c (a mode each). Only these print or exit;
 * their functions say what went wrong and return the exit status, 0 if all is well.
 */
#ifndef RUN_H
#define RUN_H

#include <signal.h>
#include <stdio.h>

#include "../sampler.h"
#include "../tokenizer.h"
#include "../transformer.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct options {
    const char *model, *prompt, *prompt_file, *ids, *logits, *perplexity, *system, *chat_template;
    int n_gen, n_ctx, n_threads, n_batch, n_reps;
    bool ctx_given, gen_given, seed_given;
    struct sampler_params sampling;
    bool reference, verify, kv_f32, tokens, info, bench, chat, json, quiet;
    const struct isa *isa;
};

/* Everything that one run holds; closed by main. */
struct session {
    struct options o;
    struct gguf gguf;
    struct model model;
    struct tokenizer *tokenizer;
    struct threads *threads;
    struct transformer *transformer, *reference; // reference: for --verify alone
    struct sampler *sampler;
    struct token_list tokens;  // prompt, then what was generated
    size_t n_prompt, n_reused; // n_reused of the prompt were in the cache before it was read
    int n_past;                // positions in the cache
    bool context_full;         // and so generation ended
    FILE *logits_file;
    uint64_t logits_hash;
    double start, load_s, prompt_s, gen_s;
    size_t anon_bytes; // largest seen
    struct error err;
};

/* Set by the first SIGINT or SIGTERM; the second one kills, unless a mode sets it back to 0. */
extern atomic_int interrupted;

/* "run: ..." and a newline on standard error. */
void say(const char *format, ...) PRINTF_LIKE(1, 2);
#define FAIL(...) (say(__VA_ARGS__), EXIT_FAILED)
#define USAGE(...) (say(__VA_ARGS__), EXIT_USAGE)

double now(void); // seconds, monotonic

/* Each opens one part of the session; the transformer's needs the model, and starts the threads. */
int open_model(struct session *s);
int open_tokenizer(struct session *s);
int open_transformer(struct session *s);
int open_sampler(struct session *s); // chooses a seed if none was given

/* The whole file, malloc'ed; any bytes. */
int read_file(const char *path, char **text, size_t *len);

/* The tokens must have rows in the model's matrices; as a prompt, they must fit the context, too.
 */
int check_ids(const struct session *s);
int check_prompt(struct session *s);

/* Runs n <= n_batch tokens after the n_past ones so far. An interruption is a failure that main
 * reports. */
int forward(struct session *s, const int32_t *ids, int n);
/* Logits after token i of the last forward call, verified and written to --logits if asked for. */
int logits_of(struct session *s, int i, const float **logits);

/* What of the checked prompt is not in the cache; the logits after it. */
int run_prompt(struct session *s, const float **logits);
/* Appends tokens to the prompt and prints them, until -n, an end of text, a full context or an
 * interruption. */
int generate(struct session *s, struct token_stream *stream, const float *logits);

void print_stats(const struct session *s);
void print_json(const struct session *s);

/* On a terminal, what takes over two seconds shows where it is. */
void show_progress(double since, const char *what, size_t done, size_t all);

/* To standard output; a failure is said. flush says those of printf and the like before it, too. */
int print(struct gguf_str text);
int flush(void);

int print_info(struct session *s);
int run_perplexity(struct session *s);
int run_bench(struct session *s);
int run_chat(struct session *s);

#endif
