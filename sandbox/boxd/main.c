/*
 * B: starts as kernel-gw, makes what everything else stands on, starts the warm interpreter and the
 * gateway, and then only reacts: to G's requests, to zygotes, to deaths, to SIGTERM. The only
 * privileged process while the server runs.
 */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/log.h"
#include "sandbox/base/oom.h"
#include "sandbox/box/uids.h"
#include "sandbox/boxd/child.h"
#include "sandbox/boxd/discovery.h"
#include "sandbox/boxd/host.h"
#include "sandbox/boxd/leftovers.h"
#include "sandbox/boxd/listen.h"
#include "sandbox/boxd/server.h"
#include "sandbox/boxd/services.h"
#include "sandbox/fs/mount.h"
#include "sandbox/ns/bounds.h"
#include "sandbox/ns/userns.h"
#include "sandbox/seccomp/filter.h"

static const struct box_events box_events = {request_box_created, request_box_gone, zygotes_clone};

struct box *server_find_box(struct server *s, uint64_t number)
{
    LIST_FOREACH (it, &s->boxes) {
        struct box *b = LIST_ENTRY(it, struct box, link);
        if (b->number == number)
            return b;
    }
    return NULL;
}

/* A person at a terminal sees the token; a log, which others may read, gets the place of it. */
static void print_token(const struct server *s)
{
    const struct config *c = &s->config;
    if (isatty(STDOUT_FILENO))
        printf("  export TOKEN=%s\n", s->token);
    else if (*c->token_file)
        printf("  export TOKEN=$(cat %s)\n", c->token_file);
    else if (*c->token)
        printf("  the token is the one that the server was started with\n");
    else
        printf("  export TOKEN=$(cat %s/token)\n", c->state_dir);
}

/* Once both have come up, with all that they were told to do. */
static void announce(struct server *s)
{
    if (s->announced || !s->gateway_up || !s->egress_up)
        return;
    s->announced = true;
    discovery_publish(s->config.state_dir, s->listen_text, s->token);
    printf("listening on %s\n\n", s->listen_text);
    print_token(s);
    printf("\nTry:\n"
           "  cellbox run demo - <<< 'import pandas as pd; pd.DataFrame({\"x\": [1, 2]})'\n"
           "  curl -N -H \"Authorization: Bearer $TOKEN\" -H 'Accept: text/event-stream' \\\n"
           "       %s/v1/sandboxes/demo/run -d '{\"code\": \"for i in range(3): print(i)\"}'\n"
           "  cellbox kernelspec install --user && jupyter console --kernel cellbox-python\n",
           s->listen_text);
    fflush(stdout);
}

void server_gateway_ready(struct server *s)
{
    log_info("gateway", "ready", "url=%s", s->listen_text);
    s->gateway_up = true;
    announce(s);
}

void server_egress_ready(struct server *s)
{
    s->egress_up = true;
    announce(s);
}

static int make_dir(const char *path, mode_t mode, uid_t uid, struct err *err)
{
    if ((mkdir(path, mode) < 0 && errno != EEXIST) || chmod(path, mode) < 0 ||
        chown(path, uid, uid) < 0)
        return err_set(err, -errno, "make directory", "%s: %s", path, strerror(errno));
    return 0;
}

static int make_state(struct server *s, struct err *err)
{
    char path[300];
    const struct config *c = &s->config;
    for (const char *p = c->state_dir + 1; (p = strchr(p, '/')); p++) {
        snprintf(path, sizeof path, "%.*s", (int)(p - c->state_dir), c->state_dir);
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            return err_set(err, -errno, "make directory", "%s: %s", path, strerror(errno));
    }
    int r = make_dir(c->state_dir, 0711, 0, err);
    if (r == 0)
        r = discovery_token(c->state_dir, c->token, s->token, sizeof s->token, err);
    return r;
}

/* Slot 0 holds the uids of many servers, SERVER_UIDS each: those that its state belongs to, or the
 * first that no other has. */
static int choose_uids(struct server *s, struct err *err)
{
    enum { SERVERS = UID_RANGE / SERVER_UIDS };
    char path[300];
    struct stat st;
    uint32_t base = s->config.uid_base, last = SERVERS;
    s->uids = uids_open(err);
    if (s->uids < 0)
        return s->uids;
    snprintf(path, sizeof path, "%s/gateway", s->config.state_dir);
    if (lstat(path, &st) == 0 && st.st_uid >= base && st.st_uid - base < UID_RANGE)
        last = (st.st_uid - base) / SERVER_UIDS;
    for (uint32_t i = 0; i <= SERVERS; i++) {
        uint32_t n = i == 0 ? last : i - 1;
        if (n < SERVERS && uids_claim(s->uids, base + n * SERVER_UIDS, SERVER_UIDS)) {
            s->own_uids = base + n * SERVER_UIDS;
            return 0;
        }
    }
    return err_set(err, -EUSERS, "choose uids", "all are used by other servers of this host");
}

/* Its files, too, when its owner is another than last time. No link is followed. */
static int own_dir(struct server *s, const char *name, uid_t uid, struct err *err)
{
    char path[300];
    char *const paths[] = {path, NULL};
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", s->config.state_dir, name);
    bool moved = lstat(path, &st) == 0 && st.st_uid != uid;
    FTS *f = moved ? fts_open(paths, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL) : NULL;
    for (FTSENT *e; f && (e = fts_read(f));)
        if (e->fts_info != FTS_DP && lchown(e->fts_accpath, uid, uid) < 0)
            log_warn("server", "not_owned", "file=%s reason=%s", log_quote(e->fts_path),
                     log_quote(strerror(errno)));
    if (f)
        fts_close(f);
    return make_dir(path, 0700, uid, err);
}

/* One server per state directory: two would fight over disks and uid ranges. The lock lives as long
 * as the process. */
static int lock_state(struct server *s, struct err *err)
{
    char path[300];
    snprintf(path, sizeof path, "%s/lock", s->config.state_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct flock l = {.l_type = F_WRLCK};
    if (fd < 0)
        return err_set(err, -errno, "lock state directory", "%s: %s", path, strerror(errno));
    if (fcntl(fd, F_SETLK, &l) < 0)
        return err_set(err, -EBUSY, "lock state directory",
                       "another server uses %s; stop it or choose another with --state-dir",
                       s->config.state_dir);
    return 0;
}

/* Z is root of this namespace: it maps Z's own uid and all uids of boxes, and nothing of the
 * host's. */
static int make_zygote_userns(struct server *s, struct err *err)
{
    uint32_t base = s->config.uid_base;
    struct userns_range ranges[] = {
        {0, s->own_uids + UID_ZYGOTE, 1},
        {UID_RANGE, base + UID_RANGE, (UID_SLOTS - 1) * (uint32_t)UID_RANGE}};
    return userns_new_fd(ranges, 2, s->own_uids + UID_ZYGOTE, &s->zygote_userns, err);
}

/*
 * B mounts images where nobody else sees them, and they go away with it. Copies for boxes are taken
 * by path, because kernels before 6.15 cannot copy a mount that is attached nowhere.
 */
static int own_mounts(struct err *err)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return err_set(err, -errno, "unshare mounts", NULL);
    return 0;
}

/*
 * The state of G and E stands inside a directory that their uids may not be able to reach (a home,
 * a temporary directory): in B's mount namespace, which they share, it has a second place that
 * everybody can.
 */
static int mount_place(const char *path, const char *name, char ret_place[64], struct err *err)
{
    CLEANUP_FD int mount_fd = -1;
    snprintf(ret_place, 64, "/run/cellbox/%s-%d", name, (int)getpid());
    int r = mkdir("/run/cellbox", 0755) < 0 && errno != EEXIST ? -errno : 0;
    if (r == 0 && mkdir(ret_place, 0700) < 0 && errno != EEXIST)
        r = -errno;
    if (r < 0)
        return err_set(err, r, "make directory", "%s: %s", ret_place, strerror(-r));
    r = mount_clone(AT_FDCWD, path, 0, &mount_fd, err);
    return r < 0 ? r : mount_attach(mount_fd, ret_place, err);
}

static int mount_state(struct server *s, const char *name, char ret_place[64], struct err *err)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", s->config.state_dir, name);
    return mount_place(path, name, ret_place, err);
}

static void unmount_state(const char *place)
{
    umount2(place, MNT_DETACH);
    rmdir(place);
}

static void raise_limits(void)
{
    struct rlimit l = {1 << 20, 1 << 20};
    if (setrlimit(RLIMIT_NOFILE, &l) < 0 && getrlimit(RLIMIT_NOFILE, &l) == 0) {
        l.rlim_cur = l.rlim_max;
        setrlimit(RLIMIT_NOFILE, &l);
    }
    bounds_lift();
}

static struct box *find_by_pid(struct server *s, pid_t pid)
{
    LIST_FOREACH (it, &s->boxes) {
        struct box *b = LIST_ENTRY(it, struct box, link);
        if (b->pid == pid)
            return b;
    }
    return NULL;
}

/* One signal stands for any number of children. */
static void on_child(uv_signal_t *h, int signum)
{
    struct server *s = h->data;
    int status;
    (void)signum;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        struct box *b = find_by_pid(s, pid);
        if (b)
            box_reaped(b, status);
        else if (!child_reaped(s->gateway, pid, status) && !child_reaped(s->egress, pid, status))
            zygotes_reaped(s, pid, status);
    }
}

static void stop(struct server *s)
{
    if (s->stopping)
        return;
    s->stopping = true;
    log_info("server", "stopping", NULL);
    LIST_FOREACH (it, &s->boxes)
        request_box_used(s, LIST_ENTRY(it, struct box, link));
    child_stop(s->gateway);
    child_stop(s->egress);
    zygotes_stop(s);
    uv_stop(&s->loop);
}

void server_give_up(struct server *s, const char *step, const char *text)
{
    fprintf(stderr, "kernel-gw: cannot go on: %s: %s\n", step, text);
    s->exit_status = 1;
    stop(s);
}

static void on_signal(uv_signal_t *h, int signum)
{
    (void)signum;
    stop(h->data);
}

/*
 * A zygote that was killed while it cloned a box leaves a child of ours (CLONE_PARENT) that stands
 * in no list yet: it waits for what will never come, and so would we.
 */
static void kill_strays(const struct server *s)
{
    char path[64], pids[65536];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    if (fd_read_file_at(AT_FDCWD, path, pids, sizeof pids) <= 0)
        return;
    for (char *p = pids, *end; *p; p = end) {
        pid_t pid = (pid_t)strtol(p, &end, 10);
        if (end == p)
            break;
        if (pid != child_pid(s->gateway) && pid != child_pid(s->egress))
            kill(pid, SIGKILL);
    }
}

/* Boxes die by SIGKILL, those too whose clone was under way and is there only now; their cgroups
 * can go once they are reaped. */
static void wind_up(struct server *s)
{
    while (!list_empty(&s->boxes)) {
        LIST_FOREACH (it, &s->boxes)
            box_kill(LIST_ENTRY(it, struct box, link), 0);
        uv_run(&s->loop, UV_RUN_ONCE);
    }
    discovery_withdraw(s->config.state_dir);
    unmount_state(s->gateway_state);
    unmount_state(s->egress_state);
    unmount_state(s->handlers);
    do
        kill_strays(s);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR);
    services_undo(s);
    cgroup_root_close(s->cgroups);
}

static int prepare(struct server *s, struct err *err)
{
    char name[64];
    if (geteuid() != 0)
        return err_set(err, -EPERM, "start",
                       "the server needs root to make sandboxes; start it with sudo");
    int r = own_mounts(
        err); /* first: a directory opened before would belong to the old mount namespace */
    if (r == 0)
        r = make_state(s, err);
    if (r == 0)
        r = lock_state(s, err);
    if (r == 0)
        r = choose_uids(s, err);
    if (r == 0)
        r = own_dir(s, "gateway", s->own_uids + UID_GATEWAY, err);
    if (r == 0)
        r = own_dir(s, "egress", s->own_uids + UID_EGRESS, err);
    leftovers_sweep();
    if (r == 0)
        r = mount_state(s, "gateway", s->gateway_state, err);
    if (r == 0)
        r = mount_state(s, "egress", s->egress_state, err);
    if (r == 0)
        r = mount_place(s->config.handlers, "handlers", s->handlers, err);
    if (r == 0)
        r = listen_open(s->config.listen, &s->listen_fd, s->listen_text, sizeof s->listen_text,
                        err);
    if (r == 0)
        r = disks_open(s->config.state_dir, s->config.uid_base, s->uids, &s->disks, err);
    snprintf(name, sizeof name, "cellbox-%d", (int)getpid());
    if (r == 0)
        r = cgroup_root_open("", name, &s->cgroups, err);
    if (r == 0)
        r = services_prepare(s, err);
    if (r == 0)
        r = filter_compile(FILTER_BOX, &s->filter, err);
    if (r == 0)
        r = filter_compile(FILTER_GATEWAY, &s->gateway_filter, err);
    if (r == 0)
        r = filter_compile(FILTER_EGRESS, &s->egress_filter, err);
    if (r == 0)
        r = make_zygote_userns(s, err);
    return r;
}

static void watch_signal(struct server *s, uv_signal_t *h, uv_signal_cb cb, int signum)
{
    uv_signal_init(&s->loop, h);
    h->data = s;
    uv_signal_start(h, cb, signum);
}

int main(int argc, char **argv)
{
    static struct server s;
    struct err err = {0};
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    log_init("boxd");
    int r = config_load(&s.config, argc, argv, &err);
    if (r > 0)
        return 0;
    prctl(PR_SET_NAME, "cbx-boxd");
    umask(022);
    sigaction(SIGPIPE, &ignore, NULL); /* the reader of the log may go */
    raise_limits();
    if (geteuid() == 0 && oom_set_own(OOM_BOXD) < 0)
        log_warn("server", "not_protected_from_lack_of_memory", "reason=%s",
                 log_quote("it needs CAP_SYS_RESOURCE"));
    list_init(&s.boxes);
    if (r == 0)
        r = egress_read_files(&s, &err);
    if (r == 0)
        r = prepare(&s, &err);
    if (r == 0)
        host_raise_limits();
    if (r == 0 && (r = uv_loop_init(&s.loop)) == 0) {
        watch_signal(&s, &s.sigchld, on_child, SIGCHLD);
        watch_signal(&s, &s.sigterm, on_signal, SIGTERM);
        watch_signal(&s, &s.sigint, on_signal, SIGINT);
        s.box_config = (struct box_config){&s.loop, s.disks, s.filter, &box_events, &s};
        usage_start(&s);
        r = egress_start(&s, &err);
    }
    if (r == 0)
        r = zygotes_start(&s, &err);
    if (r == 0)
        r = gateway_start(&s, &err);
    if (r < 0) {
        fprintf(stderr, "kernel-gw: cannot start: %s: %s\n", err.step, err.text);
        return 1;
    }
    uv_run(&s.loop, UV_RUN_DEFAULT);
    wind_up(&s);
    return s.exit_status;
}
