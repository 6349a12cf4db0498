/* Golden models, written by others, with one thing in the file made wrong: a tensor or a key that
 * nobody asks for, or a matrix that lies on its side, must be refused by name, in every family. */
#include <dirent.h>

#include "model.h"
#include "test.h"

#define MODELS "test/data/models/"

static uint8_t *read_file(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) return NULL;
    *size = (size_t)ftell(f);
    rewind(f);
    uint8_t *file = malloc(*size);
    size_t n = file ? fread(file, 1, *size, f) : 0;
    fclose(f);
    return n == *size ? file : NULL;
}

/* "" or why the file does not open. */
static const char *open_message(const uint8_t *file, size_t size) {
    static struct error err;
    struct gguf g;
    struct model m;
    err.text[0] = '\0';
    if (gguf_parse(&g, file, size, &err) != 0) return err.text;
    if (model_open(&m, &g, NULL, &err) == 0) {
        model_close(&m);
        err.text[0] = '\0';
    }
    gguf_close(&g);
    return err.text;
}

/* Where a string of the header begins, after its length. */
static uint8_t *find_string(uint8_t *file, size_t size, const char *text, size_t len) {
    for (size_t i = 0; i + 8 + len <= size; i++) {
        uint64_t n;
        memcpy(&n, file + i, sizeof n);
        if (n == len && memcmp(file + i + 8, text, len) == 0) return file + i + 8;
    }
    return NULL;
}

/* With another letter the name is missing, or the new one is left over. */
static void check_renamed(const char *model, uint8_t *file, size_t size, uint8_t *letter,
                          const char *name) {
    uint8_t old = *letter;
    *letter = '#';
    CHECK(open_message(file, size)[0], "%s runs without %s", model, name);
    *letter = old;
}

/* What a file may lack: it is another model then, or the same one in the files of another year. All
 * other tensors that the file has are what every model of its architecture has. */
static const struct optional {
    const char *model, *tensor; // without "blk.N."; NULL: of any model
} optional[] = {
    {NULL, "output.weight"}, // token_embd serves for both
    {NULL, "attn_q.bias"},
    {NULL, "attn_k.bias"},
    {NULL, "attn_v.bias"},
    {"apertus", "rope_freqs.weight"},
    {"exaone", "rope_freqs.weight"},
    {"llama", "rope_freqs.weight"},
    {"step35", "rope_freqs.weight"},
    {"bailingmoe2", "exp_probs_b.bias"},
    {"deepseek2", "exp_probs_b.bias"},
    {"dots1", "exp_probs_b.bias"},
    {"ernie4_5-moe", "exp_probs_b.bias"},
    {"exaone-moe", "exp_probs_b.bias"},
    {"mimo2", "exp_probs_b.bias"},
    {"step35", "exp_probs_b.bias"},
    {"hy_v3", "exp_probs_b"},
    {"chatglm", "attn_qkv.bias"},
    {"glm4moe-qknorm", "attn_q_norm.weight"},
    {"glm4moe-qknorm", "attn_k_norm.weight"},
    {"stablelm", "ffn_norm.weight"}, // the branches are parallel
    {"stablelm-12b", "attn_q_norm.weight"},
    {"falcon-40b", "attn_norm_2.weight"},
    {"codeshell", "token_embd.weight"},
    {"mimo2", "attn_sinks.weight"},
    {"gemma4", "attn_v.weight"},
    {"gemma4", "layer_output_scale.weight"},
    {"gemma3n", "attn_k.weight"}, // of layers that use others' keys and values
    {"gemma3n", "attn_v.weight"},
    {"gemma3n", "attn_k_norm.weight"},
    {"nvfp4", "scale"},
    {"mpt-positions", "position_embd.weight"},
    {"mpt-normed", ""}, // MPT's biases and norms of heads
};

static bool may_lack(const char *model, const char *tensor) {
    int start = 0;
    sscanf(tensor, "blk.%*u.%n", &start);
    for (size_t i = 0; i < sizeof optional / sizeof optional[0]; i++) {
        const struct optional *o = &optional[i];
        size_t n = strlen(tensor + start), suffix = strlen(o->tensor);
        bool ends = n >= suffix && strcmp(tensor + start + n - suffix, o->tensor) == 0;
        if (ends && (!o->model || strstr(model, o->model))) return true;
    }
    return false;
}

/* With another letter a tensor that every such model has is missing; any other is left over. */
static void check_lost(const char *model, uint8_t *file, size_t size, uint8_t *letter,
                       const char *name) {
    uint8_t old = *letter;
    *letter = '#';
    const char *text = open_message(file, size);
    bool left_over = strstr(text, " is not part of a model");
    CHECK(text[0] && (!left_over || may_lack(model, name)), "%s without %s: \"%s\"", model, name,
          text);
    *letter = old;
}

/* The number of the key, or 0. */
static uint32_t number(const struct gguf *g, const char *key) {
    struct gguf_str arch = {"", 0};
    struct error err;
    char name[128];
    uint32_t value = 0;
    gguf_get_str(g, "general.architecture", &arch, &err);
    snprintf(name, sizeof name, "%.*s.%s", (int)arch.len, arch.data, key);
    gguf_get_u32(g, name, &value, &err);
    return value;
}

/* The last layers may predict tokens further ahead: nothing of them is looked at. */
static bool is_used(const struct gguf *g, const char *tensor) {
    unsigned il = 0;
    return sscanf(tensor, "blk.%u.", &il) != 1 ||
           il < number(g, "block_count") - number(g, "nextn_predict_layers");
}

static void test_tensors(const char *model, const struct gguf *g, uint8_t *file, size_t size) {
    for (size_t i = 0; i < g->n_tensors; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        if (!is_used(g, t->name)) continue;
        size_t len = strlen(t->name);
        uint8_t *name = find_string(file, size, t->name, len);
        CHECK(name, "%s: %s is not in the file", model, t->name);
        if (!name) continue;
        check_lost(model, file, size, name + len - 1, t->name);
        bool vector = t->ne[0] == 1 || t->ne[1] == 1; // lies as it likes
        if (t->n_dims != 2 || t->ne[0] == t->ne[1] || vector) continue;
        uint8_t *ne = name + len + 4;
        memcpy(ne, &t->ne[1], 8);
        memcpy(ne + 8, &t->ne[0], 8);
        const char *text = open_message(file, size);
        CHECK(strstr(text, ": expected ") || strstr(text, " are no whole number of "),
              "%s with %s on its side: \"%s\"", model, t->name, text);
        memcpy(ne, &t->ne[0], 16);
    }
}

static void test_keys(const char *model, const struct gguf *g, uint8_t *file, size_t size) {
    struct gguf_str arch;
    struct error err;
    CHECK(gguf_get_str(g, "general.architecture", &arch, &err) == 1, "%s", model);
    for (size_t i = 0; i < g->n_kv; i++) {
        struct gguf_str key = g->kv[i].key;
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)key.len, key.data);
        if (key.len <= arch.len || memcmp(key.data, arch.data, arch.len) != 0) continue;
        uint8_t *letter = file + (key.data - (const char *)file) + key.len - 1;
        check_renamed(model, file, size, letter, name);
    }
}

int main(void) {
    DIR *dir = opendir(MODELS);
    int n = 0;
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
        char path[512];
        snprintf(path, sizeof path, MODELS "%s", e->d_name);
        if (!strstr(path, ".gguf")) continue;
        size_t size = 0;
        struct gguf g;
        struct error err = {0};
        uint8_t *file = read_file(path, &size);
        bool ok = file && gguf_parse(&g, file, size, &err) == 0;
        CHECK(ok, "%s: %s", path, err.text);
        if (ok) {
            CHECK(!open_message(file, size)[0], "%s: %s", path, open_message(file, size));
            test_tensors(e->d_name, &g, file, size);
            test_keys(e->d_name, &g, file, size);
            gguf_close(&g);
            n++;
        }
        free(file);
    }
    if (dir) closedir(dir);
    CHECK(n > 0, "no models in " MODELS);
    return test_done("test_golden");
}
