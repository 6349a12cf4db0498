/* What --info knows of a file, for people (info.c) and for programs (info_json.c). */
#ifndef INFO_H
#define INFO_H

#include "../quant.h"
#include "session.h"

struct info {
    struct session *s;
    const struct gguf *g;
    FILE *out;
    struct gguf_str arch;                  // general.architecture, cut to 64 bytes; may be empty
    bool runs;                             // the model was opened; otherwise model_err says why not
    bool fits;                             // the transformer was opened; otherwise s->err
    struct error model_err, tokenizer_err; // tokenizer_err: if s->tokenizer is NULL
    size_t n_of_type[GGML_N_TYPES + 1];    // tensors; the last: of unknown types
    uint64_t bytes_of_type[GGML_N_TYPES + 1], params_of_type[GGML_N_TYPES + 1];
};

/* All of it as one object: what was found out, every key with its whole value, every tensor. The
 * verdict is what people are told: "yes", or "no: ...". */
void put_info_json(const struct info *in, const char *verdict);

#endif
