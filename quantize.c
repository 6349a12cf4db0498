/* ./quantize IN.gguf OUT.gguf Q4_K_S|Q4_K_M|Q5_K_S|Q5_K_M|Q6_K|Q8_0
 *
 * Reads a model in F32, F16 or BF16 and writes it with llama.cpp's mix of types. Metadata and the
 * order of the tensors are carried over. The output is written under another name beside its
 * place and moved there when it is whole, so that a file named OUT.gguf is never half a model. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arithmetic.h"
#include "cli/print.h"
#include "cli/quantize_options.h"
#include "cli/version.h"
#include "fpstate.h"
#include "gguf_write.h"
#include "mix.h"
#include "quant.h"
#include "threads.h"

/* ---- what is read ---------------------------------------------------------------------------- */

/* Files have 32; a page or two would make sense. */
enum { MAX_ALIGNMENT = 1 << 20 };

/* Whether the values of a type can be looked at, or are none that could be wrong. */
static bool is_readable(uint32_t type) {
    bool is_integer = type == GGML_TYPE_I8 || type == GGML_TYPE_I16 || type == GGML_TYPE_I32 ||
                      type == GGML_TYPE_I64;
    return is_integer || dequantize_supported(type);
}

/* Chooses types[i] for every tensor. What is quantized already may only be copied, unless the user
 * says otherwise: what its first rounding took away is lost twice. */
static int plan_types(const struct gguf *g, const struct quantize_options *opt, uint32_t *types,
                      struct error *err) {
    if (g->alignment > MAX_ALIGNMENT) {
        return error_set(err, KQ_UNSUPPORTED,
                         "general.alignment is %zu: the output would be padded to it, and more "
                         "than %d is no model's",
                         g->alignment, MAX_ALIGNMENT);
    }
    if (mix_types(opt->mix, g, types, err) != 0) return -1;
    for (size_t i = 0; i < g->n_tensors; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        bool is_float =
            t->type == GGML_TYPE_F32 || t->type == GGML_TYPE_F16 || t->type == GGML_TYPE_BF16;
        if (is_float || (types[i] == t->type && is_readable(t->type))) continue;
        bool known = dequantize_supported(t->type);
        if (opt->requantize && known) continue;
        const struct ggml_type_info *type = ggml_type_info(t->type);
        return error_set(err, KQ_UNSUPPORTED,
                         "%s: expected F32, F16 or BF16 weights, found %s (type %" PRIu32
                         "): quantize from the original model%s",
                         t->name, type ? type->name : "an unknown type", t->type,
                         known ? " (--allow-requantize does it all the same)" : "");
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
    (void)sig;
    if (unfinished) unlink(unfinished);
    // NOLINTNEXTLINE(bugprone-signal-handler,cert-sig30-c): it calls strlen and write alone
    say_in_handler("the input was cut short while it was read");
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
    uint8_t *out; // NULL: the weights are copied, and only looked at
    const struct ggml_type_info *in_info, *out_info;
    uint32_t in_type, out_type;
    int64_t n;                  // weights
    float lowest, highest;      // that the output's type can hold
    int64_t bad[CHUNK / PIECE]; // in each piece: the first weight that it cannot, or -1
};

/* The first of n weights that is NaN or outside the range, or -1. */
static int64_t first_outside(const float *x, int64_t n, float lowest, float highest) {
    bool all_inside = true;
    for (int64_t i = 0; i < n; i++) all_inside &= x[i] >= lowest && x[i] <= highest;
    if (all_inside) return -1;
    int64_t i = 0;
    while (x[i] >= lowest && x[i] <= highest) i++;
    return i;
}

static void quantize_pieces(void *arg, long begin, long end, int thread) {
    struct chunk *c = arg;
    (void)thread;
    for (long piece = begin; piece < end; piece++) {
        float x[PIECE];
        int64_t at = (int64_t)piece * PIECE, n = c->n - at < PIECE ? c->n - at : PIECE;
        const uint8_t *in = c->in + at / c->in_info->block_len * c->in_info->block_bytes;
        dequantize_row(c->in_type, in, x, n);
        int64_t bad = first_outside(x, n, c->lowest, c->highest);
        c->bad[piece] = bad < 0 ? -1 : at + bad;
        if (!c->out || bad >= 0) continue;
        uint8_t *out = c->out + at / c->out_info->block_len * c->out_info->block_bytes;
        quantize_row(c->out_type, x, out, n);
    }
}

/* Weight i of a tensor cannot be written. Nothing is repaired: such a file is damaged, or needs a
 * wider type. */
static int refuse_weight(const struct gguf_tensor *t, int64_t i, uint32_t type, struct error *err) {
    const struct ggml_type_info *in_info = ggml_type_info(t->type);
    const uint8_t *block = (const uint8_t *)t->data + i / in_info->block_len * in_info->block_bytes;
    float x[QK_K];
    dequantize_row(t->type, block, x, in_info->block_len);
    float value = x[i % in_info->block_len];
    uint64_t row = (uint64_t)i / t->ne[0], column = (uint64_t)i % t->ne[0];
    char matrix[32] = "", what[64] = "NaN";
    if (t->ne[2] * t->ne[3] > 1) {
        snprintf(matrix, sizeof matrix, "matrix %" PRIu64 ", ", row / t->ne[1]);
    }
    if (isinf(value)) snprintf(what, sizeof what, "%sinfinite", value < 0 ? "minus " : "");
    if (isfinite(value)) {
        snprintf(what, sizeof what, "%g, which %s cannot hold", (double)value,
                 ggml_type_info(type)->name);
    }
    return error_set(err, KQ_BAD_FILE,
                     "%s: the weight at %srow %" PRIu64 ", column %" PRIu64
                     " (counted from 0) is %s",
                     t->name, matrix, row % t->ne[1], column, what);
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
    double share = (double)p->done / (double)p->total;
    fprintf(stderr, "\r%3.0f%% of %.0f million weights%s\033[K", 100 * share,
            (double)p->total * 1e-6, time_left(p->start, share).text);
}

static void clear_progress(const struct progress *p) {
    if (p->shown > 0) fputs("\r\033[K", stderr);
}

static int put_tensor(struct gguf_writer *w, const struct gguf_tensor *t, uint32_t type,
                      struct threads *threads, uint8_t *buffer, struct progress *p,
                      struct error *err) {
    struct chunk c = {.in = t->data,
                      .out = t->type == type ? NULL : buffer,
                      .in_type = t->type,
                      .out_type = type,
                      .in_info = ggml_type_info(t->type),
                      .out_info = ggml_type_info(type)};
    bool is_checked = dequantize_supported(t->type); // integers are always right
    int64_t len = c.in_info->block_len,
            n = (int64_t)(t->nbytes / (size_t)c.in_info->block_bytes) * len;
    quantize_limits(type, &c.lowest, &c.highest);
    for (int64_t at = 0; at < n && w->status == KQ_OK; at += c.n) {
        if (stop_signal)
            return error_set(err, KQ_INTERRUPTED, "stopped by signal %d", (int)stop_signal);
        c.n = n - at < CHUNK ? n - at : CHUNK;
        long n_pieces = (long)((c.n + PIECE - 1) / PIECE);
        if (is_checked) parallel_for(threads, NULL, n_pieces, 1, quantize_pieces, &c);
        for (long i = 0; is_checked && i < n_pieces; i++) {
            if (c.bad[i] >= 0) return refuse_weight(t, at + c.bad[i], type, err);
        }
        size_t bytes = (size_t)(c.n / c.out_info->block_len * c.out_info->block_bytes);
        gguf_write(w, c.out ? c.out : c.in, bytes);
        c.in += c.n / len * c.in_info->block_bytes;
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

static int write_model(const struct gguf *g, const struct quantize_options *opt,
                       const uint32_t *types, struct threads *threads, struct summary *sum,
                       struct error *err) {
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

static int quantize_file(const struct quantize_options *opt, struct summary *sum,
                         struct error *err) {
    if (arithmetic_check(err) != 0) return -1;
    struct gguf g;
    if (gguf_open(&g, opt->in, err) != 0) return -1;
    struct threads *threads = NULL;
    uint32_t *types = malloc((g.n_tensors + 1) * sizeof *types);
    int result =
        types ? check_output(&g, opt->out, err) : error_set(err, KQ_NO_MEMORY, "out of memory");
    if (result == 0) result = plan_types(&g, opt, types, err);
    if (result == 0) {
        threads = threads_open(opt->n_threads ? opt->n_threads : threads_default_count(), err);
        result = threads ? write_model(&g, opt, types, threads, sum, err) : -1;
    }
    threads_close(threads);
    free(types);
    gguf_close(&g);
    return result;
}

static void print_rows(const struct quantize_option *rows) {
    for (; rows->name; rows++) {
        const char *comma = rows->synonym[0] ? ", " : "", *blank = rows->value[0] ? " " : "";
        int column = printf("  %s%s%s%s%s", rows->name, comma, rows->synonym, blank, rows->value);
        printf("%*s", column < 22 ? 22 - column : 2, "");
        put_words(stdout, 22, 22, rows->help);
    }
}

static void print_help(void) {
    printf("usage: %s %s\n\n", program_name(), quantize_synopsis);
    puts("  IN.gguf             a model in F32, F16 or BF16\n"
         "  OUT.gguf            where the quantized model goes; a file already there is\n"
         "                      replaced\n"
         "  TYPE                one of these, with the bits that a weight takes:\n");
    print_rows(quantize_types);
    putchar('\n');
    print_rows(quantize_options);
    putchar('\n');
    put_words(stdout, 0, 0, quantize_notes);
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
    called_as(argv[0], "quantize");
    if (prepare_streams() != 0) return EXIT_FAILED;
    struct quantize_options opt;
    if (quantize_parse(&opt, argc, argv, &err) != 0) {
        return USAGE("%s (--help tells more)", err.text);
    }
    if (opt.help) {
        print_help();
        return flush();
    }
    if (opt.version) {
        print_version();
        return flush();
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
