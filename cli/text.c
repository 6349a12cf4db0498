/* A prompt and what the model makes of it; and --tokens, a prompt's ids alone. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "generate.h"
#include "modes.h"
#include "prompt.h"
#include "stats.h"

/* Needs a vocabulary alone. */
int print_tokens(struct session *s) {
    int status = open_file(s);
    if (status == 0) status = open_tokenizer(s);
    if (status == 0) status = read_prompt(s);
    for (size_t i = 0; status == 0 && i < s->tokens.n; i++) {
        printf(i ? " %d" : "%d", (int)s->tokens.ids[i]);
    }
    if (status == 0) putchar('\n');
    return status == 0 ? flush() : status;
}

/* A stream that writes to the same file would leave its text among the logits. */
static int check_streams(const char *path, const struct stat *file) {
    for (int fd = STDOUT_FILENO; S_ISREG(file->st_mode) && fd <= STDERR_FILENO; fd++) {
        struct stat st;
        if (fstat(fd, &st) != 0) return FAIL("descriptor %d: %s", fd, strerror(errno));
        if (st.st_dev == file->st_dev && st.st_ino == file->st_ino) {
            return FAIL("--logits: %s is where the text or the messages go", path);
        }
    }
    return 0;
}

/* Replaces what the file holds, unless that is the model or somebody else's output. */
static int open_logits_file(struct session *s) {
    const char *path = s->o->logits;
    struct stat st;
    if (!path) return 0;
    if (stat(path, &st) == 0) {
        if (gguf_maps_file(&s->gguf, &st)) return FAIL("--logits: %s is the model itself", path);
        if (check_streams(path, &st) != 0) return EXIT_FAILED;
    } else if (errno != ENOENT) {
        return FAIL("%s: %s", path, strerror(errno));
    }
    s->logits_file = fopen(path, "wb");
    return s->logits_file ? 0 : FAIL("%s: %s", path, strerror(errno));
}

/* Some of the logits are no file of logits: nothing tells how many were to follow. */
static void discard_logits_file(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) return;
    if (lstat(path, &st) == 0 && S_ISREG(st.st_mode)) {
        unlink(path);
    } else if (truncate(path, 0) != 0) { // behind a link
        say("%s: only a part of the logits is in it", path);
    }
}

/* The file stays if all is well, or if the user has seen enough. */
static int close_logits_file(struct session *s, int status) {
    FILE *f = s->logits_file;
    s->logits_file = NULL;
    if (!f) return status;
    bool keep = status == 0 || was_interrupted(s);
    if (fclose(f) != 0 && keep) {
        status = write_failed(s->o->logits);
        keep = false;
    }
    if (!keep) discard_logits_file(s->o->logits);
    return status;
}

/* A model without a tokenizer runs, too, if the prompt is ids. */
static int open_text(struct session *s) {
    int status = open_model(s);
    if (status == 0 && !(prompt_is_ids(s->o) && !gguf_find(&s->gguf, "tokenizer.ggml.model"))) {
        status = open_tokenizer(s);
    }
    if (status == 0) status = read_prompt(s);
    if (status == 0) status = open_transformer(s, default_context(s));
    if (status == 0) status = check_prompt(s);
    if (status == 0) status = open_sampler(s, &s->o->sampling);
    if (status == 0) status = open_stops(s);
    if (status == 0) status = open_logits_file(s);
    s->load_s = now() - s->start;
    return status;
}

/* Who asks an instruct model a question and gets its continuation should know why. */
static void point_to_chat(const struct session *s) {
    if (s->o->quiet || !(s->o->prompt || s->o->prompt_file) || !isatty(STDERR_FILENO)) return;
    if (!gguf_find(&s->gguf, "tokenizer.chat_template")) return;
    say("this continues the text; --chat -p TEXT asks the model a question");
}

static int echo_prompt(struct session *s, struct token_stream *stream) {
    int status = 0;
    for (size_t i = 0; status == 0 && !s->o->quiet && i < s->n_prompt; i++) {
        status = print_token(s, stream, s->tokens.ids[i]);
    }
    if (status == 0) status = flush();
    lap(s, "printing text");
    return status;
}

int run_text(struct session *s) {
    const struct options *o = s->o;
    const float *logits = NULL;
    struct token_stream stream = {0};
    int status = open_text(s);
    if (status) return status;
    say_context(s);
    point_to_chat(s);
    if (s->tokenizer) token_stream_begin(&stream, s->tokenizer, !o->quiet);
    // On a terminal the prompt comes when it was read: where reading is would be written over it.
    if (!same_terminal()) status = echo_prompt(s, &stream);
    if (status == 0) status = run_prompt(s, &logits);
    if (status == 0 && same_terminal()) status = echo_prompt(s, &stream);
    if (status == 0) status = generate(s, o->n_gen, &stream, logits);
    bool ended = status == 0 || was_interrupted(s);
    int printed = ended ? end_text(s, &stream) : 0;
    if (status == 0) status = printed;
    if (status == 0) status = verify_products(s);
    status = close_logits_file(s, status);
    if (s->stopped == STOPPED_CONTEXT) {
        say("the context of %d tokens is full: %s", s->n_ctx, more_context(s));
    }
    if (o->json && ended) {
        print_json(s);
    } else if (!o->quiet && ended && !printed) {
        print_stats(s);
    }
    return status;
}
