/* What the files of the module share. */
#pragma once

#include <jansson.h>

#include "sandbox/base/list.h"
#include "sandbox/base/map.h"
#include "sandbox/egress/handlers/codec.h"
#include "sandbox/egress/handlers/handlers.h"
#include "sandbox/egress/net/stream.h"

enum {
    STREAMS_MAX = 1024,
    PING_MS = 1000,
    PATIENCE_MS = 5000,
    RESTART_MIN_MS = 100,
    RESTART_MAX_MS = 10000
};

struct module {
    char name[HANDLER_NAME_MAX + 1];
    char *source, *options;
    uint32_t version;
    bool loaded;
    /* A put that waits for its compilation: the version above is the old one's until it succeeds.
     */
    char *new_source, *new_options;
    uint32_t new_version;
    void (*done)(void *arg, int result, const char *text);
    void *arg;
};

/* A call, or a fetch: one exchange. */
struct handler_stream {
    struct list link;
    struct handlers *h;
    uint32_t id;
    bool is_call;
    struct exchange *x; /* call: we are its up side; fetch: its down side */
    uint32_t call;      /* fetch: of which call */
    int64_t credit;     /* bytes that may still be sent */
    uint32_t owed;      /* bytes that came while the other side was full */
    bool paused, full, answered;
    uint64_t deadline; /* call: until its head; 0: none */
    char handler[140];
};

struct handlers {
    uv_loop_t *loop;
    struct handlers_config config;
    char *node, *worker;
    struct map *modules;
    struct list streams;
    unsigned nstreams;
    uint32_t next_call, next_version;
    /* the worker process */
    pid_t pid;
    struct stream *stream;
    struct buf in;
    uv_timer_t timer; /* pings, deadlines */
    uv_timer_t restart;
    uint64_t pinged_at;
    bool pinging; /* a PING is unanswered */
    unsigned backoff_ms;
};

/* worker.c */
int worker_start(struct handlers *h); /* if it does not run; modules follow */
void worker_kill(struct handlers *h, uint16_t status,
                 const char *reason); /* everything under way fails so */
void worker_send(struct handlers *h, enum handler_frame_type type, uint32_t stream,
                 const void *data, size_t len);
void worker_send_json(struct handlers *h, enum handler_frame_type type, uint32_t stream,
                      json_t *take);
/* calls.c */
void calls_frame(struct handlers *h, const struct handler_frame *f);
void calls_fail(struct handlers *h, uint16_t status, const char *reason);
void calls_sweep(struct handlers *h, uint64_t now);
/* handlers.c */
void modules_load(struct handlers *h);
void modules_loaded(struct handlers *h, const json_t *o);
void modules_failed(struct handlers *h, const char *reason); /* puts that wait */
/* store.c */
int store_write(int dir_fd, const char *name, const char *source, const char *options);
void store_delete(int dir_fd, const char *name);
int store_load(int dir_fd,
               void (*each)(void *user, const char *name, char *take_source, char *take_options),
               void *user);
