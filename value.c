#include "value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

/* ---- strings --------------------------------------------------------------------------------- */

const struct str str_empty = {.data = ""};

static size_t count_chars(const char *data, size_t len) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) n += ((unsigned char)data[i] & 0xc0) != 0x80;
    return n;
}

struct str *str_new(struct arena *a, const char *data, size_t len, bool input) {
    struct str *s = arena_alloc(a, sizeof *s);
    if (s) {
        *s = (struct str){
            .data = data, .len = len, .n_chars = count_chars(data, len), .input = input};
    }
    return s;
}

bool str_is(const struct str *s, const char *text) {
    return strlen(text) == s->len && memcmp(s->data, text, s->len) == 0;
}

bool str_equal(const struct str *a, const struct str *b) {
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

int str_compare(const struct str *a, const struct str *b) {
    size_t n = a->len < b->len ? a->len : b->len;
    int order = memcmp(a->data, b->data, n);
    return order ? order : (a->len > b->len) - (a->len < b->len);
}

/* The first run that ends after byte i. */
static size_t run_at(const struct str *s, size_t i) {
    size_t low = 0, high = s->n_runs;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (s->runs[mid].end <= i)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

bool str_is_input(const struct str *s, size_t byte) {
    if (s->n_runs == 0) return s->input;
    size_t at = run_at(s, byte);
    return s->runs[at < s->n_runs ? at : s->n_runs - 1].input;
}

bool str_is_own(const struct str *s) {
    return s->n_runs == 0 && !s->input;
}

size_t str_offset(const struct str *s, size_t i) {
    if (i >= s->n_chars) return s->len;
    if (s->n_chars == s->len) return i;
    size_t at = 0;
    for (size_t n = 0;; at++) {
        if (((unsigned char)s->data[at] & 0xc0) != 0x80 && n++ == i) return at;
    }
}

uint32_t utf8_at(const char *data, size_t i, size_t *n) {
    return utf8_decode(data + i, 4, n); // no further than the first byte says
}

/* ---- growing strings ------------------------------------------------------------------------- */

void build_begin(struct builder *b, struct arena *a) {
    *b = (struct builder){.arena = a};
}

static bool make_room(struct builder *b, size_t n) {
    if (n <= b->capacity - b->len) return true;
    size_t capacity = b->len + n > 2 * b->capacity ? b->len + n + 16 : 2 * b->capacity;
    char *larger = arena_grow(b->arena, b->data, b->capacity, capacity);
    if (!larger) return false;
    b->data = larger;
    b->capacity = capacity;
    return true;
}

static bool mark(struct builder *b, size_t n, bool input) {
    if (b->n_runs > 0 && b->runs[b->n_runs - 1].input == input) {
        b->runs[b->n_runs - 1].end += n;
        return true;
    }
    if (b->n_runs == b->runs_capacity) {
        size_t capacity = b->runs_capacity ? 2 * b->runs_capacity : 4;
        struct str_run *larger = arena_grow(b->arena, b->runs, b->runs_capacity * sizeof *larger,
                                            capacity * sizeof *larger);
        if (!larger) return false;
        b->runs = larger;
        b->runs_capacity = capacity;
    }
    b->runs[b->n_runs++] = (struct str_run){b->len + n, input};
    return true;
}

void build_bytes(struct builder *b, const char *data, size_t n, bool input) {
    if (n == 0 || !make_room(b, n) || !mark(b, n, input)) return;
    memcpy(b->data + b->len, data, n);
    b->len += n;
}

void build_text(struct builder *b, const char *text, bool input) {
    build_bytes(b, text, strlen(text), input);
}

void build_char(struct builder *b, uint32_t cp, bool input) {
    char out[4] = {0};
    build_bytes(b, out, (size_t)utf8_encode(cp, out), input);
}

void build_slice(struct builder *b, const struct str *s, size_t from, size_t to) {
    if (s->n_runs == 0) {
        build_bytes(b, s->data + from, to - from, s->input);
        return;
    }
    for (size_t at = run_at(s, from); from < to; at++) {
        size_t end = s->runs[at].end < to ? s->runs[at].end : to;
        build_bytes(b, s->data + from, end - from, s->runs[at].input);
        from = end;
    }
}

void build_str(struct builder *b, const struct str *s) {
    build_slice(b, s, 0, s->len);
}

const struct str *build_end(struct builder *b) {
    struct str *s = b->len > 0 ? str_new(b->arena, b->data, b->len, b->runs[0].input) : NULL;
    if (!s) return &str_empty;
    if (b->n_runs > 1) {
        s->runs = b->runs;
        s->n_runs = b->n_runs;
    }
    return s;
}

/* ---- values ---------------------------------------------------------------------------------- */

struct value value_none(void) {
    return (struct value){.type = V_NONE};
}

struct value value_bool(bool b) {
    return (struct value){.type = V_BOOL, .u.b = b};
}

struct value value_int(int64_t i) {
    return (struct value){.type = V_INT, .u.i = i};
}

struct value value_float(double f) {
    return (struct value){.type = V_FLOAT, .u.f = f};
}

struct value value_str(const struct str *s) {
    return (struct value){.type = V_STR, .u.s = s ? s : &str_empty};
}

struct value value_text(struct arena *a, const char *text) {
    return value_str(str_new(a, text, strlen(text), false));
}

struct value value_list(struct arena *a, enum value_type type) {
    struct list *list = arena_alloc(a, sizeof *list);
    if (!list) return (struct value){0};
    *list = (struct list){0};
    return (struct value){.type = (unsigned char)type, .u.list = list};
}

struct value value_dict(struct arena *a) {
    struct dict *dict = arena_alloc(a, sizeof *dict);
    if (!dict) return (struct value){0};
    *dict = (struct dict){0};
    return (struct value){.type = V_DICT, .u.dict = dict};
}

bool value_is_number(struct value v) {
    return v.type == V_BOOL || v.type == V_INT || v.type == V_BIG || v.type == V_FLOAT;
}

/* Of digits: in an order that is that of the numbers, as far as doubles tell them apart. */
double value_as_double(struct value v) {
    if (v.type == V_FLOAT) return v.u.f;
    if (v.type == V_INT) return (double)v.u.i;
    if (v.type == V_BOOL) return v.u.b;
    char digits[400];
    snprintf(digits, sizeof digits, "%.*s", v.u.s->len < 399 ? (int)v.u.s->len : 399, v.u.s->data);
    return strtod(digits, NULL);
}

static struct size size_of(struct value v) {
    if (v.type == V_LIST || v.type == V_TUPLE) return v.u.list->size;
    if (v.type == V_DICT) return v.u.dict->size;
    return (struct size){0, v.type == V_STR || v.type == V_BIG ? v.u.s->len / 32 : 0};
}

size_t value_weight(struct value v) {
    return 1 + size_of(v).weight;
}

/* Notes in *size that v is inside. */
static bool enclose(struct arena *a, struct size *size, struct value v) {
    struct size inner = size_of(v);
    if (size->depth <= inner.depth) size->depth = inner.depth + 1;
    size->weight += 1 + inner.weight;
    bool fits = size->depth <= VALUE_MAX_DEPTH && size->weight <= VALUE_MAX_WEIGHT;
    if (!fits) a->full = true;
    return fits;
}

bool list_add(struct arena *a, struct list *list, struct value v) {
    if (!enclose(a, &list->size, v)) return false;
    if (list->n == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 4;
        struct value *larger =
            arena_grow(a, list->items, list->capacity * sizeof *larger, capacity * sizeof *larger);
        if (!larger) return false;
        list->items = larger;
        list->capacity = capacity;
    }
    list->items[list->n++] = v;
    return true;
}

static bool numbers_equal(struct value a, struct value b) {
    if (a.type == V_BIG || b.type == V_BIG) {
        if (a.type == b.type) return str_equal(a.u.s, b.u.s);
        return value_as_double(a) == value_as_double(b);
    }
    if (a.type == V_FLOAT || b.type == V_FLOAT) return value_as_double(a) == value_as_double(b);
    int64_t x = a.type == V_BOOL ? a.u.b : a.u.i, y = b.type == V_BOOL ? b.u.b : b.u.i;
    return x == y;
}

static bool lists_equal(const struct list *a, const struct list *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; a != b && i < a->n; i++) {
        if (!value_equal(a->items[i], b->items[i])) return false;
    }
    return true;
}

static bool dicts_equal(const struct dict *a, const struct dict *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; a != b && i < a->n; i++) {
        const struct value *other = dict_find(b, a->pairs[i].key);
        if (!other || !value_equal(a->pairs[i].value, *other)) return false;
    }
    return true;
}

bool value_equal(struct value a, struct value b) {
    if (value_is_number(a) && value_is_number(b)) return numbers_equal(a, b);
    if (a.type != b.type) return false;
    switch (a.type) {
    case V_UNDEFINED:
    case V_NONE:
        return true;
    case V_STR:
        return str_equal(a.u.s, b.u.s);
    case V_LIST:
    case V_TUPLE:
        return lists_equal(a.u.list, b.u.list);
    case V_DICT:
        return dicts_equal(a.u.dict, b.u.dict);
    default:
        return a.u.p == b.u.p;
    }
}

static const char *const type_names[] = {
    [V_UNDEFINED] = "Undefined",
    [V_NONE] = "NoneType",
    [V_BOOL] = "bool",
    [V_INT] = "int",
    [V_BIG] = "int",
    [V_FLOAT] = "float",
    [V_STR] = "str",
    [V_LIST] = "list",
    [V_TUPLE] = "tuple",
    [V_DICT] = "dict",
    [V_VIEW] = "dict view",
    [V_RANGE] = "range",
    [V_ITERATOR] = "generator",
    [V_NAMESPACE] = "Namespace",
    [V_FUNCTION] = "function",
    [V_METHOD] = "builtin_function_or_method",
    [V_MACRO] = "Macro",
    [V_LOOP] = "LoopContext",
    [V_CYCLER] = "Cycler",
    [V_JOINER] = "Joiner",
    [V_ABSENT] = "NoneType",
};

const char *value_type_name(struct value v) {
    return v.type == V_STR && v.safe ? "Markup" : type_names[v.type];
}

/* ---- dicts ----------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h) {
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93ull;
    return h ^ h >> 29;
}

/* From an address that differs from run to run, so that nobody can prepare keys that collide; the
 * order of a dict does not depend on it. */
static uint64_t hash_seed(void) {
    return (uint64_t)(uintptr_t)&str_empty;
}

static uint64_t hash_bytes(const char *data, size_t n) {
    uint64_t h = hash_seed() ^ n;
    for (; n >= 8; data += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        h = mix(h ^ word) * 0x9e3779b97f4a7c15ull;
    }
    uint64_t rest = 0;
    for (size_t i = 0; i < n; i++) rest = rest << 8 | (unsigned char)data[i];
    return mix(h ^ rest);
}

bool value_hash(struct value v, uint64_t *hash, const char **what) {
    switch (v.type) {
    case V_STR:
        *hash = hash_bytes(v.u.s->data, v.u.s->len);
        return true;
    case V_BOOL:
    case V_INT:
    case V_BIG:
    case V_FLOAT: {
        double f = value_as_double(v); // 1, 1.0 and true are one key
        if (f == 0) f = 0;
        uint64_t bits;
        memcpy(&bits, &f, sizeof bits);
        *hash = mix(bits ^ hash_seed());
        return true;
    }
    case V_TUPLE:
        *hash = v.u.list->n;
        for (size_t i = 0; i < v.u.list->n; i++) {
            uint64_t h;
            if (!value_hash(v.u.list->items[i], &h, what)) return false;
            *hash = mix(*hash * 31 + h);
        }
        return true;
    case V_LIST:
    case V_DICT:
    case V_VIEW:
        *what = value_type_name(v);
        return false;
    default:
        *hash = v.type;
        return true;
    }
}

/* The slot that holds the key, or the empty one where it belongs. */
static uint32_t *find_slot(const struct dict *d, struct value key, uint64_t hash) {
    for (size_t at = hash & (d->n_slots - 1);; at = (at + 1) & (d->n_slots - 1)) {
        uint32_t *slot = &d->slots[at];
        if (*slot == 0) return slot;
        const struct pair *pair = &d->pairs[*slot - 1];
        if (pair->hash == hash && value_equal(pair->key, key)) return slot;
    }
}

struct value *dict_find(const struct dict *d, struct value key) {
    uint64_t hash;
    const char *what;
    if (d->n == 0 || !value_hash(key, &hash, &what)) return NULL;
    uint32_t slot = *find_slot(d, key, hash);
    return slot ? &d->pairs[slot - 1].value : NULL;
}

struct value *dict_find_text(const struct dict *d, const char *key) {
    struct str s = {.data = key, .len = strlen(key)};
    return dict_find(d, value_str(&s));
}

static bool grow_dict(struct arena *a, struct dict *d) {
    size_t capacity = d->capacity ? 2 * d->capacity : 4;
    struct pair *larger =
        arena_grow(a, d->pairs, d->capacity * sizeof *larger, capacity * sizeof *larger);
    uint32_t *slots = larger ? arena_alloc(a, 2 * capacity * sizeof *slots) : NULL;
    if (!slots || capacity > UINT32_MAX / 2) return false;
    memset(slots, 0, 2 * capacity * sizeof *slots);
    d->pairs = larger;
    d->capacity = capacity;
    d->slots = slots;
    d->n_slots = 2 * capacity;
    for (size_t i = 0; i < d->n; i++) {
        *find_slot(d, d->pairs[i].key, d->pairs[i].hash) = (uint32_t)(i + 1);
    }
    return true;
}

bool dict_set(struct arena *a, struct dict *d, struct value key, struct value v) {
    uint64_t hash;
    const char *what;
    if (!value_hash(key, &hash, &what)) return false;
    if (!enclose(a, &d->size, key) || !enclose(a, &d->size, v)) return false;
    if (d->n == d->capacity && !grow_dict(a, d)) return false;
    uint32_t *slot = find_slot(d, key, hash);
    if (*slot) {
        d->pairs[*slot - 1].value = v;
        return true;
    }
    d->pairs[d->n++] = (struct pair){key, v, hash};
    *slot = (uint32_t)d->n;
    return true;
}

bool dict_set_text(struct arena *a, struct dict *d, const char *key, struct value v) {
    return dict_set(a, d, value_text(a, key), v);
}

/* ---- floats ---------------------------------------------------------------------------------- */

/* digits times 10 to the exponent, as Python writes it: 1e16 and more, 0.0001 and less with an
 * exponent. */
static void lay_out(const char *digits, int exponent, char *out) {
    int n = (int)strlen(digits);
    if (exponent < -4 || exponent >= 16) {
        out += sprintf(out, "%c%s%s", digits[0], n > 1 ? "." : "", digits + 1);
        sprintf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
    } else if (exponent < 0) {
        sprintf(out, "0.%.*s%s", -exponent - 1, "0000", digits);
    } else if (n <= exponent + 1) {
        sprintf(out, "%s%.*s.0", digits, exponent + 1 - n, "0000000000000000");
    } else {
        sprintf(out, "%.*s.%s", exponent + 1, digits, digits + exponent + 1);
    }
}

void float_text(double f, char out[40]) {
    if (isnan(f)) {
        memcpy(out, "nan", sizeof "nan");
        return;
    }
    if (signbit(f)) *out++ = '-';
    f = fabs(f);
    if (isinf(f) || f == 0) {
        memcpy(out, f == 0 ? "0.0" : "inf", sizeof "inf");
        return;
    }
    // 15 digits of a normal number always come back; if they give the number, the fewest do, too.
    char text[40], digits[20];
    for (int n = f < 2.3e-308 ? 1 : 15; n <= 17; n++) {
        snprintf(text, sizeof text, "%.*e", n - 1, f);
        if (n == 17 || strtod(text, NULL) == f) break;
    }
    int n = 0;
    char *c = text;
    for (; *c != 'e'; c++) {
        if (*c != '.') digits[n++] = *c;
    }
    while (n > 1 && digits[n - 1] == '0') n--;
    digits[n] = '\0';
    lay_out(digits, atoi(c + 1), out);
}
