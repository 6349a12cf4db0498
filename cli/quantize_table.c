#include "quantize_options.h"

const char quantize_synopsis[] = "[options] IN.gguf OUT.gguf TYPE";

const struct quantize_option quantize_options[] = {
    [QUANTIZE_THREADS] = {"-t", "--threads", "N", "threads (usable physical cores)"},
    [QUANTIZE_REQUANTIZE] =
        {"--allow-requantize", "", "",
         "reads quantized weights, too, of every type that can be computed with: what their "
         "first rounding took away is lost twice"},
    [QUANTIZE_VERSION] = {"--version", "", "", "this program's version, and how it was built"},
    [QUANTIZE_HELP] = {"--help", "-h", "", "this text"},
    {NULL, NULL, NULL, NULL},
};

const struct quantize_option quantize_types[] = {
    {"Q4_K_S", "", "", "about 4.6 bits per weight: Q4_K, and Q5_K for few layers"},
    {"Q4_K_M", "", "", "about 4.8: Q4_K, and Q6_K where it matters most"},
    {"Q5_K_S", "", "", "about 5.5: Q5_K, output in Q6_K"},
    {"Q5_K_M", "", "", "about 5.7: Q5_K, and Q6_K where it matters most"},
    {"Q6_K", "", "", "about 6.6"},
    {"Q8_0", "", "", "8.5"},
    {NULL, NULL, NULL, NULL},
};

const char quantize_notes[] =
    "Tensors of one dimension, norms and expert gates keep their type; rows that are no multiple "
    "of "
    "256 get Q5_0 for Q4_K, Q5_1 for Q5_K and Q8_0 for Q6_K. A weight that is NaN or infinite, or "
    "that its type cannot hold, is named and nothing is written.";
