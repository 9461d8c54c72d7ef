#include "contexts/python/inbox.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "contexts/proto/frame.h"
#include "contexts/python/host.h"

/* G has at most one request a lane; a box that fills up means that the peer is broken. */
enum { HELD_MAX = 1000, MESSAGE_MAX = 64 << 20 };

struct box {
    struct box *next;
    enum inbox_kind kind;
    uint64_t number;
    int wake;  /* eventfd; -1 = nobody has opened the box */
    bool rung; /* wake is readable */
    struct message *head, **tail;
    unsigned held;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct box main_box, control_box;
static struct box *others; /* lanes and inputs, few */

static struct {
    struct link link;
    bool ended;
    struct message *partial; /* packets of one message arrive in a row */
    size_t cap;
    uint8_t packet[PACKET_MAX];
} rx = {.link = {.fd = -1}};

static void box_init(struct box *b, enum inbox_kind kind, uint64_t number)
{
    *b = (struct box){.kind = kind, .number = number, .wake = -1};
    b->tail = &b->head;
}

void inbox_attach(int link_fd)
{
    rx.link.fd = link_fd;
    rx.ended = false;
    box_init(&main_box, INBOX_MAIN, 0);
    box_init(&control_box, INBOX_CONTROL, 0);
    others = NULL;
}

void inbox_detach(void)
{
    pthread_mutex_init(&lock, NULL); /* a thread that is gone may have held it */
    if (main_box.wake >= 0)
        close(main_box.wake);
    if (control_box.wake >= 0)
        close(control_box.wake);
    for (struct box *b = others; b; b = b->next)
        close(b->wake);
    inbox_attach(-1);
    rx.ended = true;
}

static struct box *find(enum inbox_kind kind, uint64_t number)
{
    if (kind == INBOX_MAIN)
        return &main_box;
    if (kind == INBOX_CONTROL)
        return &control_box;
    for (struct box *b = others; b; b = b->next)
        if (b->kind == kind && b->number == number)
            return b;
    return NULL;
}

static struct box *add(enum inbox_kind kind, uint64_t number)
{
    struct box *b = malloc(sizeof *b);
    if (!b)
        return NULL;
    box_init(b, kind, number);
    b->next = others;
    others = b;
    return b;
}

static void wake(struct box *b)
{
    uint64_t one = 1;
    if (b->wake < 0)
        return;
    ssize_t n = write(b->wake, &one, sizeof one);
    (void)n;
    b->rung = true;
}

static void quieten(struct box *b)
{
    uint64_t count;
    ssize_t n = read(b->wake, &count, sizeof count);
    (void)n;
    b->rung = false;
}

int inbox_open(enum inbox_kind kind, uint64_t number)
{
    int fd = host_move_up(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (fd < 0)
        return fd;
    pthread_mutex_lock(&lock);
    struct box *b = find(kind, number);
    if (!b)
        b = add(kind, number);
    if (b && b->wake < 0) {
        b->wake = fd;
        fd = -1;
        if (b->head)
            wake(b);
    }
    int ret = b ? b->wake : -ENOMEM;
    pthread_mutex_unlock(&lock);
    if (fd >= 0)
        close(fd);
    return ret;
}

void inbox_close(enum inbox_kind kind, uint64_t number)
{
    pthread_mutex_lock(&lock);
    for (struct box **at = &others; *at; at = &(*at)->next) {
        struct box *b = *at;
        if (b->kind != kind || b->number != number)
            continue;
        *at = b->next;
        while (b->head) {
            struct message *m = b->head;
            b->head = m->next;
            free(m);
        }
        close(b->wake);
        free(b);
        break;
    }
    pthread_mutex_unlock(&lock);
}

void inbox_wake(enum inbox_kind kind, uint64_t number)
{
    pthread_mutex_lock(&lock);
    struct box *b = find(kind, number);
    if (b)
        wake(b);
    pthread_mutex_unlock(&lock);
}

struct message *inbox_take(enum inbox_kind kind, uint64_t number)
{
    pthread_mutex_lock(&lock);
    struct box *b = find(kind, number);
    struct message *m = b ? b->head : NULL;
    if (m) {
        b->head = m->next;
        b->held--;
        if (!b->head)
            b->tail = &b->head;
    }
    if (b && !b->head && b->rung)
        quieten(b);
    pthread_mutex_unlock(&lock);
    return m;
}

bool inbox_main_waits(void)
{
    pthread_mutex_lock(&lock);
    bool waits = main_box.head || rx.ended;
    pthread_mutex_unlock(&lock);
    return waits;
}

bool inbox_control_waits(void)
{
    pthread_mutex_lock(&lock);
    bool waits = control_box.wake < 0 && control_box.head;
    pthread_mutex_unlock(&lock);
    return waits;
}

static struct box *box_of(const struct message *m)
{
    unsigned type = (unsigned)get_le(m->data, 2);
    uint32_t arg = (uint32_t)get_le(m->data + 4, 4);

    if (type == FRAME_INPUT)
        return find(INBOX_INPUT, get_le(m->data + 8, 8)); /* stale ones find nobody waiting */
    if (type == FRAME_DEBUG || type == FRAME_SUBSHELL || type == FRAME_USAGE)
        return &control_box;
    if (type >= FRAME_EXECUTE && type <= FRAME_COMM && arg) {
        struct box *b = find(INBOX_LANE, arg);
        return b ? b : &main_box; /* of no such subshell: the main thread says so */
    }
    return &main_box;
}

static void put(struct box *b, struct message *m)
{
    m->next = NULL;
    *b->tail = m;
    b->tail = &m->next;
    b->held++;
    wake(b);
}

/* Who answers control requests hears of the end, too: it can free the main thread. */
static void tell_control(const struct message *m)
{
    struct message *copy = control_box.wake >= 0 ? malloc(sizeof *copy + m->len) : NULL;
    if (copy) {
        memcpy(copy, m, sizeof *m + m->len);
        put(&control_box, copy);
    }
}

static int sort(struct message *take_m)
{
    struct box *b = take_m->len >= MESSAGE_HEAD ? box_of(take_m) : NULL;

    if (!b) {
        int r = take_m->len >= MESSAGE_HEAD ? 0 : -EPROTO;
        free(take_m);
        return r;
    }
    if (b->held >= HELD_MAX) {
        free(take_m);
        return -EPROTO;
    }
    if (get_le(take_m->data, 2) == FRAME_SHUTDOWN)
        tell_control(take_m);
    put(b, take_m);
    return 0;
}

static int append(const uint8_t *p, size_t n)
{
    size_t len = rx.partial ? rx.partial->len : 0;

    if (len + n > MESSAGE_MAX)
        return -EMSGSIZE;
    if (!rx.partial || len + n > rx.cap) {
        size_t cap = rx.partial ? (len + n) * 2 : n;
        struct message *m = realloc(rx.partial, sizeof *m + cap);
        if (!m)
            return -ENOMEM;
        rx.partial = m;
        rx.cap = cap;
    }
    memcpy(rx.partial->data + len, p, n);
    rx.partial->len = len + n;
    return 0;
}

static int take_packet(size_t n)
{
    if (n < PACKET_HEAD)
        return -EPROTO;
    unsigned flags = rx.packet[0];
    if (flags & PACKET_FIRST) { /* an unfinished one is forgotten */
        free(rx.partial);
        rx.partial = NULL;
    }
    int r = append(rx.packet + PACKET_HEAD, n - PACKET_HEAD);
    if (r < 0 || !(flags & PACKET_LAST))
        return r;
    struct message *m = rx.partial;
    rx.partial = NULL;
    return sort(m);
}

enum inbox_result inbox_receive(bool (*may_read)(void))
{
    enum inbox_result ret = INBOX_SORTED;

    pthread_mutex_lock(&lock);
    if (may_read && !may_read()) {
        ret = INBOX_STALE;
    } else if (rx.ended) {
        ret = INBOX_END;
    } else {
        ssize_t n = link_recv(&rx.link, rx.packet);
        if (n == -EAGAIN) {
            ret = INBOX_NOTHING;
        } else if (n <= 0 || take_packet((size_t)n) < 0) {
            rx.ended = true;
            wake(&main_box);
            ret = INBOX_END;
        }
    }
    pthread_mutex_unlock(&lock);
    return ret;
}
