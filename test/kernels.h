/* What the tests of kernels share (test_matmul.c, test_ops.c): a seeded generator, buffers between
 * guard pages that every case uses anew, and the name of what runs now, told even if it crashes. */
#ifndef KERNELS_H
#define KERNELS_H

#include "test.h"

#include <signal.h>
#include <stdarg.h>

static uint64_t seed = 1;

/* 0 .. n - 1. One draw to an expression: compilers may order two as they like. */
static inline int random_below(int n) {
    return (int)(test_random(&seed) >> 33) % n;
}

enum { N_ROOMS = 12 };

#define ROOM_BYTES ((size_t)8 << 20)

/* A buffer at the left or the right end of the room's own mapping; the one before is lost. It is
 * filled with NaN: what a kernel does not write, or reads too early, shows. */
static inline void *place(int room, size_t bytes, bool left) {
    static struct guarded rooms[N_ROOMS];
    if (!rooms[room].data) rooms[room] = guarded_alloc(ROOM_BYTES, false);
    if (bytes > ROOM_BYTES) {
        printf("room %d holds less than %zu bytes\n", room, bytes);
        exit(1);
    }
    uint8_t *p = rooms[room].data + (left ? 0 : ROOM_BYTES - bytes);
    memset(p, 0xff, bytes);
    return p;
}

static inline float *place_floats(int room, size_t n, bool left) {
    return place(room, n * sizeof(float), left);
}

static char now[300]; // the kernel that runs, for messages

static inline void on_crash(int number) {
    static const char text[] = "crashed: ";
    if (write(1, text, sizeof text - 1) < 0 || write(1, now, strlen(now)) < 0 ||
        write(1, "\n", 1) < 0) {
        _exit(1);
    }
    signal(number, SIG_DFL); // and once more, now for good
}

static inline void tell_crashes(void) {
    setvbuf(stdout, NULL, _IOLBF, 0); // what was said before the crash is not lost
    signal(SIGSEGV, on_crash);
    signal(SIGBUS, on_crash);
}

/* Equal bits, or both NaN: which NaN comes out is the processor's choice. Returns the index of the
 * first float that differs, or -1. */
static inline long first_difference(const float *got, const float *want, size_t n) {
    if (memcmp(got, want, n * sizeof(float)) == 0) return -1;
    for (size_t i = 0; i < n; i++) {
        bool nan = got[i] != got[i] && want[i] != want[i];
        if (!nan && memcmp(got + i, want + i, sizeof(float)) != 0) return (long)i;
    }
    return -1;
}

#endif
