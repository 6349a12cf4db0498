/* GGUF files: a read-only map (or a copy in memory), a parse that checks everything against the
 * file's own length, and typed getters. The format: ggml/docs/gguf.md in the ggml repository;
 * versions 2 and 3, little-endian (so is the host, or this does not compile).
 *
 *   header   "GGUF", version u32, n_tensors u64, n_kv u64
 *   n_kv     key string, type u32, value (a string is u64 length + bytes; an array is
 *            element type u32, count u64, elements)
 *   n_tensors  name string, n_dims u32, ne[n_dims] u64 (fastest first), type u32, offset u64
 *   padding  to general.alignment (default 32), then the tensors' data at their offsets
 */
#ifndef GGUF_H
#define GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* Types of metadata values, numbered as in the file. */
enum gguf_type {
    GGUF_UINT8,
    GGUF_INT8,
    GGUF_UINT16,
    GGUF_INT16,
    GGUF_UINT32,
    GGUF_INT32,
    GGUF_FLOAT32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_UINT64,
    GGUF_INT64,
    GGUF_FLOAT64,
};

/* Types of tensors, numbered as in the file: GGML_TYPE_Q5_K and so on, the rows of types.def. */
enum ggml_type {
#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    GGML_TYPE_##NAME = number,
#include "types.def"
    GGML_N_TYPES,
};

/* How a tensor type is stored: rows are whole blocks of block_len weights in block_bytes bytes. */
struct ggml_type_info {
    const char *name; // "Q5_K"
    int block_len;
    int block_bytes;
};

/* NULL for a number that no tensor type has. */
const struct ggml_type_info *ggml_type_info(uint32_t type);

/* "u32", "string", "array" */
const char *gguf_type_name(enum gguf_type type);

/* Bytes of one value; of a string that is its length alone, of an array 0. */
size_t gguf_type_bytes(enum gguf_type type);

/* Bytes in the file, not NUL-terminated. Owned by the map. */
struct gguf_str {
    const char *data;
    size_t len;
};

/* The two arguments of a "%.*s" for a message: at most the first 64 bytes. */
#define GGUF_SHORT(s) (int)((s).len < 64 ? (s).len : 64), (s).data

struct gguf_kv {
    struct gguf_str key;
    enum gguf_type type;      // GGUF_ARRAY: see elem_type and n
    enum gguf_type elem_type; // the type itself when it is no array; arrays of arrays are refused
    uint64_t n;               // elements; 1 when it is no array
    const uint8_t *data;      // first element, unaligned; bounds were checked by the parse
};

struct gguf_tensor {
    const char *name; // NUL-terminated copy, owned by the gguf
    uint32_t type;    // enum ggml_type, or a number that ggml_type_info() does not know
    int n_dims;       // 1..4; none in the file: 1 dimension of 1
    uint64_t ne[4];   // fastest first: ne[0] is the row length; 1 beyond n_dims; 0 is possible.
                      // No product of some of them overflows 63 bits
    size_t nbytes;    // 0 if the type is unknown
    const void *data; // in the map, checked to hold nbytes; NULL if the type is unknown. A multiple
                      // of 8 from the start of the file
};

struct gguf {
    uint32_t version;
    size_t alignment;
    size_t n_kv;
    struct gguf_kv *kv; // in the file's order
    size_t n_tensors;
    struct gguf_tensor *tensors; // in the file's order; a split file's parts one after the other
    size_t mapped_bytes;         // of all parts
    struct gguf_index *index;    // private: name lookup
    struct gguf_map *maps;       // private: what gguf_close frees
    size_t n_maps;
};

/* Maps the file read-only and private, then parses it. A file whose split.count is above 1 is the
 * first of several parts: its name must end in -00001-of-0000N.gguf, the others are opened beside
 * it and all appear as one (metadata of the first part, tensors of all). Directories, devices and
 * pipes are refused. On failure nothing is left open and g is all zero. */
int gguf_open(struct gguf *g, const char *path, struct error *err);

/* The same, but the files are read into memory, if how is not NULL: file_memory.h says how. The
 * room is for all parts together. */
struct file_reading;
int gguf_read(struct gguf *g, const char *path, const struct file_reading *how, struct error *err);

/* Where part i lies in memory, and its length; NULL and 0 if there is none, or it is the caller's
 * (gguf_parse). */
const void *gguf_memory(const struct gguf *g, size_t i, size_t *len);

/* Parses a whole file that lies in memory; buf is borrowed until gguf_close. Refuses, naming what
 * and where: lengths and counts that the rest of the file cannot hold, unknown value types, arrays
 * of arrays, duplicate keys or names, dimension products that overflow, rows that are no whole
 * number of blocks, tensors that are misaligned, overlap or end past the file. So the sum of all
 * nbytes is at most size. Odd files are accepted where they do no harm: tensors in any order, with
 * gaps or none at all, dimensions of 0, a bool other than 0 and 1 (it is true). Stricter than ggml:
 * general.alignment below 8 (which the format forbids), keys above 65535 bytes, tensor names that
 * are empty or contain a zero byte, more than 2^18 keys or tensors. */
int gguf_parse(struct gguf *g, const void *buf, size_t size, struct error *err);

/* Whether the file that st describes is the one, or one of those, that g maps. */
struct stat;
bool gguf_maps_file(const struct gguf *g, const struct stat *st);

/* Frees everything; g may be all zero. */
void gguf_close(struct gguf *g);

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key);
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name);

/* Typed getters. 1: found, *value set. 0: no such key, *value left alone (so preset a default).
 * -1: it has another type or does not fit, err set. Any integer type is accepted where the value
 * fits; f32 takes FLOAT32 and FLOAT64; a str points into the map. */
int gguf_get_u32(const struct gguf *g, const char *key, uint32_t *value, struct error *err);
int gguf_get_f32(const struct gguf *g, const char *key, float *value, struct error *err);
int gguf_get_bool(const struct gguf *g, const char *key, bool *value, struct error *err);
int gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *value, struct error *err);

/* 1, 0 or -1 as above. elem_type GGUF_INT32 accepts every integer array (read it with
 * gguf_int_at), GGUF_FLOAT32 float arrays (gguf_f32_at), GGUF_STRING strings (gguf_next_str),
 * GGUF_BOOL bools (gguf_int_at). */
int gguf_get_array(const struct gguf *g, const char *key, enum gguf_type elem_type,
                   const struct gguf_kv **array, struct error *err);

/* Element i < n of an integer/bool or a float array; also scalars with i = 0. A UINT64 above
 * INT64_MAX reads as INT64_MAX. 0 if the elements are of another class. */
int64_t gguf_int_at(const struct gguf_kv *kv, uint64_t i);
double gguf_f32_at(const struct gguf_kv *kv, uint64_t i);

/* Walks a string array: *cursor starts at kv->data and is moved past the string returned. */
struct gguf_str gguf_next_str(const uint8_t **cursor);

bool gguf_str_eq(struct gguf_str s, const char *text);

#endif
