#include "timing.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- limits ---------------------------------------------------------------------------------- */

int measure_limits(const struct session *s, struct limits *l, atomic_int *stop) {
    const size_t enough = (size_t)1 << 30;
    size_t n = s->gguf.n_tensors, bytes = 0, i = 0;
    struct span *tensors = malloc((n + 1) * sizeof *tensors);
    if (!tensors) return FAIL("out of memory for a list of %zu tensors", n);
    for (; i < n && bytes < enough; i++) {
        tensors[i] = (struct span){s->gguf.tensors[i].data, s->gguf.tensors[i].nbytes};
        bytes += tensors[i].bytes;
    }
    limits_read(l, tensors, i, s->threads, stop);
    limits_macs(l, s->o->isa, s->threads, stop);
    if (s->o->act) limits_integer_macs(l, s->o->isa, s->threads, stop);
    free(tensors);
    return 0;
}

/* ---- the profile ----------------------------------------------------------------------------- */

/* A line as it is shown. */
struct shown {
    char what[40];
    double seconds;
    double macs, bytes;           // per second; 0: not of products
    double mac_share, read_share; // of the limits; 0: unknown
};

static struct shown show(const struct profile *p, int i, const struct limits *l, int act) {
    const struct profile_line *line = &p->lines[i];
    struct shown s = {.seconds = line->seconds};
    if (line->what) {
        snprintf(s.what, sizeof s.what, "%s", line->what);
        return s;
    }
    uint32_t type = (uint32_t)(i - PROFILE_PRODUCTS) / 2;
    bool batch = i != profile_product(type, 1);
    snprintf(s.what, sizeof s.what, "product %s, %s", ggml_type_info(type)->name,
             batch ? "batch" : "one token");
    if (!(s.seconds > 0)) return s;
    double least =
        limits_seconds(l, line->integers ? 0 : line->macs, line->integers ? line->macs : 0, act);
    s.macs = line->macs / s.seconds;
    s.bytes = line->bytes / s.seconds;
    s.mac_share = least / s.seconds;
    s.read_share = l->read > 0 ? s.bytes / l->read : 0;
    return s;
}

static int by_time(const void *a, const void *b) {
    const struct shown *x = a, *y = b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

/* The lines that took time, the longest first. Gives how many. */
static int sorted_lines(const struct profile *p, const struct limits *l, int act,
                        struct shown *out) {
    int n = 0;
    for (int i = 0; i < p->n; i++) {
        if (p->lines[i].seconds > 0) out[n++] = show(p, i, l, act);
    }
    qsort(out, (size_t)n, sizeof *out, by_time);
    return n;
}

static void put_rate(double rate, double share) {
    fprintf(stderr, " %7.1f", rate * 1e-9);
    if (share > 0) {
        fprintf(stderr, " (%3.0f %%)", 100 * share);
    } else {
        fprintf(stderr, "        ");
    }
}

static void print_table(const struct session *s, const struct limits *l, const struct shown *lines,
                        int n, double all) {
    double sum = 0, largest = 0;
    fprintf(stderr, "\n%-28s %9s %8s %15s %15s\n", "where the time went", "seconds", "share",
            "GB/s (of read)", "G MAC/s (peak)");
    for (int i = 0; i < n; i++) {
        const struct shown *line = &lines[i];
        fprintf(stderr, "%-28s %9.4f %6.1f %%", line->what, line->seconds,
                100 * line->seconds / all);
        if (line->macs > 0) {
            put_rate(line->bytes, line->read_share);
            put_rate(line->macs, line->mac_share);
        }
        fprintf(stderr, "\n");
        sum += line->seconds;
        if (line->read_share > largest) largest = line->read_share;
        if (line->mac_share > largest) largest = line->mac_share;
    }
    fprintf(stderr, "%-28s %9.4f %6.1f %%\n", "all", sum, 100 * sum / all);
    if (!s->threads) return;
    fprintf(stderr, "limits, measured afterwards: %.1f GB/s read, %.1f G MAC/s", l->read * 1e-9,
            l->macs * 1e-9);
    if (l->integer_macs > 0) {
        fprintf(stderr, ", %.1f of integers", l->integer_macs * 8 / s->o->act * 1e-9);
    }
    fprintf(stderr, "\n%s, %d threads%s\n", s->o->isa->name, threads_count(s->threads),
            how_computed(s->o));
    if (limits_objection(largest)) {
        fprintf(stderr, "a share above 100 %%: weights that stay in a cache too small for all of "
                        "them, or a\nmachine that was busier while its limits were measured\n");
    }
}

static void put_object(const struct session *s, const struct limits *l, const struct shown *lines,
                       int n, double all) {
    int act = s->o->act;
    fprintf(stderr,
            ", \"profile\": {\"wall_s\": %.6f, \"read_gb_s\": %.2f, \"peak_gmac_s\": %.2f, "
            "\"peak_integer_gmac_s\": %.2f, \"steps\": [",
            all, l->read * 1e-9, l->macs * 1e-9, act ? l->integer_macs * 8 / act * 1e-9 : 0);
    for (int i = 0; i < n; i++) {
        const struct shown *line = &lines[i];
        fprintf(stderr, "%s{\"step\": \"%s\", \"seconds\": %.6f, \"share\": %.6f", i ? ", " : "",
                line->what, line->seconds, line->seconds / all);
        if (line->macs > 0) {
            fprintf(stderr,
                    ", \"gb_s\": %.3f, \"read_share\": %.4f, \"gmac_s\": %.3f, \"mac_share\": "
                    "%.4f",
                    line->bytes * 1e-9, line->read_share, line->macs * 1e-9, line->mac_share);
        }
        fprintf(stderr, "}");
    }
    fprintf(stderr, "]}");
}

typedef void tell_fn(const struct session *s, const struct limits *l, const struct shown *lines,
                     int n, double all);

static void tell(const struct session *s, tell_fn *how) {
    struct limits l = {0};
    struct shown *lines = malloc(PROFILE_LINES * sizeof *lines);
    profile_lap(s->profile, PROFILE_OTHER);
    double all = profile_seconds(s->profile);
    if (s->threads) measure_limits(s, &l, NULL); // of a run that was stopped, too
    if (lines) {
        how(s, &l, lines, sorted_lines(s->profile, &l, s->o->act, lines), all);
    } else {
        say("out of memory for --profile's table");
    }
    s->profile->told = true;
    free(lines);
}

void print_profile(const struct session *s) {
    if (s->profile->told) return;
    begin_message();
    tell(s, print_table);
}

void put_profile_json(const struct session *s) {
    if (s->profile) tell(s, put_object);
}
