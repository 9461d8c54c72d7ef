#include "clients/cli/util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

void *must(void *p)
{
    if (!p) {
        static const char message[] = "cellbox: out of memory\n";
        write_all(STDERR_FILENO, message, sizeof message - 1);
        _exit(STATUS_SERVER);
    }
    return p;
}

void str_add(struct str *s, const void *data, size_t len)
{
    if (text_add(s, data, len) < 0)
        must(NULL);
}

void str_addf(struct str *s, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    int r = text_addv(s, format, ap);
    va_end(ap);
    if (r < 0)
        must(NULL);
}

char *str_take(struct str *s)
{
    str_add(s, "", 0);
    char *data = s->data;
    *s = (struct str){0};
    return data;
}

char *text_format(const char *format, ...)
{
    char *text = NULL;
    va_list ap;
    va_start(ap, format);
    int n = vasprintf(&text, format, ap);
    va_end(ap);
    return must(n < 0 ? NULL : text);
}

/* What a server or a box says may hold escape sequences; a message of ours must not pass them to
 * the terminal. */
static void print_message(const char *prefix, const char *format, va_list ap)
{
    char *text = NULL;
    if (vasprintf(&text, format, ap) < 0)
        must(NULL);
    for (char *p = text; *p; p++) {
        if ((unsigned char)*p < 0x20 && *p != '\n' && *p != '\t')
            *p = '?';
        else if (*p == 0x7f)
            *p = '?';
    }
    fflush(stdout);
    fprintf(stderr, "%s%s\n", prefix, text);
    free(text);
}

int fail(int status, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    print_message("cellbox: ", format, ap);
    va_end(ap);
    return status;
}

void note(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    print_message("", format, ap);
    va_end(ap);
}

int read_fd(int fd, struct str *ret)
{
    char chunk[65536];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        str_add(ret, chunk, (size_t)n);
        if (n == 0)
            return 0;
    }
}

int read_file(const char *path, struct str *ret)
{
    CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : read_fd(fd, ret);
}

int write_all(int fd, const void *data, size_t len)
{
    const char *p = data;
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int write_new_file(const char *path, const void *data, size_t len)
{
    CLEANUP_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return -errno;
    int r = write_all(fd, data, len);
    if (r < 0)
        unlink(path);
    return r;
}

int make_dirs(const char *path)
{
    CLEANUP_FREE char *copy = must(strdup(path));
    for (char *p = copy + 1;; p++) {
        if (*p && *p != '/')
            continue;
        char keep = *p;
        *p = 0;
        if (mkdir(copy, 0777) < 0 && errno != EEXIST)
            return -errno;
        if (!keep)
            return 0;
        *p = keep;
    }
}

void base64_encode(const void *data, size_t len, struct str *ret)
{
    if (text_base64(data, len, ret) < 0)
        must(NULL);
}

bool base64_decode(const char *text, size_t len, struct str *ret)
{
    int r = text_unbase64(text, len, ret);
    if (r == -ENOMEM)
        must(NULL);
    return r == 0;
}

char *program_path(void)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        return must(strdup("cellbox"));
    self[n] = 0;
    return must(strdup(self));
}

char *program_prefix(void)
{
    char *path = program_path();
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(path, '/');
        if (slash)
            *slash = 0;
    }
    return path;
}

void print_json(const json_t *j)
{
    CLEANUP_FREE char *text = must(json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(15)));
    puts(text);
}
