/* How much memory the system, or what the process was put into, has to give. */
#ifndef MEMORY_H
#define MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes that could be used without pushing anything out: the smallest of what the kernel calls
 * available, what a container's limit leaves and the limit of the address space; SIZE_MAX where no
 * system tells. */
size_t free_memory(void);

/* What the kernel counts as this process's own memory: neither file nor shared. 0 if unknown. */
size_t anonymous_bytes(void);

/* What this process has made the system read from its disks so far. 0 where no system tells. */
size_t bytes_from_disk(void);

/* Of the memory [addr, addr + len), which one or several whole maps make up: the bytes that are
 * there at the moment, and those of them in huge pages. */
struct page_count {
    size_t resident, huge;
};
/* Adds to the count; false: this system does not tell (Linux does). */
bool count_pages(const void *addr, size_t len, struct page_count *count);

#endif
