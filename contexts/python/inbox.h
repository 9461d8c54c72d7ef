/*
 * Messages from G on their way to the thread that handles them. Whoever reads the socket (the main
 * thread while it waits, else the listener) sorts each whole message into the box of its lane.
 *
 * No Python, no GIL needed; safe from any thread. Process: the context.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct message {
    struct message *next;
    size_t len;
    uint8_t data[]; /* message := head, lengths, sections (docs/protocol.md) */
};

enum inbox_kind {
    INBOX_MAIN,    /* number 0: cells and all that goes with them; SHUTDOWN */
    INBOX_CONTROL, /* number 0: DEBUG, SUBSHELL, USAGE. Kept until the box is opened */
    INBOX_LANE,    /* requests of subshell `number` */
    INBOX_INPUT,   /* the INPUT that request `number` waits for */
};

/* The socket to read, for the life of the process. Boxes are empty afterwards. */
void inbox_attach(int link_fd);
/* In a child of user code: the descriptors are closed, nothing is received any more. */
void inbox_detach(void);

/*
 * Opens a box: messages for it are kept from now on. Returns a descriptor that is readable while
 * the box holds messages (owned by the box), or a negative errno. For INBOX_MAIN it is the
 * descriptor by which others wake the main thread.
 */
int inbox_open(enum inbox_kind kind, uint64_t number);
/* Closes it and drops what it holds. */
void inbox_close(enum inbox_kind kind, uint64_t number);
/* Makes its descriptor readable until the next take; nothing when it is not open. */
void inbox_wake(enum inbox_kind kind, uint64_t number);
/* The oldest message, owned by the caller (free); NULL when there is none. */
struct message *inbox_take(enum inbox_kind kind, uint64_t number);
/* Whether the main thread has messages, or the end has come. */
bool inbox_main_waits(void);
/* Whether control messages came that nobody takes, because the box is not open yet. */
bool inbox_control_waits(void);

enum inbox_result {
    INBOX_SORTED = 0,  /* something was read: a packet or a whole message */
    INBOX_NOTHING = 1, /* nothing to read now */
    INBOX_STALE = 2,   /* `may_read` said no */
    INBOX_END = 3,     /* the peer has gone or broke the protocol: nothing will come any more */
};
/*
 * Reads one packet without blocking. `may_read` is asked with the boxes locked: a message is sorted
 * before anybody who became the reader afterwards looks into the boxes. NULL = yes.
 */
enum inbox_result inbox_receive(bool (*may_read)(void));
