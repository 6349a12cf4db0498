#include "sampling.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* A key general.sampling.NAME of the file, and what it sets unless the option is given. */
struct sampling_key {
    const char *name, *option;
    float min, max;
    size_t at; // the member of struct sampler_params
    bool whole;
};

static const struct sampling_key sampling_keys[] = {
    {"temp", "--temp", 0, 1e6f, offsetof(struct sampler_params, temp), false},
    {"top_k", "--top-k", 0, 1e6f, offsetof(struct sampler_params, top_k), true},
    {"top_p", "--top-p", 0, 1, offsetof(struct sampler_params, top_p), false},
    {"min_p", "--min-p", 0, 1, offsetof(struct sampler_params, min_p), false},
    {"penalty_repeat", "--repeat-penalty", 1e-3f, 1e3f,
     offsetof(struct sampler_params, repeat_penalty), false},
    {"penalty_last_n", "--repeat-last-n", -1, 1e6f, offsetof(struct sampler_params, repeat_last_n),
     true},
};
#define N_SAMPLING_KEYS (sizeof sampling_keys / sizeof *sampling_keys)

/* False if the key's value cannot be used. */
static bool take_sampling(const struct session *s, const struct gguf_kv *kv,
                          const struct sampling_key *k, struct sampler_params *p) {
    bool number = kv->type == GGUF_FLOAT32 || kv->type == GGUF_FLOAT64;
    bool integer = kv->type != GGUF_STRING && kv->type != GGUF_ARRAY && kv->type != GGUF_BOOL;
    double v = number ? gguf_f32_at(kv, 0) : integer ? (double)gguf_int_at(kv, 0) : NAN;
    if (!(v >= (double)k->min && v <= (double)k->max)) return false;
    if (k->whole && (double)(int)v != v) return false;
    if (options_given(s->o, k->option)) return true;
    void *to = (char *)p + k->at;
    if (k->whole) {
        *(int *)to = (int)v;
    } else {
        *(float *)to = (float)v;
    }
    return true;
}

struct sampler_params chat_sampling(const struct session *s) {
    static const char prefix[] = "general.sampling.";
    const size_t n = sizeof prefix - 1;
    struct sampler_params p = s->o->sampling;
    if (!options_given(s->o, "--temp")) p.temp = 0.7f;
    if (!options_given(s->o, "--top-p")) p.top_p = 0.9f;
    if (!options_given(s->o, "--min-p")) p.min_p = 0.05f;
    for (size_t i = 0; i < s->gguf.n_kv; i++) {
        const struct gguf_kv *kv = &s->gguf.kv[i];
        if (kv->key.len <= n || memcmp(kv->key.data, prefix, n) != 0) continue;
        struct gguf_str name = {kv->key.data + n, kv->key.len - n};
        size_t k = 0;
        while (k < N_SAMPLING_KEYS && !gguf_str_eq(name, sampling_keys[k].name)) k++;
        if (k == N_SAMPLING_KEYS) {
            struct error clean; // the name is a stranger's
            error_set(&clean, KQ_UNSUPPORTED, "the file's key %s%.*s is not followed", prefix,
                      GGUF_SHORT(name));
            say("%s", clean.text);
        } else if (!take_sampling(s, kv, &sampling_keys[k], &p)) {
            say("the file's key general.sampling.%s is no number from %g to %g: it is not used",
                sampling_keys[k].name, (double)sampling_keys[k].min, (double)sampling_keys[k].max);
        }
    }
    return p;
}
