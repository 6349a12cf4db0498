/* machine.c: names and limits. Rates are not judged but for being some. */
#include "machine.h"

#include <stdlib.h>
#include <string.h>

#include "test.h"

static void test_name(void) {
    char name[128], small[4];
    processor_name(name, sizeof name);
    CHECK(name[0] != '\0' && !strpbrk(name, "\"\\\n"), "processor \"%s\"", name);
    processor_name(small, sizeof small);
    CHECK(strlen(small) < sizeof small && small[0] == name[0], "cut: \"%s\"", small);
}

static void test_measured(void) {
    struct error err;
    struct threads *t = threads_open(2, &err);
    CHECK(t, "threads: %s", err.text);
    if (!t) return;
    atomic_int stop = 0;
    static const uint64_t words[9000];
    struct span spans[2] = {{(const uint8_t *)words, 3}, {(const uint8_t *)words, sizeof words}};
    for (int i = 0; isa_all[i]; i++) {
        struct limits l = {0};
        if (!isa_all[i]->usable()) continue;
        limits_macs(&l, isa_all[i], t, &stop);
        limits_integer_macs(&l, isa_all[i], t, NULL);
        limits_read(&l, spans, 2, t, &stop);
        CHECK(l.macs > 0 && l.read > 0, "%s: %g MAC/s, %g B/s", isa_all[i]->name, l.macs, l.read);
        CHECK((l.integer_macs > 0) == (isa_all[i]->integers->loop != NULL), "%s: integers %g",
              isa_all[i]->name, l.integer_macs);
    }
    stop = 1;
    struct limits l = {0};
    limits_macs(&l, isa_best(), t, &stop);
    limits_read(&l, spans, 2, t, &stop);
    CHECK(!(l.macs > 0) && !(l.read > 0), "stopped: %g MAC/s, %g B/s", l.macs, l.read);
    stop = 0;
    limits_read(&l, spans, 1, t, &stop);
    CHECK(!(l.read > 0), "nothing to read: %g B/s", l.read);
    threads_close(t);
}

static void test_seconds(void) {
    struct limits l = {.macs = 100, .integer_macs = 400}, floats = {.macs = 100};
    static const struct {
        double float_macs, integer_macs;
        int act;
        double seconds;
    } cases[] = {{200, 0, 0, 2}, {0, 800, 8, 2}, {0, 800, 16, 4}, {100, 400, 8, 2}, {0, 0, 8, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double s = limits_seconds(&l, cases[i].float_macs, cases[i].integer_macs, cases[i].act);
        CHECK(!(s < cases[i].seconds) && !(s > cases[i].seconds), "case %zu: %g s", i, s);
    }
    double unknown = limits_seconds(&floats, 100, 100, 8);
    CHECK(!(unknown > 0), "an unknown limit: %g s", unknown);
}

static void test_objection(void) {
    CHECK(!limits_objection(0) && !limits_objection(1.004), "100 %% is possible");
    const char *text = limits_objection(1.54);
    CHECK(text && strstr(text, "cannot be"), "154 %%: %s", text ? text : "nothing");
}

int main(void) {
    test_name();
    test_measured();
    test_seconds();
    test_objection();
    return test_done("test_machine");
}
