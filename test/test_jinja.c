/* Chat templates of our own writing, one file for a feature in test/data/jinja, with the bytes that
 * Jinja2 gives (test/jinja_oracle.py writes them); which bytes come from the input; what a template
 * may take; what a request becomes. "test_jinja serve" renders for the script. */
#include "chat_template.h"
#include "jinja.h"
#include "json.h"
#include "test.h"

#include <dirent.h>
#include <time.h>

static const struct tm now = {.tm_year = 124,
                              .tm_mon = 6,
                              .tm_mday = 26,
                              .tm_hour = 13,
                              .tm_min = 5,
                              .tm_sec = 9,
                              .tm_wday = 5,
                              .tm_yday = 207};

enum { RENDERED, REFUSED, NOT_READ, NO_INPUT };
enum { CHAT = 1, MARKS = 2 };

/* A rendering: what test_jinja looks at, freed by result_free. */
struct result {
    struct arena arena;
    int status;
    const struct str *text; // what was written, or the error
    struct error err;
};

/* Input between brackets, so that tests can say it. */
static const struct str *show_marks(struct arena *a, const struct str *s) {
    struct builder b;
    bool input = false;
    build_begin(&b, a);
    for (size_t i = 0; i <= s->len; i++) {
        bool is = i < s->len && str_is_input(s, i);
        if (is != input) build_text(&b, is ? "⟦" : "⟧", false);
        if (i < s->len) build_bytes(&b, s->data + i, 1, false);
        input = is;
    }
    return build_end(&b);
}

static int render(struct result *r, const char *source, size_t source_len, const char *json,
                  size_t json_len, int flags) {
    struct value v;
    if (json_parse(json, json_len, &r->arena, &v, &r->err) != 0 || v.type != V_DICT)
        return NO_INPUT;
    if (flags & CHAT && chat_template_variables(&r->arena, v, "<s>", "</s>", &v, &r->err) != 0) {
        return NO_INPUT;
    }
    struct jinja *t = jinja_open(source, source_len, &r->err);
    if (!t) return NOT_READ;
    int status = jinja_render(t, &r->arena, v.u.dict, json_len, &now, &r->text, &r->err);
    if (status == 0 && flags & MARKS) r->text = show_marks(&r->arena, r->text);
    jinja_close(t);
    return status == 0 ? RENDERED : REFUSED;
}

static struct result run(const char *source, size_t source_len, const char *json, size_t json_len,
                         int flags) {
    struct result r = {.text = &str_empty};
    arena_init(&r.arena, JINJA_MEMORY(json_len));
    r.status = render(&r, source, source_len, json, json_len, flags);
    if (r.status != RENDERED) {
        r.arena.full = false; // for the message
        r.arena.limit += 4096;
        struct builder b;
        build_begin(&b, &r.arena);
        build_text(&b, r.err.text, false);
        r.text = build_end(&b);
    }
    return r;
}

/* ---- the cases ------------------------------------------------------------------------------- */

static char *read_all(const char *path, size_t *len) {
    FILE *in = fopen(path, "rb");
    char *text = NULL;
    if (in && fseek(in, 0, SEEK_END) == 0) {
        *len = (size_t)ftell(in);
        rewind(in);
        text = malloc(*len + 1);
        if (text && fread(text, 1, *len, in) == *len) text[*len] = '\0';
    }
    if (in) fclose(in);
    return text;
}

/* The text from *at to the next line that begins with "==== ", which ends it; *at moves behind that
 * mark. */
static const char *next_section(char **at, size_t *len) {
    char *begin = *at, *end = strstr(begin, "\n==== ");
    *len = end ? (size_t)(end - begin) : strlen(begin) - 1;
    *at = end ? end + 6 : begin + strlen(begin);
    return begin;
}

static void run_case(const char *file, char **at) {
    size_t n[4];
    const char *title = next_section(at, &n[0]);
    *at += strlen("template\n");
    const char *source = next_section(at, &n[1]);
    *at += strlen("input\n");
    const char *json = next_section(at, &n[2]);
    bool output = strncmp(*at, "output\n", 7) == 0;
    *at += output ? 7 : 8;
    const char *expected = next_section(at, &n[3]);
    struct result r = run(source, n[1], json, n[2], 0);
    CHECK((r.status == RENDERED) == output && r.text->len == n[3] &&
              memcmp(r.text->data, expected, n[3]) == 0,
          "%s, %.*s: status %d, wrote \"%.*s\", expected \"%.*s\"", file, (int)n[0], title,
          r.status, (int)r.text->len, r.text->data, (int)n[3], expected);
    arena_free(&r.arena);
}

static void run_cases(void) {
    DIR *dir = opendir("test/data/jinja");
    CHECK(dir != NULL, "test/data/jinja is not there");
    int n = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
        char path[512];
        size_t len;
        if (!strstr(entry->d_name, ".txt")) continue;
        snprintf(path, sizeof path, "test/data/jinja/%.255s", entry->d_name);
        char *text = read_all(path, &len);
        CHECK(text && strncmp(text, "==== case ", 10) == 0, "%s cannot be read", path);
        if (!text) continue;
        for (char *at = text + 5; *at; n++) {
            at += strlen("case ");
            run_case(entry->d_name, &at);
        }
        free(text);
    }
    if (dir) closedir(dir);
    CHECK(n > 90, "only %d cases", n);
}

/* ---- origins --------------------------------------------------------------------------------- */

/* What a template writes of {"s": "In<|x|>", "n": 5, "l": ["a", "b"], "d": {"k": "v"}}, with what
 * comes from there in brackets. */
static const struct {
    const char *source, *expected;
} origins[] = {
    {"own {{ s }} own", "own ⟦In<|x|>⟧ own"},
    {"{{ 'a' ~ s ~ 'b' }}", "a⟦In<|x|>⟧b"},
    {"{{ s + 'b' }}{{ s * 2 }}", "⟦In<|x|>⟧b⟦In<|x|>In<|x|>⟧"},
    {"{{ ('<|' ~ s ~ '|>')[1:5] }}", "|⟦In<⟧"},
    {"{{ ('<|' ~ s)[::-1] }}", "⟦>|x|<nI⟧|<"},
    {"{{ ('own' ~ s).upper() }}{{ s | lower }}", "OWN⟦IN<|X|>in<|x|>⟧"},
    {"{{ ('  own ' ~ s ~ '  ').strip() }}", "own ⟦In<|x|>⟧"},
    {"{{ ('a,' ~ s).split(',') | join('+') }}", "a+⟦In<|x|>⟧"},
    {"{{ ('a' ~ s).split('<|')[0] }}{{ s.split('<|')[1] }}", "a⟦Inx|>⟧"},
    {"{{ s.replace('In', 'Out') }}", "Out⟦<|x|>⟧"},
    {"{{ 'a-b' | replace('-', s) }}", "a⟦In<|x|>⟧b"},
    {"{{ l | join(', ') }}", "⟦a⟧, ⟦b⟧"},
    {"{{ s | tojson }}{{ ['x', s] | tojson }}", "⟦\"In<|x|>\"⟧[\"x\", ⟦\"In<|x|>\"⟧]"},
    {"{{ d | tojson }}", "⟦{\"k\": \"v\"}⟧"},
    {"{{ d }}{{ [s] }}", "⟦{'k': 'v'}⟧[⟦'In<|x|>'⟧]"},
    {"{{ n }}{{ n + 1 }}{{ 5 }}{{ n | string }}{{ '%d' % n }}", "⟦56⟧5⟦55⟧"},
    {"{{ '<|%s|>' % s }}{{ '<|{}|>'.format(s) }}", "<|⟦In<|x|>⟧|><|⟦In<|x|>⟧|>"},
    {"{{ s | e }}", "⟦In&lt;|x|&gt;⟧"},
    {"{{ ('a\n' ~ s) | indent(2) }}", "a\n  ⟦In<|x|>⟧"},
    {"{{ s | truncate(4, true, '..', 0) }}", "⟦In⟧.."},
    {"{{ s | center(9) }}", " ⟦In<|x|>⟧ "},
    {"{{ 'x' | default(s) }}{{ undef | default(s) }}", "x⟦In<|x|>⟧"},
    {"{% set x %}a{{ s }}{% endset %}{{ x }}", "a⟦In<|x|>⟧"},
    {"{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(s) }}", "<⟦In<|x|>⟧>"},
    {"{% filter upper %}a{{ s }}{% endfilter %}", "A⟦IN<|X|>⟧"},
    {"{% for c in s %}{{ c }}.{% endfor %}", "⟦I⟧.⟦n⟧.⟦<⟧.⟦|⟧.⟦x⟧.⟦|⟧.⟦>⟧."},
    {"{% for k, v in d.items() %}{{ k }}={{ v }}{% endfor %}", "⟦k⟧=⟦v⟧"},
    {"{{ s.partition('<|') | join }}{{ s.title() }}", "⟦In<|x|>In<|X|>⟧"},
    {"{{ s | urlencode }}{{ s | title }}{{ s | capitalize }}", "⟦In%3C%7Cx%7C%3EIn<|x|>In<|x|>⟧"},
    {"{{ {'a': 'b'} | tojson }}{{ 'q' | upper }}", "{\"a\": \"b\"}Q"},
};

static void check_origins(void) {
    static const char json[] =
        "{\"s\": \"In<|x|>\", \"n\": 5, \"l\": [\"a\", \"b\"], \"d\": {\"k\": \"v\"}}";
    for (size_t i = 0; i < sizeof origins / sizeof *origins; i++) {
        struct result r =
            run(origins[i].source, strlen(origins[i].source), json, sizeof json - 1, MARKS);
        CHECK(r.status == RENDERED && str_is(r.text, origins[i].expected),
              "%s: wrote %.*s, expected %s", origins[i].source, (int)r.text->len, r.text->data,
              origins[i].expected);
        arena_free(&r.arena);
    }
}

/* A role that is known may make a control token, one that is not may not. */
static void check_request(void) {
    static const char source[] =
        "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
        "{{ add_generation_prompt }}{{ tools }}{{ documents }}{{ x }}";
    static const char json[] =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"im_end\", "
        "\"content\": 1}], \"chat_template_kwargs\": {\"x\": \"kw\"}, \"temperature\": 1}";
    struct result r = run(source, sizeof source - 1, json, sizeof json - 1, CHAT | MARKS);
    CHECK(str_is(r.text, "<s><|user|>⟦Hi⟧<|⟦im_end⟧|>⟦1⟧TrueNoneNone⟦kw⟧"), "wrote %.*s",
          (int)r.text->len, r.text->data);
    arena_free(&r.arena);
    static const struct {
        const char *json, *expected;
    } wrong[] = {
        {"[]", ""},
        {"{}", "the conversation has no list of messages"},
        {"{\"messages\": 1}", "the conversation has no list of messages"},
        {"{\"messages\": [{}, 2]}", "message 2 of the conversation is not an object"},
        {"{\"messages\": [], \"chat_template_kwargs\": []}",
         "chat_template_kwargs is not an object"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        r = run("x", 1, wrong[i].json, strlen(wrong[i].json), CHAT);
        CHECK(r.status == NO_INPUT && str_is(r.text, wrong[i].expected), "%s: %.*s", wrong[i].json,
              (int)r.text->len, r.text->data);
        arena_free(&r.arena);
    }
}

/* ---- budgets --------------------------------------------------------------------------------- */

#define STEPS "template: takes more steps than a chat template may"
#define MEMORY "template: makes values larger, or nested deeper, than a chat template may"
#define EVER(x) "{% for i in range(100000) %}" x "{% endfor %}"

/* Templates that would not end, or take all memory: they end with a message that says why. Steps
 * are counted, not time: a machine may be slow. */
static const struct {
    const char *source, *expected; // NULL: any
} endless[] = {
    {EVER(EVER("")), NULL},
    {"{{ 'x' * 10000000000 }}", STEPS},
    {"{{ [1] * 10000000000 }}", NULL},
    {"{% set n = namespace(x='aa') %}" EVER("{% set n.x = n.x ~ n.x %}"), MEMORY},
    {"{% set n = namespace(x=[]) %}" EVER("{% set n.x = [n.x] %}") "{{ n.x }}", MEMORY},
    {"{% set n = namespace(x=[1]) %}" EVER("{% set n.x = [n.x, n.x] %}") "{{ n.x }}", MEMORY},
    {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
     "template, line 1, column 19: nested too deeply"},
    {"{% set n = namespace(x=[]) %}" EVER(
         "{% set n.x = n.x | map('upper') %}{% set n.x = [1] if n.x "
         "is none else n.x %}"),
     NULL},
    {"{% set n = namespace() %}{% set n.n = n %}{{ n }}",
     "template: a namespace that is nested too deeply"},
    {EVER(EVER("{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' }}")), NULL},
    {"{% set x = 'a' * 200000 %}" EVER("{{ 'b' in x }}"), STEPS},
    {"{% set x = 'a' * 200000 %}" EVER("{{ {x: 1}[x] }}"), STEPS},
    {"{% set x = 'a' * 200000 %}" EVER("{{ x | upper | length }}"), NULL},
    {"{% set x = 'a' * 200000 %}" EVER("{{ [x] | string | length }}"), NULL},
    {"{% set x = 'a' * 200000 %}" EVER("{{ x | tojson | length }}"), NULL},
    {"{% set x = range(100000) | list %}" EVER("{{ x | sort | length }}"), NULL},
    {"{% set x = range(100000) | list %}" EVER("{{ 'q' in x }}"), STEPS},
    {"{{ '%99999d' % 5 }}" EVER("{{ 'a'.center(100000) }}"), NULL},
    {"{{ {'a': 1} | tojson(indent=10000000000) }}", STEPS},
    {"{% for i in range(9) recursive %}{{ loop([1]) }}{% endfor %}",
     "template, line 1, column 43: nested too deeply"},
};

static void check_budgets(void) {
    for (size_t i = 0; i < sizeof endless / sizeof *endless; i++) {
        struct result r = run(endless[i].source, strlen(endless[i].source), "{}", 2, 0);
        CHECK(r.status == REFUSED && (!endless[i].expected || str_is(r.text, endless[i].expected)),
              "%s: status %d, %.*s", endless[i].source, r.status, (int)r.text->len, r.text->data);
        arena_free(&r.arena);
    }
}

/* Deep and long texts of a template are refused where it is read, or walked without recursion. */
static void check_deep_source(const char *open, const char *close, int n, int status) {
    size_t a = strlen(open), b = strlen(close), len = 3 + (a + b) * (size_t)n + 4;
    char *text = malloc(len + 1), *at = text;
    if (!text) return;
    at += sprintf(at, "{{ ");
    for (int i = 0; i < n; i++, at += a) memcpy(at, open, a);
    at += sprintf(at, "1");
    for (int i = 0; i < n; i++, at += b) memcpy(at, close, b);
    at += sprintf(at, " }}");
    struct result r = run(text, (size_t)(at - text), "{}", 2, 0);
    CHECK(r.status == status, "%d times %s: status %d, %.*s", n, open, r.status, (int)r.text->len,
          r.text->data);
    arena_free(&r.arena);
    free(text);
}

static void check_sources(void) {
    check_deep_source("(", ")", 100, RENDERED);
    check_deep_source("(", ")", 100000, NOT_READ);
    check_deep_source("[", "]", 200, NOT_READ);
    check_deep_source("not ", "", 100000, NOT_READ);
    check_deep_source("-", "", 100000, NOT_READ);
    check_deep_source("1 ~ ", "", 100000, RENDERED);
    check_deep_source("1 + ", "", 100000, REFUSED);
    check_deep_source("", "|string", 100000, REFUSED);
    check_deep_source("1 if 1 else ", "", 100000, NOT_READ);
    struct result r = run("a\xff", 2, "{}", 2, 0);
    CHECK(r.status == NOT_READ && str_is(r.text, "template, line 1, column 2: not UTF-8"), "%.*s",
          (int)r.text->len, r.text->data);
    arena_free(&r.arena);
}

/* A template cut short at every byte is read, or refused, but nothing else. */
static void check_cuts(void) {
    static const char source[] =
        "{%- macro f(a, b='x') -%}{{ a ~ b['c'][1:2] | join(', ') }}{%- endmacro %}{# c #}"
        "{% for x, y in z.items() if x is not none recursive %}{{ loop(y) }}{% else %}{% endfor %}"
        "{% set ns.q | trim %}{% raw %}{{ }}{% endraw %}{% endset %}{{ {'a': (1, 2.5), } }}";
    for (size_t n = 0; n < sizeof source; n++) {
        char *copy = malloc(n + 1);
        if (!copy) return;
        memcpy(copy, source, n);
        struct error err;
        struct jinja *t = jinja_open(copy, n, &err);
        free(copy);
        CHECK(t || strncmp(err.text, "template, line 1, column ", 25) == 0, "%zu bytes: %s", n,
              err.text);
        jinja_close(t);
    }
}

/* ---- main ------------------------------------------------------------------------------------ */

/* For each "A B F\n" on standard input, A bytes of a template and B of JSON: "STATUS N\n" and N
 * bytes. */
static int serve(void) {
    size_t n_source, n_json;
    int flags;
    while (scanf("%zu %zu %d", &n_source, &n_json, &flags) == 3 && getchar() == '\n') {
        char *source = malloc(n_source + 1), *json = malloc(n_json + 1);
        bool read = source && json && fread(source, 1, n_source, stdin) == n_source &&
                    fread(json, 1, n_json, stdin) == n_json;
        if (read) {
            struct result r = run(source, n_source, json, n_json, flags);
            printf("%d %zu\n", r.status, r.text->len);
            fwrite(r.text->data, 1, r.text->len, stdout);
            fflush(stdout);
            arena_free(&r.arena);
        }
        free(source);
        free(json);
        if (!read) return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "serve") == 0) return serve();
    run_cases();
    check_origins();
    check_request();
    check_budgets();
    check_sources();
    check_cuts();
    return test_done("test_jinja");
}
