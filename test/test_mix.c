/* mix.c: the types of every tensor of all the models in test/data/mixes.txt, as llama.cpp gives
 * them; that neither the order of the tensors nor the architecture's being known decides
 * anything; metadata that are none. */
#include "gguf_build.h"
#include "mix.h"
#include "test.h"

static const char *const mix_names[] = {"Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "Q8_0"};
enum { N_MIXES = sizeof mix_names / sizeof mix_names[0] };

/* The letter of a type in mixes.txt; '?' for one that no mix gives. */
static char letter_of(uint32_t type) {
    static const struct {
        uint32_t type;
        char letter;
    } letters[] = {{GGML_TYPE_F32, '-'},  {GGML_TYPE_F16, 'h'},  {GGML_TYPE_Q5_0, 'a'},
                   {GGML_TYPE_Q5_1, 'b'}, {GGML_TYPE_Q8_0, '8'}, {GGML_TYPE_Q4_K, '4'},
                   {GGML_TYPE_Q5_K, '5'}, {GGML_TYPE_Q6_K, '6'}};
    for (size_t i = 0; i < sizeof letters / sizeof letters[0]; i++) {
        if (letters[i].type == type) return letters[i].letter;
    }
    return '?';
}

/* A model of mixes.txt as a file, and of each tensor the letters that are expected. */
struct model {
    char name[64];
    struct gguf_build file;
    char (*letters)[N_MIXES + 1];
};

static void begin_model(struct model *m, const char *line) {
    char arch[64], key[128];
    unsigned n_layer, n_expert, n_head, n_head_kv;
    int n = sscanf(line, "= %63s %63s %u %u %u %u", m->name, arch, &n_layer, &n_expert, &n_head,
                   &n_head_kv);
    CHECK(n == 6, "cannot read: %s", line);
    build_str(&m->file, "general.architecture", arch);
    snprintf(key, sizeof key, "%s.block_count", arch);
    build_u32(&m->file, key, n_layer);
    snprintf(key, sizeof key, "%s.expert_count", arch);
    if (n_expert) build_u32(&m->file, key, n_expert);
    snprintf(key, sizeof key, "%s.attention.head_count", arch);
    if (n_head) build_i32s(&m->file, key, 1, &(int32_t){(int32_t)n_head}); // some have a list
    snprintf(key, sizeof key, "%s.attention.head_count_kv", arch);
    if (n_head_kv) build_u32(&m->file, key, n_head_kv);
}

static void add_tensor(struct model *m, const char *name, uint64_t row, unsigned n_dims,
                       const char *letters) {
    size_t n = m->file.n_tensors;
    uint64_t ne[4] = {row, 2, 2, 2};
    build_tensor_nd(&m->file, name, GGML_TYPE_F32, n_dims, ne, NULL);
    CHECK(m->file.n_tensors == n + 1, "%s: %s occurs twice", m->name, name);
    m->letters = build_realloc(m->letters, (n + 1) * sizeof *m->letters);
    snprintf(m->letters[n], sizeof m->letters[n], "%s", letters);
}

/* "NAME ROW DIMENSIONS LETTERS [0-3,7]" */
static void add_tensors(struct model *m, const char *line) {
    char name[128], full[160], letters[16], layers[512] = "";
    unsigned row, n_dims;
    int n = sscanf(line, "%127s %u %u %15s %511s", name, &row, &n_dims, letters, layers);
    CHECK(n >= 4 && strlen(letters) == N_MIXES, "cannot read: %s", line);
    if (n == 4) add_tensor(m, name, row, n_dims, letters);
    for (char *at = layers; n == 5 && *at; at += *at == ',') {
        long first = strtol(at, &at, 10), last = *at == '-' ? strtol(at + 1, &at, 10) : first;
        for (long layer = first; layer <= last; layer++) {
            snprintf(full, sizeof full, "blk.%ld.%s", layer, name);
            add_tensor(m, full, row, n_dims, letters);
        }
    }
}

static long check_model(struct model *m) {
    size_t size;
    struct gguf g;
    struct error err;
    uint8_t *bytes = build_file(&m->file, &size);
    uint32_t *types = build_realloc(NULL, m->file.n_tensors * sizeof *types);
    int status = gguf_parse(&g, bytes, size, &err);
    for (int i = 0; status == 0 && i < N_MIXES; i++) {
        status = mix_types(mix_find(mix_names[i]), &g, types, &err);
        for (size_t k = 0; status == 0 && k < g.n_tensors; k++) {
            char letter = letter_of(types[k]);
            CHECK(letter == m->letters[k][i], "%s, %s, %s: %c instead of %c", m->name, mix_names[i],
                  g.tensors[k].name, letter, m->letters[k][i]);
        }
    }
    CHECK(status == 0, "%s: %s", m->name, err.text);
    gguf_close(&g);
    free(types);
    free(bytes);
    build_free(&m->file);
    free(m->letters);
    *m = (struct model){0};
    return 1;
}

static void test_models(void) {
    struct model m = {0};
    char line[1024];
    long n_models = 0;
    FILE *f = fopen("test/data/mixes.txt", "r");
    if (!f) {
        perror("test/data/mixes.txt (run from the repository's root)");
        exit(1);
    }
    while (fgets(line, sizeof line, f)) {
        CHECK(strchr(line, '\n'), "a line is too long: %s", line);
        if (*line == '#') continue;
        if (*line == '=' && m.file.n_tensors > 0) n_models += check_model(&m);
        if (*line == '=') begin_model(&m, line);
        if (*line != '=') add_tensors(&m, line);
    }
    fclose(f);
    n_models += check_model(&m);
    CHECK(n_models >= 124, "%ld models", n_models);
}

/* ---- what is not in that file ---------------------------------------------------------------- */

/* mix_types of a file with one tensor, by whose type nothing changes. */
static int types_of(struct gguf_build *b, const char *mix, uint32_t *type, struct error *err) {
    size_t size;
    struct gguf g;
    uint8_t *bytes = build_file(b, &size);
    int status = gguf_parse(&g, bytes, size, err);
    if (status == 0) status = mix_types(mix_find(mix), &g, type, err);
    gguf_close(&g);
    free(bytes);
    return status;
}

static void test_types_of_the_input(void) {
    static const uint32_t inputs[] = {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0,
                                      GGML_TYPE_I32};
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        struct gguf_build b = {0};
        struct error err;
        uint32_t type = 0;
        build_str(&b, "general.architecture", "an architecture that nobody knows");
        build_tensor(&b, "blk.0.attn_q.weight", inputs[i], 256, 2, NULL);
        CHECK(types_of(&b, "Q5_K_M", &type, &err) == 0 && type == GGML_TYPE_Q5_K, "%u", type);
        build_remove_tensor(&b, "blk.0.attn_q.weight");
        build_tensor(&b, "blk.0.ffn_gate_inp.weight", inputs[i], 256, 2, NULL);
        CHECK(types_of(&b, "Q5_K_M", &type, &err) == 0 && type == inputs[i], "%u", type);
        build_free(&b);
    }
}

static void check_refused(struct gguf_build *b, const char *message) {
    struct error err = {.text = ""};
    uint32_t type;
    CHECK(types_of(b, "Q6_K", &type, &err) == -1 && strstr(err.text, message), "%s: %s", message,
          err.text);
}

static void test_refusals(void) {
    struct gguf_build b = {0};
    char long_name[100] = "";
    memset(long_name, 'x', sizeof long_name - 1);
    build_tensor(&b, "blk.4000000000.attn_v.weight", GGML_TYPE_F32, 256, 2, NULL);
    check_refused(&b, "found none: not a model?");
    build_str(&b, "general.architecture", long_name);
    check_refused(&b, "found a long one");
    build_str(&b, "general.architecture", "llama");
    uint32_t type;
    struct error err;
    CHECK(types_of(&b, "Q6_K", &type, &err) == 0 && type == GGML_TYPE_Q6_K, "%u", type);
    build_u32(&b, "llama.block_count", 0xffffffff);
    CHECK(types_of(&b, "Q5_K_M", &type, &err) == 0, "%s", err.text);
    build_str(&b, "llama.block_count", "two");
    check_refused(&b, "llama.block_count");
    build_u32(&b, "llama.block_count", 2);
    build_strs(&b, "llama.expert_count", 1, (const char *[]){"8"});
    check_refused(&b, "llama.expert_count");
    build_free(&b);
    CHECK(!mix_find("Q4_0") && !mix_find(""), "a mix that there is not");
}

int main(void) {
    test_models();
    test_types_of_the_input();
    test_refusals();
    return test_done("test_mix");
}
