/* A conversation, as the JSON of a chat request, becomes the variables of a chat template. */
#ifndef CHAT_TEMPLATE_H
#define CHAT_TEMPLATE_H

#include "error.h"
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

#endif
