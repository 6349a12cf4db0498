/* JSON: what is read and written again as Python's json.dumps writes it, what is refused, and
 * where. */
#include "json.h"
#include "test.h"

#include <math.h>

/* A text, and the same as json.dumps(json.loads(text), ensure_ascii=False) gives it. */
static const struct {
    const char *text, *written;
} good[] = {
    {"null", "null"},
    {" [ ] ", "[]"},
    {"{}", "{}"},
    {"true", "true"},
    {"\t\r\n false", "false"},
    {"0", "0"},
    {"-0", "0"},
    {"-0.0", "-0.0"},
    {"9223372036854775807", "9223372036854775807"},
    {"-9223372036854775808", "-9223372036854775808"},
    {"9223372036854775808", "9223372036854775808"},
    {"-123456789012345678901234567890", "-123456789012345678901234567890"},
    {"1.0", "1.0"},
    {"1e2", "100.0"},
    {"1E+16", "1e+16"},
    {"1e15", "1000000000000000.0"},
    {"1e-5", "1e-05"},
    {"0.0001", "0.0001"},
    {"0.1", "0.1"},
    {"0.30000000000000004", "0.30000000000000004"},
    {"123456.789e3", "123456789.0"},
    {"5e-324", "5e-324"},
    {"1.7976931348623157e308", "1.7976931348623157e+308"},
    {"1e999", "Infinity"},
    {"\"\"", "\"\""},
    {"\"a\\u00e9\\n\\t\\\\\\\"\\/\\b\\f\\r\"", "\"aé\\n\\t\\\\\\\"/\\b\\f\\r\""},
    {"\"\\ud83d\\ude00 \xf0\x9f\x98\x80\"", "\"\xf0\x9f\x98\x80 \xf0\x9f\x98\x80\""},
    {"\"\\u0000\\u001f\x7f\"", "\"\\u0000\\u001f\x7f\""},
    {"[1,[2,{\"a\":[]}],\"b\"]", "[1, [2, {\"a\": []}], \"b\"]"},
    {"{\"b\":1,\"a\":2,\"b\":3}", "{\"b\": 3, \"a\": 2}"},
    {"{\"\":{\"\":null}}", "{\"\": {\"\": null}}"},
};

static const struct str *write_again(struct arena *a, struct value v,
                                     const struct json_style *style) {
    struct builder b;
    struct error err;
    build_begin(&b, a);
    return json_write(&b, v, style, &err) == 0 ? build_end(&b) : &str_empty;
}

static void check_good(void) {
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct arena a;
        struct value v;
        struct error err = {0};
        arena_init(&a, 1 << 20);
        struct guarded text = guarded_alloc(strlen(good[i].text), false);
        memcpy(text.data, good[i].text, strlen(good[i].text));
        int status = json_parse((char *)text.data, strlen(good[i].text), &a, &v, &err);
        CHECK(status == 0, "%s: %s", good[i].text, err.text);
        if (status == 0) {
            const struct str *s = write_again(&a, v, &(struct json_style){0});
            CHECK(str_is(s, good[i].written), "%s: wrote %.*s", good[i].text, (int)s->len, s->data);
        }
        arena_free(&a);
        guarded_free(&text);
    }
}

static const struct {
    const char *text, *message;
} bad[] = {
    {"", "JSON, line 1, column 1: the text ends where a value is expected"},
    {"[1,\n 2", "JSON, line 2, column 3: expected , or ] in an array"},
    {"[1,]", "JSON, line 1, column 4: expected a value"},
    {"{\"a\":1,}", "JSON, line 1, column 8: expected \" before a key"},
    {"{a:1}", "JSON, line 1, column 2: expected \" before a key"},
    {"{\"a\" 1}", "JSON, line 1, column 6: expected : after a key"},
    {"{\"a\":1 \"b\":2}", "JSON, line 1, column 8: expected , or } in an object"},
    {"nul", "JSON, line 1, column 1: expected a value"},
    {"NaN", "JSON, line 1, column 1: expected a value"},
    {"'a'", "JSON, line 1, column 1: expected a value"},
    {"01", "JSON, line 1, column 2: expected nothing after the value"},
    {"1 2", "JSON, line 1, column 3: expected nothing after the value"},
    {"-", "JSON, line 1, column 2: expected a digit after -"},
    {"1.", "JSON, line 1, column 3: expected a digit after the point"},
    {".5", "JSON, line 1, column 1: expected a value"},
    {"+1", "JSON, line 1, column 1: expected a value"},
    {"1e", "JSON, line 1, column 3: expected a digit in the exponent"},
    {"\"a", "JSON, line 1, column 3: the text ends inside a string"},
    {"\"\n\"",
     "JSON, line 1, column 2: a control character in a string must be written as \\u00XX"},
    {"\"\\x\"", "JSON, line 1, column 3: expected one of \" \\ / b f n r t u after \\"},
    {"\"\\u12g4\"", "JSON, line 1, column 6: expected four hexadecimal digits after \\u"},
    {"\"\\ud83d\"", "JSON, line 1, column 8: half of a surrogate pair is missing"},
    {"\"\\ude00\"", "JSON, line 1, column 8: half of a surrogate pair is missing"},
    {"\"\\ud83d\\u0041\"", "JSON, line 1, column 14: half of a surrogate pair is missing"},
    {"\"\xff\"", "JSON, line 1, column 2: not UTF-8"},
    {"\"\xc0\x80\"", "JSON, line 1, column 2: not UTF-8"},
    {"\"\xed\xa0\x80\"", "JSON, line 1, column 2: not UTF-8"},
    {"\"\xf4\x90\x80\x80\"", "JSON, line 1, column 2: not UTF-8"},
    {"\"é\xe2\x82\"", "JSON, line 1, column 3: not UTF-8"},
    {"\xef\xbb\xbf{}", "JSON, line 1, column 1: expected a value"},
};

static void check_bad(void) {
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct arena a;
        struct value v;
        struct error err = {0};
        arena_init(&a, 1 << 20);
        int status = json_parse(bad[i].text, strlen(bad[i].text), &a, &v, &err);
        CHECK(status == -1 && strcmp(err.text, bad[i].message) == 0, "%s: \"%s\"", bad[i].text,
              err.text);
        arena_free(&a);
    }
}

/* Every beginning of a text is refused, but for those that are whole. */
static void check_cuts(void) {
    static const char text[] = "{\"a\": [1.5e3, -2, \"\\u00e9\\ud83d\\ude00é\"], \"b\": null} ";
    for (size_t n = 0; n < sizeof text - 2; n++) {
        struct arena a;
        struct value v;
        struct error err;
        struct guarded copy = guarded_alloc(n, false);
        memcpy(copy.data, text, n);
        arena_init(&a, 1 << 20);
        CHECK(json_parse((char *)copy.data, n, &a, &v, &err) == -1, "the first %zu bytes", n);
        arena_free(&a);
        guarded_free(&copy);
    }
}

static void check_limits(void) {
    enum { DEEP = 100000 };
    struct arena a;
    struct value v;
    struct error err;
    char *text = malloc(2 * DEEP);
    if (!text) return;
    memset(text, '[', DEEP);
    memset(text + DEEP, ']', DEEP);
    arena_init(&a, 1 << 24);
    CHECK(json_parse(text, 2 * DEEP, &a, &v, &err) == -1 &&
              strcmp(err.text, "JSON, line 1, column 257: nested too deeply") == 0,
          "%s", err.text);
    arena_free(&a);
    const char *deepest = text + DEEP - VALUE_MAX_DEPTH;
    CHECK(json_parse(deepest, 2 * VALUE_MAX_DEPTH, &a, &v, &err) == 0, "%s", err.text);
    arena_free(&a);
    memset(text, ' ', 2 * DEEP);
    for (int i = 0; i < 2 * DEEP - 1; i += 2) memcpy(text + i, i ? ",1" : "[1", 2);
    arena_init(&a, 1 << 16);
    CHECK(json_parse(text, 2 * DEEP, &a, &v, &err) == -1 && err.status == KQ_FULL, "%s", err.text);
    arena_free(&a);
    free(text);
}

static struct str indent2 = {.data = "  ", .len = 2, .n_chars = 2};
static struct str comma = {.data = ",", .len = 1, .n_chars = 1};
static struct str colon = {.data = ":", .len = 1, .n_chars = 1};

static void check_styles(void) {
    static const char text[] = "{\"b\": [1, {\"é\": []}], \"a\": \"\xf0\x9f\x98\x80\x7f\"}";
    const struct {
        struct json_style style;
        const char *expected;
    } styles[] = {
        {{.ascii = true}, "{\"b\": [1, {\"\\u00e9\": []}], \"a\": \"\\ud83d\\ude00\\u007f\"}"},
        {{.sort_keys = true}, "{\"a\": \"\xf0\x9f\x98\x80\x7f\", \"b\": [1, {\"é\": []}]}"},
        {{.item_separator = &comma, .key_separator = &colon},
         "{\"b\":[1,{\"é\":[]}],\"a\":\"\xf0\x9f\x98\x80\x7f\"}"},
        {{.indent = &indent2},
         "{\n  \"b\": [\n    1,\n    {\n      \"é\": []\n    }\n  ],\n  \"a\": "
         "\"\xf0\x9f\x98\x80\x7f\"\n}"},
    };
    struct arena a;
    struct value v;
    struct error err;
    arena_init(&a, 1 << 20);
    CHECK(json_parse(text, sizeof text - 1, &a, &v, &err) == 0, "%s", err.text);
    for (size_t i = 0; i < sizeof styles / sizeof *styles; i++) {
        const struct str *s = write_again(&a, v, &styles[i].style);
        CHECK(str_is(s, styles[i].expected), "style %zu: %.*s", i, (int)s->len, s->data);
        CHECK(!str_is_own(s), "style %zu: what was read is input", i);
    }
    arena_free(&a);
}

/* A dict finds what was put into it, in any number. */
static void check_dict(void) {
    enum { N = 5000 };
    struct arena a;
    arena_init(&a, 1 << 24);
    struct value d = value_dict(&a);
    for (int i = 0; i < N; i++) {
        struct value key = value_int(i);
        if (i % 2) {
            struct builder b;
            char text[20];
            snprintf(text, sizeof text, "key %d", i);
            build_begin(&b, &a);
            build_text(&b, text, false);
            key = value_str(build_end(&b));
        }
        CHECK(dict_set(&a, d.u.dict, key, value_int(i)), "entry %d", i);
    }
    CHECK(d.u.dict->n == N, "%zu entries", d.u.dict->n);
    const struct value *v = dict_find_text(d.u.dict, "key 4999");
    CHECK(v && v->u.i == 4999, "the last text");
    v = dict_find(d.u.dict, value_float(42.0));
    CHECK(v && v->u.i == 42, "a float that is a whole number");
    CHECK(!dict_find_text(d.u.dict, "key 2") && !dict_find(d.u.dict, value_int(1)), "no entry");
    arena_free(&a);
}

/* Floats come back from their text, in the fewest digits. */
static void check_floats(void) {
    uint64_t seed = 42;
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = test_random(&seed);
        double f;
        char text[40];
        memcpy(&f, &bits, sizeof f);
        if (isnan(f)) continue;
        float_text(f, text);
        CHECK(strtod(text, NULL) == f, "%a is written as %s", f, text);
    }
}

int main(void) {
    check_good();
    check_bad();
    check_cuts();
    check_limits();
    check_styles();
    check_dict();
    check_floats();
    return test_done("test_json");
}
