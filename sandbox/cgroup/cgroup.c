/*
 * On v1 every attach takes a machine-wide lock that first waits for an RCU grace period, 6 ms when
 * the machine is quiet. A hierarchy mounted with favordynmods anywhere keeps that lock in its fast
 * mode (0.1 ms), so the v1 root mounts a private, controller-less one for as long as the server
 * runs. Not being able to only costs time.
 */
#include "sandbox/cgroup/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/log.h"
#include "sandbox/cgroup/backend.h"

int cgroup_write_u64(int dirfd, const char *file, uint64_t v)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)v);
    return fd_write_file_at(dirfd, file, text);
}

int cgroup_read_u64(int dirfd, const char *file, uint64_t *ret)
{
    char text[64];
    ssize_t n = fd_read_file_at(dirfd, file, text, sizeof text);
    if (n < 0)
        return (int)n;
    *ret = strtoull(text, NULL, 10);
    return 0;
}

int cgroup_read_key(int dirfd, const char *file, const char *key, uint64_t *ret)
{
    char text[4096];
    ssize_t n = fd_read_file_at(dirfd, file, text, sizeof text);
    if (n < 0)
        return (int)n;
    size_t klen = strlen(key);
    for (char *line = text; line && *line;
         line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (!strncmp(line, key, klen) && line[klen] == ' ') {
            *ret = strtoull(line + klen + 1, NULL, 10);
            return 0;
        }
    }
    return -ENOENT;
}

/* Whether the comma-separated list has the word. */
static int has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; (p = strstr(p, word)); p += n)
        if ((p == list || p[-1] == ',') && (p[n] == ',' || p[n] == 0))
            return 1;
    return 0;
}

/* Mount point of the v1 hierarchy with that controller (v2: controller NULL). Empty when there is
 * none. */
static void find_mount(const char *sysfs, const char *controller, char *out, size_t cap)
{
    char path[512], line[2048];
    *out = 0;
    snprintf(path, sizeof path, "%s/proc/self/mountinfo", sysfs);
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    while (fgets(line, sizeof line, f)) {
        char point[1024], *tail = strstr(line, " - ");
        char type[64], opts[512];
        if (!tail || sscanf(line, "%*s %*s %*s %*s %1023s", point) != 1 ||
            sscanf(tail, " - %63s %*s %511s", type, opts) != 2)
            continue;
        if (controller ? !strcmp(type, "cgroup") && has_word(opts, controller)
                       : !strcmp(type, "cgroup2")) {
            if (snprintf(out, cap, "%s%s", sysfs, point) >= (int)cap)
                *out = 0;
            break;
        }
    }
    fclose(f);
}

/* Path of our own group in the hierarchy, "/" when unknown. */
static void own_group(const char *sysfs, const char *controller, char *out, size_t cap)
{
    char path[512], line[2048];
    snprintf(out, cap, "/");
    snprintf(path, sizeof path, "%s/proc/self/cgroup", sysfs);
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        char *names = strchr(line, ':');
        char *group = names ? strchr(names + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = 0;
        if (controller ? has_word(names + 1, controller)
                       : !strncmp(line, "0:", 2) && names[1] == 0) {
            snprintf(out, cap, "%s", group);
            break;
        }
    }
    fclose(f);
}

static int open_dir(int dirfd, const char *path)
{
    int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* Groups of an earlier run that was killed: their tasks died with it. */
static void remove_leftovers(int parent, const char *name)
{
    CLEANUP_FD int dir = open_dir(parent, name);
    if (dir < 0)
        return;
    int copy = fcntl(dir, F_DUPFD_CLOEXEC, 3);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_type == DT_DIR && e->d_name[0] != '.')
            unlinkat(dir, e->d_name, AT_REMOVEDIR);
    if (d)
        closedir(d);
    unlinkat(parent, name, AT_REMOVEDIR);
}

/* Of servers that were killed: "cellbox-PID". A group with a task in it stays, whatever its name.
 */
static void remove_dead(int parent)
{
    static const char prefix[] = "cellbox-";
    int copy = fcntl(parent, F_DUPFD_CLOEXEC, 3);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    if (d)
        rewinddir(d);
    for (struct dirent *e; d && (e = readdir(d));) {
        char *end;
        if (strncmp(e->d_name, prefix, sizeof prefix - 1))
            continue;
        long pid = strtol(e->d_name + sizeof prefix - 1, &end, 10);
        if (pid > 1 && !*end && kill((pid_t)pid, 0) < 0 && errno == ESRCH)
            remove_leftovers(parent, e->d_name);
    }
    if (d)
        closedir(d);
}

static int open_root_dir(struct cgroup_root *r, const char *sysfs, const char *controller, int i,
                         struct err *err)
{
    char *mount_point = r->mounts[i], group[512], path[1100];
    find_mount(sysfs, controller, mount_point, sizeof r->mounts[i]);
    if (!*mount_point)
        return err_set(err, -ENOENT, "find cgroup hierarchy", "no %s hierarchy is mounted",
                       controller ? controller : "v2");
    own_group(sysfs, controller, group, sizeof group);
    snprintf(path, sizeof path, "%s%s", mount_point, group);
    int parent = open_dir(AT_FDCWD, path);
    if (parent < 0)
        parent = open_dir(AT_FDCWD, mount_point);
    if (parent < 0)
        return err_set(err, parent, "open cgroup", "%s: %s", path, strerror(-parent));
    r->parents[i] = parent;
    for (r->same[i] = 0; strcmp(r->mounts[r->same[i]], mount_point);)
        r->same[i]++;
    if (r->same[i] == i) {
        remove_leftovers(parent, r->name);
        remove_dead(parent);
    }
    if (mkdirat(parent, r->name, 0755) < 0 && errno != EEXIST)
        return err_set(err, -errno, "make cgroup", "%s/%s: %s", path, r->name, strerror(errno));
    r->dirs[i] = open_dir(parent, r->name);
    if (r->dirs[i] < 0)
        return err_set(err, r->dirs[i], "open cgroup", NULL);
    r->ndirs = i + 1;
    return 0;
}

/* v2 is usable when memory, cpu and pids can be delegated to a child of the root group. */
static int try_v2(struct cgroup_root *r, const char *sysfs)
{
    char mount_point[512], text[512];
    find_mount(sysfs, NULL, mount_point, sizeof mount_point);
    if (!*mount_point)
        return -ENOENT;
    CLEANUP_FD int top = open_dir(AT_FDCWD, mount_point);
    if (top < 0 || fd_read_file_at(top, "cgroup.controllers", text, sizeof text) < 0 ||
        !strstr(text, "memory") || !strstr(text, "pids") || !strstr(text, "cpu"))
        return -ENOENT;
    /* Groups with member processes cannot have controllers for children: hang below the top, not
     * below our own. */
    r->parents[0] = STEAL_FD(top);
    (void)fd_write_file_at(r->parents[0], "cgroup.subtree_control", "+memory +cpu +pids");
    remove_leftovers(r->parents[0], r->name);
    remove_dead(r->parents[0]);
    if (mkdirat(r->parents[0], r->name, 0755) < 0 && errno != EEXIST)
        return -errno;
    r->dirs[0] = open_dir(r->parents[0], r->name);
    r->ndirs = 1;
    if (r->dirs[0] < 0)
        return r->dirs[0];
    int e = fd_write_file_at(r->dirs[0], "cgroup.subtree_control", "+memory +cpu +pids");
    if (e == 0)
        r->backend = &cgroup_v2;
    return e;
}

static void speed_up_attach(struct cgroup_root *r)
{
    char dir[64];
    snprintf(dir, sizeof dir, "/run/cellbox/cgroup-%d", (int)getpid());
    if ((mkdir("/run/cellbox", 0755) < 0 && errno != EEXIST) ||
        (mkdir(dir, 0700) < 0 && errno != EEXIST))
        return;
    if (mount("cgroup", dir, "cgroup", 0, "none,name=cellbox,favordynmods") == 0)
        snprintf(r->speedup, sizeof r->speedup, "%s", dir);
    else
        rmdir(dir);
}

int cgroup_root_open(const char *sysfs, const char *name, struct cgroup_root **ret, struct err *err)
{
    struct cgroup_root *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(err, -ENOMEM, "open cgroups", NULL);
    for (int i = 0; i < CGROUP_DIRS; i++)
        r->dirs[i] = r->parents[i] = -1;
    snprintf(r->name, sizeof r->name, "%s", name);
    int e = try_v2(r, sysfs);
    if (e < 0) {
        r->parents[0] = fd_close(r->parents[0]);
        r->dirs[0] = fd_close(r->dirs[0]);
        r->ndirs = 0;
        r->backend = &cgroup_v1;
        e = 0;
        for (int i = 0; e == 0 && cgroup_v1.controllers[i]; i++)
            e = open_root_dir(r, sysfs, cgroup_v1.controllers[i], i, err);
        if (e == 0 && !*sysfs)
            speed_up_attach(r);
    }
    if (e < 0) {
        cgroup_root_close(r);
        return e;
    }
    *ret = r;
    return 0;
}

void cgroup_root_close(struct cgroup_root *r)
{
    if (!r)
        return;
    for (int i = 0; i < r->ndirs; i++) {
        if (r->parents[i] >= 0)
            unlinkat(r->parents[i], r->name, AT_REMOVEDIR);
    }
    for (int i = 0; i < CGROUP_DIRS; i++) {
        fd_close(r->dirs[i]);
        fd_close(r->parents[i]);
    }
    if (*r->speedup) {
        umount2(r->speedup, MNT_DETACH);
        rmdir(r->speedup);
    }
    free(r);
}

const char *cgroup_root_kind(const struct cgroup_root *r)
{
    return r->backend->kind;
}

int cgroup_new(struct cgroup_root *root, const char *name, struct cgroup **ret, struct err *err)
{
    struct cgroup *g = calloc(1, sizeof *g);
    if (!g)
        return err_set(err, -ENOMEM, "make cgroup", NULL);
    for (int i = 0; i < CGROUP_DIRS; i++)
        g->dirs[i] = -1;
    g->root = root;
    snprintf(g->name, sizeof g->name, "%s", name);
    for (int i = 0; i < root->ndirs; i++) {
        int e = root->same[i] == i && mkdirat(root->dirs[i], g->name, 0755) < 0 ? -errno : 0;
        if (e == 0 && (g->dirs[i] = open_dir(root->dirs[i], g->name)) < 0)
            e = g->dirs[i];
        if (e < 0) {
            err_set(err, e, "make cgroup", NULL);
            cgroup_free(g);
            return e;
        }
    }
    *ret = g;
    return 0;
}

int cgroup_set_limits(struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    return g->root->backend->set_limits(g, l, err);
}

int cgroup_attach(struct cgroup *g, pid_t pid, struct err *err)
{
    for (int i = 0; i < g->root->ndirs; i++) {
        int r =
            g->root->same[i] == i ? cgroup_write_u64(g->dirs[i], "cgroup.procs", (uint64_t)pid) : 0;
        if (r < 0)
            return err_set(err, r, "attach to cgroup", NULL);
    }
    return 0;
}

int cgroup_freeze(struct cgroup *g, int frozen, struct err *err)
{
    return g->root->backend->freeze(g, frozen, err);
}

int cgroup_usage(struct cgroup *g, struct cgroup_usage *ret)
{
    *ret = (struct cgroup_usage){0};
    return g->root->backend->usage(g, ret);
}

int cgroup_oom_file(const struct cgroup *g)
{
    int fd = openat(g->dirs[0], g->root->backend->oom_file, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int cgroup_free(struct cgroup *g)
{
    if (!g)
        return 0;
    for (int i = 0; i < g->root->ndirs; i++) {
        if (unlinkat(g->root->dirs[i], g->name, AT_REMOVEDIR) < 0 && errno == EBUSY)
            return -EBUSY;
    }
    for (int i = 0; i < CGROUP_DIRS; i++)
        fd_close(g->dirs[i]);
    free(g);
    return 0;
}
