/*
 * A fork copies one page table entry for every 4 KiB page of the heap: 2 ms and more for the 100
 * MiB of a warm interpreter, paid twice for a new box and again when it ends. Joined to huge pages
 * the same heap is copied in 0.2 ms. A child that writes still copies single small pages, because
 * the kernel splits a shared huge page on the first write.
 *
 * MADV_COLLAPSE joins what is there now and leaves the areas as they are, so what a context
 * allocates later comes in small pages as ever. Kernels before 6.1 do not know it; then forks are
 * slower and nothing else changes.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "contexts/python/host.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum { HUGE_PAGE = 2 << 20 };

static int any_resident(uintptr_t start)
{
    unsigned char pages[HUGE_PAGE / 4096];
    return mincore((void *)start, HUGE_PAGE, pages) == 0 && memchr(pages, 1, sizeof pages);
}

/* A line of maps: "start-end mode offset device inode path". Private, writable and without a file?
 */
static int heap_area(const char *line, uintptr_t *ret_start, uintptr_t *ret_end)
{
    char *p;
    *ret_start = strtoul(line, &p, 16);
    *ret_end = strtoul(p + (*p == '-'), &p, 16);
    if (strncmp(p, " rw-p ", 6) != 0)
        return 0;
    p += strcspn(p + 6, " ") + 7; /* behind the offset */
    p += strcspn(p, " ");         /* behind the device */
    if (strtoul(p, &p, 10))
        return 0;
    p += strspn(p, " ");
    return *p == '\n' || !strcmp(p, "[heap]\n");
}

void collapse_heap(void)
{
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "re");
    if (!maps)
        return;
    while (fgets(line, sizeof line, maps)) {
        uintptr_t start, end;
        if (!heap_area(line, &start, &end))
            continue;
        start = (start + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1);
        end &= ~(uintptr_t)(HUGE_PAGE - 1);
        /* One by one: a range stops at its first failure. Untouched memory stays untouched. */
        for (; start < end; start += HUGE_PAGE)
            if (any_resident(start))
                madvise((void *)start, HUGE_PAGE, MADV_COLLAPSE);
    }
    fclose(maps);
}
