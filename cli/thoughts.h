/* What a model that thinks first has said: its thoughts, and its answer. */
#ifndef THOUGHTS_H
#define THOUGHTS_H

#include "session.h"

/* The marks around thoughts, as the families write them; both are texts of tokens. */
struct thought_marks {
    const char *begin, *end;
    const char *answer; // what stands before an answer, NULL: nothing
};

/* The marks that are left open by a prompt, NULL if it leaves none open. */
const struct thought_marks *thoughts_opened(const char *prompt, size_t len);

/* An answer taken apart; the texts are malloc'ed, any bytes, without control tokens. */
struct answer {
    char *text, *thoughts; // thoughts: NULL if there are none
    char *whole;           // both, as they were generated
    size_t text_len, thoughts_len, whole_len;
    /* Of answers with thoughts: their marks, and whether they are control tokens, which a text
     * cannot spell. */
    const struct thought_marks *marks;
    bool marks_are_control;
};

/* Takes apart the generated tokens, which continue a prompt that left `opened` open. */
int read_answer(struct session *s, const struct thought_marks *opened, struct answer *out);
void free_answer(struct answer *a);

/* Whether a control token belongs to marks, so that who reads the text should see it. */
bool is_thought_mark(struct gguf_str token);

#endif
