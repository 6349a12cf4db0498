/* Runs a fuzz target once over every file given, and over those in the directories given: make test
 * needs no libFuzzer. Each input is malloc'ed at exactly its size. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void stop(const char *path) {
    perror(path);
    exit(1);
}

static void run_file(const char *path, size_t size) {
    uint8_t *data = malloc(size ? size : 1);
    FILE *in = fopen(path, "rb");
    if (!data || !in || fread(data, 1, size, in) != size) stop(path);
    fclose(in);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
}

/* The number of files run. */
static long run_path(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) stop(path);
    if (!S_ISDIR(st.st_mode)) {
        run_file(path, (size_t)st.st_size);
        return 1;
    }
    DIR *dir = opendir(path);
    if (!dir) stop(path);
    long n = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        size_t len = strlen(path) + strlen(entry->d_name) + 2;
        char *name = malloc(len);
        if (!name) stop(path);
        snprintf(name, len, "%s/%s", path, entry->d_name);
        n += run_path(name);
        free(name);
    }
    closedir(dir);
    return n;
}

int main(int argc, char **argv) {
    const char *slash = strrchr(argv[0], '/');
    long n = 0;
    for (int i = 1; i < argc; i++) n += run_path(argv[i]);
    printf("%s: %ld inputs\n", slash ? slash + 1 : argv[0], n);
    return n == 0;
}
