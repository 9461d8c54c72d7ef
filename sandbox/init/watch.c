#include "sandbox/init/watch.h"

#include <errno.h>
#include <sys/epoll.h>

int watch_add(struct init_watch *w, int epoll, int fd, uint32_t events,
              void (*ready)(struct init_watch *w, uint32_t events))
{
    *w = (struct init_watch){.ready = ready, .epoll = epoll, .fd = fd};
    int r = watch_set(w, events);
    if (r < 0)
        w->fd = -1;
    return r;
}

int watch_set(struct init_watch *w, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = w};
    if (w->fd < 0 || w->events == events)
        return 0;
    int op = !events ? EPOLL_CTL_DEL : w->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    w->events = events;
    return epoll_ctl(w->epoll, op, w->fd, &ev) < 0 ? -errno : 0;
}

void watch_remove(struct init_watch *w)
{
    watch_set(w, 0);
    w->fd = -1;
}
