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
    accept(&o, ARGUMENTS("-n", "-1", "m", "-c", "7", "-t", "3", "-b", "9", "--temp", "1", "--top-k",
                         "5"));
    CHECK(o.n_gen == -1 && o.n_ctx == 7 && o.n_threads == 3 && o.n_batch == 9 &&
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
    accept(&o, ARGUMENTS("m", "--logits", "l", "-p", "--chat"));
    CHECK(strcmp(o.logits, "l") == 0 && strcmp(o.prompt, "--chat") == 0 && !o.chat, "texts");
    accept(&o, ARGUMENTS("m", "--chat", "--system", "s", "--template", "t"));
    CHECK(strcmp(o.system, "s") == 0 && strcmp(o.chat_template, "t") == 0 && o.chat, "texts");
    accept(&o, ARGUMENTS("m", "--perplexity", "x"));
    CHECK(strcmp(o.perplexity, "x") == 0, "--perplexity");
    accept(&o, ARGUMENTS("m", "-f", "f"));
    CHECK(strcmp(o.prompt_file, "f") == 0, "-f");
    accept(&o, ARGUMENTS("m", "--ids", ""));
    CHECK(o.ids && !*o.ids, "--ids of nothing");
    accept(&o, ARGUMENTS("m", "--reference", "--json", "-q", "--kv", "f32", "--act", "32", "--isa",
                         "portable"));
    CHECK(o.reference && o.json && o.quiet && o.kv_f32 && o.isa == isa_find("portable"), "flags");
    accept(&o, ARGUMENTS("m", "--verify"));
    CHECK(o.verify && o.mode == IN_TEXT, "--verify");
    accept(&o, ARGUMENTS("m", "--bench", "-r", "2"));
    CHECK(o.n_reps == 2 && o.mode == IN_BENCH, "-r");
    accept(&o, ARGUMENTS("m", "--plan", "--ignore-key", "a", "--ignore-key", "b"));
    CHECK(o.mode == IN_PLAN && o.ignored_keys.n == 2 && strcmp(o.ignored_keys.text[1], "b") == 0,
          "texts");
    accept(&o, ARGUMENTS("m", "--kv", "f32", "--kv", "f16", "-n", "1", "-n", "2"));
    CHECK(!o.kv_f32 && o.n_gen == 2, "the last one counts");
}

/* note: what is said of the arguments, "" for nothing; no more than that. */
static void notes(const char *note, char **argv) {
    struct options o;
    char text[160] = "", more[160];
    accept(&o, argv);
    bool said = options_note(&o, 0, text, sizeof text);
    CHECK(said == (*note != 0) && strcmp(text, note) == 0, "%s: expected \"%s\", found \"%s\"",
          argv[2], note, text);
    CHECK(!options_note(&o, 1, more, sizeof more), "%s: \"%s\", too", argv[2], more);
}

/* What has no effect is said, and has none; what has one is not said. */
static void test_unused(void) {
    struct options o;
    notes("", ARGUMENTS("m", "-p", "a", "-n", "4", "--logits", "l", "--json", "-q", "--verify"));
    notes("", ARGUMENTS("m", "-p", "a", "--temp", "1", "--top-k", "4", "-s", "1"));
    notes("", ARGUMENTS("m", "-p", "a", "--temp", "0", "--repeat-penalty", "2"));
    notes("-s is not used without --temp: the likeliest token is taken",
          ARGUMENTS("m", "-p", "a", "-s", "1"));
    notes("--top-k is not used with --temp 0: the likeliest token is taken",
          ARGUMENTS("m", "--top-k", "9", "-p", "a", "--temp", "0"));
    notes("", ARGUMENTS("m", "--template", "list"));
    notes("-r is not used without --bench", ARGUMENTS("m", "-r", "2", "-p", "a"));
    notes("--system is not used without --chat", ARGUMENTS("m", "--system", "s", "-p", "a"));
    notes("--template is not used without --render or --chat",
          ARGUMENTS("m", "--template", "chatml", "-p", "a"));
    notes("--logits is not used with --perplexity",
          ARGUMENTS("m", "--logits", "l", "--perplexity", "f"));
    notes("--json is not used with --tokens", ARGUMENTS("m", "--json", "--tokens", "-p", "a"));
    notes("-p is not used with --info", ARGUMENTS("m", "-p", "a", "--info"));
    notes("--verify is not used with --bench", ARGUMENTS("m", "--verify", "--bench"));
    notes("--keep-newline is not used with -p", ARGUMENTS("m", "--keep-newline", "-p", "a"));
    notes("--keep-newline is not used with --tokens", ARGUMENTS("m", "--keep-newline", "--tokens"));
    notes("-n was given more than once: the last one counts",
          ARGUMENTS("m", "-n", "1", "-p", "a", "-n", "2"));
    notes("", ARGUMENTS("m", "-n", "2", "-p", "a", "-n", "2"));
    notes("--n-predict was given more than once: the last one counts",
          ARGUMENTS("m", "-n", "2", "-p", "a", "--n-predict=3"));
    notes("--seed is not used without --temp: the likeliest token is taken",
          ARGUMENTS("m", "-p", "a", "--seed=1"));
    notes("-e is not used without -p, --system or --stop", ARGUMENTS("m", "-f", "a", "-e"));
    notes("", ARGUMENTS("m", "-p", "a", "-e", "--no-bos", "--no-special"));
    notes("--repeat-last-n is not used without a penalty",
          ARGUMENTS("m", "-p", "a", "--repeat-last-n", "5"));
    notes("", ARGUMENTS("m", "-p", "a", "--repeat-last-n", "5", "--presence-penalty", "-1"));
    notes("--no-bos is not used with ids", ARGUMENTS("m", "--no-bos", "--ids", "1"));
    notes("--no-special is not used with --chat", ARGUMENTS("m", "--chat", "--no-special"));
    notes("", ARGUMENTS("m", "-ngl", "3", "-ngl", "4", "-fa"));
    notes("", ARGUMENTS("m", "--ignore-key", "a", "--ignore-key", "b", "-q", "-q"));
    notes("", ARGUMENTS("m", "--render", "f", "--tokens", "--date", "2024-01-02"));
    notes("", ARGUMENTS("m", "--chat", "-s", "1", "--top-k", "3", "--system", "s"));
    notes("-s is not used with --temp 0: the likeliest token is taken",
          ARGUMENTS("m", "-s", "1", "--chat", "--temp", "0"));
    accept(&o, ARGUMENTS("m", "--top-k", "9", "-r", "2", "--logits", "l", "--bench", "-s", "3"));
    CHECK(o.sampling.top_k == 0 && o.n_reps == 2 && !o.logits && o.sampling.seed == 0 &&
              !options_given(&o, "-s") && options_given(&o, "-r"),
          "what is not used has its default");
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
    refuse("one model at a time: \"m\" or \"n\"? (see --help)", ARGUMENTS("m", "n"));
    refuse("-p, -f and --ids exclude each other", ARGUMENTS("m", "-f", "a", "-p", "b"));
    refuse("-p was given twice", ARGUMENTS("m", "-p", "a", "-p", "a"));
    refuse("-f was given twice", ARGUMENTS("m", "-f", "-", "-"));
    refuse("--perplexity was given twice",
           ARGUMENTS("m", "--perplexity", "a", "--perplexity", "b"));
    refuse("--tokens and --info exclude each other", ARGUMENTS("m", "--info", "--tokens"));
    refuse("--render and --chat exclude each other",
           ARGUMENTS("m", "--chat", "--render", "f", "--tokens"));
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
    refuse("--ignore-key: expected a text, and at most 32 of these, found \"k\"", argv);
}

static int ids_of(const char *text, struct token_list *ids, struct error *err) {
    return parse_ids("--ids", (struct gguf_str){text, strlen(text)}, 8, ids, err);
}

static void test_ids(void) {
    struct token_list ids = {0};
    struct error err;
    CHECK(ids_of(" 1,5\t7\n", &ids, &err) == 0 && ids.n == 3 && ids.ids[0] == 1 &&
              ids.ids[1] == 5 && ids.ids[2] == 7,
          "%zu ids", ids.n);
    CHECK(ids_of("0", &ids, &err) == 0 && ids.n == 4 && ids.ids[3] == 0, "appended");
    CHECK(ids_of("8", &ids, &err) < 0 && err.status == KQ_BAD_ARGUMENT &&
              strcmp(err.text, "--ids: 8 is not a token, expected 0 to 7") == 0,
          "%s", err.text);
    CHECK(ids_of("7 y", &ids, &err) < 0 && err.status == KQ_BAD_ARGUMENT, "%s", err.text);
    CHECK(ids_of("00000000000000000000000000000000000000007", &ids, &err) < 0, "a long number");
    CHECK(parse_ids("f", (struct gguf_str){"7\0", 2}, 8, &ids, &err) < 0 &&
              strcmp(err.text, "f: expected numbers, found \"\"") == 0,
          "%s", err.text);
    token_list_free(&ids);
}

/* What a person reads of each option is there, and no name is used twice. */
static void test_table(void) {
    for (size_t i = 0; i < n_options; i++) {
        const struct option *a = &option_table[i];
        CHECK(a->name[0] == '-' && *a->help, "row %zu: %s", i, a->name);
        bool alone = a->kind == FLAG || a->kind == IGNORED_FLAG;
        CHECK(alone == (*a->value == '\0'), "%s: a value is named if there is one", a->name);
        CHECK(i == 0 || a->group >= a[-1].group, "%s: groups are together", a->name);
        bool ignored = a->kind >= IGNORED;
        CHECK(ignored == (a->group == GROUP_IGNORED), "%s: ignored", a->name);
        char names[400], *next;
        snprintf(names, sizeof names, "%s %s", a->name, a->synonyms);
        for (char *n = strtok_r(names, " ", &next); n; n = strtok_r(NULL, " ", &next)) {
            struct options o;
            struct error err;
            size_t n_given = 0;
            parse(&o, ARGUMENTS("m", n, "1"), &err);
            CHECK(!strstr(err.text, "is not an option"), "%s", err.text);
            parse(&o, ARGUMENTS(n, "all", "on"), &err);
            for (size_t k = 0; k < n_options; k++) n_given += k != i && options_typed(&o, k);
            CHECK(n_given == 0, "%s is the name of another option, too", n);
        }
    }
}

/* llama.cpp's names and values for the same things. */
static void test_synonyms(void) {
    struct options o;
    accept(&o, ARGUMENTS("--model", "m", "--prompt", "a", "--n-predict", "5", "--ctx-size", "0",
                         "--threads", "3", "--batch-size", "9", "--seed", "7", "--temperature",
                         "0.5", "--chat", "--chat-template", "chatml"));
    CHECK(strcmp(o.model, "m") == 0 && strcmp(o.prompt, "a") == 0 && o.n_gen == 5 && o.n_ctx == 0 &&
              o.n_threads == 3 && o.n_batch == 9 && o.sampling.seed == 7 &&
              o.sampling.temp == 0.5f && strcmp(o.chat_template, "chatml") == 0,
          "long names");
    CHECK(options_given(&o, "-c") && options_given(&o, "--n-predict") && options_given(&o, "-n"),
          "by whichever name");
    accept(&o, ARGUMENTS("m", "--predict=6", "--file=a=b", "--chat", "-sys", "s", "-t=2"));
    CHECK(o.n_gen == 6 && strcmp(o.prompt_file, "a=b") == 0 && o.n_threads == 2 &&
              strcmp(o.system, "s") == 0,
          "values behind =");
    accept(&o, ARGUMENTS("m", "--prompt="));
    CHECK(o.prompt && !*o.prompt, "an empty value");
    accept(&o, ARGUMENTS("m", "-s", "-1", "-t", "-1", "-n", "-1", "--isa", "auto", "--temp", "1"));
    CHECK(!o.seeded && o.n_threads == 0 && o.n_gen == -1 && o.isa == isa_best(), "special values");
    accept(&o, ARGUMENTS("m", "-s", "0", "--temp", "1"));
    CHECK(o.seeded, "a seed of 0 is one");
    accept(&o, ARGUMENTS("m", "-"));
    CHECK(strcmp(o.prompt_file, "-") == 0 && strcmp(o.model, "m") == 0, "- is standard input");
    accept(&o, ARGUMENTS("--help=all"));
    CHECK(o.help && o.help_all, "--help=all");
    accept(&o, ARGUMENTS("--help", "all"));
    CHECK(o.help && o.help_all, "--help all");
    accept(&o, ARGUMENTS("--help", "m"));
    CHECK(o.help && !o.help_all, "--help m");
    refuse("one model at a time: \"m\" or \"n\"? (see --help)", ARGUMENTS("m", "-m", "n"));
    refuse("--json takes no value (see --help)", ARGUMENTS("m", "--json=1"));
    refuse("--threads: expected 1 to 1024, found \"0\"", ARGUMENTS("m", "--threads=0"));
    refuse("--help: expected all, or nothing, found \"x\"", ARGUMENTS("m", "--help=x"));
}

static void test_stops_and_penalties(void) {
    struct options o;
    accept(&o, ARGUMENTS("m", "--stop", "a", "--reverse-prompt=b", "--ignore-eos"));
    CHECK(o.stops.n == 2 && strcmp(o.stops.text[1], "b") == 0 && o.ignore_eos, "--stop");
    accept(&o, ARGUMENTS("m", "--presence-penalty", "-1.5", "--frequency-penalty", "0.5",
                         "--repeat-last-n", "-1"));
    CHECK(o.sampling.presence_penalty == -1.5f && o.sampling.frequency_penalty == 0.5f &&
              o.sampling.repeat_last_n == -1,
          "penalties");
    refuse("--stop: expected a text, and at most 32 of these, found \"\"",
           ARGUMENTS("m", "--stop", ""));
    refuse("--presence-penalty: expected -100 to 100, found \"inf\"",
           ARGUMENTS("m", "--presence-penalty", "inf"));
}

static void test_ignored(void) {
    struct options o;
    size_t n = 0;
    accept(&o, ARGUMENTS("m", "-ngl", "99", "-fa", "on", "-fa", "--log-disable", "-no-cnv",
                         "--n-gpu-layers=1"));
    CHECK(strcmp(o.model, "m") == 0 && options_given(&o, "-ngl") && options_given(&o, "-no-cnv"),
          "the model is still the model");
    for (size_t i = 0; i < n_options; i++) n += options_typed(&o, i) != NULL;
    CHECK(n == 4, "%zu options were given", n);
    accept(&o, ARGUMENTS("-fa", "m"));
    CHECK(o.model && strcmp(o.model, "m") == 0, "-fa takes its own values alone");
    refuse("-ngl needs a value (see --help)", ARGUMENTS("m", "-ngl"));
}

static void test_suggestions(void) {
    refuse("--tmep is not an option: did you mean --temp? (see --help)", ARGUMENTS("m", "--tmep"));
    refuse("-temp is not an option: did you mean --temp? (see --help)", ARGUMENTS("m", "-temp"));
    refuse("--top_k is not an option: did you mean --top-k? (see --help)",
           ARGUMENTS("m", "--top_k=4"));
    refuse("--repeat is not an option: did you mean --repeat-penalty? (see --help)",
           ARGUMENTS("m", "--repeat"));
    refuse("--perplxity is not an option: did you mean --perplexity? (see --help)",
           ARGUMENTS("m", "--perplxity"));
    refuse("-N is not an option: did you mean -n? (see --help)", ARGUMENTS("m", "-N"));
    refuse("-x is not an option (see --help)", ARGUMENTS("m", "-x"));
    refuse("--frobnicate is not an option (see --help)", ARGUMENTS("m", "--frobnicate"));
}

static void test_escapes(void) {
    static const struct {
        const char *text, *means;
        size_t len;
    } cases[] = {{"a\\nb\\tc\\r", "a\nb\tc\r", 6},
                 {"\\\\n\\\"\\'", "\\n\"'", 4},
                 {"\\x41\\x00\\xfF.", "A\0\xff.", 4},
                 {"\\q\\x4g\\x+1\\x4", "\\q\\x4g\\x+1\\x4", 13},
                 {"\\", "\\", 1},
                 {"", "", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[32];
        size_t len = strlen(cases[i].text);
        memcpy(text, cases[i].text, len + 1);
        unescape(text, &len);
        CHECK(len == cases[i].len && memcmp(text, cases[i].means, len) == 0, "%s: %zu bytes",
              cases[i].text, len);
    }
}

/* Of work that began `ago` seconds before now. */
static void left_is(double ago, double share, const char *expected) {
    struct time_left left = time_left(now() - ago, share);
    CHECK(strcmp(left.text, expected) == 0, "%g s, share %g: \"%s\"", ago, share, left.text);
}

static void test_time_left(void) {
    left_is(9.1, 0.5, ", 10 s left");
    left_is(88.1, 0.5, ", 89 s left");
    left_is(30, 0.1, ", 5 min left");
    left_is(600, 0.05, ", 3 h 10 min left");
    left_is(1e9, 1e-9, ", 27777 h 47 min left");
    left_is(5, 0, "");
    left_is(5, 1, "");
    left_is(5, NAN, "");
}

int main(void) {
    test_defaults();
    test_members();
    test_unused();
    test_ends();
    test_refusals();
    test_repeated();
    test_ids();
    test_table();
    test_synonyms();
    test_stops_and_penalties();
    test_ignored();
    test_suggestions();
    test_escapes();
    test_time_left();
    return test_done("test_options");
}
