#include "generate.h"

#include "../hash.h"
#include "stats.h"
#include "thoughts.h"

int run_prompt(struct session *s, const float **logits) {
    double start = now();
    bool each = s->logits_file || s->o->verify; // token's logits are wanted, not the last's alone
    s->n_reused = (size_t)n_past(s);
    for (size_t done = s->n_reused; done < s->n_prompt;) {
        if (done == s->n_stable) remember_place(s);
        size_t left = (done < s->n_stable ? s->n_stable : s->n_prompt) - done;
        int n = left < (size_t)s->n_batch ? (int)left : s->n_batch;
        int status = forward(s, s->tokens.ids + done, n);
        done += (size_t)n;
        for (int i = each ? 0 : n - 1; status == 0 && i < n; i++) {
            if (each || done == s->n_prompt) status = logits_of(s, i, logits);
        }
        if (was_interrupted(s)) s->stopped = STOPPED_BY_USER;
        if (status) return status;
        show_progress(start, "reading the prompt:", done - s->n_reused, s->n_prompt - s->n_reused);
    }
    s->prompt_s += now() - start;
    s->n_read += s->n_prompt - s->n_reused;
    remember_place(s);
    note_memory(s);
    return 0;
}

/* What of the token is to be printed now. */
static void next_text(struct session *s, struct token_stream *stream, int32_t id,
                      struct gguf_str out[2]) {
    // Thoughts that end in a control token would run into the answer.
    bool shown = s->o->chat && is_thought_mark(piece_of(s, id, true));
    token_stream_next(stream, piece_of(s, id, shown), out);
}

int print_token(struct session *s, struct token_stream *stream, int32_t id) {
    struct gguf_str out[2];
    if (!s->tokenizer) return 0;
    next_text(s, stream, id, out);
    int status = out[0].len ? print(out[0]) : 0;
    return status == 0 && out[1].len ? print(out[1]) : status;
}

/* Of a token that was generated, up to a text of --stop. */
static int print_generated(struct session *s, struct token_stream *stream, int32_t id,
                           bool *found) {
    struct gguf_str out[2], text;
    int status = 0;
    *found = false;
    if (!s->tokenizer) return 0;
    next_text(s, stream, id, out);
    for (int i = 0; status == 0 && i < 2 && !*found; i++) {
        if (stops_next(&s->stops, out[i], &text, found) < 0)
            return FAIL("out of memory for --stop");
        if (text.len) status = print(text);
    }
    if (*found) token_stream_end(stream); // what has begun behind it
    return status == 0 ? flush() : status;
}

int end_text(struct session *s, struct token_stream *stream) {
    struct gguf_str begun = stops_end(&s->stops), held = token_stream_end(stream);
    if (begun.len > 0 && print(begun) != 0) return EXIT_FAILED;
    if (held.len > 0) {
        say("the text ends within a character, of which the first %zu bytes are left out",
            held.len);
    }
    putchar('\n');
    return flush();
}

static bool ends_text(const struct session *s, int32_t id) {
    return (s->tokenizer && tokenizer_is_eog(s->tokenizer, id)) ||
           (s->ends_turn && id == s->end_of_turn);
}

int generate(struct session *s, int n_gen, struct token_stream *stream, const float *logits) {
    double start = now();
    int status = 0;
    size_t row = (size_t)s->model.n_vocab * sizeof *logits;
    s->stopped = STOPPED_LENGTH;
    if (s->tokens.n == s->n_prompt) { // otherwise an answer goes on
        s->gen_s = 0;
        s->logits_hash = fnv1a(FNV_START, logits, n_gen == 0 ? row : 0);
    }
    for (int n = 0; status == 0 && (n_gen < 0 || n < n_gen); n++) {
        bool found;
        s->logits_hash = fnv1a(s->logits_hash, logits, row);
        lap(s, "hashing logits");
        int32_t id = sampler_pick(s->sampler, logits, s->tokens.ids, s->tokens.n);
        lap(s, "sampling");
        if (id < 0) { // logits_of gives none that the sampler refuses by themselves
            status = FAIL("no token may follow: tokenizer.ggml.suppress_tokens forbids them all");
            break;
        }
        s->stopped = STOPPED_EOS;
        if (ends_text(s, id)) break;
        s->tokens.ids[s->tokens.n++] = id;
        status = print_generated(s, stream, id, &found);
        s->stopped = found ? STOPPED_TEXT : STOPPED_LENGTH;
        lap(s, "printing text");
        bool last = n + 1 == n_gen && !s->logits_file; // nobody asks for what comes after it
        if (status || last || found) break;
        s->stopped = STOPPED_CONTEXT;
        if (n_past(s) == s->n_ctx) break;
        s->stopped = STOPPED_LENGTH;
        status = stop_asked(s) ? interrupted(s) : forward(s, &id, 1);
        if (status == 0) status = logits_of(s, 0, &logits);
    }
    if (was_interrupted(s)) s->stopped = STOPPED_BY_USER;
    s->gen_s += now() - start;
    note_memory(s);
    return status;
}
