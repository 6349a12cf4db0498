/* profile.c: laps make up all of the time, and regions of several threads are shared out. */
#include "profile.h"

#include <math.h>
#include <string.h>

#include "test.h"

static void wait_some(void) {
    int64_t until = profile_clock() + 200000;
    while (profile_clock() < until) continue;
}

static double sum_of(const struct profile *p) {
    double sum = 0;
    for (int i = 0; i < p->n; i++) sum += p->lines[i].seconds;
    return sum;
}

static void test_laps(void) {
    static struct profile p;
    profile_begin(&p);
    wait_some();
    profile_lap(&p, profile_named(&p, "a"));
    wait_some();
    profile_lap(&p, PROFILE_OTHER);
    profile_lap(&p, profile_named(&p, "b"));
    char again[] = "a"; // by what it says, not by where it lies
    int a = profile_named(&p, again), b = profile_named(&p, "b");
    CHECK(a != b && a >= PROFILE_NAMED && b >= PROFILE_NAMED, "lines %d, %d", a, b);
    CHECK(p.lines[a].seconds >= 200e-6 && p.lines[PROFILE_OTHER].seconds >= 200e-6, "laps");
    CHECK(fabs(sum_of(&p) - profile_seconds(&p)) < 1e-9, "sum %g of %g", sum_of(&p),
          profile_seconds(&p));
}

static void test_threads(void) {
    static struct profile p;
    struct error err;
    profile_begin(&p);
    if (profile_threads(&p, 3, &err) < 0) {
        CHECK(false, "%s", err.text);
        return;
    }
    int norm = profile_named(&p, "norm"), one = profile_product(GGML_TYPE_Q5_K, 1);
    int batch = profile_product(GGML_TYPE_Q5_K, 2);
    CHECK(one != batch && batch == profile_product(GGML_TYPE_Q5_K, 512), "lines of products");
    CHECK(profile_product(GGML_N_TYPES - 1, 2) < PROFILE_NAMED, "the last type's line");
    wait_some();
    p.spent[norm] = 100; // three threads: 100 + 200 of one, 100 of the other
    p.spent[2 * PROFILE_LINES + norm] = 200;
    p.spent[PROFILE_LINES + one] = 100;
    profile_lap_of_threads(&p, batch);
    double n = p.lines[norm].seconds, o = p.lines[one].seconds;
    CHECK(n >= 100e-6 && fabs(n - 3 * o) < 1e-9 && !(p.lines[batch].seconds > 0), "%g, %g", n, o);
    profile_lap_of_threads(&p, batch); // nobody noted anything since
    CHECK(p.lines[batch].seconds > 0 && !(p.lines[norm].seconds > n), "an empty region");
    int64_t since = profile_clock(), now;
    wait_some();
    now = profile_note(&p, 1, norm, since);
    CHECK(now - since >= 200000 && p.spent[PROFILE_LINES + norm] == now - since, "a note");
    profile_lap_of_threads(&p, batch);
    CHECK(fabs(sum_of(&p) - profile_seconds(&p)) < 1e-9, "sum %g of %g", sum_of(&p),
          profile_seconds(&p));
    profile_free(&p);
}

static void test_full(void) {
    static struct profile p;
    static char names[PROFILE_LINES][12];
    profile_begin(&p);
    for (int i = 0; i < PROFILE_LINES; i++) {
        snprintf(names[i], sizeof names[i], "%d", i);
        int line = profile_named(&p, names[i]);
        bool fits = i < PROFILE_LINES - PROFILE_NAMED;
        CHECK((line == PROFILE_OTHER) == !fits && line < PROFILE_LINES, "%d: line %d", i, line);
    }
}

int main(void) {
    test_laps();
    test_threads();
    test_full();
    return test_done("test_profile");
}
