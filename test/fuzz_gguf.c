/* Any bytes as a GGUF file: either a message, or a file of which every part can be read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Like assert, but NDEBUG does not turn it off. */
static void require(bool condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "fuzz_gguf: violated: %s\n", what);
    abort();
}

/* Everything read ends up here, so that no read can be left out. */
static volatile uint64_t sink;

static void touch(const void *data, size_t size) {
    const uint8_t *p = data;
    for (size_t i = 0; i < size; i++) sink += p[i];
}

static void touch_values(const struct gguf_kv *kv, const uint8_t *end) {
    touch(kv->key.data, kv->key.len);
    sink += (uint64_t)(unsigned char)gguf_type_name(kv->elem_type)[0];
    const uint8_t *cursor = kv->data;
    for (uint64_t i = 0; i < kv->n; i++) {
        if (kv->elem_type == GGUF_STRING) {
            struct gguf_str s = gguf_next_str(&cursor);
            touch(s.data, s.len);
            require(cursor <= end, "strings end within the file");
        } else {
            sink += (uint64_t)gguf_int_at(kv, i);
            sink += gguf_f32_at(kv, i) > 0;
        }
    }
}

/* Every getter on a key: at most one kind of type suits it. */
static void get_all_ways(const struct gguf *g, const char *key) {
    struct error err = {KQ_OK, ""};
    uint32_t u = 0;
    float f = 0;
    bool b = false;
    struct gguf_str s = {0};
    const struct gguf_kv *array = NULL;
    int found = 0;
    found += gguf_get_u32(g, key, &u, &err) > 0;
    found += gguf_get_f32(g, key, &f, &err) > 0;
    found += gguf_get_bool(g, key, &b, &err) > 0;
    found += gguf_get_str(g, key, &s, &err) > 0;
    found += gguf_get_array(g, key, GGUF_INT32, &array, &err) > 0;
    found += gguf_get_array(g, key, GGUF_FLOAT32, &array, &err) > 0;
    found += gguf_get_array(g, key, GGUF_BOOL, &array, &err) > 0;
    found += gguf_get_array(g, key, GGUF_STRING, &array, &err) > 0;
    require(found <= 1 && err.text[0] != '\0', "one getter takes the key, the others say why not");
    touch(s.data, s.len);
}

static void check_key(const struct gguf *g, const struct gguf_kv *kv, const uint8_t *end) {
    touch_values(kv, end);
    if (memchr(kv->key.data, 0, kv->key.len)) return;
    char *key = malloc(kv->key.len + 1);
    if (!key) return;
    memcpy(key, kv->key.data, kv->key.len);
    key[kv->key.len] = '\0';
    require(gguf_find(g, key) == kv && gguf_str_eq(kv->key, key), "each key is found");
    get_all_ways(g, key);
    free(key);
}

static void check_tensor(const struct gguf *g, const struct gguf_tensor *t, const uint8_t *data,
                         const uint8_t *end) {
    require(gguf_find_tensor(g, t->name) == t, "each tensor is found");
    require(t->n_dims >= 1 && t->n_dims <= 4, "n_dims is 1 to 4");
    for (int d = t->n_dims; d < 4; d++) require(t->ne[d] == 1, "ne is 1 beyond n_dims");
    require(!t->data == !ggml_type_info(t->type), "data are there if the type is known");
    if (!t->data) return;
    const uint8_t *p = t->data;
    require(p >= data && p <= end && t->nbytes <= (size_t)(end - p), "tensors lie in the file");
    require((size_t)(p - data) % g->alignment == 0, "tensors are aligned");
    if (t->nbytes) sink += (uint64_t)p[0] + p[t->nbytes - 1];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct gguf g;
    struct error err = {KQ_OK, ""};
    if (gguf_parse(&g, data, size, &err) != 0) {
        require(err.text[0] != '\0', "a refusal has a message");
        require(!g.kv && !g.tensors && !g.index && !g.maps && !g.n_kv && !g.n_tensors && !g.n_maps,
                "a refusal leaves all zero");
        return 0;
    }
    size_t nbytes = 0;
    for (size_t i = 0; i < g.n_kv; i++) check_key(&g, &g.kv[i], data + size);
    for (size_t i = 0; i < g.n_tensors; i++) {
        check_tensor(&g, &g.tensors[i], data, data + size);
        nbytes += g.tensors[i].nbytes;
    }
    require(nbytes <= size, "tensors do not overlap");
    require(!gguf_find(&g, "") && !gguf_find_tensor(&g, ""), "no name is empty");
    gguf_close(&g);
    return 0;
}
