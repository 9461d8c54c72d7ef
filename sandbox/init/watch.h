/* What init's epoll set hands back for everything but contexts: one descriptor and whom to call. A
 * watch is taken from the set before its memory is freed. */
#pragma once

#include <stdint.h>

struct init_watch {
    void (*ready)(struct init_watch *w, uint32_t events);
    int epoll, fd; /* fd -1: not watched */
    uint32_t events;
};

/* events 0: not even hang-ups are told. Negative errno. */
int watch_add(struct init_watch *w, int epoll, int fd, uint32_t events,
              void (*ready)(struct init_watch *w, uint32_t events));
int watch_set(struct init_watch *w, uint32_t events);
void watch_remove(struct init_watch *w); /* the descriptor stays open */
