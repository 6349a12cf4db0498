/* A conversation, as the JSON of a chat request, becomes the variables of a chat template; and what
 * the template made of them becomes tokens. */
#ifndef CHAT_TEMPLATE_H
#define CHAT_TEMPLATE_H

#include "error.h"
#include "tokenizer.h"
#include "value.h"

/* The variables that the transformers library gives a template: messages, tools, documents and
 * add_generation_prompt (none, none and true if the request has them not), bos_token and eos_token
 * (NULL: not set), and the entries of chat_template_kwargs. Other members of the request are not
 * looked at. The request's dicts may be changed.
 *
 * All that comes from the request is marked as input but the names of roles ("user" ...): templates
 * make control tokens of them, as in '<|' + message.role + '|>'. 0, or -1 and err. */
int chat_template_variables(struct arena *a, struct value request, const char *bos, const char *eos,
                            struct value *variables, struct error *err);

/* The messages of a request, in place: each is a dict, and roles that are known are no input any
 * more. The request's dicts may be changed. 0, or -1 and err if there is no such list. */
int chat_messages(struct arena *a, struct value request, struct list **out, struct error *err);

/* Appends the tokens of a rendered conversation. Control tokens are the template's own only, unless
 * allow_special; a BOS that the template wrote itself gets no second one before it. 0, or -1 and
 * err.
 */
int chat_encode(const struct tokenizer *t, const struct str *text, bool allow_special,
                struct token_list *out, struct error *err);

#endif
