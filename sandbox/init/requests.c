#include "sandbox/init/requests.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/init/session.h"

enum { PROCESSES_MAX = 4096 };

static void reply(struct init_requests *r, const struct wire_head *to, const struct err *err)
{
    struct wire_reply m = {.h = {.type = WIRE_REPLY, .seq = to->seq, .box = to->box}};
    if (err)
        m.err = *err;
    (void)fd_send_wait(r->link, &m, sizeof m, NULL, 0, 1000);
}

static void reply_code(struct init_requests *r, const struct wire_head *to, int code,
                       const char *text)
{
    struct err err = {0};
    if (code)
        err_set(&err, code, "process", text ? "%s" : NULL, text);
    reply(r, to, &err);
}

/* Bytes that came in a memfd; never the one of the sender, who could change them. */
static char *read_memfd(int fd, size_t len)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != len || len > WIRE_PROCESS_SPEC_MAX)
        return NULL;
    char *text = malloc(len + 1);
    size_t at = 0;
    for (ssize_t n; text && at < len && (n = pread(fd, text + at, len - at, (off_t)at)) > 0;)
        at += (size_t)n;
    if (text && at < len) {
        free(text);
        return NULL;
    }
    if (text)
        text[len] = 0;
    return text;
}

static char *copy_tail(const void *tail, size_t room, size_t len)
{
    char *text = len == room ? malloc(len + 1) : NULL;
    if (!text)
        return NULL;
    memcpy(text, tail, len);
    text[len] = 0;
    return text;
}

/* Appends one record; false: the message is full. */
static bool put_record(uint8_t *m, size_t *len, const struct process *p)
{
    struct wire_process_info info;
    process_info(p, &info);
    if (*len + sizeof info + info.note_len > WIRE_MSG_MAX)
        return false;
    memcpy(m + *len, &info, sizeof info);
    if (info.note_len)
        memcpy(m + *len + sizeof info, p->note, info.note_len);
    *len += sizeof info + info.note_len;
    return true;
}

static void send_table(struct init_requests *r, const struct wire_head *to,
                       const struct wire_process_list *want, const struct process *only)
{
    uint8_t *m = calloc(1, WIRE_MSG_MAX);
    struct wire_process_table t = {
        .h = {.type = WIRE_PROCESS_TABLE, .seq = to->seq, .box = to->box}};
    size_t len = sizeof t;
    if (!m) {
        reply_code(r, to, -ENOMEM, NULL);
        return;
    }
    if (only)
        t.records = put_record(m, &len, only);
    else
        LIST_FOREACH (it, &r->processes->list) {
            const struct process *p = LIST_ENTRY(it, struct process, item);
            if (p->number <= want->after || (want->kind && p->start.kind != want->kind) ||
                (want->id[0] && strcmp(want->id, p->start.id) != 0) || p->forgotten)
                continue;
            if (!put_record(m, &len, p)) {
                t.more = 1;
                break;
            }
            t.records++;
        }
    memcpy(m, &t, sizeof t);
    (void)fd_send_wait(r->link, m, len, NULL, 0, 1000);
    free(m);
}

static bool id_ends(const char id[WIRE_PROCESS_ID])
{
    return memchr(id, 0, WIRE_PROCESS_ID) != NULL;
}

/* An ended one of that id makes room for its successor. */
static int make_room(struct init_requests *r, const char *id)
{
    struct process *old = processes_find(r->processes, id);
    if (old && (old->state != WIRE_PROCESS_ENDED || old->kill_at))
        return -EEXIST;
    if (old)
        process_free(old);
    return r->processes->count >= PROCESSES_MAX ? -EMFILE : 0;
}

static void handle_start(struct init_requests *r, const uint8_t *m, size_t n, int *fds, size_t nfds)
{
    struct wire_process_start st;
    struct err err = {0};
    memcpy(&st, m, sizeof st);
    size_t given_at = st.flags & WIRE_PROCESS_SPEC_FD ? 1 : 0;
    size_t stream_at = given_at + (st.flags & WIRE_PROCESS_GIVE ? 1 : 0);
    int code = id_ends(st.id) && nfds >= stream_at && nfds <= stream_at + 1 ? 0 : -EINVAL;
    char *spec = NULL;
    if (code == 0)
        code = make_room(r, st.id);
    if (code == 0) {
        spec = given_at ? read_memfd(fds[0], st.spec_len)
                        : copy_tail(m + sizeof st, n - sizeof st, st.spec_len);
        code = spec ? 0 : -EINVAL;
    }
    if (code) {
        reply_code(r, &st.h, code, code == -EEXIST ? "a process of that id runs" : NULL);
        return;
    }
    int stream = nfds > stream_at ? STEAL_FD(fds[stream_at]) : -1;
    int given = stream_at > given_at ? STEAL_FD(fds[given_at]) : -1;
    struct process *p = process_start(r->processes, &st, spec, given, stream, &err);
    if (!p) {
        reply(r, &st.h, &err);
        return;
    }
    send_table(r, &st.h, NULL, p);
    process_pump(p);
}

static void handle_attach(struct init_requests *r, const uint8_t *m, int *fds, size_t nfds)
{
    struct wire_process_attach a;
    memcpy(&a, m, sizeof a);
    struct process *p = id_ends(a.id) && nfds == 1 ? processes_find(r->processes, a.id) : NULL;
    if (!p) {
        reply_code(r, &a.h, -ESRCH, NULL);
        return;
    }
    send_table(r, &a.h, NULL, p);
    process_attach(p, STEAL_FD(fds[0]), a.cursor, a.flags);
}

static void handle_signal(struct init_requests *r, const uint8_t *m)
{
    struct wire_process_signal s;
    memcpy(&s, m, sizeof s);
    struct process *p = id_ends(s.id) ? processes_find(r->processes, s.id) : NULL;
    if (!p || s.signo < 1 || s.signo > SIGRTMAX) {
        reply_code(r, &s.h, p ? -EINVAL : -ESRCH, NULL);
        return;
    }
    bool ends = s.tree && (s.grace_ms || s.signo == SIGKILL);
    if (ends && p->shell)
        session_drop(p);
    if (s.tree)
        process_end(p, s.signo, s.grace_ms, ends ? WIRE_MARK_KILLED : 0);
    else if (p->pid > 0)
        kill(process_foreground(p), s.signo);
    send_table(r, &s.h, NULL, p);
}

/* A terminal's program is told that its terminal has gone, and so is a shell, which hears nothing
 * else; readers of its output see its end. */
static void handle_remove(struct init_requests *r, const uint8_t *m)
{
    struct wire_process_name w;
    memcpy(&w, m, sizeof w);
    struct process *p = id_ends(w.id) ? processes_find(r->processes, w.id) : NULL;
    if (!p) {
        reply_code(r, &w.h, -ESRCH, NULL);
        return;
    }
    p->forgotten = true;
    if (p->shell)
        session_drop(p);
    if (p->state != WIRE_PROCESS_ENDED)
        process_end(p, p->start.kind == WIRE_PROCESS_BACKGROUND ? SIGTERM : SIGHUP, w.grace_ms,
                    WIRE_MARK_KILLED);
    reply_code(r, &w.h, 0, NULL);
}

static void handle_session_run(struct init_requests *r, const uint8_t *m, size_t n, int *fds,
                               size_t nfds)
{
    struct wire_session_run s;
    memcpy(&s, m, sizeof s);
    size_t stream_at = s.in_fd ? 1 : 0;
    struct process *p = id_ends(s.id) ? processes_find(r->processes, s.id) : NULL;
    char *script = nfds != stream_at + 1 ? NULL
                   : s.in_fd             ? read_memfd(fds[0], s.script_len)
                                         : copy_tail(m + sizeof s, n - sizeof s, s.script_len);
    int code = !p ? -ESRCH : !script ? -EINVAL : 0;
    if (code == 0) {
        reply_code(r, &s.h, 0, NULL);
        code = session_run(p, &s, script, STEAL_FD(fds[stream_at]));
        (void)code; /* the stream's end tells */
        return;
    }
    free(script);
    reply_code(r, &s.h, code, NULL);
}

static void handle_list(struct init_requests *r, const uint8_t *m)
{
    struct wire_process_list l;
    memcpy(&l, m, sizeof l);
    if (id_ends(l.id))
        send_table(r, &l.h, &l, NULL);
    else
        reply_code(r, &l.h, -EINVAL, NULL);
}

static void handle_work(struct init_requests *r, const struct wire_head *h)
{
    struct wire_reply m = {.h = {.type = WIRE_REPLY, .seq = h->seq, .box = h->box}};
    LIST_FOREACH (it, &r->processes->list) {
        const struct process *p = LIST_ENTRY(it, struct process, item);
        m.value += p->start.flags & WIRE_PROCESS_AWAKE && p->state != WIRE_PROCESS_ENDED;
    }
    (void)fd_send_wait(r->link, &m, sizeof m, NULL, 0, 1000);
}

static void handle_connect(struct init_requests *r, const uint8_t *m)
{
    struct wire_port w;
    memcpy(&w, m, sizeof w);
    connects_start(r->connects, w.h.seq, w.port, w.timeout_ms);
}

bool requests_handle(struct init_requests *r, const uint8_t *m, size_t n, int *fds, size_t nfds)
{
    const struct wire_head *h = (const void *)m;
    static const struct {
        uint32_t type;
        size_t size;
    } sizes[] = {{WIRE_PROCESS_START, sizeof(struct wire_process_start)},
                 {WIRE_PROCESS_ATTACH, sizeof(struct wire_process_attach)},
                 {WIRE_PROCESS_SIGNAL, sizeof(struct wire_process_signal)},
                 {WIRE_PROCESS_LIST, sizeof(struct wire_process_list)},
                 {WIRE_PROCESS_REMOVE, sizeof(struct wire_process_name)},
                 {WIRE_SESSION_RUN, sizeof(struct wire_session_run)},
                 {WIRE_PROCESS_WORK, sizeof(struct wire_head)},
                 {WIRE_PORT_CONNECT, sizeof(struct wire_port)}};
    size_t i = 0;
    while (i < sizeof sizes / sizeof *sizes && sizes[i].type != h->type)
        i++;
    if (i == sizeof sizes / sizeof *sizes)
        return false;
    if (n < sizes[i].size) {
        reply_code(r, h, -EINVAL, "malformed request");
        return true;
    }
    if (h->type == WIRE_PROCESS_START)
        handle_start(r, m, n, fds, nfds);
    else if (h->type == WIRE_PROCESS_ATTACH)
        handle_attach(r, m, fds, nfds);
    else if (h->type == WIRE_PROCESS_SIGNAL)
        handle_signal(r, m);
    else if (h->type == WIRE_PROCESS_LIST)
        handle_list(r, m);
    else if (h->type == WIRE_PROCESS_REMOVE)
        handle_remove(r, m);
    else if (h->type == WIRE_SESSION_RUN)
        handle_session_run(r, m, n, fds, nfds);
    else if (h->type == WIRE_PROCESS_WORK)
        handle_work(r, h);
    else
        handle_connect(r, m);
    return true;
}
