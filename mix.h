/* The mixes of types that quantize writes: which type each tensor gets. The rules are those of
 * llama.cpp v0.5.0 (src/llama-quant.cpp), tensor for tensor. They look at names, row lengths and
 * four numbers of the metadata, so that they hold for architectures that the engine does not know,
 * too. */
#ifndef MIX_H
#define MIX_H

#include "gguf.h"

struct mix {
    const char *name;
    uint32_t file_type; // general.file_type, numbered as in llama.cpp
    uint32_t type;      // of most tensors
};

/* The mix with this name, or NULL. */
const struct mix *mix_find(const char *name);

/* "Q4_K_S, Q4_K_M, ... or Q8_0" */
#define MIX_NAMES "Q4_K_S, Q4_K_M, Q5_K_S, Q5_K_M, Q6_K or Q8_0"

/* Chooses types[i] for every tensor i of the file; its own type if it is to be copied. Which type
 * it has does not matter. Returns 0, or -1 if the metadata are none of a model's or memory runs
 * out. */
int mix_types(const struct mix *mix, const struct gguf *g, uint32_t *types, struct error *err);

#endif
