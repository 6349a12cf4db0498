/* gguf_write.c: byte for byte what the format says, the same in memory and in a file, and failures
 * that are remembered. */
#include "gguf_write.h"
#include "test.h"

/* ---- bytes ----------------------------------------------------------------------------------- */

/* The bytes written so far, and nothing else. */
static void check_bytes(struct gguf_writer *w, const char *what, const void *expected, size_t n) {
    CHECK(w->status == KQ_OK && w->len == n && memcmp(w->data, expected, n) == 0, "%s: %llu bytes",
          what, (unsigned long long)w->len);
    free(w->data);
    *w = (struct gguf_writer){0};
}

#define CHECK_BYTES(w, what, text) check_bytes(w, what, text, sizeof(text) - 1)

static void test_bytes(void) {
    struct gguf_writer w = {0};
    gguf_write_header(&w, 3, 2, 5);
    CHECK_BYTES(&w, "header", "GGUF\3\0\0\0\2\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0");
    gguf_write_text(&w, "a.key", 5);
    CHECK_BYTES(&w, "text", "\5\0\0\0\0\0\0\0a.key");
    gguf_write_scalar(&w, GGUF_UINT32, &(uint32_t){0x01020304});
    CHECK_BYTES(&w, "u32", "\4\0\0\0\4\3\2\1");
    gguf_write_scalar(&w, GGUF_BOOL, &(bool){true});
    CHECK_BYTES(&w, "bool", "\7\0\0\0\1");
    gguf_write_string(&w, "text", 4);
    CHECK_BYTES(&w, "string", "\10\0\0\0\4\0\0\0\0\0\0\0text");
    gguf_write_array(&w, GGUF_INT16, 2, (const int16_t[]){1, -1}, 4);
    CHECK_BYTES(&w, "array", "\11\0\0\0\3\0\0\0\2\0\0\0\0\0\0\0\1\0\377\377");
    gguf_write_array(&w, GGUF_STRING, 0, NULL, 0);
    CHECK_BYTES(&w, "empty array", "\11\0\0\0\10\0\0\0\0\0\0\0\0\0\0\0");
}

/* Offsets count from the start of the data, each a multiple of the alignment. */
static void test_tensors(void) {
    static const uint64_t ne[2] = {3, 2}, none[1] = {0};
    struct gguf_writer w = {.alignment = 8};
    gguf_write_tensor(&w, "a", GGML_TYPE_F32, 2, ne, 24);
    CHECK_BYTES(&w, "first",
                "\1\0\0\0\0\0\0\0a\2\0\0\0\3\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0"
                "\0\0\0\0\0\0\0\0");
    static const struct {
        uint64_t nbytes, offset;
    } steps[] = {{24, 0}, {1, 24}, {0, 32}, {8, 32}, {9, 40}, {3, 56}};
    w.alignment = 8;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        uint64_t offset;
        gguf_write_tensor(&w, "b", GGML_TYPE_I8, 1, none, steps[i].nbytes);
        memcpy(&offset, w.data + w.len - 8, 8);
        CHECK(offset == steps[i].offset, "tensor %zu: offset %llu", i, (unsigned long long)offset);
    }
    free(w.data);
}

static void test_alignment(void) {
    for (size_t alignment = 0; alignment <= 1 << 16; alignment = alignment ? 2 * alignment : 8) {
        struct gguf_writer w = {.alignment = alignment};
        size_t step = alignment ? alignment : 32;
        gguf_write_align(&w);
        CHECK(w.len == 0, "alignment %zu: %llu bytes", alignment, (unsigned long long)w.len);
        gguf_write(&w, "x", 1);
        gguf_write_align(&w);
        gguf_write_align(&w);
        CHECK(w.len == step, "alignment %zu: %llu bytes", alignment, (unsigned long long)w.len);
        size_t wrong = w.data[0] != 'x';
        for (size_t i = 1; i < w.len; i++) wrong += w.data[i] != 0;
        CHECK(wrong == 0, "alignment %zu: %zu bytes", alignment, wrong);
        free(w.data);
    }
}

/* ---- whole files ----------------------------------------------------------------------------- */

static void write_key(struct gguf_writer *w, const char *key) {
    gguf_write_text(w, key, strlen(key));
}

/* Every type of value, then arrays of some. */
static void write_keys(struct gguf_writer *w) {
    static const uint8_t value[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct gguf_writer strings = {0};
    for (uint32_t type = GGUF_UINT8; type <= GGUF_FLOAT64; type++) {
        if (type == GGUF_STRING || type == GGUF_ARRAY) continue;
        write_key(w, gguf_type_name((enum gguf_type)type));
        gguf_write_scalar(w, (enum gguf_type)type, value);
    }
    write_key(w, "string");
    gguf_write_string(w, "a\0b", 3);
    write_key(w, "f64s");
    gguf_write_array(w, GGUF_FLOAT64, 3, (const double[]){1, 2, 3}, 24);
    write_key(w, "strings");
    gguf_write_text(&strings, "one", 3);
    gguf_write_text(&strings, "", 0);
    gguf_write_array(w, GGUF_STRING, 2, strings.data, strings.len);
    free(strings.data);
}

enum { N_KEYS = 14 };

static void write_file(struct gguf_writer *w) {
    static const uint64_t ne[2] = {32, 3};
    uint8_t blocks[3 * 34];
    memset(blocks, 7, sizeof blocks);
    gguf_write_header(w, 3, 2, N_KEYS);
    write_keys(w);
    gguf_write_tensor(w, "a", GGML_TYPE_Q8_0, 2, ne, sizeof blocks);
    gguf_write_tensor(w, "b", GGML_TYPE_F32, 1, ne, 128);
    gguf_write_align(w);
    for (int r = 0; r < 3; r++) gguf_write(w, blocks + 34 * r, 34); // in pieces
    gguf_write_align(w);
    gguf_write(w, (const float[32]){1}, 128);
}

/* What was parsed and written again is what was there. */
static void check_keys_copied(const struct gguf *g) {
    struct gguf_writer copy = {0}, keys = {0};
    for (size_t i = 0; i < g->n_kv; i++) gguf_write_kv(&copy, &g->kv[i]);
    write_keys(&keys);
    check_bytes(&copy, "keys of another file", keys.data, keys.len);
    free(keys.data);
}

static void test_memory_and_file(void) {
    struct error err = {KQ_OK, ""};
    struct gguf g;
    FILE *f = tmpfile();
    struct gguf_writer memory = {0}, file = {.file = f, .name = "a file"};
    write_file(&memory);
    CHECK(gguf_write_end(&memory, &err) == 0 && memory.len < memory.room, "\"%s\"", err.text);
    CHECK(gguf_parse(&g, memory.data, memory.len, &err) == 0, "\"%s\"", err.text);
    CHECK(g.n_kv == N_KEYS && g.n_tensors == 2, "%zu keys, %zu tensors", g.n_kv, g.n_tensors);
    CHECK(g.n_tensors == 2 && *(const uint8_t *)g.tensors[0].data == 7, "tensor a");
    CHECK(g.n_tensors == 2 && *(const float *)g.tensors[1].data == 1, "tensor b");
    check_keys_copied(&g);
    gguf_close(&g);
    if (!f) {
        CHECK(false, "no temporary file");
        return;
    }
    write_file(&file);
    CHECK(gguf_write_end(&file, &err) == 0 && file.len == memory.len, "\"%s\"", err.text);
    uint8_t *back = malloc(memory.len + 1);
    rewind(f);
    CHECK(back && fread(back, 1, memory.len + 1, f) == memory.len, "other length");
    CHECK(back && memcmp(back, memory.data, memory.len) == 0, "other bytes");
    free(back);
    free(memory.data);
    fclose(f);
}

/* ---- what goes wrong ------------------------------------------------------------------------- */

/* What is still in the stream's buffer counts, too; after a failure nothing more is tried. */
static void test_no_room_on_disk(void) {
    static const uint8_t much[1 << 20];
    for (int big = 0; big < 2; big++) {
        FILE *f = fopen("/dev/full", "wb");
        struct error err = {KQ_OK, ""};
        struct gguf_writer w = {.file = f, .name = "full"};
        if (!f) {
            printf("SKIP a full disk (no /dev/full)\n");
            return;
        }
        gguf_write(&w, much, big ? sizeof much : 10);
        uint64_t len = w.len;
        gguf_write_end(&w, NULL);
        gguf_write_align(&w);
        CHECK(w.len == len && len == (big ? 0 : 10), "%llu bytes", (unsigned long long)w.len);
        CHECK(gguf_write_end(&w, &err) == -1 && err.status == KQ_IO, "status %d", (int)err.status);
        CHECK(strcmp(err.text, "full: cannot write: No space left on device") == 0, "\"%s\"",
              err.text);
        fclose(f);
    }
}

static void test_no_memory(void) {
#if !TEST_SANITIZED
    struct error err = {KQ_OK, ""};
    struct gguf_writer w = {0};
    gguf_write(&w, "GGUF", 4);
    gguf_write(&w, "", SIZE_MAX / 4); // which no machine has, and nothing is read
    gguf_write(&w, "GGUF", 4);
    CHECK(w.len == 4, "%llu bytes", (unsigned long long)w.len);
    CHECK(gguf_write_end(&w, &err) == -1 && err.status == KQ_NO_MEMORY, "status %d",
          (int)err.status);
    CHECK(strcmp(err.text, "out of memory: a GGUF file of more than 4 bytes") == 0, "\"%s\"",
          err.text);
    free(w.data);
#endif
}

int main(void) {
    test_bytes();
    test_tensors();
    test_alignment();
    test_memory_and_file();
    test_no_room_on_disk();
    test_no_memory();
    return test_done("test_gguf_write");
}
