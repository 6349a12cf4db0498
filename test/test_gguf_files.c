/* What can be wrong with a file before a byte of it is parsed, that it is mapped whole and let go,
 * and models in several files. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "file_memory.h"
#include "gguf.h"
#include "gguf_build.h"
#include "test.h"

/* ---- files ----------------------------------------------------------------------------------- */

static char dir[] = "/tmp/test_gguf_files.XXXXXX";

static const char *in_dir(const char *name) {
    static char path[4][128];
    static int next;
    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s", dir, name);
    return path[next];
}

static void check_open_refused(const char *path, const char *expected) {
    struct gguf g;
    struct error err = {KQ_OK, ""};
    int result = gguf_open(&g, path, &err);
    CHECK(result == -1, "%s: result %d, expected \"%s\"", path, result, expected);
    CHECK(strstr(err.text, expected), "expected \"%s\", found \"%s\"", expected, err.text);
    CHECK(result == 0 || all_zero(&g), "%s: not all zero", path);
    gguf_close(&g);
}

/* File descriptors open in this process: a refusal must not leave one behind. */
static int open_fds(void) {
    int n = 0;
    for (int fd = 0; fd < 256; fd++) n += fcntl(fd, F_GETFD) != -1;
    return n;
}

static void test_files(void) {
    int fds = open_fds();
    check_open_refused(dir, " is a directory, expected a file");
    check_open_refused("/dev/null", "/dev/null is a device or a pipe, expected a file");
    check_open_refused(in_dir("missing"), strerror(ENOENT));
    check_open_refused("", strerror(ENOENT));
    check_open_refused(in_dir("missing/file"), strerror(ENOENT));
    const char *fifo = in_dir("fifo"), *empty = in_dir("empty"), *text = in_dir("text\n.gguf");
    if (mkfifo(fifo, 0600) != 0) perror(fifo);
    check_open_refused(fifo, "fifo is a device or a pipe, expected a file");
    build_write_bytes(empty, "", 0);
    check_open_refused(empty, "empty is empty, expected a GGUF file");
    build_write_bytes(text, "Once upon a time", 16);
    check_open_refused(text, "text?.gguf: not a GGUF file: it begins with \"Once\"");
    if (chmod(text, 0) != 0) perror(text);
    if (geteuid() == 0) {
        printf("SKIP unreadable file: root reads everything\n");
    } else {
        check_open_refused(text, strerror(EACCES));
    }
    char long_name[6000];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    check_open_refused(long_name, strerror(ENAMETOOLONG));
    unlink(fifo), unlink(empty), unlink(text);

    const char *path = in_dir("valid.gguf");
    struct gguf_build b = {0};
    build_str(&b, "general.architecture", "llama");
    build_tensor(&b, "a", GGML_TYPE_Q5_K, 256, 2, NULL);
    build_write(&b, path);
    struct gguf g;
    struct error err = {KQ_OK, ""};
    struct stat st;
    CHECK(gguf_open(&g, path, &err) == 0 && g.n_kv == 1 && g.n_tensors == 1, "%s", err.text);
    CHECK(stat(path, &st) == 0 && g.mapped_bytes == (size_t)st.st_size, "%zu mapped",
          g.mapped_bytes);
    CHECK(open_fds() == fds, "%d file descriptors, expected %d", open_fds(), fds);
    void *map = (void *)(uintptr_t)(g.kv[0].key.data - 24 - 8);
    CHECK(msync(map, 1, MS_ASYNC) == 0, "the map does not begin 24 + 8 bytes before the first key");
    gguf_close(&g);
    CHECK(msync(map, 1, MS_ASYNC) == -1 && errno == ENOMEM, "still mapped after gguf_close");
    gguf_close(&g);
    unlink(path);
    build_free(&b);
}

/* ---- split files ----------------------------------------------------------------------------- */

static const char *part_path(int no) {
    char name[64];
    snprintf(name, sizeof name, "m-%05d-of-00003.gguf", no + 1);
    return in_dir(name);
}

/* Part no of 3, with two tensors "NO.a" and "NO.b" that hold NO. */
static struct gguf_build part(int no) {
    struct gguf_build b = {0};
    if (no == 0) build_str(&b, "general.architecture", "llama");
    build_u16(&b, "split.no", (uint16_t)no);
    build_u16(&b, "split.count", 3);
    build_i32(&b, "split.tensors.count", 6);
    uint32_t alignment = 32u << no; // each part has its own
    build_u32(&b, "general.alignment", alignment);
    b.alignment = alignment;
    char name[32];
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%d.%c", no, 'a' + i);
        build_tensor(&b, name, GGML_TYPE_I8, 1, 0, &(const uint8_t){(uint8_t)(no * 2 + i)});
    }
    return b;
}

static void write_part(int no, struct gguf_build *b) {
    build_write(b, part_path(no));
    build_free(b);
}

static void write_parts(void) {
    for (int no = 0; no < 3; no++) {
        struct gguf_build b = part(no);
        write_part(no, &b);
    }
}

static void test_split(void) {
    write_parts();
    struct gguf g;
    struct error err = {KQ_OK, ""};
    int fds = open_fds();
    CHECK(gguf_open(&g, part_path(0), &err) == 0, "%s", err.text);
    CHECK(g.n_tensors == 6 && g.n_maps == 3 && g.n_kv == 5, "%zu tensors, %zu maps, %zu keys",
          g.n_tensors, g.n_maps, g.n_kv);
    CHECK(gguf_find(&g, "general.architecture") != NULL, "metadata of the first part");
    for (int i = 0; i < 6 && g.n_tensors == 6; i++) {
        char name[32];
        snprintf(name, sizeof name, "%d.%c", i / 2, 'a' + i % 2);
        const struct gguf_tensor *t = gguf_find_tensor(&g, name);
        CHECK(t == &g.tensors[i] && *(const uint8_t *)t->data == i, "tensor %s", name);
    }
    size_t mapped = 0;
    struct stat st;
    for (int no = 0; no < 3; no++) {
        if (stat(part_path(no), &st) == 0) mapped += (size_t)st.st_size;
    }
    CHECK(g.mapped_bytes == mapped, "%zu mapped, expected %zu", g.mapped_bytes, mapped);
    CHECK(open_fds() == fds, "%d file descriptors, expected %d", open_fds(), fds);
    struct gguf copy;
    struct file_reading how = {.room = SIZE_MAX};
    CHECK(gguf_read(&copy, part_path(0), &how, &err) == 0 && copy.n_tensors == 6 &&
              copy.mapped_bytes == mapped,
          "read instead of mapped: %s", err.text);
    for (size_t i = 0; i < copy.n_tensors && i < g.n_tensors; i++) {
        CHECK(copy.tensors[i].data != g.tensors[i].data &&
                  memcmp(copy.tensors[i].data, g.tensors[i].data, g.tensors[i].nbytes) == 0,
              "tensor %zu", i);
    }
    CHECK(stat(part_path(0), &st) == 0 && gguf_maps_file(&copy, &st), "it is the file's");
    CHECK(open_fds() == fds, "%d file descriptors, expected %d", open_fds(), fds);
    gguf_close(&copy);
    gguf_close(&g);

    check_open_refused(part_path(1), "m-00002-of-00003.gguf is part 2 of 3: open the first part");
    const char *renamed = in_dir("renamed.gguf");
    if (rename(part_path(0), renamed) != 0) perror(renamed);
    check_open_refused(renamed, "renamed.gguf is the first of 3 parts, its name must end in "
                                "-00001-of-00003.gguf");
    const char *short_name = in_dir("x");
    if (rename(renamed, short_name) != 0 || chdir(dir) != 0) perror(short_name);
    check_open_refused("x", "x is the first of 3 parts, its name must end in");
    if (chdir("/") != 0) perror("/");
    if (rename(short_name, part_path(0)) != 0) perror(short_name);
    unlink(part_path(2));
    check_open_refused(part_path(0), "m-00003-of-00003.gguf: ");
    check_open_refused(part_path(0), strerror(ENOENT));
}

/* One key of one part changed. */
static void check_split_refused(int no, const char *key, uint32_t value, const char *expected) {
    write_parts();
    struct gguf_build b = part(no);
    build_u32(&b, key, value);
    write_part(no, &b);
    check_open_refused(part_path(0), expected);
}

static void test_split_broken(void) {
    check_split_refused(0, "split.count", 2, "is the first of 2 parts, its name must end in");
    check_split_refused(0, "split.count", 100000, "split.count is 100000, at most 99999 parts");
    check_split_refused(0, "split.no", 1, "is part 2 of 3: open the first part");
    check_split_refused(2, "split.no", 1, "expected split.no 2 of 3, found 1 of 3");
    check_split_refused(1, "split.count", 4, "expected split.no 1 of 3, found 1 of 4");
    check_split_refused(0, "split.tensors.count", 7,
                        "split.tensors.count is 7, the 3 parts have 6");
    write_parts();
    struct gguf_build first = part(0);
    build_str(&first, "split.tensors.count", "6");
    write_part(0, &first);
    check_open_refused(part_path(0), "split.tensors.count: expected an integer, found string");
    check_split_refused(1, "general.alignment", 3, "m-00002-of-00003.gguf: general.alignment is 3");
    write_parts();
    struct gguf_build b = part(2);
    build_remove(&b, "split.no");
    write_part(2, &b);
    check_open_refused(part_path(0), "00003-of-00003.gguf has no split.no");
    b = part(2);
    build_str(&b, "split.no", "2");
    write_part(2, &b);
    check_open_refused(part_path(0), "split.no: expected an integer, found string");
    b = part(2);
    build_tensor(&b, "0.b", GGML_TYPE_F32, 1, 0, NULL);
    build_remove_tensor(&b, "2.b");
    write_part(2, &b);
    check_open_refused(part_path(0), "0.b: the tensor's name occurs twice");
    b = part(0);
    build_remove(&b, "split.tensors.count");
    write_part(0, &b);
    b = part(1);
    build_remove(&b, "split.count");
    write_part(1, &b);
    b = part(2);
    write_part(2, &b);
    struct gguf g;
    struct error err = {KQ_OK, ""};
    CHECK(gguf_open(&g, part_path(0), &err) == 0 && g.n_tensors == 6, "without counts: %s",
          err.text);
    gguf_close(&g);
    b = part(0);
    build_str(&b, "split.count", "3");
    write_part(0, &b);
    check_open_refused(part_path(0), "split.count: expected an integer, found string");
    b = part(0);
    build_u16(&b, "split.count", 1); // a whole file, whatever its name says
    write_part(0, &b);
    CHECK(gguf_open(&g, part_path(0), &err) == 0 && g.n_tensors == 2, "one part: %s", err.text);
    gguf_close(&g);
    for (int no = 0; no < 3; no++) unlink(part_path(no));
}

int main(void) {
    if (!mkdtemp(dir)) {
        perror(dir);
        return 1;
    }
    test_files();
    test_split();
    test_split_broken();
    if (rmdir(dir) != 0) perror(dir);
    return test_done("test_gguf_files");
}
