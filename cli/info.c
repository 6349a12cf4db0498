/* --info: what a file is, what it needs, and whether this engine runs it. Everything that can be
 * told is told of files that do not run, too: of unknown architectures, of unknown types, of a
 * vocabulary alone. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "info.h"
#include "modes.h"
#include "screen.h"
#include "template.h"

/* One value in the list of metadata is at most so many bytes. */
#define MAX_SHOWN 60

/* ---- texts and numbers ----------------------------------------------------------------------- */

static void put_quoted(FILE *out, struct gguf_str text) {
    fputc('"', out);
    put_text(out, text, MAX_SHOWN);
    fputc('"', out);
}

/* "6.1 MB", "8.4 M", "960" */
struct number {
    char text[32];
};

static struct number scaled(double n, const char *unit) {
    static const char *const prefixes[] = {"", "k", "M", "G", "T"};
    struct number number;
    size_t i = 0;
    for (; n >= 999.5 && i + 1 < sizeof prefixes / sizeof prefixes[0]; i++) n /= 1000;
    snprintf(number.text, sizeof number.text, "%.*f%s%s%s",
             i > 0 && n<99.95, n, i> 0 || *unit ? " " : "", prefixes[i], unit);
    return number;
}

static void label(const struct info *in, const char *name) {
    fprintf(in->out, "%-14s ", name);
}

/* ---- metadata -------------------------------------------------------------------------------- */

static const struct gguf_kv *find(const struct info *in, const char *name) {
    char key[160];
    snprintf(key, sizeof key, "%.*s.%s", (int)in->arch.len, in->arch.data, name);
    return gguf_find(in->g, key);
}

static struct gguf_str find_string(const struct info *in, const char *key) {
    struct gguf_str text = {"", 0};
    gguf_get_str(in->g, key, &text, NULL);
    return text;
}

static bool is_string(const struct gguf_kv *kv) {
    return kv->elem_type == GGUF_STRING;
}

static bool is_float(const struct gguf_kv *kv) {
    return kv->elem_type == GGUF_FLOAT32 || kv->elem_type == GGUF_FLOAT64;
}

static void put_value(FILE *out, const struct gguf_kv *kv) {
    if (kv->type == GGUF_ARRAY) {
        fprintf(out, "%" PRIu64 " x %s", kv->n, gguf_type_name(kv->elem_type));
    } else if (is_string(kv)) {
        const uint8_t *cursor = kv->data;
        put_quoted(out, gguf_next_str(&cursor));
    } else if (is_float(kv)) {
        fprintf(out, "%g", gguf_f32_at(kv, 0));
    } else if (kv->type == GGUF_BOOL) {
        fputs(gguf_int_at(kv, 0) ? "true" : "false", out);
    } else {
        fprintf(out, "%" PRId64, gguf_int_at(kv, 0));
    }
}

/* Prints the key's value between two texts, if the file has it; of an array, which has an entry for
 * each layer, the least and the largest. */
static bool put_known(const struct info *in, const char *before, const char *name,
                      const char *after) {
    const struct gguf_kv *kv = find(in, name);
    if (!kv || kv->n == 0 || is_string(kv)) return false;
    fputs(before, in->out);
    if (kv->type != GGUF_ARRAY) {
        put_value(in->out, kv);
    } else {
        double least = 0, largest = 0;
        for (uint64_t i = 0; i < kv->n; i++) {
            double v = is_float(kv) ? gguf_f32_at(kv, i) : (double)gguf_int_at(kv, i);
            if (i == 0 || v < least) least = v;
            if (i == 0 || v > largest) largest = v;
        }
        fprintf(in->out, "%g to %g", least, largest);
    }
    fputs(after, in->out);
    return true;
}

static void list_metadata(const struct info *in, bool keys) {
    label(in, "metadata");
    fprintf(in->out, "%zu keys%s\n", in->g->n_kv,
            keys ? "" : " (--info | less lists them, and what has no room here)");
    for (size_t i = 0; keys && i < in->g->n_kv; i++) {
        const struct gguf_kv *kv = &in->g->kv[i];
        fputs("  ", in->out);
        put_text(in->out, kv->key, 2 * MAX_SHOWN);
        fprintf(in->out, "%*s", kv->key.len < 44 ? 45 - (int)kv->key.len : 1, "");
        put_value(in->out, kv);
        fputc('\n', in->out);
    }
}

/* ---- file and model -------------------------------------------------------------------------- */

static void add_tensors(struct info *in) {
    for (size_t i = 0; i < in->g->n_tensors; i++) {
        const struct gguf_tensor *t = &in->g->tensors[i];
        uint32_t type = ggml_type_info(t->type) ? t->type : GGML_N_TYPES;
        in->n_of_type[type]++;
        in->bytes_of_type[type] += t->nbytes;
        in->params_of_type[type] += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
    }
}

static void describe_file(const struct info *in) {
    uint32_t n_parts = 1;
    double params = 0, bytes = 0;
    gguf_get_u32(in->g, "split.count", &n_parts, NULL);
    for (int type = 0; type < GGML_N_TYPES; type++) {
        params += (double)in->params_of_type[type];
        bytes += (double)in->bytes_of_type[type];
    }
    struct gguf_str name = find_string(in, "general.name");
    label(in, "name");
    put_text(in->out, name.len ? name : (struct gguf_str){"none", 4}, MAX_SHOWN);
    fprintf(in->out, "\n");
    label(in, "file");
    fprintf(in->out, "%s", scaled((double)in->g->mapped_bytes, "B").text);
    if (n_parts > 1) fprintf(in->out, " in %u parts", (unsigned)n_parts);
    fprintf(in->out, ", GGUF version %u\n", (unsigned)in->g->version);
    label(in, "parameters");
    fprintf(in->out, "%s", scaled(params + (double)in->params_of_type[GGML_N_TYPES], "").text);
    if (params > 0) fprintf(in->out, ", %.2f bits each", 8 * bytes / params);
    fprintf(in->out, "\n");
}

/* The kinds of step that the model is made of. */
static void describe_steps(const struct info *in) {
    char kinds[400];
    if (!in->runs) return;
    model_kinds(&in->s->model, kinds, sizeof kinds);
    label(in, "steps");
    fprintf(in->out, "%s\n", kinds);
}

static void put_layers(void *to, const char *layers, const char *kinds, int window) {
    FILE *out = to;
    fprintf(out, "  %-12s %s", layers, kinds);
    if (window > 0) fprintf(out, " (%d positions back)", window);
    fprintf(out, "\n");
}

/* What a sequence keeps: of each position, of the last ones, whatever their number. */
static void describe_remembered(const struct info *in) {
    bool kv_f32 = in->s->o->kv_f32;
    struct model_part part;
    for (int i = 0; in->runs && model_remembers(&in->s->model, i, kv_f32, &part); i++) {
        if (i == 0) label(in, "remembers");
        if (i > 0) fputs(", ", in->out);
        if (part.state) {
            fprintf(in->out, "states of %s", scaled(part.bytes, "B").text);
        } else if (part.window > 0) {
            fprintf(in->out, "%s of each of the last %d positions", scaled(part.bytes, "B").text,
                    part.window);
        } else {
            fprintf(in->out, "%s of each position", scaled(part.bytes, "B").text);
        }
        fprintf(in->out, " (%d layer%s)", part.n_layers, part.n_layers > 1 ? "s" : "");
    }
    if (in->runs) fprintf(in->out, "\n");
}

static void describe_windows(const struct info *in) {
    struct model_windows w = {0};
    if (in->runs) w = model_windows(&in->s->model);
    if (w.n_layers == 0 && !find(in, "attention.sliding_window")) return;
    label(in, "window");
    if (in->runs) {
        fprintf(in->out, "%d positions in %d of %d layers\n", w.size, w.n_layers,
                in->s->model.n_layer);
    } else {
        put_known(in, "", "attention.sliding_window", " positions\n");
    }
}

static void describe_rope(const struct info *in) {
    if (!find(in, "rope.dimension_count") && !find(in, "rope.freq_base")) return;
    label(in, "rope");
    const char *before =
        put_known(in, "", "rope.dimension_count", " dimensions") ? ", base " : "base ";
    put_known(in, before, "rope.freq_base", "");
    put_known(in, " (with a window ", "rope.freq_base_swa", ")");
    const struct gguf_kv *type = find(in, "rope.scaling.type");
    if (type && type->type == GGUF_STRING) {
        const uint8_t *cursor = type->data;
        fprintf(in->out, ", scaling ");
        put_text(in->out, gguf_next_str(&cursor), MAX_SHOWN);
    }
    put_known(in, ", factor ", "rope.scaling.factor", "");
    put_known(in, ", linear factor ", "rope.scale_linear", "");
    put_known(in, ", original context ", "rope.scaling.original_context_length", "");
    if (gguf_find_tensor(in->g, "rope_freqs.weight"))
        fprintf(in->out, ", factors in rope_freqs.weight");
    fprintf(in->out, "\n");
}

static void describe_attention(const struct info *in) {
    if (!put_known(in, "attention      ", "attention.head_count", " heads")) return;
    put_known(in, ", ", "attention.head_count_kv", " of keys and values");
    put_known(in, ", of ", "attention.key_length", " dimensions");
    put_known(in, " (values ", "attention.value_length", ")");
    fprintf(in->out, "\n");
}

/* Of a mixture of experts a token reads a part alone. */
static void describe_touched(const struct info *in) {
    if (!in->runs) return;
    double touched = (double)model_work(&in->s->model).bytes;
    label(in, "a token reads");
    fprintf(in->out, "%s of weights, %.0f %% of the file\n", scaled(touched, "B").text,
            100 * touched / (double)in->g->mapped_bytes);
}

static int describe_model(const struct info *in) {
    label(in, "architecture");
    put_text(in->out, in->arch, MAX_SHOWN);
    fprintf(in->out, "\n");
    describe_steps(in);
    if (!find(in, "block_count")) return 0; // a vocabulary, or nothing that we know
    label(in, "layers");
    put_known(in, "", "block_count", "");
    put_known(in, ", embedding ", "embedding_length", "");
    put_known(in, ", feed-forward ", "feed_forward_length", "");
    fprintf(in->out, "\n");
    if (in->runs && !model_layers(&in->s->model, put_layers, in->out)) {
        return FAIL("out of memory for a list of layers");
    }
    describe_remembered(in);
    if (put_known(in, "experts        ", "expert_count", "")) {
        put_known(in, ", ", "expert_used_count", " used for each token");
        put_known(in, ", feed-forward ", "expert_feed_forward_length", "");
        put_known(in, ", ", "expert_shared_count", " shared");
        fprintf(in->out, "\n");
        describe_touched(in);
    }
    describe_attention(in);
    describe_windows(in);
    describe_rope(in);
    put_known(in, "context        ", "context_length", "\n");
    return 0;
}

/* ---- vocabulary and chat --------------------------------------------------------------------- */

static void put_token(const struct info *in, int32_t id) {
    fprintf(in->out, "%d", (int)id);
    if (!in->s->tokenizer) return;
    fputc(' ', in->out);
    put_quoted(in->out, piece_of(in->s, id, true));
}

/* Lists the ids that the file gives a meaning: tokenizer.ggml.bos_token_id and the like. */
static void describe_special(const struct info *in) {
    static const char prefix[] = "tokenizer.ggml.", suffix[] = "_token_id";
    size_t n_prefix = sizeof prefix - 1, n_suffix = sizeof suffix - 1;
    const char *before = "";
    label(in, "special");
    for (size_t i = 0; i < in->g->n_kv; i++) {
        const struct gguf_kv *kv = &in->g->kv[i];
        const char *key = kv->key.data;
        size_t len = kv->key.len;
        if (kv->type == GGUF_ARRAY || is_string(kv) || is_float(kv)) continue;
        if (len <= n_prefix + n_suffix || memcmp(key, prefix, n_prefix) != 0) continue;
        if (memcmp(key + len - n_suffix, suffix, n_suffix) != 0) continue;
        int64_t id = gguf_int_at(kv, 0);
        fputs(before, in->out);
        put_text(in->out, (struct gguf_str){key + n_prefix, len - n_prefix - n_suffix}, MAX_SHOWN);
        fputc(' ', in->out);
        if (id >= 0 && id <= INT32_MAX) put_token(in, (int32_t)id);
        before = ", ";
    }
    fprintf(in->out, "\n");
}

/* Lists the tokens that end a text: those that the file names, and those known for it. */
static void describe_ends(const struct info *in) {
    const struct tokenizer *t = in->s->tokenizer;
    int n = 0;
    label(in, "ends a text");
    for (int32_t id = 0; id < tokenizer_n_vocab(t) && n < 8; id++) {
        if (!tokenizer_is_eog(t, id)) continue;
        if (n++) fputs(", ", in->out);
        put_token(in, id);
    }
    fprintf(in->out, n ? "\n" : "nothing\n");
}

static void describe_vocabulary(const struct info *in) {
    const struct gguf_kv *tokens = gguf_find(in->g, "tokenizer.ggml.tokens");
    label(in, "vocabulary");
    if (!tokens || tokens->type != GGUF_ARRAY) {
        fprintf(in->out, "none\n");
        return;
    }
    fprintf(in->out, "%" PRIu64 " tokens, model ", tokens->n);
    put_text(in->out, find_string(in, "tokenizer.ggml.model"), MAX_SHOWN);
    struct gguf_str pre = find_string(in, "tokenizer.ggml.pre");
    if (pre.len) fprintf(in->out, ", pre ");
    put_text(in->out, pre, MAX_SHOWN);
    const struct token_list *empty = &in->s->tokens;
    if (empty->n > 0 && empty->ids[0] == tokenizer_bos(in->s->tokenizer)) {
        fprintf(in->out, ", texts begin with BOS");
    }
    fprintf(in->out, "\n");
    describe_special(in);
    if (!in->s->tokenizer) return;
    describe_ends(in);
    const char *note;
    for (size_t i = 0; (note = tokenizer_note(in->s->tokenizer, i)) != NULL; i++) {
        label(in, "note");
        put_text(in->out, (struct gguf_str){note, strlen(note)}, SIZE_MAX);
        fprintf(in->out, "\n");
    }
}

static void describe_chat(const struct info *in) {
    label(in, "chat template");
    struct error err;
    struct gguf_str text = find_string(in, "tokenizer.chat_template");
    const struct chat_format *named = format_named(text);
    const struct chat_format *f = named ? named : chat_detect(text.data, text.len);
    if (text.len == 0 || named) {
        fprintf(in->out, "%s\n", named ? chat_name(named) : "none");
        return;
    }
    fprintf(in->out, "its own, %zu bytes", text.len);
    if (f) fprintf(in->out, ", resembles %s", chat_name(f));
    struct jinja *program = jinja_open(text.data, text.len, &err);
    if (!program) fprintf(in->out, ", cannot be read: %s", err.text);
    jinja_close(program);
    fprintf(in->out, "\n");
}

/* ---- types ----------------------------------------------------------------------------------- */

/* general.file_type, numbered as in llama.h, and the block length of the type it stands for. */
static const struct {
    uint32_t number;
    const char *name;
    int block_len;
} file_types[] = {
    {0, "F32", 1},        {1, "F16", 1},       {2, "Q4_0", 32},     {3, "Q4_1", 32},
    {7, "Q8_0", 32},      {8, "Q5_0", 32},     {9, "Q5_1", 32},     {10, "Q2_K", 256},
    {11, "Q3_K_S", 256},  {12, "Q3_K_M", 256}, {13, "Q3_K_L", 256}, {14, "Q4_K_S", 256},
    {15, "Q4_K_M", 256},  {16, "Q5_K_S", 256}, {17, "Q5_K_M", 256}, {18, "Q6_K", 256},
    {19, "IQ2_XXS", 256}, {20, "IQ2_XS", 256}, {21, "Q2_K_S", 256}, {22, "IQ3_XS", 256},
    {23, "IQ3_XXS", 256}, {24, "IQ1_S", 256},  {25, "IQ4_NL", 32},  {26, "IQ3_S", 256},
    {27, "IQ3_M", 256},   {28, "IQ2_S", 256},  {29, "IQ2_M", 256},  {30, "IQ4_XS", 256},
    {31, "IQ1_M", 256},   {32, "BF16", 1},     {36, "TQ1_0", 256},  {37, "TQ2_0", 256},
    {38, "MXFP4", 32},    {39, "NVFP4", 64},   {40, "Q1_0", 128},   {41, "Q2_0", 64},
};

/* The block length that the rows of matrices are expected to be multiples of: that of
 * general.file_type, whose name is given too, or else the longest of any tensor's type. */
static uint64_t wanted_block(const struct info *in, const char **name) {
    uint32_t number = UINT32_MAX;
    uint64_t longest = 1;
    *name = NULL;
    gguf_get_u32(in->g, "general.file_type", &number, NULL);
    for (size_t i = 0; i < sizeof file_types / sizeof file_types[0]; i++) {
        if (file_types[i].number != number) continue;
        *name = file_types[i].name;
        return (uint64_t)file_types[i].block_len;
    }
    for (uint32_t type = 0; type < GGML_N_TYPES; type++) {
        uint64_t len = in->n_of_type[type] ? (uint64_t)ggml_type_info(type)->block_len : 1;
        if (len > longest) longest = len;
    }
    return longest;
}

/* F32 is what quantizers leave alone (norms, the experts' router), not what they fall back to. */
static bool is_quantized(const struct gguf_tensor *t) {
    return t->n_dims > 1 && t->type != GGML_TYPE_F32 && ggml_type_info(t->type);
}

/* Says what the matrices with rows as long as tensor `first`'s were made, which is the first of
 * them. */
static void describe_fallback(const struct info *in, size_t first, size_t n_matrices,
                              uint64_t block_len) {
    size_t n = 0;
    uint64_t n_cols = in->g->tensors[first].ne[0];
    bool types[GGML_N_TYPES] = {false};
    for (size_t i = first; i < in->g->n_tensors; i++) {
        const struct gguf_tensor *t = &in->g->tensors[i];
        if (!is_quantized(t) || t->ne[0] != n_cols) continue;
        types[t->type] = true;
        n++;
    }
    label(in, "fell back");
    fprintf(in->out, "%zu of %zu matrices are", n, n_matrices);
    const char *before = " ";
    for (uint32_t type = 0; type < GGML_N_TYPES; type++) {
        if (!types[type]) continue;
        fprintf(in->out, "%s%s", before, ggml_type_info(type)->name);
        before = " or ";
    }
    fprintf(in->out, ": rows of %" PRIu64 " are no multiple of %" PRIu64 "\n", n_cols, block_len);
}

static void describe_fallbacks(const struct info *in, uint64_t block_len) {
    uint64_t seen[8];
    size_t n_matrices = 0, n_seen = 0;
    for (size_t i = 0; i < in->g->n_tensors; i++) n_matrices += is_quantized(&in->g->tensors[i]);
    for (size_t i = 0; i < in->g->n_tensors && n_seen < sizeof seen / sizeof seen[0]; i++) {
        const struct gguf_tensor *t = &in->g->tensors[i];
        bool known = !is_quantized(t) || t->ne[0] % block_len == 0;
        for (size_t k = 0; k < n_seen; k++) known = known || seen[k] == t->ne[0];
        if (known) continue;
        seen[n_seen++] = t->ne[0];
        describe_fallback(in, i, n_matrices, block_len);
    }
}

static void describe_type(const struct info *in, uint32_t type) {
    const struct ggml_type_info *known = ggml_type_info(type);
    double params = (double)in->params_of_type[type], bytes = (double)in->bytes_of_type[type];
    fprintf(in->out, "  %-12s %6zu %10s weights", known ? known->name : "unknown",
            in->n_of_type[type], scaled(params, "").text);
    if (known && params > 0)
        fprintf(in->out, " %10s %6.2f bits each", scaled(bytes, "B").text, 8 * bytes / params);
    fprintf(in->out, dequantize_supported(type) ? "\n" : "   not supported\n");
}

/* Lists the types, that with most weights first. */
static void describe_types(const struct info *in) {
    const char *name;
    uint64_t block_len = wanted_block(in, &name);
    label(in, "tensors");
    fprintf(in->out, "%zu", in->g->n_tensors);
    if (name) fprintf(in->out, ", quantized as %s", name);
    fprintf(in->out, "\n");
    bool done[GGML_N_TYPES + 1] = {false};
    for (;;) {
        uint32_t best = GGML_N_TYPES + 1;
        for (uint32_t type = 0; type <= GGML_N_TYPES; type++) {
            if (in->n_of_type[type] == 0 || done[type]) continue;
            if (best > GGML_N_TYPES || in->params_of_type[type] > in->params_of_type[best]) {
                best = type;
            }
        }
        if (best > GGML_N_TYPES) break;
        done[best] = true;
        describe_type(in, best);
    }
    describe_fallbacks(in, block_len);
}

/* ---- verdict --------------------------------------------------------------------------------- */

static void describe_memory(const struct info *in) {
    const struct session *s = in->s;
    bool kv_f32 = s->o->kv_f32;
    if (!in->fits) return;
    double kv = (double)model_memory(&s->model, s->n_ctx, s->n_batch, kv_f32);
    label(in, "memory");
    fprintf(in->out, "%s mapped, ", scaled((double)s->gguf.mapped_bytes, "B").text);
    fprintf(in->out, "%s %s cache at -c %d, ", scaled(kv, "B").text, kv_f32 ? "f32" : "f16",
            s->n_ctx);
    fprintf(in->out, "%s buffers at -b %d -t %d\n",
            scaled((double)transformer_scratch_bytes(s->main.transformer), "B").text, s->n_batch,
            threads_count(s->threads));
}

static void put_reason(const struct info *in, const char **before, const char *text) {
    fputs(*before, in->out);
    put_text(in->out, (struct gguf_str){text, strlen(text)}, SIZE_MAX);
    *before = "; ";
}

static void put_verdict(const struct info *in) {
    const char *before = ": ";
    const struct error *err = &in->tokenizer_err;
    bool none = !gguf_find(in->g, "tokenizer.ggml.model");
    bool has_text = in->s->tokenizer || none || err->status == KQ_UNSUPPORTED;
    if (in->runs && in->fits && has_text) {
        if (in->s->tokenizer) {
            fprintf(in->out, "runs: yes\n");
        } else {
            put_reason(in, &(const char *){"runs: yes, with --ids: "},
                       none ? "there is no tokenizer" : err->text);
            fprintf(in->out, "\n");
        }
        return;
    }
    fprintf(in->out, "runs: no");
    if (in->g->n_tensors == 0) {
        put_reason(in, &before, "a vocabulary alone, for --tokens");
    } else if (!in->runs || !in->fits) {
        put_reason(in, &before, in->runs ? in->s->err.text : in->model_err.text);
    }
    if (!in->s->tokenizer && !none) put_reason(in, &before, err->text);
    for (uint32_t type = 0; type <= GGML_N_TYPES; type++) {
        if (in->n_of_type[type] == 0 || dequantize_supported(type)) continue;
        fprintf(in->out, "%s%zu tensor%s of type %s", before, in->n_of_type[type],
                in->n_of_type[type] > 1 ? "s" : "",
                type < GGML_N_TYPES ? ggml_type_info(type)->name : "unknown");
        before = "; ";
    }
    fprintf(in->out, "\n");
}

/* All that there is to say, but for the keys on a terminal. */
static int describe(const struct info *in, bool keys) {
    describe_file(in);
    if (describe_model(in) != 0) return EXIT_FAILED;
    describe_vocabulary(in);
    describe_chat(in);
    describe_types(in);
    describe_memory(in);
    list_metadata(in, keys);
    put_verdict(in);
    return 0;
}

/* What a person can do without if a screen is small, that first. */
static const char *const left_out[] = {
    "special", "steps",   "fell back", "ends a text",   "window",    "remembers",  "chat template",
    "rope",    "experts", "note",      "a token reads", "attention", "vocabulary", "parameters"};

/* On a terminal as much as it shows; as JSON all of it. */
static int print_described(struct info *in) {
    char *text = NULL;
    size_t len = 0;
    int status = 0;
    in->out = open_memstream(&text, &len);
    if (!in->out) return FAIL("out of memory for a description");
    if (in->s->o->json) {
        put_verdict(in);
    } else {
        status = describe(in, false);
    }
    if (fclose(in->out) != 0) status = FAIL("out of memory for a description");
    in->out = stdout;
    if (status == 0 && in->s->o->json) {
        text[len - 1] = '\0';                       // its newline
        put_info_json(in, text + strlen("runs: ")); // "yes", or "no: ..."
    } else if (status == 0) {
        put_screen(text, left_out, sizeof left_out / sizeof *left_out);
    }
    free(text);
    return status;
}

int print_info(struct session *s) {
    struct info in = {.s = s, .g = &s->gguf, .out = stdout};
    if (open_file(s) != 0) return EXIT_FAILED;
    in.arch = find_string(&in, "general.architecture");
    if (in.arch.len > 64) in.arch.len = 64;
    in.runs = try_model(s, &in.model_err) == 0;
    if (try_tokenizer(s, &in.tokenizer_err) == 0 &&
        tokenizer_encode(s->tokenizer, "", 0, true, false, &s->tokens, &s->err) < 0) {
        return failed(s, NULL);
    }
    add_tensors(&in);
    // To see what it needs: as nothing of it is touched, that costs next to nothing.
    in.fits = in.runs && open_transformer(s, default_context(s)) == 0;
    bool whole = !s->o->json && !isatty(STDOUT_FILENO);
    int status = whole ? describe(&in, true) : print_described(&in);
    return status == 0 ? flush() : status;
}

/* ---- --plan ---------------------------------------------------------------------------------- */

static void print_line(void *to, const char *line) {
    (void)to;
    puts(line);
}

int print_plan(struct session *s) {
    int status = open_model(s);
    if (status) return status;
    puts("stage step        tensor                       values[floats]@buffer (w: for wanted "
         "logits)");
    model_describe(&s->model, print_line, NULL);
    return flush();
}
