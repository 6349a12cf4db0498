/* A conversation as the messages of a chat request (chat_template.h): what is said, what is read of
 * it when the context is short, and its file. */
#ifndef CONVERSATION_H
#define CONVERSATION_H

#include "../value.h"
#include "session.h"

struct conversation {
    struct arena arena;    // all that follows
    struct list *messages; // dicts, each with role and content
    struct dict *request;  // what else a loaded file has: tools, chat_template_kwargs ...
    size_t bytes;          // of texts, about
    /* The oldest messages behind the system message that are not read any more. */
    size_t n_left_out;
};

int conversation_open(struct conversation *c);
void conversation_close(struct conversation *c); // may be all zero

/* Appends a message; the text is copied, what is not UTF-8 in it replaced. The thoughts, if not
 * NULL, become a field of this name. */
struct text {
    const char *data;
    size_t len;
};
int conversation_add(struct conversation *c, const char *role, struct text content,
                     const char *thoughts_name, struct text thoughts);
/* With an empty text there is no system message any more. */
int conversation_set_system(struct conversation *c, struct text content);
void conversation_drop_last(struct conversation *c);
/* All but the system message. */
void conversation_clear(struct conversation *c);

/* Whether the last message has this role. */
bool conversation_ends_with(const struct conversation *c, const char *role);
bool conversation_has_system(const struct conversation *c);
bool conversation_has_tools(const struct conversation *c);
/* The exchanges that are read: user messages behind those left out. */
size_t conversation_turns(const struct conversation *c);
/* Leaves out the oldest of them; false if it is the only one. */
bool conversation_leave_out_turn(struct conversation *c);

/* The request for an answer, or for the conversation as it stands; in the arena, whose new dicts
 * and lists point into the conversation's. */
int conversation_request(const struct conversation *c, struct arena *a, bool add_answer,
                         struct value *request);

/* Replaces the conversation by the file's; on failure it stays. */
int conversation_load(struct session *s, struct conversation *c, const char *path);
/* The file is whole or, on failure, as it was. */
int conversation_save(struct session *s, const struct conversation *c, const char *path);

#endif
