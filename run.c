/* kq.c: runs a GGUF language model. main: signals, the choice of a mode, the exit status. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/help.h"
#include "cli/modes.h"
#include "cli/template.h"
#include "cli/timing.h"
#include "cli/version.h"
#include "fpstate.h"

/* The first SIGINT or SIGTERM; a second one kills. */
static atomic_int stop;

static void on_interrupt(int signal_number) {
    stop = signal_number;
}

/* Ends the program as the signal would have done, so that a shell sees who ended it. */
static int end_by(int signal_number) {
    fflush(NULL);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
    return 128 + signal_number; // it is blocked
}

/* A page of the map is gone: somebody cut the file short while it was in use. */
static void on_bus_error(int signal_number) {
    (void)signal_number;
    say_in_handler("the model file was cut short while it was in use");
    _exit(EXIT_FAILED);
}

static void set_signals(void) {
    struct sigaction interrupt = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    struct sigaction bus = {.sa_handler = on_bus_error};
    sigaction(SIGINT, &interrupt, NULL);
    sigaction(SIGTERM, &interrupt, NULL);
    sigaction(SIGBUS, &bus, NULL);
}

static int run_mode(struct session *s) {
    switch (s->o->mode) {
    case IN_TEXT:
        return run_text(s);
    case IN_CHAT:
        return run_chat(s);
    case IN_RENDER:
        return run_render(s);
    case IN_TOKENS:
        return print_tokens(s);
    case IN_INFO:
        return print_info(s);
    case IN_PLAN:
        return print_plan(s);
    case IN_PERPLEXITY:
        return run_perplexity(s);
    case IN_BENCH:
        return run_bench(s);
    }
    return EXIT_FAILED;
}

int main(int argc, char **argv) {
    called_as(argv[0], "run");
    if (prepare_streams() != 0) return EXIT_FAILED;
    fp_enter(); // for what is computed in cli/: a library may have set another state
    struct options o;
    struct session s = {.o = &o, .stop = &stop, .start = now()};
    if (options_parse(&o, argc, argv, &s.err) < 0) return USAGE("%s", s.err.text);
    if (o.help) {
        print_help(stdout, o.help_all);
        return flush();
    }
    if (o.version) {
        print_version();
        return flush();
    }
    if (o.families) return print_families();
    if (o.chat_template && strcmp(o.chat_template, "list") == 0) {
        int listed = list_templates(&s);
        close_session(&s);
        return listed;
    }
    if (!o.model) {
        print_help(stderr, false);
        return EXIT_USAGE;
    }
    say_ignored(&o);
    char note[160];
    for (size_t i = 0; options_note(&o, i, note, sizeof note); i++) say("%s", note);
    set_signals();
    struct profile profile;
    if (o.profile) {
        profile_begin(&profile);
        s.profile = &profile;
    }
    int status = run_mode(&s);
    if (s.profile) print_profile(&s);
    close_session(&s);
    return stop ? end_by(stop) : status;
}
