/*
 * One run from its request to its end: shows its events as they come, answers its questions,
 * interrupts it on Ctrl-C, and takes it up again when the connection is lost.
 */
#pragma once

#include "clients/c/sse.h"
#include "clients/cli/input.h"
#include "clients/cli/server.h"
#include "clients/cli/show.h"

struct watch {
    const struct server *server;
    const char *box;
    struct show show;
    struct input input;
    /* the rest is the watch's own */
    struct sse sse;
    int signals;             /* signalfd of SIGINT and what ends a program */
    char *execution;         /* known after the first event */
    char *context;           /* set by the caller, else looked up when it is needed */
    unsigned int interrupts; /* Ctrl-C so far */
    bool interrupt_due;      /* Ctrl-C came before the execution was known */
    bool failed, done, aborted;
    int leave; /* exit status when the user or a signal ends the program first */
};

/* Runs body (of POST .../run) to its end; an exit status. */
int watch_run(struct watch *w, const json_t *body);
void watch_deinit(struct watch *w);
