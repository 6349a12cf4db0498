/* A prompt and what the model makes of it; and --tokens, a prompt's ids alone. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "generate.h"
#include "modes.h"
#include "prompt.h"
#include "stats.h"

/* Needs a vocabulary alone. */
int print_tokens(struct session *s) {
    int status = open_file(s);
    if (status == 0) status = open_tokenizer(s, true);
    if (status == 0) status = read_prompt(s);
    for (size_t i = 0; status == 0 && i < s->tokens.n; i++) {
        printf(i ? " %d" : "%d", (int)s->tokens.ids[i]);
    }
    if (status == 0) putchar('\n');
    return status == 0 ? flush() : status;
}

/* Replaces what the file holds, unless that is the model. */
static int open_logits_file(struct session *s) {
    const char *path = s->o->logits;
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
    return !f || fclose(f) == 0 ? 0 : FAIL("%s: %s", s->o->logits, strerror(errno));
}

/* A model without a tokenizer runs, too, if the prompt is ids. */
static int open_text(struct session *s) {
    int status = open_model(s);
    if (status == 0 && !(s->o->ids && !gguf_find(&s->gguf, "tokenizer.ggml.model"))) {
        status = open_tokenizer(s, true);
    }
    if (status == 0) status = read_prompt(s);
    if (status == 0) status = open_transformer(s, default_context(s));
    if (status == 0) status = check_prompt(s);
    if (status == 0) status = open_logits_file(s);
    if (status == 0) status = open_sampler(s);
    s->load_s = now() - s->start;
    return status;
}

int run_text(struct session *s) {
    const struct options *o = s->o;
    const float *logits = NULL;
    struct token_stream stream = {0};
    int status = open_text(s);
    if (status) return status;
    if (s->tokenizer) token_stream_begin(&stream, s->tokenizer, !o->quiet);
    for (size_t i = 0; status == 0 && !o->quiet && i < s->n_prompt; i++) {
        status = print_token(s, &stream, s->tokens.ids[i]);
    }
    if (status == 0) status = flush();
    if (status == 0) status = run_prompt(s, &logits);
    if (status == 0) status = generate(s, o->n_gen, &stream, logits);
    bool ended = status == 0 || was_interrupted(s);
    int printed = ended ? end_text(&stream) : 0;
    if (status == 0) status = printed;
    if (status == 0) status = close_logits_file(s);
    if (s->context_full) {
        say("the context of %d tokens is full: -c N makes room for more", s->n_ctx);
    }
    if (!o->quiet && ended && !printed) print_stats(s);
    if (o->json && ended) print_json(s);
    return status;
}
