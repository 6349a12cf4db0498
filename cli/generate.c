#include "generate.h"

#include "../array.h"
#include "../hash.h"
#include "stats.h"
#include "thoughts.h"

/* Otherwise an answer goes on behind a prompt that was cut. */
static void begin_answer(struct session *s) {
    s->gen_s = 0;
    s->n_passes = 0;
    s->logits_hash = 0;
    s->n_said = 0;
    s->disk_bytes = 0;
}

int run_prompt(struct session *s, const float **logits) {
    double start = now(), before = start;
    bool each = s->logits_file || s->o->verify; // token's logits are wanted, not the last's alone
    s->n_reused = (size_t)n_past(s);
    if (s->tokens.n == s->n_prompt) begin_answer(s);
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
        double after = now();
        s->prompt_s += after - before;
        s->n_read += (size_t)n;
        before = after;
        show_progress(start, "reading the prompt:", done - s->n_reused, s->n_prompt - s->n_reused);
    }
    note_disk(s, &s->prompt_disk_bytes);
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

/* What was generated, and may be asked for once more. */
static int print_said(struct session *s, struct gguf_str text) {
    if (s->o->json && text.len > 0) {
        size_t n = s->n_said + text.len;
        if (array_reserve(&s->said, &s->said_capacity, n, 1) != 0) {
            return FAIL("out of memory for a text of %zu bytes", n);
        }
        memcpy(s->said + s->n_said, text.data, text.len);
        s->n_said = n;
    }
    return print(text);
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
        if (text.len) status = print_said(s, text);
    }
    if (*found) token_stream_end(stream); // what has begun behind it
    return status == 0 ? flush() : status;
}

int end_text(struct session *s, struct token_stream *stream) {
    struct gguf_str begun = stops_end(&s->stops), held = token_stream_end(stream);
    if (begun.len > 0 && print_said(s, begun) != 0) return EXIT_FAILED;
    print((struct gguf_str){"\n", 1});
    int status = flush();
    if (held.len > 0) {
        say("the text ends within a character, of which the first %zu bytes are left out",
            held.len);
    }
    return status;
}

static bool ends_text(const struct session *s, int32_t id) {
    return (s->tokenizer && tokenizer_is_eog(s->tokenizer, id)) ||
           (s->ends_turn && id == s->end_of_turn);
}

/* From one token to the next: N tokens take N - 1 passes, the first one comes from the prompt's. */
static void count_pass(struct session *s, double since) {
    s->gen_s += now() - since;
    s->n_passes++;
}

int generate(struct session *s, int n_gen, struct token_stream *stream, const float *logits) {
    double picked = 0; // when the last token was, if one was
    int status = 0;
    size_t row = (size_t)s->model.n_vocab * sizeof *logits;
    s->stopped = STOPPED_LENGTH;
    if (s->tokens.n == s->n_prompt) s->logits_hash = fnv1a(FNV_START, logits, n_gen == 0 ? row : 0);
    for (int n = 0; status == 0 && (n_gen < 0 || n < n_gen); n++) {
        bool found;
        s->logits_hash = fnv1a(s->logits_hash, logits, row);
        lap(s, "hashing logits");
        int32_t id = sampler_pick(s->sampler, logits, s->tokens.ids, s->tokens.n);
        if (picked > 0) count_pass(s, picked);
        picked = now();
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
    note_disk(s, &s->disk_bytes);
    note_memory(s);
    return status;
}
