/* GGUF files for tests: a model file in memory from a few lines, then one thing in it broken.
 *
 *   struct gguf_build b = {0};
 *   build_str(&b, "general.architecture", "llama");
 *   build_u32(&b, "llama.block_count", 2);
 *   build_strs(&b, "tokenizer.ggml.tokens", 3, (const char *[]){"<unk>", "<s>", "</s>"});
 *   build_tensor(&b, "token_embd.weight", GGML_TYPE_F32, 64, 3, NULL);
 *   build_write(&b, "model.gguf");   // or: uint8_t *file = build_file(&b, &size); ... free(file);
 *   build_free(&b);
 *
 * Setting a key or a tensor that exists replaces it, in place: a test builds a valid model and then
 * changes what it is about. Everything may be called again after a file was made. Strings are taken
 * up to their NUL unless a length is given. The bytes come from gguf_write.c; where a file must
 * lie, they are changed afterwards. When memory runs out or a file cannot be written the program
 * stops: that is no result of a test. */
#ifndef GGUF_BUILD_H
#define GGUF_BUILD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_write.h"

struct build_kv {
    char *key;
    struct gguf_writer value; // type and value as they stand in the file
};

/* What build_tensor filled in may be changed before the file is made, to lie. */
struct build_tensor {
    char *name;
    uint32_t type, n_dims;
    uint64_t ne[8];
    uint64_t offset; // in the data; used if offset_given, else tensors lie in sequence
    bool offset_given;
    struct gguf_writer data; // what is written, whatever ne and type say
};

struct gguf_build {
    uint32_t version;   // 0: 3
    uint32_t alignment; // 0: 32. The padding written; the key general.alignment is not set by this
    int64_t more_kv, more_tensors; // added to the counts in the header, to lie
    struct build_kv *kv;
    size_t n_kv;
    struct build_tensor *tensors;
    size_t n_tensors;
};

static inline void *build_realloc(void *p, size_t size) {
    p = realloc(p, size ? size : 1);
    if (!p) {
        perror("gguf_build");
        exit(1);
    }
    return p;
}

static inline char *build_strdup(const char *s) {
    return memcpy(build_realloc(NULL, strlen(s) + 1), s, strlen(s) + 1);
}

/* ---- metadata -------------------------------------------------------------------------------- */

static inline struct build_kv *build_find(struct gguf_build *b, const char *key) {
    for (size_t i = 0; i < b->n_kv; i++) {
        if (strcmp(b->kv[i].key, key) == 0) return &b->kv[i];
    }
    return NULL;
}

/* Adds the key even if it exists. value: type and value as they stand in the file; b owns them
 * from now on. */
static inline void build_raw(struct gguf_build *b, const char *key, struct gguf_writer value) {
    b->kv = build_realloc(b->kv, (b->n_kv + 1) * sizeof *b->kv);
    b->kv[b->n_kv++] = (struct build_kv){build_strdup(key), value};
}

static inline void build_set(struct gguf_build *b, const char *key, struct gguf_writer value) {
    struct build_kv *kv = build_find(b, key);
    if (!kv) {
        build_raw(b, key, value);
        return;
    }
    free(kv->value.data);
    kv->value = value;
}

static inline void build_remove(struct gguf_build *b, const char *key) {
    struct build_kv *kv = build_find(b, key);
    if (!kv) return;
    free(kv->key);
    free(kv->value.data);
    memmove(kv, kv + 1, (size_t)(b->kv + --b->n_kv - kv) * sizeof *kv);
}

static inline void build_scalar(struct gguf_build *b, const char *key, enum gguf_type type,
                                const void *value) {
    struct gguf_writer v = {0};
    gguf_write_scalar(&v, type, value);
    build_set(b, key, v);
}

static inline void build_u8(struct gguf_build *b, const char *key, uint8_t v) {
    build_scalar(b, key, GGUF_UINT8, &v);
}
static inline void build_i8(struct gguf_build *b, const char *key, int8_t v) {
    build_scalar(b, key, GGUF_INT8, &v);
}
static inline void build_u16(struct gguf_build *b, const char *key, uint16_t v) {
    build_scalar(b, key, GGUF_UINT16, &v);
}
static inline void build_i16(struct gguf_build *b, const char *key, int16_t v) {
    build_scalar(b, key, GGUF_INT16, &v);
}
static inline void build_u32(struct gguf_build *b, const char *key, uint32_t v) {
    build_scalar(b, key, GGUF_UINT32, &v);
}
static inline void build_i32(struct gguf_build *b, const char *key, int32_t v) {
    build_scalar(b, key, GGUF_INT32, &v);
}
static inline void build_u64(struct gguf_build *b, const char *key, uint64_t v) {
    build_scalar(b, key, GGUF_UINT64, &v);
}
static inline void build_i64(struct gguf_build *b, const char *key, int64_t v) {
    build_scalar(b, key, GGUF_INT64, &v);
}
static inline void build_f32(struct gguf_build *b, const char *key, float v) {
    build_scalar(b, key, GGUF_FLOAT32, &v);
}
static inline void build_f64(struct gguf_build *b, const char *key, double v) {
    build_scalar(b, key, GGUF_FLOAT64, &v);
}
static inline void build_bool(struct gguf_build *b, const char *key, bool v) {
    build_scalar(b, key, GGUF_BOOL, &(uint8_t){v});
}

static inline void build_strn(struct gguf_build *b, const char *key, const char *s, size_t len) {
    struct gguf_writer v = {0};
    gguf_write_string(&v, s, len);
    build_set(b, key, v);
}
static inline void build_str(struct gguf_build *b, const char *key, const char *s) {
    build_strn(b, key, s, strlen(s));
}

/* An array whose n elements are `size` bytes altogether. */
static inline void build_array(struct gguf_build *b, const char *key, enum gguf_type elem_type,
                               uint64_t n, const void *data, size_t size) {
    struct gguf_writer v = {0};
    gguf_write_array(&v, elem_type, n, data, size);
    build_set(b, key, v);
}
static inline void build_i32s(struct gguf_build *b, const char *key, size_t n, const int32_t *v) {
    build_array(b, key, GGUF_INT32, n, v, n * sizeof *v);
}
static inline void build_u32s(struct gguf_build *b, const char *key, size_t n, const uint32_t *v) {
    build_array(b, key, GGUF_UINT32, n, v, n * sizeof *v);
}
static inline void build_f32s(struct gguf_build *b, const char *key, size_t n, const float *v) {
    build_array(b, key, GGUF_FLOAT32, n, v, n * sizeof *v);
}
static inline void build_bools(struct gguf_build *b, const char *key, size_t n, const bool *v) {
    build_array(b, key, GGUF_BOOL, n, v, n);
}
static inline void build_strs(struct gguf_build *b, const char *key, size_t n,
                              const char *const *s) {
    struct gguf_writer v = {0};
    for (size_t i = 0; i < n; i++) gguf_write_text(&v, s[i], strlen(s[i]));
    build_array(b, key, GGUF_STRING, n, v.data, v.len);
    free(v.data);
}

/* ---- tensors --------------------------------------------------------------------------------- */

static inline struct build_tensor *build_find_tensor(struct gguf_build *b, const char *name) {
    for (size_t i = 0; i < b->n_tensors; i++) {
        if (strcmp(b->tensors[i].name, name) == 0) return &b->tensors[i];
    }
    return NULL;
}

/* Bytes that a tensor of this type and shape has; 0 if the type is unknown. */
static inline size_t build_nbytes(uint32_t type, const uint64_t ne[4]) {
    const struct ggml_type_info *info = ggml_type_info(type);
    if (!info) return 0;
    return (size_t)(ne[0] / (uint64_t)info->block_len * (uint64_t)info->block_bytes * ne[1] *
                    ne[2] * ne[3]);
}

/* A tensor of up to 4 dimensions, fastest first; data NULL: zeros. The result may be changed until
 * the next tensor is added. */
static inline struct build_tensor *build_tensor_nd(struct gguf_build *b, const char *name,
                                                   uint32_t type, uint32_t n_dims,
                                                   const uint64_t *ne, const void *data) {
    struct build_tensor *t = build_find_tensor(b, name);
    if (t) {
        free(t->name);
        free(t->data.data);
    } else {
        b->tensors = build_realloc(b->tensors, (b->n_tensors + 1) * sizeof *t);
        t = &b->tensors[b->n_tensors++];
    }
    *t = (struct build_tensor){build_strdup(name), type, n_dims, .ne = {1, 1, 1, 1}};
    for (uint32_t d = 0; d < n_dims; d++) t->ne[d] = ne[d];
    t->data.len = t->data.room = build_nbytes(type, t->ne);
    t->data.data = build_realloc(NULL, t->data.len);
    memset(t->data.data, 0, t->data.len);
    if (data) memcpy(t->data.data, data, t->data.len);
    return t;
}

/* ne1 rows of ne0; ne1 0: a vector. */
static inline struct build_tensor *build_tensor(struct gguf_build *b, const char *name,
                                                uint32_t type, uint64_t ne0, uint64_t ne1,
                                                const void *data) {
    return build_tensor_nd(b, name, type, ne1 ? 2 : 1, (const uint64_t[]){ne0, ne1}, data);
}

static inline void build_remove_tensor(struct gguf_build *b, const char *name) {
    struct build_tensor *t = build_find_tensor(b, name);
    if (!t) return;
    free(t->name);
    free(t->data.data);
    memmove(t, t + 1, (size_t)(b->tensors + --b->n_tensors - t) * sizeof *t);
}

/* ---- the file -------------------------------------------------------------------------------- */

static inline void build_tensor_info(struct gguf_writer *f, const struct build_tensor *t) {
    uint64_t at = f->len + sizeof(uint64_t) + strlen(t->name); // of n_dims
    gguf_write_tensor(f, t->name, t->type, t->n_dims < 8 ? t->n_dims : 8, t->ne, t->data.len);
    if (f->status != KQ_OK) return; // which build_file reports
    memcpy(f->data + at, &t->n_dims, sizeof t->n_dims);
    if (t->offset_given) memcpy(f->data + f->len - sizeof t->offset, &t->offset, sizeof t->offset);
}

/* The whole file, malloc'ed at exactly its size so that a sanitizer sees its end. */
static inline uint8_t *build_file(const struct gguf_build *b, size_t *size) {
    struct gguf_writer f = {.alignment = b->alignment};
    struct error err;
    gguf_write_header(&f, b->version ? b->version : 3, b->n_tensors + (uint64_t)b->more_tensors,
                      b->n_kv + (uint64_t)b->more_kv);
    for (size_t i = 0; i < b->n_kv; i++) {
        gguf_write_text(&f, b->kv[i].key, strlen(b->kv[i].key));
        gguf_write(&f, b->kv[i].value.data, b->kv[i].value.len);
    }
    for (size_t i = 0; i < b->n_tensors; i++) build_tensor_info(&f, &b->tensors[i]);
    for (size_t i = 0; i < b->n_tensors; i++) {
        gguf_write_align(&f);
        gguf_write(&f, b->tensors[i].data.data, b->tensors[i].data.len);
    }
    if (gguf_write_end(&f, &err) != 0) {
        puts(err.text);
        exit(1);
    }
    *size = f.len;
    return build_realloc(f.data, f.len);
}

static inline void build_write_bytes(const char *path, const void *data, size_t size) {
    FILE *out = fopen(path, "wb");
    if (!out || fwrite(data, 1, size, out) != size || fclose(out) != 0) {
        perror(path);
        exit(1);
    }
}

static inline void build_write(const struct gguf_build *b, const char *path) {
    size_t size;
    uint8_t *file = build_file(b, &size);
    build_write_bytes(path, file, size);
    free(file);
}

static inline void build_free(struct gguf_build *b) {
    for (size_t i = 0; i < b->n_kv; i++) {
        free(b->kv[i].key);
        free(b->kv[i].value.data);
    }
    for (size_t i = 0; i < b->n_tensors; i++) {
        free(b->tensors[i].name);
        free(b->tensors[i].data.data);
    }
    free(b->kv);
    free(b->tensors);
    *b = (struct gguf_build){0};
}

/* What a refusal and gguf_close leave. */
static inline bool all_zero(const struct gguf *g) {
    return !g->version && !g->alignment && !g->n_kv && !g->kv && !g->n_tensors && !g->tensors &&
           !g->mapped_bytes && !g->index && !g->maps && !g->n_maps;
}

#endif
