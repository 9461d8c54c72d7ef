/* A connection after an upgrade: no more requests, just bytes. */
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "kernel-gw/net/private.h"

enum { QUEUE_LOW = 64 << 10 };

static struct conn *conn_of(const struct tunnel *t)
{
    return (struct conn *)((char *)(uintptr_t)t - offsetof(struct conn, tunnel));
}

struct tunnel *exchange_upgrade(struct exchange *x, const char *headers,
                                const struct tunnel_ops *ops, void *user)
{
    struct conn *c = (struct conn *)((char *)x - offsetof(struct conn, x));
    c->active = false;
    c->x = (struct exchange){0};
    c->tunnel = (struct tunnel){.ops = ops, .user = user, .open = true};
    buf_printf(&c->out, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n%s\r\n",
               headers);
    buf_reset(&c->extra);
    conn_flush(c);
    return &c->tunnel;
}

struct buf *tunnel_out(struct tunnel *t)
{
    return &conn_of(t)->out;
}

/* A broken connection ends from the loop, as `closed`: whoever writes need not expect to be gone
 * afterwards. */
void tunnel_flush(struct tunnel *t)
{
    struct conn *c = conn_of(t);
    uv_os_fd_t fd;
    conn_flush(c);
    if (tunnel_queued(t) > QUEUE_LOW)
        c->above_low = true;
    if ((c->broken || c->out.err) && !c->closing && uv_fileno((uv_handle_t *)&c->tcp, &fd) == 0)
        shutdown(fd, SHUT_RDWR);
}

size_t tunnel_queued(const struct tunnel *t)
{
    const struct conn *c = conn_of(t);
    return c->out.len + c->sending.len;
}

void tunnel_read(struct tunnel *t, bool on)
{
    struct conn *c = conn_of(t);
    if (c->closing)
        return;
    if (on)
        conn_read_start(c);
    else
        uv_read_stop((uv_stream_t *)&c->tcp);
}

bool tunnel_is_local(const struct tunnel *t)
{
    struct sockaddr_storage peer;
    int len = sizeof peer;
    if (uv_tcp_getpeername(&conn_of(t)->tcp, (struct sockaddr *)&peer, &len) < 0)
        return false;
    if (peer.ss_family == AF_INET)
        return ntohl(((struct sockaddr_in *)&peer)->sin_addr.s_addr) >> 24 == 127;
    return peer.ss_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *)&peer)->sin6_addr);
}

void tunnel_finish(struct tunnel *t)
{
    struct conn *c = conn_of(t);
    t->ops = NULL;
    t->open = false; /* the server's clock bounds how long the rest may take */
    c->close_when_sent = true;
    c->progress_ms = uv_now(c->server->loop);
    uv_read_stop((uv_stream_t *)&c->tcp);
    conn_flush(c);
    if (!c->out.len && !c->sending.len)
        conn_close(c);
}

void tunnel_close(struct tunnel *t)
{
    t->ops = NULL;
    conn_close(conn_of(t));
}

/* ---- called by the connection ---- */

void tunnel_received(struct conn *c, const void *data, size_t len)
{
    if (c->tunnel.ops)
        c->tunnel.ops->received(c->tunnel.user, data, len);
    if (!c->closing && (c->broken || c->out.err))
        conn_close(c);
}

void tunnel_sent(struct conn *c)
{
    if (!c->above_low || tunnel_queued(&c->tunnel) > QUEUE_LOW)
        return;
    c->above_low = false;
    if (c->tunnel.ops)
        c->tunnel.ops->drained(c->tunnel.user);
}

void tunnel_closed(struct conn *c)
{
    const struct tunnel_ops *ops = c->tunnel.ops;
    c->tunnel.open = false;
    c->tunnel.ops = NULL;
    if (ops)
        ops->closed(c->tunnel.user);
}
