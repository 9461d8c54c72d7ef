/*
 * pymalloc's arenas from one area, one after another, so that nearly all of a warm heap lies in
 * whole huge pages when it is collapsed (collapse.c). pymalloc's own mmap of 1 MiB at a time leaves
 * it in pieces. A context goes on in the same area; when it is used up, or for other sizes, arenas
 * come from mmap as usual.
 */
#include <stdint.h>
#include <sys/mman.h>

#include "contexts/python/host.h"

enum { ARENA = 1 << 20, ARENAS = 1024, HUGE_PAGE = 2 << 20 };

struct area {
    uint8_t *start;
    size_t used;                  /* arenas handed out so far */
    uint16_t free[ARENAS], nfree; /* given back */
};

static void *arena_alloc(void *ctx, size_t size)
{
    struct area *a = ctx;
    if (size == ARENA && a->nfree)
        return a->start + (size_t)a->free[--a->nfree] * ARENA;
    if (size == ARENA && a->used < ARENAS)
        return a->start + a->used++ * ARENA;
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void arena_free(void *ctx, void *ptr, size_t size)
{
    struct area *a = ctx;
    size_t at = (size_t)((uint8_t *)ptr - a->start);
    if ((uint8_t *)ptr >= a->start && at < (size_t)ARENAS * ARENA) {
        madvise(ptr, size, MADV_DONTNEED);
        a->free[a->nfree++] = (uint16_t)(at / ARENA);
    } else {
        munmap(ptr, size);
    }
}

void arena_area_init(void)
{
    static struct area area;
    size_t size = (size_t)ARENAS * ARENA;
    uint8_t *p = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return; /* an address space limit: pymalloc's own way works, too */
    area.start = (uint8_t *)(((uintptr_t)p + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
    PyObjectArenaAllocator allocator = {&area, arena_alloc, arena_free};
    PyObject_SetArenaAllocator(&allocator);
}
