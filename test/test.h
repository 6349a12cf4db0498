/* What every test program shares: CHECK, a printed seed, buffers between guard pages, the closing
 * line "name: N passed, M failed". */
#ifndef TEST_H
#define TEST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* 1 in a build that makes calls of its own: a sanitizer, coverage (which the Makefile tells). */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TEST_SANITIZED 1
#endif
#endif
#ifndef TEST_SANITIZED
#define TEST_SANITIZED 0
#endif

static long test_passed, test_failed;

/* CHECK(condition, "format", ...): the message says what differed and with which parameters. */
#define CHECK(condition, ...)                                          \
    do {                                                               \
        if (condition) {                                               \
            test_passed++;                                             \
        } else {                                                       \
            if (++test_failed <= 20) {                                 \
                printf("%s:%d: %s: ", __FILE__, __LINE__, #condition); \
                printf(__VA_ARGS__);                                   \
                printf("\n");                                          \
            }                                                          \
        }                                                              \
    } while (0)

/* Ends a test program: prints the count and gives the exit status. */
static inline int test_done(const char *name) {
    printf("%s: %ld passed, %ld failed\n", name, test_passed, test_failed);
    return test_failed != 0;
}

/* xorshift64*: the same numbers on every platform. */
static inline uint64_t test_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1Dull;
}

/* Roughly normal, mean 0, deviation 1: sum of twelve uniforms. */
static inline float test_normal(uint64_t *state) {
    double s = -6;
    for (int i = 0; i < 12; i++) s += (double)(test_random(state) >> 11) * 0x1p-53;
    return (float)s;
}

/* size bytes that end exactly where an unreadable page begins, and (if size is a multiple of the
 * page, or rounded up to `align`) begin right after one: one byte too far is a crash. */
struct guarded {
    uint8_t *data;
    uint8_t *map;
    size_t map_bytes;
};

static inline struct guarded guarded_alloc(size_t size, bool flush_left) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t body = (size + page - 1) / page * page + (size ? 0 : page);
    struct guarded g = {.map_bytes = body + 2 * page};
    void *map = mmap(NULL, g.map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect((char *)map + page, body, PROT_READ | PROT_WRITE) != 0) {
        perror("guarded_alloc");
        exit(1);
    }
    g.map = map;
    g.data = g.map + page + (flush_left ? 0 : body - size);
    return g;
}

static inline void guarded_free(struct guarded *g) {
    munmap(g->map, g->map_bytes);
}

#endif
