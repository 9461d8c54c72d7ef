#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/egress/handlers/private.h"

static int write_one(int dir_fd, const char *file, const char *text)
{
    char temporary[100];
    snprintf(temporary, sizeof temporary, ".%s", file);
    CLEANUP_FD int fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : fd_write_all(fd, text, strlen(text));
    if (r == 0 && (fsync(fd) < 0 || renameat(dir_fd, temporary, dir_fd, file) < 0))
        r = -errno;
    return r;
}

int store_write(int dir_fd, const char *name, const char *source, const char *options)
{
    char file[90];
    snprintf(file, sizeof file, "%s.json", name);
    int r = write_one(dir_fd, file, options);
    snprintf(file, sizeof file, "%s.mjs", name);
    return r < 0 ? r : write_one(dir_fd, file, source);
}

void store_delete(int dir_fd, const char *name)
{
    char file[90];
    snprintf(file, sizeof file, "%s.mjs", name);
    unlinkat(dir_fd, file, 0);
    snprintf(file, sizeof file, "%s.json", name);
    unlinkat(dir_fd, file, 0);
}

static char *read_one(int dir_fd, const char *file)
{
    struct stat st;
    CLEANUP_FD int fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > HANDLER_SOURCE_MAX)
        return NULL;
    char *text = calloc(1, (size_t)st.st_size + 1);
    if (text && read(fd, text, (size_t)st.st_size) != st.st_size) {
        free(text);
        return NULL;
    }
    return text;
}

int store_load(int dir_fd,
               void (*each)(void *user, const char *name, char *take_source, char *take_options),
               void *user)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;
    if (!d) {
        fd_close(fd);
        return -EIO;
    }
    while ((e = readdir(d))) {
        char name[HANDLER_NAME_MAX + 1], file[90];
        size_t n = strlen(e->d_name);
        if (*e->d_name == '.' || n <= 4 || n - 4 > HANDLER_NAME_MAX ||
            strcmp(e->d_name + n - 4, ".mjs"))
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(n - 4), e->d_name);
        snprintf(file, sizeof file, "%s.json", name);
        char *source = read_one(dir_fd, e->d_name), *options = read_one(dir_fd, file);
        if (source && options)
            each(user, name, source, options);
        else {
            free(source);
            free(options);
        }
    }
    closedir(d);
    return 0;
}
