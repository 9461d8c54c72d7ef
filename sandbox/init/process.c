/*
 * One process: start, output, input, end, and the start after that. Its end is told only when all
 * that it wrote before has been read, and when its tree is gone if somebody asked for that.
 */
#include "sandbox/init/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/init/pty.h"
#include "sandbox/init/session.h"
#include "sandbox/init/spawn.h"

enum {
    READ_MAX = 64 << 10,
    /* Above what a drain may add: the owner of a command misses nothing. */
    LOG_MARGIN = 192 << 10,
    TTY_DRAIN_US = 100000, /* output on its way through the terminal, when others hold it open */
    RESTART_MIN_US = 100000,
    RESTART_MAX_US = 30000000,
    STABLE_US = 10000000, /* a run this long begins the delays anew */
    KILL_AGAIN_US = 20000
};

int64_t process_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static uint64_t wall_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void process_info(const struct process *p, struct wire_process_info *ret)
{
    *ret = (struct wire_process_info){.kind = p->start.kind,
                                      .state = p->state,
                                      .marks = p->marks,
                                      .pid = p->pid,
                                      .status = p->status,
                                      .error = p->error,
                                      .number = p->number,
                                      .restarts = p->restarts,
                                      .note_len = p->start.note_len,
                                      .cols = p->cols,
                                      .rows = p->rows,
                                      .started_us = p->started_us,
                                      .ended_us = p->ended_us,
                                      .first = p->log.first,
                                      .next = p->log.next};
    memcpy(ret->id, p->start.id, sizeof ret->id);
    ret->streams = (uint32_t)list_count(&p->streams);
    if (p->log.first)
        ret->marks |= WIRE_MARK_LOST;
}

/* ---- output ---- */

void process_pump(struct process *p)
{
    LIST_FOREACH_SAFE (it, &p->streams)
        stream_pump(stream_of(it));
}

static bool held_back(const struct process *p)
{
    uint64_t behind = 0;
    LIST_FOREACH (it, &p->streams) {
        uint64_t n = stream_behind(stream_of(it));
        behind = n > behind ? n : behind;
    }
    return behind + LOG_MARGIN > p->log.max;
}

void process_resume(struct process *p)
{
    bool hold = held_back(p);
    for (int i = 0; i < PROCESS_SOURCES; i++)
        watch_set(&p->source[i].watch, hold ? p->source[i].watch.events & ~(uint32_t)EPOLLIN
                                            : p->source[i].watch.events | EPOLLIN);
}

static void source_close(struct process *p, int i)
{
    int fd = p->source[i].watch.fd;
    if (fd < 0)
        return;
    if (p->input.watch.fd == fd) /* a terminal: one descriptor both ways */
        p->input.watch.fd = -1;
    watch_remove(&p->source[i].watch);
    close(fd);
}

/* Reads once. Bytes read, 0: nothing now; negative: the end. */
static ssize_t source_read(struct process *p, int i, size_t most)
{
    static uint8_t bytes[READ_MAX];
    int fd = p->source[i].watch.fd;
    ssize_t n;
    if (fd < 0)
        return -EBADF;
    do
        n = read(fd, bytes, most < sizeof bytes ? most : sizeof bytes);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0) {
        source_close(p, i);
        return -EIO;
    }
    /* After the end of a command nobody is told what its children write. */
    if (!(p->settled && p->start.kind == WIRE_PROCESS_COMMAND))
        ring_put(&p->log, (uint32_t)i + WIRE_FRAME_STDOUT, wall_us(), bytes, (size_t)n);
    return n;
}

void process_drain(struct process *p)
{
    for (int i = 0; i < PROCESS_SOURCES; i++) {
        int left = 0;
        if (p->source[i].watch.fd < 0 || ioctl(p->source[i].watch.fd, FIONREAD, &left) < 0)
            continue;
        while (left > 0) {
            ssize_t n = source_read(p, i, (size_t)left);
            if (n <= 0)
                break;
            left -= (int)n;
        }
    }
}

static void finish_run(struct process *p);

/* One after the other: who has to wait again does so behind the others. */
static void serve_writers(struct process *p)
{
    while (!list_empty(&p->writers)) {
        struct list *first = p->writers.next;
        list_remove(first);
        stream_input(stream_of_writer(first));
        if (p->writers.prev == first)
            return;
    }
}

static void on_output(struct init_watch *w, uint32_t events)
{
    struct process_watch *pw = (struct process_watch *)w;
    struct process *p = pw->process;
    int i = (int)(pw - p->source);
    if (i == PROCESS_OUT && p->input.watch.fd == w->fd && (events & EPOLLOUT)) {
        watch_set(w, w->events & ~(uint32_t)EPOLLOUT);
        serve_writers(p);
    }
    ssize_t n = events & (EPOLLIN | EPOLLHUP | EPOLLERR) ? source_read(p, i, READ_MAX) : 0;
    if (n > 0)
        process_pump(p);
    if (n < 0 && p->drain_at) /* the terminal has said its last word */
        finish_run(p);
    process_resume(p);
}

/* ---- input ---- */

static void input_close(struct process *p)
{
    int fd = p->input.watch.fd;
    if (fd < 0 || fd == p->source[PROCESS_OUT].watch.fd)
        return;
    watch_remove(&p->input.watch);
    close(fd);
}

static void on_input_room(struct init_watch *w, uint32_t events)
{
    struct process *p = ((struct process_watch *)w)->process;
    watch_set(w, 0);
    if (events & (EPOLLERR | EPOLLHUP)) /* nobody reads it any more */
        input_close(p);
    serve_writers(p);
}

long process_input(struct process *p, const void *data, size_t len)
{
    if (p->input.watch.fd < 0)
        return -EPIPE;
    ssize_t n;
    do
        n = write(p->input.watch.fd, data, len);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? 0 : -errno;
    return n;
}

void process_input_wait(struct process *p, struct list *writer)
{
    list_remove(writer);
    list_append(&p->writers, writer);
    if (p->input.watch.fd == p->source[PROCESS_OUT].watch.fd)
        watch_set(&p->source[PROCESS_OUT].watch, p->source[PROCESS_OUT].watch.events | EPOLLOUT);
    else
        watch_set(&p->input.watch, EPOLLOUT);
}

void process_input_end(struct process *p)
{
    if (p->start.kind != WIRE_PROCESS_SESSION)
        input_close(p);
}

void process_set_size(struct process *p, uint16_t cols, uint16_t rows)
{
    int master = p->source[PROCESS_OUT].watch.fd;
    if (p->start.kind != WIRE_PROCESS_TERMINAL || !cols || !rows || cols > PTY_SIZE_MAX ||
        rows > PTY_SIZE_MAX)
        return;
    p->cols = cols;
    p->rows = rows;
    if (master >= 0)
        pty_resize(master, cols, rows);
}

pid_t process_foreground(const struct process *p)
{
    pid_t group;
    int master = p->source[PROCESS_OUT].watch.fd;
    if (p->start.kind == WIRE_PROCESS_TERMINAL && master >= 0 &&
        ioctl(master, TIOCGPGRP, &group) == 0 && group > 1)
        return -group;
    return p->pid;
}

/* ---- start ---- */

/* Descriptors of a run: ours and the child's. */
struct run_fds {
    int in[2], out[2], err[2], extra[2];
};

static void run_fds_close(struct run_fds *f)
{
    int *all[] = {&f->in[0],  &f->in[1],  &f->out[0],   &f->out[1],
                  &f->err[0], &f->err[1], &f->extra[0], &f->extra[1]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        *all[i] = fd_close(*all[i]);
}

static int open_terminal(struct process *p, struct run_fds *f)
{
    struct pty pty;
    int r = pty_open(p->cols, p->rows, &pty);
    if (r < 0)
        return r;
    f->out[0] = pty.master;
    f->in[0] = pty.slave;
    f->out[1] = fcntl(pty.slave, F_DUPFD_CLOEXEC, 3);
    f->err[1] = fcntl(pty.slave, F_DUPFD_CLOEXEC, 3);
    return f->out[1] < 0 || f->err[1] < 0 ? -errno : 0;
}

static int open_pipes(struct process *p, struct run_fds *f)
{
    if (pipe2(f->out, O_CLOEXEC) < 0 || pipe2(f->err, O_CLOEXEC) < 0)
        return -errno;
    fd_set_nonblock(f->out[0], 1);
    fd_set_nonblock(f->err[0], 1);
    if (!(p->start.flags & WIRE_PROCESS_STDIN)) {
        f->in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        return f->in[0] < 0 ? -errno : 0;
    }
    if (pipe2(f->in, O_CLOEXEC) < 0)
        return -errno;
    fd_set_nonblock(f->in[1], 1);
    return 0;
}

/* The kernel bounds one argument to 128 KiB; a file has no such bound. */
static int open_script(const char *text)
{
    CLEANUP_FD int fd = memfd_create("script", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = fd_write_all(fd, text, strlen(text));
    return r < 0 ? r : STEAL_FD(fd);
}

static int watch_run(struct process *p, struct run_fds *f)
{
    int epoll = p->table->epoll;
    int r = watch_add(&p->source[PROCESS_OUT].watch, epoll, f->out[0], EPOLLIN, on_output);
    if (r < 0)
        return r;
    if (p->start.kind == WIRE_PROCESS_TERMINAL)
        p->input.watch.fd = f->out[0];
    f->out[0] = -1;
    if (f->err[0] >= 0) {
        r = watch_add(&p->source[PROCESS_ERR].watch, epoll, f->err[0], EPOLLIN, on_output);
        if (r < 0)
            return r;
        f->err[0] = -1;
    }
    if (f->in[1] >= 0) {
        r = watch_add(&p->input.watch, epoll, f->in[1], 0, on_input_room);
        if (r < 0)
            return r;
        f->in[1] = -1;
    }
    return 0;
}

static void begun(struct process *p, pid_t pid)
{
    int64_t now = process_now_us();
    p->pid = p->session = pid;
    p->state = WIRE_PROCESS_RUNNING;
    p->reaped = p->settled = p->ending = false;
    p->oom_before = processes_oom_kills(p->table);
    p->started_us = wall_us();
    p->ended_us = 0;
    p->kill_at = p->drain_at = p->restart_at = 0;
    p->timeout_at = p->start.timeout_ms ? now + (int64_t)p->start.timeout_ms * 1000 : 0;
}

static int open_fds(struct process *p, struct run_fds *f)
{
    int r = p->start.kind == WIRE_PROCESS_TERMINAL ? open_terminal(p, f) : open_pipes(p, f);
    if (r == 0 && (p->start.flags & WIRE_PROCESS_SCRIPT)) {
        f->extra[0] = open_script(p->argv[p->start.argc - 1]);
        r = f->extra[0] < 0 ? f->extra[0] : 0;
    } else if (r == 0 && p->given >= 0) {
        f->extra[0] = fcntl(p->given, F_DUPFD_CLOEXEC, 3);
        r = f->extra[0] < 0 ? -errno : 0;
    } else if (r == 0 && p->start.kind == WIRE_PROCESS_SESSION) {
        r = session_open(p, f->extra);
    }
    return r;
}

static int run(struct process *p, struct err *err)
{
    struct run_fds f = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
    pid_t pid;
    int r = open_fds(p, &f);
    if (r < 0) {
        run_fds_close(&f);
        return err_set(err, r, "make input and output", NULL);
    }
    char *file[] = {p->argv[0], (char *)"/proc/self/fd/3", NULL};
    struct spawn s = {.cwd = p->spec,
                      .argv = p->start.flags & WIRE_PROCESS_SCRIPT ? file : p->argv,
                      .envp = p->envp,
                      .fds = {f.in[0], f.out[1], f.err[1]},
                      .extra = {f.extra[0], f.extra[1]},
                      .terminal = p->start.kind == WIRE_PROCESS_TERMINAL,
                      .any_shell = !strcmp(p->argv[0], "bash"),
                      .as_box_user = p->table->as_box_user};
    r = spawn_run(&s, &pid, err);
    if (r == 0) {
        begun(p, pid);
        r = watch_run(p, &f);
        if (r < 0) {
            kill(pid, SIGKILL);
            err_set(err, r, "watch the process", NULL);
        }
    }
    run_fds_close(&f);
    if (r == 0 && p->shell)
        r = session_begin(p);
    return r;
}

/* Cuts the spec into its strings. */
static int read_spec(struct process *p)
{
    const struct wire_process_start *st = &p->start;
    char *at = p->spec, *end = p->spec + st->spec_len;
    if (!st->argc || st->note_len > st->spec_len || st->note_len > WIRE_PROCESS_NOTE_MAX ||
        st->argc > st->spec_len || st->envc > st->spec_len)
        return -EINVAL;
    end -= st->note_len;
    p->note = end;
    p->argv = calloc(st->argc + 1, sizeof *p->argv);
    p->envp = calloc(st->envc + 2, sizeof *p->envp);
    if (!p->argv || !p->envp)
        return -ENOMEM;
    for (size_t i = 0; i < 1 + (size_t)st->argc + st->envc; i++) {
        char *nul = at < end ? memchr(at, 0, (size_t)(end - at)) : NULL;
        if (!nul)
            return -EINVAL;
        if (i > st->argc)
            p->envp[i - 1 - st->argc] = at;
        else if (i > 0)
            p->argv[i - 1] = at;
        at = nul + 1;
    }
    snprintf(p->mark, sizeof p->mark, TREE_VARIABLE "=%s", st->id);
    p->envp[st->envc] = p->mark;
    return at == end ? 0 : -EINVAL;
}

struct process *process_start(struct processes *t, const struct wire_process_start *start,
                              char *take_spec, int take_given, int take_stream, struct err *err)
{
    CLEANUP_FD int fd = take_stream, given = take_given;
    CLEANUP_FREE char *spec = take_spec;
    struct process *p = calloc(1, sizeof *p);
    if (!p) {
        err_set(err, -ENOMEM, "start process", NULL);
        return NULL;
    }
    p->start = *start;
    p->table = t;
    p->spec = STEAL_PTR(spec);
    p->given = given;
    p->pid = p->session = -1;
    p->cols = start->cols;
    p->rows = start->rows;
    for (int i = 0; i < PROCESS_SOURCES; i++)
        p->source[i] = (struct process_watch){{.fd = -1}, p};
    p->input = p->control = (struct process_watch){{.fd = -1}, p};
    list_init(&p->item);
    list_init(&p->streams);
    list_init(&p->writers);
    ring_init(&p->log, start->log_max < 2 * LOG_MARGIN ? 2 * LOG_MARGIN : start->log_max);
    int r = read_spec(p);
    if (r < 0)
        err_set(err, r, "read request", "malformed process");
    else
        r = run(p, err);
    p->given = -1;
    if (r == 0 && fd >= 0 &&
        (r = stream_new(p, STEAL_FD(fd), 0, 0, start->flags & WIRE_PROCESS_TIED)) < 0)
        err_set(err, r, "open stream", NULL);
    if (r < 0) {
        if (p->pid > 0)
            kill(p->pid, SIGKILL);
        process_free(p);
        return NULL;
    }
    p->number = ++t->number;
    t->count++;
    list_append(&t->list, &p->item);
    return p;
}

int process_attach(struct process *p, int take_fd, uint64_t cursor, uint8_t flags)
{
    int r = stream_new(p, take_fd, cursor, flags, false);
    if (r == 0)
        stream_pump(stream_of(p->streams.prev));
    return r;
}

void process_free(struct process *p)
{
    while (!list_empty(&p->streams))
        stream_free(stream_of(p->streams.next));
    if (!list_empty(&p->item))
        p->table->count--;
    list_remove(&p->item);
    session_free(p);
    input_close(p);
    for (int i = 0; i < PROCESS_SOURCES; i++)
        source_close(p, i);
    ring_deinit(&p->log);
    free(p->argv);
    free(p->envp);
    free(p->spec);
    free(p);
}

/* ---- end ---- */

static struct tree tree_of(const struct process *p)
{
    return (struct tree){.root = p->pid, .session = p->session, .mark = p->mark};
}

void process_end(struct process *p, int signo, uint32_t grace_ms, uint8_t mark)
{
    struct tree t = tree_of(p);
    p->marks |= mark;
    p->ending = true;
    p->timeout_at = 0;
    p->start.restart = mark & WIRE_MARK_KILLED ? WIRE_RESTART_NEVER : p->start.restart;
    tree_signal(&t, signo, 0);
    if (signo == SIGKILL)
        p->kill_at = process_now_us() + KILL_AGAIN_US;
    else if (grace_ms)
        p->kill_at = process_now_us() + (int64_t)grace_ms * 1000;
    else
        p->ending = false; /* just a signal: it may well go on */
    if (p->state == WIRE_PROCESS_WAITING && mark) {
        p->restart_at = 0;
        p->state = WIRE_PROCESS_ENDED;
        p->settled = true;
        process_pump(p);
    }
}

static bool wants_restart(const struct process *p)
{
    bool failed = !(WIFEXITED(p->status) && WEXITSTATUS(p->status) == 0);
    if (p->start.restart == WIRE_RESTART_NEVER ||
        (p->start.restart_max && p->restarts >= p->start.restart_max))
        return false;
    return p->start.restart == WIRE_RESTART_ALWAYS || failed;
}

static void plan_restart(struct process *p)
{
    struct wire_process_info info;
    int64_t delay = RESTART_MIN_US;
    if (p->ended_us - p->started_us < STABLE_US)
        for (uint32_t i = 0; i < p->restarts && delay < RESTART_MAX_US; i++)
            delay *= 2;
    p->state = WIRE_PROCESS_WAITING;
    p->restart_at = process_now_us() + (delay < RESTART_MAX_US ? delay : RESTART_MAX_US);
    process_info(p, &info);
    LIST_FOREACH (it, &p->streams)
        stream_tell(stream_of(it), WIRE_FRAME_RESTART, &info, sizeof info);
}

/* The run is over and nothing of its output is under way. */
static void finish_run(struct process *p)
{
    p->drain_at = p->kill_at = 0;
    p->ending = false;
    input_close(p);
    if (p->start.kind != WIRE_PROCESS_COMMAND && wants_restart(p)) {
        plan_restart(p);
    } else {
        p->state = WIRE_PROCESS_ENDED;
        p->settled = true;
    }
    process_pump(p);
}

void process_settle(struct process *p)
{
    struct tree t = tree_of(p);
    if (!p->reaped || p->settled || p->state != WIRE_PROCESS_RUNNING)
        return;
    if (p->ending && tree_count(&t) > 0)
        return; /* the next child that ends, or the clock, looks again */
    process_drain(p);
    if (p->start.kind == WIRE_PROCESS_TERMINAL && p->source[PROCESS_OUT].watch.fd >= 0) {
        if (!p->drain_at)
            p->drain_at = process_now_us() + TTY_DRAIN_US;
        process_pump(p);
        return;
    }
    finish_run(p);
}

/* The kernel tells nobody why it kills. A shell that waits for who was killed says it by its code.
 */
static bool ran_out_of_memory(const struct process *p, int status)
{
    bool killed =
        WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 128 + SIGKILL;
    return killed && !(p->marks & (WIRE_MARK_KILLED | WIRE_MARK_TIMED_OUT)) &&
           processes_oom_kills(p->table) > p->oom_before;
}

void process_reaped(struct process *p, int status)
{
    if (ran_out_of_memory(p, status))
        p->marks |= WIRE_MARK_OUT_OF_MEMORY;
    p->status = status;
    p->reaped = true;
    p->pid = -1;
    p->ended_us = wall_us();
    p->timeout_at = 0;
    if (p->shell)
        session_ended(p);
    process_settle(p);
}

bool process_restart(struct process *p)
{
    struct err err = {0};
    p->restart_at = 0;
    p->restarts++;
    input_close(p);
    for (int i = 0; i < PROCESS_SOURCES; i++)
        source_close(p, i);
    int r = run(p, &err);
    p->error = r;
    if (r == 0)
        return true;
    p->state = WIRE_PROCESS_ENDED;
    p->settled = true;
    process_pump(p);
    return false;
}

static void kill_due(struct process *p, int64_t now)
{
    struct tree t = tree_of(p);
    if (tree_signal(&t, SIGKILL, 0) > 0) /* what was being forked meanwhile */
        p->kill_at = now + KILL_AGAIN_US;
    else
        p->kill_at = 0;
    process_settle(p);
}

int64_t process_tick(struct process *p, int64_t now)
{
    if (p->input.watch.fd < 0) /* nobody reads any more: they are told */
        serve_writers(p);
    if (p->timeout_at && p->timeout_at <= now)
        process_end(p, p->start.grace_ms ? SIGTERM : SIGKILL, p->start.grace_ms,
                    WIRE_MARK_TIMED_OUT);
    if (p->kill_at && p->kill_at <= now)
        kill_due(p, now);
    if (p->drain_at && p->drain_at <= now) {
        process_drain(p);
        finish_run(p);
    }
    if (p->restart_at && p->restart_at <= now)
        process_restart(p);
    if (p->shell)
        session_tick(p, now);
    int64_t due[] = {p->timeout_at, p->kill_at, p->drain_at, p->restart_at,
                     p->shell ? session_due(p) : 0};
    int64_t next = 0;
    for (size_t i = 0; i < sizeof due / sizeof *due; i++)
        if (due[i] && (!next || due[i] < next))
            next = due[i];
    return next;
}

bool process_is_over(const struct process *p)
{
    bool quiet = p->source[PROCESS_OUT].watch.fd < 0 && p->source[PROCESS_ERR].watch.fd < 0;
    bool wanted = !p->forgotten && !(p->start.kind == WIRE_PROCESS_COMMAND && quiet);
    return p->settled && !p->kill_at && !wanted && list_empty(&p->streams);
}
