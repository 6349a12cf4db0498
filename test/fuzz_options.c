/* The command line of run: an input is the arguments, each ended by a zero byte; --ids is read too.
 * run.c is included, as its parser is not for others; what it says is thrown away. */
#include "cli/session.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int quiet(const char *format, ...) PRINTF_LIKE(1, 2);
static int quiet(const char *format, ...) {
    (void)format;
    return 1;
}

#define main run_main
#define printf quiet
#define vfprintf(stream, format, args) (void)(stream), (void)(args), (void)quiet("%s", format)
#define fputs(text, stream) quiet("%s", text)
#define fputc(c, stream) (void)quiet("%c", c)
#include "../run.c"
#undef main
#undef printf

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "%s\n", what);
    abort();
}

/* Whatever was accepted is within its limits. */
static void check_options(const struct options *o) {
    check(o->model != NULL, "no model");
    check(o->n_gen >= -1 && o->n_gen <= MOST, "-n");
    check(o->n_ctx >= (o->ctx_given ? 1 : 0) && o->n_ctx <= MOST, "-c");
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
    struct session s = {.model.hp.n_vocab = 512};
    if (parse_options(&s.o, argc, argv) < 0) check_options(&s.o);
    if (s.o.ids && parse_ids(&s) == 0) {
        for (size_t i = 0; i < s.tokens.n; i++) {
            check(s.tokens.ids[i] >= 0 && s.tokens.ids[i] < 512, "--ids");
        }
    }
    token_list_free(&s.tokens);
    free(text);
    return 0;
}
