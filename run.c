/* kq.c: runs a GGUF language model. Command line, generation loop, statistics, main. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/session.h"

#define VERSION "0.1.0"

/* ------------------------------------------------------------------------------------- messages */

void say(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("run: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* -------------------------------------------------------------------------------------- options */

static const char help[] =
    "usage: ./run MODEL.gguf [options]\n"
    "\n"
    "prompt     -p TEXT | -f FILE | --ids \"1 5 7\"   (without one: standard input, if it is "
    "piped)\n"
    "length     -n N     tokens to generate (128; 0: only read the prompt; -1: until the end)\n"
    "           -c N     context (the model's, at most 4096)\n"
    "sampling   --temp T (0: the likeliest token, the default)  -s SEED\n"
    "           --top-k K  --top-p P  --min-p P  --repeat-penalty R\n"
    "speed      -t N     threads (usable physical cores)    -b N  prompt tokens at a time (256)\n"
    "           --isa NAME   portable, avx2, avx512, neon (the best this CPU has)\n"
    "arithmetic --reference  dequantize each tensor to float32, then multiply: the same bits, "
    "slowly\n"
    "           --verify     run both ways, compare every logit; exit status 1 if one differs\n"
    "           --kv f16|f32     key/value cache (f16)\n"
    "           --act 32         bits of the activations in products (32: exact)\n"
    "output     --logits FILE    float32 logits, a row after every token of prompt and text\n"
    "           --json           statistics as one JSON line    -q  the text alone\n"
    "instead    --chat           a conversation [--system TEXT] [--template NAME]\n"
    "           --tokens         print the prompt's token ids\n"
    "           --info           say what the file is, what it needs, whether it runs\n"
    "           --perplexity FILE    how well the model predicts a text\n"
    "           --bench          speed [-p N prompt tokens] [-n N generated] [-r N repetitions]\n"
    "           --help  --version\n"
    "\n"
    "Text goes to standard output, everything else to standard error. Exit status: 0 done, 1 the\n"
    "run failed, 2 wrong usage.\n";

/* A whole number in min..max, and nothing after it. */
static bool parse_long(const char *text, long long min, long long max, long long *value) {
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    return end != text && *end == '\0' && errno == 0 && *value >= min && *value <= max;
}

static bool parse_float(const char *text, double min, double max, float *value) {
    char *end;
    *value = strtof(text, &end);
    return end != text && *end == '\0' && (double)*value >= min && (double)*value <= max;
}

/* How an option reads its value, and where to. */
struct option {
    const char *name;
    enum { FLAG, TEXT, COUNT, NUMBER, SEED, KV, ACT, ISA } kind;
    void *to;         // bool, const char *, int, float; of the last four: struct options
    double min, max;  // COUNT, NUMBER
    const char *what; // it expects
    bool *given;      // set beside it, or NULL
};

#define MOST (1 << 30)
#define MAX_OPTIONS 40

static int list_options(struct options *o, struct option list[MAX_OPTIONS]) {
    struct sampler_params *s = &o->sampling;
    const struct option all[] = {
        {"--reference", FLAG, &o->reference, 0, 0, NULL, NULL},
        {"--verify", FLAG, &o->verify, 0, 0, NULL, NULL},
        {"--tokens", FLAG, &o->tokens, 0, 0, NULL, NULL},
        {"--info", FLAG, &o->info, 0, 0, NULL, NULL},
        {"--bench", FLAG, &o->bench, 0, 0, NULL, NULL},
        {"--chat", FLAG, &o->chat, 0, 0, NULL, NULL},
        {"--json", FLAG, &o->json, 0, 0, NULL, NULL},
        {"-q", FLAG, &o->quiet, 0, 0, NULL, NULL},
        {"-p", TEXT, &o->prompt, 0, 0, NULL, NULL},
        {"-f", TEXT, &o->prompt_file, 0, 0, NULL, NULL},
        {"--ids", TEXT, &o->ids, 0, 0, NULL, NULL},
        {"--logits", TEXT, &o->logits, 0, 0, NULL, NULL},
        {"--perplexity", TEXT, &o->perplexity, 0, 0, NULL, NULL},
        {"--system", TEXT, &o->system, 0, 0, NULL, NULL},
        {"--template", TEXT, &o->chat_template, 0, 0, NULL, NULL},
        {"-r", COUNT, &o->n_reps, 1, MOST, "a whole number from 1 on", NULL},
        {"-n", COUNT, &o->n_gen, -1, MOST, "a whole number from -1 on", &o->gen_given},
        {"-c", COUNT, &o->n_ctx, 1, MOST, "a whole number from 1 on", &o->ctx_given},
        {"-t", COUNT, &o->n_threads, 1, 1024, "1 to 1024", NULL},
        {"-b", COUNT, &o->n_batch, 1, 65536, "1 to 65536", NULL},
        {"--top-k", COUNT, &s->top_k, 0, MOST, "a whole number from 0 on", NULL},
        {"--temp", NUMBER, &s->temp, 0, 1e6, "a number from 0 on", NULL},
        {"--top-p", NUMBER, &s->top_p, 0, 1, "a number from 0 to 1", NULL},
        {"--min-p", NUMBER, &s->min_p, 0, 1, "a number from 0 to 1", NULL},
        {"--repeat-penalty", NUMBER, &s->repeat_penalty, 1e-3, 1e3, "0.001 to 1000", NULL},
        {"-s", SEED, o, 0, 0, "a whole number from 0 on", &o->seed_given},
        {"--kv", KV, o, 0, 0, "f16 or f32", NULL},
        {"--act", ACT, o, 0, 0, "32 (16 and 8 are not built yet)", NULL},
        {"--isa", ISA, o, 0, 0, "an instruction set of this build and CPU", NULL},
    };
    memcpy(list, all, sizeof all);
    return (int)(sizeof all / sizeof all[0]);
}

/* False if the value is not what the option expects. */
static bool set_option(const struct option *option, const char *value) {
    struct options *o = option->to;
    long long n = 0;
    if (option->given) *option->given = true;
    switch (option->kind) {
    case FLAG:
        return *(bool *)option->to = true;
    case TEXT:
        *(const char **)option->to = value;
        return true;
    case COUNT:
        if (!parse_long(value, (long long)option->min, (long long)option->max, &n)) return false;
        *(int *)option->to = (int)n;
        return true;
    case NUMBER:
        return parse_float(value, option->min, option->max, option->to);
    case SEED:
        if (!parse_long(value, 0, INT64_MAX, &n)) return false;
        o->sampling.seed = (uint64_t)n;
        return true;
    case KV:
        o->kv_f32 = strcmp(value, "f32") == 0;
        return o->kv_f32 || strcmp(value, "f16") == 0;
    case ACT:
        return strcmp(value, "32") == 0;
    case ISA:
        o->isa = isa_find(value);
        return o->isa && o->isa->usable();
    }
    return false;
}

/* -1: go on; otherwise the exit status. */
static int parse_options(struct options *o, int argc, char **argv) {
    *o = (struct options){.n_gen = 128, .n_batch = 256, .n_reps = 5, .isa = isa_best()};
    o->sampling = (struct sampler_params){.repeat_penalty = 1, .repeat_last_n = 64, .top_p = 1};
    struct option list[MAX_OPTIONS];
    int n_options = list_options(o, list);
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
            fputs(help, stdout);
            return flush();
        }
        if (strcmp(name, "--version") == 0) {
            printf("kq.c %s\n", VERSION);
            return flush();
        }
        const struct option *option = NULL;
        for (int k = 0; k < n_options; k++) {
            if (strcmp(name, list[k].name) == 0) option = &list[k];
        }
        if (option) {
            bool alone = option->kind == FLAG;
            if (!alone && i + 1 == argc) return USAGE("%s needs a value (see --help)", name);
            if (!set_option(option, alone ? "" : argv[++i])) {
                return USAGE("%s: expected %s, found \"%s\"", name, option->what, argv[i]);
            }
        } else if (name[0] == '-' && name[1]) {
            return USAGE("%s is not an option (see --help)", name);
        } else if (o->model) {
            return USAGE("one model at a time: \"%s\" or \"%s\"? (see --help)", o->model, name);
        } else {
            o->model = name;
        }
    }
    if (!o->model) {
        fputs(help, stderr);
        return EXIT_USAGE;
    }
    if ((o->prompt != NULL) + (o->prompt_file != NULL) + (o->ids != NULL) > 1) {
        return USAGE("-p, -f and --ids exclude each other");
    }
    if (o->reference && o->verify) return USAGE("--verify runs --reference by itself");
    return -1;
}

/* ------------------------------------------------------------------------------------- session */

atomic_int interrupted;

static void on_interrupt(int signal_number) {
    (void)signal_number;
    interrupted = 1;
}

/* A page of the map is gone: somebody cut the file short while it was in use. */
static void on_bus_error(int signal_number) {
    (void)signal_number;
    static const char text[] = "run: the model file was cut short while it was in use\n";
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(EXIT_FAILED);
    _exit(EXIT_FAILED);
}

static void set_signals(void) {
    struct sigaction interrupt = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    struct sigaction bus = {.sa_handler = on_bus_error};
    struct sigaction pipe_gone = {.sa_handler = SIG_IGN}; // write errors are reported instead
    sigaction(SIGINT, &interrupt, NULL);
    sigaction(SIGTERM, &interrupt, NULL);
    sigaction(SIGBUS, &bus, NULL);
    sigaction(SIGPIPE, &pipe_gone, NULL);
}

int open_model(struct session *s) {
    struct options *o = &s->o;
    if (gguf_open(&s->gguf, o->model, &s->err) < 0) return FAIL("%s", s->err.text);
    if (model_open(&s->model, &s->gguf, &s->err) < 0) return FAIL("%s: %s", o->model, s->err.text);
    return 0;
}

int open_tokenizer(struct session *s) {
    s->tokenizer = tokenizer_open(&s->gguf, &s->err);
    if (!s->tokenizer) return FAIL("%s: %s", s->o.model, s->err.text);
    if (!s->o.chat) tokenizer_stop_on(s->tokenizer, &interrupted); // messages are short
    return 0;
}

int open_transformer(struct session *s) {
    struct options *o = &s->o;
    int n_train = s->model.hp.n_ctx_train;
    if (!o->ctx_given) o->n_ctx = n_train < 4096 ? n_train : 4096;
    if (o->n_batch > o->n_ctx) o->n_batch = o->n_ctx;
    s->threads = threads_open(o->n_threads ? o->n_threads : threads_default_count(), &s->err);
    if (!s->threads) return FAIL("%s", s->err.text);
    struct transformer_params p = {.isa = o->isa,
                                   .threads = s->threads,
                                   .reference = o->reference,
                                   .kv_f32 = o->kv_f32,
                                   .n_ctx = o->n_ctx,
                                   .n_batch = o->n_batch,
                                   .stop = &interrupted};
    s->transformer = transformer_open(&s->model, &p, &s->err);
    if (s->transformer && o->verify) {
        p.reference = true;
        s->reference = transformer_open(&s->model, &p, &s->err);
    }
    if (!s->transformer || (o->verify && !s->reference)) return FAIL("%s", s->err.text);
    return 0;
}

static void close_session(struct session *s) {
    if (s->logits_file) fclose(s->logits_file);
    token_list_free(&s->tokens);
    sampler_close(s->sampler);
    transformer_close(s->transformer);
    transformer_close(s->reference);
    threads_close(s->threads);
    tokenizer_close(s->tokenizer);
    model_close(&s->model);
    gguf_close(&s->gguf);
}

/* -------------------------------------------------------------------------------------- prompt */

/* More than any context holds; a device may have no end, and tokens take 45 times the room. */
#define MAX_TEXT (8 << 20)

/* The whole of a stream, which may hold any bytes. */
static int read_all(FILE *f, const char *name, char **text, size_t *len) {
    size_t capacity = 0;
    *text = NULL;
    *len = 0;
    for (;;) {
        if (*len == capacity) {
            capacity = capacity ? 2 * capacity : 65536;
            char *larger = realloc(*text, capacity);
            if (!larger) return FAIL("%s: out of memory after %zu bytes", name, *len);
            *text = larger;
        }
        if (*len > MAX_TEXT) return FAIL("%s: longer than %d bytes", name, MAX_TEXT);
        size_t got = fread(*text + *len, 1, capacity - *len, f);
        *len += got;
        if (got == 0) break;
    }
    if (interrupted) return EXIT_FAILED; // which main reports
    return ferror(f) ? FAIL("%s: %s", name, strerror(errno)) : 0;
}

int read_file(const char *path, char **text, size_t *len) {
    FILE *f = fopen(path, "rb");
    if (!f) return FAIL("%s: %s", path, strerror(errno));
    int status = read_all(f, path, text, len);
    fclose(f);
    return status;
}

/* "1 5 7" or "1,5,7" */
static int parse_ids(struct session *s) {
    int limit = s->model.hp.n_vocab;
    for (const char *p = s->o.ids; *p;) {
        char *end;
        if (strchr(" ,\t\n", *p)) {
            p++;
            continue;
        }
        errno = 0;
        long long id = strtoll(p, &end, 10);
        if (end == p) return USAGE("--ids: expected numbers, found \"%.20s\"", p);
        if (errno || id < 0 || id >= limit) {
            return USAGE("--ids: %.*s is not a token, expected 0 to %d", (int)(end - p), p,
                         limit - 1);
        }
        if (s->tokens.n == s->tokens.capacity) {
            size_t capacity = s->tokens.capacity ? 2 * s->tokens.capacity : 256;
            int32_t *larger = realloc(s->tokens.ids, capacity * sizeof *larger);
            if (!larger) return FAIL("out of memory for the prompt");
            s->tokens.ids = larger;
            s->tokens.capacity = capacity;
        }
        s->tokens.ids[s->tokens.n++] = (int32_t)id;
        p = end;
    }
    return 0;
}

static int read_prompt(struct session *s) {
    struct options *o = &s->o;
    char *text = NULL;
    size_t len = 0;
    int status = 0;
    if (o->ids) return parse_ids(s);
    if (o->prompt_file) {
        status = read_file(o->prompt_file, &text, &len);
    } else if (!o->prompt) {
        if (isatty(STDIN_FILENO)) return USAGE("no prompt: give -p, -f or --ids, or pipe one in");
        status = read_all(stdin, "standard input", &text, &len);
    }
    const char *from = o->prompt ? o->prompt : text;
    if (o->prompt) len = strlen(o->prompt);
    if (status == 0 && tokenizer_encode(s->tokenizer, from ? from : "", len, true, true, &s->tokens,
                                        &s->err) < 0) {
        status = interrupted ? EXIT_FAILED : FAIL("%s", s->err.text);
    }
    free(text);
    return status;
}

int check_ids(const struct session *s) {
    for (size_t i = 0; i < s->tokens.n; i++) {
        if (s->tokens.ids[i] >= s->model.hp.n_vocab) {
            return FAIL("token %d of the vocabulary has no row in token_embd.weight (%d rows)",
                        (int)s->tokens.ids[i], s->model.hp.n_vocab);
        }
    }
    return 0;
}

int check_prompt(struct session *s) {
    s->n_prompt = s->tokens.n;
    if (s->n_prompt == 0) return FAIL("the prompt is empty: there is nothing to continue");
    if (s->n_prompt > (size_t)s->o.n_ctx) {
        return FAIL("the prompt has %zu tokens, the context holds %d: give a larger -c",
                    s->n_prompt, s->o.n_ctx);
    }
    if (check_ids(s) != 0) return EXIT_FAILED;
    size_t longest = (size_t)s->o.n_ctx + 1; // the last token may not fit the context any more
    int32_t *ids = realloc(s->tokens.ids, longest * sizeof *ids);
    if (!ids) return FAIL("out of memory for %zu tokens", longest);
    s->tokens.ids = ids;
    s->tokens.capacity = longest;
    return 0;
}

/* --------------------------------------------------------------------------------------- logits */

/* FNV-1a, 64 bits. */
static uint64_t hash_bytes(uint64_t hash, const void *data, size_t n) {
    const uint8_t *p = data;
    for (size_t i = 0; i < n; i++) hash = (hash ^ p[i]) * 0x100000001b3ull;
    return hash;
}

/* --verify: the reference's logits for the same token must be the same bits. */
static int compare(struct session *s, int i, const float *logits) {
    const float *expected = transformer_logits(s->reference, i, &s->err);
    if (!expected) return interrupted ? EXIT_FAILED : FAIL("%s", s->err.text);
    for (int k = 0; k < s->model.hp.n_vocab; k++) {
        if (memcmp(&logits[k], &expected[k], sizeof *logits) != 0) {
            return FAIL("--verify: position %d, logit %d is %.9g, the reference gives %.9g",
                        s->n_past - 1, k, (double)logits[k], (double)expected[k]);
        }
    }
    return 0;
}

/* Logits after token i of the last forward call, compared and written where asked for. */
int logits_of(struct session *s, int i, const float **logits) {
    *logits = transformer_logits(s->transformer, i, &s->err);
    if (!*logits) return interrupted ? EXIT_FAILED : FAIL("%s", s->err.text);
    if (s->reference) {
        int status = compare(s, i, *logits);
        if (status) return status;
    }
    size_t n = (size_t)s->model.hp.n_vocab;
    if (s->logits_file && fwrite(*logits, sizeof **logits, n, s->logits_file) != n) {
        return FAIL("%s: %s", s->o.logits, strerror(errno));
    }
    return 0;
}

int forward(struct session *s, const int32_t *ids, int n) {
    if (transformer_forward(s->transformer, ids, n, s->n_past, &s->err) < 0 ||
        (s->reference && transformer_forward(s->reference, ids, n, s->n_past, &s->err) < 0)) {
        return interrupted ? EXIT_FAILED : FAIL("%s", s->err.text);
    }
    s->n_past += n;
    return 0;
}

/* What the kernel counts as this process's own memory: neither file nor shared. 0 if unknown. */
static size_t anonymous_bytes(void) {
    FILE *f = fopen("/proc/self/status", "r");
    char line[128];
    unsigned long long kb = 0;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "RssAnon: %llu kB", &kb) == 1) break;
    }
    if (f) fclose(f);
    return (size_t)kb * 1024;
}

static void note_memory(struct session *s) {
    size_t bytes = anonymous_bytes();
    if (bytes > s->anon_bytes) s->anon_bytes = bytes;
}

/* On a terminal, what takes over two seconds shows where it is. */
void show_progress(double since, const char *what, size_t done, size_t all) {
    if (!isatty(STDERR_FILENO) || now() - since < 2) return;
    fprintf(stderr, done < all ? "\r%s %zu/%zu" : "\r%s %zu/%zu\r\033[K", what, done, all);
}

int run_prompt(struct session *s, const float **logits) {
    double start = now();
    s->n_reused = (size_t)s->n_past;
    for (size_t done = s->n_reused; done < s->n_prompt;) {
        size_t left = s->n_prompt - done;
        int n = left < (size_t)s->o.n_batch ? (int)left : s->o.n_batch;
        int status = forward(s, s->tokens.ids + done, n);
        if (status) return status;
        done += (size_t)n;
        for (int i = s->logits_file || s->reference ? 0 : n - 1; i < n; i++) {
            if (i < n - 1 || done == s->n_prompt || s->logits_file || s->reference) {
                if ((status = logits_of(s, i, logits)) != 0) return status;
            }
        }
        show_progress(start, "reading the prompt:", done, s->n_prompt);
    }
    s->prompt_s = now() - start;
    note_memory(s);
    return 0;
}

/* ---------------------------------------------------------------------------------- generation */

int print(struct gguf_str text) {
    if (fwrite(text.data, 1, text.len, stdout) == text.len) return 0;
    return FAIL("standard output: %s", strerror(errno));
}

int flush(void) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return 0;
    return FAIL("standard output: %s", strerror(errno));
}

static int print_token(struct session *s, struct token_stream *stream, int32_t id) {
    struct gguf_str out[2];
    if (!s->tokenizer) return 0;
    token_stream_next(stream, tokenizer_piece(s->tokenizer, id, false), out);
    int status = out[0].len ? print(out[0]) : 0;
    return status == 0 && out[1].len ? print(out[1]) : status;
}

int generate(struct session *s, struct token_stream *stream, const float *logits) {
    double start = now();
    int status = 0;
    size_t row = (size_t)s->model.hp.n_vocab * sizeof *logits;
    s->context_full = false;
    s->logits_hash = hash_bytes(0xcbf29ce484222325ull, logits, s->o.n_gen == 0 ? row : 0);
    for (int n = 0; status == 0 && (s->o.n_gen < 0 || n < s->o.n_gen); n++) {
        s->logits_hash = hash_bytes(s->logits_hash, logits, row);
        int32_t id = sampler_pick(s->sampler, logits, s->tokens.ids, s->tokens.n);
        if (s->tokenizer && tokenizer_is_eog(s->tokenizer, id)) break;
        s->tokens.ids[s->tokens.n++] = id;
        status = print_token(s, stream, id);
        if (status == 0) status = flush();
        bool last = n + 1 == s->o.n_gen && !s->logits_file; // nobody asks for what comes after it
        if (status || last || interrupted) break;
        s->context_full = s->n_past == s->o.n_ctx;
        if (s->context_full) break;
        status = forward(s, &id, 1);
        if (status == 0) status = logits_of(s, 0, &logits);
    }
    s->gen_s = now() - start;
    note_memory(s);
    return status;
}

/* ---------------------------------------------------------------------------------- statistics */

struct stats {
    size_t n_gen;
    double prompt_rate, gen_rate;
    size_t kv_bytes, scratch_bytes, peak_anon_bytes;
};

static struct stats collect(const struct session *s) {
    struct stats st = {.n_gen = s->tokens.n - s->n_prompt};
    st.prompt_rate = s->prompt_s > 0 ? (double)(s->n_prompt - s->n_reused) / s->prompt_s : 0;
    st.gen_rate = s->gen_s > 0 ? (double)st.n_gen / s->gen_s : 0;
    st.kv_bytes = transformer_kv_bytes(s->transformer, s->n_past);
    st.scratch_bytes = transformer_scratch_bytes(s->transformer);
    const struct transformer *copies = s->reference ? s->reference : s->transformer;
    size_t own = s->anon_bytes ? s->anon_bytes : st.kv_bytes + st.scratch_bytes;
    st.peak_anon_bytes = own + transformer_reference_bytes(copies);
    return st;
}

void print_json(const struct session *s) {
    struct stats st = collect(s);
    fprintf(stderr,
            "{\"prompt_tokens\": %zu, \"prompt_tok_s\": %.2f, \"gen_tokens\": %zu, "
            "\"gen_tok_s\": %.2f, \"load_s\": %.4f, \"mapped_bytes\": %zu, \"kv_bytes\": %zu, "
            "\"scratch_bytes\": %zu, \"peak_anon_bytes\": %zu, \"isa\": \"%s\", \"threads\": %d, "
            "\"seed\": %llu, \"logits_hash\": \"%016llx\"}\n",
            s->n_prompt, st.prompt_rate, st.n_gen, st.gen_rate, s->load_s, s->gguf.mapped_bytes,
            st.kv_bytes, st.scratch_bytes, st.peak_anon_bytes, s->o.isa->name,
            threads_count(s->threads), (unsigned long long)s->o.sampling.seed,
            (unsigned long long)s->logits_hash);
}

void print_stats(const struct session *s) {
    struct stats st = collect(s);
    const double mb = 1e6;
    fprintf(stderr, "prompt     %6zu tokens %9.2f tok/s", s->n_prompt, st.prompt_rate);
    if (s->n_reused > 0) fprintf(stderr, "  (%zu were in the cache)", s->n_reused);
    fprintf(stderr, "\ngenerated  %6zu tokens %9.2f tok/s", st.n_gen, st.gen_rate);
    if (st.n_gen > 0) fprintf(stderr, "  (%.2f ms each)", 1e3 * s->gen_s / (double)st.n_gen);
    fprintf(stderr, "\nloaded in  %6.0f ms; %s, %d threads%s; logits %016llx", 1e3 * s->load_s,
            s->o.isa->name, threads_count(s->threads), s->o.reference ? ", reference" : "",
            (unsigned long long)s->logits_hash);
    if (s->o.sampling.temp > 0) {
        fprintf(stderr, "; seed %llu", (unsigned long long)s->o.sampling.seed);
    }
    fprintf(stderr,
            "\nmemory     %.1f MB mapped file, %.1f MB cache, %.1f MB buffers, %.1f MB own peak\n",
            (double)s->gguf.mapped_bytes / mb, (double)st.kv_bytes / mb,
            (double)st.scratch_bytes / mb, (double)st.peak_anon_bytes / mb);
    if (s->reference) fprintf(stderr, "verified   all logits equal the reference's, bit for bit\n");
}

/* ----------------------------------------------------------------------------------- the modes */

/* Needs a vocabulary alone. */
static int print_tokens(struct session *s) {
    if (gguf_open(&s->gguf, s->o.model, &s->err) < 0) return FAIL("%s", s->err.text);
    int status = open_tokenizer(s);
    if (status == 0) status = read_prompt(s);
    for (size_t i = 0; status == 0 && i < s->tokens.n; i++) {
        printf(i ? " %d" : "%d", (int)s->tokens.ids[i]);
    }
    if (status == 0) putchar('\n');
    return status == 0 ? flush() : status;
}

int open_sampler(struct session *s) {
    struct options *o = &s->o;
    if (!o->seed_given && o->sampling.temp > 0) { // random; the statistics repeat it
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        uint64_t mixed = hash_bytes(0xcbf29ce484222325ull, &t, sizeof t) ^ (uint64_t)getpid();
        o->sampling.seed = mixed % 4294967296u;
    }
    s->sampler = sampler_open(&o->sampling, s->model.hp.n_vocab, &s->err);
    return s->sampler ? 0 : FAIL("%s", s->err.text);
}

/* Replaces what the file holds, unless that is the model. */
static int open_logits_file(struct session *s) {
    const char *path = s->o.logits;
    struct stat st;
    if (!path) return 0;
    if (stat(path, &st) == 0) {
        if (gguf_maps_file(&s->gguf, &st)) return FAIL("--logits: %s is the model itself", path);
    } else if (errno != ENOENT) {
        return FAIL("%s: %s", path, strerror(errno));
    }
    s->logits_file = fopen(path, "wb");
    return s->logits_file ? 0 : FAIL("%s: %s", path, strerror(errno));
}

static int close_logits_file(struct session *s) {
    FILE *f = s->logits_file;
    s->logits_file = NULL;
    return !f || fclose(f) == 0 ? 0 : FAIL("%s: %s", s->o.logits, strerror(errno));
}

/* Prompt in, text out. */
static int run_text(struct session *s) {
    int status = open_model(s);
    if (status == 0 && !(s->o.ids && !gguf_find(&s->gguf, "tokenizer.ggml.model"))) {
        status = open_tokenizer(s);
    }
    if (status == 0) status = read_prompt(s);
    if (status == 0) status = open_transformer(s);
    if (status == 0) status = check_prompt(s);
    if (status == 0) status = open_logits_file(s);
    if (status == 0) status = open_sampler(s);
    if (status) return status;
    s->load_s = now() - s->start;

    struct token_stream stream = {0};
    if (s->tokenizer) token_stream_begin(&stream, s->tokenizer, !s->o.quiet);
    for (size_t i = 0; status == 0 && !s->o.quiet && i < s->n_prompt; i++) {
        status = print_token(s, &stream, s->tokens.ids[i]);
    }
    if (status == 0) status = flush();
    const float *logits = NULL;
    if (status == 0) status = run_prompt(s, &logits);
    if (status == 0) status = generate(s, &stream, logits);
    if (status == 0) status = print(token_stream_end(&stream));
    if (status == 0) putchar('\n');
    if (status == 0) status = flush();
    if (status == 0) status = close_logits_file(s);
    if (s->context_full)
        say("the context of %d tokens is full: -c N makes room for more", s->o.n_ctx);
    if (!s->o.quiet && (status == 0 || interrupted)) print_stats(s);
    if (s->o.json) print_json(s);
    return status;
}

int main(int argc, char **argv) {
    struct session s = {.start = now()};
    int status = parse_options(&s.o, argc, argv);
    if (status >= 0) return status;
    set_signals();
    if (s.o.tokens) {
        status = print_tokens(&s);
    } else if (s.o.info) {
        status = print_info(&s);
    } else if (s.o.perplexity) {
        status = run_perplexity(&s);
    } else if (s.o.bench) {
        status = run_bench(&s);
    } else if (s.o.chat) {
        status = run_chat(&s);
    } else {
        status = run_text(&s);
    }
    if (interrupted) status = FAIL("interrupted");
    close_session(&s);
    return status;
}
