/*
 * Node host: the native half of a JavaScript context, an addon that Node loads first of all. C
 * around the engine: frame socket, output ring, interrupts, and what must work while JavaScript is
 * busy. How cells behave is JavaScript (lib/).
 *
 * Threads: "main" is Node's main thread, the only one that runs JavaScript of ours; "watcher" is a
 * native thread of ours. Functions say which of them may call; "any" means both.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "contexts/proto/frame.h"
#include "sandbox/init/boot.h"

struct section {
    const void *data;
    size_t len;
};

/* addon.c: moves a descriptor out of the way of user code; negative errno. */
int host_move_fd(int fd);

/* link.c: the frame socket. */

/* One whole message of the gateway; sections point into it. */
struct message {
    struct message *next;
    uint16_t type;
    uint32_t arg;
    uint64_t req;
    bool interrupted;         /* an interrupt for it came before it was run */
    int64_t waiting_since_ms; /* side.c: 0, or when the watcher first found nobody to answer */
    unsigned nsections;
    struct section sections[MESSAGE_SECTIONS_MAX];
    uint8_t bytes[];
};

void link_init(int fd);
int link_fd(void);
/* Any thread; messages are never mixed. Blocks while the socket is full. Negative errno. */
int link_send(uint16_t type, uint32_t arg, uint64_t req, unsigned nsections,
              const struct section *sections);
/*
 * Any thread, one at a time. Takes one packet without blocking. 1: *ret_message is whole (free()
 * it); 0: more packets are needed; -EAGAIN: none is there; -EPIPE: the gateway has gone; -EPROTO,
 * -ENOMEM.
 */
int link_receive(struct message **ret_message);

/* output.c: text. Main thread only, like the ring's producer. */

void output_init(struct outring_shared *shared, int doorbell, int out_fd, int err_fd);
void output_mute(bool muted);
/* Blocks while the ring is full; an interrupt ends that, what is left is dropped. */
void output_write(int stream, uint64_t req, const char *data, size_t len);
/* Until init has sent everything written so far. */
void output_sync(void);

/* engine.c: what the node binary exports beside N-API. */

int engine_init(void);       /* main; -ENOSYS: a symbol is missing, interrupts will not work */
void engine_terminate(void); /* any: JavaScript of the main thread stops at its next check */
void engine_cancel_terminate(void); /* main */
void engine_collect(void);          /* main: gives all garbage back */
/* Any: function runs on the main thread in the middle of whatever JavaScript is doing there. */
void engine_request_interrupt(void (*function)(void));
/* Main: near the heap's limit `function` runs (allocating nothing); the limit is raised once. */
void engine_watch_heap(void (*function)(void));

/* watch.c: interrupts, and frames that the main thread does not take because it is busy. */

struct watch_ops {
    /* Watcher: wake the main loop; it calls watch_take_* then. */
    void (*wake_main)(void);
    /* Main, in the middle of JavaScript: answer what is in the side queue. */
    void (*side)(void);
};

int watch_start(const struct watch_ops *ops); /* main; after link_init */
/* Main. From begin to end a cell runs: interrupts for `req` hit it, and frames are watched. */
void watch_begin(uint64_t req);
void watch_end(void);
/* Main: the loop or a guard is reached. Takes back a termination; true if there was one. */
bool watch_recover(void);

enum watch_event {
    WATCH_NONE = 0,
    WATCH_INTERRUPT = 1,   /* for the running cell */
    WATCH_PLAIN = 2,       /* a SIGINT that names no request: of a program in the box */
    WATCH_HEAP = 4,        /* the heap reached its limit */
    WATCH_STRAY = 8,       /* for a request that waits behind code of an earlier cell */
    WATCH_TERMINATED = 16, /* JavaScript may have been terminated for it */
};
/* Main: what came, a set of watch_event. Calling it is the acknowledgement. */
unsigned watch_take(void);
/* Any: something waits to be taken: blocking calls should return. */
bool watch_interrupted(void);
/* Main: the same, or a signal has come that the watcher has not looked at. */
bool watch_signalled(void);
/*
 * Main. The next message: from the socket, or what the watcher has put aside. Side requests come
 * first. NULL: none. *ret_gone: the gateway has closed the socket.
 */
struct message *watch_next(bool *ret_gone);
/* Main: whether watch_next has something that is not in the socket. */
bool watch_queued(void);
/* Main, in the middle of JavaScript: the next side request that the watcher has put aside. */
struct message *watch_next_side(void);
/* Main. Sleeps until a message may be there or an interrupt waits. */
void watch_wait(void);
