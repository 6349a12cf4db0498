/* --chat: a conversation, on a terminal or through a pipe, or one question. Before every answer the
 * conversation is written out with the model's template; what of it the cache holds already is not
 * read again. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../array.h"
#include "../utf8.h"
#include "conversation.h"
#include "generate.h"
#include "modes.h"
#include "prompt.h"
#include "sampling.h"
#include "stats.h"
#include "template.h"
#include "thoughts.h"
#include "typed.h"

struct chat {
    struct session *s;
    struct template template;
    bool for_tools; // the template is the one for tools
    struct conversation conversation;
    struct typed typed;
    const struct thought_marks *opened; // by the prompt that is being answered
    int n_gen;                          // most tokens of an answer, -1: no limit
    size_t n_left_out;                  // turns, since that was said last
    struct sigaction on_interrupt;      // main's, to be set again after each Ctrl-C
};

/* ---- prompts --------------------------------------------------------------------------------- */

/* How many tokens of the prompt begin the conversation without the opening of an answer, too: what
 * comes then may be written otherwise the next time, without thoughts. Only models that cannot go
 * back everywhere need to know. */
static int find_stable(struct chat *c, const struct token_list *prompt) {
    struct session *s = c->s;
    const struct conversation *talk = &c->conversation;
    struct token_list closed = {0};
    struct value request;
    struct arena a;
    const struct str *text;
    size_t n = 0;
    s->n_stable = 0;
    if (s->main.seq->state_floats == 0) return 0;
    arena_init(&a, JINJA_MEMORY(talk->bytes));
    int status = conversation_request(talk, &a, false, &request);
    // A template that refuses this leaves it unknown.
    if (status == 0 && try_render(s, &c->template, &a, request, talk->bytes, &text) == 0) {
        status = encode_rendered(s, text, &closed);
    }
    while (n < closed.n && n < prompt->n && closed.ids[n] == prompt->ids[n]) n++;
    if (status == 0 && n < prompt->n) s->n_stable = n;
    token_list_free(&closed);
    arena_free(&a);
    return status;
}

static int encode_conversation(struct chat *c, struct token_list *prompt) {
    const struct conversation *talk = &c->conversation;
    struct value request;
    struct arena a;
    const struct str *text;
    arena_init(&a, JINJA_MEMORY(talk->bytes));
    int status = conversation_request(talk, &a, true, &request);
    if (status == 0) {
        status = render_request(c->s, &c->template, &a, request, talk->bytes, &text);
    }
    if (status == 0) {
        c->opened = thoughts_opened(text->data, text->len);
        status = encode_rendered(c->s, text, prompt);
    }
    arena_free(&a);
    return status;
}

/* Encodes the conversation, and if `most` tokens do not hold it, what is left of it without the
 * oldest turns: a quarter of the context is to be free then. The system message and the last turn
 * stay. */
static int fit_conversation(struct chat *c, size_t most, struct token_list *prompt) {
    int status = encode_conversation(c, prompt);
    size_t quarter = (size_t)c->s->n_ctx / 4, less = most > quarter ? most - quarter : 0;
    while (status == 0 && prompt->n > most && conversation_leave_out_turn(&c->conversation)) {
        c->n_left_out++;
        most = less;
        prompt->n = 0;
        status = encode_conversation(c, prompt);
    }
    return status;
}

static void say_what_is_left_out(struct chat *c) {
    if (c->n_left_out == 0) return;
    say("the context of %d tokens is full: the oldest %zu turn%s not read any more%s", c->s->n_ctx,
        c->n_left_out, c->n_left_out > 1 ? "s are" : " is",
        conversation_has_system(&c->conversation) ? ", the system text is" : "");
    c->n_left_out = 0;
}

/* The conversation as it is in the cache usually begins the new prompt; an answer that is not the
 * tokens its text is read as, thoughts that are dropped or a new system message make them differ
 * from there on. The last token is always read anew: for its logits. */
static int take_prompt(struct session *s, struct token_list *prompt) {
    int same = 0;
    while (same < n_past(s) && (size_t)same + 1 < prompt->n &&
           s->tokens.ids[same] == prompt->ids[same]) {
        same++;
    }
    rewind_to(s, same);
    token_list_free(&s->tokens);
    s->tokens = *prompt;
    *prompt = (struct token_list){0};
    return check_prompt(s);
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* On a terminal the first Ctrl-C stops an answer; a second one before that was noticed kills. Else
 * it ends the run, as in other modes. */
static void await_interrupt(struct chat *c) {
    if (!c->typed.terminal) return;
    *c->s->stop = 0;
    c->s->err.status = KQ_OK;
    sigaction(SIGINT, &c->on_interrupt, NULL);
}

/* In the middle of an answer: leaves out old turns and reads the rest of the conversation with the
 * answer so far. *more is false if there is nothing to leave out. */
static int make_room(struct chat *c, bool *more, const float **logits) {
    struct session *s = c->s;
    struct token_list prompt = {0};
    size_t n_said = s->tokens.n - s->n_prompt, n_before = c->n_left_out, n_prompt = 0;
    size_t quarter = (size_t)s->n_ctx / 4;
    int status = 0;
    *more = false;
    if (n_said + quarter < (size_t)s->n_ctx) {
        status = fit_conversation(c, (size_t)s->n_ctx - quarter - n_said, &prompt);
    }
    n_prompt = prompt.n;
    if (status == 0 && c->n_left_out > n_before && n_prompt + n_said < (size_t)s->n_ctx) {
        *more = true;
        if (array_reserve(&prompt.ids, &prompt.capacity, n_prompt + n_said, sizeof *prompt.ids)) {
            status = FAIL("out of memory for the conversation");
        } else {
            memcpy(prompt.ids + n_prompt, s->tokens.ids + s->n_prompt, n_said * sizeof *prompt.ids);
            prompt.n = n_prompt + n_said;
            status = take_prompt(s, &prompt);
        }
        if (status == 0) status = run_prompt(s, logits);
        s->n_prompt = n_prompt;
    }
    token_list_free(&prompt);
    return status;
}

/* What was generated before an interruption is printed, and the line ended. */
static int generate_answer(struct chat *c) {
    struct session *s = c->s;
    struct token_stream stream;
    const float *logits;
    s->prompt_s = 0;
    s->n_read = 0;
    s->prompt_disk_bytes = 0;
    token_stream_begin(&stream, s->tokenizer, false);
    int status = run_prompt(s, &logits);
    for (bool more = status == 0; more;) {
        size_t n_said = s->tokens.n - s->n_prompt;
        status = generate(s, c->n_gen < 0 ? -1 : c->n_gen - (int)n_said, &stream, logits);
        more = status == 0 && s->stopped == STOPPED_CONTEXT;
        if (more) status = make_room(c, &more, &logits);
        more = more && status == 0;
    }
    return status == 0 || was_interrupted(s) ? end_text(s, &stream) : status;
}

/* The field for thoughts that the template reads, NULL if it reads none. */
static const char *thoughts_field(const struct template *t) {
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    for (size_t i = 0; t->jinja && i < sizeof names / sizeof *names; i++) {
        if (jinja_mentions(t->jinja, names[i])) return names[i];
    }
    return NULL;
}

/* Thoughts for which the template has no field stay in the text, if a text can spell their marks:
 * templates look for those there. The first one may have been in the prompt. */
static int add_whole(struct chat *c, const struct answer *a) {
    static const struct text none = {0};
    struct text whole = {a->whole, a->whole_len};
    if (!c->opened) return conversation_add(&c->conversation, "assistant", whole, NULL, none);
    const char *begin = c->opened->begin;
    size_t n = strlen(begin);
    char *all = malloc(n + 1 + whole.len);
    if (!all) return FAIL("out of memory for an answer");
    memcpy(all, begin, n);
    all[n] = '\n';
    memcpy(all + n + 1, whole.data, whole.len);
    whole = (struct text){all, n + 1 + whole.len};
    int status = conversation_add(&c->conversation, "assistant", whole, NULL, none);
    free(all);
    return status;
}

/* What was generated becomes a message. */
static int keep_answer(struct chat *c) {
    struct answer a;
    int status = read_answer(c->s, c->opened, &a);
    if (status) return status;
    const char *field = a.thoughts ? thoughts_field(&c->template) : NULL;
    if (a.thoughts && !field && !a.marks_are_control) {
        status = add_whole(c, &a);
    } else {
        status = conversation_add(&c->conversation, "assistant", (struct text){a.text, a.text_len},
                                  field, (struct text){a.thoughts, a.thoughts_len});
    }
    free_answer(&a);
    return status;
}

/* Reads the conversation, of which a message is the last, and generates; *answered is false if
 * there is no answer and one goes on. */
static int try_answer(struct chat *c, bool *answered) {
    struct session *s = c->s;
    struct token_list prompt = {0};
    *answered = false;
    int status = fit_conversation(c, (size_t)s->n_ctx - 1, &prompt);
    if (status == 0) status = find_stable(c, &prompt);
    say_what_is_left_out(c);
    if (status == 0 && prompt.n >= (size_t)s->n_ctx) {
        status = FAIL("the message makes %zu tokens, the context holds %d: %s", prompt.n, s->n_ctx,
                      more_context(s));
    }
    if (status == 0) status = take_prompt(s, &prompt);
    token_list_free(&prompt);
    if (status) return c->typed.terminal ? 0 : status;
    status = generate_answer(c);
    if (status && s->err.status == KQ_NOT_FINITE && c->typed.terminal) {
        rewind_to(s, 0); // a recurrent state may not be finite any more
        return 0;
    }
    if (status || (was_interrupted(s) && !c->typed.terminal)) return EXIT_FAILED;
    say_what_is_left_out(c);
    if (s->stopped == STOPPED_CONTEXT) {
        say("the context of %d tokens is full: %s", s->n_ctx, more_context(s));
    }
    *answered = !was_interrupted(s) || s->tokens.n > s->n_prompt;
    return 0;
}

/* Answers the last message. What cannot be answered is forgotten: on a terminal one goes on. */
static int answer(struct chat *c) {
    bool answered;
    int status = try_answer(c, &answered);
    if (status) return status;
    if (answered) return keep_answer(c);
    conversation_drop_last(&c->conversation);
    fputs("(no answer; the message is forgotten)\n", stderr);
    return 0;
}

/* "3 messages", for what is said of the conversation; valid until the next call. */
static const char *count_messages(const struct conversation *talk) {
    static char text[40];
    size_t n = talk->messages->n;
    snprintf(text, sizeof text, "%zu message%s", n, n == 1 ? "" : "s");
    return text;
}

/* ---- commands -------------------------------------------------------------------------------- */

/* The function returns -1 to go on, otherwise the exit status. */
struct command {
    const char *name, *argument, *help;
    int (*run)(struct chat *c, struct text argument);
};

static int do_reset(struct chat *c, struct text argument) {
    (void)argument;
    conversation_clear(&c->conversation);
    return -1;
}

static int do_system(struct chat *c, struct text argument) {
    return conversation_set_system(&c->conversation, argument) == 0 ? -1 : EXIT_FAILED;
}

static int do_stats(struct chat *c, struct text argument) {
    (void)argument;
    if (c->s->tokens.n > 0) {
        print_stats(c->s);
    } else {
        fputs("(no answer yet)\n", stderr);
    }
    return -1;
}

static int do_undo(struct chat *c, struct text argument) {
    struct conversation *talk = &c->conversation;
    (void)argument;
    if (conversation_turns(talk) == 0) {
        fputs("(nothing to take back)\n", stderr);
        return -1;
    }
    while (!conversation_ends_with(talk, "user")) conversation_drop_last(talk);
    conversation_drop_last(talk);
    fprintf(stderr, "(taken back; %s left)\n", count_messages(talk));
    return -1;
}

static int do_regen(struct chat *c, struct text argument) {
    struct conversation *talk = &c->conversation;
    size_t n = talk->messages->n, n_left_out = talk->n_left_out;
    bool answered;
    (void)argument;
    if (conversation_turns(talk) == 0) {
        fputs("(nothing to answer)\n", stderr);
        return -1;
    }
    while (conversation_ends_with(talk, "assistant")) conversation_drop_last(talk);
    int status = try_answer(c, &answered);
    if (status == 0 && answered) status = keep_answer(c);
    if (status == 0 && !answered) { // nothing was appended: what was dropped is still there
        talk->messages->n = n;
        talk->n_left_out = n_left_out;
        fputs("(no answer; the conversation is as it was)\n", stderr);
    }
    return status == 0 ? -1 : status;
}

/* The argument as the name of a file, NULL and said if it cannot be one. */
static const char *file_name(const char *command, struct text argument) {
    if (argument.len > 0 && !memchr(argument.data, 0, argument.len)) return argument.data;
    say("%s needs the name of a file", command);
    return NULL;
}

static int do_save(struct chat *c, struct text argument) {
    const char *path = file_name("/save", argument);
    if (path && conversation_save(c->s, &c->conversation, path) == 0) {
        fprintf(stderr, "(%s in %s)\n", count_messages(&c->conversation), path);
    }
    return -1;
}

static int choose_template(struct chat *c);

static int do_load(struct chat *c, struct text argument) {
    struct conversation *talk = &c->conversation, before = *talk;
    const char *path = file_name("/load", argument);
    if (!path) return -1;
    *talk = (struct conversation){0};
    int status = conversation_load(c->s, talk, path);
    if (status == 0) status = choose_template(c);
    if (status) { // all is as it was
        conversation_close(talk);
        *talk = before;
        return choose_template(c) == 0 ? -1 : EXIT_FAILED;
    }
    conversation_close(&before);
    fprintf(stderr, "(%s from %s%s)\n", count_messages(talk), path,
            conversation_ends_with(talk, "user") ? "; /regen answers the last" : "");
    return -1;
}

static int do_quit(struct chat *c, struct text argument) {
    (void)c;
    (void)argument;
    return 0;
}

static int do_help(struct chat *c, struct text argument);

static const struct command commands[] = {
    {"/regen", "", "another answer to the last message", do_regen},
    {"/undo", "", "take back the last message and its answer", do_undo},
    {"/reset", "", "begin anew (the system text stays)", do_reset},
    {"/system", " TEXT", "change the system text (none: have none)", do_system},
    {"/save", " FILE", "write the conversation as JSON", do_save},
    {"/load", " FILE", "read it, and go on with it", do_load},
    {"/stats", "", "speed of the last answer, memory", do_stats},
    {"/help", "", "this", do_help},
    {"/quit", "", "leave, as /exit and Ctrl-D do", do_quit},
    {"/exit", "", NULL, do_quit},
};
#define N_COMMANDS (sizeof commands / sizeof *commands)

static int do_help(struct chat *c, struct text argument) {
    (void)c;
    (void)argument;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        const struct command *k = &commands[i];
        if (k->help)
            fprintf(stderr, "%s%-*s %s\n", k->name, 13 - (int)strlen(k->name), k->argument,
                    k->help);
    }
    fputs("Any other line is a message, and so is one of these with a second / before it;\n"
          "a line that ends in \\ goes on in the next one. Ctrl-C ends an answer, and twice\n"
          "the conversation.\n",
          stderr);
    return -1;
}

/* The command that is the first word of the text. */
static const struct command *find_command(const char *text, size_t len) {
    size_t n = 0;
    while (n < len && !strchr(" \t\r\n", text[n]) && text[n]) n++;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        const char *name = commands[i].name;
        if (strlen(name) == n && memcmp(text, name, n) == 0 && (n == len || text[n])) {
            return &commands[i];
        }
    }
    return NULL;
}

static int run_command(struct chat *c, const struct command *k, struct text text) {
    size_t n = strlen(k->name);
    while (n < text.len && (text.data[n] == ' ' || text.data[n] == '\t')) n++;
    struct text argument = {text.data + n, text.len - n};
    if (argument.len > 0 && !*k->argument) {
        say("%s takes nothing behind it (/%s sends the line as a message)", k->name, k->name);
    }
    return k->run(c, argument);
}

/* Whether somebody at a terminal meant a command: a slash and a word of small letters. */
static bool looks_like_command(const char *text, size_t len) {
    size_t n = 1;
    while (n < len && text[n] >= 'a' && text[n] <= 'z') n++;
    return n > 1 && (n == len || text[n] == ' ');
}

/* A text of a user becomes a message; that a message is UTF-8, and so what is not is replaced, is
 * said. */
static int add_question(struct chat *c, struct text text) {
    size_t n_wrong = 0;
    for (size_t i = 0, n; i < text.len; i += n ? n : 1) {
        n = utf8_length(text.data + i, text.len - i);
        n_wrong += n == 0;
    }
    if (n_wrong > 0) {
        say("the message is not UTF-8: %zu byte%s replaced by U+FFFD", n_wrong,
            n_wrong > 1 ? "s are" : " is");
    }
    return conversation_add(&c->conversation, "user", text, NULL, (struct text){0});
}

/* Answers what was typed, or does what it says; returns -1 to go on, otherwise the exit status. */
static int take_message(struct chat *c) {
    struct typed *t = &c->typed;
    struct text text = {t->text, t->len};
    if (t->n_read == 1 && !t->terminal && text.len >= 3 &&
        memcmp(text.data, "\xef\xbb\xbf", 3) == 0) {
        say("the byte order mark in front of the first message is left out");
        text = (struct text){text.data + 3, text.len - 3};
    }
    if (text.len == 0) return -1;
    if (text.data[0] == '/' && !t->pasted) {
        const struct command *command = find_command(text.data, text.len);
        if (command) return run_command(c, command, text);
        if (find_command(text.data + 1, text.len - 1)) {
            text = (struct text){text.data + 1, text.len - 1};
        } else if (t->terminal && looks_like_command(text.data, text.len)) {
            say("%.20s is no command (/help lists them); a space before it sends the line",
                text.data);
            return -1;
        }
    }
    int status = add_question(c, text);
    if (status == 0) status = answer(c);
    return status == 0 ? -1 : status;
}

static int converse(struct chat *c) {
    for (int n_stops = 0;;) {
        int status = -1;
        await_interrupt(c);
        lap(c->s, NULL);
        enum input input = read_message(c->s, &c->typed);
        lap(c->s, "waiting for input");
        switch (input) {
        case INPUT_TEXT:
            n_stops = 0;
            status = take_message(c);
            break;
        case INPUT_STOPPED:
            *c->s->stop = 0;
            fputs(++n_stops < 2 ? "\n(Ctrl-C again leaves)\n" : "\n", stderr);
            if (n_stops == 2) status = 0;
            break;
        case INPUT_END:
            if (c->typed.terminal) fputc('\n', stderr);
            status = 0;
            break;
        case INPUT_FAILED:
            status = EXIT_FAILED;
        }
        if (status >= 0) return status;
    }
}

/* ---- open and close -------------------------------------------------------------------------- */

static bool is_white_space(struct gguf_str text) {
    size_t i = 0;
    while (i < text.len && (text.data[i] == ' ' || (text.data[i] >= '\t' && text.data[i] <= '\r')))
        i++;
    return i == text.len;
}

/* Sets s->end_of_turn to the first token behind `mark`, the end of an answer in what the template
 * made of it, if that is a control token. */
static int find_end(struct session *s, const struct str *text, struct text mark) {
    struct token_list ids = {0};
    size_t at = text->len;
    while (at >= mark.len && memcmp(text->data + at - mark.len, mark.data, mark.len) != 0) at--;
    if (at < mark.len) return 0;
    int status =
        tokenizer_encode(s->tokenizer, text->data + at, text->len - at, false, true, &ids, &s->err);
    for (size_t i = 0; status == 0 && i < ids.n && !s->ends_turn; i++) {
        struct gguf_str piece = piece_of(s, ids.ids[i], false);
        if (!is_white_space(piece)) break;
        s->ends_turn = piece.len == 0 && piece_of(s, ids.ids[i], true).len > 0;
        s->end_of_turn = ids.ids[i];
    }
    token_list_free(&ids);
    return status == 0 ? 0 : failed(s, NULL);
}

/* Has the template write an answer, and one more message if asked. */
static int try_end(struct chat *c, bool more) {
    static const struct text none = {0}, hi = {"Hi", 2}, mark = {"wxyzw", 5};
    struct session *s = c->s;
    struct conversation talk;
    struct value request;
    struct arena a;
    const struct str *text;
    arena_init(&a, JINJA_MEMORY(0));
    int status = conversation_open(&talk);
    if (status == 0) status = conversation_add(&talk, "user", hi, NULL, none);
    if (status == 0) status = conversation_add(&talk, "assistant", mark, NULL, none);
    if (status == 0 && more) status = conversation_add(&talk, "user", hi, NULL, none);
    if (status == 0) status = conversation_request(&talk, &a, false, &request);
    if (status == 0 && try_render(s, &c->template, &a, request, 64, &text) == 0) {
        status = find_end(s, text, mark);
    } else if (status == 0 && a.no_memory) {
        status = failed(s, NULL);
    }
    conversation_close(&talk);
    arena_free(&a);
    return status;
}

/* With what a model ends its turns, whatever the file says of ends: what the template writes behind
 * the answer of a short conversation, or before the message that follows if there is nothing. A
 * template that refuses such conversations tells nothing. */
static int find_end_of_turn(struct chat *c) {
    c->s->ends_turn = false;
    int status = try_end(c, false);
    if (status == 0 && !c->s->ends_turn) status = try_end(c, true);
    return status;
}

/* Opens the template that fits the conversation, unless it is open. */
static int choose_template(struct chat *c) {
    struct session *s = c->s;
    bool tools = conversation_has_tools(&c->conversation);
    if (c->template.name && tools == c->for_tools) return 0;
    close_template(&c->template);
    c->for_tools = tools;
    int status = open_template(s, tools, &c->template);
    if (status) return status;
    if (c->template.dated)
        strftime(s->date, sizeof s->date, "%Y-%m-%dT%H:%M:%S", &c->template.date);
    return find_end_of_turn(c);
}

static int open_chat(struct chat *c) {
    struct session *s = c->s;
    const struct options *o = s->o;
    if (prompt_is_ids(o) || o->logits) return USAGE("--ids and --logits have no place in --chat");
    int status = open_model(s);
    if (status == 0) status = open_tokenizer(s);
    if (status == 0) status = conversation_open(&c->conversation);
    if (status == 0) status = choose_template(c);
    if (status == 0) status = open_transformer(s, default_context(s));
    if (status == 0) say_context(s);
    struct sampler_params sampling = {0};
    if (status == 0) sampling = chat_sampling(s);
    if (status == 0) status = open_sampler(s, &sampling);
    if (status == 0) status = open_stops(s);
    if (status == 0 && o->system) {
        char *text = NULL;
        size_t len;
        status = option_text(s, o->system, &text, &len);
        if (status == 0) {
            status = conversation_set_system(&c->conversation, (struct text){text, len});
        }
        free(text);
    }
    c->n_gen = options_given(o, "-n") ? o->n_gen : -1;
    s->load_s = now() - s->start;
    return status;
}

/* -p or -f: one question. */
static int answer_once(struct chat *c) {
    struct session *s = c->s;
    char *text = NULL;
    size_t len = 0;
    int status = s->o->prompt ? option_text(s, s->o->prompt, &text, &len)
                              : read_file(s, s->o->prompt_file, &text, &len);
    struct gguf_str asked = {text ? text : "", len};
    if (!s->o->prompt) asked = as_typed(s, asked);
    if (status == 0) status = add_question(c, (struct text){asked.data, asked.len});
    free(text);
    if (status == 0) status = answer(c);
    bool told = status == 0 || (was_interrupted(s) && s->tokens.n > 0);
    if (told && !s->o->quiet && !s->o->json) print_stats(s);
    return status;
}

static void greet(struct chat *c) {
    const struct session *s = c->s;
    signal(SIGTERM, SIG_DFL); // between messages nobody looks at s->stop
    if (s->o->quiet) return;
    const char *slash = strrchr(s->o->model, '/');
    fprintf(stderr, "%s\ntemplate %s, context %d\n/help tells more, Ctrl-D leaves\n",
            slash ? slash + 1 : s->o->model, c->template.name, s->n_ctx);
}

int run_chat(struct session *s) {
    struct chat c = {.s = s};
    bool once = s->o->prompt || s->o->prompt_file;
    bool terminal = !once && isatty(STDIN_FILENO);
    sigaction(SIGINT, NULL, &c.on_interrupt);
    int status = open_chat(&c);
    if (status == 0 && terminal) greet(&c);
    typed_open(&c.typed, status == 0 && terminal);
    if (status == 0) status = once ? answer_once(&c) : converse(&c);
    if (status == 0 && !once && !s->o->quiet && !s->o->json) print_verified(s);
    if (status == 0) status = verify_products(s);
    if ((status == 0 || was_interrupted(s)) && s->o->json && s->tokens.n > 0) print_json(s);
    typed_close(&c.typed);
    close_template(&c.template);
    conversation_close(&c.conversation);
    return status;
}
