/* The map, the parse, the lookups. Nothing in the file is believed before it was compared with the
 * file's own length; after gguf_open or gguf_parse no reader needs another check. */
#include "gguf.h"
#include "file_kind.h"
#include "file_memory.h"
#include "round.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error \
    "GGUF values and the blocks of quantized rows are read in place: a little-endian host is needed"
#endif

/* The shortest entries a file can hold: what n_kv and n_tensors are measured with before anything
 * is allocated for them. */
#define HEADER_BYTES 24
#define KV_MIN_BYTES (8 + 1 + 4 + 1)         // key of one byte, type, value of one byte
#define TENSOR_MIN_BYTES (8 + 1 + 4 + 4 + 8) // name of one byte, n_dims 0, type, offset
#define MAX_KEY 65535                        // the format's limit
#define MAX_NAME 64                          // ggml's GGML_MAX_NAME, with the NUL
#define MAX_PARTS 99999                      // what the five digits in a part's name can say
/* Keys, and tensors, in a file: ten times what any model has; sorting them takes half a second. */
#define MAX_ENTRIES (1 << 18)

struct gguf_map {
    struct file_memory file; // none: borrowed from the caller of gguf_parse
    char (*names)[MAX_NAME]; // of this part's tensors
};

/* Pointers sorted by name: searched by halves, and equal names end up side by side. A sort costs
 * n log n whatever the names are; a hash table would have to be defended. */
struct gguf_index {
    const struct gguf_kv **kv;
    const struct gguf_tensor **tensors;
};

/* ---- types ----------------------------------------------------------------------------------- */

static const struct ggml_type_info type_table[GGML_N_TYPES] = {
#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    [number] = {#NAME, len, bytes},
#include "types.def"
};

const struct ggml_type_info *ggml_type_info(uint32_t type) {
    return type < GGML_N_TYPES && type_table[type].name ? &type_table[type] : NULL;
}

/* What a getter asks for: the types of one class are converted to each other. */
enum value_class { CLASS_INT, CLASS_FLOAT, CLASS_BOOL, CLASS_STRING, CLASS_ARRAY };

static const struct {
    const char *name;
    size_t bytes; // of one element; of a string's length
    enum value_class class;
} value_table[] = {
    [GGUF_UINT8] = {"u8", 1, CLASS_INT},         [GGUF_INT8] = {"i8", 1, CLASS_INT},
    [GGUF_UINT16] = {"u16", 2, CLASS_INT},       [GGUF_INT16] = {"i16", 2, CLASS_INT},
    [GGUF_UINT32] = {"u32", 4, CLASS_INT},       [GGUF_INT32] = {"i32", 4, CLASS_INT},
    [GGUF_FLOAT32] = {"f32", 4, CLASS_FLOAT},    [GGUF_BOOL] = {"bool", 1, CLASS_BOOL},
    [GGUF_STRING] = {"string", 8, CLASS_STRING}, [GGUF_ARRAY] = {"array", 0, CLASS_ARRAY},
    [GGUF_UINT64] = {"u64", 8, CLASS_INT},       [GGUF_INT64] = {"i64", 8, CLASS_INT},
    [GGUF_FLOAT64] = {"f64", 8, CLASS_FLOAT},
};
#define N_VALUE_TYPES (sizeof value_table / sizeof value_table[0])

const char *gguf_type_name(enum gguf_type type) {
    return (size_t)type < N_VALUE_TYPES ? value_table[type].name : "unknown";
}

size_t gguf_type_bytes(enum gguf_type type) {
    return (size_t)type < N_VALUE_TYPES ? value_table[type].bytes : 0;
}

/* ---- reading within bounds ------------------------------------------------------------------- */

struct reader {
    const uint8_t *buf;
    size_t size;
    size_t pos;           // <= size
    const char *kind;     // what is being read, for messages: "key", "tensor"
    size_t i;             // which one
    struct gguf_str name; // its name, once known
    struct error *err;
};

PRINTF_LIKE(2, 3) static int fail(const struct reader *r, const char *format, ...) {
    char what[320];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (!r->kind) return error_set(r->err, KQ_BAD_FILE, "%s", what);
    if (!r->name.data) return error_set(r->err, KQ_BAD_FILE, "%s %zu: %s", r->kind, r->i, what);
    int len = r->name.len < 100 ? (int)r->name.len : 100;
    return error_set(r->err, KQ_BAD_FILE, "%.*s%s: %s", len, r->name.data,
                     r->name.len > 100 ? "..." : "", what);
}

/* The next n bytes, or NULL with an error that says what they were to be. */
static const uint8_t *take(struct reader *r, uint64_t n, const char *what) {
    if (n > r->size - r->pos) {
        fail(r, "%s needs %llu bytes at offset %zu, the file ends after %zu: truncated?", what,
             (unsigned long long)n, r->pos, r->size);
        return NULL;
    }
    const uint8_t *p = r->buf + r->pos;
    r->pos += (size_t)n;
    return p;
}

static int take_u32(struct reader *r, uint32_t *value, const char *what) {
    const uint8_t *p = take(r, sizeof *value, what);
    if (!p) return -1;
    memcpy(value, p, sizeof *value);
    return 0;
}

static int take_u64(struct reader *r, uint64_t *value, const char *what) {
    const uint8_t *p = take(r, sizeof *value, what);
    if (!p) return -1;
    memcpy(value, p, sizeof *value);
    return 0;
}

static int take_str(struct reader *r, struct gguf_str *s, const char *what) {
    uint64_t len;
    if (take_u64(r, &len, what) != 0) return -1;
    const uint8_t *p = take(r, len, what);
    if (!p) return -1;
    *s = (struct gguf_str){(const char *)p, (size_t)len};
    return 0;
}

/* ---- metadata -------------------------------------------------------------------------------- */

/* Bytes are compared first, so that the order is that of strcmp. */
static int str_compare(struct gguf_str a, struct gguf_str b) {
    int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int kv_compare(const void *a, const void *b) {
    const struct gguf_kv *const *x = a, *const *y = b;
    return str_compare((*x)->key, (*y)->key);
}

static int tensor_compare(const void *a, const void *b) {
    const struct gguf_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int tensor_compare_place(const void *a, const void *b) {
    const struct gguf_tensor *const *x = a, *const *y = b;
    uintptr_t p = (uintptr_t)(*x)->data, q = (uintptr_t)(*y)->data;
    return (p > q) - (p < q);
}

static int read_header(struct reader *r, uint64_t *n_kv, uint64_t *n_tensors, uint32_t *version) {
    if (r->size == 0) return fail(r, "the file is empty, expected a GGUF file");
    if (r->size < 4 || memcmp(r->buf, "GGUF", 4) != 0) {
        const char *kind = file_kind(r->buf, r->size);
        if (kind) return fail(r, "not a GGUF file but %s", kind);
        return fail(r, "not a GGUF file: it begins with \"%.*s\", expected \"GGUF\"",
                    r->size < 4 ? (int)r->size : 4, (const char *)r->buf);
    }
    r->pos = 4;
    if (take_u32(r, version, "the version") != 0) return -1;
    if (*version != 0 && (*version & 0xffff) == 0) {
        return error_set(r->err, KQ_UNSUPPORTED,
                         "a big-endian GGUF file (version 0x%08x): little-endian is expected",
                         (unsigned)*version);
    }
    if (*version != 2 && *version != 3) {
        return error_set(r->err, KQ_UNSUPPORTED,
                         "GGUF version %u is not supported, expected 2 or 3", (unsigned)*version);
    }
    if (take_u64(r, n_tensors, "n_tensors") != 0 || take_u64(r, n_kv, "n_kv") != 0) return -1;
    size_t remain = r->size - r->pos;
    if (*n_kv > remain / KV_MIN_BYTES) {
        return fail(r, "n_kv is %llu, but the %zu bytes after the header hold at most %zu keys",
                    (unsigned long long)*n_kv, remain, remain / KV_MIN_BYTES);
    }
    remain -= (size_t)*n_kv * KV_MIN_BYTES;
    if (*n_tensors > remain / TENSOR_MIN_BYTES) {
        return fail(r, "n_tensors is %llu, but the file of %zu bytes holds at most %zu",
                    (unsigned long long)*n_tensors, r->size, remain / TENSOR_MIN_BYTES);
    }
    if (*n_kv > MAX_ENTRIES || *n_tensors > MAX_ENTRIES) {
        return fail(r, "n_kv is %llu and n_tensors %llu, at most %d are allowed of each",
                    (unsigned long long)*n_kv, (unsigned long long)*n_tensors, MAX_ENTRIES);
    }
    return 0;
}

/* Reads kv->n values of kv->elem_type; sets kv->data to where they begin. */
static int read_values(struct reader *r, struct gguf_kv *kv) {
    size_t bytes = value_table[kv->elem_type].bytes, remain = r->size - r->pos;
    if (kv->n > remain / bytes) {
        return fail(
            r, "needs %llu x %zu bytes (%s) at offset %zu, the file ends after %zu: truncated?",
            (unsigned long long)kv->n, bytes, gguf_type_name(kv->elem_type), r->pos, r->size);
    }
    kv->data = r->buf + r->pos;
    if (kv->elem_type != GGUF_STRING) {
        r->pos += (size_t)kv->n * bytes;
        return 0;
    }
    struct gguf_str s;
    for (uint64_t i = 0; i < kv->n; i++) {
        if (take_str(r, &s, "a string") != 0) return -1;
    }
    return 0;
}

static int read_kv(struct reader *r, struct gguf_kv *kv) {
    r->name.data = NULL;
    if (take_str(r, &kv->key, "the key") != 0) return -1;
    if (kv->key.len == 0) return fail(r, "the key is empty");
    r->name = kv->key;
    if (kv->key.len > MAX_KEY) {
        return fail(r, "the key has %zu bytes, at most %d are allowed", kv->key.len, MAX_KEY);
    }
    uint32_t type, elem_type;
    if (take_u32(r, &type, "the value's type") != 0) return -1;
    if (type >= N_VALUE_TYPES) {
        return fail(r, "value type %u is unknown, expected 0 to %zu", (unsigned)type,
                    N_VALUE_TYPES - 1);
    }
    elem_type = type;
    kv->n = 1;
    if (type == GGUF_ARRAY) {
        if (take_u32(r, &elem_type, "the array's type") != 0) return -1;
        if (elem_type == GGUF_ARRAY) return fail(r, "arrays of arrays are not supported");
        if (elem_type >= N_VALUE_TYPES) {
            return fail(r, "array element type %u is unknown, expected 0 to %zu",
                        (unsigned)elem_type, N_VALUE_TYPES - 1);
        }
        if (take_u64(r, &kv->n, "the array's count") != 0) return -1;
    }
    kv->type = (enum gguf_type)type;
    kv->elem_type = (enum gguf_type)elem_type;
    return read_values(r, kv);
}

/* Sorts the keys for gguf_find and refuses a key that occurs twice. */
static int index_keys(struct gguf *g, const struct reader *r) {
    const struct gguf_kv **sorted = calloc(g->n_kv + 1, sizeof *sorted);
    if (!sorted) return error_set(r->err, KQ_NO_MEMORY, "out of memory for %zu keys", g->n_kv);
    g->index->kv = sorted;
    for (size_t i = 0; i < g->n_kv; i++) sorted[i] = &g->kv[i];
    qsort(sorted, g->n_kv, sizeof *sorted, kv_compare);
    for (size_t i = 1; i < g->n_kv; i++) {
        if (kv_compare(&sorted[i - 1], &sorted[i]) != 0) continue;
        struct reader at = *r;
        at.kind = "key";
        at.name = sorted[i]->key;
        return fail(&at, "the key occurs twice");
    }
    return 0;
}

static int read_keys(struct reader *r, struct gguf *g, uint64_t n_kv) {
    g->kv = calloc((size_t)n_kv + 1, sizeof *g->kv);
    if (!g->kv)
        return error_set(r->err, KQ_NO_MEMORY, "out of memory for %llu keys",
                         (unsigned long long)n_kv);
    g->n_kv = (size_t)n_kv;
    r->kind = "key";
    for (r->i = 0; r->i < g->n_kv; r->i++) {
        if (read_kv(r, &g->kv[r->i]) != 0) return -1;
    }
    r->kind = NULL;
    return index_keys(g, r);
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* Writes "4096 x 14336 Q5_K" for messages; the type is known. */
static const char *describe(const struct gguf_tensor *t, char text[static 128]) {
    int len = 0;
    for (int d = 0; d < t->n_dims; d++) {
        len += snprintf(text + len, 128 - (size_t)len, "%s%llu", d ? " x " : "",
                        (unsigned long long)t->ne[d]);
    }
    snprintf(text + len, 128 - (size_t)len, " %s", ggml_type_info(t->type)->name);
    return text;
}

static int read_name(struct reader *r, char name[MAX_NAME]) {
    struct gguf_str s;
    r->name.data = NULL;
    if (take_str(r, &s, "the name") != 0) return -1;
    if (s.len == 0) return fail(r, "the name is empty");
    r->name = s;
    if (s.len >= MAX_NAME) {
        return fail(r, "the tensor's name has %zu bytes, at most %d are allowed", s.len,
                    MAX_NAME - 1);
    }
    if (memchr(s.data, 0, s.len)) return fail(r, "the tensor's name contains a zero byte");
    memcpy(name, s.data, s.len);
    name[s.len] = '\0';
    return 0;
}

/* No dimension at all is one weight, and a dimension of 0 no weight, as in ggml; the product of the
 * others is bounded all the same, so that no product of some of them can overflow. */
static int read_shape(struct reader *r, struct gguf_tensor *t) {
    uint32_t n_dims;
    if (take_u32(r, &n_dims, "n_dims") != 0) return -1;
    if (n_dims > 4) {
        return fail(r, "the tensor has %u dimensions, at most 4 are allowed", (unsigned)n_dims);
    }
    t->n_dims = n_dims ? (int)n_dims : 1;
    uint64_t n = 1;
    for (uint32_t d = 0; d < 4; d++) {
        t->ne[d] = 1;
        if (d < n_dims && take_u64(r, &t->ne[d], "a dimension") != 0) return -1;
        if (t->ne[d] > INT64_MAX / n) {
            return fail(r, "dimension %u is %llu: the tensor would have more than 2^63 weights",
                        (unsigned)d, (unsigned long long)t->ne[d]);
        }
        if (t->ne[d] > 0) n *= t->ne[d];
    }
    return 0;
}

/* The offset counts from the aligned start of the data, which is known after the last tensor. */
static int read_tensor(struct reader *r, struct gguf_tensor *t, char name[MAX_NAME],
                       uint64_t *offset) {
    if (read_name(r, name) != 0 || read_shape(r, t) != 0) return -1;
    t->name = name;
    if (take_u32(r, &t->type, "the tensor's type") != 0) return -1;
    return take_u64(r, offset, "the tensor's offset");
}

/* The bytes of a tensor whose number of weights fits 63 bits. */
static int tensor_bytes(const struct reader *r, const struct gguf_tensor *t, uint64_t *nbytes) {
    const struct ggml_type_info *info = ggml_type_info(t->type);
    uint64_t block_len = (uint64_t)info->block_len, block_bytes = (uint64_t)info->block_bytes;
    if (t->ne[0] % block_len != 0) {
        return fail(r, "rows of %llu weights are no whole number of %s blocks of %d",
                    (unsigned long long)t->ne[0], info->name, info->block_len);
    }
    uint64_t blocks = t->ne[0] / block_len * t->ne[1] * t->ne[2] * t->ne[3];
    if (blocks > UINT64_MAX / block_bytes) {
        char text[128];
        return fail(r, "%s would have more than 2^64 bytes", describe(t, text));
    }
    *nbytes = blocks * block_bytes;
    return 0;
}

/* Sets data and nbytes; r stands behind the last tensor's entry. */
static int place_tensor(struct reader *r, const struct gguf *g, struct gguf_tensor *t,
                        uint64_t offset) {
    r->name = (struct gguf_str){t->name, strlen(t->name)};
    if (offset % g->alignment != 0) {
        return fail(r, "the offset %llu is no multiple of general.alignment %zu",
                    (unsigned long long)offset, g->alignment);
    }
    uint64_t nbytes = 0, size = r->size, begin = r->pos;
    if (!ggml_type_info(t->type)) return 0;
    if (tensor_bytes(r, t, &nbytes) != 0) return -1;
    if (offset > size) {
        return fail(r, "the offset %llu is past the end of the file (%zu bytes): truncated?",
                    (unsigned long long)offset, r->size);
    }
    begin = round_up_u64(begin, g->alignment) + offset;
    if (begin > size || nbytes > size - begin) {
        char text[128];
        return fail(r, "%s needs %llu bytes at offset %llu, the file ends after %zu: truncated?",
                    describe(t, text), (unsigned long long)nbytes, (unsigned long long)begin,
                    r->size);
    }
    t->data = r->buf + begin;
    t->nbytes = (size_t)nbytes;
    return 0;
}

/* Tensors that share bytes come from a damaged or hostile file. Refusing them bounds the sum of all
 * tensors by the file's length: nothing that is computed from shapes can outgrow it. */
static int check_overlap(const struct reader *r, const struct gguf *g) {
    const struct gguf_tensor **sorted = calloc(g->n_tensors + 1, sizeof *sorted);
    if (!sorted)
        return error_set(r->err, KQ_NO_MEMORY, "out of memory for %zu tensors", g->n_tensors);
    size_t n = 0;
    for (size_t i = 0; i < g->n_tensors; i++) {
        if (g->tensors[i].nbytes > 0) sorted[n++] = &g->tensors[i];
    }
    qsort(sorted, n, sizeof *sorted, tensor_compare_place);
    int result = 0;
    for (size_t i = 1; i < n && result == 0; i++) {
        const uint8_t *end = (const uint8_t *)sorted[i - 1]->data + sorted[i - 1]->nbytes;
        if (end > (const uint8_t *)sorted[i]->data) {
            result = error_set(r->err, KQ_BAD_FILE, "%s and %s overlap in the file",
                               sorted[i - 1]->name, sorted[i]->name);
        }
    }
    free(sorted);
    return result;
}

static int read_tensors(struct reader *r, struct gguf *g, uint64_t n_tensors) {
    size_t n = (size_t)n_tensors;
    uint64_t *offsets = calloc(n + 1, sizeof *offsets);
    g->tensors = calloc(n + 1, sizeof *g->tensors);
    g->maps->names = calloc(n + 1, sizeof *g->maps->names);
    int result = -1;
    if (!offsets || !g->tensors || !g->maps->names) {
        error_set(r->err, KQ_NO_MEMORY, "out of memory for %zu tensors", n);
        goto done;
    }
    g->n_tensors = n;
    r->kind = "tensor";
    for (r->i = 0; r->i < n; r->i++) {
        if (read_tensor(r, &g->tensors[r->i], g->maps->names[r->i], &offsets[r->i]) != 0) goto done;
    }
    for (r->i = 0; r->i < n; r->i++) {
        if (place_tensor(r, g, &g->tensors[r->i], offsets[r->i]) != 0) goto done;
    }
    r->kind = NULL;
    result = check_overlap(r, g);
done:
    free(offsets);
    return result;
}

/* Sorts the tensors for gguf_find_tensor and refuses a name that occurs twice. */
static int index_tensors(struct gguf *g, struct error *err) {
    const struct gguf_tensor **sorted = calloc(g->n_tensors + 1, sizeof *sorted);
    if (!sorted) return error_set(err, KQ_NO_MEMORY, "out of memory for %zu tensors", g->n_tensors);
    g->index->tensors = sorted;
    for (size_t i = 0; i < g->n_tensors; i++) sorted[i] = &g->tensors[i];
    qsort(sorted, g->n_tensors, sizeof *sorted, tensor_compare);
    for (size_t i = 1; i < g->n_tensors; i++) {
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0) {
            return error_set(err, KQ_BAD_FILE, "%s: the tensor's name occurs twice",
                             sorted[i]->name);
        }
    }
    return 0;
}

/* ---- whole files ----------------------------------------------------------------------------- */

/* The format asks for a multiple of 8: with it every block and float in the map is aligned. */
static int read_alignment(struct gguf *g, struct error *err) {
    uint32_t alignment = 32;
    if (gguf_get_u32(g, "general.alignment", &alignment, err) < 0) return -1;
    if (alignment < 8 || (alignment & (alignment - 1)) != 0) {
        return error_set(err, KQ_BAD_FILE,
                         "general.alignment is %u, expected a power of two from 8 on",
                         (unsigned)alignment);
    }
    g->alignment = alignment;
    return 0;
}

/* Parses one file, all but the index of tensors. Takes ownership of the file's memory, if buf lies
 * in one. */
static int parse_part(struct gguf *g, struct file_memory file, const void *buf, size_t size,
                      struct error *err) {
    struct reader r = {.buf = buf, .size = size, .err = err};
    *g = (struct gguf){.mapped_bytes = size};
    g->maps = calloc(1, sizeof *g->maps);
    g->index = calloc(1, sizeof *g->index);
    if (!g->maps || !g->index) {
        file_memory_free(&file);
        return error_set(err, KQ_NO_MEMORY, "out of memory");
    }
    g->maps[0].file = file;
    g->n_maps = 1;
    uint64_t n_kv = 0, n_tensors = 0;
    if (read_header(&r, &n_kv, &n_tensors, &g->version) != 0) return -1;
    if (read_keys(&r, g, n_kv) != 0) return -1;
    if (read_alignment(g, err) != 0) return -1;
    return read_tensors(&r, g, n_tensors);
}

int gguf_parse(struct gguf *g, const void *buf, size_t size, struct error *err) {
    if (parse_part(g, (struct file_memory){0}, buf, size, err) != 0 || index_tensors(g, err) != 0) {
        gguf_close(g);
        return -1;
    }
    return 0;
}

/* Of what is to be read the header must be in order (file_accept). */
static int accept_head(const void *head, size_t n, size_t len, struct error *err) {
    bool begins = n >= HEADER_BYTES && memcmp(head, "GGUF", 4) == 0; // else the rest is unknown
    struct reader r = {.buf = head, .size = begins ? len : n, .err = err};
    uint64_t n_kv, n_tensors;
    uint32_t version;
    return read_header(&r, &n_kv, &n_tensors, &version);
}

/* Opens and parses one file. */
static int open_part(struct gguf *g, const char *path, const struct file_reading *how,
                     struct error *err) {
    struct file_memory file;
    *g = (struct gguf){0};
    if (file_memory_open(&file, path, how, accept_head, err) != 0) return -1;
    struct error inner = {0};
    if (parse_part(g, file, file.addr, file.len, &inner) == 0) return 0;
    return error_set(err, inner.status, "%.200s: %s", path, inner.text);
}

/* Moves the part's tensors and its map to the end of g's. */
static int append_part(struct gguf *g, struct gguf *part, struct error *err) {
    size_t n = g->n_tensors + part->n_tensors;
    struct gguf_tensor *tensors = realloc(g->tensors, (n + 1) * sizeof *tensors);
    if (tensors) g->tensors = tensors;
    struct gguf_map *maps = realloc(g->maps, (g->n_maps + 1) * sizeof *maps);
    if (maps) g->maps = maps;
    if (!tensors || !maps) return error_set(err, KQ_NO_MEMORY, "out of memory for %zu tensors", n);
    memcpy(tensors + g->n_tensors, part->tensors, part->n_tensors * sizeof *tensors);
    g->n_tensors = n;
    g->maps[g->n_maps++] = part->maps[0];
    g->mapped_bytes += part->mapped_bytes;
    part->n_maps = 0; // g owns it now
    return 0;
}

/* The file must be what its name says: part `no` (from 0 on) of count. */
static int check_part(const struct gguf *part, const char *path, uint32_t no, uint32_t count,
                      struct error *err) {
    uint32_t part_no = 0, part_count = count;
    int found = gguf_get_u32(part, "split.no", &part_no, err);
    if (found < 0 || gguf_get_u32(part, "split.count", &part_count, err) < 0) return -1;
    if (!found)
        return error_set(err, KQ_BAD_FILE, "%.300s has no split.no, expected %u", path,
                         (unsigned)no);
    if (part_no == no && part_count == count) return 0;
    return error_set(err, KQ_BAD_FILE, "%.300s: expected split.no %u of %u, found %u of %u", path,
                     (unsigned)no, (unsigned)count, (unsigned)part_no, (unsigned)part_count);
}

/* Opens the part and moves it into g. */
static int open_next_part(struct gguf *g, const char *path, const struct file_reading *how,
                          uint32_t no, uint32_t count, struct error *err) {
    struct gguf part;
    struct file_reading rest;
    if (how) {
        rest = *how;
        if (rest.room != SIZE_MAX) rest.room -= g->mapped_bytes;
        how = &rest;
    }
    int result = open_part(&part, path, how, err);
    if (result == 0) result = check_part(&part, path, no, count, err);
    if (result == 0) result = append_part(g, &part, err);
    gguf_close(&part);
    return result;
}

/* Writes "-00001-of-00003.gguf". */
static void part_suffix(char suffix[static 32], uint32_t no, uint32_t count) {
    snprintf(suffix, 32, "-%05u-of-%05u.gguf", (unsigned)no + 1, (unsigned)count);
}

/* Opens parts 1..count-1 beside part 0, whose path ends in the suffix. */
static int open_other_parts(struct gguf *g, const char *path, const struct file_reading *how,
                            uint32_t count, struct error *err) {
    char suffix[32];
    part_suffix(suffix, 0, count);
    size_t len = strlen(path), suffix_len = strlen(suffix);
    if (len < suffix_len || strcmp(path + len - suffix_len, suffix) != 0) {
        return error_set(err, KQ_BAD_FILE,
                         "%.300s is the first of %u parts, its name must end in %s", path,
                         (unsigned)count, suffix);
    }
    char *name = malloc(len + 1);
    if (!name) return error_set(err, KQ_NO_MEMORY, "out of memory");
    memcpy(name, path, len + 1);
    int result = 0;
    for (uint32_t i = 1; i < count && result == 0; i++) {
        part_suffix(suffix, i, count);
        memcpy(name + len - suffix_len, suffix, suffix_len);
        result = open_next_part(g, name, how, i, count, err);
    }
    free(name);
    return result;
}

/* If g is the first part of a split file, opens the others. As in llama.cpp, split.count decides:
 * the name alone makes no split file. */
static int open_split(struct gguf *g, const char *path, const struct file_reading *how,
                      struct error *err) {
    uint32_t no = 0, count = 1;
    if (gguf_get_u32(g, "split.count", &count, err) < 0) return -1;
    if (count <= 1) return 0;
    if (gguf_get_u32(g, "split.no", &no, err) < 0) return -1;
    if (no != 0) {
        return error_set(err, KQ_BAD_ARGUMENT, "%.300s is part %u of %u: open the first part", path,
                         (unsigned)no + 1, (unsigned)count);
    }
    if (count > MAX_PARTS) {
        return error_set(err, KQ_BAD_FILE,
                         "%.300s: split.count is %u, at most %d parts are possible", path,
                         (unsigned)count, MAX_PARTS);
    }
    if (open_other_parts(g, path, how, count, err) != 0) return -1;
    uint32_t n_tensors = 0;
    int found = gguf_get_u32(g, "split.tensors.count", &n_tensors, err);
    if (found > 0 && n_tensors != g->n_tensors) {
        return error_set(err, KQ_BAD_FILE,
                         "%.300s: split.tensors.count is %u, the %u parts have %zu", path,
                         (unsigned)n_tensors, (unsigned)count, g->n_tensors);
    }
    return found < 0 ? -1 : 0;
}

int gguf_read(struct gguf *g, const char *path, const struct file_reading *how, struct error *err) {
    if (open_part(g, path, how, err) != 0 || open_split(g, path, how, err) != 0 ||
        index_tensors(g, err) != 0) {
        gguf_close(g);
        return -1;
    }
    return 0;
}

int gguf_open(struct gguf *g, const char *path, struct error *err) {
    return gguf_read(g, path, NULL, err);
}

const void *gguf_memory(const struct gguf *g, size_t i, size_t *len) {
    *len = i < g->n_maps ? g->maps[i].file.len : 0;
    return *len ? g->maps[i].file.addr : NULL;
}

bool gguf_maps_file(const struct gguf *g, const struct stat *st) {
    for (size_t i = 0; i < g->n_maps; i++) {
        const struct file_memory *file = &g->maps[i].file;
        if (file->addr && file->device == st->st_dev && file->inode == st->st_ino) return true;
    }
    return false;
}

void gguf_close(struct gguf *g) {
    if (g->index) {
        free(g->index->kv);
        free(g->index->tensors);
    }
    for (size_t i = 0; i < g->n_maps; i++) {
        free(g->maps[i].names);
        file_memory_free(&g->maps[i].file);
    }
    free(g->index);
    free(g->maps);
    free(g->kv);
    free(g->tensors);
    *g = (struct gguf){0};
}

/* ---- lookups --------------------------------------------------------------------------------- */

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key) {
    struct gguf_kv probe = {.key = {key, strlen(key)}};
    const struct gguf_kv *probe_at = &probe;
    if (g->n_kv == 0) return NULL;
    const struct gguf_kv **found =
        bsearch(&probe_at, g->index->kv, g->n_kv, sizeof *g->index->kv, kv_compare);
    return found ? *found : NULL;
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name) {
    struct gguf_tensor probe = {.name = name};
    const struct gguf_tensor *probe_at = &probe;
    if (g->n_tensors == 0) return NULL;
    const struct gguf_tensor **found = bsearch(&probe_at, g->index->tensors, g->n_tensors,
                                               sizeof *g->index->tensors, tensor_compare);
    return found ? *found : NULL;
}

/* The scalar of a class under key: 1, 0 or -1 as the getters say. */
static int find_scalar(const struct gguf *g, const char *key, enum value_class class,
                       const char *expected, const struct gguf_kv **kv, struct error *err) {
    *kv = gguf_find(g, key);
    if (!*kv) return 0;
    if (value_table[(*kv)->type].class == class) return 1;
    return error_set(err, KQ_BAD_FILE, "%s: expected %s, found %s%s", key, expected,
                     (*kv)->type == GGUF_ARRAY ? "array of " : "",
                     gguf_type_name((*kv)->elem_type));
}

int gguf_get_u32(const struct gguf *g, const char *key, uint32_t *value, struct error *err) {
    const struct gguf_kv *kv;
    int found = find_scalar(g, key, CLASS_INT, "an integer", &kv, err);
    if (found <= 0) return found;
    int64_t v = gguf_int_at(kv, 0);
    if (v < 0 || v > UINT32_MAX) {
        return error_set(err, KQ_BAD_FILE, "%s: %lld does not fit, expected 0 to 4294967295", key,
                         (long long)v);
    }
    *value = (uint32_t)v;
    return 1;
}

int gguf_get_f32(const struct gguf *g, const char *key, float *value, struct error *err) {
    const struct gguf_kv *kv;
    int found = find_scalar(g, key, CLASS_FLOAT, "a float", &kv, err);
    if (found <= 0) return found;
    double v = gguf_f32_at(kv, 0);
    if (isfinite(v) && fabs(v) > (double)FLT_MAX) {
        return error_set(err, KQ_BAD_FILE, "%s: %g does not fit a 32-bit float", key, v);
    }
    *value = (float)v;
    return 1;
}

int gguf_get_bool(const struct gguf *g, const char *key, bool *value, struct error *err) {
    const struct gguf_kv *kv;
    int found = find_scalar(g, key, CLASS_BOOL, "a bool", &kv, err);
    if (found > 0) *value = gguf_int_at(kv, 0) != 0;
    return found;
}

int gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *value, struct error *err) {
    const struct gguf_kv *kv;
    int found = find_scalar(g, key, CLASS_STRING, "a string", &kv, err);
    if (found > 0) {
        const uint8_t *cursor = kv->data;
        *value = gguf_next_str(&cursor);
    }
    return found;
}

int gguf_get_array(const struct gguf *g, const char *key, enum gguf_type elem_type,
                   const struct gguf_kv **array, struct error *err) {
    static const char *const plural[] = {"integers", "floats", "bools", "strings", "arrays"};
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv) return 0;
    enum value_class class = value_table[elem_type].class;
    if (kv->type != GGUF_ARRAY || value_table[kv->elem_type].class != class) {
        return error_set(err, KQ_BAD_FILE, "%s: expected an array of %s, found %s%s", key,
                         plural[class], kv->type == GGUF_ARRAY ? "array of " : "",
                         gguf_type_name(kv->elem_type));
    }
    *array = kv;
    return 1;
}

/* A value of the given C type from bytes that need not be aligned. */
#define VALUE_AT(ctype, p, i) \
    (*(const ctype *)memcpy(&(ctype){0}, (p) + (size_t)(i) * sizeof(ctype), sizeof(ctype)))

int64_t gguf_int_at(const struct gguf_kv *kv, uint64_t i) {
    switch (kv->elem_type) {
    case GGUF_UINT8:
        return VALUE_AT(uint8_t, kv->data, i);
    case GGUF_INT8:
        return VALUE_AT(int8_t, kv->data, i);
    case GGUF_UINT16:
        return VALUE_AT(uint16_t, kv->data, i);
    case GGUF_INT16:
        return VALUE_AT(int16_t, kv->data, i);
    case GGUF_UINT32:
        return VALUE_AT(uint32_t, kv->data, i);
    case GGUF_INT32:
        return VALUE_AT(int32_t, kv->data, i);
    case GGUF_INT64:
        return VALUE_AT(int64_t, kv->data, i);
    case GGUF_BOOL:
        return VALUE_AT(uint8_t, kv->data, i) != 0;
    case GGUF_UINT64: {
        uint64_t v = VALUE_AT(uint64_t, kv->data, i);
        return v > INT64_MAX ? INT64_MAX : (int64_t)v;
    }
    default:
        return 0;
    }
}

double gguf_f32_at(const struct gguf_kv *kv, uint64_t i) {
    if (kv->elem_type == GGUF_FLOAT64) return VALUE_AT(double, kv->data, i);
    if (kv->elem_type == GGUF_FLOAT32) return (double)VALUE_AT(float, kv->data, i);
    return 0;
}

struct gguf_str gguf_next_str(const uint8_t **cursor) {
    uint64_t len;
    memcpy(&len, *cursor, sizeof len);
    struct gguf_str s = {(const char *)*cursor + sizeof len, (size_t)len};
    *cursor += sizeof len + s.len;
    return s;
}

bool gguf_str_eq(struct gguf_str s, const char *text) {
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}
