/* Chat templates as the options and the file name them. */
#include "template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../chat_template.h"
#include "prompt.h"

/* ---- which template -------------------------------------------------------------------------- */

#define KEY "tokenizer.chat_template"

static const char elsewhere[] =
    "instead: --template NAME (list: which there are) or --template-file FILE";

const struct chat_format *format_named(struct gguf_str text) {
    char name[64];
    if (text.len == 0 || text.len >= sizeof name || memchr(text.data, 0, text.len)) return NULL;
    memcpy(name, text.data, text.len);
    name[text.len] = '\0';
    return chat_find(name);
}

/* Reads the program; if that fails the message goes on with what can be done. */
static int read_template(struct session *s, const char *from, struct gguf_str text,
                         struct template *t) {
    t->format = format_named(text); // some files have a name in its place
    if (t->format) t->name = chat_name(t->format);
    if (t->format || (t->jinja = jinja_open(text.data, text.len, &s->err))) return 0;
    int status = failed(s, from);
    if (s->err.status == KQ_NO_MEMORY) return status;
    const struct chat_format *nearest = chat_detect(text.data, text.len);
    if (nearest) {
        say("it resembles --template %s", chat_name(nearest));
    } else {
        say("%s", elsewhere);
    }
    return status;
}

static int read_template_file(struct session *s, struct template *t) {
    char *text;
    size_t len;
    t->name = s->o->template_file;
    int status = read_file(s, t->name, &text, &len);
    if (status == 0) {
        status = read_template(s, t->name, (struct gguf_str){text ? text : "", len}, t);
    }
    free(text);
    return status;
}

/* The name of entry i of the metadata if that is one of the file's further templates. */
static bool is_named_template(const struct gguf *g, size_t i, struct gguf_str *name) {
    static const char prefix[] = KEY ".";
    const struct gguf_kv *kv = &g->kv[i];
    size_t n = sizeof prefix - 1;
    if (kv->type != GGUF_STRING || kv->key.len <= n || memcmp(kv->key.data, prefix, n) != 0) {
        return false;
    }
    *name = (struct gguf_str){kv->key.data + n, kv->key.len - n};
    return true;
}

/* Sets key to that of the file's template of the name, "" for its main one; 0 if it has none. */
static int find_template(const struct gguf *g, const char *name, struct gguf_str *text,
                         struct error *err) {
    char key[128];
    bool fits = snprintf(key, sizeof key, *name ? KEY ".%s" : KEY, name) < (int)sizeof key;
    return fits ? gguf_get_str(g, key, text, err) : 0;
}

/* The file's only template that has a name, if it has no other. */
static int find_only(const struct gguf *g, struct gguf_str *text, struct error *err) {
    struct gguf_str name;
    int n = 0;
    for (size_t i = 0; i < g->n_kv; i++) {
        if (!is_named_template(g, i, &name)) continue;
        const uint8_t *at = g->kv[i].data;
        *text = gguf_next_str(&at);
        n++;
    }
    if (n < 2) return n;
    return error_set(err, KQ_BAD_ARGUMENT,
                     "the file has several chat templates and none is the default: choose one, "
                     "--template NAME (list: which there are)");
}

/* --template NAME: one of the file's, or a known format. */
static int choose_named(struct session *s, struct template *t) {
    const char *name = s->o->chat_template;
    struct gguf_str text;
    int found = find_template(&s->gguf, strcmp(name, "default") == 0 ? "" : name, &text, &s->err);
    t->name = name;
    if (found < 0) return failed(s, s->o->model);
    if (found) return read_template(s, s->o->model, text, t);
    if ((t->format = chat_find(name))) return 0;
    char names[1024];
    chat_names(names, sizeof names);
    return USAGE("--template: \"%s\" is none of %s", name, names);
}

static int choose_template(struct session *s, bool tools, struct template *t) {
    struct gguf_str text;
    int found = 0;
    if (s->o->template_file) return read_template_file(s, t);
    if (s->o->chat_template) return choose_named(s, t);
    t->name = "of the file";
    if (tools) found = find_template(&s->gguf, "tool_use", &text, &s->err);
    if (found == 0) found = find_template(&s->gguf, "", &text, &s->err);
    if (found == 0) found = find_only(&s->gguf, &text, &s->err);
    if (found < 0) return failed(s, s->o->model);
    if (found) return read_template(s, s->o->model, text, t);
    return FAIL("%s has no chat template: choose the format that its model was trained with, "
                "--template NAME (list: which there are), or --template-file FILE",
                s->o->model);
}

int list_templates(struct session *s) {
    char names[1024];
    struct gguf_str name;
    int status = s->o->model ? open_file(s) : 0;
    if (status) return status;
    for (size_t i = 0; i < s->gguf.n_kv; i++) {
        if (!is_named_template(&s->gguf, i, &name)) continue;
        put_text(stdout, name, SIZE_MAX);
        printf(" (of the file)\n");
    }
    if (gguf_find(&s->gguf, KEY)) printf("default (of the file)\n");
    chat_names(names, sizeof names);
    for (char *at = names; at; at = strchr(at, ',') ? strchr(at, ',') + 2 : NULL) {
        printf("%.*s\n", (int)strcspn(at, ","), at);
    }
    return flush();
}

/* ---- the date -------------------------------------------------------------------------------- */

/* YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS, with the day of the week worked out. */
static bool parse_date(const char *text, struct tm *date) {
    int n = 0, m = 0;
    *date = (struct tm){.tm_isdst = -1};
    int fields = sscanf(text, "%4d-%2d-%2d%nT%2d:%2d:%2d%n", &date->tm_year, &date->tm_mon,
                        &date->tm_mday, &n, &date->tm_hour, &date->tm_min, &date->tm_sec, &m);
    size_t len = strlen(text);
    if ((fields != 3 || n != 10 || len != 10) && (fields != 6 || m != 19 || len != 19))
        return false;
    struct tm given = *date;
    date->tm_year -= 1900;
    date->tm_mon--;
    time_t t = timegm(date); // also sets the days of week and year
    return t != (time_t)-1 && date->tm_year + 1900 == given.tm_year &&
           date->tm_mon + 1 == given.tm_mon && date->tm_mday == given.tm_mday &&
           date->tm_hour == given.tm_hour && date->tm_min == given.tm_min &&
           date->tm_sec == given.tm_sec;
}

/* What templates are told: --date, else SOURCE_DATE_EPOCH in UTC, else the local time. */
static int choose_date(struct session *s, struct tm *date) {
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    time_t t = time(NULL);
    if (s->o->date) {
        if (parse_date(s->o->date, date)) return 0;
        return USAGE("--date: expected YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS, found \"%s\"",
                     s->o->date);
    }
    if (epoch && *epoch) {
        char *end;
        t = (time_t)strtoll(epoch, &end, 10);
        if (*end == '\0' && gmtime_r(&t, date)) return 0;
        return USAGE("SOURCE_DATE_EPOCH: expected seconds, found \"%s\"", epoch);
    }
    return localtime_r(&t, date) ? 0 : FAIL("the time is not known");
}

/* ---- rendering ------------------------------------------------------------------------------- */

/* The text of a token in the arena, NUL-terminated; NULL for the id -1. */
static const char *token_text(struct session *s, struct arena *a, int32_t id) {
    if (id < 0) return NULL;
    struct gguf_str piece = piece_of(s, id, true);
    char *text = arena_alloc(a, piece.len + 1);
    if (!text) return NULL;
    memcpy(text, piece.data, piece.len);
    text[piece.len] = '\0';
    return text;
}

/* Sets what --think asks for, unless the request says it itself. */
static int set_thinking(struct session *s, const struct template *t, struct arena *a,
                        struct dict *request) {
    static const char *const names[] = {"enable_thinking", "thinking"};
    const struct value *given = dict_find_text(request, "chat_template_kwargs");
    struct value kwargs = value_dict(a); // a copy: the one given may outlive the arena
    bool set = kwargs.type == V_DICT;
    for (size_t i = 0; set && given && given->type == V_DICT && i < given->u.dict->n; i++) {
        const struct pair *p = &given->u.dict->pairs[i];
        set = dict_set(a, kwargs.u.dict, p->key, p->value);
    }
    for (size_t i = 0; set && i < sizeof names / sizeof *names; i++) {
        if (i > 0 && !(t->jinja && jinja_mentions(t->jinja, names[i]))) continue;
        if (dict_find_text(kwargs.u.dict, names[i])) continue;
        set = dict_set_text(a, kwargs.u.dict, names[i], value_bool(s->o->think == THINK_ON));
    }
    return set && dict_set_text(a, request, "chat_template_kwargs", kwargs) ? 0 : -1;
}

static int run_format(struct session *s, const struct template *t, struct arena *a,
                      struct value request, const struct str **out) {
    struct list *messages;
    if (chat_messages(a, request, &messages, &s->err) != 0) return -1;
    const struct value *add = dict_find_text(request.u.dict, "add_generation_prompt");
    bool off = add && (add->type == V_NONE || (add->type == V_BOOL && !add->u.b) ||
                       (add->type == V_INT && add->u.i == 0));
    return chat_render(t->format, a, messages, !off, out, &s->err);
}

static int run_template(struct session *s, const struct template *t, struct arena *a,
                        struct value request, size_t bytes, const struct str **out) {
    struct value variables;
    const char *bos = token_text(s, a, tokenizer_bos(s->tokenizer));
    const char *eos = token_text(s, a, tokenizer_eos(s->tokenizer));
    if (chat_template_variables(a, request, bos, eos, &variables, &s->err) != 0) return -1;
    return jinja_render(t->jinja, a, variables.u.dict, bytes, &t->date, out, &s->err);
}

int try_render(struct session *s, const struct template *t, struct arena *a, struct value request,
               size_t bytes, const struct str **out) {
    if (s->o->think && request.type == V_DICT && set_thinking(s, t, a, request.u.dict) != 0) {
        return error_set(&s->err, KQ_NO_MEMORY, "the conversation takes too much memory");
    }
    int status =
        t->format ? run_format(s, t, a, request, out) : run_template(s, t, a, request, bytes, out);
    lap(s, "chat template");
    return status;
}

int render_request(struct session *s, const struct template *t, struct arena *a,
                   struct value request, size_t bytes, const struct str **out) {
    if (try_render(s, t, a, request, bytes, out) == 0) return 0;
    int status = failed(s, NULL);
    if (t->jinja && s->err.status != KQ_NO_MEMORY) say("%s", elsewhere);
    return status;
}

int encode_rendered(struct session *s, const struct str *text, struct token_list *tokens) {
    int status = chat_encode(s->tokenizer, text, s->o->allow_special, tokens, &s->err);
    lap(s, "tokenizing");
    if (status) return failed(s, NULL);
    say_lost(tokens);
    return 0;
}

/* ---- open and close -------------------------------------------------------------------------- */

int open_template(struct session *s, bool tools, struct template *t) {
    *t = (struct template){0};
    if (s->o->template_file && s->o->chat_template) {
        return USAGE("--template and --template-file exclude each other");
    }
    int status = choose_template(s, tools, t);
    if (status == 0) status = choose_date(s, &t->date);
    if (status) {
        close_template(t);
        return status;
    }
    t->dated = t->jinja && jinja_mentions(t->jinja, "strftime_now");
    if (s->o->date && !t->dated) say("--date: the template does not ask for the date");
    bool thinks = t->jinja && (jinja_mentions(t->jinja, "enable_thinking") ||
                               jinja_mentions(t->jinja, "thinking"));
    if (s->o->think && !thinks) say("--think: the template does not ask whether to think");
    return 0;
}

void close_template(struct template *t) {
    jinja_close(t->jinja);
    *t = (struct template){0};
}
