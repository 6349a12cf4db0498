#include "stats.h"

#include <stdio.h>

#include "memory.h"

void note_memory(struct session *s) {
    size_t bytes = anonymous_bytes();
    if (bytes > s->anon_bytes) s->anon_bytes = bytes;
}

/* In words, and as the names that clients of other engines know. */
static const struct {
    const char *words, *name;
} reasons[] = {
    [STOPPED_LENGTH] = {"-n", "length"},
    [STOPPED_EOS] = {"the model", "eos"},
    [STOPPED_TEXT] = {"--stop", "stop"},
    [STOPPED_CONTEXT] = {"a full context", "context"},
    [STOPPED_BY_USER] = {"a signal", "interrupted"},
};

struct stats {
    size_t n_gen;
    double prompt_rate, gen_rate; // tokens per second
    size_t kv_bytes, scratch_bytes, peak_anon_bytes;
};

static struct stats collect(const struct session *s) {
    struct stats st = {.n_gen = s->tokens.n - s->n_prompt};
    st.prompt_rate = s->prompt_s > 0 ? (double)s->n_read / s->prompt_s : 0;
    st.gen_rate = s->gen_s > 0 ? (double)st.n_gen / s->gen_s : 0;
    st.kv_bytes = seq_used_bytes(s->main.seq, n_past(s));
    st.scratch_bytes = transformer_scratch_bytes(s->main.transformer);
    bool twice = s->reference.transformer != NULL;
    const struct transformer *copies = twice ? s->reference.transformer : s->main.transformer;
    size_t own = s->anon_bytes ? s->anon_bytes : st.kv_bytes + st.scratch_bytes;
    st.peak_anon_bytes = own + transformer_reference_bytes(copies);
    return st;
}

void print_json(const struct session *s) {
    struct stats st = collect(s);
    fprintf(
        stderr,
        "{\"prompt_tokens\": %zu, \"prompt_tok_s\": %.2f, \"gen_tokens\": %zu, "
        "\"gen_tok_s\": %.2f, \"load_s\": %.4f, \"mapped_bytes\": %zu, \"kv_bytes\": %zu, "
        "\"scratch_bytes\": %zu, \"peak_anon_bytes\": %zu, \"isa\": \"%s\", \"act\": %d, "
        "\"threads\": %d, \"seed\": %llu, \"stop\": \"%s\", %s%s%s\"logits_hash\": \"%016llx\"}\n",
        s->n_prompt, st.prompt_rate, st.n_gen, st.gen_rate, s->load_s, s->gguf.mapped_bytes,
        st.kv_bytes, st.scratch_bytes, st.peak_anon_bytes, s->o->isa->name,
        s->o->act ? s->o->act : 32, threads_count(s->threads), (unsigned long long)s->seed,
        reasons[s->stopped].name, *s->date ? "\"date\": \"" : "", s->date, *s->date ? "\", " : "",
        (unsigned long long)s->logits_hash);
}

static void print_sampling(const struct sampler_params *p) {
    if (!(p->temp > 0)) {
        fputs("sampling   temp 0: the likeliest token\n", stderr);
        return;
    }
    fprintf(stderr, "sampling   temp %g", (double)p->temp);
    if (p->top_k > 0) fprintf(stderr, ", top-k %d", p->top_k);
    if (p->top_p < 1) fprintf(stderr, ", top-p %g", (double)p->top_p);
    if (p->min_p > 0) fprintf(stderr, ", min-p %g", (double)p->min_p);
    if (p->repeat_penalty < 1 || p->repeat_penalty > 1) {
        fprintf(stderr, ", repeat-penalty %g", (double)p->repeat_penalty);
    }
    if (p->presence_penalty < 0 || p->presence_penalty > 0) {
        fprintf(stderr, ", presence-penalty %g", (double)p->presence_penalty);
    }
    if (p->frequency_penalty < 0 || p->frequency_penalty > 0) {
        fprintf(stderr, ", frequency-penalty %g", (double)p->frequency_penalty);
    }
    fputc('\n', stderr);
}

void print_verified(const struct session *s) {
    if (!s->reference.transformer) return;
    if (s->o->act) {
        print_verdict(&s->verdict);
    } else {
        fprintf(stderr, "verified   all logits equal the reference's, bit for bit\n");
    }
}

void print_stats(const struct session *s) {
    struct stats st = collect(s);
    const double mb = 1e6;
    fprintf(stderr, "prompt     %6zu tokens %9.2f tok/s", s->n_prompt, st.prompt_rate);
    if (s->n_reused > 0) fprintf(stderr, "  (%zu were in the cache)", s->n_reused);
    fprintf(stderr, "\ngenerated  %6zu tokens %9.2f tok/s", st.n_gen, st.gen_rate);
    if (st.n_gen > 0) fprintf(stderr, "  (%.2f ms each)", 1e3 * s->gen_s / (double)st.n_gen);
    fprintf(stderr, "\nended by   %s", reasons[s->stopped].words);
    fprintf(stderr, "\nloaded in  %6.0f ms; %s, %d threads%s; logits %016llx", 1e3 * s->load_s,
            s->o->isa->name, threads_count(s->threads), how_computed(s->o),
            (unsigned long long)s->logits_hash);
    if (s->sampling.temp > 0) fprintf(stderr, "; seed %llu", (unsigned long long)s->seed);
    fprintf(stderr,
            "\nmemory     %.1f MB mapped file, %.1f MB cache, %.1f MB buffers, %.1f MB own peak\n",
            (double)s->gguf.mapped_bytes / mb, (double)st.kv_bytes / mb,
            (double)st.scratch_bytes / mb, (double)st.peak_anon_bytes / mb);
    if (s->o->chat) print_sampling(&s->sampling);
    if (*s->date) fprintf(stderr, "date       %s\n", s->date);
    for (size_t i = 0; i < s->o->ignored_keys.n; i++) {
        fprintf(stderr, "ignored    key %s\n", s->o->ignored_keys.text[i]);
    }
    print_verified(s);
}
