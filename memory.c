#include "memory.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* The number behind `name` at the beginning of a line of the file, times `unit`; without a name the
 * file's first. SIZE_MAX if there is none, as where a limit is "max". */
static size_t number_in(const char *path, const char *name, size_t unit) {
    FILE *f = fopen(path, "r");
    char line[128];
    unsigned long long n;
    size_t found = SIZE_MAX, skip = strlen(name);
    while (f && found == SIZE_MAX && fgets(line, sizeof line, f)) {
        if (strncmp(line, name, skip) == 0 && sscanf(line + skip, "%llu", &n) == 1 &&
            n < SIZE_MAX / unit) {
            found = (size_t)n * unit;
        }
    }
    if (f) fclose(f);
    return found;
}

size_t anonymous_bytes(void) {
    size_t bytes = number_in("/proc/self/status", "RssAnon:", 1024);
    return bytes < SIZE_MAX ? bytes : 0;
}

/* Linux counts blocks of 512 bytes, whether a read or a page of a map asked for them. Elsewhere the
 * pages that somebody had to wait for are what can be had. */
size_t bytes_from_disk(void) {
    struct rusage use;
    if (getrusage(RUSAGE_SELF, &use) != 0) return 0;
#ifdef __linux__
    return (size_t)use.ru_inblock * 512;
#else
    return (size_t)use.ru_majflt * (size_t)sysconf(_SC_PAGESIZE);
#endif
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

static size_t available_memory(void) {
    size_t bytes = number_in("/proc/meminfo", "MemAvailable:", 1024);
#ifdef _SC_PHYS_PAGES
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (bytes == SIZE_MAX && pages > 0 && page > 0) bytes = (size_t)pages * (size_t)page;
#endif
    return bytes;
}

/* What the control group's limit leaves, as a container sees it: version 2, then 1. Pages of files
 * count as free: the kernel gives them up. */
static size_t left_in_group(void) {
    static const struct {
        const char *limit, *stat, *own;
    } groups[] = {
        {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.stat", "anon "},
        {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.stat",
         "total_rss "},
    };
    size_t left = SIZE_MAX;
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        size_t limit = number_in(groups[i].limit, "", 1);
        size_t own = number_in(groups[i].stat, groups[i].own, 1);
        if (limit == SIZE_MAX || own == SIZE_MAX) continue;
        left = least(left, limit > own ? limit - own : 0);
    }
    return left;
}

size_t free_memory(void) {
    struct rlimit space;
    size_t bytes = least(available_memory(), left_in_group());
    if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY) {
        bytes = least(bytes, (size_t)space.rlim_cur);
    }
    return bytes;
}

/* One line of /proc/self/smaps: "FROM-TO rwxp ..." begins a map, "NAME: N kB" tells of it. */
static void add_line(const char *line, uintptr_t begin, uintptr_t end, bool *inside,
                     struct page_count *count) {
    unsigned long long from, to, kb;
    char name[32];
    if (sscanf(line, "%llx-%llx ", &from, &to) == 2) {
        *inside = from >= begin && from < end;
    } else if (*inside && sscanf(line, "%31[A-Za-z]: %llu kB", name, &kb) == 2) {
        size_t bytes = (size_t)kb * 1024;
        if (strcmp(name, "Rss") == 0) count->resident += bytes;
        if (strcmp(name, "AnonHugePages") == 0 || strcmp(name, "FilePmdMapped") == 0 ||
            strcmp(name, "ShmemPmdMapped") == 0) {
            count->huge += bytes;
        }
    }
}

bool count_pages(const void *addr, size_t len, struct page_count *count) {
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[256];
    bool inside = false, begins = true, any = false;
    while (f && fgets(line, sizeof line, f)) {
        // of a line that is longer, with the name of a file, only the beginning counts
        if (begins) add_line(line, (uintptr_t)addr, (uintptr_t)addr + len, &inside, count);
        begins = strchr(line, '\n') != NULL;
        any |= inside;
    }
    if (f) fclose(f);
    return any;
}
