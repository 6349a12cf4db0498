/* The modes of the program run, a file each. Each opens what it needs of the session, does its work
 * and returns the exit status; what was not said yet is only that the user stopped it. */
#ifndef MODES_H
#define MODES_H

#include "session.h"

int run_text(struct session *s);       // prompt in, text out
int print_tokens(struct session *s);   // --tokens; in text.c
int print_families(void);              // --families: needs no model
int print_info(struct session *s);     // --info
int print_plan(struct session *s);     // --plan; in info.c
int run_perplexity(struct session *s); // --perplexity
int run_bench(struct session *s);      // --bench
int run_chat(struct session *s);       // --chat
int run_render(struct session *s);     // --render

#endif
