/* The pre-tokenizers: every rule on one text that tells them apart, and what only some of them
 * have. The words are llama.cpp's (v0.5.0), read off the ids that it gave for vocabularies whose
 * merges run across every place where a rule may cut. */
#include "pretokenize.h"
#include "utf8.h"

#include "test.h"
#include "unicode_data.h"

/* The words of a text with '|' between them; the result is good until the next call. */
static const char *cut(const char *name, const char *text, size_t len) {
    static char out[1 << 14];
    struct words w;
    const struct pretokenizer *p = pretokenizer_find((struct gguf_str){name, strlen(name)});
    if (!p || pretokenize(p, text, len, &w, NULL) != 0) return "(refused)";
    size_t n = 0;
    for (size_t start = 0, end; start < w.n; start = end) {
        if (start > 0) out[n++] = '|';
        end = words_end(&w, start);
        for (size_t i = start; i < end; i++) n += (size_t)utf8_encode(w.cp[i], out + n);
    }
    out[n] = '\0';
    words_free(&w);
    return out;
}

static void check(const char *name, const char *text, const char *expected) {
    const char *found = cut(name, text, strlen(text));
    CHECK(strcmp(found, expected) == 0, "%s: expected\n%s, found\n%s", name, expected, found);
}

static const char every[] =
    "I'm DON'T HTTPServer éÉA e\u0301t 1234567 x12a34567b ½३४५5  a/b//"
    "\n  x\t\ty   \r\n\n \n.\n 漢字かな한글ㄅ ~`$A !~ok …，。 '''Ll  end \u3000 ";

static const struct {
    const char *name, *words;
} rules[] = {
    {"default",
     "I|'|m| DON|'|T| HTTPServer| éÉA| e|\u0301|t| |123|456|7| x|12|a|345|67|b| |½३४५5| |"
     " a|/|b|//|\n | x|\t|\t|y|   \r\n\n \n|.|\n| 漢字かな한글ㄅ| |~|`|$|A| |!~|ok| |…，。| |'''|"
     "Ll| | end| \u3000 "},
    {"llama-bpe",
     "I|'m| DON|'T| HTTPServer| éÉA| e|\u0301t| |123|456|7| x|12|a|345|67|b| |½३४|५5| |"
     " a|/b|//\n| | x|\t|\ty|   \r\n\n \n|.\n| 漢字かな한글ㄅ| ~`$|A| !~|ok| …，。| '''|Ll| | end|"
     " \u3000 "},
    {"jais-2",
     "I|'m| DON|'T| HTTPServer| éÉA| e|\u0301t| |123|456|7| x|12|a|345|67|b| |½३४|५5| |"
     " a|/b|//\n| | x|\t|\ty|   \r\n\n \n|.\n| 漢字かな한글ㄅ| ~`$|A| !~|ok| …，。| '''|Ll| | end|"
     " \u3000| "},
    {"laguna",
     "I|'m| DON|'T| HTTPServer| éÉA| e|\u0301t| |1|2|3|4|5|6|7| x|1|2|a|3|4|5|6|7|b| |½|"
     "३|४|५|5| | a|/b|//|\n| | x|\t|\ty|   \r|\n\n| |\n|.|\n| 漢字かな한글ㄅ| ~`$|A| !~|ok| …，。|"
     " '''|Ll| | end| \u3000 "},
    {"deepseek-llm",
     "I|'|m| DON|'|T| HTTPServer| éÉ|A| e|\u0301|t| |1234567| x|12|a|34567|b| |½|३४५|5| |"
     " a|/|b|//|\n| | x|\t|\ty|   |\r|\n|\n| |\n|.|\n| |漢字かな한글ㄅ| ~`$|A| !~|ok| |…|，|。|"
     " '''|Ll| | end| \u3000 "},
    {"deepseek-coder",
     "I|'|m| DON|'|T| HTTPServer| éÉA| e|\u0301|t| |1|2|3|4|5|6|7| x|1|2|a|3|4|5|6|7|b| |"
     "½|३|४|५|5| | a|/|b|//|\n| | x|\t|\ty|   |\r|\n|\n| |\n|.|\n| |漢字かな한글ㄅ| ~`$|A| !|~|"
     "ok| |…|，|。| '''|Ll| | end| \u3000 "},
    {"deepseek-v3",
     "I|'m| DON|'T| HTTPServer| éÉA| e\u0301t| |123|456|7| x|12|a|345|67|b| |½३४|५5| | a|"
     "/b|//\n| | x|\t|\ty|   \r\n\n \n|.\n| |漢字かな|한글ㄅ| ~`$|A| !~|ok| …，。| '''|Ll| | end|"
     " \u3000 "},
    {"spark2_5",
     "I|'m| DON|'T| HTTPServer| éÉA| e\u0301t| |1|2|3|4|5|6|7| x|1|2|a|3|4|5|6|7|b| |½|३|"
     "४|५|5| | a|/b|//|\n| | x|\t|\ty|   \r\n\n |\n|.|\n| |漢字かな|한글ㄅ| ~`$|A| !~|ok| …，。|"
     " '''|Ll| | end| \u3000 "},
    {"youtu",
     "I'm| DON'T| HTTPServer| éÉA| e\u0301t| |1|2|3|4|5|6|7| x|1|2|a|3|4|5|6|7|b| |½|३|४|"
     "५|5| | a|/b|//\n| | x|\t|\ty|   \r\n\n \n|.\n| |漢字かな|한글|ㄅ| ~`$|A| !~|ok| |…，。| '''|"
     "Ll| | end| \u3000 "},
    {"falcon",
     "I|'|m| DON|'|T| HTTPServer| éÉA| e|\u0301|t| |123|456|7| x|12|a|345|67|b| ½३४५5| |"
     " a|/|b|//|\n | x|\t|\t|y|   \r\n\n \n|.|\n| 漢字かな한글ㄅ| |~`$|A| |!~|ok| |…，。| |'''|Ll|"
     " | end| \u3000 "},
    {"gpt-2",
     "I|'m| DON|'|T| HTTPServer| éÉA| e|\u0301|t| 1234567| x|12|a|34567|b| ½३४५5| | a|/|"
     "b|//|\n | x|\t|\t|y|   \r\n\n |\n|.|\n| 漢字かな한글ㄅ| ~`$|A| !~|ok| …，。| '''|Ll| | end|"
     " \u3000 "},
    {"smollm",
     "I|'m| DON|'|T| HTTPServer| éÉA| e|\u0301|t| |1|2|3|4|5|6|7| x|1|2|a|3|4|5|6|7|b| |"
     "½|३|४|५|5| | a|/|b|//|\n | x|\t|\t|y|   \r\n\n |\n|.|\n| 漢字かな한글ㄅ| ~`$|A| !~|ok|"
     " …，。| '''|Ll| | end| \u3000 "},
    {"qwen2",
     "I|'m| DON|'T| HTTPServer| éÉA| e|\u0301t| |1|2|3|4|5|6|7| x|1|2|a|3|4|5|6|7|b| |½|"
     "३|४|५|5| | a|/b|//\n| | x|\t|\ty|   \r\n\n \n|.\n| 漢字かな한글ㄅ| ~`$|A| !~|ok| …，。| '''|"
     "Ll| | end| \u3000 "},
    {"qwen35",
     "I|'m| DON|'T| HTTPServer| éÉA| e\u0301t| |1|2|3|4|5|6|7| x|1|2|a|3|4|5|6|7|b| |½|३|"
     "४|५|5| | a|/b|//\n| | x|\t|\ty|   \r\n\n \n|.\n| 漢字かな한글ㄅ| ~`$|A| !~|ok| …，。| '''|"
     "Ll| | end| \u3000 "},
    {"ufakzeka",
     "I|'m| DON|'T| HTTPServer| éÉA| e|\u0301t| |1|2|3|4|5|6|7| x|1|2|a|3|4|5|6|7|b| |½|"
     "३|४|५|5| | a|/b|//\n| | x|\t|\ty|   \r\n\n \n|.\n| 漢字かな한글ㄅ| ~`$|A| !~|ok| …，。| '''|"
     "Ll| | end| \u3000 "},
    {"bloom", "I'm| DON'T| HTTPServer| éÉA| e\u0301t| 1234567| x12a34567b| ½३४५5| | a/b//|\n | x|"
              "\t\t|y|   \r\n\n \n.\n| 漢字かな한글ㄅ| ~`$A| !|~ok| …，。| '''Ll| | end| \u3000 "},
    {"viking",
     "I'm| DON'T| HTTPServer| éÉA| e\u0301t| |1|2|3|4|5|6|7| x|1|2|a|3|4|5|6|7|b| |½|३|४|"
     "५|5| | a/b//|\n | x|\t\t|y|   \r\n\n \n.\n| 漢字かな한글ㄅ| ~`$A| !|~ok| …，。| '''Ll| |"
     " end| \u3000 "},
    {"tekken",
     "I|'m| DON|'T| HTTPServer| éÉ|A| e|\u0301t| |1|2|3|4|5|6|7| x|1|2|a|3|4|5|6|7|b| |½|"
     "३|४|५|5| | a|/b|//\n| | x|\t|\ty|   \r\n\n \n|.\n| 漢字かな한글ㄅ| ~`$|A| !~|ok| …，。| '''|"
     "Ll| | end| \u3000 "},
    {"exaone-moe",
     "I|'m| DON|'T| HTTPServer éÉA e\u0301t| |1|2|3|4|5|6|7| x|1|2|a|3|4|5|6|7|b| |½|३|४|"
     "५|5| | a|/b|//\n| | x|\t|\ty|   \r\n\n \n|.\n| 漢字かな한글ㄅ| ~`$|A| !~|ok| …，。| '''|Ll|"
     " | end| \u3000 "},
    {"chameleon",
     "I|'|m| DON|'|T| HTTPServer| éÉA| e|\u0301|t| |1|2|3|4|5|6|7| x|1|2|a|3|4|5|6|7|b| |"
     "½|३|४|५|5|  |a|/|b|/|/|\n|  |x|\t|\t|y|  | \r|\n|\n| |\n|.|\n| 漢字かな한글ㄅ| |~|`|$|A| |"
     "!|~|ok| |…|，|。| |'|'|'|Ll|  |end| \u3000 "},
    {"gpt-4o",
     "I'm| DON'T| HTTPServer| éÉ|A| e|\u0301t| |123|456|7| x|12|a|345|67|b| |½३४|५5| | a|"
     "/b|//\n| | x|\t|\ty|   \r\n\n \n|.\n| 漢字かな한글ㄅ| ~`$|A| !~|ok| …，。| '''|Ll| | end|"
     " \u3000 "},
    {"granite-embed-multi-97m",
     "I'm| DON'T| HTTPServer| éÉ|A| e\u0301t| |123|456|7| x|12|a|345|67|b| |½३४|५5| | a|"
     "/b|//\n| | x|\t|\ty|   \r\n\n \n|.\n| 漢字かな한글ㄅ| ~`$|A| !~|ok| …，。| '''|Ll| | end|"
     " \u3000 "},
    {"tiny_aya",
     "I'm| DON'T| HTTPServer| éÉA| e\u0301t| |1|234|567| x|12|a|34|567|b| |½३|४५5| | a|"
     "/b|//\n| | x|\t|\ty|   \r\n\n \n|.\n| 漢字かな한글ㄅ| ~`$|A| !~|ok| …，。| '''|Ll| | end|"
     " \u3000 "},
    {"superbpe",
     "I'm DON'T HTTPServer éÉA e\u0301t |1|234|567| x|12|a|34|567|b |½३४५5|"
     "  a/b//\n  x\t\ty   \r\n\n \n.\n 漢字かな한글ㄅ ~`$A !~ok …，。 '''Ll  end \u3000 "},
    {"seed-coder",
     "I|'m| DON|'T| HTTPServer| éÉA| e|\u0301t| |1|2|3|4|5|6|7| x|1|2|a|3|4|5|6|7|b| |½|"
     "३|४|५|5| | a|/b|//|\n| | x|\t|\ty|   \r\n\n \n|.|\n| 漢字かな한글ㄅ| ~`$|A| !~|ok| …，。|"
     " '''|Ll| | end| \u3000 "},
    {"kimi-k2",
     "I'm| DON'T| HTTPServer| éÉA| e|\u0301t| |123|456|7| x|12|a|345|67|b| |½३४|५5| | a|"
     "/b|//\n| | x|\t|\ty|   \r\n\n \n|.\n| |漢字|かな한글ㄅ| ~`$|A| !~|ok| …，。| '''|Ll| | end|"
     " \u3000 "},
    {"afmoe",
     "I|'m| DON|'T| HTTPServer| éÉA| e\u0301t| |1|234|567| x|12|a|34|567|b| |½३|४५5| | a|"
     "/b|//\n| | x|\t|\ty|   \r\n\n \n|.\n| |漢字かな한글|ㄅ| ~`$|A| !~|ok| …，。| '''|Ll| | end|"
     " \u3000 "},
    {"minicpm5",
     "I|'m| DON|'T| HTTPServer| éÉA| e|\u0301t| |123|456|7| x|12|a|345|67|b| |½३४|५5| |"
     " a|/b|//\n| | x|\t|\ty|   \r\n\n \n|.\n| 漢字かな한글ㄅ| ~`$|A| !~|ok| …，。| '''|Ll| | end|"
     " \u3000 "},
};

static void test_rules(void) {
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        check(rules[i].name, every, rules[i].words);
    }
}

/* Names that share a rule, one pair for every name in the field's files. */
static void test_names(void) {
    static const char *const same[][24] = {
        {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
         "jina-v5-nano", "dbrx", "smaug-bpe", "glm4", "chatglm-bpe"},
        {"deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"},
        {"gpt-2", "mpt", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v1-en", "jina-v2-es",
         "jina-v2-de", "jina-v2-code", "a.x-4.0", "mellum", "modern-bert", "roberta-bpe", "olmo",
         "jais", "exaone4", "trillion", "granite-docling"},
        {"smollm", "starcoder", "mellum2", "refact", "command-r", "codeshell", "exaone",
         "minerva-7b"},
        {"qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "stablelm2", "megrez", "bailingmoe",
         "bailingmoe2", "llada-moe", "hunyuan", "grok-2", "solar-open"},
        {"bloom", "poro-chat", "gpt3-finnish"},
        {"gpt-4o", "llama4", "kanana2", "minimax-m2", "talkie"},
        {"tiny_aya", "cohere2moe"},
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        char expected[1024];
        snprintf(expected, sizeof expected, "%s", cut(same[i][0], every, strlen(every)));
        for (const char *const *name = same[i]; *name; name++) check(*name, every, expected);
    }
    CHECK(!pretokenizer_find((struct gguf_str){"llama-bp", 8}), "a part of a name");
    CHECK(!pretokenizer_find((struct gguf_str){"", 0}), "no name");
}

static void test_flags(void) {
    static const struct {
        const char *name;
        bool whole_words, add_bos, no_bos;
    } flags[] = {
        {"default", false, false, false}, {"llama-bpe", true, true, false},
        {"lfm2", true, true, false},      {"dbrx", false, false, false},
        {"glm4", false, false, true},     {"youtu", true, false, false},
        {"tekken", true, true, false},    {"chameleon", false, true, false},
        {"qwen2", false, false, false},   {"minicpm5", true, false, false},
    };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        const char *name = flags[i].name;
        const struct pretokenizer *p = pretokenizer_find((struct gguf_str){name, strlen(name)});
        CHECK(p && p->whole_words == flags[i].whole_words && p->add_bos == flags[i].add_bos &&
                  p->no_bos == flags[i].no_bos,
              "%s", name);
    }
}

static void test_details(void) {
    check("gpt-2", "it's we'RE they'll 'd'x", "it|'s| we|'|RE| they|'ll| '|d|'|x");
    check("qwen2", "it'S we'Re 'l 'LL'v", "it|'S| we|'Re| '|l| '|LL|'v");
    check("gpt-2", "a'xe'vx'lx'rx", "a|'|xe|'|vx|'|lx|'|rx");
    check("gpt-2", "  a\n\nb \n", " | a|\n|\n|b| \n");
    check("llama-bpe", "a \r\n \n  b", "a| \r\n \n| | b");
    check("gpt-4o", "XMLHttp httpX ÉAé camelCaseÉ", "XMLHttp| http|X| ÉAé| camel|CaseÉ");
    check("tekken", "aB ABc'S", "a|B| ABc|'S");
    check("gpt-4o", "aB ABc'S a/\n/", "a|B| ABc'S| a|/\n/");
    check("exaone-moe", "a b  c !\n\n/", "a b| | c| !\n|\n|/");
    check("seed-coder", "a!\nb", "a|!|\n|b");
    check("superbpe", "1234²1234", "1|234²1|234");
    check("afmoe", "a1234 12", "a|1|234| |12");
    check("deepseek-llm", "\x01  \x01  ", "\x01  \x01|  ");
    check("deepseek-llm", "a ñ b", "a| ñ| b");
    check("deepseek-llm", "aㅎ中ऄ、 b", "a|ㅎ中ऄ|、| b");
    check("youtu", "가나ㄱ다 中かㄅㄆ、。", "가나ㄱ다| |中か|ㄅㄆ|、。");
    check("chameleon", "<sentinel:12> <sentinel:1", "<|sentinel|:|1|2|>| |<|sentinel|:|1");
    check("bloom", "a,b (c) d।e", "a|,|b| (|c|)| d|।|e");
    check("kimi-k2", "a中b'S", "a|中|b'S");
}

/* Long runs of white space in pieces of a power of two. */
static void test_jais2(void) {
    static const char *const cases[][2] = {
        {"       x", "    |  | x"},                    // 7: 4, then 2 that no word follows
        {"    x", "  | | x"},                          // 4
        {"        ", "        "},                      // 8 at the end
        {"         x", "        | x"},                 // 9
        {"      \n x", "      \n| x"},                 // a line end takes all before it
        {"                 x", "                | x"}, // 17
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check("jais-2", cases[i][0], cases[i][1]);
    }
}

static void test_utf8(void) {
    static const struct {
        const char *text;
        size_t len;
        uint32_t cp[4];
    } cases[] = {
        {"a\0", 2, {'a', 0}},
        {"\xc3\xa9", 2, {0xe9}},
        {"\xe2\x82\xac", 3, {0x20ac}},
        {"\xf0\x9f\x98\x80", 4, {0x1f600}},
        {"\xf4\x8f\xbf\xbf", 4, {0x10ffff}},
        {"\xe2\x82", 2, {0xfffd, 0xfffd}},                         // cut short
        {"\xe2\x82x", 3, {0xfffd, 0xfffd, 'x'}},                   // broken
        {"\x80\xff", 2, {0xfffd, 0xfffd}},                         // starts nothing
        {"\xf8\x80\x80\x80", 4, {0xfffd, 0xfffd, 0xfffd, 0xfffd}}, // 5 bytes long once
        {"\xf4\x90\x80\x80", 4, {0xfffd, 0xfffd, 0xfffd, 0xfffd}}, // past U+10FFFF
        {"\xc0\xaf", 2, {'/'}},                                    // overlong
        {"\xed\xa0\x80", 3, {0xd800}},                             // a lone surrogate
    };
    const struct pretokenizer *p = pretokenizer_find((struct gguf_str){"gpt-2", 5});
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = 0;
        while (n < 4 && (cases[i].cp[n] || (i == 0 && n < 2))) n++;
        struct guarded text = guarded_alloc(cases[i].len, false);
        memcpy(text.data, cases[i].text, cases[i].len);
        struct words w;
        int failed = pretokenize(p, (const char *)text.data, cases[i].len, &w, NULL);
        CHECK(!failed && w.n == n && memcmp(w.cp, cases[i].cp, n * 4) == 0, "case %zu", i);
        words_free(&w);
        guarded_free(&text);
    }
}

static void test_code_points(void) {
    const struct pretokenizer *p = pretokenizer_find((struct gguf_str){"gpt-2", 5});
    for (uint32_t cp = 0; cp < 0x110000; cp += cp < 0x3000 ? 1 : 61) {
        char text[4];
        struct words w;
        int len = utf8_encode(cp, text);
        int failed = pretokenize(p, text, (size_t)len, &w, NULL);
        CHECK(!failed && w.n == 1 && w.cp[0] == cp, "U+%04X", cp);
        words_free(&w);
    }
}

/* As many letters, marks ... as Unicode 15.1 has. */
static void test_categories(void) {
    static const uint32_t expected[] = {964463, 136726, 2450, 1831, 842, 7775, 25};
    uint32_t count[8] = {0};
    size_t n = sizeof unicode_runs / sizeof *unicode_runs;
    for (size_t i = 0; i < n; i++) {
        uint32_t end = i + 1 < n ? unicode_runs[i + 1] >> 3 : 0x110000;
        CHECK(end > unicode_runs[i] >> 3, "run %zu is not in order", i);
        count[unicode_runs[i] & 7] += end - (unicode_runs[i] >> 3);
    }
    for (size_t k = 0; k < sizeof expected / sizeof *expected; k++) {
        CHECK(count[k] == expected[k], "category %zu: expected %u, found %u", k, expected[k],
              count[k]);
    }
}

/* A rule that looked at the rest of the text for every word would take minutes. */
static void test_long(void) {
    static const char *const units[] = {" ",   "a", "1",           "\n", "<",    "A", "éA",
                                        " \t", "'", "<sentinel:1", "a ", "\x80", "~", "a\xcc\x81"};
    size_t size = 1 << 17;
    char *text = malloc(size + 1);
    for (size_t i = 0; i < sizeof units / sizeof *units && text; i++) {
        size_t unit = strlen(units[i]);
        for (size_t k = 0; k < size; k++) text[k] = units[i][k % unit];
        text[size] = 'x';
        for (size_t r = 0; r < sizeof rules / sizeof *rules; r++) {
            const char *name = rules[r].name;
            struct words w;
            struct gguf_str s = {name, strlen(name)};
            int failed = pretokenize(pretokenizer_find(s), text, size + 1, &w, NULL);
            size_t total = 0;
            for (size_t at = 0; !failed && at < w.n; at = words_end(&w, at)) total++;
            CHECK(!failed && total > 0 && total <= w.n, "%s on \"%s\"", name, units[i]);
            words_free(&w);
        }
    }
    free(text);
}

int main(void) {
    test_rules();
    test_names();
    test_flags();
    test_details();
    test_jais2();
    test_utf8();
    test_code_points();
    test_categories();
    test_long();
    return test_done("test_pretokenize");
}
