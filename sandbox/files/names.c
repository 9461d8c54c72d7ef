#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/files/files.h"

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add(struct names *n, const char *name)
{
    if (n->n == n->cap) {
        size_t cap = n->cap ? 2 * n->cap : 64;
        char **grown = realloc(n->name, cap * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        n->name = grown;
        n->cap = cap;
    }
    n->name[n->n] = strdup(name);
    if (!n->name[n->n])
        return -ENOMEM;
    n->n++;
    return 0;
}

int names_read(int dirfd, struct names *ret)
{
    struct names n = {0};
    int copy = dup(dirfd), r = 0;
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    if (!d) {
        r = -errno;
        fd_close(copy);
        return r;
    }
    rewinddir(d);
    for (struct dirent *e; r == 0 && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            r = add(&n, e->d_name);
    }
    closedir(d);
    if (r < 0) {
        names_free(&n);
        return r;
    }
    if (n.n)
        qsort(n.name, n.n, sizeof *n.name, by_bytes);
    *ret = n;
    return 0;
}

void names_free(struct names *n)
{
    for (size_t i = 0; i < n->n; i++)
        free(n->name[i]);
    free(n->name);
    *n = (struct names){0};
}
