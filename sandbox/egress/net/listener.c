#include "sandbox/egress/net/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/egress/dns/server.h"
#include "sandbox/egress/egress.h"
#include "sandbox/egress/net/conn.h"

enum { ACCEPTS_A_TURN = 64, QUESTIONS_A_TURN = 64 };

struct listener {
    struct egress_box *box;
    uv_poll_t poll;
    int fd, kind;
};

static void accept_some(struct listener *l)
{
    for (int i = 0; i < ACCEPTS_A_TURN && l->box->nconns < BOX_CONNECTIONS_MAX; i++) {
        struct sockaddr_storage from;
        socklen_t len = sizeof from;
        int fd = accept4(l->fd, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
            return;
        conn_accept(l->box, fd);
    }
    if (l->box->nconns >= BOX_CONNECTIONS_MAX) /* the others wait until one is gone */
        listener_enable(l, false);
}

/* The answer leaves from the address that was asked: the packet info goes back as it came. */
static void answer_some(struct listener *l)
{
    for (int i = 0; i < QUESTIONS_A_TURN; i++) {
        uint8_t question[DNS_MESSAGE_MAX], answer[DNS_MESSAGE_MAX];
        char control[128] __attribute__((aligned(16)));
        struct sockaddr_storage from;
        struct iovec iov = {question, sizeof question};
        struct msghdr m = {.msg_name = &from,
                           .msg_namelen = sizeof from,
                           .msg_iov = &iov,
                           .msg_iovlen = 1,
                           .msg_control = control,
                           .msg_controllen = sizeof control};
        ssize_t n = recvmsg(l->fd, &m, 0);
        if (n < 0)
            return;
        size_t len = dns_serve(l->box, question, (size_t)n, answer, DNS_UDP_MAX);
        if (!len)
            continue;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
            if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
                struct in_pktinfo *p = (void *)CMSG_DATA(c);
                p->ipi_spec_dst = p->ipi_addr;
                p->ipi_ifindex = 0;
            }
        }
        iov = (struct iovec){answer, len};
        sendmsg(l->fd, &m, MSG_NOSIGNAL);
    }
}

static void on_ready(uv_poll_t *h, int status, int events)
{
    struct listener *l = h->data;
    (void)status;
    (void)events;
    if (l->kind == NETNS_TCP4 || l->kind == NETNS_TCP6)
        accept_some(l);
    else
        answer_some(l);
}

struct listener *listener_new(struct egress_box *b, int take_fd, int kind)
{
    CLEANUP_FD int fd = take_fd;
    struct listener *l = calloc(1, sizeof *l);
    if (!l || uv_poll_init(&b->egress->loop, &l->poll, fd) < 0) {
        free(l);
        return NULL;
    }
    l->fd = STEAL_FD(fd);
    l->kind = kind;
    l->box = b;
    l->poll.data = l;
    return l;
}

void listener_enable(struct listener *l, bool on)
{
    if (l && on && !uv_is_active((uv_handle_t *)&l->poll))
        uv_poll_start(&l->poll, UV_READABLE, on_ready);
    else if (l && !on)
        uv_poll_stop(&l->poll);
}

static void on_closed(uv_handle_t *h)
{
    struct listener *l = h->data;
    close(l->fd);
    free(l);
}

void listener_free(struct listener *l)
{
    if (l)
        uv_close((uv_handle_t *)&l->poll, on_closed);
}
