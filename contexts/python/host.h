/*
 * Python host: the process that is a Python context. C around libpython: frame socket, output
 * streams, interrupt, fork hygiene; the interpreter's behaviour is the package cellbox_kernel
 * beside it.
 *
 * Processes: preload/before_fork/after_fork_parent run in the zygote (and in init, its cold clone),
 * everything else in the context. The GIL is held on entry to every function unless it says
 * otherwise.
 */
#pragma once

#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "sandbox/init/boot.h"

/* The operations for sandbox/zygote (interpreter_ops, boot.h). */
const struct interpreter_ops *python_ops(void);

/* host.c: a context executed fresh, descriptors as in boot.h. Returns the exit status. */
int python_fresh_main(void);

/* module.c: registers the builtin module _cellbox; before Py_Initialize. */
int module_register(void);
/* module.c: descriptors of this context, once known. Moves them out of the way of user code. */
int module_attach(const struct context_boot *boot);

/* module.c: fd to a number above what user code cares about, close-on-exec; negative errno, also
 * for an fd that is the result of a call that failed. */
int host_move_up(int fd);

/* messages.c: functions of _cellbox that send and receive. */
int messages_add(PyObject *module);
void messages_after_fork(void);

/* seal.c: fills the holes of pymalloc so that children do not write to shared pages. Returns the
 * blocks used. */
size_t seal_heap(void);
/* Zygote, before Python starts: one area for pymalloc's arenas. */
void arena_area_init(void);
/* Zygote, last of all: makes forks cheap. */
void collapse_heap(void);

/* reseed.c: what fork duplicated below Python: numpy's global generator, OpenBLAS' thread pool. */
int reseed_find(uintptr_t numpy_state);
void reseed_apply(void);

/* link.c: the frame socket. No Python, no GIL needed. */
struct link {
    int fd;
};
struct section {
    const void *data;
    uint32_t len;
};
/* One message, cut into packets. Blocks; EINTR never breaks a message. Negative errno. */
int link_send(const struct link *l, uint16_t type, uint32_t arg, uint64_t req, unsigned nsections,
              const struct section *sections);
/* One packet into buf (PACKET_MAX bytes) without blocking. Length; 0 = closed by the peer; -EAGAIN.
 */
ssize_t link_recv(const struct link *l, uint8_t *buf);

/* interrupt.c: SIGINT. */
int interrupt_install(void);
bool interrupt_is_installed(void);
/* The request that an interrupt may hit; 0 = none. Async-signal-safe to read. */
void interrupt_set_running(uint64_t req);
uint64_t interrupt_running(void);

/* stream.c: types of sys.stdout, sys.stderr and their .buffer. */
int stream_add_types(PyObject *module);
PyObject *stream_request_var(
    void); /* borrowed: the context variable with the request of this task or thread */
/* 0 when the text is in the ring (or was dropped on purpose), -1 with an exception. */
int stream_emit(int stream, uint64_t req, const char *data, size_t len);
uint64_t stream_current_request(void);
int stream_sync(int timeout_ms);
void stream_after_fork(void); /* locks of threads that are gone */

/* The context's state, filled by module_attach; one per process. */
struct host {
    struct link link;
    struct outring ring;
    int out_fd, err_fd; /* own copies of the pipes, to ask whether they are empty */
    bool attached;      /* false in the zygote: output is dropped */
    bool muted;         /* warm-up cells: output is dropped */
    bool detached;      /* a child that user code forked: no frames, streams go to fd 1 and 2 */
};
extern struct host host;
