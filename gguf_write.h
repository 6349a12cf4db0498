/* GGUF files written from front to back, into memory or into an open file; gguf.h has the format.
 *
 *   struct gguf_writer w = {.file = f, .name = path};   // {0} writes into memory
 *   gguf_write_header(&w, 3, n_tensors, n_kv);
 *   for each key:     gguf_write_text(&w, key, strlen(key)); gguf_write_scalar(&w, type, &value);
 *   for each tensor:  gguf_write_tensor(&w, name, type, n_dims, ne, nbytes);
 *   for each tensor, in the same order: gguf_write_align(&w); gguf_write(&w, data, nbytes);
 *   if (gguf_write_end(&w, err) != 0) ...
 *
 * The first write or allocation that fails is remembered, and whatever is written after it is
 * dropped: only gguf_write_end needs a look. Nothing checks that the parts come in this order or
 * that counts, names and types make sense; what has to be right is up to the caller. */
#ifndef GGUF_WRITE_H
#define GGUF_WRITE_H

#include <stdio.h>

#include "gguf.h"

struct gguf_writer {
    FILE *file;       // open for writing, the caller's to close; NULL: into memory
    const char *name; // of the file, for messages
    size_t alignment; // of tensor data: the value of general.alignment; 0 is its default, 32

    uint64_t len;    // bytes written so far
    uint64_t offset; // where the next tensor's data go, from the start of the data
    uint8_t *data;   // in memory: the bytes, malloc'ed; the caller's to free, also after a failure
    size_t room;     // bytes allocated for them

    enum kq_status status; // of the first failure: KQ_IO or KQ_NO_MEMORY
    int error;             // its errno if it is KQ_IO
};

/* n bytes as they are. A quantized tensor may come in many pieces. */
void gguf_write(struct gguf_writer *w, const void *data, size_t n);

void gguf_write_header(struct gguf_writer *w, uint32_t version, uint64_t n_tensors, uint64_t n_kv);

/* Length and bytes: a key, or an element of an array of strings. */
void gguf_write_text(struct gguf_writer *w, const char *text, size_t len);

/* Values, each led by its type. A scalar is no string and no array; `bytes` is the size of the n
 * elements of an array, strings written by gguf_write_text to another writer. */
void gguf_write_scalar(struct gguf_writer *w, enum gguf_type type, const void *value);
void gguf_write_string(struct gguf_writer *w, const char *text, size_t len);
void gguf_write_array(struct gguf_writer *w, enum gguf_type elem_type, uint64_t n, const void *data,
                      size_t bytes);

/* A key and its value as they stand in another file. */
void gguf_write_kv(struct gguf_writer *w, const struct gguf_kv *kv);

/* A tensor's entry; its nbytes of data go behind those of the tensors before it, aligned. */
void gguf_write_tensor(struct gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims,
                       const uint64_t *ne, uint64_t nbytes);

/* Zeros up to where the data of a tensor may begin. */
void gguf_write_align(struct gguf_writer *w);

/* 0 if everything was written; a file is flushed, not synced. */
int gguf_write_end(struct gguf_writer *w, struct error *err);

#endif
