/* --render: the prompt that a conversation becomes. */
#include <stdio.h>
#include <stdlib.h>

#include "../json.h"
#include "modes.h"
#include "prompt.h"
#include "template.h"

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
    struct template t;
    int status = open_template(s, tools && tools->type == V_LIST && tools->u.list->n > 0, &t);
    if (status) return status;
    status = render_request(s, &t, a, request, len, &text);
    if (status == 0 && text) status = print_prompt(s, text);
    close_template(&t);
    return status == 0 ? flush() : status;
}

int run_render(struct session *s) {
    char *json = NULL;
    size_t len = 0;
    int status = open_file(s);
    if (status == 0) status = open_tokenizer(s);
    if (status == 0) status = read_file(s, s->o->render, &json, &len);
    struct arena a;
    arena_init(&a, JINJA_MEMORY(len));
    if (status == 0) status = render_text(s, &a, json ? json : "", len);
    arena_free(&a);
    free(json);
    return status;
}
