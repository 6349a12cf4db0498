#include "gguf_write.h"
#include "array.h"
#include "round.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void fail(struct gguf_writer *w, enum kq_status status) {
    w->error = errno ? errno : EIO;
    w->status = status;
}

/* Makes room for n more bytes in memory. */
static bool grow(struct gguf_writer *w, size_t n) {
    size_t len = (size_t)w->len;
    return n <= SIZE_MAX - len && array_reserve(&w->data, &w->room, len + n, 1) == 0;
}

void gguf_write(struct gguf_writer *w, const void *data, size_t n) {
    if (w->status != KQ_OK || n == 0) return;
    errno = 0;
    if (w->file && fwrite(data, 1, n, w->file) != n) {
        fail(w, KQ_IO);
    } else if (!w->file && !grow(w, n)) {
        fail(w, KQ_NO_MEMORY);
    } else {
        if (!w->file) memcpy(w->data + w->len, data, n);
        w->len += n;
    }
}

static void write_u32(struct gguf_writer *w, uint32_t v) {
    gguf_write(w, &v, sizeof v); // gguf.c refuses to compile on big-endian hosts
}

static void write_u64(struct gguf_writer *w, uint64_t v) {
    gguf_write(w, &v, sizeof v);
}

void gguf_write_header(struct gguf_writer *w, uint32_t version, uint64_t n_tensors, uint64_t n_kv) {
    gguf_write(w, "GGUF", 4);
    write_u32(w, version);
    write_u64(w, n_tensors);
    write_u64(w, n_kv);
}

/* ---- keys and values ------------------------------------------------------------------------- */

void gguf_write_text(struct gguf_writer *w, const char *text, size_t len) {
    write_u64(w, len);
    gguf_write(w, text, len);
}

void gguf_write_scalar(struct gguf_writer *w, enum gguf_type type, const void *value) {
    write_u32(w, type);
    gguf_write(w, value, gguf_type_bytes(type));
}

void gguf_write_string(struct gguf_writer *w, const char *text, size_t len) {
    write_u32(w, GGUF_STRING);
    gguf_write_text(w, text, len);
}

void gguf_write_array(struct gguf_writer *w, enum gguf_type elem_type, uint64_t n, const void *data,
                      size_t bytes) {
    write_u32(w, GGUF_ARRAY);
    write_u32(w, elem_type);
    write_u64(w, n);
    gguf_write(w, data, bytes);
}

static size_t value_bytes(const struct gguf_kv *kv) {
    if (kv->elem_type != GGUF_STRING) return (size_t)kv->n * gguf_type_bytes(kv->elem_type);
    const uint8_t *end = kv->data;
    for (uint64_t i = 0; i < kv->n; i++) gguf_next_str(&end);
    return (size_t)(end - kv->data);
}

void gguf_write_kv(struct gguf_writer *w, const struct gguf_kv *kv) {
    gguf_write_text(w, kv->key.data, kv->key.len);
    if (kv->type == GGUF_ARRAY) {
        gguf_write_array(w, kv->elem_type, kv->n, kv->data, value_bytes(kv));
    } else {
        write_u32(w, kv->type);
        gguf_write(w, kv->data, value_bytes(kv));
    }
}

/* ---- tensors --------------------------------------------------------------------------------- */

static uint64_t aligned(const struct gguf_writer *w, uint64_t n) {
    return round_up_u64(n, w->alignment ? w->alignment : 32);
}

void gguf_write_tensor(struct gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims,
                       const uint64_t *ne, uint64_t nbytes) {
    gguf_write_text(w, name, strlen(name));
    write_u32(w, n_dims);
    for (uint32_t d = 0; d < n_dims; d++) write_u64(w, ne[d]);
    write_u32(w, type);
    write_u64(w, w->offset);
    w->offset = aligned(w, w->offset + nbytes);
}

void gguf_write_align(struct gguf_writer *w) {
    static const uint8_t zeros[4096];
    uint64_t left = aligned(w, w->len) - w->len;
    while (left > 0 && w->status == KQ_OK) {
        size_t n = left < sizeof zeros ? (size_t)left : sizeof zeros;
        gguf_write(w, zeros, n);
        left -= n;
    }
}

int gguf_write_end(struct gguf_writer *w, struct error *err) {
    errno = 0;
    if (w->status == KQ_OK && w->file && fflush(w->file) != 0) fail(w, KQ_IO);
    if (w->status == KQ_OK) return 0;
    if (w->status == KQ_IO) {
        return error_set(err, KQ_IO, "%s: cannot write: %s", w->name, strerror(w->error));
    }
    return error_set(err, KQ_NO_MEMORY, "out of memory: a GGUF file of more than %llu bytes",
                     (unsigned long long)w->len);
}
