#include "chat_template.h"

#include <stdlib.h>
#include <string.h>

static const char *const roles[] = {
    "system",    "user",   "assistant",       "tool",          "developer", "function",
    "ipython",   "model",  "environment",     "observation",   "context",   "documents",
    "tool_call", "critic", "latest_reminder", "tool_response", "root",      "query",
};

/* A role that is known names no token that its owner did not mean. */
static struct value trust_role(struct arena *a, struct value role) {
    if (role.type != V_STR || str_is_own(role.u.s)) return role;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (str_is(role.u.s, roles[i])) return value_text(a, roles[i]);
    }
    return role;
}

int chat_messages(struct arena *a, struct value request, struct list **out, struct error *err) {
    if (request.type != V_DICT) {
        return error_set(err, KQ_BAD_ARGUMENT, "the conversation is not a JSON object");
    }
    const struct value *found = dict_find_text(request.u.dict, "messages");
    struct value messages = found ? *found : value_none();
    if (messages.type != V_LIST) {
        return error_set(err, KQ_BAD_ARGUMENT, "the conversation has no list of messages");
    }
    for (size_t i = 0; i < messages.u.list->n; i++) {
        struct value message = messages.u.list->items[i];
        if (message.type != V_DICT) {
            return error_set(err, KQ_BAD_ARGUMENT,
                             "message %zu of the conversation is not an object", i + 1);
        }
        struct value *role = dict_find_text(message.u.dict, "role");
        if (role) *role = trust_role(a, *role);
    }
    *out = messages.u.list;
    return 0;
}

static bool set_text(struct arena *a, struct dict *d, const char *name, const char *text) {
    return !text || dict_set_text(a, d, name, value_text(a, text));
}

int chat_template_variables(struct arena *a, struct value request, const char *bos, const char *eos,
                            struct value *variables, struct error *err) {
    static const char *const names[] = {"messages", "tools", "documents", "add_generation_prompt"};
    struct list *messages;
    if (chat_messages(a, request, &messages, err) != 0) return -1;
    const struct value *more = dict_find_text(request.u.dict, "chat_template_kwargs");
    if (more && more->type != V_DICT && more->type != V_NONE) {
        return error_set(err, KQ_BAD_ARGUMENT, "chat_template_kwargs is not an object");
    }
    *variables = value_dict(a);
    if (variables->type != V_DICT) return error_set(err, KQ_NO_MEMORY, "out of memory");
    struct dict *d = variables->u.dict;
    bool set = set_text(a, d, "bos_token", bos) && set_text(a, d, "eos_token", eos);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct value *given = dict_find_text(request.u.dict, names[i]);
        struct value v = i == 3 ? value_bool(true) : value_none();
        if (given) v = *given;
        set = set && dict_set_text(a, d, names[i], v);
    }
    for (size_t i = 0; more && more->type == V_DICT && i < more->u.dict->n; i++) {
        set = set && dict_set(a, d, more->u.dict->pairs[i].key, more->u.dict->pairs[i].value);
    }
    return set ? 0 : error_set(err, KQ_NO_MEMORY, "the conversation takes too much memory");
}

/* Whether the file has an EOS put after every text: after a prompt that an answer is to continue it
 * has no place. */
static int ends_with_eos(const struct tokenizer *t, bool *ends, struct error *err) {
    struct token_list empty = {0};
    int status = tokenizer_encode(t, "", 0, true, false, &empty, err);
    int32_t last = empty.n > 0 ? empty.ids[empty.n - 1] : -1;
    *ends = last >= 0 && last == tokenizer_eos(t) && (empty.n > 1 || last != tokenizer_bos(t));
    token_list_free(&empty);
    return status;
}

int chat_encode(const struct tokenizer *t, const struct str *text, bool allow_special,
                struct token_list *out, struct error *err) {
    size_t before = out->n;
    bool eos, *input = allow_special ? NULL : malloc(text->len + 1);
    if (!input && !allow_special) {
        return error_set(err, KQ_NO_MEMORY, "out of memory for a prompt of %zu bytes", text->len);
    }
    for (size_t i = 0; input && i < text->len; i++) input[i] = str_is_input(text, i);
    int status = tokenizer_encode_marked(t, text->data, text->len, input, true, true, out, err);
    free(input);
    if (status != 0 || ends_with_eos(t, &eos, err) != 0) return -1;
    if (eos && out->n > before) out->n--;
    int32_t bos = tokenizer_bos(t), *ids = out->ids + before;
    if (out->n > before + 1 && bos >= 0 && ids[0] == bos && ids[1] == bos) {
        out->n--;
        memmove(ids, ids + 1, (out->n - before) * sizeof *ids);
    }
    return 0;
}
