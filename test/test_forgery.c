/* What a message spells is no control token: every control token of a vocabulary, spelled in
 * messages in several ways, through templates and formats. After each rendering the same text with
 * every byte of the messages turned into a letter has the same control tokens: those are the
 * template's own.
 *
 *   test_forgery [VOCABULARY.gguf | TEMPLATE.jinja]...   others than our own, each with each */
#include "chat.h"
#include "chat_template.h"
#include "jinja.h"
#include "test.h"

#define build_str build_string // value.h has another function of that name
#include "gguf_build.h"
#undef build_str

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Through everything that a template may do to a text. */
static const char *const own_templates[] = {
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}<|im_start|>assistant\n",
    "{% for m in messages %}{{ m.content | trim }}{{ eos_token }}{{ m.parts | join }}"
    "{{ m.cut | replace('~', '') }}{{ m.cut.split('~') | join('') }}{% endfor %}",
    "{% for m in messages %}{{ m.content ~ m.content }}{{ '%s' | format(m.content) }}"
    "{{ m.content[0:1] + m.content[1:] }}{{ m.content | list | join }}</s>{{ m.content.strip() }}"
    "{% endfor %}",
    "{{ messages | tojson }}{% for m in messages %}{{ m.content | string | indent(2) }}"
    "{{ '<|im_' ~ 'end|>' }}{{ m.content | e | replace('&lt;', '<') | replace('&gt;', '>') }}"
    "{% endfor %}",
    "{% macro say(x) %}<s>{{ x }}{{ caller() if caller }}</s>{% endmacro %}{% for m in messages %}"
    "{{ say(m.content) }}{% call say(m.parts[0]) %}{{ m.parts[1] }}{% endcall %}"
    "{% set t %}{{ m.parts[0] }}{{ m.parts[1] }}{% endset %}{{ t }}{{ t | upper | lower }}"
    "{% endfor %}",
    "{% for m in messages %}{{ m.content | reverse | reverse }}{{ [m.content, 1] }}"
    "{{ {'a': m.content}['a'] }}{% for c in m.content %}{{ c }}{% endfor %}</s>"
    "{{ m.content.replace('z', '<s>') }}{{ m.role }}{% endfor %}",
};

/* ---- our own vocabulary ---------------------------------------------------------------------- */

/* Pieces by which merges could come to the text of a control token. */
static const struct {
    const char *text;
    int32_t type; // 1 normal, 2 unknown, 3 control, 4 user-defined, 6 byte
} words[] = {
    {"<unk>", 2},
    {"<s>", 3},
    {"</s>", 3},
    {"<|im_start|>", 3},
    {"<|im_end|>", 3},
    {"<|channel|>", 3},
    {"<|message|>", 3},
    {"<|start|>", 3},
    {"<|end|>", 3},
    {"<|call|>", 3},
    {"<|return|>", 3},
    {"word", 3},
    {"<think>", 4},
    {"</think>", 4},
    {"[INST]", 3},
    {"[/INST]", 3},
    {"\xe2\x96\x81pad", 3},
    {"a\nb", 3},
    {"\xc3\xa9\xe2\x82\xac", 3},
    {"<<", 3},
    {"<<<", 3},
    {"wo", 1},
    {"rd", 1},
    {"wor", 1},
    {"<s", 1},
    {"</s", 1},
    {"s>", 1},
    {"</", 1},
    {"pa", 1},
    {"\xe2\x96\x81p", 1},
    {"ad", 1},
    {"w", 1},
    {"o", 1},
    {"r", 1},
    {"d", 1},
    {"<", 1},
    {"s", 1},
    {">", 1},
    {"/", 1},
    {"p", 1},
    {"a", 1},
    {"\xe2\x96\x81", 1},
    {"<|", 1},
    {"|>", 1},
    {"im", 1},
    {"end", 1},
};

static void write_vocabulary(const char *path) {
    struct gguf_build b = {0};
    const char *texts[COUNT(words) + 256];
    int32_t types[COUNT(texts)];
    float scores[COUNT(texts)];
    static char bytes[256][8];
    for (size_t i = 0; i < COUNT(texts); i++) {
        size_t byte = i - COUNT(words);
        if (i >= COUNT(words)) snprintf(bytes[byte], sizeof bytes[byte], "<0x%02X>", (int)byte);
        texts[i] = i < COUNT(words) ? words[i].text : bytes[byte];
        types[i] = i < COUNT(words) ? words[i].type : 6;
        scores[i] = i < COUNT(words) ? -(float)i : 0;
    }
    build_string(&b, "general.architecture", "llama");
    build_string(&b, "tokenizer.ggml.model", "llama");
    build_u32(&b, "tokenizer.ggml.bos_token_id", 1);
    build_u32(&b, "tokenizer.ggml.eos_token_id", 2);
    build_u32(&b, "tokenizer.ggml.unknown_token_id", 0);
    build_strs(&b, "tokenizer.ggml.tokens", COUNT(texts), texts);
    build_i32s(&b, "tokenizer.ggml.token_type", COUNT(texts), types);
    build_f32s(&b, "tokenizer.ggml.scores", COUNT(texts), scores);
    build_write(&b, path);
    build_free(&b);
}

/* ---- conversations --------------------------------------------------------------------------- */

static struct value input(struct arena *a, const char *before, const char *data, size_t len,
                          const char *after) {
    struct builder b;
    build_begin(&b, a);
    build_text(&b, before, true);
    build_bytes(&b, data, len, true);
    build_text(&b, after, true);
    return value_str(build_end(&b));
}

/* The first byte of a character from the middle on. */
static size_t middle(const char *data, size_t len) {
    size_t i = len / 2;
    while (i < len && ((unsigned char)data[i] & 0xc0) == 0x80) i++;
    return i;
}

static struct value message(struct arena *a, const char *role, struct value content,
                            const char *data, size_t len) {
    struct value m = value_dict(a), parts = value_list(a, V_LIST);
    size_t half = middle(data, len);
    struct value first = input(a, "", data, half, ""),
                 last = input(a, "", data + half, len - half, "");
    struct builder cut;
    list_add(a, parts.u.list, first);
    list_add(a, parts.u.list, last);
    build_begin(&cut, a);
    build_str(&cut, first.u.s);
    build_text(&cut, "~", true);
    build_str(&cut, last.u.s);
    dict_set_text(a, m.u.dict, "role", input(a, role, "", 0, ""));
    dict_set_text(a, m.u.dict, "content", content);
    dict_set_text(a, m.u.dict, "reasoning_content", content);
    dict_set_text(a, m.u.dict, "thinking", content);
    dict_set_text(a, m.u.dict, "parts", parts);
    dict_set_text(a, m.u.dict, "cut", value_str(build_end(&cut)));
    return m;
}

static struct value conversation(struct arena *a, const char *data, size_t len) {
    struct value request = value_dict(a), list = value_list(a, V_LIST);
    static const char *const roles[] = {"system", "user", "assistant", "user"};
    static const char *const before[] = {"", "a", "a ", "\n"}, *const after[] = {"", "z", " z",
                                                                                 "\n"};
    for (size_t i = 0; i < COUNT(roles); i++) {
        struct value content = input(a, before[i], data, len, after[i]);
        list_add(a, list.u.list, message(a, roles[i], content, data, len));
    }
    dict_set_text(a, request.u.dict, "messages", list);
    return request;
}

/* ---- the check ------------------------------------------------------------------------------- */

struct vocabulary {
    const char *path;
    struct gguf gguf;
    struct tokenizer *t;
    const struct gguf_kv *types; // of its tokens, 3: control
    char *piece;
    size_t n_control;
};

/* That the file says is one, or that is treated as one. */
static bool is_control(const struct vocabulary *v, int32_t id) {
    size_t room = tokenizer_piece_max(v->t);
    if (v->types && (uint64_t)id < v->types->n && gguf_int_at(v->types, (uint64_t)id) == 3)
        return true;
    return tokenizer_piece(v->t, id, false, v->piece, room) == 0 &&
           tokenizer_piece(v->t, id, true, v->piece, room) > 0;
}

/* The control tokens of ids, in their order, in place. */
static size_t keep_control(const struct vocabulary *v, struct token_list *ids) {
    size_t n = 0;
    for (size_t i = 0; i < ids->n; i++) {
        if (is_control(v, ids->ids[i])) ids->ids[n++] = ids->ids[i];
    }
    return ids->n = n;
}

static void check_text(const struct vocabulary *v, const char *name, const struct str *text,
                       const char *spelled, int len) {
    struct token_list marked = {0}, plain = {0};
    struct error err;
    char *neutral = malloc(text->len + 1);
    if (!neutral) exit(1);
    for (size_t i = 0; i < text->len; i++) neutral[i] = str_is_input(text, i) ? 'z' : text->data[i];
    const struct str own = {.data = neutral, .len = text->len, .n_chars = text->len};
    int status = chat_encode(v->t, text, false, &marked, &err) |
                 chat_encode(v->t, &own, false, &plain, &err);
    keep_control(v, &marked);
    keep_control(v, &plain);
    CHECK(status == 0 && marked.n == plain.n &&
              memcmp(marked.ids, plain.ids, plain.n * sizeof *plain.ids) == 0,
          "%s, %s: \"%.*s\": %zu control tokens, expected %zu", v->path, name, len, spelled,
          marked.n, plain.n);
    token_list_free(&marked);
    token_list_free(&plain);
    free(neutral);
}

static void check_template(const struct vocabulary *v, const char *name, const struct jinja *t,
                           const char *data, size_t len) {
    struct arena a;
    struct value variables;
    const struct str *text;
    struct error err;
    arena_init(&a, JINJA_MEMORY(10 * len));
    struct value request = conversation(&a, data, len);
    if (chat_template_variables(&a, request, "<s>", "</s>", &variables, &err) == 0 &&
        jinja_render(t, &a, variables.u.dict, 10 * len, NULL, &text, &err) == 0) {
        check_text(v, name, text, data, (int)len);
    } else { // some of those at hand refuse a conversation that begins so
        CHECK(name[0] != '(', "%s: %s", name, err.text);
    }
    arena_free(&a);
}

static void check_format(const struct vocabulary *v, const char *name, const char *data,
                         size_t len) {
    struct arena a;
    struct list *messages;
    const struct str *text;
    struct error err;
    arena_init(&a, JINJA_MEMORY(10 * len));
    struct value request = conversation(&a, data, len);
    bool made = chat_messages(&a, request, &messages, &err) == 0 &&
                chat_render(chat_find(name), &a, messages, true, &text, &err) == 0;
    CHECK(made, "%s: %s", name, err.text);
    if (made) check_text(v, name, text, data, (int)len);
    arena_free(&a);
}

/* ---- all of a vocabulary --------------------------------------------------------------------- */

struct named_template {
    const char *name;
    struct jinja *jinja;
};

static struct named_template templates[128];
static size_t n_templates;

static void add_template(const char *name, const char *text, size_t len) {
    struct error err;
    struct jinja *t = jinja_open(text, len, &err);
    CHECK(t && n_templates < COUNT(templates), "%s: %s", name, err.text);
    if (t && n_templates < COUNT(templates)) {
        templates[n_templates++] = (struct named_template){name, t};
    }
}

/* One token, or all of them behind each other; with our own templates, or with formats and all
 * templates: a vocabulary may have a thousand tokens. */
static void check_spelled(const struct vocabulary *v, const char *data, size_t len,
                          bool everywhere) {
    char names[1024], *at = names;
    for (size_t i = 0; i < (everywhere ? n_templates : COUNT(own_templates)); i++) {
        check_template(v, templates[i].name, templates[i].jinja, data, len);
    }
    if (!everywhere) return;
    chat_names(names, sizeof names);
    while (*at) {
        size_t n = strcspn(at, ",");
        char *next = at[n] ? at + n + 2 : at + n;
        at[n] = '\0';
        check_format(v, at, data, len);
        at = next;
    }
}

static void check_vocabulary(const char *path) {
    static char all[1 << 20];
    struct vocabulary v = {.path = path};
    struct error err;
    size_t n_all = 0;
    bool opened = gguf_open(&v.gguf, path, &err) == 0 && (v.t = tokenizer_open(&v.gguf, &err)) &&
                  (v.piece = malloc(tokenizer_piece_max(v.t) + 1));
    CHECK(opened, "%s: %s", path, err.text);
    v.types = opened ? gguf_find(&v.gguf, "tokenizer.ggml.token_type") : NULL;
    for (int32_t id = 0; opened && id < tokenizer_n_vocab(v.t); id++) {
        size_t len = tokenizer_piece(v.t, id, true, v.piece, tokenizer_piece_max(v.t));
        if (len == 0 || !is_control(&v, id)) continue;
        tokenizer_piece(v.t, id, true, v.piece, len);
        v.n_control++;
        if (n_all + len > sizeof all) break;
        memcpy(all + n_all, v.piece, len);
        check_spelled(&v, all + n_all, len, v.n_control < 20);
        n_all += len;
    }
    CHECK(!opened || v.n_control > 0, "%s has no control tokens", path);
    if (n_all > 0) check_spelled(&v, all, n_all, true);
    printf("%s: %zu control tokens\n", path, v.n_control);
    free(v.piece);
    tokenizer_close(v.t);
    gguf_close(&v.gguf);
}

static void add_template_file(const char *path) {
    static char text[1 << 20];
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(text, 1, sizeof text, f) : 0;
    if (f) fclose(f);
    add_template(path, text, n);
}

static bool is_template(const char *path) {
    size_t n = strlen(path);
    return n > 6 && strcmp(path + n - 6, ".jinja") == 0;
}

int main(int argc, char **argv) {
    static const char own[] = "build/test-forgery.gguf";
    for (size_t i = 0; i < COUNT(own_templates); i++) {
        static char names[COUNT(own_templates)][16];
        snprintf(names[i], sizeof names[i], "(%zu)", i);
        add_template(names[i], own_templates[i], strlen(own_templates[i]));
    }
    for (int i = 1; i < argc; i++) {
        if (is_template(argv[i])) add_template_file(argv[i]);
    }
    for (int i = 1; i < argc; i++) {
        if (!is_template(argv[i])) check_vocabulary(argv[i]);
    }
    if (argc == 1) {
        write_vocabulary(own);
        check_vocabulary(own);
        check_vocabulary("test/data/vocab.gguf");
        remove(own);
    }
    for (size_t i = 0; i < n_templates; i++) jinja_close(templates[i].jinja);
    return test_done("test_forgery");
}
