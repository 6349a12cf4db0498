/* --chat: a conversation, on a terminal or through a pipe. Before every answer the conversation so
 * far is written out in the model's format; what of it the cache holds already is not read again.
 * A control token that is spelled out in a message counts as one: formats do not escape. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../array.h"
#include "../chat.h"
#include "generate.h"
#include "modes.h"
#include "prompt.h"
#include "stats.h"

/* Bytes of a message: more than a context holds. Input may have no end. */
#define MAX_MESSAGE (1 << 20)

struct chat {
    struct session *s;
    const struct chat_format *format;
    struct chat_message *messages; // the contents are malloc'ed
    size_t n_messages, capacity;
    bool terminal;                 // messages are typed
    char *line;                    // (MAX_MESSAGE), the one being read
    int n_gen;                     // most tokens of an answer, -1: no limit
    struct sigaction on_interrupt; // main's, to be set again after each Ctrl-C
};

/* ---- the conversation ------------------------------------------------------------------------ */

static void drop_message(struct chat *c) {
    free((char *)c->messages[--c->n_messages].content);
}

static bool has_system(const struct chat *c) {
    return c->n_messages > 0 && strcmp(c->messages[0].role, "system") == 0;
}

/* Takes ownership of the text, which is malloc'ed, or NULL if memory was short. */
static int insert_message(struct chat *c, size_t at, const char *role, char *text) {
    size_t wanted = c->n_messages + 1;
    if (!text || array_reserve(&c->messages, &c->capacity, wanted, sizeof *c->messages) != 0) {
        free(text);
        return FAIL("out of memory for message %zu", c->n_messages + 1);
    }
    memmove(c->messages + at + 1, c->messages + at, (c->n_messages - at) * sizeof *c->messages);
    c->messages[at] = (struct chat_message){role, text};
    c->n_messages++;
    return 0;
}

/* With an empty text there is no system message any more. */
static int set_system(struct chat *c, const char *text) {
    if (has_system(c)) {
        // NOLINTNEXTLINE(clang-analyzer-*): has_system says that there is a message
        free((char *)c->messages[0].content);
        c->n_messages--;
        memmove(c->messages, c->messages + 1, c->n_messages * sizeof *c->messages);
    }
    return *text ? insert_message(c, 0, "system", strdup(text)) : 0;
}

/* What was generated becomes a message; zero bytes, which a message cannot hold, are left out. */
static int keep_answer(struct chat *c) {
    struct session *s = c->s;
    size_t len = 0;
    for (size_t i = s->n_prompt; i < s->tokens.n; i++) {
        len += piece_of(s, s->tokens.ids[i], false).len;
    }
    char *text = malloc(len + 1), *end = text;
    for (size_t i = s->n_prompt; text && i < s->tokens.n; i++) {
        struct gguf_str piece = piece_of(s, s->tokens.ids[i], false);
        for (size_t k = 0; k < piece.len; k++) {
            if (piece.data[k]) *end++ = piece.data[k];
        }
    }
    if (text) *end = '\0';
    return insert_message(c, c->n_messages, "assistant", text);
}

/* ---- the answer ------------------------------------------------------------------------------ */

static int encode_conversation(struct chat *c, struct token_list *prompt) {
    struct session *s = c->s;
    char *text;
    int32_t bos = tokenizer_bos(s->tokenizer);
    if (chat_render(c->format, c->messages, c->n_messages, true, &text, &s->err) < 0 ||
        tokenizer_encode(s->tokenizer, text, strlen(text), true, true, prompt, &s->err) < 0) {
        free(text);
        return FAIL("%s", s->err.text);
    }
    free(text);
    if (prompt->n > 1 && bos >= 0 && prompt->ids[0] == bos && prompt->ids[1] == bos) {
        prompt->n--; // the format begins with BOS, too
        memmove(prompt->ids, prompt->ids + 1, prompt->n * sizeof *prompt->ids);
    }
    return 0;
}

/* The conversation as it is in the cache usually begins the new prompt; an answer that is not the
 * tokens its text is read as, or a new system message, makes them differ from there on. The last
 * token is always read anew: for its logits. */
static void keep_prefix(struct session *s, const struct token_list *prompt) {
    int same = 0;
    while (same < n_past(s) && (size_t)same + 1 < prompt->n &&
           s->tokens.ids[same] == prompt->ids[same]) {
        same++;
    }
    rewind_to(s, same);
}

/* On a terminal the first Ctrl-C stops an answer; a second one before that was noticed kills. Else
 * it ends the run, as in other modes. */
static void await_interrupt(struct chat *c) {
    if (!c->terminal) return;
    *c->s->stop = 0;
    c->s->err.status = KQ_OK;
    sigaction(SIGINT, &c->on_interrupt, NULL);
}

/* What was generated before an interruption is printed, and the line ended. */
static int generate_answer(struct chat *c) {
    struct session *s = c->s;
    struct token_stream stream;
    const float *logits;
    token_stream_begin(&stream, s->tokenizer, false);
    int status = run_prompt(s, &logits);
    if (status == 0) status = generate(s, c->n_gen, &stream, logits);
    return status == 0 || was_interrupted(s) ? end_text(&stream) : status;
}

/* Answers the last message. What cannot be answered is forgotten: on a terminal one goes on. */
static int answer(struct chat *c) {
    struct session *s = c->s;
    struct token_list prompt = {0};
    int status = encode_conversation(c, &prompt);
    if (status || prompt.n >= (size_t)s->n_ctx) {
        if (!status) {
            say("the conversation has %zu tokens, the context holds %d: /reset begins a new one, "
                "%s",
                prompt.n, s->n_ctx, more_context(s));
        }
        token_list_free(&prompt);
        drop_message(c);
        return status || !c->terminal ? EXIT_FAILED : 0;
    }
    keep_prefix(s, &prompt);
    token_list_free(&s->tokens);
    s->tokens = prompt;
    status = check_prompt(s);
    if (status == 0) status = generate_answer(c);
    if (status && s->err.status == KQ_NOT_FINITE && c->terminal) {
        drop_message(c); // another one may not meet the same weights
        rewind_to(s, 0); // a recurrent state may not be finite any more
        fputs("(no answer; the message is forgotten)\n", stderr);
        return 0;
    }
    if (status || (was_interrupted(s) && !c->terminal)) return EXIT_FAILED;
    if (s->context_full) {
        say("the context of %d tokens is full: /reset begins a new conversation, %s", s->n_ctx,
            more_context(s));
    }
    if (was_interrupted(s) && s->tokens.n == s->n_prompt) {
        drop_message(c);
        fputs("(stopped before an answer; the message is forgotten)\n", stderr);
        return 0;
    }
    return keep_answer(c);
}

/* ---- messages -------------------------------------------------------------------------------- */

enum input { INPUT_TEXT, INPUT_STOPPED, INPUT_END, INPUT_FAILED };

static enum input too_long(void) {
    say("standard input: a message longer than %d bytes", MAX_MESSAGE);
    return INPUT_FAILED;
}

/* Reads one line, without its end, into c->line. */
static enum input read_line(struct chat *c, const char *marker) {
    if (c->terminal) fputs(marker, stderr);
    errno = 0;
    c->line[MAX_MESSAGE - 1] = '\n'; // fgets puts the line's end there if it has no room for more
    bool read = fgets(c->line, MAX_MESSAGE, stdin) != NULL;
    if (!read && stop_asked(c->s)) {
        clearerr(stdin);
        return c->terminal ? INPUT_STOPPED : INPUT_END;
    }
    if (!read && ferror(stdin)) {
        say("standard input: %s", strerror(errno));
        return INPUT_FAILED;
    }
    if (!read) return INPUT_END;
    if (c->line[MAX_MESSAGE - 1] == '\0' && c->line[MAX_MESSAGE - 2] != '\n') return too_long();
    size_t n = strlen(c->line); // a zero byte ends the line
    if (n > 0 && c->line[n - 1] == '\n') n--;
    if (n > 0 && c->line[n - 1] == '\r') n--;
    c->line[n] = '\0';
    return INPUT_TEXT;
}

/* Reads lines up to the first that does not end in a backslash; *text is malloc'ed. */
static enum input read_message(struct chat *c, char **text) {
    size_t len = 0, capacity = 0;
    *text = NULL;
    for (bool more = true; more;) {
        enum input input = read_line(c, len ? ". " : "> ");
        if (input == INPUT_END && *text) break; // the backslash was the last
        if (input != INPUT_TEXT) {
            free(*text);
            return input;
        }
        size_t n = strlen(c->line);
        more = n > 0 && c->line[n - 1] == '\\';
        if (more) c->line[n - 1] = '\n';
        if (len + n >= MAX_MESSAGE) {
            free(*text);
            return too_long();
        }
        if (array_reserve(text, &capacity, len + n + 1, 1) != 0) {
            free(*text);
            say("out of memory for a message of %zu bytes", len + n);
            return INPUT_FAILED;
        }
        memcpy(*text + len, c->line, n + 1);
        len += n;
    }
    return INPUT_TEXT;
}

static const char help[] = "/reset          begin a new conversation (the system message stays)\n"
                           "/system TEXT    change the system message (without a text: have none)\n"
                           "/stats          tokens per second of the last answer, memory\n"
                           "/quit           leave, as Ctrl-D does\n"
                           "A line that ends in \\ goes on in the next one. Ctrl-C stops an "
                           "answer, and leaves if pressed\n"
                           "twice where a message is expected.\n";

/* Returns -1 to go on, otherwise the exit status. */
static int run_command(struct chat *c, const char *text) {
    if (strcmp(text, "/quit") == 0) return 0;
    if (strcmp(text, "/reset") == 0) {
        while (c->n_messages > (size_t)has_system(c)) drop_message(c);
    } else if (strcmp(text, "/system") == 0 || strncmp(text, "/system ", 8) == 0) {
        if (set_system(c, text + 7 + strspn(text + 7, " ")) != 0) return EXIT_FAILED;
    } else if (strcmp(text, "/stats") == 0 && c->s->tokens.n > 0) {
        print_stats(c->s);
    } else if (strcmp(text, "/stats") == 0) {
        fputs("(no answer yet)\n", stderr);
    } else {
        if (strcmp(text, "/help") != 0) say("%s is not a command:", text);
        fputs(help, stderr);
    }
    return -1;
}

/* Answers a message or does what it says; returns -1 to go on, otherwise the exit status. Takes
 * ownership of the text. */
static int take_message(struct chat *c, char *text) {
    int status = -1;
    if (*text == '/') {
        status = run_command(c, text);
        free(text);
    } else if (*text == '\0') {
        free(text);
    } else {
        status = insert_message(c, c->n_messages, "user", text);
        if (status == 0) status = answer(c);
        if (status == 0) status = -1;
    }
    return status;
}

static int converse(struct chat *c) {
    for (int n_stops = 0;;) {
        char *text;
        int status = -1;
        await_interrupt(c);
        switch (read_message(c, &text)) {
        case INPUT_TEXT:
            n_stops = 0;
            status = take_message(c, text);
            break;
        case INPUT_STOPPED:
            *c->s->stop = 0;
            fputs(++n_stops < 2 ? "\n(Ctrl-C again leaves)\n" : "\n", stderr);
            if (n_stops == 2) status = 0;
            break;
        case INPUT_END:
            if (c->terminal) fputc('\n', stderr);
            status = 0;
            break;
        case INPUT_FAILED:
            status = EXIT_FAILED;
        }
        if (status >= 0) return status;
    }
}

/* ---- open and close -------------------------------------------------------------------------- */

static int choose_format(struct chat *c) {
    struct session *s = c->s;
    struct gguf_str text;
    char names[1024];
    chat_names(names, sizeof names);
    int found = gguf_get_str(&s->gguf, "tokenizer.chat_template", &text, &s->err);
    if (found < 0) return failed(s, s->o->model);
    if (!found) {
        return FAIL("%s has no chat template: choose the format its model was trained with, "
                    "--template and one of %s",
                    s->o->model, names);
    }
    c->format = chat_detect(text.data, text.len);
    if (c->format) return 0;
    return FAIL("%s: its chat template (tokenizer.chat_template) is not recognised: choose the "
                "nearest format, --template and one of %s",
                s->o->model, names);
}

static int open_chat(struct chat *c) {
    struct session *s = c->s;
    const struct options *o = s->o;
    if (o->prompt || o->prompt_file || o->ids || o->logits) {
        return USAGE("--chat reads messages from standard input: -p, -f, --ids and --logits have "
                     "no place there");
    }
    if (o->chat_template && !(c->format = chat_find(o->chat_template))) {
        char names[1024];
        chat_names(names, sizeof names);
        return USAGE("--template: \"%s\" is none of %s", o->chat_template, names);
    }
    int status = open_model(s);
    if (status == 0) status = open_tokenizer(s, false); // messages are short
    if (status == 0 && !c->format) status = choose_format(c);
    if (status == 0) status = open_transformer(s, default_context(s));
    if (status == 0) status = open_sampler(s);
    if (status == 0 && !(c->line = malloc(MAX_MESSAGE))) status = FAIL("out of memory");
    if (status == 0 && o->system) status = set_system(c, o->system);
    c->n_gen = options_given(o, "-n") ? o->n_gen : -1;
    s->load_s = now() - s->start;
    return status;
}

int run_chat(struct session *s) {
    struct chat c = {.s = s, .terminal = isatty(STDIN_FILENO)};
    sigaction(SIGINT, NULL, &c.on_interrupt);
    int status = open_chat(&c);
    if (status == 0 && c.terminal) {
        signal(SIGTERM, SIG_DFL); // between messages nobody looks at s->stop
        if (!s->o->quiet) {
            fprintf(stderr, "%s, format %s, context %d; /help tells more, Ctrl-D leaves\n",
                    s->o->model, chat_name(c.format), s->n_ctx);
        }
    }
    if (status == 0) status = converse(&c);
    if (status == 0 && s->o->json && s->tokens.n > 0) print_json(s);
    while (c.n_messages > 0) drop_message(&c);
    free(c.messages);
    free(c.line);
    return status;
}
