/* What avx512_rows.c has for each type of blocks: gemv_rows_name and subnormal_rows_name. */
#ifndef AVX512_ROWS_H
#define AVX512_ROWS_H

#include "isa.h"

#define TYPE(NAME, name, number, len, bytes, dequantize, kernels, quantize) \
    WHEN(kernels, IF_BLOCKS_##len(gemv_fn gemv_rows_##name, subnormal_rows_##name;))
#include "../types.def"

#endif
