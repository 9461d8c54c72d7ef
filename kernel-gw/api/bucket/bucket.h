/*
 * Object stores as directories of a box. s3fs runs in the box, without credentials; its requests
 * are signed by the egress process by a rule that holds for one bucket, in one sandbox. A mount is
 * part of its sandbox: it is kept in the registry and comes back whenever the sandbox gets a box.
 * Runs in G.
 */
#pragma once

#include "kernel-gw/api/box/box.h"

enum { BUCKET_ID = 24, BUCKETS_MAX = 16 };

enum bucket_state { BUCKET_ASLEEP, BUCKET_MOUNTING, BUCKET_MOUNTED, BUCKET_FAILED };

struct bucket_failure {
    int status;
    const char *code;
};

struct bucket {
    struct list link;
    struct gateway *gw;
    char sandbox[64], id[BUCKET_ID];
    json_t
        *spec; /* what is kept: id, bucket, path, endpoint, region, prefix, readOnly, secret... */
    enum bucket_state state;
    char error[600];
    struct bucket_failure failure;
    unsigned again; /* times that s3fs was started anew */
    uint64_t box;   /* that it is mounted in */
    char process[WIRE_PROCESS_ID];
    struct process_stream *server, *probe;
    struct box_command command;
    struct buf said; /* the end of what s3fs has said */
    uv_timer_t *later;
    void (*done)(void *user, struct bucket *b); /* the mount has succeeded or failed */
    void *user;
};

/* ---- spec.c: text, no I/O ---- */

/* NULL: fine; else what is wrong; *ret_field: with which member. */
const char *bucket_spec_check(const json_t *o, const char **ret_field);
/* The rule that signs its requests. */
json_t *bucket_rule(const struct bucket *b);
/* Arguments of s3fs. */
json_t *bucket_command(const struct bucket *b);
/* "s3.example.com:9000" of "https://s3.example.com:9000", with the default port where there is
 * none. */
void bucket_host(const char *endpoint, char ret[300]);
struct bucket_failure bucket_failure_of(const char *said);
/* What of s3fs' words is a reason: errors without their times, the last ones. */
void bucket_reason(const char *said, char ret[400]);

/* ---- mount.c ---- */

/* b->done is called, perhaps from inside. The sandbox has a box. */
void bucket_mount(struct bucket *b);
/* What is there in an adopted box. */
void bucket_watch(struct bucket *b);
/* The box is gone, or the bucket goes: nothing is called any more. */
void bucket_forget_mount(struct bucket *b);
/* s3fs is to end. */
void bucket_end_server(struct bucket *b);
