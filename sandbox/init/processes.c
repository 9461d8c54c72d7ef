/* The table of processes, and its clock. */
#include "sandbox/init/process.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Records of what has ended; the oldest are forgotten. */
enum { ENDED_MAX = 256 };

void processes_init(struct processes *t, int epoll, bool as_box_user)
{
    *t = (struct processes){.epoll = epoll, .as_box_user = as_box_user, .oom_fd = -1};
    list_init(&t->list);
}

void processes_deinit(struct processes *t)
{
    LIST_FOREACH_SAFE (it, &t->list)
        process_free(LIST_ENTRY(it, struct process, item));
}

uint64_t processes_oom_kills(const struct processes *t)
{
    char text[1024];
    ssize_t n = t->oom_fd < 0 ? -1 : pread(t->oom_fd, text, sizeof text - 1, 0);
    text[n < 0 ? 0 : n] = 0;
    const char *at = strstr(text, "oom_kill ");
    return at ? strtoull(at + strlen("oom_kill "), NULL, 10) : 0;
}

struct process *processes_find(struct processes *t, const char *id)
{
    LIST_FOREACH (it, &t->list) {
        struct process *p = LIST_ENTRY(it, struct process, item);
        if (!p->forgotten && !strcmp(p->start.id, id))
            return p;
    }
    return NULL;
}

bool processes_reaped(struct processes *t, pid_t pid, int status)
{
    LIST_FOREACH (it, &t->list) {
        struct process *p = LIST_ENTRY(it, struct process, item);
        if (p->pid == pid) {
            process_reaped(p, status);
            return true;
        }
    }
    return false;
}

void processes_settle(struct processes *t)
{
    LIST_FOREACH_SAFE (it, &t->list)
        process_settle(LIST_ENTRY(it, struct process, item));
}

static void forget_oldest(struct processes *t)
{
    unsigned ended = 0;
    LIST_FOREACH (it, &t->list) {
        const struct process *p = LIST_ENTRY(it, struct process, item);
        ended += p->state == WIRE_PROCESS_ENDED && p->start.kind != WIRE_PROCESS_COMMAND;
    }
    LIST_FOREACH_SAFE (it, &t->list) {
        struct process *p = LIST_ENTRY(it, struct process, item);
        if (ended <= ENDED_MAX)
            return;
        if (p->state != WIRE_PROCESS_ENDED || p->start.kind == WIRE_PROCESS_COMMAND || p->kill_at)
            continue;
        process_free(p);
        ended--;
    }
}

int64_t processes_tick(struct processes *t, int64_t now)
{
    int64_t next = -1;
    LIST_FOREACH_SAFE (it, &t->list) {
        struct process *p = LIST_ENTRY(it, struct process, item);
        int64_t due = process_tick(p, now);
        if (process_is_over(p)) {
            process_free(p);
            continue;
        }
        int64_t wait = due > now ? due - now : 0;
        if (due && (next < 0 || wait < next))
            next = wait;
    }
    if (t->count > ENDED_MAX)
        forget_oldest(t);
    return next;
}
