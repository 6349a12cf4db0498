/* Arrays that grow. */
#ifndef ARRAY_H
#define ARRAY_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Makes room for n elements of `size` bytes in an array of malloc's that has room for *capacity;
 * `array` is the address of the pointer to it, which may be NULL. Grows by doubling. 0, or -1 if
 * memory is short: then the array is as it was. */
static inline int array_reserve(void *array, size_t *capacity, size_t n, size_t size) {
    if (n <= *capacity) return 0;
    size_t wanted = n > 2 * *capacity ? n : 2 * *capacity;
    void *old, *grown = NULL;
    memcpy(&old, array, sizeof old);
    if (wanted <= SIZE_MAX / size) grown = realloc(old, wanted * size);
    if (!grown) return -1;
    memcpy(array, &grown, sizeof grown);
    *capacity = wanted;
    return 0;
}

#endif
