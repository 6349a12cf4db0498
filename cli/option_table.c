#include <stddef.h>

#include "options.h"

/* The place of a member; another type than the kind's does not compile. */
#define AT(type, member) \
    _Generic(((struct options *)0)->member, type : offsetof(struct options, member))

#define ANY_TEXT(member) TEXT, AT(const char *, member), 0, 0, NULL
#define SET(member) FLAG, AT(bool, member), 0, 0, NULL
#define COUNT_FROM(member, min) \
    COUNT, AT(int, member), min, OPTIONS_MOST, "a whole number from " #min " on"
#define NOT_LOOKED_AT(kind) kind, 0, 0, 0, NULL

enum { RARE = false, COMMON = true };

/* Modes in which options mean the same. */
enum {
    PROMPTED = IN_TEXT | IN_CHAT | IN_TOKENS,
    SAMPLED = IN_TEXT | IN_CHAT,
    TEMPLATED = IN_CHAT | IN_RENDER,
    PASSED = IN_TEXT | IN_CHAT | IN_PERPLEXITY | IN_BENCH, // through the model
    ALWAYS = 255,
};

const char *const option_groups[N_GROUPS] = {
    [GROUP_PROMPT] = "prompt (without one: standard input, if it is piped)",
    [GROUP_LENGTH] = "length",
    [GROUP_SAMPLING] = "sampling",
    [GROUP_SPEED] = "speed",
    [GROUP_ARITHMETIC] = "arithmetic",
    [GROUP_OUTPUT] = "output",
    [GROUP_CHAT] = "conversations",
    [GROUP_MODES] = "instead of continuing a text",
    [GROUP_IGNORED] = "taken from llama.cpp's command lines and ignored",
};

/* Synonyms are llama.cpp's names (common/arg.cpp) where theirs mean the same. */
const struct option option_table[] = {
    {"-m", "--model", "FILE", "the model; a name without -m does, too", GROUP_PROMPT, RARE, ALWAYS,
     MODEL, AT(const char *, model), 0, 0, NULL},
    {"-p", "--prompt", "TEXT", "the prompt", GROUP_PROMPT, COMMON, PROMPTED | IN_BENCH,
     ANY_TEXT(prompt)},
    {"-f", "--file", "FILE", "the prompt from a file (- is standard input)", GROUP_PROMPT, COMMON,
     PROMPTED, ANY_TEXT(prompt_file)},
    {"--ids", "", "\"1 5 7\"", "the prompt as token ids", GROUP_PROMPT, RARE, PROMPTED,
     ANY_TEXT(ids)},
    {"--ids-file", "", "FILE", "the same from a file (- is standard input)", GROUP_PROMPT, RARE,
     PROMPTED, ANY_TEXT(ids_file)},
    {"-e", "--escape --escapes", "",
     "\\n, \\t, \\r, \\\\, \\\", \\' and \\xHH in -p, --system and --stop are characters",
     GROUP_PROMPT, RARE, PROMPTED, SET(escapes)},
    {"--no-bos", "", "", "no BOS before the prompt, whatever the vocabulary says", GROUP_PROMPT,
     RARE, IN_TEXT | IN_TOKENS, SET(no_bos)},
    {"--no-special", "", "", "control tokens spelled out in the prompt stay text", GROUP_PROMPT,
     RARE, IN_TEXT | IN_TOKENS, SET(no_special)},
    {"--keep-newline", "", "",
     "of a prompt from a file or a pipe; without this its last newline is left out", GROUP_PROMPT,
     RARE, SAMPLED, SET(keep_newline)},

    {"-n", "--n-predict --predict", "N", "tokens to generate (128; 0: none; -1: until the end)",
     GROUP_LENGTH, COMMON, SAMPLED | IN_BENCH, COUNT_FROM(n_gen, -1)},
    {"-c", "--ctx-size", "N", "context (as much of the model's as memory allows; 0: all)",
     GROUP_LENGTH, COMMON, PASSED | IN_INFO, COUNT_FROM(n_ctx, 0)},

    {"--stop", "--reverse-prompt", "TEXT", "ends before this text; may be repeated", GROUP_LENGTH,
     COMMON, SAMPLED, TEXTS, AT(struct option_texts, stops), 0, 0,
     "a text, and at most 32 of these"},
    {"--ignore-eos", "", "", "no token that ends a text is generated", GROUP_LENGTH, RARE, SAMPLED,
     SET(ignore_eos)},

    {"--temp", "--temperature", "T", "temperature (0: the likeliest token; a chat: 0.7)",
     GROUP_SAMPLING, COMMON, SAMPLED, NUMBER, AT(float, sampling.temp), 0, 1e6,
     "a number from 0 on"},
    {"--top-k", "", "K", "of the K likeliest tokens alone (0: of all)", GROUP_SAMPLING, COMMON,
     SAMPLED, COUNT_FROM(sampling.top_k, 0)},
    {"--top-p", "", "P", "of the likeliest that make up P (1: of all; a chat: 0.9)", GROUP_SAMPLING,
     COMMON, SAMPLED, NUMBER, AT(float, sampling.top_p), 0, 1, "a number from 0 to 1"},
    {"--min-p", "", "P", "of those P times as likely as the likeliest (0: of all; a chat: 0.05)",
     GROUP_SAMPLING, RARE, SAMPLED, NUMBER, AT(float, sampling.min_p), 0, 1,
     "a number from 0 to 1"},
    {"--repeat-penalty", "", "R",
     "divides the logits of recent tokens, or multiplies negative ones (1: off)", GROUP_SAMPLING,
     RARE, SAMPLED, NUMBER, AT(float, sampling.repeat_penalty), 1e-3, 1e3, "0.001 to 1000"},
    {"--presence-penalty", "", "P", "is taken from the logits of recent tokens (0: off)",
     GROUP_SAMPLING, RARE, SAMPLED, NUMBER, AT(float, sampling.presence_penalty), -100, 100,
     "-100 to 100"},
    {"--frequency-penalty", "", "P", "the same for each time that they occur (0: off)",
     GROUP_SAMPLING, RARE, SAMPLED, NUMBER, AT(float, sampling.frequency_penalty), -100, 100,
     "-100 to 100"},
    {"--repeat-last-n", "", "N", "recent tokens are the last N (64; 0: none; -1: all)",
     GROUP_SAMPLING, RARE, SAMPLED, COUNT_FROM(sampling.repeat_last_n, -1)},
    {"-s", "--seed", "SEED", "the same seed, the same text (random; -1: random)", GROUP_SAMPLING,
     COMMON, SAMPLED, SEED, AT(uint64_t, sampling.seed), 0, 0, "a whole number from 0 on"},

    {"-t", "--threads", "N", "threads (physical cores that this process may use)", GROUP_SPEED,
     COMMON, PASSED | IN_INFO, THREADS, AT(int, n_threads), 1, 1024, "1 to 1024"},
    {"-b", "--batch-size", "N", "tokens of a prompt at a time (256)", GROUP_SPEED, RARE,
     PASSED | IN_INFO, COUNT, AT(int, n_batch), 1, 65536, "1 to 65536"},
    {"--isa", "", "NAME", "portable, avx2, avx512, neon ... (auto: the best this processor has)",
     GROUP_SPEED, RARE, PASSED | IN_INFO, ISA, AT(const struct isa *, isa), 0, 0,
     "an instruction set of this build and CPU"},

    {"--act", "", "32|16|8", "activations as float32 (exact), or as integers: faster",
     GROUP_ARITHMETIC, COMMON, PASSED | IN_INFO, ACT, AT(int, act), 0, 0, "32, 16 or 8"},
    {"--verify", "", "", "run both ways, compare every logit, exit 1 if one differs",
     GROUP_ARITHMETIC, COMMON, PASSED & ~IN_BENCH, SET(verify)},
    {"--reference", "", "",
     "dequantize each tensor to float32, then multiply: the same bits, slowly", GROUP_ARITHMETIC,
     RARE, PASSED, SET(reference)},
    {"--kv", "", "f16|f32", "the cache of keys and values (f16)", GROUP_ARITHMETIC, RARE,
     PASSED | IN_INFO, KV, AT(bool, kv_f32), 0, 0, "f16 or f32"},
    {"--ignore-key", "", "NAME", "run although nobody knows what this key of the file means",
     GROUP_ARITHMETIC, RARE, ALWAYS, TEXTS, AT(struct option_texts, ignored_keys), 0, 0,
     "a text, and at most 32 of these"},

    {"-q", "", "", "the new text alone: no prompt, no statistics", GROUP_OUTPUT, COMMON, ALWAYS,
     SET(quiet)},
    {"--json", "", "", "statistics as a line of JSON on standard error; --info as JSON",
     GROUP_OUTPUT, COMMON, PASSED | IN_INFO, SET(json)},
    {"--logits", "", "FILE", "float32 logits, a row after every token of prompt and text",
     GROUP_OUTPUT, RARE, SAMPLED, ANY_TEXT(logits)},

    {"--chat", "--conversation -cnv", "", "a conversation; with -p or -f one question", GROUP_CHAT,
     COMMON, IN_CHAT, SET(chat)},
    {"--system", "--system-prompt -sys", "TEXT", "what the model is told first, in --chat",
     GROUP_CHAT, COMMON, IN_CHAT, ANY_TEXT(system)},
    {"--think", "", "on|off", "whether the model thinks first, if its template asks", GROUP_CHAT,
     RARE, TEMPLATED, THINK, AT(enum think, think), 0, 0, "on or off"},
    {"--template", "--chat-template", "NAME",
     "how a conversation is written (the file's own; list: the names)", GROUP_CHAT, RARE, TEMPLATED,
     ANY_TEXT(chat_template)},
    {"--template-file", "--chat-template-file", "FILE", "a template in Jinja", GROUP_CHAT, RARE,
     TEMPLATED, ANY_TEXT(template_file)},
    {"--date", "", "DATE", "the day that a template is told (today)", GROUP_CHAT, RARE, TEMPLATED,
     ANY_TEXT(date)},
    {"--allow-special", "", "", "control tokens spelled out in messages are control tokens",
     GROUP_CHAT, RARE, TEMPLATED, SET(allow_special)},

    {"--tokens", "", "", "the prompt's token ids", GROUP_MODES, RARE, IN_TOKENS | IN_RENDER,
     SET(tokens)},
    {"--render", "", "FILE", "the prompt that a conversation in JSON becomes (--tokens: its ids)",
     GROUP_MODES, RARE, IN_RENDER, ANY_TEXT(render)},
    {"--info", "", "", "what the file is, what it needs, whether it runs", GROUP_MODES, COMMON,
     IN_INFO, SET(info)},
    {"--plan", "", "", "the steps that the model is made of", GROUP_MODES, RARE, IN_PLAN,
     SET(plan)},
    {"--perplexity", "", "FILE", "how well the model predicts a text", GROUP_MODES, COMMON,
     IN_PERPLEXITY, ANY_TEXT(perplexity)},
    {"--bench", "", "", "speed [-p N: tokens read] [-n N: made] [-r N]", GROUP_MODES, COMMON,
     IN_BENCH, SET(bench)},
    {"-r", "", "N", "repetitions of --bench (5)", GROUP_MODES, RARE, IN_BENCH,
     COUNT_FROM(n_reps, 1)},
    {"--families", "", "", "the models that run: a table", GROUP_MODES, RARE, ALWAYS,
     SET(families)},
    {"--version", "", "", "this program's, and how it was built", GROUP_MODES, RARE, ALWAYS,
     SET(version)},
    {"--help", "-h --usage", "[all]", "this; all: every option", GROUP_MODES, RARE, ALWAYS, HELP,
     AT(bool, help), 0, 0, "all, or nothing"},

    {"-ngl", "--gpu-layers --n-gpu-layers", "N", "everything runs on the processor", GROUP_IGNORED,
     RARE, ALWAYS, NOT_LOOKED_AT(IGNORED)},
    {"-dev", "--device", "NAME", "everything runs on the processor", GROUP_IGNORED, RARE, ALWAYS,
     NOT_LOOKED_AT(IGNORED)},
    {"-sm", "--split-mode", "MODE", "everything runs on the processor", GROUP_IGNORED, RARE, ALWAYS,
     NOT_LOOKED_AT(IGNORED)},
    {"-ts", "--tensor-split", "N,N", "everything runs on the processor", GROUP_IGNORED, RARE,
     ALWAYS, NOT_LOOKED_AT(IGNORED)},
    {"-mg", "--main-gpu", "N", "everything runs on the processor", GROUP_IGNORED, RARE, ALWAYS,
     NOT_LOOKED_AT(IGNORED)},
    {"-fa", "--flash-attn", "[on|off]", "attention has one way here, with the same bits always",
     GROUP_IGNORED, RARE, ALWAYS, NOT_LOOKED_AT(IGNORED_SWITCH)},
    {"-tb", "--threads-batch", "N", "-t is for prompts, too", GROUP_IGNORED, RARE, ALWAYS,
     NOT_LOOKED_AT(IGNORED)},
    {"-ub", "--ubatch-size", "N", "-b alone says how many tokens are read at a time", GROUP_IGNORED,
     RARE, ALWAYS, NOT_LOOKED_AT(IGNORED)},
    {"--numa", "", "MODE", "threads stay where the system puts them", GROUP_IGNORED, RARE, ALWAYS,
     NOT_LOOKED_AT(IGNORED)},
    {"--mlock", "", "", "the file's pages stay in memory as long as the system has room",
     GROUP_IGNORED, RARE, ALWAYS, NOT_LOOKED_AT(IGNORED_FLAG)},
    {"--mmap", "", "", "the file is always mapped", GROUP_IGNORED, RARE, ALWAYS,
     NOT_LOOKED_AT(IGNORED_FLAG)},
    {"--no-warmup", "--warmup", "", "there is no pass before the prompt's", GROUP_IGNORED, RARE,
     ALWAYS, NOT_LOOKED_AT(IGNORED_FLAG)},
    {"-no-cnv", "--no-conversation", "", "a text is continued unless --chat is given",
     GROUP_IGNORED, RARE, ALWAYS, NOT_LOOKED_AT(IGNORED_FLAG)},
    {"-st", "--single-turn", "", "a chat with -p has one turn", GROUP_IGNORED, RARE, ALWAYS,
     NOT_LOOKED_AT(IGNORED_FLAG)},
    {"--no-escape", "", "", "-p is taken as it stands unless -e is given", GROUP_IGNORED, RARE,
     ALWAYS, NOT_LOOKED_AT(IGNORED_FLAG)},
    {"--jinja", "", "", "templates are always run", GROUP_IGNORED, RARE, ALWAYS,
     NOT_LOOKED_AT(IGNORED_FLAG)},
    {"--log-disable", "", "", "there is no log; -q prints the text alone", GROUP_IGNORED, RARE,
     ALWAYS, NOT_LOOKED_AT(IGNORED_FLAG)},
    {"--color", "-co", "[on|off]", "text has one colour", GROUP_IGNORED, RARE, ALWAYS,
     NOT_LOOKED_AT(IGNORED_SWITCH)},
    {"--simple-io", "", "", "text is plain", GROUP_IGNORED, RARE, ALWAYS,
     NOT_LOOKED_AT(IGNORED_FLAG)},
    {"--no-perf", "--perf", "", "statistics are printed unless -q is given", GROUP_IGNORED, RARE,
     ALWAYS, NOT_LOOKED_AT(IGNORED_FLAG)},
};

const size_t n_options = sizeof option_table / sizeof option_table[0];

_Static_assert(sizeof option_table / sizeof option_table[0] <= OPTIONS_MOST_ROWS,
               "struct options has an entry for each row");
_Static_assert(offsetof(struct options, help_all) == offsetof(struct options, help) + sizeof(bool),
               "HELP sets both");
