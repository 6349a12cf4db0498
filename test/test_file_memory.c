/* Files that are read into memory instead of mapped: the same bytes, in huge pages where there are
 * any, and what happens when the file is cut short, or there is no memory for it. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "file_memory.h"
#include "gguf_build.h"

static char dir[] = "/tmp/kq-file-memory-XXXXXX";

static const char *in_dir(const char *name) {
    static char path[2][128];
    static int next;
    next = !next;
    snprintf(path[next], sizeof path[next], "%s/%s", dir, name);
    return path[next];
}

/* A file whose tensor has 4 * n random bytes, n a multiple of 4. */
static void write_model(const char *path, uint64_t n, uint32_t part, uint32_t n_parts) {
    struct gguf_build b = {0};
    uint64_t random = n;
    char name[16];
    snprintf(name, sizeof name, "tensor%u", (unsigned)part);
    struct build_tensor *t = build_tensor(&b, name, GGML_TYPE_F32, 4, n / 4, NULL);
    build_u32(&b, "split.no", part);
    build_u32(&b, "split.count", n_parts);
    for (size_t i = 0; i + 8 <= t->data.len; i += 8) {
        uint64_t x = test_random(&random);
        memcpy(t->data.data + i, &x, 8);
    }
    build_write(&b, path);
    build_free(&b);
}

/* ---- the same bytes -------------------------------------------------------------------------- */

struct watched {
    const char *path; // what to do to the file after the first piece: truncate it to so much,
    long cut;         // unless it is -1
    atomic_int *stop; // or set this
    size_t n_calls, last, all;
    bool rises;
};

static void watch(void *to, size_t done, size_t all) {
    struct watched *w = to;
    if (w->n_calls++ == 0) {
        w->rises = true;
        if (w->cut >= 0 && truncate(w->path, w->cut) != 0) perror(w->path);
        if (w->stop) *w->stop = 1;
    }
    if (done < w->last || done > all) w->rises = false;
    w->last = done;
    w->all = all;
}

static void check_same(const char *path, int n_threads) {
    struct gguf read, mapped;
    struct error err = {KQ_OK, ""};
    struct watched w = {path, -1, NULL, 0, 0, 0, false};
    struct threads *threads = n_threads ? threads_open(n_threads, &err) : NULL;
    struct file_reading how = {SIZE_MAX, threads, NULL, watch, &w};
    CHECK(gguf_open(&mapped, path, &err) == 0, "%s: %s", path, err.text);
    CHECK(gguf_read(&read, path, &how, &err) == 0, "%s: %s", path, err.text);
    CHECK(read.mapped_bytes == mapped.mapped_bytes && read.n_tensors == mapped.n_tensors,
          "%zu bytes, expected %zu", read.mapped_bytes, mapped.mapped_bytes);
    // The caller's thread says how far reading is: of several, another may read every piece.
    CHECK(w.rises && w.n_calls > (n_threads <= 1) && w.last == w.all, "%zu calls, %zu of %zu",
          w.n_calls, w.last, w.all);
    const void *here, *there;
    size_t n, n_there, n_parts = 0;
    while ((here = gguf_memory(&read, n_parts, &n)) != NULL) {
        there = gguf_memory(&mapped, n_parts++, &n_there);
        CHECK(n == n_there && memcmp(here, there, n) == 0, "part %zu of %s differs", n_parts, path);
        CHECK(n < 2 << 20 || (uintptr_t)here % (2 << 20) == 0, "at %p", here);
        struct stat st;
        CHECK(stat(path, &st) == 0 && gguf_maps_file(&read, &st), "%s is not known", path);
    }
    CHECK(n == 0 && n_parts == mapped.n_maps, "%zu parts, expected %zu", n_parts, mapped.n_maps);
    const char *byte = gguf_memory(&read, 0, &n);
    gguf_close(&read);
    gguf_close(&mapped);
    CHECK(msync((void *)((uintptr_t)byte / 4096 * 4096), 1, MS_ASYNC) == -1 && errno == ENOMEM,
          "still there after gguf_close");
    threads_close(threads);
}

static void test_same(void) {
    const char *path = in_dir("model");
    static const uint64_t n[] = {4, 4096, (1 << 19) - 64, 1 << 19, (5 << 19) + 68};
    for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
        write_model(path, n[i], 0, 1);
        for (int n_threads = 0; n_threads <= 3; n_threads++) check_same(path, n_threads);
    }
    unlink(path);
}

/* ---- what can go wrong ----------------------------------------------------------------------- */

static void check_refused(const char *path, const struct file_reading *how, enum kq_status status,
                          const char *expected) {
    struct gguf g;
    struct error err = {KQ_OK, ""};
    int before = open("/dev/null", O_RDONLY), result = gguf_read(&g, path, how, &err);
    CHECK(result == -1 && err.status == status && strstr(err.text, expected),
          "status %d, \"%s\", expected \"%s\"", (int)err.status, err.text, expected);
    CHECK(!g.maps && !g.mapped_bytes, "something is left");
    close(before);
    int after = open("/dev/null", O_RDONLY);
    CHECK(before == after, "%s is still open", path);
    close(after);
    gguf_close(&g);
}

/* The file is cut after the first piece was read. */
static void test_cut(const char *path) {
    static const long to[] = {0, 4096, (4 << 20) + 5, (9 << 20) - 1};
    for (size_t i = 0; i < sizeof to / sizeof *to; i++) {
        char expected[128];
        struct watched w = {path, to[i], NULL, 0, 0, 0, false};
        struct file_reading how = {SIZE_MAX, NULL, NULL, watch, &w};
        struct stat st;
        write_model(path, (9 << 18) + 4096, 0, 1);
        CHECK(stat(path, &st) == 0, "%s", path);
        snprintf(expected, sizeof expected,
                 "model was cut short while it was read: expected %zu "
                 "bytes, found %ld",
                 (size_t)st.st_size, to[i]);
        check_refused(path, &how, KQ_BAD_FILE, expected);
        CHECK(w.last == w.all, "progress ends at %zu of %zu", w.last, w.all);
    }
}

static void test_refusals(void) {
    const char *path = in_dir("model");
    struct file_reading how = {SIZE_MAX, NULL, NULL, NULL, NULL};
    test_cut(path);

    atomic_int stop = 0;
    struct watched w = {path, -1, &stop, 0, 0, 0, false};
    struct file_reading stopped = {SIZE_MAX, NULL, &stop, watch, &w};
    write_model(path, 9 << 18, 0, 1);
    check_refused(path, &stopped, KQ_INTERRUPTED, "interrupted");

    struct stat st;
    CHECK(stat(path, &st) == 0, "%s", path);
    how.room = (size_t)st.st_size - 1;
    check_refused(path, &how, KQ_NO_MEMORY, "cannot be read into memory: ");
    how.room++;
    struct gguf g;
    struct error err = {KQ_OK, ""};
    CHECK(gguf_read(&g, path, &how, &err) == 0, "%s", err.text);
    gguf_close(&g);

    /* A terabyte of holes behind a header that is none: neither reserved nor read. */
    build_write_bytes(path, "Once upon a time", 16);
    how.room = SIZE_MAX;
    if (truncate(path, (off_t)1 << 40) != 0) printf("SKIP a terabyte of holes\n");
    check_refused(path, &how, KQ_BAD_FILE, "not a GGUF file: it begins with \"Once\"");
    build_write_bytes(path, "GGUF", 4);
    check_refused(path, &how, KQ_BAD_FILE, "the version needs 4 bytes at offset 4");
    build_write_bytes(path, "", 0);
    check_refused(path, &how, KQ_BAD_FILE, "is empty, expected a GGUF file");
    unlink(path);
    check_refused(path, &how, KQ_IO, strerror(ENOENT));
    check_refused(dir, &how, KQ_IO, "is a directory, expected a file");
    check_refused("/dev/null", &how, KQ_IO, "is a device or a pipe, expected a file");
    if (mkfifo(path, 0600) != 0) perror(path);
    check_refused(path, &how, KQ_IO, "is a device or a pipe, expected a file");
    unlink(path);
}

/* ---- split files ----------------------------------------------------------------------------- */

static void test_split(void) {
    const char *first = in_dir("a-00001-of-00002.gguf"), *second = in_dir("a-00002-of-00002.gguf");
    write_model(first, 1 << 19, 0, 2);
    write_model(second, 3 << 19, 1, 2);
    for (int n_threads = 0; n_threads <= 2; n_threads++) check_same(first, n_threads);
    struct stat a, b;
    CHECK(stat(first, &a) == 0 && stat(second, &b) == 0, "%s", second);
    struct file_reading how = {(size_t)(a.st_size + b.st_size) - 1, NULL, NULL, NULL, NULL};
    check_refused(first, &how, KQ_NO_MEMORY, "a-00002-of-00002.gguf has ");
    unlink(first), unlink(second);
}

int main(void) {
    if (!mkdtemp(dir)) return perror(dir), 1;
    test_same();
    test_refusals();
    test_split();
    rmdir(dir);
    return test_done("test_file_memory");
}
