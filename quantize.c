/* ./quantize IN.gguf OUT.gguf Q5_K_M|Q5_K_S|Q6_K|Q8_0
 *
 * Reads a model in F32, F16 or BF16 and writes it with llama.cpp's mix of types. Metadata and the
 * order of the tensors are carried over. The output is written under another name beside its
 * place and moved there when it is whole, so that a file named OUT.gguf is never half a model. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arithmetic.h"
#include "cli/print.h"
#include "fpstate.h"
#include "gguf_write.h"
#include "quant.h"
#include "threads.h"

static const char usage[] =
    "usage: quantize [-t N] IN.gguf OUT.gguf TYPE\n"
    "\n"
    "  IN.gguf   a model in F32, F16 or BF16\n"
    "  OUT.gguf  where the quantized model goes; a file already there is replaced\n"
    "  TYPE      Q5_K_M  about 5.7 bits per weight: Q5_K, and Q6_K where it matters most\n"
    "            Q5_K_S  about 5.5: Q5_K, output in Q6_K\n"
    "            Q6_K    about 6.6\n"
    "            Q8_0    8.5\n"
    "  -t N      threads (default: usable physical cores)\n"
    "  --help    this text\n"
    "\n"
    "Tensors of one dimension, norms and expert gates keep their type; rows that are no multiple\n"
    "of 256 get Q5_1 for Q5_K and Q8_0 for Q6_K.\n";

struct mix {
    const char *name;
    uint32_t file_type; // general.file_type, numbered as in llama.cpp
    uint32_t type;      // of most tensors
    bool more_bits;     // Q6_K for attn_v and ffn_down of some layers
};

static const struct mix mixes[] = {
    {"Q5_K_M", 17, GGML_TYPE_Q5_K, true},
    {"Q5_K_S", 16, GGML_TYPE_Q5_K, false},
    {"Q6_K", 18, GGML_TYPE_Q6_K, false},
    {"Q8_0", 7, GGML_TYPE_Q8_0, false},
};

struct options {
    const char *in, *out;
    const struct mix *mix;
    int n_threads; // 0: not given
};

/* What decides the types besides a tensor's name and shape. */
struct model_info {
    uint32_t n_layer, n_expert;
    bool tied; // no output.weight: token_embd serves for both
};

/* ---- which type a tensor gets: the rules of llama.cpp's llama-quant.cpp ---------------------- */

static bool contains(const char *name, const char *part) {
    return strstr(name, part) != NULL;
}

/* Whether a tensor is copied as it is, because it is small or delicate. */
static bool keeps_its_type(const struct gguf_tensor *t) {
    static const char *const kept[] = {
        "_norm.weight", "ffn_gate_inp.weight",   "altup",
        "laurel",       "position_embd",         "per_layer_model_proj",
        "ssm_conv1d",   "shortconv.conv.weight", "token_types",
    };
    size_t len = strlen(t->name);
    if (len < 6 || strcmp(t->name + len - 6, "weight") != 0) return true;
    if (t->ne[1] == 1 && t->ne[2] == 1 && t->ne[3] == 1) return true;
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        if (contains(t->name, kept[i])) return true;
    }
    return false;
}

/* Whether the layer is in the first or last eighth, or every third between. */
static bool layer_gets_more_bits(const char *name, uint32_t n_layer) {
    unsigned layer;
    if (sscanf(name, "blk.%9u.", &layer) != 1) return false;
    uint64_t eighth = n_layer / 8, last = 7 * (uint64_t)n_layer / 8;
    return layer < eighth || layer >= last || (layer - eighth) % 3 == 2;
}

/* The type that the name alone asks for. Attention values of 8-expert models are small and get 8
 * bits. */
static uint32_t type_by_name(const char *name, const struct mix *mix,
                             const struct model_info *info) {
    bool is_output = strcmp(name, info->tied ? "token_embd.weight" : "output.weight") == 0;
    if (is_output) return mix->type == GGML_TYPE_Q8_0 ? GGML_TYPE_Q8_0 : GGML_TYPE_Q6_K;

    bool is_attn_v = contains(name, "attn_v.weight") || contains(name, "attn_qkv.weight");
    bool is_attn_k = contains(name, "attn_k.weight");
    if (info->n_expert == 8 && (is_attn_v || is_attn_k)) return GGML_TYPE_Q8_0;
    if (mix->more_bits && (is_attn_v || contains(name, "ffn_down")) &&
        layer_gets_more_bits(name, info->n_layer)) {
        return GGML_TYPE_Q6_K;
    }
    return mix->type;
}

static uint32_t type_for(const struct gguf_tensor *t, const struct mix *mix,
                         const struct model_info *info) {
    if (keeps_its_type(t)) return t->type;
    uint32_t type = type_by_name(t->name, mix, info);
    if (t->ne[0] % QK_K != 0 && type == GGML_TYPE_Q5_K) type = GGML_TYPE_Q5_1;
    if (t->ne[0] % QK_K != 0 && type == GGML_TYPE_Q6_K) type = GGML_TYPE_Q8_0;
    return t->ne[0] % QK == 0 ? type : GGML_TYPE_F16;
}

static int read_model_info(const struct gguf *g, struct model_info *info, struct error *err) {
    struct gguf_str arch;
    int found = gguf_get_str(g, "general.architecture", &arch, err);
    if (found < 0) return -1;
    if (!found || arch.len > 64) {
        return error_set(err, KQ_BAD_FILE, "general.architecture: expected a short name, found %s",
                         found ? "a long one" : "none: not a model?");
    }
    char key[96];
    *info = (struct model_info){.tied = !gguf_find_tensor(g, "output.weight")};
    snprintf(key, sizeof key, "%.*s.block_count", (int)arch.len, arch.data);
    if (gguf_get_u32(g, key, &info->n_layer, err) < 0) return -1;
    snprintf(key, sizeof key, "%.*s.expert_count", (int)arch.len, arch.data);
    return gguf_get_u32(g, key, &info->n_expert, err) < 0 ? -1 : 0;
}

/* Chooses types[i] for every tensor; refuses what cannot be read as floats. */
static int plan_types(const struct gguf *g, const struct mix *mix, uint32_t *types,
                      struct error *err) {
    struct model_info info;
    if (read_model_info(g, &info, err) != 0) return -1;
    for (size_t i = 0; i < g->n_tensors; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        if (t->type != GGML_TYPE_F32 && t->type != GGML_TYPE_F16 && t->type != GGML_TYPE_BF16) {
            const struct ggml_type_info *type = ggml_type_info(t->type);
            return error_set(err, KQ_UNSUPPORTED,
                             "%s: expected F32, F16 or BF16 weights, found %s (type %" PRIu32
                             "): quantize from the original model",
                             t->name, type ? type->name : "an unknown type", t->type);
        }
        types[i] = type_for(t, mix, &info);
    }
    return 0;
}

/* ---- the output file ------------------------------------------------------------------------- */

struct output {
    struct gguf_writer w;
    char *temporary; // name until the file is whole
};

static volatile sig_atomic_t stop_signal; // the signal that asked us to stop, 0 if none
static char *volatile unfinished;         // name of the temporary file while there is one

static void on_signal(int sig) {
    stop_signal = sig;
}

/* A page of the map is gone: somebody cut the input short while it was read. */
static void on_bus_error(int sig) {
    static const char text[] = "quantize: the input was cut short while it was read\n";
    (void)sig;
    if (unfinished) unlink(unfinished);
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(EXIT_FAILED);
    _exit(EXIT_FAILED);
}

static void remove_temporary(struct output *o) {
    unlink(o->temporary);
    unfinished = NULL;
    free(o->temporary);
}

/* Opens a new file beside `path`, readable as the user's umask says. */
static int output_open(struct output *o, const char *path, struct error *err) {
    static const char suffix[] = ".tmp-XXXXXX";
    size_t len = strlen(path);
    *o = (struct output){.w = {.name = path}, .temporary = malloc(len + sizeof suffix)};
    if (!o->temporary) return error_set(err, KQ_NO_MEMORY, "out of memory");
    memcpy(o->temporary, path, len);
    memcpy(o->temporary + len, suffix, sizeof suffix);

    int fd = mkstemp(o->temporary);
    if (fd < 0) {
        error_set(err, KQ_IO, "%s: cannot create the output: %s", path, strerror(errno));
        free(o->temporary);
        return -1;
    }
    unfinished = o->temporary;
    mode_t mask = umask(0);
    umask(mask);
    fchmod(fd, 0666 & ~mask);
    o->w.file = fdopen(fd, "wb");
    if (!o->w.file) {
        error_set(err, KQ_NO_MEMORY, "out of memory");
        close(fd);
        remove_temporary(o);
        return -1;
    }
    return 0;
}

/* A power cut after the rename must not lose the name; where directories cannot be synced, the
 * file itself is safe all the same. */
static void sync_directory_of(const char *path) {
    const char *slash = strrchr(path, '/');
    char *dir = slash == path ? strdup("/")
                : slash       ? strndup(path, (size_t)(slash - path))
                              : strdup(".");
    int fd = dir ? open(dir, O_RDONLY) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(dir);
}

/* Moves the file to `path` if result is 0 and everything was written, else removes it. Frees o
 * either way. */
static int output_close(struct output *o, const char *path, int result, struct error *err) {
    if (result == 0) result = gguf_write_end(&o->w, err);
    if (result == 0 && fsync(fileno(o->w.file)) != 0) {
        result = error_set(err, KQ_IO, "%s: cannot write: %s", path, strerror(errno));
    }
    if (fclose(o->w.file) != 0 && result == 0) {
        result = error_set(err, KQ_IO, "%s: cannot write: %s", path, strerror(errno));
    }
    if (result == 0 && rename(o->temporary, path) != 0) {
        result = error_set(err, KQ_IO, "%s: cannot rename the finished file to this: %s", path,
                           strerror(errno));
    }
    if (result == 0) {
        unfinished = NULL;
        sync_directory_of(path);
        free(o->temporary);
    } else {
        remove_temporary(o);
    }
    return result;
}

/* ---- header ---------------------------------------------------------------------------------- */

static void put_u32(struct gguf_writer *w, const char *key, uint32_t value) {
    gguf_write_text(w, key, strlen(key));
    gguf_write_scalar(w, GGUF_UINT32, &value);
}

/* What the output's metadata says differently from the input's. */
struct own_kv {
    const char *key;
    uint32_t value;
};

/* The parts of a split model become one file, so these go. */
static bool is_dropped(const struct gguf_kv *kv) {
    return gguf_str_eq(kv->key, "split.no") || gguf_str_eq(kv->key, "split.count") ||
           gguf_str_eq(kv->key, "split.tensors.count");
}

/* Writes everything as in the input and in its order; our own values in their old places, or
 * last. */
static void put_metadata(struct gguf_writer *w, const struct gguf *g, const struct own_kv own[2]) {
    for (size_t i = 0; i < g->n_kv; i++) {
        const struct gguf_kv *kv = &g->kv[i];
        const struct own_kv *replaced = NULL;
        for (int j = 0; j < 2; j++) {
            if (gguf_str_eq(kv->key, own[j].key)) replaced = &own[j];
        }
        if (replaced) {
            put_u32(w, replaced->key, replaced->value);
        } else if (!is_dropped(kv)) {
            gguf_write_kv(w, kv);
        }
    }
    for (int j = 0; j < 2; j++) {
        if (!gguf_find(g, own[j].key)) put_u32(w, own[j].key, own[j].value);
    }
}

static uint64_t tensor_bytes(const struct gguf_tensor *t, uint32_t type) {
    const struct ggml_type_info *info = ggml_type_info(type);
    uint64_t n = t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
    return n / (uint64_t)info->block_len * (uint64_t)info->block_bytes;
}

static void put_header(struct gguf_writer *w, const struct gguf *g, const struct mix *mix,
                       const uint32_t *types) {
    // 2: the layout of the K-quants' scales as it has been since 2023 (ggml's GGML_QNT_VERSION)
    const struct own_kv own[2] = {{"general.file_type", mix->file_type},
                                  {"general.quantization_version", 2}};
    uint64_t n_kv = g->n_kv;
    for (size_t i = 0; i < g->n_kv; i++) n_kv -= is_dropped(&g->kv[i]);
    for (int j = 0; j < 2; j++) n_kv += !gguf_find(g, own[j].key);

    w->alignment = g->alignment;
    gguf_write_header(w, 3, g->n_tensors, n_kv);
    put_metadata(w, g, own);
    for (size_t i = 0; i < g->n_tensors; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        gguf_write_tensor(w, t->name, types[i], (uint32_t)t->n_dims, t->ne,
                          tensor_bytes(t, types[i]));
    }
    gguf_write_align(w);
}

/* ---- weights --------------------------------------------------------------------------------- */

enum {
    PIECE = 4096,    // weights a thread takes at a time, a multiple of every block length
    CHUNK = 1 << 18, // weights quantized between two writes: 1 MB of F32
};

struct chunk {
    const uint8_t *in;
    uint8_t *out;
    const struct ggml_type_info *in_info, *out_info;
    uint32_t in_type, out_type;
    int64_t n; // weights
};

static void quantize_pieces(void *arg, long begin, long end, int thread) {
    const struct chunk *c = arg;
    (void)thread;
    for (int64_t at = (int64_t)begin * PIECE; at < (int64_t)end * PIECE && at < c->n; at += PIECE) {
        float x[PIECE];
        int64_t n = c->n - at < PIECE ? c->n - at : PIECE;
        dequantize_row(c->in_type, c->in + at * c->in_info->block_bytes, x, n);
        quantize_row(c->out_type, x,
                     c->out + at / c->out_info->block_len * c->out_info->block_bytes, n);
    }
}

struct progress {
    double start, shown;
    uint64_t done, total; // weights
    bool on_terminal;
};

/* Shows, on a terminal, how far it is: after two seconds, five times a second. */
static void show_share(struct progress *p, int64_t n) {
    p->done += (uint64_t)n;
    double time = now();
    if (!p->on_terminal || time - p->start < 2 || time - p->shown < 0.2) return;
    p->shown = time;
    fprintf(stderr, "\r%3.0f%% of %.0f million weights", 100 * (double)p->done / (double)p->total,
            (double)p->total * 1e-6);
}

static void clear_progress(const struct progress *p) {
    if (p->shown > 0) fprintf(stderr, "\r%40s\r", "");
}

static int put_tensor(struct gguf_writer *w, const struct gguf_tensor *t, uint32_t type,
                      struct threads *threads, uint8_t *buffer, struct progress *p,
                      struct error *err) {
    struct chunk c = {.in = t->data,
                      .out = buffer,
                      .in_type = t->type,
                      .out_type = type,
                      .in_info = ggml_type_info(t->type),
                      .out_info = ggml_type_info(type)};
    int64_t n = (int64_t)(t->nbytes / (size_t)c.in_info->block_bytes);
    for (; n > 0 && w->status == KQ_OK; n -= c.n, c.in += c.n * c.in_info->block_bytes) {
        if (stop_signal)
            return error_set(err, KQ_INTERRUPTED, "stopped by signal %d", (int)stop_signal);
        c.n = n < CHUNK ? n : CHUNK;
        size_t bytes = (size_t)(c.n / c.out_info->block_len * c.out_info->block_bytes);
        if (t->type != type) {
            parallel_for(threads, NULL, (long)((c.n + PIECE - 1) / PIECE), 1, quantize_pieces, &c);
        }
        gguf_write(w, t->type == type ? c.in : buffer, bytes);
        show_share(p, c.n);
    }
    return 0;
}

static int put_tensors(struct gguf_writer *w, const struct gguf *g, const uint32_t *types,
                       struct threads *threads, struct progress *p, struct error *err) {
    uint8_t *buffer = malloc(CHUNK * sizeof(float));
    if (!buffer) return error_set(err, KQ_NO_MEMORY, "out of memory");
    int result = 0;
    for (size_t i = 0; i < g->n_tensors && result == 0 && w->status == KQ_OK; i++) {
        result = put_tensor(w, &g->tensors[i], types[i], threads, buffer, p, err);
        gguf_write_align(w);
    }
    free(buffer);
    return result;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* An output that exists must be a plain file, and no part of the input. */
static int check_output(const struct gguf *g, const char *out, struct error *err) {
    struct stat st;
    if (stat(out, &st) != 0) {
        return errno == ENOENT ? 0 : error_set(err, KQ_IO, "%s: %s", out, strerror(errno));
    }
    if (S_ISDIR(st.st_mode)) {
        return error_set(err, KQ_IO, "%s: expected a file name, found a directory", out);
    }
    if (!S_ISREG(st.st_mode))
        return error_set(err, KQ_IO, "%s: exists and is not a plain file", out);
    if (!gguf_maps_file(g, &st)) return 0;
    return error_set(err, KQ_BAD_ARGUMENT, "%s: input and output are the same file", out);
}

/* What is said in the end. */
struct summary {
    double mb_in, mb_out, bits, seconds; // bits: per weight
};

static void sum_up(struct summary *sum, const struct gguf *g, const uint32_t *types,
                   const struct output *o, const struct progress *p) {
    double bytes = 0;
    for (size_t i = 0; i < g->n_tensors; i++) {
        bytes += (double)tensor_bytes(&g->tensors[i], types[i]);
    }
    *sum = (struct summary){.mb_in = (double)g->mapped_bytes * 1e-6,
                            .mb_out = (double)o->w.len * 1e-6,
                            .bits = p->total ? 8 * bytes / (double)p->total : 0,
                            .seconds = now() - p->start};
}

static int write_model(const struct gguf *g, const struct options *opt, const uint32_t *types,
                       struct threads *threads, struct summary *sum, struct error *err) {
    struct progress p = {.start = now(), .on_terminal = isatty(STDERR_FILENO)};
    for (size_t i = 0; i < g->n_tensors; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        p.total += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
    }
    struct output o;
    if (output_open(&o, opt->out, err) != 0) return -1;
    put_header(&o.w, g, opt->mix, types);
    int result = put_tensors(&o.w, g, types, threads, &p, err);
    clear_progress(&p);
    result = output_close(&o, opt->out, result, err);
    sum_up(sum, g, types, &o, &p);
    return result;
}

static int quantize_file(const struct options *opt, struct summary *sum, struct error *err) {
    if (arithmetic_check(err) != 0) return -1;
    struct gguf g;
    if (gguf_open(&g, opt->in, err) != 0) return -1;
    struct threads *threads = NULL;
    uint32_t *types = malloc((g.n_tensors + 1) * sizeof *types);
    int result =
        types ? check_output(&g, opt->out, err) : error_set(err, KQ_NO_MEMORY, "out of memory");
    if (result == 0) result = plan_types(&g, opt->mix, types, err);
    if (result == 0) {
        threads = threads_open(opt->n_threads ? opt->n_threads : threads_default_count(), err);
        result = threads ? write_model(&g, opt, types, threads, sum, err) : -1;
    }
    threads_close(threads);
    free(types);
    gguf_close(&g);
    return result;
}

static int parse_threads(const char *text, int *n_threads, struct error *err) {
    char *end = NULL;
    long n = text ? strtol(text, &end, 10) : 0;
    if (!text || end == text || *end != '\0' || n < 1 || n > 512) {
        return error_set(err, KQ_BAD_ARGUMENT,
                         "-t: expected a number of threads from 1 to 512, found %s",
                         text ? text : "nothing");
    }
    *n_threads = (int)n;
    return 0;
}

static int parse_options(int argc, char **argv, struct options *opt, struct error *err) {
    const char *type = "", **const places[] = {&opt->in, &opt->out, &type};
    int n = 0;
    *opt = (struct options){0};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-t") == 0) {
            if (parse_threads(argv[i + 1], &opt->n_threads, err) != 0) return -1;
            i++;
        } else if (argv[i][0] == '-') {
            return error_set(err, KQ_BAD_ARGUMENT, "unknown option %s", argv[i]);
        } else if (n == 3) {
            return error_set(err, KQ_BAD_ARGUMENT,
                             "expected IN.gguf OUT.gguf TYPE, found one more: %s", argv[i]);
        } else {
            *places[n++] = argv[i];
        }
    }
    if (n < 3)
        return error_set(err, KQ_BAD_ARGUMENT, "expected IN.gguf OUT.gguf TYPE, found %d of them",
                         n);
    for (size_t i = 0; i < sizeof mixes / sizeof mixes[0]; i++) {
        if (strcmp(type, mixes[i].name) == 0) opt->mix = &mixes[i];
    }
    if (opt->mix) return 0;
    return error_set(err, KQ_BAD_ARGUMENT, "TYPE: expected Q5_K_M, Q5_K_S, Q6_K or Q8_0, found %s",
                     type);
}

/* Signals only raise a flag: the temporary file is removed on the way out. What the caller ignores
 * (nohup) stays ignored. */
static void catch_signals(void) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        struct sigaction old, catch = {.sa_handler = on_signal};
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN) {
            sigaction(signals[i], &catch, NULL);
        }
    }
    signal(SIGBUS, on_bus_error);
}

int main(int argc, char **argv) {
    fp_enter(); // a library may have set another state
    struct error err;
    messages_from("quantize");
    if (prepare_streams() != 0) return EXIT_FAILED;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(usage, stdout);
            return flush();
        }
    }
    struct options opt;
    if (parse_options(argc, argv, &opt, &err) != 0) {
        return USAGE("%s (--help tells more)", err.text);
    }
    catch_signals();
    struct summary sum;
    if (quantize_file(&opt, &sum, &err) != 0) {
        say("%s", err.text);
        if (stop_signal) {
            signal(stop_signal, SIG_DFL);
            raise(stop_signal);
        }
        return EXIT_FAILED;
    }
    printf("in %.1f MB, out %.1f MB, %.2f bits per weight, %.1f s\n", sum.mb_in, sum.mb_out,
           sum.bits, sum.seconds);
    return flush();
}
