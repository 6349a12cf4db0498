/* Statements, and the two ends of a template's life. */
#include "jinja_internal.h"

#include <stdlib.h>
#include <string.h>

#define MAX_TEMPLATE ((size_t)1 << 22)
#define TEMPLATE_MEMORY(len) \
    (((size_t)1 << 20) + 512 * (len)) // "1,1,1," takes 100 times its length
/* A step is about 30 ns, so that a template without an end takes a tenth of a second; each byte of
 * input may cost 200 (templates that go through the messages for each message need a few each). */
#define STEPS(input_bytes) (1000000 + 200 * (int64_t)(input_bytes))

/* ---- frames ---------------------------------------------------------------------------------- */

struct frame *jinja_frame_new(struct context *c, struct frame *outer, const struct block *scope) {
    struct frame *f = arena_alloc(c->arena, sizeof *f);
    if (!f) return NULL;
    *f = (struct frame){.outer = outer};
    for (size_t i = 0; scope && i < scope->n_hidden; i++) {
        jinja_frame_set(c, f, scope->hidden[i], (struct value){.type = V_ABSENT});
    }
    return f;
}

void jinja_frame_set(struct context *c, struct frame *f, const struct str *name, struct value v) {
    if (!f || !jinja_spend(c, f->n / 16)) return;
    for (size_t i = 0; i < f->n; i++) {
        if (f->variables[i].name == name) {
            f->variables[i].value = v;
            return;
        }
    }
    if (f->n == f->capacity) {
        size_t capacity = f->capacity ? 2 * f->capacity : 4;
        struct variable *larger =
            arena_grow(c->arena, f->variables, f->n * sizeof *larger, capacity * sizeof *larger);
        if (!larger) return;
        f->variables = larger;
        f->capacity = capacity;
    }
    f->variables[f->n++] = (struct variable){name, v};
}

static void unpack(struct context *c, struct frame *f, const struct node *target, struct value v) {
    struct iterator *it = jinja_iterate(c, target, v);
    struct value item;
    size_t n = 0;
    while (it && n < target->n && jinja_iterator_next(c, it, &item)) {
        jinja_assign(c, f, target->items[n++], item);
    }
    if (!it || c->failed) return;
    if (n < target->n) {
        jinja_fail(c, target, "not enough values to unpack (expected %zu, got %zu)", target->n, n);
    } else if (jinja_iterator_next(c, it, &item)) {
        jinja_fail(c, target, "too many values to unpack (expected %zu)", target->n);
    }
}

void jinja_assign(struct context *c, struct frame *f, const struct node *target, struct value v) {
    if (target->kind == N_NAME) {
        jinja_frame_set(c, f, target->name, v);
    } else if (target->kind == N_SET_ATTR) {
        struct node name = {.kind = N_NAME, .at = target->at, .name = target->name};
        struct value object = jinja_eval(c, f, &name);
        if (object.type == V_NAMESPACE)
            dict_set(c->arena, object.u.dict, target->value, v);
        else
            jinja_fail(c, target, "cannot assign attribute on non-namespace object");
    } else if (!jinja_is_iterable(v) && v.type != V_UNDEFINED) {
        jinja_fail(c, target, "cannot unpack non-iterable %s object", value_type_name(v));
    } else {
        unpack(c, f, target, v);
    }
}

/* ---- loops ----------------------------------------------------------------------------------- */

/* The next item that the loop's condition lets through; what was counted has been asked. Behind a
 * condition the item is what was unpacked, as a tuple. */
static bool next_item(struct context *c, struct loop *loop, struct value *out) {
    const struct node *n = loop->node;
    while (jinja_iterator_next(c, loop->items, out)) {
        if (!n->c || loop->counted) return true;
        struct frame *f = jinja_frame_new(c, loop->outer, NULL);
        if (!f) return false;
        jinja_assign(c, f, n->a, *out);
        if (!jinja_truth(jinja_eval(c, f, n->c)) || c->failed) continue;
        if (n->a->kind == N_TUPLE) *out = jinja_eval(c, f, n->a);
        return !c->failed;
    }
    return false;
}

/* Looks one item ahead. */
static bool peek(struct context *c, struct loop *loop) {
    if (!loop->has_next) loop->has_next = next_item(c, loop, &loop->next);
    return loop->has_next;
}

/* All items there are: those behind the current one are taken out, to be given later. */
static void count(struct context *c, struct loop *loop) {
    struct value rest = value_list(c->arena, V_LIST), item;
    if (loop->counted || rest.type != V_LIST) return;
    while (next_item(c, loop, &item)) list_add(c->arena, rest.u.list, item);
    loop->n = (size_t)loop->index0 + 1 + rest.u.list->n + loop->has_next;
    struct iterator *it = jinja_iterate(c, loop->node, rest);
    if (!it) return;
    loop->items = it;
    loop->counted = true;
}

struct value jinja_loop_attribute(struct context *c, struct loop *loop, const struct str *name) {
    int64_t i = loop->index0;
    if (str_is(name, "index")) return value_int(i + 1);
    if (str_is(name, "index0")) return value_int(i);
    if (str_is(name, "first")) return value_bool(i == 0);
    if (str_is(name, "last")) return value_bool(!peek(c, loop));
    if (str_is(name, "depth")) return value_int(loop->depth0 + 1);
    if (str_is(name, "depth0")) return value_int(loop->depth0);
    if (str_is(name, "previtem")) {
        return i == 0 ? jinja_undefined_hint(c, "there is no previous item") : loop->previous;
    }
    if (str_is(name, "nextitem")) {
        return peek(c, loop) ? loop->next : jinja_undefined_hint(c, "there is no next item");
    }
    bool length = str_is(name, "length"), rev = str_is(name, "revindex"),
         rev0 = str_is(name, "revindex0");
    if (!length && !rev && !rev0) return (struct value){0};
    count(c, loop);
    return value_int((int64_t)loop->n - (length ? 0 : rev ? i : i + 1));
}

static bool advance(struct context *c, struct loop *loop) {
    struct value item = loop->next;
    if (!loop->has_next && !next_item(c, loop, &item)) return false;
    loop->has_next = false;
    loop->index0++;
    loop->previous = loop->current;
    loop->current = item;
    return true;
}

static enum flow run_loop(struct context *c, const struct node *n, struct frame *outer,
                          struct value items, int depth0) {
    static const struct str name = {.data = "loop", .len = 4, .n_chars = 4};
    struct loop *loop = arena_alloc(c->arena, sizeof *loop);
    struct iterator *it = jinja_iterate(c, n->b, items);
    if (!loop || !it) return NEXT;
    *loop = (struct loop){.node = n, .outer = outer, .items = it, .index0 = -1, .depth0 = depth0};
    const struct value *interned = dict_find(c->t->names, value_str(&name));
    bool some_ended = false;
    while (jinja_spend(c, 1) && advance(c, loop)) {
        struct frame *f = jinja_frame_new(c, outer, &n->blocks[0]);
        if (interned) {
            jinja_frame_set(c, f, interned->u.s, (struct value){.type = V_LOOP, .u.p = loop});
        }
        if (!f) break;
        jinja_assign(c, f, n->a, loop->current);
        enum flow flow = c->failed ? BREAK : jinja_exec_block(c, f, &n->blocks[0]);
        some_ended = some_ended || flow == NEXT;
        if (flow == BREAK) break;
    }
    if (!some_ended && !c->failed) { // Jinja's else: no turn came to its end
        struct frame *f = jinja_frame_new(c, outer, &n->blocks[1]);
        return f ? jinja_exec_block(c, f, &n->blocks[1]) : NEXT;
    }
    return NEXT;
}

struct value jinja_loop_again(struct context *c, const struct node *at, struct loop *loop,
                              struct value items) {
    if (!loop->node->flag) {
        return jinja_fail(c, at,
                          "The loop must have the 'recursive' marker to be called recursively.");
    }
    struct builder b, *out = c->out;
    build_begin(&b, c->arena);
    c->out = &b;
    run_loop(c, loop->node, loop->outer, items, loop->depth0 + 1);
    c->out = out;
    return value_str(build_end(&b));
}

/* ---- statements ------------------------------------------------------------------------------ */

const struct str *jinja_capture(struct context *c, struct frame *f, const struct block *block) {
    struct builder b, *out = c->out;
    build_begin(&b, c->arena);
    c->out = &b;
    if (f) jinja_exec_block(c, f, block);
    c->out = out;
    return build_end(&b);
}

/* Text through the filters that a block names: the innermost of them has no operand. */
static struct value filter_text(struct context *c, struct frame *f, const struct node *filter,
                                struct value text) {
    if (!filter || c->failed) return text;
    struct node applied = *filter;
    struct node inner = {.kind = N_CONST, .at = filter->at};
    inner.value = filter_text(c, f, filter->a, text);
    applied.a = &inner;
    return jinja_eval(c, f, &applied);
}

static enum flow exec_if(struct context *c, struct frame *f, const struct node *n) {
    size_t i = 0;
    while (i < n->n && !jinja_truth(jinja_eval(c, f, n->items[i])) && !c->failed) i++;
    return c->failed ? NEXT : jinja_exec_block(c, f, &n->blocks[i]);
}

static void exec_call_block(struct context *c, struct frame *f, const struct node *n) {
    static const struct str caller = {.data = "caller", .len = 6, .n_chars = 6};
    struct actual all = {0};
    if (!n->a) {
        jinja_write_text(c, c->out,
                         jinja_call_value(c, n, jinja_make_macro(c, f, n->macro, NULL), &all));
        return;
    }
    struct value callee = jinja_eval(c, f, n->a->a);
    all = jinja_eval_arguments(c, f, n->a->args);
    struct variable *keywords = arena_alloc(c->arena, (all.n_keywords + 1) * sizeof *keywords);
    if (!keywords || c->failed) return;
    if (all.n_keywords > 0) memcpy(keywords, all.keywords, all.n_keywords * sizeof *keywords);
    keywords[all.n_keywords++] = (struct variable){&caller, jinja_make_macro(c, f, n->macro, NULL)};
    all.keywords = keywords;
    jinja_write_text(c, c->out, jinja_call_value(c, n, callee, &all));
}

static enum flow exec_with(struct context *c, struct frame *f, const struct node *n) {
    struct frame *inner = jinja_frame_new(c, f, &n->blocks[0]);
    if (!inner) return NEXT;
    for (size_t i = 0; i + 1 < n->n && !c->failed; i += 2) {
        jinja_assign(c, inner, n->items[i], jinja_eval(c, f, n->items[i + 1]));
    }
    return c->failed ? NEXT : jinja_exec_block(c, inner, &n->blocks[0]);
}

static void exec_captured(struct context *c, struct frame *f, const struct node *n) {
    struct frame *inner = jinja_frame_new(c, f, &n->blocks[0]);
    struct value text = value_str(jinja_capture(c, inner, &n->blocks[0]));
    if (!inner || c->failed) return;
    text = filter_text(c, inner, n->c, text);
    if (c->failed) return;
    if (n->kind == N_SET_BLOCK)
        jinja_assign(c, f, n->a, text);
    else
        jinja_write_text(c, c->out, text);
}

static enum flow exec(struct context *c, struct frame *f, const struct node *n) {
    struct frame *inner;
    switch ((enum node_kind)n->kind) {
    case N_DATA:
        build_str(c->out, n->value.u.s);
        return NEXT;
    case N_PRINT:
        jinja_write_text(c, c->out, jinja_eval(c, f, n->a));
        return NEXT;
    case N_IF:
        return exec_if(c, f, n);
    case N_FOR:
        return run_loop(c, n, f, jinja_eval(c, f, n->b), 0);
    case N_SET:
        jinja_assign(c, f, n->a, jinja_eval(c, f, n->b));
        return NEXT;
    case N_SET_BLOCK:
    case N_FILTER_BLOCK:
        exec_captured(c, f, n);
        return NEXT;
    case N_MACRO:
        jinja_frame_set(c, f, n->name, jinja_make_macro(c, f, n->macro, n->name));
        return NEXT;
    case N_CALL_BLOCK:
        exec_call_block(c, f, n);
        return NEXT;
    case N_WITH:
        return exec_with(c, f, n);
    case N_SCOPE:
        inner = jinja_frame_new(c, f, &n->blocks[0]);
        return inner ? jinja_exec_block(c, inner, &n->blocks[0]) : NEXT;
    case N_BREAK:
        return BREAK;
    case N_CONTINUE:
        return CONTINUE;
    default:
        return NEXT;
    }
}

enum flow jinja_exec_block(struct context *c, struct frame *f, const struct block *block) {
    enum flow flow = NEXT;
    if (c->depth >= JINJA_MAX_DEPTH) {
        jinja_fail(c, block->n ? block->nodes[0] : NULL, "nested too deeply");
        return NEXT;
    }
    c->depth++;
    for (size_t i = 0; i < block->n && flow == NEXT && jinja_spend(c, 1); i++) {
        flow = exec(c, f, block->nodes[i]);
    }
    c->depth--;
    return c->failed ? NEXT : flow;
}

/* ---- open and render ------------------------------------------------------------------------- */

/* Line ends become \n; the last one goes. */
static char *copy_source(struct jinja *t, const char *text, size_t len) {
    char *copy = arena_alloc(&t->arena, len + 1), *to = copy;
    for (size_t i = 0; copy && i < len; i++) {
        if (text[i] == '\r') {
            *to++ = '\n';
            if (i + 1 < len && text[i + 1] == '\n') i++;
        } else {
            *to++ = text[i];
        }
    }
    if (copy && to > copy && to[-1] == '\n') to--;
    if (copy) t->len = (size_t)(to - copy);
    return copy;
}

struct jinja *jinja_open(const char *text, size_t len, struct error *err) {
    if (len > MAX_TEMPLATE) {
        error_set(err, KQ_BAD_FILE, "template: has %zu bytes, at most %zu are read", len,
                  MAX_TEMPLATE);
        return NULL;
    }
    struct jinja *t = calloc(1, sizeof *t);
    if (t) {
        arena_init(&t->arena, TEMPLATE_MEMORY(len));
        struct value names = value_dict(&t->arena);
        t->names = names.type == V_DICT ? names.u.dict : NULL;
        t->source = copy_source(t, text, len);
    }
    if (!t || !t->source || !t->names) {
        error_set(err, KQ_NO_MEMORY, "template: out of memory");
    } else if (jinja_tokenize(t, err) == 0 && jinja_parse(t, err) == 0 &&
               jinja_find_scopes(t, err) == 0) {
        return t;
    }
    jinja_close(t);
    return NULL;
}

void jinja_close(struct jinja *t) {
    if (!t) return;
    arena_free(&t->arena);
    free(t);
}

bool jinja_mentions(const struct jinja *t, const char *name) {
    for (size_t i = 0; i < t->n_tokens; i++) {
        const struct token *k = &t->tokens[i];
        if ((k->type == T_NAME || k->type == T_STRING) && str_is(k->value.u.s, name)) return true;
    }
    return false;
}

int jinja_render(const struct jinja *t, struct arena *a, const struct dict *variables,
                 size_t input_bytes, const struct tm *now, const struct str **out,
                 struct error *err) {
    struct builder b;
    struct context c = {.t = t, .arena = a, .err = err, .out = &b, .now = now};
    c.steps = (uint64_t)input_bytes < (uint64_t)1 << 40 ? STEPS(input_bytes) : INT64_MAX;
    build_begin(&b, a);
    c.root = jinja_frame_new(&c, NULL, NULL);
    struct frame *top = c.root ? jinja_frame_new(&c, c.root, &t->body) : NULL;
    for (size_t i = 0; top && i < variables->n; i++) {
        const struct value *name = dict_find(t->names, variables->pairs[i].key);
        if (name && name->type == V_STR) {
            jinja_frame_set(&c, c.root, name->u.s, variables->pairs[i].value);
        }
    }
    if (top) jinja_exec_block(&c, top, &t->body);
    *out = build_end(&b);
    jinja_spend(&c, 0); // what did not fit may have been the last thing
    return c.failed ? -1 : 0;
}
