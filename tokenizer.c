#include <stdlib.h>
#include <string.h>

#include "array.h"
#include "tokenizer_internal.h"
#include "utf8.h"

/* ---- the vocabulary -------------------------------------------------------------------------- */

int32_t tokenizer_find(const struct tokenizer *t, const char *text, size_t len) {
    return len == 0 ? -1
                    : string_index_find(&t->vocab, (struct string_key){.text = text, .len = len});
}

struct tokenizer *tokenizer_open(const struct gguf *g, struct error *err) {
    struct tokenizer *t = calloc(1, sizeof *t);
    if (!t) {
        error_set(err, KQ_NO_MEMORY, "out of memory for the tokenizer");
        return NULL;
    }
    if (tokenizer_load(t, g, err) == 0) return t;
    tokenizer_close(t);
    return NULL;
}

void tokenizer_close(struct tokenizer *t) {
    if (!t) return;
    string_index_free(&t->vocab);
    string_index_free(&t->merges);
    free(t->attributes);
    free(t->order);
    free(t->cost);
    free(t->specials);
    free(t->suppressed);
    free(t);
}

const char *tokenizer_note(const struct tokenizer *t, size_t i) {
    return i < t->n_notes ? t->notes[i].text : NULL;
}

void tokenizer_stop_on(struct tokenizer *t, atomic_int *flag) {
    t->stop = flag;
}

int tokenizer_n_vocab(const struct tokenizer *t) {
    return (int)t->vocab.n;
}

int32_t tokenizer_bos(const struct tokenizer *t) {
    return t->bos;
}

int32_t tokenizer_eos(const struct tokenizer *t) {
    return t->eos;
}

const int32_t *tokenizer_suppressed(const struct tokenizer *t, size_t *n) {
    *n = t->n_suppressed;
    return t->suppressed;
}

static bool is_token(const struct tokenizer *t, int32_t id) {
    return id >= 0 && (size_t)id < t->vocab.n;
}

bool tokenizer_is_eog(const struct tokenizer *t, int32_t id) {
    return is_token(t, id) && t->attributes[id] & END_OF_GENERATION;
}

/* ---- what one encoding works with ------------------------------------------------------------ */

/* A stretch of the text that is, or will be, one token. */
struct symbol {
    uint32_t start, len; // in work.text; len 0: merged into the one before
    uint32_t prev, next; // NONE at the ends
};
#define NONE UINT32_MAX

/* An entry of the heap: a pair to be merged, or a special token to be placed. What comes first has
 * the lowest key: rank, score order or special order, then place in the text. */
struct todo {
    uint64_t key;
    uint32_t size; // BPE, SPM: length of the merged text; specials: index
};

struct work {
    const struct tokenizer *t;
    struct token_list *out;
    struct error *err;
    const bool *input; // for each byte: not part of a control token; or NULL
    bool parse_special;
    char *text;
    size_t text_capacity;
    struct symbol *symbols;
    size_t n_symbols, symbols_capacity;
    struct todo *heap;
    size_t n_heap, heap_capacity;
};

static int reserve(struct work *w, void *array, size_t *capacity, size_t n, size_t size) {
    if (array_reserve(array, capacity, n, size) == 0) return 0;
    return error_set(w->err, KQ_NO_MEMORY, "out of memory while reading a text");
}

static int emit(struct work *w, int32_t id) {
    struct token_list *out = w->out;
    if (reserve(w, &out->ids, &out->capacity, out->n + 1, sizeof *out->ids) != 0) return -1;
    out->ids[out->n++] = id;
    return 0;
}

void token_list_free(struct token_list *list) {
    free(list->ids);
    *list = (struct token_list){0};
}

static int heap_push(struct work *w, struct todo item) {
    if (reserve(w, &w->heap, &w->heap_capacity, w->n_heap + 1, sizeof *w->heap) != 0) return -1;
    size_t i = w->n_heap++;
    for (; i > 0 && w->heap[(i - 1) / 2].key > item.key; i = (i - 1) / 2) {
        w->heap[i] = w->heap[(i - 1) / 2];
    }
    w->heap[i] = item;
    return 0;
}

static struct todo heap_pop(struct work *w) {
    struct todo top = w->heap[0], last = w->heap[--w->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < w->n_heap; i = child) {
        if (child + 1 < w->n_heap && w->heap[child + 1].key < w->heap[child].key) child++;
        if (last.key <= w->heap[child].key) break;
        w->heap[i] = w->heap[child];
    }
    w->heap[i] = last;
    return top;
}

/* Whether a plain text may become this token: where some of it is input, no control token comes of
 * it, although a merge, or a whole word, may have such a token's text. */
static bool may_be(const struct work *w, int32_t id) {
    return id >= 0 && !(w->input && w->t->attributes[id] & (CONTROL | UNKNOWN | MADE_PLAIN));
}

/* ---- merging --------------------------------------------------------------------------------- */

/* Notes the pair of `left` and its right neighbour if it can be merged: in BPE if there is a merge
 * of the two texts (by rank), in SPM if their joined text is a token (by score). */
static int push_pair(struct work *w, uint32_t left) {
    if (left == NONE || w->symbols[left].next == NONE) return 0;
    const struct symbol *a = &w->symbols[left];
    uint32_t size = a->len + w->symbols[a->next].len;
    struct string_key key = {
        .text = w->text + a->start, .len = size, .split = w->t->bpe ? a->len : 0};
    int32_t found = string_index_find(w->t->bpe ? &w->t->merges : &w->t->vocab, key);
    if (found < 0 || (!w->t->bpe && !may_be(w, found))) return 0;
    uint32_t rank = w->t->bpe ? (uint32_t)found : w->t->order[found];
    return heap_push(w, (struct todo){.key = (uint64_t)rank << 32 | left, .size = size});
}

static int add_symbol(struct work *w, size_t start, size_t len) {
    if (reserve(w, &w->symbols, &w->symbols_capacity, w->n_symbols + 1, sizeof *w->symbols) != 0) {
        return -1;
    }
    uint32_t i = (uint32_t)w->n_symbols++;
    w->symbols[i] = (struct symbol){(uint32_t)start, (uint32_t)len, i ? i - 1 : NONE, NONE};
    if (i) w->symbols[i - 1].next = i;
    return 0;
}

static int check_stop(struct work *w) {
    atomic_int *stop = w->t->stop;
    return stop && *stop ? error_set(w->err, KQ_INTERRUPTED, "stopped while reading a text") : 0;
}

/* Merges the best pair, the leftmost of equals, until none is left. Every pair is noted once when
 * it comes to be; one that has changed since no longer has its length. */
static int merge_symbols(struct work *w) {
    w->n_heap = 0;
    for (uint32_t i = 0; i < w->n_symbols; i++) {
        if (check_stop(w) != 0 || push_pair(w, i) != 0) return -1;
    }
    while (w->n_heap > 0) {
        if (check_stop(w) != 0) return -1;
        struct todo best = heap_pop(w);
        uint32_t left = (uint32_t)best.key;
        struct symbol *a = &w->symbols[left];
        if (a->len == 0 || a->next == NONE) continue;
        struct symbol *b = &w->symbols[a->next];
        if (a->len + b->len != best.size) continue;
        a->len = best.size;
        b->len = 0;
        a->next = b->next;
        if (a->next != NONE) w->symbols[a->next].prev = left;
        if (push_pair(w, a->prev) != 0 || push_pair(w, left) != 0) return -1;
    }
    return 0;
}

/* ---- SPM ------------------------------------------------------------------------------------- */

/* Characters are taken by their first byte alone, so that broken UTF-8 falls to byte tokens. */
static size_t lead_len(char lead) {
    unsigned char c = (unsigned char)lead;
    return c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

static int emit_spm(struct work *w, const char *text, size_t len) {
    int32_t id = tokenizer_find(w->t, text, len);
    if (may_be(w, id)) return emit(w, id);
    for (size_t i = 0; i < len; i++) {
        id = w->t->byte_id[(unsigned char)text[i]];
        if (id < 0) id = w->t->unk;
        if (id < 0) {
            return error_set(w->err, KQ_BAD_FILE, "the vocabulary has no token for the byte 0x%02x",
                             (unsigned char)text[i]);
        }
        if (emit(w, id) != 0) return -1;
    }
    return 0;
}

/* Encodes a text whose spaces become U+2581; with space_before, one more comes first. */
static int encode_spm(struct work *w, const char *text, size_t len, bool space_before) {
    if (reserve(w, &w->text, &w->text_capacity, 3 * (len + 1), 1) != 0) return -1;
    size_t n = 0;
    for (size_t i = 0; i < len + space_before; i++) {
        char c = space_before ? (i ? text[i - 1] : ' ') : text[i];
        size_t step = c == ' ' ? 3 : 1;
        memcpy(w->text + n, c == ' ' ? "\xe2\x96\x81" : &c, step);
        n += step;
    }
    w->n_symbols = 0;
    for (size_t i = 0, step; i < n; i += step) {
        step = lead_len(w->text[i]);
        if (step > n - i) step = n - i;
        if (add_symbol(w, i, step) != 0) return -1;
    }
    if (merge_symbols(w) != 0) return -1;
    for (uint32_t i = 0; i != NONE; i = w->symbols[i].next) {
        if (emit_spm(w, w->text + w->symbols[i].start, w->symbols[i].len) != 0) return -1;
    }
    return 0;
}

/* ---- BPE ------------------------------------------------------------------------------------- */

/* A text that is no token gives those of its bytes that are tokens, as llama.cpp has it. */
static int emit_bpe(struct work *w, const char *text, size_t len) {
    int32_t id = tokenizer_find(w->t, text, len);
    if (may_be(w, id)) return emit(w, id);
    for (size_t i = 0; i < len; i++) {
        id = w->t->pre->raw ? w->t->byte_id[(unsigned char)text[i]]
                            : tokenizer_find(w->t, text + i, 1);
        if (!may_be(w, id)) { // of a character of GPT-2's alphabet the first byte counts
            w->out->n_lost += w->t->pre->raw || (text[i] & 0xc0) != 0x80;
        } else if (emit(w, id) != 0) {
            return -1;
        }
    }
    return 0;
}

/* Writes a word as its symbols: the bytes in GPT-2's alphabet, or the characters with U+2581 for
 * spaces. *len is the text's length. */
static int map_word(struct work *w, const uint32_t *cp, size_t n_cp, size_t *len) {
    if (reserve(w, &w->text, &w->text_capacity, 8 * n_cp, 1) != 0) return -1;
    w->n_symbols = *len = 0;
    for (size_t i = 0; i < n_cp; i++) {
        if (w->t->pre->raw) {
            size_t step = (size_t)utf8_encode(cp[i] == ' ' ? 0x2581 : cp[i], w->text + *len);
            if (add_symbol(w, *len, step) != 0) return -1;
            *len += step;
            continue;
        }
        char bytes[4];
        int n = utf8_encode(cp[i], bytes);
        for (int k = 0; k < n; k++) {
            uint32_t mapped = w->t->byte_cp[(unsigned char)bytes[k]];
            size_t step = (size_t)utf8_encode(mapped, w->text + *len);
            if (add_symbol(w, *len, step) != 0) return -1;
            *len += step;
        }
    }
    return 0;
}

static int encode_word(struct work *w, const uint32_t *cp, size_t n_cp) {
    size_t len;
    if (map_word(w, cp, n_cp, &len) != 0) return -1;
    if (w->t->pre->whole_words || (w->t->pre->whole_lines && cp[0] == '\n')) {
        int32_t id = tokenizer_find(w->t, w->text, len);
        if (may_be(w, id)) return emit(w, id);
    }
    if (merge_symbols(w) != 0) return -1;
    for (uint32_t i = 0; i != NONE; i = w->symbols[i].next) {
        if (emit_bpe(w, w->text + w->symbols[i].start, w->symbols[i].len) != 0) return -1;
    }
    return 0;
}

static int encode_bpe(struct work *w, const char *text, size_t len) {
    struct words words;
    int failed = pretokenize(w->t->pre, text, len, &words, w->err);
    for (size_t start = 0, end; !failed && start < words.n; start = end) {
        end = words_end(&words, start);
        failed = encode_word(w, words.cp + start, end - start);
    }
    words_free(&words);
    return failed;
}

/* ---- PLaMo 2 --------------------------------------------------------------------------------- */

/* From the end: where the first piece of the text from each character on ends (next), and which
 * token it is (prev, NONE for bytes), so that the whole costs least; of equals the longest piece.
 * cost has an entry more than there are characters. */
static int choose_pieces(struct work *w, int64_t *cost) {
    const struct tokenizer *t = w->t;
    size_t n = w->n_symbols, longest = t->vocab.max_len;
    if (longest > SPECIAL_MAX) longest = SPECIAL_MAX;
    cost[n] = 0;
    for (size_t i = n; i-- > 0;) {
        if (check_stop(w) != 0) return -1;
        struct symbol *a = &w->symbols[i];
        struct string_prefix prefix = {.text = w->text + a->start};
        cost[i] = cost[i + 1] + BYTES_COST;
        a->next = (uint32_t)i + 1;
        a->prev = NONE;
        for (size_t k = i; k < n; k++) {
            size_t len = w->symbols[k].start + w->symbols[k].len - a->start;
            if (len > longest) break;
            int32_t id = string_index_find_prefix(&t->vocab, &prefix, len);
            if (!may_be(w, id) || t->cost[id] == NO_PIECE) continue;
            if (cost[k + 1] + t->cost[id] > cost[i]) continue;
            cost[i] = cost[k + 1] + t->cost[id];
            a->next = (uint32_t)k + 1;
            a->prev = (uint32_t)id;
        }
    }
    return 0;
}

static int emit_pieces(struct work *w) {
    for (size_t i = 0; i < w->n_symbols; i = w->symbols[i].next) {
        const struct symbol *a = &w->symbols[i];
        if (a->prev != NONE && emit(w, (int32_t)a->prev) != 0) return -1;
        for (uint32_t k = 0; a->prev == NONE && k < a->len; k++) {
            unsigned char byte = (unsigned char)w->text[a->start + k];
            if (emit(w, w->t->byte_id[byte]) != 0) return -1;
        }
    }
    return 0;
}

/* A byte order mark at the beginning is left out. */
static int encode_plamo2(struct work *w, const char *text, size_t len) {
    if (reserve(w, &w->text, &w->text_capacity, 3 * len, 1) != 0) return -1;
    w->n_symbols = 0;
    for (size_t i = 0, n = 0, used, step; i < len; i += used, n += step) {
        uint32_t cp = utf8_decode(text + i, len - i, &used);
        step = i == 0 && cp == 0xfeff ? 0 : (size_t)utf8_encode(cp, w->text + n);
        if (step > 0 && add_symbol(w, n, step) != 0) return -1;
    }
    int64_t *cost = malloc((w->n_symbols + 1) * sizeof *cost);
    if (!cost) return error_set(w->err, KQ_NO_MEMORY, "out of memory while reading a text");
    int failed = choose_pieces(w, cost);
    free(cost);
    return failed ? -1 : emit_pieces(w);
}

/* ---- special tokens -------------------------------------------------------------------------- */

/* The longest special from s on down that may be recognised at this byte of the text, or NULL. */
static const struct special *usable(const struct work *w, int32_t s, size_t at) {
    const struct tokenizer *t = w->t;
    for (; s >= 0; s = t->specials[s].shorter) {
        const struct special *special = &t->specials[s];
        unsigned attributes = t->attributes[special->id];
        bool input = w->input && memchr(w->input + at, 1, special->text.len);
        if (input && attributes & (CONTROL | UNKNOWN | MADE_PLAIN)) continue;
        if (w->parse_special || !(attributes & (CONTROL | UNKNOWN))) return special;
    }
    return NULL;
}

/* The longest special that the text begins with: the last one that does not sort after the text,
 * or one that it begins with. */
static const struct special *special_at(const struct work *w, struct gguf_str whole, size_t at) {
    const struct tokenizer *t = w->t;
    struct gguf_str text = {whole.data + at, whole.len - at};
    if (!t->special_start[(unsigned char)text.data[0]]) return NULL;
    int32_t low = -1, high = (int32_t)t->n_specials;
    while (high - low > 1) {
        int32_t mid = low + (high - low) / 2;
        if (compare_text(t->specials[mid].text, text) <= 0)
            low = mid;
        else
            high = mid;
    }
    while (low >= 0 && !begins_with(text, t->specials[low].text)) low = t->specials[low].shorter;
    return usable(w, low, at);
}

static int push_special(struct work *w, const struct special *s, uint32_t at) {
    if (!s) return 0;
    return heap_push(w, (struct todo){.key = (uint64_t)s->order << 32 | at,
                                      .size = (uint32_t)(s - w->t->specials)});
}

/* A special token found in the text, with the white space that it strips. */
struct place {
    size_t start, end;
    int32_t id;
};

static int place_compare(const void *a, const void *b) {
    size_t x = ((const struct place *)a)->start, y = ((const struct place *)b)->start;
    return (x > y) - (x < y);
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Places the longest tokens first, wherever they are in the text: a longer one further on wins over
 * a shorter one that reaches into it. taken[i]: byte i belongs to a token. */
static int place_specials(struct work *w, struct gguf_str text, bool *taken, struct place **places,
                          size_t *n) {
    size_t capacity = 0;
    while (w->n_heap > 0) {
        struct todo next = heap_pop(w);
        const struct special *s = &w->t->specials[next.size];
        struct place p = {.start = (uint32_t)next.key, .id = s->id};
        if (taken[p.start]) continue;
        if (memchr(taken + p.start, 1, s->text.len)) {
            s = usable(w, s->shorter, p.start);
            if (push_special(w, s, (uint32_t)next.key) != 0) return -1;
            continue;
        }
        p.end = p.start + s->text.len;
        if (w->t->attributes[p.id] & STRIP_BEFORE) {
            while (p.start > 0 && !taken[p.start - 1] && is_space(text.data[p.start - 1]))
                p.start--;
        }
        if (w->t->attributes[p.id] & STRIP_AFTER) {
            while (p.end < text.len && !taken[p.end] && is_space(text.data[p.end])) p.end++;
        }
        memset(taken + p.start, true, p.end - p.start);
        if (reserve(w, places, &capacity, *n + 1, sizeof **places) != 0) return -1;
        (*places)[(*n)++] = p;
    }
    if (*n) qsort(*places, *n, sizeof **places, place_compare);
    return 0;
}

static int find_specials(struct work *w, struct gguf_str text, struct place **places, size_t *n) {
    w->n_heap = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (push_special(w, special_at(w, text, i), (uint32_t)i) != 0) return -1;
    }
    if (w->n_heap == 0) return 0;
    bool *taken = calloc(text.len, sizeof *taken);
    if (!taken) return error_set(w->err, KQ_NO_MEMORY, "out of memory while reading a text");
    int failed = place_specials(w, text, taken, places, n);
    free(taken);
    return failed;
}

/* ---- encoding -------------------------------------------------------------------------------- */

/* Encodes the text between two special tokens. */
static int encode_plain(struct work *w, const char *text, size_t len, bool after_special) {
    if (len == 0) return 0;
    if (w->t->bpe) return encode_bpe(w, text, len);
    if (w->t->plamo2) return encode_plamo2(w, text, len);
    return encode_spm(w, text, len, after_special && w->t->add_space_prefix);
}

static int encode(struct work *w, struct gguf_str text) {
    struct place *places = NULL;
    size_t n = 0, at = 0;
    int failed = find_specials(w, text, &places, &n);
    for (size_t i = 0; !failed && i < n; at = places[i++].end) {
        failed = encode_plain(w, text.data + at, places[i].start - at, at == 0 || i > 0) ||
                 emit(w, places[i].id);
    }
    if (!failed) failed = encode_plain(w, text.data + at, text.len - at, true);
    free(places);
    return failed ? -1 : 0;
}

int tokenizer_encode_marked(const struct tokenizer *t, const char *text, size_t len,
                            const bool *input, bool add_special, bool parse_special,
                            struct token_list *out, struct error *err) {
    /* Positions in the text, with spaces and bytes written as up to 3 bytes, must fit 32 bits. */
    if (len > INT32_MAX / 4)
        return error_set(err, KQ_BAD_ARGUMENT, "a text of %zu bytes is too long", len);
    struct work w = {
        .t = t, .out = out, .err = err, .input = input, .parse_special = parse_special};
    int failed = add_special && t->add_bos ? emit(&w, t->bos) : 0;
    if (!failed) failed = encode(&w, (struct gguf_str){text, len});
    if (!failed && add_special && t->add_eos) failed = emit(&w, t->eos);
    free(w.text);
    free(w.symbols);
    free(w.heap);
    return failed;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, bool add_special,
                     bool parse_special, struct token_list *out, struct error *err) {
    return tokenizer_encode_marked(t, text, len, NULL, add_special, parse_special, out, err);
}

/* ---- decoding -------------------------------------------------------------------------------- */

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* The byte that "<0x41>" stands for, or -1. */
static int byte_value(struct gguf_str s) {
    if (s.len != 6 || memcmp(s.data, "<0x", 3) != 0 || s.data[5] != '>') return -1;
    int high = hex_digit(s.data[3]), low = hex_digit(s.data[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Bytes for a caller's buffer: those beyond its end are only counted. */
struct sink {
    char *buf;
    size_t room, n;
};

static void put_byte(struct sink *out, char c) {
    if (out->n < out->room) out->buf[out->n] = c;
    out->n++;
}

static void put_text(struct sink *out, struct gguf_str s) {
    for (size_t i = 0; i < s.len; i++) put_byte(out, s.data[i]);
}

static void unescape_spm(struct sink *out, struct gguf_str s) {
    for (size_t i = 0; i < s.len;) {
        bool space = s.len - i >= 3 && memcmp(s.data + i, "\xe2\x96\x81", 3) == 0;
        put_byte(out, space ? ' ' : s.data[i]);
        i += space ? 3 : 1;
    }
}

/* Every character of GPT-2's alphabet has one or two bytes; others stay as they are. */
static void unmap_bpe(const struct tokenizer *t, struct sink *out, struct gguf_str s) {
    for (size_t i = 0; i < s.len;) {
        unsigned char a = (unsigned char)s.data[i];
        unsigned char b = i + 1 < s.len ? (unsigned char)s.data[i + 1] : 0;
        bool two = a >= 0xc2 && a <= 0xc5 && (b & 0xc0) == 0x80;
        size_t cp = two ? (size_t)(a & 0x1f) << 6 | (b & 0x3f) : a;
        bool known =
            (two || a < 0x80) && cp < sizeof t->cp_byte / sizeof *t->cp_byte && t->cp_byte[cp] >= 0;
        put_byte(out, known ? (char)t->cp_byte[cp] : s.data[i]);
        i += known && two ? 2 : 1;
    }
}

size_t tokenizer_piece(const struct tokenizer *t, int32_t id, bool show_special, char *buf,
                       size_t room) {
    struct sink out = {.buf = buf, .room = room};
    if (!is_token(t, id)) return 0;
    unsigned attributes = t->attributes[id];
    struct gguf_str text = token_text(t, id);
    int byte = attributes & BYTE ? byte_value(text) : -1;
    if (attributes & (CONTROL | UNKNOWN)) {
        if (show_special) put_text(&out, text);
    } else if (byte >= 0) {
        put_byte(&out, (char)byte);
    } else if (t->plamo2 || attributes & (USER_DEFINED | BYTE)) {
        put_text(&out, text);
    } else if (attributes & NORMAL) {
        if (t->bpe && !t->pre->raw)
            unmap_bpe(t, &out, text);
        else
            unescape_spm(&out, text);
    }
    return out.n;
}

size_t tokenizer_piece_max(const struct tokenizer *t) {
    return t->vocab.max_len;
}

/* How many bytes at the end of s begin a character that is not complete yet: 0 to 3. */
static size_t unfinished(const char *s, size_t n) {
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = (unsigned char)s[n - back];
        if ((c & 0xc0) == 0x80) continue;
        return c >= 0xc2 && c <= 0xf4 && lead_len((char)c) > back ? back : 0;
    }
    return 0;
}

void token_stream_begin(struct token_stream *s, const struct tokenizer *t, bool from_start) {
    *s = (struct token_stream){.skip_space = from_start && t->add_space_prefix};
}

void token_stream_next(struct token_stream *s, struct gguf_str piece, struct gguf_str out[2]) {
    if (s->skip_space && piece.len > 0) {
        s->skip_space = false;
        if (piece.data[0] == ' ') piece = (struct gguf_str){piece.data + 1, piece.len - 1};
    }
    /* The character that was held back comes first, with what it takes of the piece: all of it may
     * still be too little, and a byte that begins another character shows that it was broken. */
    size_t n = s->n_pending, taken = 0;
    memcpy(s->ready, s->pending, n);
    while (n > 0 && taken < piece.len && unfinished(s->ready, n) == n) {
        s->ready[n++] = piece.data[taken++];
    }
    size_t held = unfinished(s->ready, n);
    if (held > 0 && held < n) { // the last byte begins another character
        held = 0;
        n--;
        taken--;
    }
    out[0] = (struct gguf_str){s->ready, n - held};
    out[1] = (struct gguf_str){piece.data + taken, piece.len - taken};
    const char *tail = s->ready;
    if (held == 0) {
        held = unfinished(out[1].data, out[1].len);
        out[1].len -= held;
        tail = out[1].data + out[1].len;
    }
    memcpy(s->pending, tail, held);
    s->n_pending = held;
}

struct gguf_str token_stream_end(struct token_stream *s) {
    struct gguf_str held = {s->pending, s->n_pending};
    s->n_pending = 0;
    return held;
}
