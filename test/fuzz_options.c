/* The command line of run: an input is the arguments, each ended by a zero byte; --ids is read too.
 */
#include "cli/options.h"
#include "cli/prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "%s\n", what);
    abort();
}

/* Whatever was accepted is within its limits. */
static void check_options(const struct options *o) {
    check(o->n_gen >= -1 && o->n_gen <= OPTIONS_MOST, "-n");
    check(o->n_ctx >= 0 && o->n_ctx <= OPTIONS_MOST, "-c");
    check(o->n_threads >= 0 && o->n_threads <= 1024, "-t");
    check(o->n_batch >= 1 && o->n_batch <= 65536, "-b");
    check(o->n_reps >= 1, "-r");
    check(o->sampling.temp >= 0 && o->sampling.temp <= 1e6f, "--temp");
    check(o->sampling.top_p >= 0 && o->sampling.top_p <= 1, "--top-p");
    check(o->isa && o->isa->usable(), "--isa");
    struct error err;
    struct sampler *sampler = sampler_open(&o->sampling, 8, &err);
    check(sampler != NULL, "the sampler refuses what the command line accepted");
    sampler_close(sampler);
}

/* A refusal is one sentence about an argument. */
static void check_error(const struct error *err) {
    check(err->status == KQ_BAD_ARGUMENT && err->text[0] && !strchr(err->text, '\n'), "an error");
}

static void check_id_list(const char *text) {
    enum { N_VOCAB = 512 };
    struct token_list ids = {0};
    struct error err = {0};
    if (parse_ids("--ids", (struct gguf_str){text, strlen(text)}, N_VOCAB, &ids, &err) < 0)
        check_error(&err);
    for (size_t i = 0; i < ids.n; i++) check(ids.ids[i] >= 0 && ids.ids[i] < N_VOCAB, "--ids");
    token_list_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char name[] = "run", *argv[64] = {name};
    int argc = 1;
    char *text = malloc(size + 1);
    if (!text) return 0;
    if (size) memcpy(text, data, size);
    text[size] = '\0';
    for (size_t at = 0; at < size && argc < 63; at += strlen(text + at) + 1) {
        argv[argc++] = text + at;
    }
    struct options o;
    struct error err = {0};
    if (options_parse(&o, argc, argv, &err) == 0) {
        check_options(&o);
    } else {
        check_error(&err);
    }
    if (o.ids) check_id_list(o.ids);
    free(text);
    return 0;
}
