#include "pretokenize.h"

#include <stdlib.h>
#include <string.h>

#include "unicode_data.h"
#include "utf8.h"

/* ---- what a code point is -------------------------------------------------------------------- */

enum {
    OTHER = 1 << 0, // control, format, unassigned: so that traits are never 0
    LETTER = 1 << 1,
    MARK = 1 << 2,
    NUMBER = 1 << 3,
    PUNCT = 1 << 4,
    SYMBOL = 1 << 5,
    WHITE = 1 << 6,
    NEWLINE = 1 << 7, // CR or LF
    LF = 1 << 8,
    SPACE = 1 << 9, // U+0020 alone
    SLASH = 1 << 10,
    DIGIT = 1 << 11,        // 0-9
    ASCII_LETTER = 1 << 12, // A-Z a-z
    UPPERISH = 1 << 13,     // a letter that is not a-z
    LOWERISH = 1 << 14,     // a letter that is not A-Z
    HAN = 1 << 15,
    ASCII_MARK = 1 << 16, // ASCII punctuation and symbols but the backquote
    BACKQUOTE = 1 << 17,
    JOINT = 1 << 18,      // a space with a letter after it
    WORD_START = 1 << 19, // where a word begins: the result
    ANY = WORD_START - 1,
};

enum unicode_category unicode_category(uint32_t cp) {
    size_t low = 0, high = sizeof unicode_runs / sizeof *unicode_runs;
    while (high - low > 1) { // the run that begins at or before cp
        size_t mid = (low + high) / 2;
        if (unicode_runs[mid] >> 3 <= cp)
            low = mid;
        else
            high = mid;
    }
    return (enum unicode_category)(unicode_runs[low] & 7);
}

static uint32_t category(uint32_t cp) {
    return 1u << unicode_category(cp);
}

static bool is_between(uint32_t cp, uint32_t first, uint32_t last) {
    return cp >= first && cp <= last;
}

static uint32_t ascii_traits(uint32_t cp) {
    switch (cp) {
    case '\n':
        return LF | NEWLINE;
    case '\r':
        return NEWLINE;
    case ' ':
        return SPACE;
    case '`':
        return BACKQUOTE;
    case '/':
        return SLASH | ASCII_MARK;
    default:
        break;
    }
    if (is_between(cp, '0', '9')) return DIGIT;
    if (is_between(cp | 0x20, 'a', 'z')) return ASCII_LETTER;
    return is_between(cp, '!', '~') ? ASCII_MARK : 0;
}

/* Unified ideographs, extensions A to F and the compatibility ideographs. */
static bool is_han(uint32_t cp) {
    return is_between(cp, 0x4e00, 0x9fff) || is_between(cp, 0x3400, 0x4dbf) ||
           is_between(cp, 0xf900, 0xfaff) || is_between(cp, 0x20000, 0x2a6df) ||
           is_between(cp, 0x2a700, 0x2ebef) || is_between(cp, 0x2f800, 0x2fa1f);
}

static uint32_t classify(uint32_t cp) {
    uint32_t traits = category(cp);
    if (traits & LETTER) {
        if (!is_between(cp, 'a', 'z')) traits |= UPPERISH;
        if (!is_between(cp, 'A', 'Z')) traits |= LOWERISH;
    }
    if (cp < 0x80) traits |= ascii_traits(cp);
    if (is_han(cp)) traits |= HAN;
    return traits;
}

/* ---- sets of code points, one letter each ---------------------------------------------------- */

struct set {
    uint32_t any;           // at least one of these traits
    uint32_t none;          // and none of these
    const uint32_t *ranges; // and, if given, inside these: first, last, ..., 0, 0
    bool outside;           // or rather outside them
};

/* DeepSeek LLM: the letters that have case. */
static const uint32_t cased_letters[] = {
    0x41,    0x5a,    0x61,    0x7a,    0xb5,    0xb5,    0xc0,    0xd6,    0xd8,    0xf6,
    0xf8,    0x1ba,   0x1bc,   0x1bf,   0x1c4,   0x293,   0x295,   0x2af,   0x370,   0x373,
    0x376,   0x377,   0x37b,   0x37d,   0x37f,   0x37f,   0x386,   0x386,   0x388,   0x38a,
    0x38c,   0x38c,   0x38e,   0x3a1,   0x3a3,   0x3f5,   0x3f7,   0x481,   0x48a,   0x52f,
    0x531,   0x556,   0x10a0,  0x10c5,  0x13a0,  0x13f5,  0x13f8,  0x13fd,  0x1c90,  0x1cba,
    0x1cbd,  0x1cbf,  0x1d00,  0x1d2b,  0x1d6b,  0x1d77,  0x1d79,  0x1d9a,  0x1e00,  0x1f15,
    0x1f18,  0x1f1d,  0x1f20,  0x1f45,  0x1f48,  0x1f4d,  0x1f50,  0x1f57,  0x1f59,  0x1f59,
    0x1f5b,  0x1f5b,  0x1f5d,  0x1f5d,  0x1f5f,  0x1f7d,  0x1f80,  0x1fb4,  0x1fb6,  0x1fbc,
    0x1fbe,  0x1fbe,  0x1fc2,  0x1fc4,  0x1fc6,  0x1fcc,  0x1fd0,  0x1fd3,  0x1fd6,  0x1fdb,
    0x1fe0,  0x1fec,  0x1ff2,  0x1ff4,  0x1ff6,  0x1ffc,  0x2102,  0x2102,  0x2107,  0x2107,
    0x210a,  0x2113,  0x2115,  0x2115,  0x2119,  0x211d,  0x2124,  0x2124,  0x2126,  0x2126,
    0x2128,  0x2128,  0x212a,  0x212d,  0x212f,  0x2134,  0x2139,  0x2139,  0x213c,  0x213f,
    0x2145,  0x2149,  0x214e,  0x214e,  0x2183,  0x2184,  0x2c00,  0x2c7b,  0x2c7e,  0x2ce4,
    0x2ceb,  0x2cee,  0x2cf2,  0x2cf3,  0xa640,  0xa66d,  0xa680,  0xa69b,  0xa722,  0xa76f,
    0xa771,  0xa787,  0xa78b,  0xa78e,  0xab70,  0xabbf,  0xfb00,  0xfb06,  0xfb13,  0xfb17,
    0xff21,  0xff3a,  0xff41,  0xff5a,  0x10400, 0x1044f, 0x104b0, 0x104d3, 0x104d8, 0x104fb,
    0x10c80, 0x10cb2, 0x10cc0, 0x10cf2, 0x118a0, 0x118df, 0x1e900, 0x1e943, 0,       0,
};
/* DeepSeek LLM: ASCII, full-width and typographic marks (and the letters in between). */
static const uint32_t wide_marks[] = {0x21,   0x2f,   0x3a,   0x7e,   0x2018, 0x201f, 0x3000,
                                      0x3002, 0xff01, 0xff0f, 0xff1a, 0xff5e, 0,      0};
/* DeepSeek LLM and Coder: ideographs and Hangul, and all that lies between U+0800 and them. */
static const uint32_t cjk_hangul[] = {0x800, 0x9fa5, 0xac00, 0xd7ff, 0, 0};
static const uint32_t cjk_kana[] = {0x3040, 0x30ff, 0x4e00, 0x9fa5, 0, 0};
/* AFMoE: scripts written without spaces. */
static const uint32_t spaceless[] = {0xe40,  0xeff,  0x1000, 0x109f, 0x1100, 0x11ff, 0x1780,
                                     0x17ff, 0x2f00, 0x2fdf, 0x3040, 0x30ff, 0x3400, 0x4dbf,
                                     0x4e00, 0xfaff, 0xff65, 0xff9f, 0,      0};
static const uint32_t hangul[] = {0x3131, 0x318e, 0xac00, 0xd7a3, 0, 0};
static const uint32_t bopomofo[] = {0x3105, 0x312f, 0, 0};
static const uint32_t cjk_marks[] = {0x2014, 0x2014, 0x2018, 0x2019, 0x201c, 0x201d, 0x2026,
                                     0x2026, 0x3001, 0x303f, 0xfe30, 0xfe4f, 0xff01, 0xff01,
                                     0xff0c, 0xff0c, 0xff1a, 0xff1b, 0,      0};
/* BLOOM: ( ) | . , ! ? and the stops and commas of CJK, Arabic, Devanagari and Urdu. */
static const uint32_t stops[] = {
    '!',   '!',   '(',   ')',   ',',   ',',    '.',    '.',    '?',    '?',    '|',    '|', 0x60c,
    0x60c, 0x6d4, 0x6d4, 0x964, 0x964, 0x2026, 0x2026, 0x3001, 0x3002, 0xff0c, 0xff0c, 0,   0};
static const uint32_t a_to_i[] = {'A', 'I', 0, 0};

static const struct set sets[128] = {
    ['L'] = {.any = LETTER},
    ['M'] = {.any = MARK},
    ['N'] = {.any = NUMBER},
    ['P'] = {.any = PUNCT},
    ['s'] = {.any = WHITE},
    [' '] = {.any = SPACE},
    ['r'] = {.any = NEWLINE},
    ['/'] = {.any = NEWLINE | SLASH},
    ['n'] = {.any = LF},
    ['k'] = {.any = ANY, .none = LF},
    ['d'] = {.any = DIGIT},
    ['A'] = {.any = ASCII_LETTER},
    ['p'] = {.any = ASCII_MARK | BACKQUOTE},
    ['f'] = {.any = PUNCT | ASCII_MARK | BACKQUOTE},
    ['g'] = {.any = PUNCT | ASCII_MARK},
    ['b'] = {.any = PUNCT | SYMBOL},
    ['a'] = {.any = LETTER | MARK},
    ['U'] = {.any = UPPERISH},
    ['W'] = {.any = LOWERISH},
    ['V'] = {.any = UPPERISH | MARK},
    ['X'] = {.any = LOWERISH | MARK},
    ['E'] = {.any = LETTER | MARK | JOINT},
    ['H'] = {.any = HAN},
    ['K'] = {.any = LETTER, .none = HAN},
    ['o'] = {.any = ANY, .none = NEWLINE | LETTER | NUMBER},
    ['q'] = {.any = ANY, .none = NEWLINE | LETTER | PUNCT | SYMBOL},
    ['x'] = {.any = ANY, .none = WHITE | LETTER | NUMBER},
    ['y'] = {.any = ANY, .none = WHITE | LETTER | MARK | NUMBER},
    ['1'] = {.any = ANY, .none = WHITE, .ranges = cased_letters},
    ['2'] = {.any = ANY, .none = WHITE, .ranges = wide_marks},
    ['3'] = {.any = ANY, .none = WHITE, .ranges = cjk_hangul},
    ['4'] = {.any = ANY, .none = WHITE, .ranges = cjk_kana},
    ['5'] = {.any = ANY, .none = WHITE, .ranges = spaceless},
    ['6'] = {.any = ANY, .none = WHITE, .ranges = hangul},
    ['7'] = {.any = ANY, .none = WHITE, .ranges = cjk_marks},
    ['8'] = {.any = ANY, .none = WHITE, .ranges = bopomofo},
    ['9'] = {.any = ANY, .none = WHITE, .ranges = stops, .outside = true},
    ['I'] = {.any = ANY, .ranges = a_to_i},
};

static bool in_set(char letter, uint32_t cp, uint32_t traits) {
    const struct set *set = &sets[(unsigned char)letter];
    if (!(traits & set->any) || traits & set->none) return false;
    if (!set->ranges) return true;
    for (const uint32_t *r = set->ranges; r[1] && r[0] <= cp; r += 2) {
        if (cp <= r[1]) return !set->outside;
    }
    return set->outside;
}

/* ---- rules ----------------------------------------------------------------------------------- */

/* A rule is a list of steps; the words of one step are cut again by the next. A step is a pattern:
 * alternatives, tried in order at every place; text that none of them matches stays together as a
 * word. In a pattern
 *   a letter, digit, '/' or ' ' is one code point of that set;  ? + * {m,n} repeat it, greedily;
 *   c (e) is an English contraction ('s 't 're 've 'm 'll 'd) in any (lower) case;
 *   'abc' is that text;   ! holds where no code point but white space follows, like (?!\S);
 *   R is white space up to its last CR or LF, like \s*[\r\n]+;
 *   t is a code point of the white space at the end of the word, so that t+ is \s+$.
 * A step that begins with '#' groups digits in threes from the right: see cut_digits(). */
#define WHITE_SPACE "|R|s+!|s+"
#define GPT2 "e| ?L+| ?N+| ?x+|s+!|s+"
#define WORDS "c|o?L+|"
#define MARKS "| ?x+r*" WHITE_SPACE
#define DEEPSEEK "pA+|q?a+| ?b+"

#define MAX_STEPS 6

enum rule {
    RULE_DEFAULT,
    RULE_LLAMA3,
    RULE_JAIS2,
    RULE_LAGUNA,
    RULE_LINES,
    RULE_DEEPSEEK_LLM,
    RULE_DEEPSEEK_CODER,
    RULE_DEEPSEEK3,
    RULE_SPARK,
    RULE_YOUTU,
    RULE_FALCON,
    RULE_GPT2,
    RULE_STARCODER,
    RULE_QWEN2,
    RULE_QWEN35,
    RULE_UFAKZEKA,
    RULE_BLOOM,
    RULE_VIKING,
    RULE_TEKKEN,
    RULE_EXAONE_MOE,
    RULE_CHAMELEON,
    RULE_GPT4O,
    RULE_GRANITE,
    RULE_TINY_AYA,
    RULE_SUPERBPE,
    RULE_SEED_CODER,
    RULE_KIMI,
    RULE_AFMOE,
    RULE_MINICPM5,
};

static const char *const rules[][MAX_STEPS + 1] = {
    [RULE_DEFAULT] = {"g+", GPT2, "N+", "d{3}"},
    [RULE_LLAMA3] = {WORDS "N{1,3}" MARKS},
    [RULE_JAIS2] = {WORDS "N{1,3}| ?x+r*|R|s{512}!|s{256}!|s{128}!|s{64}!|s{32}!|s{16}!|s{8}!"
                          "|s{4}!|s{1,2}!|s"},
    [RULE_LAGUNA] = {"k+|n+", WORDS "N" MARKS},
    [RULE_LINES] = {"k+|n+"},
    [RULE_DEEPSEEK_LLM] = {"r", "s?1+", "s?2+", "t+", "3+", "N+"},
    [RULE_DEEPSEEK_CODER] = {"r", "s?L+", "s?P+", "3+", "N"},
    [RULE_DEEPSEEK3] = {"N{1,3}", "4+", DEEPSEEK "r*" WHITE_SPACE},
    [RULE_SPARK] = {"N{1,3}", "4+", DEEPSEEK "|r|s+!|s+", "N"},
    [RULE_YOUTU] = {"6+|7+|8+|4+", "o?a+c?|N| ?x+/*" WHITE_SPACE},
    [RULE_FALCON] = {"f+", GPT2, "d{3}"},
    [RULE_GPT2] = {GPT2},
    [RULE_STARCODER] = {"N", GPT2},
    [RULE_QWEN2] = {WORDS "N" MARKS},
    [RULE_QWEN35] = {"c|o?a+|N| ?y+r*" WHITE_SPACE},
    [RULE_UFAKZEKA] = {"o?L+|N" MARKS},
    [RULE_BLOOM] = {" ?9+"},
    [RULE_VIKING] = {" ?9+", "N"},
    [RULE_TEKKEN] = {"o?U*W+|o?U+W*|N| ?x+/*" WHITE_SPACE},
    [RULE_EXAONE_MOE] = {"c|o?LE*|N| ?x+/?" WHITE_SPACE},
    [RULE_CHAMELEON] = {"'<sentinel:'d+'>'", "'IMGIMG'I{1,4}'Z'", "'\t'|n|'    '|'  '", "N", "f",
                        GPT2},
    [RULE_GPT4O] = {"o?U*W+c?|o?U+W*c?|N{1,3}| ?x+/*" WHITE_SPACE},
    [RULE_GRANITE] = {"o?V*X+c?|o?V+X*c?|N{1,3}| ?x+/*" WHITE_SPACE},
    [RULE_TINY_AYA] = {"#after", "o?a+c?|N{1,3}| ?x+/*" WHITE_SPACE},
    [RULE_SUPERBPE] = {"N+", "#before"},
    [RULE_SEED_CODER] = {WORDS "N| ?x+" WHITE_SPACE},
    [RULE_KIMI] = {"H+|o?K+c?|N{1,3}" MARKS},
    [RULE_AFMOE] = {"#after", "5+", DEEPSEEK "r*" WHITE_SPACE},
    [RULE_MINICPM5] = {"N{1,3}", WORDS "N+" MARKS},
};

static const struct pretokenizer pretokenizers[] = {
    {.name = "default", .rule = RULE_DEFAULT},
    {.name = "llama3", .rule = RULE_LLAMA3, .whole_words = true, .add_bos = true},
    {.name = "llama-v3", .rule = RULE_LLAMA3, .whole_words = true, .add_bos = true},
    {.name = "llama-bpe", .rule = RULE_LLAMA3, .whole_words = true, .add_bos = true},
    {.name = "falcon3", .rule = RULE_LLAMA3, .whole_words = true, .add_bos = true},
    {.name = "falcon-h1", .rule = RULE_LLAMA3, .whole_words = true, .add_bos = true},
    {.name = "pixtral", .rule = RULE_LLAMA3, .whole_words = true, .add_bos = true},
    {.name = "midm-2.0", .rule = RULE_LLAMA3, .whole_words = true, .add_bos = true},
    {.name = "lfm2", .rule = RULE_LLAMA3, .whole_words = true, .add_bos = true},
    {.name = "jina-v5-nano", .rule = RULE_LLAMA3, .whole_words = true, .add_bos = true},
    {.name = "dbrx", .rule = RULE_LLAMA3},
    {.name = "smaug-bpe", .rule = RULE_LLAMA3},
    {.name = "glm4", .rule = RULE_LLAMA3, .no_bos = true},
    {.name = "chatglm-bpe", .rule = RULE_LLAMA3, .no_bos = true},
    {.name = "jais-2", .rule = RULE_JAIS2},
    {.name = "laguna", .rule = RULE_LAGUNA},
    {.name = "gemma4", .rule = RULE_LINES, .raw = true, .whole_lines = true, .needs_bos = true},
    {.name = "granite-embed-multi-311m",
     .rule = RULE_LINES,
     .raw = true,
     .whole_lines = true,
     .needs_bos = true},
    {.name = "sarvam-moe", .rule = RULE_LINES, .raw = true},
    {.name = "deepseek-llm", .rule = RULE_DEEPSEEK_LLM},
    {.name = "deepseek-coder", .rule = RULE_DEEPSEEK_CODER},
    {.name = "deepseek-v3", .rule = RULE_DEEPSEEK3},
    {.name = "hunyuan-dense", .rule = RULE_DEEPSEEK3},
    {.name = "joyai-llm", .rule = RULE_DEEPSEEK3},
    {.name = "hy_v4", .rule = RULE_DEEPSEEK3},
    {.name = "spark2_5", .rule = RULE_SPARK},
    {.name = "youtu", .rule = RULE_YOUTU, .whole_words = true},
    {.name = "falcon", .rule = RULE_FALCON},
    {.name = "gpt-2", .rule = RULE_GPT2},
    {.name = "mpt", .rule = RULE_GPT2},
    {.name = "phi-2", .rule = RULE_GPT2},
    {.name = "olmo", .rule = RULE_GPT2},
    {.name = "jais", .rule = RULE_GPT2},
    {.name = "jina-es", .rule = RULE_GPT2},
    {.name = "jina-de", .rule = RULE_GPT2},
    {.name = "jina-v1-en", .rule = RULE_GPT2},
    {.name = "jina-v2-es", .rule = RULE_GPT2},
    {.name = "jina-v2-de", .rule = RULE_GPT2},
    {.name = "jina-v2-code", .rule = RULE_GPT2},
    {.name = "gigachat", .rule = RULE_GPT2},
    {.name = "a.x-4.0", .rule = RULE_GPT2},
    {.name = "mellum", .rule = RULE_GPT2},
    {.name = "modern-bert", .rule = RULE_GPT2},
    {.name = "roberta-bpe", .rule = RULE_GPT2},
    {.name = "exaone4", .rule = RULE_GPT2},
    {.name = "trillion", .rule = RULE_GPT2},
    {.name = "granite-docling", .rule = RULE_GPT2},
    {.name = "starcoder", .rule = RULE_STARCODER},
    {.name = "refact", .rule = RULE_STARCODER},
    {.name = "command-r", .rule = RULE_STARCODER},
    {.name = "smollm", .rule = RULE_STARCODER},
    {.name = "codeshell", .rule = RULE_STARCODER},
    {.name = "exaone", .rule = RULE_STARCODER},
    {.name = "minerva-7b", .rule = RULE_STARCODER},
    {.name = "mellum2", .rule = RULE_STARCODER},
    {.name = "qwen2", .rule = RULE_QWEN2},
    {.name = "deepseek-r1-qwen", .rule = RULE_QWEN2},
    {.name = "kormo", .rule = RULE_QWEN2},
    {.name = "f2llmv2", .rule = RULE_QWEN2},
    {.name = "stablelm2", .rule = RULE_QWEN2},
    {.name = "megrez", .rule = RULE_QWEN2},
    {.name = "bailingmoe", .rule = RULE_QWEN2},
    {.name = "bailingmoe2", .rule = RULE_QWEN2},
    {.name = "llada-moe", .rule = RULE_QWEN2},
    {.name = "hunyuan", .rule = RULE_QWEN2},
    {.name = "grok-2", .rule = RULE_QWEN2},
    {.name = "solar-open", .rule = RULE_QWEN2},
    {.name = "qwen35", .rule = RULE_QWEN35},
    {.name = "ufakzeka", .rule = RULE_UFAKZEKA},
    {.name = "bloom", .rule = RULE_BLOOM},
    {.name = "poro-chat", .rule = RULE_BLOOM},
    {.name = "gpt3-finnish", .rule = RULE_BLOOM},
    {.name = "viking", .rule = RULE_VIKING},
    {.name = "tekken", .rule = RULE_TEKKEN, .whole_words = true, .add_bos = true},
    {.name = "exaone-moe", .rule = RULE_EXAONE_MOE},
    {.name = "chameleon", .rule = RULE_CHAMELEON, .add_bos = true},
    {.name = "gpt-4o", .rule = RULE_GPT4O},
    {.name = "llama4", .rule = RULE_GPT4O},
    {.name = "kanana2", .rule = RULE_GPT4O},
    {.name = "minimax-m2", .rule = RULE_GPT4O},
    {.name = "talkie", .rule = RULE_GPT4O},
    {.name = "granite-embed-multi-97m", .rule = RULE_GRANITE, .whole_words = true},
    {.name = "tiny_aya", .rule = RULE_TINY_AYA},
    {.name = "cohere2moe", .rule = RULE_TINY_AYA},
    {.name = "superbpe", .rule = RULE_SUPERBPE},
    {.name = "seed-coder", .rule = RULE_SEED_CODER},
    {.name = "kimi-k2", .rule = RULE_KIMI},
    {.name = "afmoe", .rule = RULE_AFMOE},
    {.name = "minicpm5", .rule = RULE_MINICPM5, .whole_words = true},
};

const struct pretokenizer *pretokenizer_find(struct gguf_str name) {
    for (size_t i = 0; i < sizeof pretokenizers / sizeof *pretokenizers; i++) {
        if (gguf_str_eq(name, pretokenizers[i].name)) return &pretokenizers[i];
    }
    return NULL;
}

/* ---- matching -------------------------------------------------------------------------------- */

#define NO_MATCH SIZE_MAX

/* The word of the previous step that is being cut: code points up to `end`. */
struct scope {
    const uint32_t *cp, *traits;
    size_t end;
    size_t tail;  // where its trailing white space begins
    size_t white; // where the white space looked at last ends
    size_t lines; // where its last CR or LF ends
};

/* How many code points a contraction at i takes, 2 or 3; 0 if there is none. */
static size_t match_contraction(struct scope *s, size_t i, bool any_case) {
    if (s->end - i < 2 || s->cp[i] != '\'') return 0;
    uint32_t fold = any_case ? 0x20 : 0;
    uint32_t a = s->cp[i + 1] | fold;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if (s->end - i < 3) return 0;
    uint32_t b = s->cp[i + 2] | fold;
    return ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* What R takes at i. Every run of white space is looked at once, however many words it is cut
 * into. */
static size_t match_lines(struct scope *s, size_t i) {
    if (i >= s->white) {
        s->lines = s->white = i;
        for (; s->white < s->end && s->traits[s->white] & WHITE; s->white++) {
            if (s->traits[s->white] & NEWLINE) s->lines = s->white + 1;
        }
    }
    return s->lines > i ? s->lines - i : 0;
}

static size_t match_text(struct scope *s, size_t i, const char *text) {
    size_t n = 0;
    for (; text[n] != '\''; n++) {
        if (i + n >= s->end || s->cp[i + n] != (unsigned char)text[n]) return 0;
    }
    return n;
}

/* How many code points the atom at p takes at i; 0 if it does not match. */
static size_t match_atom(struct scope *s, const char *p, size_t i) {
    if (i >= s->end) return 0;
    switch (*p) {
    case 'c':
        return match_contraction(s, i, true);
    case 'e':
        return match_contraction(s, i, false);
    case '\'':
        return match_text(s, i, p + 1);
    case 'R':
        return match_lines(s, i);
    case 't':
        return i >= s->tail;
    default:
        return in_set(*p, s->cp[i], s->traits[i]);
    }
}

/* Reads what follows an atom; returns where the next atom begins. */
static const char *read_repeat(const char *p, size_t *min, size_t *max) {
    *min = *max = 1;
    switch (*p) {
    case '?':
        *min = 0;
        return p + 1;
    case '*':
        *min = 0;
        *max = SIZE_MAX;
        return p + 1;
    case '+':
        *max = SIZE_MAX;
        return p + 1;
    case '{': {
        char *end;
        *min = *max = strtoul(p + 1, &end, 10);
        if (*end == ',') *max = strtoul(end + 1, &end, 10);
        return end + 1;
    }
    default:
        return p;
    }
}

/* Matches the rest of an alternative at i: where the match ends, or NO_MATCH. The recursion is as
 * deep as the pattern is long; an atom that repeats and gives back takes one code point a time. */
static size_t match(struct scope *s, const char *p, size_t i) {
    if (*p == '\0' || *p == '|') return i;
    if (*p == '!') {
        return i < s->end && !(s->traits[i] & WHITE) ? NO_MATCH : match(s, p + 1, i);
    }
    size_t min, max, n = 0, step = 0;
    const char *atom = p;
    p = read_repeat(*p == '\'' ? strchr(p + 1, '\'') + 1 : p + 1, &min, &max);
    for (size_t taken; n < max && (taken = match_atom(s, atom, i)) > 0; n++) {
        step = taken;
        i += step;
    }
    for (; n >= min; n--, i -= step) {
        size_t end = match(s, p, i);
        if (end != NO_MATCH) return end;
        if (n == 0) break;
    }
    return NO_MATCH;
}

static size_t match_any(struct scope *s, const char *pattern, size_t i) {
    for (const char *p = pattern;; p++) {
        size_t end = match(s, p, i);
        if (end != NO_MATCH && end > i) return end;
        p = strchr(p, '|');
        if (!p) return NO_MATCH;
    }
}

/* ---- cutting --------------------------------------------------------------------------------- */

static void cut(struct words *w, size_t i) {
    if (i < w->n) w->traits[i] |= WORD_START;
}

static void cut_pattern(struct words *w, const char *pattern, size_t start, size_t end) {
    struct scope s = {.cp = w->cp, .traits = w->traits, .end = end, .tail = end};
    if (*pattern == 't') {
        while (s.tail > start && w->traits[s.tail - 1] & WHITE) s.tail--;
    }
    for (size_t i = start; i < end;) {
        size_t next = match_any(&s, pattern, i);
        if (next == NO_MATCH) {
            i++;
            continue;
        }
        cut(w, i);
        cut(w, next);
        i = next;
    }
}

/* Cuts digits into groups of three that end where the run of digits ends. The mode says where:
 *   #before  ASCII digits, before each full group
 *   #after   numbers of any script, after each group: the first stays with what precedes it */
static void cut_digits(struct words *w, const char *mode, size_t start, size_t end) {
    bool after = strcmp(mode, "#after") == 0;
    uint32_t digit = after ? NUMBER : DIGIT;
    for (size_t i = start; i < end; i++) {
        if (!(w->traits[i] & digit)) continue;
        size_t first = i;
        while (i < end && w->traits[i] & digit) i++;
        size_t at = first + (i - first) % 3; // where the first full group begins
        if (after && at == first) at += 3;
        for (; at < i; at += 3) cut(w, at);
        if (after) cut(w, i);
    }
}

size_t words_end(const struct words *w, size_t start) {
    size_t i = start + 1;
    while (i < w->n && !(w->traits[i] & WORD_START)) i++;
    return i;
}

static void cut_words(struct words *w, const char *step) {
    for (size_t start = 0, end; start < w->n; start = end) {
        end = words_end(w, start);
        if (*step == '#')
            cut_digits(w, step, start, end);
        else
            cut_pattern(w, step, start, end);
    }
}

/* ---- the whole ------------------------------------------------------------------------------- */

int pretokenize(const struct pretokenizer *p, const char *text, size_t len, struct words *w,
                struct error *err) {
    *w = (struct words){0};
    w->cp = len <= SIZE_MAX / 8 ? malloc(len * 8 + 1) : NULL;
    if (!w->cp) return error_set(err, KQ_NO_MEMORY, "out of memory for a text of %zu bytes", len);
    w->traits = w->cp + len;
    for (size_t i = 0, used; i < len; i += used, w->n++) {
        w->cp[w->n] = utf8_decode(text + i, len - i, &used);
        w->traits[w->n] = classify(w->cp[w->n]);
    }
    for (size_t i = 0; i + 1 < w->n; i++) {
        // NOLINTNEXTLINE(clang-analyzer-*): the first n have been written
        if (w->cp[i] == ' ' && w->traits[i + 1] & LETTER) w->traits[i] |= JOINT;
    }
    for (const char *const *step = rules[p->rule]; *step; step++) cut_words(w, *step);
    return 0;
}

void words_free(struct words *w) {
    free(w->cp);
    *w = (struct words){0};
}
