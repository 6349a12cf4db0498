/* A library to preload into run and quantize (glibc alone): their n-th call into the system fails.
 *
 *   FAULT_AT=n FAULT_LOG=file LD_PRELOAD=faults.so ./run ...
 *
 * Every allocation is counted, inside the C library too, and every call below that can fail. The
 * log says what failed and, from the end of main, how many calls there were and what was left
 * behind: blocks that the program itself allocated, maps, and descriptors. */
#define _GNU_SOURCE
#include <stdio.h>

#ifdef __GLIBC__
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The allocator behind the names that this library defines itself. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void __libc_free(void *p);

static bool active; // from here to the end of main
static long fault_at, n_calls;
static int log_fd = -1, n_inherited; // descriptors
static uintptr_t program_begin, program_end;

static void note(const char *text) {
    if (log_fd >= 0 && syscall(SYS_write, log_fd, text, strlen(text)) < 0) _exit(125);
}

/* Whether this call is the one to fail. */
static bool fault(const char *call, const char *detail) {
    if (!active || __atomic_add_fetch(&n_calls, 1, __ATOMIC_SEQ_CST) != fault_at) return false;
    note("failed ");
    note(call);
    note(" ");
    note(detail);
    note("\n");
    return true;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* The blocks that the program's own code asked for. The C library keeps some of its own for ever.
 */
enum { MAX_BLOCKS = 1 << 14 };
static void *blocks[MAX_BLOCKS];
static size_t n_blocks;
static pthread_mutex_t blocks_mutex = PTHREAD_MUTEX_INITIALIZER;

static void *add_block(void *p, const void *caller) {
    uintptr_t at = (uintptr_t)caller;
    if (!p || !active || at < program_begin || at >= program_end) return p;
    pthread_mutex_lock(&blocks_mutex);
    if (n_blocks < MAX_BLOCKS) blocks[n_blocks++] = p;
    pthread_mutex_unlock(&blocks_mutex);
    return p;
}

static void remove_block(const void *p) {
    if (!p || !active) return;
    pthread_mutex_lock(&blocks_mutex);
    for (size_t i = n_blocks; i-- > 0;) {
        if (blocks[i] != p) continue;
        blocks[i] = blocks[--n_blocks];
        break;
    }
    pthread_mutex_unlock(&blocks_mutex);
}

#define CALLER __builtin_return_address(0)

static void *out_of_memory(void) {
    errno = ENOMEM;
    return NULL;
}

/* The log says whether the C library asked: that decides what a failure means. */
static bool alloc_fault(const char *call, const void *caller) {
    uintptr_t at = (uintptr_t)caller;
    return fault(call, at >= program_begin && at < program_end ? "" : "inside the C library");
}

void *malloc(size_t size) {
    if (alloc_fault("malloc", CALLER)) return out_of_memory();
    return add_block(__libc_malloc(size), CALLER);
}

void *calloc(size_t n, size_t size) {
    if (alloc_fault("calloc", CALLER)) return out_of_memory();
    return add_block(__libc_calloc(n, size), CALLER);
}

void *realloc(void *p, size_t size) {
    if (alloc_fault("realloc", CALLER)) return out_of_memory();
    void *moved = __libc_realloc(p, size);
    if (moved) remove_block(p);
    return add_block(moved, CALLER);
}

void free(void *p) {
    remove_block(p);
    __libc_free(p);
}

char *strndup(const char *s, size_t n) {
    if (alloc_fault("strndup", CALLER)) return out_of_memory();
    size_t len = strnlen(s, n);
    char *copy = add_block(__libc_malloc(len + 1), CALLER);
    if (!copy) return NULL;
    copy[len] = '\0';
    return memcpy(copy, s, len);
}

char *strdup(const char *s) {
    if (alloc_fault("strdup", CALLER)) return out_of_memory();
    return add_block(memcpy(__libc_malloc(strlen(s) + 1), s, strlen(s) + 1), CALLER);
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* The C library's own function of this name, in the type of the one defined here. ISO C has no such
 * conversion, POSIX asks for it. */
#pragma GCC diagnostic ignored "-Wpedantic"
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define FAIL_WITH(error, result) return errno = (error), (result)

/* A stream after a failed read or write. */
static void stream_failed(FILE *f, int error) {
    f->_flags |= 0x20; // _IO_ERR_SEEN: what ferror looks at
    errno = error;
}

FILE *fopen(const char *path, const char *mode) {
    if (fault("fopen", path)) FAIL_WITH(EMFILE, NULL);
    return REAL(fopen)(path, mode);
}

FILE *fdopen(int fd, const char *mode) {
    if (fault("fdopen", "")) FAIL_WITH(ENOMEM, NULL);
    return REAL(fdopen)(fd, mode);
}

/* A close that fails has closed all the same. After writing it may be the first to say that the
 * disk is full; after reading it does not fail. */
int fclose(FILE *f) {
    bool fails = (fcntl(fileno(f), F_GETFL) & O_ACCMODE) != O_RDONLY && fault("fclose", "");
    int result = REAL(fclose)(f);
    if (fails) FAIL_WITH(ENOSPC, EOF);
    return result;
}

size_t fread(void *data, size_t size, size_t n, FILE *f) {
    if (!fault("fread", "")) return REAL(fread)(data, size, n, f);
    stream_failed(f, EIO);
    return 0;
}

size_t fwrite(const void *data, size_t size, size_t n, FILE *f) {
    if (f == stderr || !fault("fwrite", "")) return REAL(fwrite)(data, size, n, f);
    stream_failed(f, ENOSPC);
    return 0;
}

/* Fails as fputs, putc and printf do when they have to empty the buffer and cannot. */
int fputs(const char *text, FILE *f) {
    if (f == stderr || !fault("fputs", "")) return REAL(fputs)(text, f);
    stream_failed(f, ENOSPC);
    return EOF;
}

int putc(int c, FILE *f) { // putchar is made of this
    if (!fault("putc", "")) return REAL(putc)(c, f);
    stream_failed(f, ENOSPC);
    return EOF;
}

#undef putchar
int putchar(int c) {
    return putc(c, stdout);
}

int printf(const char *format, ...) {
    if (fault("printf", "")) {
        stream_failed(stdout, ENOSPC);
        return -1;
    }
    va_list args;
    va_start(args, format);
    int n = vprintf(format, args);
    va_end(args);
    return n;
}

int fflush(FILE *f) {
    if (!fault("fflush", "")) return REAL(fflush)(f);
    stream_failed(f, ENOSPC);
    return EOF;
}

char *fgets(char *line, int size, FILE *f) {
    if (!fault("fgets", "")) return REAL(fgets)(line, size, f);
    stream_failed(f, EIO);
    return NULL;
}

int open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (fault("open", path)) FAIL_WITH(EMFILE, -1);
    return REAL(open)(path, flags, mode);
}

int mkstemp(char *name) {
    if (fault("mkstemp", "")) FAIL_WITH(EMFILE, -1);
    return REAL(mkstemp)(name);
}

int stat(const char *path, struct stat *st) {
    if (fault("stat", path)) FAIL_WITH(EIO, -1);
    return REAL(stat)(path, st);
}

int fstat(int fd, struct stat *st) {
    if (fault("fstat", "")) FAIL_WITH(EIO, -1);
    return REAL(fstat)(fd, st);
}

int fchmod(int fd, mode_t mode) {
    if (fault("fchmod", "")) FAIL_WITH(EPERM, -1);
    return REAL(fchmod)(fd, mode);
}

int fsync(int fd) {
    if (fault("fsync", "")) FAIL_WITH(EIO, -1);
    return REAL(fsync)(fd);
}

int rename(const char *from, const char *to) {
    if (fault("rename", to)) FAIL_WITH(EIO, -1);
    return REAL(rename)(from, to);
}

static long n_maps;

void *mmap(void *addr, size_t size, int protection, int flags, int fd, off_t offset) {
    if (fault("mmap", "")) FAIL_WITH(ENOMEM, MAP_FAILED);
    void *map = REAL(mmap)(addr, size, protection, flags, fd, offset);
    if (active && map != MAP_FAILED) n_maps++;
    return map;
}

int munmap(void *addr, size_t size) {
    if (active) n_maps--;
    return REAL(munmap)(addr, size);
}

int madvise(void *addr, size_t size, int advice) {
    if (fault("madvise", "")) FAIL_WITH(EINVAL, -1);
    return REAL(madvise)(addr, size, advice);
}

ssize_t pread(int fd, void *data, size_t size, off_t offset) {
    if (fault("pread", "")) FAIL_WITH(EIO, -1);
    return REAL(pread)(fd, data, size, offset);
}

int mprotect(void *addr, size_t size, int protection) {
    if (fault("mprotect", "")) FAIL_WITH(ENOMEM, -1);
    return REAL(mprotect)(addr, size, protection);
}

int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set) {
    if (fault("sched_getaffinity", "")) FAIL_WITH(ENOSYS, -1);
    return REAL(sched_getaffinity)(pid, size, set);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *arg) {
    if (fault("pthread_create", "")) return EAGAIN;
    return REAL(pthread_create)(thread, attributes, run, arg);
}

/* ---- begin and end --------------------------------------------------------------------------- */

static int count_descriptors(void) {
    int n = 0;
    for (int fd = 3; fd < 256; fd++) n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* The first object is the program. */
static int find_program(struct dl_phdr_info *info, size_t size, void *arg) {
    (void)size;
    (void)arg;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type != PT_LOAD || !(info->dlpi_phdr[i].p_flags & PF_X)) continue;
        program_begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        program_end = program_begin + info->dlpi_phdr[i].p_memsz;
    }
    return 1;
}

__attribute__((constructor)) static void begin(void) {
    const char *at = getenv("FAULT_AT"), *path = getenv("FAULT_LOG");
    if (!at || !path) return;
    dl_iterate_phdr(find_program, NULL);
    fault_at = strtol(at, NULL, 10);
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT, 0600);
    n_inherited = count_descriptors();
    active = log_fd >= 0;
}

__attribute__((destructor)) static void end(void) {
    if (!active) return;
    active = false;
    char line[128];
    snprintf(line, sizeof line, "calls %ld blocks %zu maps %ld descriptors %d\n", n_calls, n_blocks,
             n_maps, count_descriptors() - n_inherited);
    note(line);
}
#endif
