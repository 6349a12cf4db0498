/* --render: the prompt that a conversation becomes. */
#include "render.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../chat_template.h"
#include "../json.h"
#include "modes.h"
#include "prompt.h"

/* ---- the template ---------------------------------------------------------------------------- */

static struct jinja *read_template(struct session *s, const char *name, struct gguf_str text) {
    struct jinja *t = jinja_open(text.data, text.len, &s->err);
    if (!t) {
        failed(s, name);
        say("--template-file FILE takes another template in its place");
    }
    return t;
}

static struct jinja *template_of_file(struct session *s) {
    char *text;
    size_t len;
    if (read_file(s, s->o->template_file, &text, &len) != 0) return NULL;
    struct gguf_str source = {text ? text : "", len};
    struct jinja *t = read_template(s, s->o->template_file, source);
    free(text);
    return t;
}

struct jinja *open_template(struct session *s, bool tools) {
    struct gguf_str text;
    if (s->o->template_file) return template_of_file(s);
    int found = 0;
    if (tools) found = gguf_get_str(&s->gguf, "tokenizer.chat_template.tool_use", &text, &s->err);
    if (found == 0) found = gguf_get_str(&s->gguf, "tokenizer.chat_template", &text, &s->err);
    if (found < 0) {
        failed(s, s->o->model);
        return NULL;
    }
    if (found == 0) {
        say("%s has no chat template: give one with --template-file FILE", s->o->model);
        return NULL;
    }
    return read_template(s, s->o->model, text);
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

int render_request(struct session *s, const struct jinja *t, struct arena *a, struct value request,
                   size_t bytes, const struct str **out) {
    struct value variables;
    struct tm date;
    int status = choose_date(s, &date);
    if (status) return status;
    const char *bos = token_text(s, a, tokenizer_bos(s->tokenizer));
    const char *eos = token_text(s, a, tokenizer_eos(s->tokenizer));
    if (chat_template_variables(a, request, bos, eos, &variables, &s->err) != 0 ||
        jinja_render(t, a, variables.u.dict, bytes, &date, out, &s->err) != 0) {
        return failed(s, NULL);
    }
    return 0;
}

int encode_rendered(struct session *s, const struct str *text, struct token_list *tokens) {
    bool *input = malloc(text->len + 1);
    if (!input) return FAIL("out of memory for a prompt of %zu bytes", text->len);
    for (size_t i = 0; i < text->len; i++) {
        input[i] = !s->o->allow_special && str_is_input(text, i);
    }
    int32_t bos = tokenizer_bos(s->tokenizer);
    int status = tokenizer_encode_marked(s->tokenizer, text->data, text->len, input, true, true,
                                         tokens, &s->err);
    free(input);
    if (status != 0) return failed(s, NULL);
    if (tokens->n > 1 && bos >= 0 && tokens->ids[0] == bos && tokens->ids[1] == bos) {
        tokens->n--; // the template writes BOS itself
        memmove(tokens->ids, tokens->ids + 1, tokens->n * sizeof *tokens->ids);
    }
    return 0;
}

/* ---- --render -------------------------------------------------------------------------------- */

static int print_prompt(struct session *s, const struct str *text) {
    if (!s->o->tokens) return print((struct gguf_str){text->data, text->len});
    int status = encode_rendered(s, text, &s->tokens);
    for (size_t i = 0; status == 0 && i < s->tokens.n; i++) {
        printf(i ? " %d" : "%d", (int)s->tokens.ids[i]);
    }
    if (status == 0) putchar('\n');
    return status;
}

static int render_text(struct session *s, struct arena *a, const char *json, size_t len) {
    struct value request;
    const struct str *text = NULL;
    if (json_parse(json, len, a, &request, &s->err) != 0) return failed(s, s->o->render);
    const struct value *tools =
        request.type == V_DICT ? dict_find_text(request.u.dict, "tools") : NULL;
    struct jinja *t = open_template(s, tools && tools->type == V_LIST && tools->u.list->n > 0);
    if (!t) return EXIT_FAILED;
    int status = render_request(s, t, a, request, len, &text);
    if (status == 0 && text) status = print_prompt(s, text);
    jinja_close(t);
    return status == 0 ? flush() : status;
}

int run_render(struct session *s) {
    char *json = NULL;
    size_t len = 0;
    int status = open_file(s);
    if (status == 0) status = open_tokenizer(s, true);
    if (status == 0) status = read_file(s, s->o->render, &json, &len);
    struct arena a;
    arena_init(&a, JINJA_MEMORY(len));
    if (status == 0) status = render_text(s, &a, json ? json : "", len);
    arena_free(&a);
    free(json);
    return status;
}
