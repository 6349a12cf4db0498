#include "options.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

const char options_help[] =
    "usage: ./run MODEL.gguf [options]\n"
    "\n"
    "prompt     -p TEXT | -f FILE | --ids \"1 5 7\"   (without one: standard input, if it is "
    "piped)\n"
    "           --keep-newline   of a prompt from a file or a pipe, whose last one is left out\n"
    "length     -n N     tokens to generate (128; 0: only read the prompt; -1: until the end)\n"
    "           -c N     context (the model's, as far as memory allows)\n"
    "sampling   --temp T (0: the likeliest token, the default)  -s SEED\n"
    "           --top-k K  --top-p P  --min-p P  --repeat-penalty R\n"
    "speed      -t N     threads (usable physical cores)    -b N  prompt tokens at a time (256)\n"
    "           --isa NAME   portable, avx2, avx512, neon (the best this CPU has)\n"
    "arithmetic --reference  dequantize each tensor to float32, then multiply: the same bits, "
    "slowly\n"
    "           --verify     run both ways, compare every logit, exit 1 if one differs\n"
    "           --kv f16|f32     key/value cache (f16)\n"
    "           --act 32|16|8    activations as float32 (exact), or as integers: faster\n"
    "           --ignore-key NAME    run although nobody knows what this key of the file means\n"
    "output     --logits FILE    float32 logits, a row after every token of prompt and text\n"
    "           --json           statistics as one JSON line    -q  the text alone\n"
    "instead    --chat           a conversation, with -p one question [--system TEXT]\n"
    "                            [--think on|off] [--template NAME|list]\n"
    "                            [--template-file FILE] [--date DATE] [--allow-special]\n"
    "           --render FILE    the prompt that a conversation in JSON becomes (--tokens: its "
    "ids)\n"
    "           --tokens         print the prompt's token ids\n"
    "           --info           say what the file is, what it needs, whether it runs\n"
    "           --plan           the steps that the model is made of\n"
    "           --perplexity FILE    how well the model predicts a text\n"
    "           --bench          speed [-p N prompt tokens] [-n N generated] [-r N repetitions]\n"
    "           --families       the models that run: a table    --help  --version\n"
    "\n"
    "Text goes to standard output, everything else to standard error. Exit status: 0 done, 1 the\n"
    "run failed, 2 wrong usage.\n";

/* ---- the table ------------------------------------------------------------------------------- */

/* How an option reads its value. All but the first take the next argument. */
enum kind {
    FLAG,   // bool: set
    TEXT,   // const char *: as it stands
    TEXTS,  // struct option_texts: one more
    COUNT,  // int from min to max
    NUMBER, // float from min to max
    SEED,   // uint64_t
    KV,     // bool: whether it is f32
    ACT,    // int: bits of activations that become integers, 0 for 32
    ISA,    // const struct isa *
    THINK,  // enum think
};

struct option {
    const char *name;
    enum kind kind;
    size_t at; // the member of struct options that it sets
    double min, max;
    const char *expects; // in messages
};

/* The place of a member; another type than the kind's does not compile. */
#define AT(type, member) \
    _Generic(((struct options *)0)->member, type : offsetof(struct options, member))

static const struct option table[] = {
    {"--help", FLAG, AT(bool, help), 0, 0, NULL},
    {"-h", FLAG, AT(bool, help), 0, 0, NULL},
    {"--families", FLAG, AT(bool, families), 0, 0, NULL},
    {"--version", FLAG, AT(bool, version), 0, 0, NULL},
    {"--reference", FLAG, AT(bool, reference), 0, 0, NULL},
    {"--verify", FLAG, AT(bool, verify), 0, 0, NULL},
    {"--tokens", FLAG, AT(bool, tokens), 0, 0, NULL},
    {"--info", FLAG, AT(bool, info), 0, 0, NULL},
    {"--plan", FLAG, AT(bool, plan), 0, 0, NULL},
    {"--bench", FLAG, AT(bool, bench), 0, 0, NULL},
    {"--chat", FLAG, AT(bool, chat), 0, 0, NULL},
    {"--json", FLAG, AT(bool, json), 0, 0, NULL},
    {"-q", FLAG, AT(bool, quiet), 0, 0, NULL},
    {"-p", TEXT, AT(const char *, prompt), 0, 0, NULL},
    {"-f", TEXT, AT(const char *, prompt_file), 0, 0, NULL},
    {"--ids", TEXT, AT(const char *, ids), 0, 0, NULL},
    {"--logits", TEXT, AT(const char *, logits), 0, 0, NULL},
    {"--perplexity", TEXT, AT(const char *, perplexity), 0, 0, NULL},
    {"--render", TEXT, AT(const char *, render), 0, 0, NULL},
    {"--template-file", TEXT, AT(const char *, template_file), 0, 0, NULL},
    {"--date", TEXT, AT(const char *, date), 0, 0, NULL},
    {"--allow-special", FLAG, AT(bool, allow_special), 0, 0, NULL},
    {"--keep-newline", FLAG, AT(bool, keep_newline), 0, 0, NULL},
    {"--system", TEXT, AT(const char *, system), 0, 0, NULL},
    {"--template", TEXT, AT(const char *, chat_template), 0, 0, NULL},
    {"--think", THINK, AT(enum think, think), 0, 0, "on or off"},
    {"--ignore-key", TEXTS, AT(struct option_texts, ignored_keys), 0, 0, "at most 32 of these"},
    {"-r", COUNT, AT(int, n_reps), 1, OPTIONS_MOST, "a whole number from 1 on"},
    {"-n", COUNT, AT(int, n_gen), -1, OPTIONS_MOST, "a whole number from -1 on"},
    {"-c", COUNT, AT(int, n_ctx), 1, OPTIONS_MOST, "a whole number from 1 on"},
    {"-t", COUNT, AT(int, n_threads), 1, 1024, "1 to 1024"},
    {"-b", COUNT, AT(int, n_batch), 1, 65536, "1 to 65536"},
    {"--top-k", COUNT, AT(int, sampling.top_k), 0, OPTIONS_MOST, "a whole number from 0 on"},
    {"--temp", NUMBER, AT(float, sampling.temp), 0, 1e6, "a number from 0 on"},
    {"--top-p", NUMBER, AT(float, sampling.top_p), 0, 1, "a number from 0 to 1"},
    {"--min-p", NUMBER, AT(float, sampling.min_p), 0, 1, "a number from 0 to 1"},
    {"--repeat-penalty", NUMBER, AT(float, sampling.repeat_penalty), 1e-3, 1e3, "0.001 to 1000"},
    {"-s", SEED, AT(uint64_t, sampling.seed), 0, 0, "a whole number from 0 on"},
    {"--kv", KV, AT(bool, kv_f32), 0, 0, "f16 or f32"},
    {"--act", ACT, AT(int, act), 0, 0, "32, 16 or 8"},
    {"--isa", ISA, AT(const struct isa *, isa), 0, 0, "an instruction set of this build and CPU"},
};
#define N_OPTIONS (sizeof table / sizeof table[0])

_Static_assert(N_OPTIONS <= 64, "struct options has one bit for each in `given`");

static const struct option *find_option(const char *name) {
    for (size_t i = 0; i < N_OPTIONS; i++) {
        if (strcmp(name, table[i].name) == 0) return &table[i];
    }
    return NULL;
}

static uint64_t bit_of(const struct option *option) {
    return (uint64_t)1 << (option - table);
}

const char *how_computed(const struct options *o) {
    return o->reference ? ", reference" : o->act == 16 ? ", --act 16" : o->act ? ", --act 8" : "";
}

bool options_given(const struct options *o, const char *name) {
    const struct option *option = find_option(name);
    assert(option);
    return (o->given & bit_of(option)) != 0;
}

/* ---- values ---------------------------------------------------------------------------------- */

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

/* False if the value is not what the option expects. */
static bool set_option(struct options *o, const struct option *option, const char *value) {
    void *to = (char *)o + option->at;
    long long n = 0;
    switch (option->kind) {
    case FLAG:
        return *(bool *)to = true;
    case TEXT:
        *(const char **)to = value;
        return true;
    case TEXTS: {
        struct option_texts *texts = to;
        if (texts->n == OPTIONS_MOST_TEXTS) return false;
        texts->text[texts->n++] = value;
        return true;
    }
    case COUNT:
        if (!parse_long(value, (long long)option->min, (long long)option->max, &n)) return false;
        *(int *)to = (int)n;
        return true;
    case NUMBER:
        return parse_float(value, option->min, option->max, to);
    case SEED:
        if (!parse_long(value, 0, INT64_MAX, &n)) return false;
        *(uint64_t *)to = (uint64_t)n;
        return true;
    case KV:
        *(bool *)to = strcmp(value, "f32") == 0;
        return *(bool *)to || strcmp(value, "f16") == 0;
    case THINK:
        *(enum think *)to = strcmp(value, "on") == 0 ? THINK_ON : THINK_OFF;
        return strcmp(value, "on") == 0 || strcmp(value, "off") == 0;
    case ACT:
        *(int *)to = strcmp(value, "16") == 0 ? 16 : strcmp(value, "8") == 0 ? 8 : 0;
        return *(int *)to || strcmp(value, "32") == 0;
    case ISA: {
        const struct isa *isa = isa_find(value);
        *(const struct isa **)to = isa;
        return isa && isa->usable();
    }
    }
    return false;
}

/* ---- the command line ------------------------------------------------------------------------ */

/* An argument that is no option names the model. */
static int take_model(struct options *o, const char *name, struct error *err) {
    if (name[0] == '-' && name[1]) {
        return error_set(err, KQ_BAD_ARGUMENT, "%s is not an option (see --help)", name);
    }
    if (o->model) {
        return error_set(err, KQ_BAD_ARGUMENT,
                         "one model at a time: \"%s\" or \"%s\"? (see --help)", o->model, name);
    }
    o->model = name;
    return 0;
}

/* Refuses options that are right by themselves but not together. */
static int check_together(const struct options *o, struct error *err) {
    if ((o->prompt != NULL) + (o->prompt_file != NULL) + (o->ids != NULL) > 1) {
        return error_set(err, KQ_BAD_ARGUMENT, "-p, -f and --ids exclude each other");
    }
    if (o->reference && o->verify) {
        return error_set(err, KQ_BAD_ARGUMENT, "--verify runs --reference by itself");
    }
    if (o->reference && o->act) {
        return error_set(err, KQ_BAD_ARGUMENT,
                         "--reference computes with float32 activations: not with --act %d",
                         o->act);
    }
    return 0;
}

int options_parse(struct options *o, int argc, char **argv, struct error *err) {
    *o = (struct options){.n_gen = 128, .n_batch = 256, .n_reps = 5, .isa = isa_best()};
    o->sampling = (struct sampler_params){.repeat_penalty = 1, .repeat_last_n = 64, .top_p = 1};
    for (int i = 1; i < argc && !o->help && !o->version && !o->families; i++) {
        const char *name = argv[i];
        const struct option *option = find_option(name);
        if (!option) {
            if (take_model(o, name, err) < 0) return -1;
            continue;
        }
        bool alone = option->kind == FLAG;
        if (!alone && i + 1 == argc) {
            return error_set(err, KQ_BAD_ARGUMENT, "%s needs a value (see --help)", name);
        }
        const char *value = alone ? "" : argv[++i];
        if (!set_option(o, option, value)) {
            return error_set(err, KQ_BAD_ARGUMENT, "%s: expected %s, found \"%s\"", name,
                             option->expects, value);
        }
        o->given |= bit_of(option);
    }
    return o->help || o->version || o->families || !o->model ? 0 : check_together(o, err);
}
