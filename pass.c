#include "pass.h"

#include <stdio.h>

#define NO_ROW (-1) // which token it was is not known

void pass_fail(struct pass *p, const struct step *s, int i, const char *what) {
    int at = p->gathered ? NO_ROW : i;
    pthread_mutex_lock(&p->fault_lock);
    if (!p->fault.what || at < p->fault.row) p->fault = (struct pass_fault){what, s, at};
    pthread_mutex_unlock(&p->fault_lock);
    atomic_store(&p->failed, 1);
}

int pass_error(const struct pass *p, struct error *err) {
    const struct pass_fault *f = &p->fault;
    char token[64] = "";
    if (f->row != NO_ROW) {
        snprintf(token, sizeof token, " (token %d, id %d)", position(p, f->row) + 1,
                 (int)p->ids[f->row]);
    }
    return error_set(err, KQ_NOT_FINITE, "layer %d: %s%s", f->step->il, f->what, token);
}
