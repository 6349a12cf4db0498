#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "info.h"

static void put_number(FILE *out, double x, int digits) {
    if (isfinite(x)) {
        fprintf(out, "%.*g", digits, x);
    } else {
        fputs("null", out); // JSON has no other word for it
    }
}

/* Element i; strings are read one after the other. */
static void put_element(FILE *out, const struct gguf_kv *kv, uint64_t i, const uint8_t **cursor) {
    switch (kv->elem_type) {
    case GGUF_STRING:
        put_json_string(out, gguf_next_str(cursor));
        break;
    case GGUF_FLOAT32:
        put_number(out, gguf_f32_at(kv, i), 9);
        break;
    case GGUF_FLOAT64:
        put_number(out, gguf_f32_at(kv, i), 17);
        break;
    case GGUF_BOOL:
        fputs(gguf_int_at(kv, i) ? "true" : "false", out);
        break;
    case GGUF_UINT64:
        fprintf(out, "%" PRIu64, (uint64_t)gguf_int_at(kv, i));
        break;
    default:
        fprintf(out, "%" PRId64, gguf_int_at(kv, i));
    }
}

static void put_metadata(FILE *out, const struct gguf *g) {
    fputs("\"metadata\": {", out);
    for (size_t k = 0; k < g->n_kv; k++) {
        const struct gguf_kv *kv = &g->kv[k];
        const uint8_t *cursor = kv->data;
        fputs(k ? ",\n  " : "\n  ", out);
        put_json_string(out, kv->key);
        fputs(kv->type == GGUF_ARRAY ? ": [" : ": ", out);
        for (uint64_t i = 0; i < kv->n; i++) {
            if (i > 0) fputs(", ", out);
            put_element(out, kv, i, &cursor);
        }
        if (kv->type == GGUF_ARRAY) fputc(']', out);
    }
    fputs("}", out);
}

static void put_type(FILE *out, uint32_t type) {
    const struct ggml_type_info *known = ggml_type_info(type);
    if (known) {
        fprintf(out, "\"%s\"", known->name);
    } else {
        fprintf(out, "%" PRIu32, type);
    }
}

static void put_tensors(FILE *out, const struct gguf *g) {
    fputs("\"tensors\": [", out);
    for (size_t i = 0; i < g->n_tensors; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        fputs(i ? ",\n  {\"name\": " : "\n  {\"name\": ", out);
        put_json_string(out, (struct gguf_str){t->name, strlen(t->name)});
        fputs(", \"type\": ", out);
        put_type(out, t->type);
        fputs(", \"shape\": [", out);
        for (int d = 0; d < t->n_dims; d++) fprintf(out, "%s%" PRIu64, d ? ", " : "", t->ne[d]);
        fprintf(out, "], \"bytes\": %zu}", t->nbytes);
    }
    fputs("]", out);
}

/* Where a file is told of for which nothing could be opened, this is missing. */
static void put_model(const struct info *in) {
    const struct session *s = in->s;
    struct model_work work = model_work(&s->model);
    fprintf(in->out,
            "\"layers\": %d, \"embedding\": %d, \"vocabulary\": %d, \"context\": %d, "
            "\"macs_per_token\": %" PRId64 ", \"bytes_per_token\": %" PRId64 ",\n",
            s->model.n_layer, s->model.n_embd, s->model.n_vocab, s->model.n_ctx_train, work.macs,
            work.bytes);
    if (!in->fits) return;
    fprintf(in->out,
            "\"n_ctx\": %d, \"n_batch\": %d, \"threads\": %d, \"kv\": \"%s\", "
            "\"kv_bytes\": %zu, \"scratch_bytes\": %zu,\n",
            s->n_ctx, s->n_batch, threads_count(s->threads), s->o->kv_f32 ? "f32" : "f16",
            model_memory(&s->model, s->n_ctx, s->n_batch, s->o->kv_f32),
            transformer_scratch_bytes(s->main.transformer));
}

void put_info_json(const struct info *in, const char *verdict) {
    FILE *out = in->out;
    uint64_t params = 0;
    for (int type = 0; type <= GGML_N_TYPES; type++) params += in->params_of_type[type];
    fputs("{\"file\": ", out);
    put_json_string(out, (struct gguf_str){in->s->o->model, strlen(in->s->o->model)});
    fputs(", \"architecture\": ", out);
    put_json_string(out, in->arch);
    fprintf(out, ", \"gguf_version\": %" PRIu32 ", \"mapped_bytes\": %zu, \"parameters\": %" PRIu64,
            in->g->version, in->g->mapped_bytes, params);
    fprintf(out, ",\n\"runs\": %s, \"verdict\": ", in->runs && in->fits ? "true" : "false");
    put_json_string(out, (struct gguf_str){verdict, strlen(verdict)});
    fputs(",\n", out);
    if (in->runs) put_model(in);
    put_metadata(out, in->g);
    fputs(",\n", out);
    put_tensors(out, in->g);
    fputs("}\n", out);
}
