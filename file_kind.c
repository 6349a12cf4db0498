#include "file_kind.h"

#include <stdbool.h>
#include <string.h>

struct magic {
    size_t at, len;
    const char *bytes, *kind;
};
#define MAGIC(at, bytes, kind) \
    { at, sizeof(bytes) - 1, bytes, kind }

#define CONVERT ": llama.cpp's convert_hf_to_gguf.py makes GGUF of such models"
#define UNPACK ": unpack it first"

static const struct magic magics[] = {
    MAGIC(0, "\x1f\x8b", "a gzip file" UNPACK),
    MAGIC(0, "PK\x03\x04", "a zip archive, as PyTorch's checkpoints are" CONVERT),
    MAGIC(0, "PK\x05\x06", "an empty zip archive"),
    MAGIC(0, "\x28\xb5\x2f\xfd", "a zstd file" UNPACK),
    MAGIC(0, "\xfd\x37zXZ", "an xz file" UNPACK),
    MAGIC(0, "BZh", "a bzip2 file" UNPACK),
    MAGIC(0, "7z\xbc\xaf\x27\x1c", "a 7z archive" UNPACK),
    MAGIC(257, "ustar", "a tar archive" UNPACK),
    MAGIC(0, "\x80\x02", "a Python pickle, as old PyTorch checkpoints are" CONVERT),
    MAGIC(0, "\x80\x03", "a Python pickle, as old PyTorch checkpoints are" CONVERT),
    MAGIC(0, "\x80\x04", "a Python pickle, as old PyTorch checkpoints are" CONVERT),
    MAGIC(0, "\x80\x05", "a Python pickle, as old PyTorch checkpoints are" CONVERT),
    MAGIC(0, "\x89HDF", "an HDF5 file, as Keras has them"),
    MAGIC(0, "\x93NUMPY", "a NumPy array"),
    MAGIC(0, "\x7f\x45LF", "a program"),
    MAGIC(0, "%PDF", "a PDF document"),
    MAGIC(0, "version https://git-lfs",
          "a git-lfs pointer, which stands for the model: git lfs pull fetches that"),
};

/* Of a page that a server sent instead. */
static const struct magic texts[] = {
    MAGIC(0, "<!doctype html", "an HTML page: the address was not the file's own"),
    MAGIC(0, "<html", "an HTML page: the address was not the file's own"),
    MAGIC(0, "<?xml", "an XML page: the address was not the file's own"),
    MAGIC(0, "{", "JSON: a server's answer, or a model's config.json"),
};

/* Whether the text, in small letters, is what the bytes say. */
static bool begins(const char *p, size_t n, const char *text, size_t len) {
    if (n < len) return false;
    for (size_t i = 0; i < len; i++) {
        char c = p[i] >= 'A' && p[i] <= 'Z' ? (char)(p[i] - 'A' + 'a') : p[i];
        if (c != text[i]) return false;
    }
    return true;
}

const char *file_kind(const void *bytes, size_t n) {
    const char *p = bytes;
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
        const struct magic *m = &magics[i];
        if (n >= m->at + m->len && memcmp(p + m->at, m->bytes, m->len) == 0) return m->kind;
    }
    // The length of a JSON header, 64 bits and below 4 GB, and that.
    if (n > 8 && memcmp(p + 4, "\0\0\0\0{", 5) == 0) return "a safetensors file" CONVERT;
    size_t at = n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (at < n && strchr(" \t\r\n", p[at]) && p[at]) at++;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (begins(p + at, n - at, texts[i].bytes, texts[i].len)) return texts[i].kind;
    }
    return NULL;
}
