#include "sandbox/egress/net/conn.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/egress/net/dial.h"

enum { FIRST_BYTES_MS = 15000, HANDSHAKE_MS = 15000, METHOD_MAX = 20, PREFACE = 24 };
static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

struct policy_target conn_target(const struct conn *c)
{
    return (struct policy_target){
        .host = c->host, .addr = *c->host ? NULL : &c->dst.sa, .port = c->port};
}

void conn_limit(struct conn *c, uint64_t ms)
{
    c->deadline = ms ? uv_now(&c->box->egress->loop) + ms : 0;
}

static void poll_closed(uv_handle_t *h)
{
    struct conn *c = h->data;
    c->poll_open = false;
    if (c->gone)
        free(c);
}

static void stop_looking(struct conn *c)
{
    if (c->poll_open && !uv_is_closing((uv_handle_t *)&c->poll))
        uv_close((uv_handle_t *)&c->poll, poll_closed);
}

void conn_finish(struct conn *c)
{
    stop_looking(c);
    c->fd = fd_close(c->fd);
    list_remove(&c->link);
    if (c->box->nconns-- == BOX_CONNECTIONS_MAX) /* the listener may be waiting for room */
        box_accept_again(c->box);
    c->box->egress->counters.connections--;
    c->gone = true;
    if (!c->poll_open)
        free(c);
}

void conn_close(struct conn *c)
{
    if (c->protocol)
        c->protocol->close(c->self);
    else
        stream_close(c->stream);
    conn_finish(c);
}

void conns_close(struct egress_box *b)
{
    LIST_FOREACH_SAFE (it, &b->conns)
        conn_close(LIST_ENTRY(it, struct conn, link));
}

void conns_sweep(struct egress_box *b, uint64_t now_ms)
{
    LIST_FOREACH_SAFE (it, &b->conns) {
        struct conn *c = LIST_ENTRY(it, struct conn, link);
        if (c->deadline && now_ms >= c->deadline) {
            if (!c->protocol && !c->stream)
                conn_deny(
                    c, "tcp", "",
                    "nothing was sent; a protocol in which the server speaks first needs a rule "
                    "with action tcp");
            else
                conn_close(c);
        }
    }
}

void conn_deny(struct conn *c, const char *kind, const char *rule, const char *reason)
{
    char address[64];
    socket_address_text(&c->dst, address);
    struct egress_record r = {.kind = kind,
                              .id = c->id,
                              .host = *c->host ? c->host : address,
                              .port = c->port,
                              .protocol = kind,
                              .decision = "deny",
                              .rule = rule,
                              .reason = reason,
                              .start_us = c->start_us};
    box_record(c->box, &r);
    if (c->stream) {
        stream_reset(c->stream);
        c->stream = NULL;
    } else if (c->fd >= 0) {
        struct linger hard = {1, 0};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    }
    conn_finish(c);
}

/* ---- what it speaks ---- */

static int make_stream(struct conn *c)
{
    int one = 1;
    stop_looking(c);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one); /* see on_bytes */
    c->stream = stream_new(&c->box->egress->loop, STEAL_FD(c->fd), false, NULL, NULL);
    return c->stream ? 0 : -ENOMEM;
}

static void start(struct conn *c, int (*protocol)(struct conn *c))
{
    c->deadline = 0;
    if ((!c->stream && make_stream(c) < 0) || protocol(c) < 0)
        conn_close(c);
}

static void on_tls_open(void *user)
{
    struct conn *c = user;
    const unsigned char *name;
    unsigned len;
    SSL_get0_alpn_selected(stream_ssl(c->stream), &name, &len);
    start(c, len == 2 && !memcmp(name, "h2", 2) ? h2_server_start : h1_server_start);
}

/* Mostly a program that does not trust the box's authority: worth a line. */
static void on_tls_failed(void *user, const char *reason)
{
    struct conn *c = user;
    char text[300];
    snprintf(text, sizeof text,
             "the program ended the TLS handshake: %s (does it pin certificates? then list the "
             "host under splice)",
             reason);
    conn_deny(c, "tls", "", text);
}

static void on_tls_eof(void *user)
{
    on_tls_failed(user, "it closed the connection");
}

static void intercept(struct conn *c, const struct hello *hello)
{
    static const struct stream_ops ops = {
        .open = on_tls_open, .eof = on_tls_eof, .failed = on_tls_failed};
    char address[64], *end;
    const char *name = c->host;
    if (!*name) {
        socket_address_text(&c->dst, address);
        end = strrchr(address, ':');
        *end = 0;
        name = *address == '[' ? address + 1 : address;
        address[strcspn(address, "]")] = 0;
    }
    SSL *ssl = authority_accept(c->box->authority, name, hello->h2, uv_now(&c->box->egress->loop));
    if (!ssl) {
        conn_deny(c, "tls", "", "too many new server names at a time");
        return;
    }
    if (make_stream(c) < 0) {
        SSL_free(ssl);
        conn_close(c);
        return;
    }
    c->https = true;
    c->box->egress->counters.handshakes++;
    stream_set_ops(c->stream, &ops, c);
    conn_limit(c, HANDSHAKE_MS);
    if (stream_tls(c->stream, ssl, true) < 0)
        conn_close(c);
}

static void on_hello(struct conn *c, const struct hello *hello)
{
    struct policy_verdict v;
    struct in_addr literal; /* which no server name may be (RFC 6066 3), but some clients send */
    if (*hello->server_name && inet_pton(AF_INET, hello->server_name, &literal) != 1)
        snprintf(c->host, sizeof c->host, "%s", hello->server_name);
    struct policy_target t = conn_target(c);
    policy_tls(c->box->policy, &t, &v);
    if (v.action == POLICY_SPLICE) {
        if (make_stream(c) < 0 || relay_start(c, "tls", v.rule_name) < 0)
            conn_close(c);
        return;
    }
    /* Denied hosts are answered inside, where a reason can be given. */
    intercept(c, hello);
}

static bool looks_like_http(const uint8_t *p, size_t n, bool *ret_more)
{
    size_t i = 0;
    while (i < n && i < METHOD_MAX && (isupper(p[i]) || p[i] == '-' || p[i] == '_'))
        i++;
    *ret_more = i == n && i < METHOD_MAX;
    return i > 0 && (i == n || p[i] == ' ');
}

/* Bytes stay in the socket: whoever serves the connection reads them again. False: more are needed.
 */
static bool look(struct conn *c, const uint8_t *p, size_t n)
{
    struct hello hello;
    bool more;
    if (p[0] == 22 /* TLS handshake */) {
        int e = hello_parse(p, n, &hello);
        if (e == HELLO_INCOMPLETE && n < HELLO_MAX)
            return false;
        if (e)
            conn_deny(c, "tls", "", "it is no TLS ClientHello that can be understood");
        else
            on_hello(c, &hello);
        return true;
    }
    if (n < PREFACE && !memcmp(p, preface, n))
        return false;
    if (n >= PREFACE && !memcmp(p, preface, PREFACE)) {
        start(c, h2_server_start);
        return true;
    }
    if (!looks_like_http(p, n, &more)) {
        conn_deny(c, "tcp", "",
                  "it is neither TLS nor HTTP; other protocols need a rule with action tcp");
        return true;
    }
    if (more)
        return false;
    start(c, h1_server_start);
    return true;
}

static void on_bytes(uv_poll_t *h, int status, int events)
{
    static uint8_t space[HELLO_MAX];
    struct conn *c = h->data;
    (void)status;
    (void)events;
    ssize_t n = recv(c->fd, space, sizeof space, MSG_PEEK);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) { /* opened and closed: a port probe */
        conn_deny(c, "tcp", "", "closed before anything was sent");
        return;
    }
    if (look(c, space, (size_t)n))
        return;
    /* Not before there is more than now; an end of the stream also wakes, but says nothing new. */
    int low = (int)n + 1, now = 0;
    socklen_t len = sizeof now;
    getsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &now, &len);
    if (now == low)
        conn_deny(c, "tcp", "", "it ended in the middle of its first message");
    else
        setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low);
}

/* ---- arrival ---- */

/* Straight to the listener, or to an address that only stands for names and stands for none. */
static const char *refuse(const struct conn *c)
{
    if (c->port == NETNS_PORT)
        return "port 1 is not served";
    if (!*c->host && names_owns(&c->dst.sa))
        return "that address has never stood for a name, or does no more; look the name up again";
    return NULL;
}

static void arrive(struct conn *c)
{
    struct policy_verdict v;
    struct policy_target t = conn_target(c);
    const char *why = refuse(c);
    if (why) {
        conn_deny(c, "tcp", "", why);
        return;
    }
    if (c->port == 53) {
        start(c, dns_stream_start);
        return;
    }
    policy_connect(c->box->policy, &t, &v);
    if (v.action == POLICY_TCP) {
        if (make_stream(c) < 0 || relay_start(c, "tcp", v.rule_name) < 0)
            conn_close(c);
        return;
    }
    conn_limit(c, FIRST_BYTES_MS);
    if (uv_poll_init(&c->box->egress->loop, &c->poll, c->fd) < 0) {
        conn_close(c);
        return;
    }
    c->poll.data = c;
    c->poll_open = true;
    uv_poll_start(&c->poll, UV_READABLE, on_bytes);
}

void conn_accept(struct egress_box *b, int take_fd)
{
    struct conn *c = calloc(1, sizeof *c);
    socklen_t len = sizeof c->dst;
    if (!c || getsockname(take_fd, &c->dst.sa, &len) < 0) {
        close(take_fd);
        free(c);
        return;
    }
    c->box = b;
    c->id = ++b->egress->next_id;
    c->start_us = egress_clock_us();
    c->fd = take_fd;
    c->port = ntohs(c->dst.sa.sa_family == AF_INET ? c->dst.v4.sin_port : c->dst.v6.sin6_port);
    const char *host = names_find(b->names, &c->dst.sa);
    snprintf(c->host, sizeof c->host, "%s", host ? host : "");
    list_append(&b->conns, &c->link);
    b->nconns++;
    b->egress->counters.connections++;
    arrive(c);
}
