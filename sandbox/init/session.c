#include "sandbox/init/session.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/id.h"

enum { QUEUE_MAX = 64, STAGE_MIN_US = 200000, NUDGE_US = 20000, NUDGES = 10 };

/* bash moves its two descriptors out of the way of scripts that use low numbers. What it says while
 * it starts (no job control without a terminal) is read and left behind by the first report. */
static const char begin_lines[] =
    "exec 198>&4 199<&3 3<&- 4>&-\n"
    "set +m +H +o history; shopt -u huponexit; PS1= PS2=; unset PROMPT_COMMAND\n"
    "exit() { builtin exit \"$@\" 2>/dev/null; }\n"
    "builtin printf '\\n0 0\\n' >&198\n";
/*
 * The report is on the same line, so that nothing can come between; SIGINT throws that line away,
 * and then the next one reports. A script may have set a prompt (virtual environments do).
 */
#define REPORT "builtin printf '\\n%%llx %%s\\n' 0x%llx $? >&198; PS1= PS2=; unset PROMPT_COMMAND\n"
static const char run_lines[] = ". /proc/self/fd/199 </dev/null; " REPORT REPORT;

enum stage { STAGE_RUN, STAGE_INTERRUPTED, STAGE_KILLED, STAGE_OVER };

struct job {
    struct list item;
    char *script;
    size_t len;
    int stream;
    uint32_t timeout_ms, grace_ms;
};

struct session {
    int script;      /* memfd */
    bool ready;      /* has reported once */
    bool fresh;      /* what ran before has ended, and its state with it */
    struct job *job; /* that runs */
    uint64_t token;  /* what the report of the running script begins with: no script knows it */
    uint32_t how;
    enum stage stage;
    unsigned nudges;  /* that are left, of an interrupted script */
    bool reported;    /* bash went on, and something that the script started has not ended */
    int status;       /* as reported */
    int64_t patience; /* when STAGE_INTERRUPTED ends */
    struct tree_moment since; /* its start */
    int64_t due;
    struct list queue;
    unsigned queued;
    char line[64];
    size_t line_len;
};

static void job_free(struct job *j)
{
    if (!j)
        return;
    list_remove(&j->item);
    fd_close(j->stream);
    free(j->script);
    free(j);
}

static void close_control(struct process *p)
{
    int fd = p->control.watch.fd;
    watch_remove(&p->control.watch);
    fd_close(fd);
}

/* Scripts that wait stay when bash is started again. */
static struct session *make(struct process *p)
{
    struct session *s = p->shell ? p->shell : calloc(1, sizeof *s);
    if (!s)
        return NULL;
    if (!p->shell) {
        list_init(&s->queue);
        s->script = -1;
    } else {
        s->fresh = true;
        close_control(p);
        s->script = fd_close(s->script);
    }
    s->ready = false;
    s->line_len = 0;
    s->due = 0;
    p->shell = s;
    return s;
}

int session_open(struct process *p, int ret_extra[2])
{
    int control[2];
    struct session *s = make(p);
    if (!s)
        return -ENOMEM;
    s->script = memfd_create("script", MFD_CLOEXEC);
    if (s->script < 0 || pipe2(control, O_CLOEXEC) < 0)
        return -errno;
    fd_set_nonblock(control[0], 1);
    p->control.watch.fd = control[0]; /* watched once it runs */
    ret_extra[0] = fcntl(s->script, F_DUPFD_CLOEXEC, 3);
    ret_extra[1] = control[1];
    return ret_extra[0] < 0 ? -errno : 0;
}

static void next_job(struct process *p);

static void job_done(struct process *p, int status, uint32_t how)
{
    struct session *s = p->shell;
    struct wire_session_done done = {.status = status, .how = s->how | how};
    process_drain(p);
    LIST_FOREACH (it, &p->streams)
        if (stream_is_owner(stream_of(it)))
            stream_tell(stream_of(it), WIRE_FRAME_DONE, &done, sizeof done);
    job_free(s->job);
    s->job = NULL;
    s->due = 0;
    process_pump(p);
}

static void job_over(struct process *p)
{
    job_done(p, p->shell->status, 0);
    next_job(p);
}

/* What the running script has started. */
static struct tree script_tree(const struct process *p)
{
    return (struct tree){
        .root = p->pid, .session = p->session, .mark = p->mark, .since = p->shell->since};
}

/* Returns how many are left. */
static unsigned nudge(struct process *p)
{
    struct tree t = script_tree(p);
    return tree_interrupt(&t, p->pid);
}

static void on_line(struct process *p, const char *line)
{
    struct session *s = p->shell;
    char *end;
    uint64_t token = strtoull(line, &end, 16);
    long status = strtol(end, NULL, 10);
    if (!s->ready && !strcmp(line, "0 0")) {
        s->ready = true;
        process_drain(p);
        next_job(p);
    } else if (s->job && token == s->token && !s->reported) {
        s->status = (int)status;
        s->reported = s->stage == STAGE_INTERRUPTED && s->nudges && nudge(p) > 0;
        if (!s->reported)
            job_over(p);
    }
}

static void on_control(struct init_watch *w, uint32_t events)
{
    struct process *p = ((struct process_watch *)w)->process;
    struct session *s = p->shell;
    ssize_t n = read(w->fd, s->line + s->line_len, sizeof s->line - 1 - s->line_len);
    (void)events;
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        close_control(p);
        return;
    }
    s->line_len += n > 0 ? (size_t)n : 0;
    s->line[s->line_len] = 0;
    for (char *nl; (nl = memchr(s->line, '\n', s->line_len));) {
        char line[sizeof s->line];
        size_t len = (size_t)(nl + 1 - s->line);
        memcpy(line, s->line, len);
        line[len - 1] = 0;
        s->line_len -= len;
        memmove(s->line, nl + 1, s->line_len + 1);
        on_line(p, line);
    }
    if (s->line_len == sizeof s->line - 1) /* nothing that bash would write */
        s->line_len = 0;
}

int session_begin(struct process *p)
{
    int fd = p->control.watch.fd;
    p->control.watch.fd = -1;
    int r = watch_add(&p->control.watch, p->table->epoll, fd, EPOLLIN, on_control);
    if (r < 0) {
        close(fd);
        return r;
    }
    long n = process_input(p, begin_lines, sizeof begin_lines - 1);
    return n == (long)sizeof begin_lines - 1 ? 0 : -EIO;
}

void session_drop(struct process *p)
{
    LIST_FOREACH_SAFE (it, &p->shell->queue)
        job_free(LIST_ENTRY(it, struct job, item));
    p->shell->queued = 0;
}

void session_free(struct process *p)
{
    struct session *s = p->shell;
    if (!s)
        return;
    close_control(p);
    job_free(s->job);
    session_drop(p);
    fd_close(s->script);
    free(s);
    p->shell = NULL;
}

/* Whoever asked has gone meanwhile. */
static bool abandoned(const struct job *j)
{
    char c;
    return recv(j->stream, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static int write_script(int fd, const struct job *j)
{
    if (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return -errno;
    return fd_write_all(fd, j->script, j->len);
}

static int start_job(struct process *p, struct job *j)
{
    struct session *s = p->shell;
    char lines[sizeof run_lines + 64];
    int r = write_script(s->script, j);
    if (r == 0)
        r = stream_new(p, STEAL_FD(j->stream), p->log.next, 0, true);
    if (r < 0)
        return r;
    id_random(&s->token, sizeof s->token);
    s->token >>= 1; /* printf of bash counts with a sign */
    s->how = s->fresh ? WIRE_SESSION_FRESH : 0;
    s->fresh = false;
    s->stage = STAGE_RUN;
    s->reported = false;
    s->since = tree_moment_now();
    s->due = j->timeout_ms ? process_now_us() + (int64_t)j->timeout_ms * 1000 : 0;
    s->job = j;
    unsigned long long token = s->token;
    int len = snprintf(lines, sizeof lines, run_lines, token, token);
    if (process_input(p, lines, (size_t)len) != len)
        return -EPIPE;
    process_pump(p);
    return 0;
}

static void next_job(struct process *p)
{
    struct session *s = p->shell;
    while (s->ready && !s->job && !list_empty(&s->queue)) {
        struct job *j = LIST_ENTRY(s->queue.next, struct job, item);
        list_remove(&j->item);
        s->queued--;
        if (abandoned(j)) {
            job_free(j);
        } else if (start_job(p, j) < 0) {
            if (s->job != j)
                job_free(j);
            process_end(p, SIGKILL, 0, WIRE_MARK_KILLED); /* no way to speak to it */
        }
    }
}

int session_run(struct process *p, const struct wire_session_run *run, char *take_script,
                int take_stream)
{
    CLEANUP_FREE char *script = take_script;
    CLEANUP_FD int fd = take_stream;
    struct session *s = p->shell;
    if (!s)
        return -ESRCH;
    if (s->queued == QUEUE_MAX)
        return -ENOBUFS;
    struct job *j = calloc(1, sizeof *j);
    if (!j)
        return -ENOMEM;
    *j = (struct job){.script = STEAL_PTR(script),
                      .len = run->script_len,
                      .stream = STEAL_FD(fd),
                      .timeout_ms = run->timeout_ms,
                      .grace_ms = run->grace_ms};
    list_init(&j->item);
    list_append(&s->queue, &j->item);
    s->queued++;
    next_job(p);
    return 0;
}

/* Each stage is harder than the one before; bash itself goes last. */
static void harder(struct process *p)
{
    struct session *s = p->shell;
    struct tree t = script_tree(p);
    int64_t grace = (int64_t)s->job->grace_ms * 1000;
    switch (s->stage) {
    case STAGE_RUN:
        s->stage = STAGE_INTERRUPTED;
        s->nudges = NUDGES;
        kill(-p->session, SIGINT);
        s->patience = process_now_us() + (grace > STAGE_MIN_US ? grace : STAGE_MIN_US);
        s->due = process_now_us() + NUDGE_US;
        return;
    case STAGE_INTERRUPTED: /* started by this script, and deaf */
        if (s->nudges) {
            s->nudges--;
            bool left = nudge(p) > 0;
            if (s->reported && (!left || !s->nudges))
                job_over(p);
            else
                s->due = s->nudges ? process_now_us() + NUDGE_US : s->patience;
            return;
        }
        s->stage = STAGE_KILLED;
        tree_signal(&t, SIGKILL, p->pid);
        kill(p->pid, SIGINT);
        grace = 0;
        break;
    case STAGE_KILLED: /* it ignores the signal itself */
        s->stage = STAGE_OVER;
        s->due = 0;
        process_end(p, SIGKILL, 0, WIRE_MARK_KILLED);
        return;
    case STAGE_OVER:
        return;
    }
    s->due = process_now_us() + (grace > STAGE_MIN_US ? grace : STAGE_MIN_US);
}

void session_reader_gone(struct process *p)
{
    struct session *s = p->shell;
    if (!s->job || s->stage != STAGE_RUN)
        return;
    s->how |= WIRE_SESSION_CANCELLED;
    harder(p);
}

void session_ended(struct process *p)
{
    struct session *s = p->shell;
    if (s->job)
        job_done(p, p->status, WIRE_SESSION_OVER);
    s->due = 0;
    s->ready = false;
}

void session_tick(struct process *p, int64_t now)
{
    struct session *s = p->shell;
    if (p->state == WIRE_PROCESS_ENDED && p->settled && s->queued && !process_restart(p))
        session_drop(p);
    if (!s->due || s->due > now || !s->job)
        return;
    if (s->stage == STAGE_RUN)
        s->how |= WIRE_SESSION_TIMED_OUT;
    harder(p);
}

int64_t session_due(const struct process *p)
{
    return p->shell->due;
}
