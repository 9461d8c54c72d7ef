#include "kernel-gw/net/admission.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/net/private.h"
#include "sandbox/base/map.h"

enum {
    CONNECTIONS_MAX = 1024,
    CONNECTIONS_PER_ADDRESS = 256,
    BYTES_MAX = 32 << 20,
    BYTES_PER_ADDRESS = 16 << 20,
    ADDRESS_TEXT = 64,
};

struct address {
    char text[ADDRESS_TEXT];
    unsigned count;
    size_t bytes;
};

int admission_init(struct admission *a)
{
    list_init(&a->connections);
    a->addresses = map_new();
    return a->addresses ? 0 : -ENOMEM;
}

void conn_address(const struct conn *c, char *out, size_t cap)
{
    struct sockaddr_storage peer = {0};
    int len = sizeof peer;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&peer;
    snprintf(out, cap, "unknown");
    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&peer, &len) < 0)
        return;
    if (peer.ss_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
        struct sockaddr_in6 net = *six;
        memset(net.sin6_addr.s6_addr + 8, 0, 8); /* one client usually has a whole /64 */
        uv_ip6_name(&net, out, cap);
    } else {
        uv_ip_name((const struct sockaddr *)&peer, out, cap);
    }
}

static struct address *address_of(struct admission *a, const struct conn *c)
{
    char text[ADDRESS_TEXT];
    conn_address(c, text, sizeof text);
    struct address *found = map_get(a->addresses, text);
    if (found)
        return found;
    struct address *made = calloc(1, sizeof *made);
    if (!made)
        return NULL;
    memcpy(made->text, text, sizeof text);
    if (map_add(a->addresses, text, made) < 0) {
        free(made);
        return NULL;
    }
    return made;
}

/* The oldest connection other than `but`, of this address or of any (NULL). Those whose request is
 * being answered come last. */
static struct conn *oldest(struct admission *a, const struct address *of, const struct conn *but)
{
    struct conn *busy = NULL;
    for (struct list *it = a->connections.next; it && it != &a->connections; it = it->next) {
        struct conn *c = LIST_ENTRY(it, struct conn, entry.item);
        if (c == but || c->processing || (of && c->entry.address != of))
            continue;
        if (!c->active)
            return c;
        busy = busy ? busy : c;
    }
    return busy;
}

static bool evict(struct admission *a, const struct address *of, const struct conn *but)
{
    struct conn *victim = oldest(a, of, but);
    if (!victim)
        return false;
    a->evicted++;
    conn_close(victim);
    return true;
}

int admission_enter(struct conn *c)
{
    struct admission *a = &c->server->admission;
    struct address *from = address_of(a, c);
    if (!from)
        return -ENOMEM;
    c->entry.address = from;
    list_append(&a->connections, &c->entry.item);
    a->count++;
    from->count++;
    while (from->count > CONNECTIONS_PER_ADDRESS && evict(a, from, c))
        ;
    while (a->count > CONNECTIONS_MAX && evict(a, NULL, c))
        ;
    return 0;
}

void admission_charge(struct conn *c)
{
    struct admission *a = &c->server->admission;
    struct admission_entry *e = &c->entry;
    if (!e->address)
        return;
    size_t now =
        c->in.len + c->parser.head.len + c->parser.request.body.len + c->out.len + c->sending.len;
    a->bytes += now - e->bytes;
    e->address->bytes += now - e->bytes;
    e->bytes = now;
    while (e->address->bytes > BYTES_PER_ADDRESS && evict(a, e->address, c))
        ;
    while (a->bytes > BYTES_MAX && evict(a, NULL, c))
        ;
}

void admission_leave(struct conn *c)
{
    struct admission *a = &c->server->admission;
    struct address *from = c->entry.address;
    if (!from)
        return;
    list_remove(&c->entry.item);
    a->count--;
    a->bytes -= c->entry.bytes;
    from->bytes -= c->entry.bytes;
    c->entry = (struct admission_entry){0};
    if (--from->count == 0) {
        map_remove(a->addresses, from->text);
        free(from);
    }
}

bool admission_trusted(const struct conn *c)
{
    return !c->entry.address;
}

bool admission_make_room(struct http_server *s)
{
    return evict(&s->admission, NULL, NULL);
}
