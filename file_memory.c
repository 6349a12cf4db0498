#include "file_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "round.h"

/* The size of huge pages on x86-64, and on aarch64 with pages of 4 KB. Where it is another one, the
 * system finds those that fit into what is advised. */
#define HUGE_PAGE ((size_t)2 << 20)

/* What a thread reads at a time: whole huge pages, so that no two threads ask for the same one. */
#define PIECE (2 * HUGE_PAGE)

/* ---- maps ------------------------------------------------------------------------------------ */

static int map_file(int fd, const char *path, struct file_memory *m, struct error *err) {
    void *addr = mmap(NULL, m->len, PROT_READ, MAP_PRIVATE, fd, 0);
    if (addr == MAP_FAILED)
        return error_set(err, KQ_IO, "cannot map %.300s: %s", path, strerror(errno));
    m->addr = m->reserved = addr;
    m->n_reserved = m->len;
    return 0;
}

/* ---- pages of our own ------------------------------------------------------------------------ */

/* Room for the file. Of a large one the first byte begins a huge page, and all that fill up are
 * asked for; the rest is in small ones, so that no more memory is used than the file has bytes. */
static int reserve(struct file_memory *m, const char *path, struct error *err) {
    size_t slack = m->len < HUGE_PAGE ? 0 : HUGE_PAGE, huge = m->len / HUGE_PAGE * HUGE_PAGE;
    void *addr = MAP_FAILED;
    if (m->len <= SIZE_MAX - slack) {
        addr =
            mmap(NULL, m->len + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    if (addr == MAP_FAILED) {
        return error_set(err, KQ_NO_MEMORY,
                         "%.300s has %zu bytes and cannot be read into memory: %s", path, m->len,
                         strerror(ENOMEM));
    }
    m->reserved = addr;
    m->n_reserved = m->len + slack;
    uintptr_t past = slack ? (uintptr_t)addr % HUGE_PAGE : 0;
    m->addr = (char *)addr + (past ? HUGE_PAGE - past : 0);
#ifdef MADV_HUGEPAGE
    if (huge > 0) (void)madvise(m->addr, huge, MADV_HUGEPAGE); // without them: the same, in small
#else
    (void)huge;
#endif
    return 0;
}

struct read_job {
    int fd;
    const struct file_memory *m;
    const struct file_reading *how;
    atomic_size_t done;
    atomic_size_t ends; // where reading ended too early; SIZE_MAX: nowhere
    atomic_int error;   // of a call that failed
};

/* Whether the rest need not be read any more. */
static bool is_over(struct read_job *job) {
    return job->error || job->ends != SIZE_MAX || (job->how->stop && *job->how->stop);
}

static void read_piece(struct read_job *job, size_t at) {
    size_t end = job->m->len - at < PIECE ? job->m->len : at + PIECE;
    while (at < end) {
        ssize_t n = pread(job->fd, (char *)job->m->addr + at, end - at, (off_t)at);
        if (n > 0) {
            at += (size_t)n;
            job->done += (size_t)n;
        } else if (n == 0) {
            job->ends = at;
            return;
        } else if (errno != EINTR) {
            job->error = errno;
            return;
        }
    }
}

static void read_pieces(void *arg, long begin, long end, int thread) {
    struct read_job *job = arg;
    for (long i = begin; i < end && !is_over(job); i++) {
        read_piece(job, (size_t)i * PIECE);
        if (thread == 0 && job->how->progress) {
            job->how->progress(job->how->to, job->done, job->m->len);
        }
    }
}

/* What became of reading. */
static int reading_result(struct read_job *job, const char *path, struct error *err) {
    size_t len = job->m->len, found = job->ends;
    struct stat st;
    if (job->error) {
        return error_set(err, KQ_IO, "cannot read %.300s: %s", path, strerror(job->error));
    }
    if (found != SIZE_MAX) {
        // a thread met an end that may be far behind the file's
        if (fstat(job->fd, &st) == 0 && (uintmax_t)st.st_size < found) found = (size_t)st.st_size;
        return error_set(err, KQ_BAD_FILE,
                         "%.300s was cut short while it was read: expected %zu bytes, found %zu",
                         path, len, found);
    }
    if (job->how->stop && *job->how->stop) return error_set(err, KQ_INTERRUPTED, "interrupted");
    return 0;
}

static int read_file(int fd, const char *path, struct file_memory *m,
                     const struct file_reading *how, struct error *err) {
    if (m->len > how->room) {
        return error_set(err, KQ_NO_MEMORY,
                         "%.300s has %zu bytes and cannot be read into memory: %zu are free", path,
                         m->len, how->room);
    }
    if (reserve(m, path, err) != 0) return -1;
    struct read_job job = {.fd = fd, .m = m, .how = how, .ends = SIZE_MAX};
    long n = (long)(m->len / PIECE + (m->len % PIECE > 0));
    if (how->threads) {
        parallel_for(how->threads, how->stop, n, 1, read_pieces, &job);
    } else {
        read_pieces(&job, 0, n, 0);
    }
    if (how->progress) how->progress(how->to, m->len, m->len);
    if (reading_result(&job, path, err) != 0) return -1;
    if (mprotect(m->addr, m->len, PROT_READ) != 0) {
        return error_set(err, KQ_NO_MEMORY, "%.300s: its memory cannot be protected: %s", path,
                         strerror(errno));
    }
    return 0;
}

/* ---- both ------------------------------------------------------------------------------------ */

static int examine(int fd, const char *path, struct file_memory *m, struct error *err) {
    struct stat st;
    if (fstat(fd, &st) != 0)
        return error_set(err, KQ_IO, "cannot examine %.300s: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return error_set(err, KQ_IO, "%.300s is a directory, expected a file", path);
    if (!S_ISREG(st.st_mode)) {
        return error_set(err, KQ_IO, "%.300s is a device or a pipe, expected a file", path);
    }
    if (st.st_size <= 0)
        return error_set(err, KQ_BAD_FILE, "%.300s is empty, expected a GGUF file", path);
    if ((uintmax_t)st.st_size > SIZE_MAX) {
        return error_set(err, KQ_NO_MEMORY, "%.300s is too large for this machine's addresses",
                         path);
    }
    m->len = (size_t)st.st_size;
    m->device = st.st_dev;
    m->inode = st.st_ino;
    return 0;
}

/* A file of another kind is refused before all of it was read. */
static int check_head(int fd, const char *path, const struct file_memory *m, file_accept *accept,
                      struct error *err) {
    char head[FILE_HEAD];
    struct error why = {KQ_OK, ""};
    ssize_t n;
    while ((n = pread(fd, head, sizeof head, 0)) < 0 && errno == EINTR) continue;
    if (n < 0) return error_set(err, KQ_IO, "cannot read %.300s: %s", path, strerror(errno));
    if (accept(head, (size_t)n, m->len, &why) == 0) return 0;
    return error_set(err, why.status, "%.200s: %s", path, why.text);
}

int file_memory_open(struct file_memory *m, const char *path, const struct file_reading *how,
                     file_accept *accept, struct error *err) {
    *m = (struct file_memory){0};
    // O_NONBLOCK: opening a pipe that nobody writes to must not wait
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) return error_set(err, KQ_IO, "cannot open %.300s: %s", path, strerror(errno));
    int result = examine(fd, path, m, err);
    if (result == 0 && how && accept) result = check_head(fd, path, m, accept, err);
    if (result == 0) {
        result = how ? read_file(fd, path, m, how, err) : map_file(fd, path, m, err);
    }
    close(fd);
    if (result != 0) file_memory_free(m);
    return result;
}

void file_memory_free(struct file_memory *m) {
    if (m->reserved) munmap(m->reserved, m->n_reserved);
    *m = (struct file_memory){0};
}
