/* Every rule of the parser has its case: a valid small file is built in memory, one thing in it is
 * broken, and the message must name it. Odd but legal files must parse. */
#include <float.h>
#include <math.h>

#include "gguf.h"
#include "gguf_build.h"
#include "test.h"

/* ---- helpers --------------------------------------------------------------------------------- */

/* A parse of bytes that end where a guard page begins. */
static int parse_guarded(struct gguf *g, struct guarded *copy, const void *file, size_t size,
                         struct error *err) {
    *copy = guarded_alloc(size, false);
    if (size) memcpy(copy->data, file, size);
    *err = (struct error){KQ_OK, ""};
    return gguf_parse(g, copy->data, size, err);
}

static void check_refused_bytes(const void *file, size_t size, const char *expected) {
    struct gguf g;
    struct guarded copy;
    struct error err;
    int result = parse_guarded(&g, &copy, file, size, &err);
    CHECK(result == -1, "result %d, expected \"%s\"", result, expected);
    CHECK(strstr(err.text, expected), "expected \"%s\", found \"%s\"", expected, err.text);
    CHECK(result != -1 || all_zero(&g), "not all zero after \"%s\"", err.text);
    if (result == 0) gguf_close(&g);
    guarded_free(&copy);
}

/* The file must be refused with a message that contains the text; frees b. */
static void check_refused(struct gguf_build *b, const char *expected) {
    size_t size;
    uint8_t *file = build_file(b, &size);
    check_refused_bytes(file, size, expected);
    free(file);
    build_free(b);
}

/* The file must parse; g is valid until release. */
static struct gguf g_open;
static uint8_t *g_file;
static const struct gguf *accept(struct gguf_build *b) {
    size_t size;
    struct error err = {KQ_OK, ""};
    g_file = build_file(b, &size);
    int result = gguf_parse(&g_open, g_file, size, &err);
    CHECK(result == 0 && err.text[0] == '\0', "result %d, \"%s\"", result, err.text);
    build_free(b);
    return &g_open;
}
static void release(void) {
    gguf_close(&g_open);
    free(g_file);
    CHECK(all_zero(&g_open), "not all zero after gguf_close");
}

/* One of everything that the parser looks at. */
static struct gguf_build valid(void) {
    struct gguf_build b = {0};
    build_str(&b, "general.architecture", "llama");
    build_u32(&b, "a.u32", 7);
    build_f64(&b, "an.f64", 0.5);
    build_u32s(&b, "an.array", 3, (const uint32_t[]){1, 2, 3});
    build_strs(&b, "some.strings", 3, (const char *const[]){"one", "", "three"});
    build_tensor(&b, "first", GGML_TYPE_F32, 8, 2, NULL);
    build_tensor(&b, "second", GGML_TYPE_Q5_K, 256, 2, NULL);
    build_tensor(&b, "third", GGML_TYPE_F16, 1024, 0, NULL);
    return b;
}

static void rename_to(char **name, const char *to) {
    free(*name);
    *name = build_strdup(to);
}

/* ---- one thing broken ------------------------------------------------------------------------ */

#define LENGTH INT32_MIN // the 8 bytes before the marker

/* width bytes of value are written `at` bytes behind the first occurrence of the marker. */
struct patch {
    const char *marker;
    int at, width;
    uint64_t value;
    const char *expected;
};

static const struct patch patches[] = {
    // header
    {"GGUF", -4, 4, 0x67676a74, "not a GGUF file: it begins with \"tjgg\", expected \"GGUF\""},
    {"GGUF", -1, 1, 'f', "not a GGUF file: it begins with \"GGUf\""},
    {"GGUF", 0, 4, 0, "GGUF version 0 is not supported, expected 2 or 3"},
    {"GGUF", 0, 4, 1, "GGUF version 1 is not supported, expected 2 or 3"},
    {"GGUF", 0, 4, 4, "GGUF version 4 is not supported, expected 2 or 3"},
    {"GGUF", 0, 4, 0x10003, "GGUF version 65539 is not supported"},
    {"GGUF", 0, 4, 0x02000000, "a big-endian GGUF file (version 0x02000000)"},
    {"GGUF", 0, 4, 0x03000000, "a big-endian GGUF file (version 0x03000000)"},
    {"GGUF", 4, 8, UINT64_MAX, "n_tensors is 18446744073709551615, but the file of"},
    {"GGUF", 4, 8, 1ull << 40, "n_tensors is 1099511627776, but the file of"},
    {"GGUF", 4, 8, 4, "tensor 3: the name is empty"}, // zeros of the padding
    {"GGUF", 4, 8, 2, NULL},                          // fewer than there are: gaps are legal
    {"GGUF", 12, 8, UINT64_MAX, "n_kv is 18446744073709551615, but the"},
    {"GGUF", 12, 8, 1ull << 32, "n_kv is 4294967296, but the"},
    {"GGUF", 12, 8, 6, "tensor 0: the name needs "}, // a tensor read as a key
    {"GGUF", 12, 8, 4, "some.strings: the tensor has 9 dimensions, at most 4"},
    // keys
    {"a.u32", LENGTH, 8, 0, "key 1: the key is empty"},
    {"a.u32", LENGTH, 8, UINT64_MAX, "key 1: the key needs 18446744073709551615 bytes at offset"},
    {"a.u32", LENGTH, 8, UINT64_MAX - 7, "key 1: the key needs 18446744073709551608 bytes at"},
    {"a.u32", LENGTH, 8, 1ull << 63, "key 1: the key needs 9223372036854775808 bytes at offset"},
    {"a.u32", LENGTH, 8, 1 << 20, "key 1: the key needs 1048576 bytes at offset"},
    {"a.u32", 0, 4, 13, "a.u32: value type 13 is unknown, expected 0 to 12"},
    {"a.u32", 0, 4, UINT32_MAX, "a.u32: value type 4294967295 is unknown, expected 0 to 12"},
    // strings
    {"architecture", 4, 8, UINT64_MAX,
     "general.architecture: a string needs 18446744073709551615 bytes at offset"},
    {"architecture", 4, 8, UINT64_MAX - 55, "general.architecture: a string needs"},
    {"architecture", 4, 8, 100000, "general.architecture: a string needs 100000 bytes at offset"},
    {"three", LENGTH, 8, 1ull << 62, "some.strings: a string needs 4611686018427387904 bytes at"},
    {"one", LENGTH, 8, UINT64_MAX, "some.strings: a string needs 18446744073709551615 bytes"},
    // arrays
    {"an.array", 4, 4, GGUF_ARRAY, "an.array: arrays of arrays are not supported"},
    {"an.array", 4, 4, 13, "an.array: array element type 13 is unknown, expected 0 to 12"},
    {"an.array", 4, 4, UINT32_MAX, "an.array: array element type 4294967295 is unknown"},
    {"an.array", 8, 8, UINT64_MAX, "an.array: needs 18446744073709551615 x 4 bytes (u32) at"},
    {"an.array", 8, 8, 1ull << 62, "an.array: needs 4611686018427387904 x 4 bytes (u32) at"},
    {"an.array", 8, 8, 10000, "an.array: needs 10000 x 4 bytes (u32) at offset"},
    {"some.strings", 8, 8, 1ull << 61,
     "some.strings: needs 2305843009213693952 x 8 bytes (string)"},
    // tensors
    {"second", LENGTH, 8, 0, "tensor 1: the name is empty"},
    {"second", LENGTH, 8, 64, "the tensor's name has 64 bytes, at most 63 are allowed"},
    {"second", LENGTH, 8, UINT64_MAX, "tensor 1: the name needs 18446744073709551615 bytes at"},
    {"second", -1, 1, 0, ": the tensor's name contains a zero byte"},
    {"second", 0, 4, 5, "second: the tensor has 5 dimensions, at most 4 are allowed"},
    {"second", 0, 4, UINT32_MAX, "second: the tensor has 4294967295 dimensions, at most 4"},
    {"second", 4, 8, 255, "second: rows of 255 weights are no whole number of Q5_K blocks of 256"},
    {"second", 4, 8, 1, "second: rows of 1 weights are no whole number of Q5_K blocks of 256"},
    {"second", 4, 8, 512, "third overlap in the file"},
    {"second", 4, 8, 5120, "second: 5120 x 2 Q5_K needs 7040 bytes at offset"},
    {"second", 4, 8, 1ull << 63,
     "second: dimension 0 is 9223372036854775808: the tensor would have"},
    {"second", 12, 8, UINT64_MAX, "second: dimension 1 is 18446744073709551615: the tensor would"},
    {"second", 12, 8, 1ull << 55, "second: dimension 1 is 36028797018963968: the tensor would"},
    {"second", 12, 8, 1ull << 54,
     "second: 256 x 18014398509481984 Q5_K needs 3170534137668829184 "},
    {"first", 12, 8, 1ull << 59, "first: 8 x 576460752303423488 F32 would have more than 2^64 by"},
    {"first", 12, 8, (1ull << 59) - 1, "first: 8 x 576460752303423487 F32 needs 18446744073709551"},
    {"first", 4, 8, 0, NULL},
    {"first", 12, 8, 0, NULL},
    {"second", 20, 4, GGML_TYPE_F32, "third overlap in the file"},
    {"second", 20, 4, 4, NULL},  // removed from the format, described all the same
    {"second", 20, 4, 99, NULL}, // not invented yet
    {"second", 24, 8, 65, "second: the offset 65 is no multiple of general.alignment 32"},
    {"second", 24, 8, 32, "first and second overlap in the file"},
    {"second", 24, 8, 96, "second and third overlap in the file"},
    {"second", 24, 8, 128, "second and third overlap in the file"},
    {"third", 16, 8, 2048, "third: 1024 F16 needs 2048 bytes at offset 2432, the file ends af"},
    {"third", 16, 8, 1ull << 40, "third: the offset 1099511627776 is past the end of the file ("},
    {"third", 16, 8, UINT64_MAX - 31, "third: the offset 18446744073709551584 is past the end of"},
};

static size_t find_bytes(const uint8_t *file, size_t size, const char *text) {
    size_t len = strlen(text);
    for (size_t i = 0; i + len <= size; i++) {
        if (memcmp(file + i, text, len) == 0) return i;
    }
    printf("no \"%s\" in the file\n", text);
    exit(1);
}

static void test_patches(void) {
    for (size_t i = 0; i < sizeof patches / sizeof patches[0]; i++) {
        const struct patch *p = &patches[i];
        struct gguf_build b = valid();
        size_t size;
        uint8_t *file = build_file(&b, &size), *at = file + find_bytes(file, size, p->marker);
        at = p->at == LENGTH ? at - 8 : at + strlen(p->marker) + p->at;
        memcpy(at, &p->value, (size_t)p->width);
        if (p->expected) {
            check_refused_bytes(file, size, p->expected);
        } else {
            struct gguf g;
            struct error err = {KQ_OK, ""};
            int result = gguf_parse(&g, file, size, &err);
            CHECK(result == 0, "%s + %d = %llu: \"%s\"", p->marker, p->at,
                  (unsigned long long)p->value, err.text);
            gguf_close(&g);
        }
        free(file);
        build_free(&b);
    }
}

/* What no patch of the valid file can say. */
static void test_broken(void) {
    struct gguf_build b = valid();
    rename_to(&build_find(&b, "some.strings")->key, "a.u32");
    check_refused(&b, "a.u32: the key occurs twice");
    b = valid();
    rename_to(&build_find(&b, "some.strings")->key, "general.architecture");
    check_refused(&b, "general.architecture: the key occurs twice");
    b = valid();
    rename_to(&build_find_tensor(&b, "third")->name, "first");
    check_refused(&b, "first: the tensor's name occurs twice");

    char *key = build_realloc(NULL, 65537);
    memset(key, 'k', 65536);
    key[65536] = '\0';
    build_u32(&b, key, 1);
    check_refused(&b, "...: the key has 65536 bytes, at most 65535 are allowed");
    free(key);

    static const uint32_t alignments[] = {0, 1, 2, 4, 7, 12, 33, 48, 0x80000001};
    for (size_t i = 0; i < sizeof alignments / sizeof alignments[0]; i++) {
        char expected[100];
        snprintf(expected, sizeof expected,
                 "general.alignment is %u, expected a power of two from 8",
                 (unsigned)alignments[i]);
        b = valid();
        build_u32(&b, "general.alignment", alignments[i]);
        check_refused(&b, expected);
    }
    b = valid();
    build_str(&b, "general.alignment", "32");
    check_refused(&b, "general.alignment: expected an integer, found string");
    b = valid();
    build_u64(&b, "general.alignment", 1ull << 32);
    check_refused(&b, "general.alignment: 4294967296 does not fit, expected 0 to 4294967295");
    b = valid();
    build_u32(&b, "general.alignment", 0x80000000);
    check_refused(&b, "first: 8 x 2 F32 needs 64 bytes at offset 2147483648, the file ends after");
    b = valid();
    build_u32(&b, "general.alignment", 128); // the offsets are still multiples of 32
    check_refused(&b, "second: the offset 64 is no multiple of general.alignment 128");

    struct build_tensor *t =
        build_tensor_nd(&b, "cube", GGML_TYPE_F32, 4, (const uint64_t[]){1, 1, 1, 1}, NULL);
    for (int d = 0; d < 4; d++) t->ne[d] = 65536; // 2^64
    check_refused(&b, "cube: dimension 3 is 65536: the tensor would have more than 2^63 weights");
    build_tensor(&b, "no.weights", GGML_TYPE_F32, 0, 1, NULL)->ne[1] = 1ull << 63;
    check_refused(&b, "no.weights: dimension 1 is 9223372036854775808: the tensor would have more");
    t = build_tensor_nd(&b, "none", GGML_TYPE_F32, 3, (const uint64_t[]){0, 1, 1}, NULL);
    t->ne[1] = t->ne[2] = 1ull << 32;
    check_refused(&b, "none: dimension 2 is 4294967296: the tensor would have more than 2^63");
    t = build_tensor_nd(&b, "blk.3.ffn_down.weight", GGML_TYPE_Q5_K, 2, (const uint64_t[]){256, 0},
                        NULL);
    t->ne[0] = 4096, t->ne[1] = 14336;
    check_refused(&b, "blk.3.ffn_down.weight: 4096 x 14336 Q5_K needs 40370176 bytes at offset 96, "
                      "the file ends after 96: truncated?");
}

/* Nothing that was cut off may parse, wherever the cut is. */
static void test_truncation(void) {
    struct gguf_build b = valid();
    size_t size;
    uint8_t *file = build_file(&b, &size);
    for (size_t cut = 0; cut < size; cut++) {
        check_refused_bytes(file, cut,
                            cut == 0                     ? "the file is empty, expected a GGUF file"
                            : cut < 4                    ? "not a GGUF file: it begins with \"G"
                            : cut < 24                   ? ": truncated?"
                            : cut < 24 + 5 * 14 + 3 * 25 ? "hold" // n_kv, n_tensors
                                                         : ": truncated?");
    }
    free(file);
    build_free(&b);
    file = build_realloc(NULL, size = 8 << 20); // room for all that the header claims
    memset(file, 0, size);
    memcpy(file, "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\4", 19);
    check_refused_bytes(file, size,
                        "n_kv is 262145 and n_tensors 0, at most 262144 are allowed of");
    memcpy(file + 8, "\1\0\4\0\0\0\0\0\0\0\0", 11);
    check_refused_bytes(file, size,
                        "n_kv is 0 and n_tensors 262145, at most 262144 are allowed of");
    memcpy(file + 8, "\0\0\4", 3);
    check_refused_bytes(file, size, "tensor 0: the name is empty");
    free(file);
    check_refused_bytes("once upon a time", 16, "it begins with \"once\", expected \"GGUF\"");
    check_refused_bytes("\033[2J", 4, "it begins with \"?[2J\""); // nothing for a terminal to obey
}

/* ---- odd but legal --------------------------------------------------------------------------- */

static void test_legal_metadata(void) {
    struct gguf_build b = {0};
    const struct gguf *g = accept(&b);
    CHECK(g->n_kv == 0 && g->n_tensors == 0 && g->version == 3 && g->alignment == 32,
          "an empty file: %zu keys, %zu tensors", g->n_kv, g->n_tensors);
    CHECK(!gguf_find(g, "a") && !gguf_find_tensor(g, "a"), "found in an empty file");
    release();

    b = valid();
    b.version = 2;
    g = accept(&b);
    CHECK(g->version == 2 && g->n_kv == 5 && g->n_tensors == 3, "version 2");
    release();

    char key[65536];
    memset(key, 'k', sizeof key);
    key[sizeof key - 1] = '\0';
    build_u32(&b, key, 5);
    build_u32(&b, "\xe6\x97\xa5 \n", 6);
    build_u32(&b, "general.alignment", 0x80000000); // without tensors nothing has to fit
    build_i32s(&b, "none", 0, NULL);
    build_strs(&b, "no.strings", 0, NULL);
    build_strn(&b, "zero.byte", "a\0b", 3);
    g = accept(&b);
    uint32_t v = 0;
    struct gguf_str s = {0};
    struct error err = {KQ_OK, ""};
    const struct gguf_kv *array = NULL;
    CHECK(gguf_get_u32(g, key, &v, &err) == 1 && v == 5, "key of 65535 bytes: %u", (unsigned)v);
    CHECK(gguf_get_u32(g, "\xe6\x97\xa5 \n", &v, &err) == 1 && v == 6, "odd key: %u", (unsigned)v);
    CHECK(g->alignment == 0x80000000, "alignment %zu", g->alignment);
    CHECK(gguf_get_array(g, "none", GGUF_INT32, &array, &err) == 1 && array->n == 0, "empty array");
    CHECK(gguf_get_array(g, "no.strings", GGUF_STRING, &array, &err) == 1 && array->n == 0,
          "empty array of strings");
    CHECK(gguf_get_str(g, "zero.byte", &s, &err) == 1 && s.len == 3 && !memcmp(s.data, "a\0b", 3),
          "string of %zu bytes", s.len);
    CHECK(!gguf_str_eq(s, "a") && !gguf_str_eq(s, "a b"), "equal up to the zero byte");
    release();
}

static void test_legal_tensors(void) {
    struct gguf_build b = {0};
    char name[64];
    memset(name, 'n', 63);
    name[63] = '\0';
    build_tensor(&b, name, GGML_TYPE_F32, 3, 0, (const float[]){1, 2, 3});
    build_tensor_nd(&b, "scalar", GGML_TYPE_F32, 0, NULL, (const float[]){4});
    build_tensor(&b, "no.rows", GGML_TYPE_F32, 4, 1, NULL)->ne[1] = 0;
    build_tensor(&b, "no.columns", GGML_TYPE_Q6_K, 0, 4, NULL);
    build_tensor(&b, "future", 99, 5, 5, NULL);
    build_tensor_nd(&b, "four", GGML_TYPE_F16, 4, (const uint64_t[]){5, 4, 3, 2}, NULL);
    const struct gguf *g = accept(&b);
    CHECK(g->n_tensors == 6, "%zu tensors", g->n_tensors);
    const struct gguf_tensor *t = gguf_find_tensor(g, name);
    CHECK(t && t->n_dims == 1 && t->ne[0] == 3 && t->nbytes == 12, "name of 63 bytes");
    CHECK(t && memcmp(t->data, (const float[]){1, 2, 3}, 12) == 0, "data of the first tensor");
    t = gguf_find_tensor(g, "scalar");
    CHECK(t && t->n_dims == 1 && t->ne[0] == 1 && t->nbytes == 4, "scalar");
    CHECK(t && memcmp(t->data, (const float[]){4}, 4) == 0, "data of the scalar");
    t = gguf_find_tensor(g, "no.rows");
    CHECK(t && t->n_dims == 2 && t->ne[1] == 0 && t->nbytes == 0 && t->data, "no rows");
    t = gguf_find_tensor(g, "no.columns");
    CHECK(t && t->ne[0] == 0 && t->nbytes == 0 && t->data, "no columns");
    t = gguf_find_tensor(g, "future");
    CHECK(t && t->type == 99 && t->nbytes == 0 && !t->data, "unknown type");
    t = gguf_find_tensor(g, "four");
    CHECK(t && t->n_dims == 4 && t->ne[0] == 5 && t->ne[3] == 2 && t->nbytes == 240,
          "4 dimensions");
    for (size_t i = 0; i < g->n_tensors; i++) {
        CHECK(gguf_find_tensor(g, g->tensors[i].name) == &g->tensors[i], "order of tensor %zu", i);
    }
    release();
}

/* In any order, with gaps, with any alignment from 8 on. */
static void test_legal_places(void) {
    struct gguf_build b = {0};
    build_tensor(&b, "z", GGML_TYPE_I8, 32, 0, "11111111111111111111111111111111");
    build_tensor(&b, "a", GGML_TYPE_I8, 32, 0, "22222222222222222222222222222222");
    build_tensor(&b, "m", GGML_TYPE_I8, 1, 0, "3");
    b.tensors[0].offset_given = b.tensors[1].offset_given = b.tensors[2].offset_given = true;
    b.tensors[0].offset = 32, b.tensors[1].offset = 0, b.tensors[2].offset = 64;
    const struct gguf *g = accept(&b);
    CHECK(*(const char *)gguf_find_tensor(g, "z")->data == '2', "z is the second");
    CHECK(*(const char *)gguf_find_tensor(g, "a")->data == '1', "a is the first");
    CHECK(*(const char *)gguf_find_tensor(g, "m")->data == '3', "m is the third");
    release();
    build_tensor(&b, "data", GGML_TYPE_I8, 96, 0, NULL);
    struct build_tensor *t = build_tensor(&b, "nothing, inside", GGML_TYPE_I8, 0, 0, NULL);
    t->offset_given = true, t->offset = 32;
    accept(&b);
    release();
    for (uint32_t alignment = 8; alignment <= 4096; alignment *= 2) {
        b = valid();
        build_u32(&b, "general.alignment", alignment);
        b.alignment = alignment;
        build_tensor(&b, "mark", GGML_TYPE_I8, 1, 0, "!");
        g = accept(&b);
        CHECK(g->alignment == alignment, "alignment %zu", g->alignment);
        for (size_t i = 0; i < g->n_tensors; i++) {
            size_t at = (size_t)((const uint8_t *)g->tensors[i].data - g_file);
            CHECK(at % alignment == 0, "tensor %zu at %zu, alignment %u", i, at, alignment);
        }
        CHECK(*(const char *)gguf_find_tensor(g, "mark")->data == '!', "alignment %u", alignment);
        release();
    }
}

/* ---- types ----------------------------------------------------------------------------------- */

/* Weights and bytes of a block, as ggml's own ggml_blck_size and ggml_type_size give them. */
static void test_type_table(void) {
    static const struct {
        uint32_t type;
        const char *name;
        int block_len, block_bytes;
    } expected[] = {
        {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},
        {3, "Q4_1", 32, 20},      {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},
        {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 36},      {10, "Q2_K", 256, 84},
        {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
        {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66},
        {17, "IQ2_XS", 256, 74},  {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},
        {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},  {22, "IQ2_S", 256, 82},
        {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
        {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},
        {29, "IQ1_M", 256, 56},   {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},
        {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},    {40, "NVFP4", 64, 36},
        {41, "Q1_0", 128, 18},    {42, "Q2_0", 64, 18},
    };
    size_t n = sizeof expected / sizeof expected[0], known = 0;
    for (size_t i = 0; i < n; i++) {
        const struct ggml_type_info *info = ggml_type_info(expected[i].type);
        CHECK(info && strcmp(info->name, expected[i].name) == 0 &&
                  info->block_len == expected[i].block_len &&
                  info->block_bytes == expected[i].block_bytes,
              "type %u, %s", (unsigned)expected[i].type, expected[i].name);
    }
    for (uint32_t type = 0; type < 1000; type++) known += ggml_type_info(type) != NULL;
    CHECK(known == n && !ggml_type_info(UINT32_MAX), "%zu types known, expected %zu", known, n);
    CHECK(strcmp(gguf_type_name(GGUF_UINT8), "u8") == 0, "name of UINT8");
    CHECK(strcmp(gguf_type_name(GGUF_FLOAT64), "f64") == 0, "name of FLOAT64");
    CHECK(strcmp(gguf_type_name((enum gguf_type)13), "unknown") == 0, "name of type 13");
}

/* Which getter takes which type: u for u32, f for f32, b for bool, s for str; arrays I, F, B, S. */
static void check_getters(const struct gguf *g, const char *key, const char *takes) {
    struct error err = {KQ_OK, ""};
    uint32_t u = 99;
    float f = 99;
    bool b = true;
    struct gguf_str s = {"99", 2};
    const struct gguf_kv *a = NULL;
    static const enum gguf_type class[] = {GGUF_INT32, GGUF_FLOAT32, GGUF_BOOL, GGUF_STRING};
    int expected_u = strchr(takes, 'u') ? 1 : -1, expected_f = strchr(takes, 'f') ? 1 : -1;
    int expected_b = strchr(takes, 'b') ? 1 : -1, expected_s = strchr(takes, 's') ? 1 : -1;
    CHECK(gguf_get_u32(g, key, &u, &err) == expected_u, "%s as u32", key);
    CHECK(gguf_get_f32(g, key, &f, &err) == expected_f, "%s as f32", key);
    CHECK(gguf_get_bool(g, key, &b, &err) == expected_b, "%s as bool", key);
    CHECK(gguf_get_str(g, key, &s, &err) == expected_s, "%s as str", key);
    CHECK(expected_u == 1 || u == 99, "%s: u32 changed to %u", key, (unsigned)u);
    CHECK(expected_f == 1 || f == 99, "%s: f32 changed to %g", key, (double)f);
    CHECK(expected_b == 1 || b, "%s: bool changed", key);
    CHECK(expected_s == 1 || s.len == 2, "%s: str changed", key);
    for (int i = 0; i < 4; i++) {
        int expected = strchr(takes, "IFBS"[i]) ? 1 : -1;
        a = NULL;
        CHECK(gguf_get_array(g, key, class[i], &a, &err) == expected, "%s as array %d", key, i);
        CHECK((a != NULL) == (expected == 1), "%s as array %d: pointer", key, i);
    }
    CHECK(strncmp(err.text, key, strlen(key)) == 0 && strstr(err.text, "expected"),
          "%s: the message is \"%s\"", key, err.text);
}

static void test_getter_matrix(void) {
    struct gguf_build b = {0};
    static const uint8_t bytes[16];
    static const struct {
        const char *key, *takes;
        enum gguf_type type;
        size_t size;
    } types[] = {
        {"u8", "u", GGUF_UINT8, 1},     {"i8", "u", GGUF_INT8, 1},
        {"u16", "u", GGUF_UINT16, 2},   {"i16", "u", GGUF_INT16, 2},
        {"u32", "u", GGUF_UINT32, 4},   {"i32", "u", GGUF_INT32, 4},
        {"u64", "u", GGUF_UINT64, 8},   {"i64", "u", GGUF_INT64, 8},
        {"f32", "f", GGUF_FLOAT32, 4},  {"f64", "f", GGUF_FLOAT64, 8},
        {"bool", "b", GGUF_BOOL, 1},    {"str", "s", GGUF_STRING, 8},
        {"u8s", "I", GGUF_UINT8, 1},    {"i8s", "I", GGUF_INT8, 1},
        {"u16s", "I", GGUF_UINT16, 2},  {"i16s", "I", GGUF_INT16, 2},
        {"u32s", "I", GGUF_UINT32, 4},  {"i32s", "I", GGUF_INT32, 4},
        {"u64s", "I", GGUF_UINT64, 8},  {"i64s", "I", GGUF_INT64, 8},
        {"f32s", "F", GGUF_FLOAT32, 4}, {"f64s", "F", GGUF_FLOAT64, 8},
        {"bools", "B", GGUF_BOOL, 1},   {"strs", "S", GGUF_STRING, 8},
    };
    size_t n = sizeof types / sizeof types[0];
    for (size_t i = 0; i < n; i++) {
        if (types[i].takes[0] >= 'a') {
            build_scalar(&b, types[i].key, types[i].type, bytes);
        } else {
            build_array(&b, types[i].key, types[i].type, 2, bytes, 2 * types[i].size);
        }
    }
    const struct gguf *g = accept(&b);
    for (size_t i = 0; i < n; i++) check_getters(g, types[i].key, types[i].takes);
    struct error err = {KQ_OK, ""};
    uint32_t u = 99;
    const struct gguf_kv *a = NULL;
    CHECK(gguf_get_u32(g, "no.such", &u, &err) == 0 && u == 99, "missing key");
    CHECK(gguf_get_array(g, "no.such", GGUF_INT32, &a, &err) == 0 && !a, "missing array");
    CHECK(err.text[0] == '\0', "a missing key is no error: %s", err.text);
    CHECK(gguf_get_u32(g, "str", &u, NULL) == -1, "a NULL error");
    CHECK(gguf_get_u32(g, "f32s", &u, &err) == -1 &&
              strcmp(err.text, "f32s: expected an integer, found array of f32") == 0,
          "\"%s\"", err.text);
    CHECK(gguf_get_array(g, "u8", GGUF_STRING, &a, &err) == -1 &&
              strcmp(err.text, "u8: expected an array of strings, found u8") == 0,
          "\"%s\"", err.text);
    CHECK(gguf_get_array(g, "f64s", GGUF_INT32, &a, &err) == -1 &&
              strcmp(err.text, "f64s: expected an array of integers, found array of f64") == 0,
          "\"%s\"", err.text);
    release();
}

static void check_u32(const struct gguf *g, const char *key, int expected, uint32_t value) {
    struct error err = {KQ_OK, ""};
    uint32_t u = 99;
    int found = gguf_get_u32(g, key, &u, &err);
    CHECK(found == expected && u == (expected == 1 ? value : 99), "%s: %d, %u", key, found,
          (unsigned)u);
    CHECK(found != -1 || strstr(err.text, "does not fit"), "%s: \"%s\"", key, err.text);
}

static void check_f32(const struct gguf *g, const char *key, int expected, float value) {
    struct error err = {KQ_OK, ""};
    float f = 99;
    int found = gguf_get_f32(g, key, &f, &err);
    if (expected == -1) value = 99;
    CHECK(found == expected && (f == value || (isnan(f) && isnan(value))), "%s: %d, %g", key, found,
          (double)f);
    CHECK(found != -1 || strstr(err.text, "does not fit"), "%s: \"%s\"", key, err.text);
}

static void test_getter_values(void) {
    struct gguf_build b = {0};
    build_u8(&b, "u8", 255), build_i8(&b, "i8", 127), build_i8(&b, "i8-", -1);
    build_u16(&b, "u16", 65535), build_i16(&b, "i16", 32767), build_i16(&b, "i16-", -1);
    build_u32(&b, "u32", UINT32_MAX), build_i32(&b, "i32", INT32_MAX), build_i32(&b, "i32-", -1);
    build_u64(&b, "u64", UINT32_MAX), build_u64(&b, "u64+", 1ull << 32);
    build_u64(&b, "u64++", UINT64_MAX), build_i64(&b, "i64", 5), build_i64(&b, "i64-", INT64_MIN);
    build_i64(&b, "i64+", INT64_MAX);
    build_f32(&b, "f32", 1.5f), build_f64(&b, "f64", 0.1), build_f64(&b, "f64+", 1e39);
    build_f64(&b, "f64-", -1e39), build_f64(&b, "max", (double)FLT_MAX);
    build_f64(&b, "inf", (double)INFINITY), build_f32(&b, "nan", NAN);
    build_bool(&b, "true", true), build_bool(&b, "false", false);
    build_scalar(&b, "maybe", GGUF_BOOL, "\2");
    build_str(&b, "str", "text"), build_str(&b, "empty", "");
    const struct gguf *g = accept(&b);
    check_u32(g, "u8", 1, 255), check_u32(g, "i8", 1, 127), check_u32(g, "i8-", -1, 0);
    check_u32(g, "u16", 1, 65535), check_u32(g, "i16", 1, 32767), check_u32(g, "i16-", -1, 0);
    check_u32(g, "u32", 1, UINT32_MAX), check_u32(g, "i32", 1, INT32_MAX);
    check_u32(g, "i32-", -1, 0), check_u32(g, "u64", 1, UINT32_MAX), check_u32(g, "u64+", -1, 0);
    check_u32(g, "u64++", -1, 0), check_u32(g, "i64", 1, 5), check_u32(g, "i64-", -1, 0);
    check_u32(g, "i64+", -1, 0);
    check_f32(g, "f32", 1, 1.5f), check_f32(g, "f64", 1, 0.1f), check_f32(g, "f64+", -1, 0);
    check_f32(g, "f64-", -1, 0), check_f32(g, "max", 1, FLT_MAX), check_f32(g, "nan", 1, NAN);
    check_f32(g, "inf", 1, INFINITY);
    struct error err = {KQ_OK, ""};
    bool v = false;
    CHECK(gguf_get_bool(g, "true", &v, &err) == 1 && v, "true");
    CHECK(gguf_get_bool(g, "false", &v, &err) == 1 && !v, "false");
    CHECK(gguf_get_bool(g, "maybe", &v, &err) == 1 && v, "a bool of 2 is true");
    CHECK(gguf_int_at(gguf_find(g, "maybe"), 0) == 1, "a bool of 2 is 1");
    struct gguf_str s = {0};
    CHECK(gguf_get_str(g, "str", &s, &err) == 1 && gguf_str_eq(s, "text"), "str");
    CHECK(!gguf_str_eq(s, "tex") && !gguf_str_eq(s, "text ") && !gguf_str_eq(s, "texT"), "str_eq");
    CHECK(gguf_get_str(g, "empty", &s, &err) == 1 && s.len == 0 && gguf_str_eq(s, ""), "empty");
    CHECK(gguf_int_at(gguf_find(g, "u64++"), 0) == INT64_MAX, "UINT64_MAX as int64_t");
    CHECK(gguf_int_at(gguf_find(g, "f32"), 0) == 0 && gguf_int_at(gguf_find(g, "str"), 0) == 0,
          "an integer of another class");
    CHECK(gguf_f32_at(gguf_find(g, "u8"), 0) == 0, "a float of another class");
    release();
}

/* The elements of an array begin at every offset from a multiple of 8. */
static void test_unaligned_arrays(void) {
    static const int64_t ints[] = {INT64_MIN, -1, 0, 1, INT64_MAX};
    static const int16_t shorts[] = {INT16_MIN, -1, 0, 1, INT16_MAX};
    static const double doubles[] = {-1.5, 0, 1e300};
    static const float floats[] = {-1.5f, 0, 1e30f};
    static const char *const strings[] = {"a", "", "bcd"};
    struct error err = {KQ_OK, ""};
    for (int shift = 0; shift < 8; shift++) {
        struct gguf_build b = {0};
        build_strn(&b, "shift", "12345678", (size_t)shift);
        build_array(&b, "i64", GGUF_INT64, 5, ints, sizeof ints);
        build_array(&b, "i16", GGUF_INT16, 5, shorts, sizeof shorts);
        build_array(&b, "f64", GGUF_FLOAT64, 3, doubles, sizeof doubles);
        build_f32s(&b, "f32", 3, floats);
        build_strs(&b, "str", 3, strings);
        build_bools(&b, "bool", 2, (const bool[]){true, false});
        const struct gguf *g = accept(&b);
        const struct gguf_kv *a = NULL;
        for (uint64_t i = 0; i < 5; i++) {
            CHECK(gguf_int_at(gguf_find(g, "i64"), i) == ints[i], "shift %d, i64 %d", shift,
                  (int)i);
            CHECK(gguf_int_at(gguf_find(g, "i16"), i) == shorts[i], "shift %d, i16 %d", shift,
                  (int)i);
        }
        for (uint64_t i = 0; i < 3; i++) {
            CHECK(gguf_f32_at(gguf_find(g, "f64"), i) == doubles[i], "shift %d, f64 %d", shift,
                  (int)i);
            CHECK(gguf_f32_at(gguf_find(g, "f32"), i) == (double)floats[i], "shift %d, f32 %d",
                  shift, (int)i);
        }
        CHECK(gguf_get_array(g, "str", GGUF_STRING, &a, &err) == 1 && a->n == 3, "strings");
        const uint8_t *cursor = a->data;
        for (int i = 0; i < 3; i++) {
            CHECK(gguf_str_eq(gguf_next_str(&cursor), strings[i]), "shift %d, str %d", shift, i);
        }
        a = gguf_find(g, "bool");
        CHECK(gguf_int_at(a, 0) == 1 && gguf_int_at(a, 1) == 0, "bools");
        release();
    }
}

/* ---- many names ------------------------------------------------------------------------------ */

/* Found among thousands, whatever their order in the file; a search that compares all with all
 * would be noticed by whoever waits for this test. */
static void test_many(void) {
    enum { N = 20000 };
    struct gguf_build b = {0};
    b.kv = build_realloc(NULL, N * sizeof *b.kv);
    b.tensors = build_realloc(NULL, N * sizeof *b.tensors);
    char name[32];
    for (uint32_t i = 0; i < N; i++) {
        struct gguf_writer value = {0};
        snprintf(name, sizeof name, "a.common.prefix.%u", (unsigned)(i * 7919u % N));
        gguf_write_scalar(&value, GGUF_UINT32, &i);
        b.kv[b.n_kv++] = (struct build_kv){build_strdup(name), value};
        b.tensors[b.n_tensors++] =
            (struct build_tensor){build_strdup(name), GGML_TYPE_I8, 1, .ne = {1}};
        gguf_write(&b.tensors[i].data, &(uint8_t){(uint8_t)i}, 1);
    }
    const struct gguf *g = accept(&b);
    struct error err = {KQ_OK, ""};
    for (uint32_t i = 0; i < N; i++) {
        uint32_t v = 0;
        snprintf(name, sizeof name, "a.common.prefix.%u", (unsigned)(i * 7919u % N));
        const struct gguf_tensor *t = gguf_find_tensor(g, name);
        CHECK(gguf_get_u32(g, name, &v, &err) == 1 && v == i, "%s: %u", name, (unsigned)v);
        CHECK(t && *(const uint8_t *)t->data == (uint8_t)i, "tensor %s", name);
    }
    CHECK(!gguf_find(g, "a.common.prefix") && !gguf_find(g, "a.common.prefix.20000"), "not there");
    CHECK(!gguf_find(g, "") && !gguf_find(g, "zzz") && !gguf_find(g, "A"), "not there");
    CHECK(!gguf_find_tensor(g, "a.common.prefix.") && !gguf_find_tensor(g, "zzz"), "not there");
    release();
}

int main(void) {
    test_patches();
    test_broken();
    test_truncation();
    test_legal_metadata();
    test_legal_tensors();
    test_legal_places();
    test_type_table();
    test_getter_matrix();
    test_getter_values();
    test_unaligned_arrays();
    test_many();
    return test_done("test_gguf");
}
