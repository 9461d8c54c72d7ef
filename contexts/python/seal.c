/*
 * After the imports pymalloc holds thousands of half-full pools. The small allocations of a child
 * would fill their holes, and each would copy another shared page: 3.6 MiB and 2 ms for a context
 * that has done nothing yet. So the holes of every size class are filled before the fork; the
 * blocks are never freed.
 */
#include "contexts/python/host.h"

#include <malloc.h>
#include <stdlib.h>

/* Objects/obmalloc.c, POOL_SIZE: 16 KiB with radix tree arenas (3.10+ on 64 bit), 4 KiB before. */
static uintptr_t pool_size(void)
{
    return Py_Version >= 0x030a0000 && sizeof(void *) == 8 ? 16384 : 4096;
}

enum { POOL_HEADER = 48, CLASS_STEP = 16, CLASS_MAX = 512, BLOCKS_MAX = 2000000 };

/*
 * Takes blocks of one size until a whole pool was handed out in one go: then no used pool with a
 * hole is left. That last pool is given back, so that the child's first blocks come from there.
 */
static size_t seal_class(size_t size, void **run)
{
    uintptr_t mask = ~(pool_size() - 1), current = 0;
    size_t per_pool = (pool_size() - POOL_HEADER) / size, n = 0, used = 0;

    for (size_t count = 0; count < BLOCKS_MAX && n < per_pool; count++) {
        void *p = PyObject_Malloc(size);
        if (!p)
            break;
        if (((uintptr_t)p & mask) != current) {
            used += n;
            n = 0;
            current = (uintptr_t)p & mask;
        }
        run[n++] = p;
    }
    for (size_t i = 0; i < n; i++)
        PyObject_Free(run[i]);
    return used;
}

size_t seal_heap(void)
{
    void **run = malloc(pool_size() / CLASS_STEP * sizeof *run);
    size_t used = 0;

    if (!run)
        return 0;
    for (size_t size = CLASS_STEP; size <= CLASS_MAX; size += CLASS_STEP)
        used += seal_class(size, run);
    free(run);
    malloc_trim(0);
    return used;
}
