#include "conversation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../chat_template.h"
#include "../json.h"
#include "../utf8.h"
#include "prompt.h"

/* Bytes that the messages of one conversation may take. */
#define MOST_MEMORY ((size_t)1 << 30)

static int no_memory(void) {
    return FAIL("out of memory for the conversation");
}

/* ---- messages -------------------------------------------------------------------------------- */

static int start(struct conversation *c, struct arena *a) {
    struct value messages = value_list(a, V_LIST), request = value_dict(a);
    if (messages.type != V_LIST || request.type != V_DICT) return no_memory();
    c->messages = messages.u.list;
    c->request = request.u.dict;
    return 0;
}

int conversation_open(struct conversation *c) {
    *c = (struct conversation){0};
    arena_init(&c->arena, MOST_MEMORY);
    return start(c, &c->arena);
}

void conversation_close(struct conversation *c) {
    arena_free(&c->arena);
    *c = (struct conversation){0};
}

/* The text as input, with U+FFFD for each byte that is not part of a character. */
static struct value input_text(struct arena *a, struct text text) {
    struct builder b;
    build_begin(&b, a);
    for (size_t i = 0, n; i < text.len; i += n ? n : 1) {
        n = utf8_length(text.data + i, text.len - i);
        if (n > 0) {
            build_bytes(&b, text.data + i, n, true);
        } else {
            build_char(&b, 0xfffd, true);
        }
    }
    return value_str(build_end(&b));
}

static struct value new_message(struct conversation *c, const char *role, struct text content) {
    struct arena *a = &c->arena;
    struct value message = value_dict(a);
    if (message.type != V_DICT || !dict_set_text(a, message.u.dict, "role", value_text(a, role)) ||
        !dict_set_text(a, message.u.dict, "content", input_text(a, content)) || a->full ||
        a->no_memory) {
        return value_none();
    }
    c->bytes += content.len + 64;
    return message;
}

int conversation_add(struct conversation *c, const char *role, struct text content,
                     const char *thoughts_name, struct text thoughts) {
    struct arena *a = &c->arena;
    struct value message = new_message(c, role, content);
    if (message.type != V_DICT) return no_memory();
    if (thoughts_name) {
        struct value text = input_text(a, thoughts);
        if (!dict_set_text(a, message.u.dict, thoughts_name, text)) return no_memory();
        c->bytes += thoughts.len;
    }
    return list_add(a, c->messages, message) && !a->full && !a->no_memory ? 0 : no_memory();
}

static bool has_role(const struct conversation *c, size_t i, const char *role) {
    const struct value *found = dict_find_text(c->messages->items[i].u.dict, "role");
    return found && found->type == V_STR && str_is(found->u.s, role);
}

bool conversation_has_system(const struct conversation *c) {
    return c->messages->n > 0 && (has_role(c, 0, "system") || has_role(c, 0, "developer"));
}

bool conversation_ends_with(const struct conversation *c, const char *role) {
    return c->messages->n > 0 && has_role(c, c->messages->n - 1, role);
}

bool conversation_has_tools(const struct conversation *c) {
    const struct value *tools = dict_find_text(c->request, "tools");
    return tools && tools->type == V_LIST && tools->u.list->n > 0;
}

int conversation_set_system(struct conversation *c, struct text content) {
    struct list *m = c->messages;
    bool had = conversation_has_system(c);
    if (content.len == 0) {
        if (had) memmove(m->items, m->items + 1, --m->n * sizeof *m->items);
        return 0;
    }
    struct value message = new_message(c, "system", content);
    if (message.type != V_DICT) return no_memory();
    if (!had) {
        if (!list_add(&c->arena, m, message)) return no_memory();
        memmove(m->items + 1, m->items, (m->n - 1) * sizeof *m->items);
    }
    m->items[0] = message;
    return 0;
}

void conversation_drop_last(struct conversation *c) {
    size_t least = conversation_has_system(c);
    c->messages->n--;
    if (c->n_left_out + least > c->messages->n) c->n_left_out = c->messages->n - least;
}

void conversation_clear(struct conversation *c) {
    c->messages->n = conversation_has_system(c);
    c->n_left_out = 0;
}

/* ---- what is read of it ---------------------------------------------------------------------- */

/* The first message behind the system message and what is left out. */
static size_t first_read(const struct conversation *c) {
    return c->n_left_out + conversation_has_system(c);
}

size_t conversation_turns(const struct conversation *c) {
    size_t n = 0;
    for (size_t i = first_read(c); i < c->messages->n; i++) n += has_role(c, i, "user");
    return n;
}

bool conversation_leave_out_turn(struct conversation *c) {
    for (size_t i = first_read(c) + 1; i < c->messages->n; i++) {
        if (!has_role(c, i, "user")) continue;
        c->n_left_out = i - conversation_has_system(c);
        return true;
    }
    return false;
}

int conversation_request(const struct conversation *c, struct arena *a, bool add_answer,
                         struct value *request) {
    struct value messages = value_list(a, V_LIST);
    size_t first = first_read(c), system = conversation_has_system(c);
    *request = value_dict(a);
    bool made = request->type == V_DICT && messages.type == V_LIST;
    for (size_t i = 0; made && i < c->request->n; i++) {
        const struct pair *p = &c->request->pairs[i];
        made = dict_set(a, request->u.dict, p->key, p->value);
    }
    for (size_t i = 0; made && i < c->messages->n; i++) {
        if (i < system || i >= first) made = list_add(a, messages.u.list, c->messages->items[i]);
    }
    if (made && dict_set_text(a, request->u.dict, "messages", messages) &&
        dict_set_text(a, request->u.dict, "add_generation_prompt", value_bool(add_answer))) {
        return 0;
    }
    return no_memory();
}

/* ---- its file -------------------------------------------------------------------------------- */

/* Takes the parts of a request over; what a conversation decides itself is left out. */
static int take_request(struct conversation *c, struct value request, struct list *messages) {
    for (size_t i = 0; i < request.u.dict->n; i++) {
        const struct pair *p = &request.u.dict->pairs[i];
        if (p->key.type != V_STR || str_is(p->key.u.s, "messages") ||
            str_is(p->key.u.s, "add_generation_prompt")) {
            continue;
        }
        if (!dict_set(&c->arena, c->request, p->key, p->value)) return no_memory();
    }
    c->messages = messages;
    return 0;
}

static int parse(struct session *s, struct conversation *c, const char *path, const char *text,
                 size_t len) {
    struct value request;
    struct list *messages;
    char *kept = arena_alloc(&c->arena, len + 1); // strings point into it
    if (!kept) return no_memory();
    memcpy(kept, text, len);
    if (json_parse(kept, len, &c->arena, &request, &s->err) != 0 ||
        chat_messages(&c->arena, request, &messages, &s->err) != 0) {
        return failed(s, path);
    }
    c->bytes = len;
    return take_request(c, request, messages);
}

int conversation_load(struct session *s, struct conversation *c, const char *path) {
    struct conversation loaded;
    char *text = NULL;
    size_t len = 0;
    int status = conversation_open(&loaded);
    if (status == 0 && strcmp(path, "-") == 0) path = "./-"; // messages come from standard input
    if (status == 0) status = read_file(s, path, &text, &len);
    if (status == 0) status = parse(s, &loaded, path, text ? text : "", len);
    free(text);
    if (status) {
        conversation_close(&loaded);
        return status;
    }
    conversation_close(c);
    *c = loaded;
    return 0;
}

/* The whole request as JSON, in the arena. */
static const struct str *write_json(struct session *s, const struct conversation *c,
                                    struct arena *a) {
    struct conversation all = *c;
    struct value request;
    struct builder b;
    all.n_left_out = 0;
    if (conversation_request(&all, a, true, &request) != 0) return NULL;
    struct dict *d = request.u.dict; // add_generation_prompt is the last entry, and the default
    d->n--;
    struct str indent = {.data = "  ", .len = 2, .n_chars = 2};
    struct json_style style = {.indent = &indent};
    build_begin(&b, a);
    if (json_write(&b, request, &style, &s->err) != 0 || a->full || a->no_memory) {
        no_memory();
        return NULL;
    }
    build_text(&b, "\n", false);
    return build_end(&b);
}

static int write_text(const char *path, const struct str *text) {
    FILE *f = fopen(path, "wb");
    if (!f) return -1;
    size_t n = fwrite(text->data, 1, text->len, f);
    int why = errno;
    bool closed = fclose(f) == 0;
    if (n == text->len && closed) return 0;
    if (n != text->len) errno = why;
    return -1;
}

/* Beside its place first, unless that is a device or a pipe. */
static int replace(const char *path, const struct str *text) {
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) return write_text(path, text);
    size_t n = strlen(path);
    char *beside = malloc(n + 6);
    if (!beside) return -1;
    memcpy(beside, path, n);
    memcpy(beside + n, ".part", 6);
    int status = write_text(beside, text);
    if (status == 0) status = rename(beside, path);
    int why = errno;
    if (status != 0) unlink(beside);
    free(beside);
    errno = why;
    return status;
}

int conversation_save(struct session *s, const struct conversation *c, const char *path) {
    struct stat st;
    struct arena a;
    if (stat(path, &st) == 0 && gguf_maps_file(&s->gguf, &st)) {
        return FAIL("%s is the model itself", path);
    }
    arena_init(&a, MOST_MEMORY);
    const struct str *text = write_json(s, c, &a);
    int status = text ? 0 : EXIT_FAILED;
    if (text && replace(path, text) != 0) status = FAIL("%s: %s", path, strerror(errno));
    arena_free(&a);
    return status;
}
