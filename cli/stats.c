#include "stats.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "timing.h"

void note_memory(struct session *s) {
    size_t bytes = anonymous_bytes();
    if (bytes > s->anon_bytes) s->anon_bytes = bytes;
}

void note_disk(struct session *s, size_t *bytes) {
    size_t seen = bytes_from_disk();
    *bytes += seen - s->disk_seen;
    s->disk_seen = seen;
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
    struct page_count pages; // of the file
    bool pages_known;
    size_t n_prompt, n_gen;       // n_prompt: of the prompt, as far as it was read
    double prompt_rate, gen_rate; // tokens per second
    size_t read_bytes, kv_bytes, scratch_bytes, peak_anon_bytes;
};

static struct stats collect(const struct session *s) {
    size_t past = (size_t)n_past(s);
    struct stats st = {.n_prompt = past < s->n_prompt ? past : s->n_prompt,
                       .n_gen = s->tokens.n - s->n_prompt};
    st.prompt_rate = s->prompt_s > 0 ? (double)s->n_read / s->prompt_s : 0;
    st.gen_rate = s->gen_s > 0 ? (double)s->n_passes / s->gen_s : 0;
    st.kv_bytes = seq_used_bytes(s->main.seq, n_past(s));
    st.scratch_bytes = transformer_scratch_bytes(s->main.transformer);
    bool twice = s->reference.transformer != NULL;
    const struct transformer *copies = twice ? s->reference.transformer : s->main.transformer;
    st.read_bytes = s->o->no_mmap ? s->gguf.mapped_bytes : 0;
    st.pages_known = count_file_pages(s, &st.pages);
    size_t own = s->anon_bytes ? s->anon_bytes : st.kv_bytes + st.scratch_bytes + st.read_bytes;
    st.peak_anon_bytes = own + transformer_reference_bytes(copies);
    return st;
}

void end_json(const struct session *s) {
    fputs(", \"model\": ", stderr);
    put_json_text(stderr, (struct gguf_str){s->o->model, strlen(s->o->model)});
    put_profile_json(s);
    fputs("}\n", stderr);
}

/* What was generated, and how that ended. */
static void put_generated(const struct session *s) {
    fputs("\"ids\": [", stderr);
    for (size_t i = s->n_prompt; i < s->tokens.n; i++) {
        fprintf(stderr, i > s->n_prompt ? ", %d" : "%d", (int)s->tokens.ids[i]);
    }
    fputs("], \"text\": ", stderr);
    put_json_text(stderr, (struct gguf_str){s->said ? s->said : "", s->n_said});
    fprintf(stderr, ", \"stop\": \"%s\"", reasons[s->stopped].name);
    if (*s->date) fprintf(stderr, ", \"date\": \"%s\"", s->date);
    if (s->logits_hash) {
        fprintf(stderr, ", \"logits_hash\": \"%016llx\"", (unsigned long long)s->logits_hash);
    } else {
        fputs(", \"logits_hash\": null", stderr);
    }
}

void print_json(const struct session *s) {
    struct stats st = collect(s);
    char pages[96] = "";
    if (st.pages_known) {
        snprintf(pages, sizeof pages, "\"resident_bytes\": %zu, \"huge_page_bytes\": %zu, ",
                 st.pages.resident, st.pages.huge);
    }
    begin_message();
    fprintf(stderr,
            "{\"prompt_tokens\": %zu, \"prompt_tok_s\": %.2f, "
            "\"gen_tokens\": %zu, \"gen_tok_s\": %.2f, \"load_s\": %.4f, "
            "\"disk_bytes\": %zu, \"mapped_bytes\": %zu, \"read_bytes\": %zu, %s\"kv_bytes\": %zu, "
            "\"scratch_bytes\": %zu, \"peak_anon_bytes\": %zu, \"isa\": \"%s\", \"act\": %d, "
            "\"threads\": %d, \"n_ctx\": %d, \"seed\": %llu, ",
            st.n_prompt, st.prompt_rate, st.n_gen, st.gen_rate, s->load_s,
            s->prompt_disk_bytes + s->disk_bytes, s->gguf.mapped_bytes - st.read_bytes,
            st.read_bytes, pages, st.kv_bytes, st.scratch_bytes, st.peak_anon_bytes,
            s->o->isa->name, s->o->act ? s->o->act : 32, threads_count(s->threads), s->n_ctx,
            (unsigned long long)s->seed);
    put_generated(s);
    end_json(s);
}

/* How tokens were chosen, and the seed with which they would be chosen again. */
static void print_sampling(const struct session *s) {
    const struct sampler_params *p = &s->sampling;
    const struct {
        const char *name;
        double value, idle; // idle: that has no effect
    } numbers[] = {{"temp", (double)p->temp, 0},
                   {"top-k", p->top_k, 0},
                   {"top-p", (double)p->top_p, 1},
                   {"min-p", (double)p->min_p, 0},
                   {"repeat-penalty", (double)p->repeat_penalty, 1},
                   {"presence-penalty", (double)p->presence_penalty, 0},
                   {"frequency-penalty", (double)p->frequency_penalty, 0}};
    char text[400] = "";
    size_t n = 0;
    if (!(p->temp > 0)) {
        fputs("sampling   temp 0: the likeliest token\n", stderr);
        return;
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (!(numbers[i].value < numbers[i].idle || numbers[i].value > numbers[i].idle)) continue;
        n += (size_t)snprintf(text + n, sizeof text - n, "%s %.7g, ", numbers[i].name,
                              numbers[i].value);
    }
    snprintf(text + n, sizeof text - n, "seed %llu", (unsigned long long)s->seed);
    put_words(stderr, fprintf(stderr, "sampling   "), 11, text);
}

static void print_pages(const struct page_count *pages) {
    fprintf(stderr, "pages      %.1f MB of the file are in memory, ",
            (double)pages->resident * 1e-6);
    if (pages->huge > 0) {
        fprintf(stderr, "%.1f MB of that in huge pages\n", (double)pages->huge * 1e-6);
    } else {
        fprintf(stderr, "all in pages of %ld KB\n", sysconf(_SC_PAGESIZE) / 1024);
    }
}

void print_verified(const struct session *s) {
    if (!s->reference.transformer) return;
    if (s->o->act) {
        print_verdict(&s->verdict);
    } else {
        fprintf(stderr, "verified   all logits equal the reference's, bit for bit\n");
    }
}

void print_disk(size_t prompt_bytes, size_t bytes) {
    enum { MENTIONED = 1000000 }; // less are pages of the program
    const double mb = 1e6;
    if (prompt_bytes + bytes < MENTIONED) return;
    fprintf(stderr, "disk       %.1f MB read", (double)(prompt_bytes + bytes) / mb);
    if (prompt_bytes > 0)
        fprintf(stderr, ", %.1f of them up to the prompt's end", (double)prompt_bytes / mb);
    fputs(": that time is in these\n", stderr);
}

static void print_speed(const struct session *s, const struct stats *st) {
    fprintf(stderr, "prompt     %6zu tokens", st->n_prompt);
    if (s->n_read > 0) fprintf(stderr, " %9.2f tok/s", st->prompt_rate);
    if (st->n_prompt < s->n_prompt) fprintf(stderr, "  (of %zu)", s->n_prompt);
    if (s->n_reused > 0) fprintf(stderr, "  (%zu were in the cache)", s->n_reused);
    fprintf(stderr, "\ngenerated  %6zu tokens", st->n_gen);
    if (s->n_passes > 0) { // a single token comes with the prompt's logits
        fprintf(stderr, " %9.2f tok/s  (%.2f ms each)", st->gen_rate,
                1e3 * s->gen_s / (double)s->n_passes);
    }
    fprintf(stderr, "\nended by   %s\n", reasons[s->stopped].words);
    print_disk(s->prompt_disk_bytes, s->disk_bytes);
}

void print_stats(const struct session *s) {
    struct stats st = collect(s);
    const double mb = 1e6;
    begin_message();
    // The terminal has shown ^C, and no text behind which a newline came.
    if (was_interrupted(s) && isatty(STDERR_FILENO) && !same_terminal()) fputc('\n', stderr);
    print_speed(s, &st);
    fprintf(stderr, "loaded in  %6.0f ms; %s, %d threads%s", 1e3 * s->load_s, s->o->isa->name,
            threads_count(s->threads), how_computed(s->o));
    if (s->logits_hash) {
        fprintf(stderr, "; logits %016llx", (unsigned long long)s->logits_hash);
    }
    fprintf(
        stderr, "\nmemory     %.1f MB %s file, %.1f MB cache, %.1f MB buffers, %.1f MB own peak\n",
        (double)s->gguf.mapped_bytes / mb, s->o->no_mmap ? "read" : "mapped",
        (double)st.kv_bytes / mb, (double)st.scratch_bytes / mb, (double)st.peak_anon_bytes / mb);
    if (st.pages_known) print_pages(&st.pages);
    if (s->o->chat || s->sampling.temp > 0) print_sampling(s);
    if (*s->date) fprintf(stderr, "date       %s\n", s->date);
    for (size_t i = 0; i < s->o->ignored_keys.n; i++) {
        fprintf(stderr, "ignored    key %s\n", s->o->ignored_keys.text[i]);
    }
    print_verified(s);
}
