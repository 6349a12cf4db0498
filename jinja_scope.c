/* Which names a scope hides. Jinja2 decides before it runs a template where each name is looked
 * for: one that a scope sets, and did not read before, belongs to the scope from its beginning. So
 * blocks inside of it see nothing there until it is set, even if a variable of the conversation or
 * a function has the same name:
 *
 *     {% for m in messages %}{{ tools }}{% endfor %}{% set tools = 1 %}     writes nothing
 *
 * A name that is set in an `if` only is looked for outside until then. */
#include "jinja_internal.h"

#include <string.h>

struct scope {
    const struct scope *outer;
    struct block *block;
    struct dict *known; // names that it reads or sets itself
    int n_ifs;          // around what is looked at
};

struct walk {
    struct arena *arena;
    bool failed;
};

static void walk_scope(struct walk *w, const struct scope *outer, struct block *block,
                       const struct node *target, const struct node *with,
                       const struct macro_info *macro);

static bool knows(const struct scope *s, const struct str *name) {
    return dict_find(s->known, value_str(name)) != NULL;
}

static void know(struct walk *w, struct scope *s, const struct str *name) {
    if (!dict_set(w->arena, s->known, value_str(name), value_none())) w->failed = true;
}

static bool known_around(const struct scope *s, const struct str *name) {
    for (s = s->outer; s; s = s->outer) {
        if (knows(s, name)) return true;
    }
    return false;
}

static void hide(struct walk *w, struct block *block, const struct str *name) {
    size_t n = block->n_hidden;
    const struct str **larger =
        arena_grow(w->arena, block->hidden, n * sizeof *larger, (n + 1) * sizeof *larger);
    if (!larger) {
        w->failed = true;
        return;
    }
    larger[n] = name;
    block->hidden = larger;
    block->n_hidden = n + 1;
}

static void set_name(struct walk *w, struct scope *s, const struct str *name) {
    if (knows(s, name)) return;
    if (s->n_ifs == 0 && !known_around(s, name)) hide(w, s->block, name);
    know(w, s, name);
}

/* A name that nobody around knows is looked for outside of all scopes. */
static void read_name(struct walk *w, struct scope *s, const struct str *name) {
    if (!knows(s, name) && !known_around(s, name)) know(w, s, name);
}

/* The names that an expression reads; the chain of left operands can be as long as the template. */
static void read_names(struct walk *w, struct scope *s, const struct node *n) {
    for (; n; n = n->a) {
        if (n->kind == N_NAME || n->kind == N_SET_ATTR) read_name(w, s, n->name);
        read_names(w, s, n->b);
        read_names(w, s, n->c);
        for (size_t i = 0; i < n->n; i++) read_names(w, s, n->items[i]);
        if (!n->args) continue;
        for (size_t i = 0; i < n->args->n; i++) read_names(w, s, n->args->items[i]);
        for (size_t i = 0; i < n->args->n_keywords; i++) {
            read_names(w, s, n->args->keywords[i].value);
        }
        read_names(w, s, n->args->list);
        read_names(w, s, n->args->dict);
    }
}

static void set_target(struct walk *w, struct scope *s, const struct node *target) {
    if (target->kind == N_NAME) set_name(w, s, target->name);
    if (target->kind == N_SET_ATTR) read_name(w, s, target->name);
    for (size_t i = 0; i < target->n; i++) set_target(w, s, target->items[i]);
}

static void walk_block(struct walk *w, struct scope *s, const struct block *block);

static void walk_if(struct walk *w, struct scope *s, const struct node *n) {
    for (size_t i = 0; i <= n->n; i++) {
        if (i < n->n) read_names(w, s, n->items[i]);
        s->n_ifs++;
        walk_block(w, s, &n->blocks[i]);
        s->n_ifs--;
    }
}

static void walk_statement(struct walk *w, struct scope *s, const struct node *n) {
    switch ((enum node_kind)n->kind) {
    case N_PRINT:
        read_names(w, s, n->a);
        break;
    case N_IF:
        walk_if(w, s, n);
        break;
    case N_FOR:
        read_names(w, s, n->b);
        break;
    case N_SET:
        read_names(w, s, n->b);
        set_target(w, s, n->a);
        break;
    case N_SET_BLOCK:
        set_target(w, s, n->a);
        break;
    case N_MACRO:
        set_name(w, s, n->name);
        break;
    case N_CALL_BLOCK:
        read_names(w, s, n->a);
        break;
    case N_FILTER_BLOCK:
        read_names(w, s, n->c);
        break;
    case N_WITH:
        for (size_t i = 1; i < n->n; i += 2) read_names(w, s, n->items[i]);
        break;
    default:
        break;
    }
}

static void walk_block(struct walk *w, struct scope *s, const struct block *block) {
    for (size_t i = 0; i < block->n && !w->failed; i++) walk_statement(w, s, block->nodes[i]);
}

/* The scopes inside of a block of this scope, once all names of the scope are known. */
static void walk_inner(struct walk *w, const struct scope *s, const struct block *block) {
    for (size_t i = 0; i < block->n && !w->failed; i++) {
        const struct node *n = block->nodes[i];
        if (n->kind == N_IF) {
            for (size_t k = 0; k <= n->n; k++) walk_inner(w, s, &n->blocks[k]);
        } else if (n->kind == N_FOR) {
            walk_scope(w, s, &n->blocks[0], n->a, NULL, NULL);
            walk_scope(w, s, &n->blocks[1], NULL, NULL, NULL);
        } else if (n->macro) {
            walk_scope(w, s, &n->macro->body, NULL, NULL, n->macro);
        } else if (n->blocks) {
            walk_scope(w, s, &n->blocks[0], NULL, n->kind == N_WITH ? n : NULL, NULL);
        }
    }
}

static void know_targets(struct walk *w, struct scope *s, const struct node *target) {
    if (target->kind == N_NAME) know(w, s, target->name);
    for (size_t i = 0; i < target->n; i++) know_targets(w, s, target->items[i]);
}

static void walk_scope(struct walk *w, const struct scope *outer, struct block *block,
                       const struct node *target, const struct node *with,
                       const struct macro_info *macro) {
    static const struct str own[] = {{.data = "loop", .len = 4, .n_chars = 4},
                                     {.data = "caller", .len = 6, .n_chars = 6},
                                     {.data = "kwargs", .len = 6, .n_chars = 6},
                                     {.data = "varargs", .len = 7, .n_chars = 7}};
    struct value known = value_dict(w->arena);
    w->failed = w->failed || known.type != V_DICT;
    if (w->failed) return;
    struct scope s = {.outer = outer, .block = block, .known = known.u.dict};
    if (target) {
        know_targets(w, &s, target);
        know(w, &s, &own[0]);
    }
    for (size_t i = 0; with && i < with->n; i += 2) know_targets(w, &s, with->items[i]);
    for (size_t i = 0; macro && i < macro->n; i++) know(w, &s, macro->names[i]);
    for (size_t i = 1; macro && i < 4; i++) know(w, &s, &own[i]);
    for (size_t i = 0; macro && i < macro->n; i++) read_names(w, &s, macro->defaults[i]);
    walk_block(w, &s, block);
    walk_inner(w, &s, block);
}

int jinja_find_scopes(struct jinja *t, struct error *err) {
    struct walk w = {.arena = &t->arena};
    walk_scope(&w, NULL, &t->body, NULL, NULL, NULL);
    if (!w.failed) return 0;
    return error_set(err, t->arena.no_memory ? KQ_NO_MEMORY : KQ_FULL, "template: %s",
                     t->arena.no_memory ? "out of memory" : "too large");
}
