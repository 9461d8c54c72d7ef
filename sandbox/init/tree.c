#include "sandbox/init/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/init/init.h"

struct member {
    pid_t pid, parent, session;
    uint64_t began; /* clock ticks since boot */
    bool zombie, in;
    bool interruptible; /* SIGINT would end it */
};

struct tree_moment tree_moment_now(void)
{
    struct timespec t;
    struct tree_moment m = {0};
    DIR *d = opendir("/proc");
    clock_gettime(CLOCK_BOOTTIME, &t);
    uint64_t hz = (uint64_t)sysconf(_SC_CLK_TCK);
    m.ticks = (uint64_t)t.tv_sec * hz + (uint64_t)t.tv_nsec * hz / 1000000000;
    for (struct dirent *e; d && (e = readdir(d));) {
        pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
        m.last = pid > m.last ? pid : m.last;
    }
    if (d)
        closedir(d);
    return m;
}

static bool began_after(const struct member *m, const struct tree_moment *since)
{
    return m->began > since->ticks || (m->began == since->ticks && m->pid > since->last);
}

static bool read_stat(pid_t pid, struct member *ret)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (fd_read_file_at(AT_FDCWD, path, text, sizeof text) <= 0)
        return false;
    const char *p = strrchr(text, ')'); /* the name before may hold anything */
    if (!p || strlen(p) < 5)
        return false;
    char *end;
    *ret = (struct member){.pid = pid, .zombie = p[2] == 'Z' || p[2] == 'X'};
    ret->parent = (pid_t)strtol(p + 3, &end, 10);
    (void)strtol(end, &end, 10); /* process group */
    ret->session = (pid_t)strtol(end, &end, 10);
    enum { SESSION_FIELD = 6, BEGAN_FIELD = 22, IGNORED_FIELD = 33, CAUGHT_FIELD = 34 };
    uint64_t handled = 0;
    for (int i = SESSION_FIELD + 1; i <= CAUGHT_FIELD; i++) {
        uint64_t value = strtoull(end, &end, 10);
        if (i == BEGAN_FIELD)
            ret->began = value;
        if (i == IGNORED_FIELD || i == CAUGHT_FIELD)
            handled |= value;
    }
    ret->interruptible = !(handled & (1u << (SIGINT - 1)));
    return true;
}

/* Init has no right to look into other processes; the box user may look into its own. */
static int open_environ(pid_t pid)
{
    char path[64];
    bool root = geteuid() == 0;
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    if (root) {
        setfsgid(INIT_BOX_UID);
        setfsuid(INIT_BOX_UID);
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (root) {
        setfsuid(0);
        setfsgid(0);
    }
    return fd;
}

/* Whether a string of the environment is the mark. */
static bool carries(pid_t pid, const char *mark)
{
    CLEANUP_FD int fd = open_environ(pid);
    enum { CAP = 256 << 10 };
    CLEANUP_FREE char *text = fd < 0 ? NULL : malloc(CAP);
    size_t len = 0;
    if (!text)
        return false;
    for (ssize_t n; len < CAP - 1 && (n = read(fd, text + len, CAP - 1 - len)) > 0;)
        len += (size_t)n;
    text[len] = 0;
    for (size_t at = 0; at < len; at += strlen(text + at) + 1)
        if (!strcmp(text + at, mark))
            return true;
    return false;
}

static size_t read_all(struct member **ret)
{
    size_t n = 0, cap = 0;
    struct member *all = NULL, m;
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && (e = readdir(d));) {
        pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
        if (pid <= 1 || !read_stat(pid, &m))
            continue;
        if (n == cap) {
            struct member *more = realloc(all, (cap = cap ? cap * 2 : 64) * sizeof *all);
            if (!more)
                break;
            all = more;
        }
        all[n++] = m;
    }
    if (d)
        closedir(d);
    *ret = all;
    return n;
}

static bool has_parent_in(const struct member *all, size_t n, pid_t parent)
{
    for (size_t i = 0; i < n; i++)
        if (all[i].in && all[i].pid == parent)
            return true;
    return false;
}

static void select_members(const struct tree *t, struct member *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct member *m = &all[i];
        m->in = m->pid == t->root || (t->session > 0 && m->session == t->session) ||
                (!m->zombie && carries(m->pid, t->mark));
    }
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < n; i++) {
            if (!all[i].in && has_parent_in(all, n, all[i].parent))
                all[i].in = more = true;
        }
    }
}

static unsigned each(const struct tree *t, int signo, pid_t except, bool deadly_only)
{
    struct member *all;
    size_t n = read_all(&all);
    unsigned found = 0;
    select_members(t, all, n);
    for (size_t i = 0; i < n; i++) {
        if (!all[i].in || all[i].zombie || all[i].pid == except || !began_after(&all[i], &t->since))
            continue;
        found++;
        if (deadly_only && !all[i].interruptible)
            continue;
        if (signo)
            kill(all[i].pid, signo);
        if (signo && signo != SIGKILL && signo != SIGSTOP)
            kill(all[i].pid, SIGCONT); /* a stopped one would not hear it */
    }
    free(all);
    return found;
}

unsigned tree_signal(const struct tree *t, int signo, pid_t except)
{
    return each(t, signo, except, false);
}

unsigned tree_interrupt(const struct tree *t, pid_t except)
{
    return each(t, SIGINT, except, true);
}

unsigned tree_count(const struct tree *t)
{
    return each(t, 0, 0, false);
}
