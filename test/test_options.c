/* The table of run's options and its parser, without the program around it. */
#include "test.h"

#include "cli/options.h"
#include "cli/prompt.h"

#define ARGUMENTS(...) ((char *[]){"run", __VA_ARGS__, NULL})

static int parse(struct options *o, char **argv, struct error *err) {
    int argc = 0;
    while (argv[argc]) argc++;
    *err = (struct error){0};
    return options_parse(o, argc, argv, err);
}

static void accept(struct options *o, char **argv) {
    struct error err;
    CHECK(parse(o, argv, &err) == 0, "%s %s: %s", argv[1], argv[1] ? argv[2] : "", err.text);
}

static void refuse(const char *text, char **argv) {
    struct options o;
    struct error err;
    CHECK(parse(&o, argv, &err) < 0, "%s %s was accepted", argv[1], argv[2]);
    CHECK(err.status == KQ_BAD_ARGUMENT && strcmp(err.text, text) == 0,
          "expected \"%s\", found \"%s\" (status %d)", text, err.text, (int)err.status);
}

static void test_defaults(void) {
    struct options o;
    accept(&o, ARGUMENTS("m"));
    CHECK(strcmp(o.model, "m") == 0, "model %s", o.model);
    CHECK(o.n_gen == 128 && o.n_ctx == 0 && o.n_threads == 0 && o.n_batch == 256 && o.n_reps == 5,
          "lengths");
    CHECK(o.sampling.temp == 0 && o.sampling.top_k == 0 && o.sampling.top_p == 1 &&
              o.sampling.min_p == 0 && o.sampling.repeat_penalty == 1 &&
              o.sampling.repeat_last_n == 64,
          "sampling");
    CHECK(!o.reference && !o.verify && !o.kv_f32 && !o.json && !o.quiet && !o.tokens && !o.info &&
              !o.bench && !o.chat && !o.help && !o.version,
          "flags");
    CHECK(!o.prompt && !o.prompt_file && !o.ids && !o.logits && !o.perplexity && !o.system &&
              !o.chat_template,
          "texts");
    CHECK(o.isa == isa_best(), "isa");
    CHECK(!options_given(&o, "-n") && !options_given(&o, "-s"), "nothing was given");
    accept(&o, ARGUMENTS(NULL));
    CHECK(!o.model, "no model");
}

/* Each option reaches its own member, and no other is given. */
static void test_members(void) {
    struct options o;
    accept(&o,
           ARGUMENTS("-n", "-1", "m", "-c", "7", "-t", "3", "-b", "9", "-r", "2", "--top-k", "5"));
    CHECK(o.n_gen == -1 && o.n_ctx == 7 && o.n_threads == 3 && o.n_batch == 9 && o.n_reps == 2 &&
              o.sampling.top_k == 5,
          "whole numbers");
    CHECK(options_given(&o, "-n") && options_given(&o, "--top-k") && !options_given(&o, "-s") &&
              !options_given(&o, "-p"),
          "what was given");
    accept(&o, ARGUMENTS("m", "--temp", "0.5", "--top-p", "0.25", "--min-p", "0.125",
                         "--repeat-penalty", "2", "-s", "9223372036854775807"));
    CHECK(o.sampling.temp == 0.5f && o.sampling.top_p == 0.25f && o.sampling.min_p == 0.125f &&
              o.sampling.repeat_penalty == 2 && o.sampling.seed == INT64_MAX,
          "numbers");
    accept(&o, ARGUMENTS("m", "--logits", "l", "--perplexity", "x", "--system", "s", "--template",
                         "t", "-p", "--chat"));
    CHECK(strcmp(o.logits, "l") == 0 && strcmp(o.perplexity, "x") == 0 &&
              strcmp(o.system, "s") == 0 && strcmp(o.chat_template, "t") == 0 &&
              strcmp(o.prompt, "--chat") == 0 && !o.chat,
          "texts");
    accept(&o, ARGUMENTS("m", "-f", "f"));
    CHECK(strcmp(o.prompt_file, "f") == 0, "-f");
    accept(&o, ARGUMENTS("m", "--ids", ""));
    CHECK(o.ids && !*o.ids, "--ids of nothing");
    accept(&o, ARGUMENTS("m", "--reference", "--json", "-q", "--kv", "f32", "--act", "32", "--isa",
                         "portable"));
    CHECK(o.reference && o.json && o.quiet && o.kv_f32 && o.isa == isa_find("portable"), "flags");
    accept(&o, ARGUMENTS("m", "--verify", "--tokens", "--info", "--bench", "--chat"));
    CHECK(o.verify && o.tokens && o.info && o.bench && o.chat, "modes");
    accept(&o, ARGUMENTS("m", "--plan", "--ignore-key", "a", "--ignore-key", "b"));
    CHECK(o.plan && o.ignored_keys.n == 2 && strcmp(o.ignored_keys.text[1], "b") == 0, "texts");
    accept(&o, ARGUMENTS("m", "--kv", "f32", "--kv", "f16", "-n", "1", "-n", "2"));
    CHECK(!o.kv_f32 && o.n_gen == 2, "the last one counts");
}

static void test_ends(void) {
    struct options o;
    accept(&o, ARGUMENTS("--help", "--nonsense"));
    CHECK(o.help && !o.version, "--help");
    accept(&o, ARGUMENTS("m", "-p", "a", "--ids", "1", "-h"));
    CHECK(o.help, "-h");
    accept(&o, ARGUMENTS("--version", "-n"));
    CHECK(o.version, "--version");
    accept(&o, ARGUMENTS("--families", "-n"));
    CHECK(o.families, "--families");
    refuse("--nonsense is not an option (see --help)", ARGUMENTS("--nonsense", "--help"));
}

static void test_refusals(void) {
    refuse("-n needs a value (see --help)", ARGUMENTS("m", "-n"));
    refuse("-n: expected a whole number from -1 on, found \"-2\"", ARGUMENTS("m", "-n", "-2"));
    refuse("-n: expected a whole number from -1 on, found \"1073741825\"",
           ARGUMENTS("m", "-n", "1073741825"));
    refuse("-s: expected a whole number from 0 on, found \"9223372036854775808\"",
           ARGUMENTS("m", "-s", "9223372036854775808"));
    refuse("--min-p: expected a number from 0 to 1, found \"nan\"",
           ARGUMENTS("m", "--min-p", "nan"));
    refuse("--isa: expected an instruction set of this build and CPU, found \"\"",
           ARGUMENTS("m", "--isa", ""));
    refuse("--act: expected 32, 16 or 8, found \"12\"", ARGUMENTS("m", "--act", "12"));
    refuse("--reference computes with float32 activations: not with --act 8",
           ARGUMENTS("m", "--reference", "--act", "8"));
    struct options o;
    accept(&o, ARGUMENTS("m", "--act", "16"));
    CHECK(o.act == 16, "--act 16: %d", o.act);
    accept(&o, ARGUMENTS("m", "--verify", "--act", "8"));
    CHECK(o.act == 8, "--act 8: %d", o.act);
    refuse("one model at a time: \"m\" or \"-\"? (see --help)", ARGUMENTS("m", "-"));
    refuse("-p, -f and --ids exclude each other", ARGUMENTS("m", "-f", "a", "-p", "b"));
    refuse("--verify runs --reference by itself", ARGUMENTS("m", "--reference", "--verify"));
    char name[2000] = "--";
    memset(name + 2, 'x', sizeof name - 3);
    struct error err;
    CHECK(parse(&o, ARGUMENTS(name), &err) < 0 && strncmp(err.text, name, 100) == 0, "a long name");
}

/* As many of a repeated option as there is room for, and one more. */
static void test_repeated(void) {
    char *argv[2 + 2 * (OPTIONS_MOST_TEXTS + 1) + 1] = {"run", "m"};
    struct options o;
    for (int i = 0; i <= OPTIONS_MOST_TEXTS; i++) {
        if (i == OPTIONS_MOST_TEXTS) accept(&o, argv);
        argv[2 + 2 * i] = "--ignore-key";
        argv[3 + 2 * i] = "k";
    }
    CHECK(o.ignored_keys.n == OPTIONS_MOST_TEXTS, "%zu", o.ignored_keys.n);
    refuse("--ignore-key: expected at most 32 of these, found \"k\"", argv);
}

static void test_ids(void) {
    struct token_list ids = {0};
    struct error err;
    CHECK(parse_ids(" 1,5\t7\n", 8, &ids, &err) == 0 && ids.n == 3 && ids.ids[0] == 1 &&
              ids.ids[1] == 5 && ids.ids[2] == 7,
          "%zu ids", ids.n);
    CHECK(parse_ids("0", 8, &ids, &err) == 0 && ids.n == 4 && ids.ids[3] == 0, "appended");
    CHECK(parse_ids("8", 8, &ids, &err) < 0 && err.status == KQ_BAD_ARGUMENT &&
              strcmp(err.text, "--ids: 8 is not a token, expected 0 to 7") == 0,
          "%s", err.text);
    CHECK(parse_ids("7 y", 8, &ids, &err) < 0 && err.status == KQ_BAD_ARGUMENT, "%s", err.text);
    token_list_free(&ids);
}

/* Every option that the help names exists; test_cli.sh asks for the others by name. */
static void test_help(void) {
    int n = 0;
    for (const char *p = options_help; (p = strpbrk(p, " [|")) != NULL;) {
        size_t len = strcspn(++p, " ]|\n");
        char name[32];
        if (*p != '-' || len >= sizeof name || strchr("0123456789", p[1])) continue;
        snprintf(name, sizeof name, "%.*s", (int)len, p);
        struct options o;
        struct error err;
        int failed = parse(&o, ARGUMENTS("m", name), &err);
        CHECK(!failed || !strstr(err.text, "is not an option"), "%s", err.text);
        n++;
    }
    CHECK(n > 25, "%d options in the help", n);
}

int main(void) {
    test_defaults();
    test_members();
    test_ends();
    test_refusals();
    test_repeated();
    test_ids();
    test_help();
    return test_done("test_options");
}
