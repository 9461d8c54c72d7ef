/* What the files of the module share. */
#pragma once

#include <jansson.h>

#include "sandbox/base/list.h"
#include "sandbox/base/map.h"
#include "sandbox/egress/egress.h"
#include "sandbox/egress/handlers/codec.h"
#include "sandbox/egress/handlers/handlers.h"
#include "sandbox/egress/http/authority.h"
#include "sandbox/egress/net/stream.h"
#include "sandbox/egress/secrets/fill.h"

enum {
    STREAMS_MAX = 1024,
    STREAMS_OF_BOX_MAX = 256,
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
    uint64_t box;       /* its number: a call may outlive its exchange (waitUntil) */
    struct egress *egress;
    struct body_length length; /* of its body, as it comes in */
    int64_t credit;            /* bytes that may still be sent */
    uint32_t owed;             /* bytes that came while the other side was full */
    bool paused, full, answered, lingers;
    uint64_t deadline; /* call: until its head, then of waitUntil; 0: none */
    char handler[140];
};

struct handlers {
    uv_loop_t *loop;
    struct handlers_config config;
    char *node, *worker;
    uint8_t fill_key[32]; /* placeholders are made with */
    struct map *modules;
    struct list streams;
    unsigned nstreams;
    uint32_t next_call, next_version;
    /* the worker process */
    pid_t pid, corpse; /* corpse: killed, not reaped yet; 0: none */
    bool broken;       /* the socket failed: the worker is killed on the next turn */
    struct stream *stream;
    struct buf in;
    uv_timer_t timer; /* pings, deadlines */
    uv_timer_t restart;
    uint64_t pinged_at;
    bool pinging; /* a PING is unanswered */
    unsigned backoff_ms;
};

/* worker.c. No send ends anything at once: what breaks is dealt with on the next turn. */
int worker_start(struct handlers *h); /* if it does not run; modules follow */
void worker_kill(struct handlers *h, uint16_t status,
                 const char *reason); /* everything under way fails so */
/* -EMSGSIZE, -ENOMEM: nothing was sent. */
int worker_send(struct handlers *h, enum handler_frame_type type, uint32_t stream, const void *data,
                size_t len);
int worker_send_json(struct handlers *h, enum handler_frame_type type, uint32_t stream,
                     json_t *take);
/* calls.c */
void calls_frame(struct handlers *h, const struct handler_frame *f);
void calls_fail(struct handlers *h, uint16_t status, const char *reason);
void calls_sweep(struct handlers *h, uint64_t now);
/* heads.c. -EINVAL: it can be no head. */
bool is_token(const char *p, size_t n);
json_t *fields_to_json(const struct http_head *h);
int fields_from_json(const json_t *list, struct http_head *h);
json_t *url_to_json(const struct http_head *h);
/* "https://host:port/path?query" into head and origin, which points into space. */
int url_split(const char *url, struct http_head *head, struct exchange_origin *o,
              struct authority_text *space);
/* environment.c: what modules get to know of secrets */
json_t *environment_of(const struct handlers *h, const char *module, const char *options);
/* The placeholders of a module ("module" or "module.handler"); malloc'ed, with what they point to.
 * NULL: out of memory. */
struct fill *environment_fills(const struct handlers *h, const char *module, size_t *ret_n);
/* NULL: they can be used; or what is wrong with one of them. */
const char *environment_check(const struct handlers *h, const char *options, char space[208]);
/* 0: the exchange notes which secrets the module has in clear text. Else *reason says which of them
 * is not for that sandbox, or that the request holds a placeholder. */
int environment_admit(const struct handlers *h, const char *module, struct exchange *x,
                      char reason[208]);
/* handlers.c */
const struct module *module_find(const struct handlers *h, const char *name);
void modules_load(struct handlers *h);
void modules_loaded(struct handlers *h, const json_t *o);
void modules_failed(struct handlers *h, const char *reason); /* puts that wait */
/* store.c */
int store_write(int dir_fd, const char *name, const char *source, const char *options);
void store_delete(int dir_fd, const char *name);
int store_load(int dir_fd,
               void (*each)(void *user, const char *name, char *take_source, char *take_options),
               void *user);
