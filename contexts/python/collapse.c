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
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "contexts/python/host.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum { HUGE_PAGE = 2 << 20 };

static int any_resident(unsigned long start)
{
    unsigned char pages[HUGE_PAGE / 4096];
    return mincore((void *)start, HUGE_PAGE, pages) == 0 && memchr(pages, 1, sizeof pages);
}

void collapse_heap(void)
{
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "re");
    if (!maps)
        return;
    while (fgets(line, sizeof line, maps)) {
        unsigned long start, end, inode;
        char mode[8], name[256] = "";
        int n = sscanf(line, "%lx-%lx %7s %*s %*s %lu %255s", &start, &end, mode, &inode, name);
        if (n < 4 || inode || strncmp(mode, "rw-p", 4) || (n > 4 && strcmp(name, "[heap]")))
            continue;
        start = (start + HUGE_PAGE - 1) & ~(unsigned long)(HUGE_PAGE - 1);
        end &= ~(unsigned long)(HUGE_PAGE - 1);
        /* One by one: a range stops at its first failure. Untouched memory stays untouched. */
        for (; start < end; start += HUGE_PAGE)
            if (any_resident(start))
                madvise((void *)start, HUGE_PAGE, MADV_COLLAPSE);
    }
    fclose(maps);
}
