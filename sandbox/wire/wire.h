/*
 * Typed messages between G (gateway), B (boxd), Z (zygote) and I (init of a box) on SEQPACKET
 * sockets. Same machine, same build: native integers, fixed structs, then a variable tail. One
 * struct wire_head starts every message; a reply echoes seq and box of its request. Descriptors
 * travel beside the message in the order named here.
 */
#pragma once

#include <stdint.h>

#include "sandbox/base/err.h"

enum { WIRE_MSG_MAX = 65536, WIRE_NAME = 65, WIRE_DISK = 33 };

enum wire_type {
    /* B -> G */
    WIRE_HELLO = 1, /* tail: configuration JSON; fds: one listening TCP socket per "listen" address,
                       then, if "egress" is true, the default egress policy */
    WIRE_ADOPT_BOX, /* after HELLO, for each live box: struct wire_box_created, tail: kept blob;
                       fds: init link */
    WIRE_ADOPT_CONTEXT, /* struct wire_context, tail: kept blob; fds: G's end of the frame socket */
    WIRE_ADOPT_END,     /* head only: nothing more to take over */
    WIRE_BOX_GONE,      /* struct wire_gone: init of that box has ended; its contexts are dropped */
    WIRE_BOX_USED,      /* struct wire_gone: the server stops, and this is what the box has used */
    WIRE_EGRESS_LINK,   /* to G and to E: head only; fds: a fresh SEQPACKET link between the two */

    /* B -> E */
    WIRE_EGRESS_HELLO = 16, /* struct wire_egress_hello, tail: configuration JSON; answered with a
                               head alone: it can be used */
    WIRE_EGRESS_OPEN,  /* struct wire_egress_open; fds: the listeners of that box's network, in the
                          order  of sandbox/netns/netns.h */
    WIRE_EGRESS_CLOSE, /* head only: the box is gone */
    /* E -> B */
    WIRE_EGRESS_OPENED, /* head, tail: the box's CA certificate, PEM */

    /* G -> B; all but READY, *_KEEP and *_DROP are answered by WIRE_REPLY or the named type with
       the same seq */
    WIRE_READY = 32,  /* head only: G serves; B tells the user */
    WIRE_BOX_CREATE,  /* struct wire_box_create -> WIRE_BOX_CREATED + fds: init link, or WIRE_REPLY
                         with an error */
    WIRE_BOX_CREATED, /* struct wire_box_created, tail: CA certificate of its egress, PEM */
    WIRE_BOX_DESTROY, /* struct wire_box_destroy: kill everything in the box; disk removed unless
                         keep_disk */
    WIRE_DISK_REMOVE, /* struct wire_disk: remove the disk of a box that is not running */
    WIRE_BOX_STAT,    /* head only -> struct wire_box_stat */
    WIRE_BOX_KEEP, /* tail: blob (at most 32 KiB) that comes back in ADOPT_BOX; replaces the earlier
                      one */
    WIRE_CONTEXT_KEEP, /* struct wire_context, tail: blob (at most 32 KiB); fds: 0 or 1 frame socket
                          (replaces) */
    WIRE_CONTEXT_DROP, /* struct wire_context */
    WIRE_REPLY,        /* struct wire_reply */

    /* B -> Z */
    WIRE_CLONE = 64, /* struct wire_clone; fds: see there -> WIRE_CLONED + fds: pidfd */
    WIRE_CLONED,     /* struct wire_reply, value = pid */
    WIRE_NETNS,      /* head only -> WIRE_REPLY + fds: a fresh network namespace owned by Z's user
                        namespace */

    /* G -> I; answered by WIRE_REPLY with the same seq */
    WIRE_INIT_SETUP = 96, /* tail: host name, NUL */
    WIRE_INIT_TRUST,      /* tail: CA certificate, PEM: to be trusted by what runs in the box */
    WIRE_CONTEXT_START,  /* struct wire_context_start, tail: cwd NUL, then K=V NUL...; fds: runner's
                            frame socket;  reply value = pid inside the box */
    WIRE_CONTEXT_SIGNAL, /* struct wire_context_signal */
    WIRE_CONTEXT_KILL, /* struct wire_context: SIGKILL to the interpreter and all of its session */

    /* G -> I: programs that are no contexts; structs in sandbox/wire/process.h */
    WIRE_PROCESS_START = 112, /* struct wire_process_start -> WIRE_PROCESS_TABLE with one record */
    WIRE_PROCESS_ATTACH,      /* struct wire_process_attach; fds: a stream */
    WIRE_PROCESS_SIGNAL,      /* struct wire_process_signal */
    WIRE_PROCESS_LIST,        /* struct wire_process_list -> WIRE_PROCESS_TABLE */
    WIRE_PROCESS_TABLE,       /* struct wire_process_table, tail: records */
    WIRE_PROCESS_REMOVE,      /* struct wire_process_name: end it, forget it */
    WIRE_SESSION_RUN,         /* struct wire_session_run -> WIRE_REPLY once it is queued */
    WIRE_PORT_CONNECT, /* struct wire_port -> WIRE_REPLY + fds: a socket connected to that port of
                          the box's loopback */
    WIRE_PROCESS_WORK, /* head only -> WIRE_REPLY, value: processes that keep the box awake */
    WIRE_FILES_OPEN = 144, /* struct wire_files_open; fds: the helper's end of a socket that speaks
                              sandbox/wire/files.h */
    WIRE_BOX_SOCKETS,      /* G -> B, head only -> WIRE_REPLY + fds: an IPv4 and perhaps an IPv6 TCP
                              socket of the box's network, not connected */
    WIRE_BOX_LIMITS,       /* G -> B, struct wire_box_limits: of a running box, from now on */
    WIRE_BOX_FUSE,         /* G -> B, struct wire_box_fuse -> WIRE_REPLY + fds: what the server of
                              the new mount reads from */
    WIRE_BOX_UNFUSE,       /* G -> B, struct wire_box_fuse without path -> WIRE_REPLY */
    WIRE_DISK_USAGE,       /* G -> B, struct wire_disk: what it takes -> struct wire_disk_usage */

    /* G -> E, each answered by struct wire_egress_reply of the same type; longer data beside it in
       a memfd */
    WIRE_EGRESS_CALL = 160, /* struct wire_egress_call, tail or fd: data */
};

/* What G asks of E; sandbox/egress/calls.c. Data is text, mostly JSON. */
enum wire_egress_op {
    EGRESS_BOX_SET = 1,    /* box, name, disk; data: policy. From now on the box is that sandbox */
    EGRESS_POLICY_CHECK,   /* data: policy */
    EGRESS_SECRET_PUT,     /* name; data: the secret */
    EGRESS_SECRET_REMOVE,  /* name */
    EGRESS_SECRET_LIST,    /* -> data */
    EGRESS_HANDLER_PUT,    /* name, value: length of the source; data: source, then options */
    EGRESS_HANDLER_REMOVE, /* name */
    EGRESS_HANDLER_LIST,   /* -> data */
    EGRESS_HANDLER_SOURCE, /* name -> data */
    EGRESS_LOG_READ,   /* disk, value: cursor, count: bytes, wait: ms -> data: lines, value: next
                          cursor */
    EGRESS_LOG_HAR,    /* disk, value: cursor, count: bytes -> data: HAR document */
    EGRESS_LOG_REMOVE, /* disk: the sandbox is gone for good */
    EGRESS_METRICS,    /* -> data: Prometheus text */
    EGRESS_USAGE,      /* disk -> value: bytes to and from the world since the sandbox exists */
    EGRESS_BOX_CA,     /* box -> value: when its CA certificate was made, data: it, PEM */
};

/* What is wrong with a call, beside errno: code of struct err. */
enum { EGRESS_E_INVALID = -10001, EGRESS_E_NOT_FOUND = -10002 };

struct wire_head {
    uint32_t type;
    uint32_t seq;
    uint64_t box; /* number of the box in this run of B, 0 = none; never reused */
};

struct wire_egress_hello {
    struct wire_head h;
    uint8_t ca_key[32];      /* of this run of B: every box's CA is made from it */
    uint8_t secrets_key[32]; /* seals secrets at rest */
};

struct wire_egress_open {
    struct wire_head h;
    char disk[WIRE_DISK];
};

struct wire_egress_call {
    struct wire_head h; /* box: where one is meant */
    uint32_t op, count;
    uint64_t value;
    uint32_t wait_ms;
    uint32_t data_len; /* of the tail, or of the memfd beside the message */
    char name[WIRE_NAME];
    char disk[WIRE_DISK];
};

struct wire_egress_reply {
    struct wire_head h;
    struct err err; /* code 0 = ok; step: place in a document */
    uint64_t value, lost;
    uint32_t data_len;
};

struct wire_reply {
    struct wire_head h;
    struct err err; /* code 0 = ok */
    int64_t value;
};

struct wire_limits {
    uint64_t memory; /* bytes, 0 = the server's default */
    uint32_t cpu;    /* thousandths of a CPU, 0 = default */
    uint32_t pids;   /* processes and threads, 0 = default */
    uint64_t disk;   /* bytes, 0 = default; none when the default is 0, too */
};

struct wire_box_create {
    struct wire_head h;    /* box = 0 */
    char image[WIRE_NAME]; /* name or sha256 of an image, "" = default */
    char disk[WIRE_DISK];  /* id of an existing disk, "" = a new one */
    struct wire_limits limits;
};

struct wire_box_created {
    struct wire_head h; /* box = its number */
    char disk[WIRE_DISK];
    char image[WIRE_NAME];     /* sha256 */
    struct wire_limits limits; /* as applied */
};

struct wire_box_limits {
    struct wire_head h;
    struct wire_limits limits; /* 0 in one of them: the server's default */
};

struct wire_box_fuse {
    struct wire_head h;
    char name[WIRE_NAME]; /* of the mount */
    char path[4096];      /* a directory of the box, made if there is none */
    uint32_t flags;
};
enum { WIRE_FUSE_READ_ONLY = 1, WIRE_FUSE_DETACH = 2 /* also while it is in use */ };

struct wire_box_destroy {
    struct wire_head h;
    uint32_t keep_disk;
};

struct wire_disk {
    struct wire_head h;
    char disk[WIRE_DISK];
};

struct wire_box_stat {
    struct wire_head h;
    uint64_t cpu_ns;           /* CPU time used so far */
    uint64_t memory;           /* bytes charged now */
    uint64_t memory_mib_ms;    /* MiB times milliseconds so far, sampled */
    uint64_t oom_kills;        /* processes killed for memory so far */
    uint32_t pids;             /* tasks now */
    uint32_t packages_changed; /* the box wrote under the interpreter's site-packages: start
                                  contexts fresh */
};

struct wire_gone {
    struct wire_head h;
    int32_t status;                 /* wait status of init */
    uint64_t cpu_ns, memory_mib_ms; /* of its whole life */
};

struct wire_disk_usage {
    struct wire_head h;
    uint64_t bytes;
};

struct wire_context {
    struct wire_head h;
    uint32_t context; /* number of the context inside its box, given by G, never reused while the
                         box lives */
    uint32_t reserved;
};

/* What a context's process runs. */
enum wire_program {
    WIRE_PROGRAM_FORK = 0,   /* Python, forked from the warm image that init is a clone of */
    WIRE_PROGRAM_PYTHON = 1, /* Python, freshly executed */
    WIRE_PROGRAM_NODE = 2,   /* Node: JavaScript and TypeScript */
};

struct wire_context_start {
    struct wire_head h;
    uint32_t context;
    uint32_t program; /* enum wire_program */
};

struct wire_files_open {
    struct wire_head h;
    uint32_t root; /* 1: as root of the box, 0: as the box user */
};

struct wire_context_signal {
    struct wire_head h;
    uint32_t context;
    int32_t signo;
    uint32_t value; /* low 32 bits of the request it is meant for; the runner ignores others. See
                       docs/protocol.md */
    uint32_t group; /* 1: children in the context's session get it, too */
};

/*
 * fds of WIRE_CLONE, in this order: 0 sync socket (child's end), 1 init link (child's end), 2
 * network namespace, 3 detached image mount (idmapped), 4 detached runtime mount (idmapped), 5
 * detached mount of the box's disk directory (holds upper/ and work/), 6 read end of the compiled
 * seccomp program, 7 the file of the box's control group that counts kills for lack of memory.
 */
struct wire_clone {
    struct wire_head h;
    uint32_t uid_offset; /* first uid of the box inside Z's user namespace */
    uint32_t uid_count;
    char hostname[WIRE_NAME];
};

/* Sync socket between B and the child while a box is set up: the child sends one wire_reply per
 * phase. */
enum { WIRE_PHASE_CLONED = 1, WIRE_PHASE_READY = 2 };
