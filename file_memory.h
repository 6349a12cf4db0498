/* A file's bytes in memory: as a read-only map of it, or read once into pages of the process's own.
 *
 * A map takes no memory that the system cannot have back and is there at once; its pages are as
 * small as the file system makes them, and end the program with SIGBUS when somebody cuts the file
 * short. What was read is safe from that, and lies in huge pages where the system has them: a walk
 * through all weights then asks the processor's address tables 512 times less often. */
#ifndef FILE_MEMORY_H
#define FILE_MEMORY_H

#include <stddef.h>
#include <sys/types.h>

#include "threads.h"

struct file_memory {
    void *addr; // the file's first byte; NULL: none
    size_t len; // of the file, in bytes
    dev_t device;
    ino_t inode;    // with the device: which file it is
    void *reserved; // private: what file_memory_free unmaps
    size_t n_reserved;
};

/* How a file is read. */
struct file_reading {
    size_t room;             // most bytes that may be taken; SIZE_MAX: as many as there are
    struct threads *threads; // that read at the same time; NULL: the caller alone
    atomic_int *stop;        // once it is not 0, reading ends with KQ_INTERRUPTED; may be NULL
    /* Called by the caller's thread now and then with the bytes read so far, and at last, also when
     * reading failed, with done = all. May be NULL. */
    void (*progress)(void *to, size_t done, size_t all);
    void *to;
};

/* Opens the file and maps it (how is NULL) or reads it; as many bytes as the file has when it is
 * opened. Directories, devices, pipes and empty files are refused. `accept`, if it is not NULL,
 * sees the first bytes (n <= FILE_HEAD) and the length before a file is read: -1 and err refuses
 * it. On failure m is all zero. */
enum { FILE_HEAD = 512 };
typedef int file_accept(const void *head, size_t n, size_t len, struct error *err);
int file_memory_open(struct file_memory *m, const char *path, const struct file_reading *how,
                     file_accept *accept, struct error *err);

/* m may be all zero. */
void file_memory_free(struct file_memory *m);

#endif
