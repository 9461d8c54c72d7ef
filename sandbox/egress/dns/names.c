#include "sandbox/egress/dns/names.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/base/list.h"
#include "sandbox/base/map.h"

struct entry {
    struct list link; /* least recently asked for first */
    uint32_t index;
    char *host;
};

struct names {
    struct map *by_name;
    struct entry *table[NAMES_MAX];
    uint32_t used;
    struct list order;
};

static const uint8_t prefix6[12] = {0xfd, 0x00, 0x02, 0x00, 0x00, 0x01};

struct names *names_new(void)
{
    struct names *n = calloc(1, sizeof *n);
    if (n && !(n->by_name = map_new())) {
        free(n);
        return NULL;
    }
    if (n)
        list_init(&n->order);
    return n;
}

void names_free(struct names *n)
{
    if (!n)
        return;
    for (uint32_t i = 0; i < n->used; i++) {
        free(n->table[i]->host);
        free(n->table[i]);
    }
    map_free(n->by_name);
    free(n);
}

static struct entry *oldest(struct names *n)
{
    struct entry *e = LIST_ENTRY(n->order.next, struct entry, link);
    map_remove(n->by_name, e->host);
    free(e->host);
    e->host = NULL;
    return e;
}

static struct entry *fresh(struct names *n)
{
    struct entry *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->index = n->used;
    n->table[n->used++] = e;
    list_init(&e->link);
    return e;
}

int names_take(struct names *n, const char *host, uint8_t v4[4], uint8_t v6[16])
{
    struct entry *e = map_get(n->by_name, host);
    if (!e) {
        char *copy = strdup(host);
        e = !copy ? NULL : n->used == NAMES_MAX ? oldest(n) : fresh(n);
        if (!e || map_add(n->by_name, copy, e) < 0) {
            free(copy);
            if (e)
                e->host = strdup(""); /* stands for nothing */
            return -ENOMEM;
        }
        e->host = copy;
    }
    list_remove(&e->link);
    list_append(&n->order, &e->link);
    uint32_t at = 0xc6120000u + e->index + 1; /* 198.18.0.1 */
    for (int i = 0; i < 4; i++)
        v4[i] = (uint8_t)(at >> (24 - 8 * i));
    memcpy(v6, prefix6, sizeof prefix6);
    for (int i = 0; i < 4; i++)
        v6[12 + i] = (uint8_t)((e->index + 1) >> (24 - 8 * i));
    return 0;
}

static uint32_t number(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

const char *names_find_bytes(const struct names *n, const uint8_t *addr, size_t len)
{
    uint32_t index;
    if (len == 4 && (number(addr) & 0xfffe0000u) == 0xc6120000u)
        index = number(addr) - 0xc6120000u - 1;
    else if (len == 16 && !memcmp(addr, prefix6, sizeof prefix6))
        index = number(addr + 12) - 1;
    else
        return NULL;
    return index < n->used && *n->table[index]->host ? n->table[index]->host : NULL;
}

const char *names_find(const struct names *n, const struct sockaddr *addr)
{
    if (addr->sa_family == AF_INET)
        return names_find_bytes(n, (const uint8_t *)&((const struct sockaddr_in *)addr)->sin_addr,
                                4);
    return names_find_bytes(n, (const uint8_t *)&((const struct sockaddr_in6 *)addr)->sin6_addr,
                            16);
}

int names_owns(const struct sockaddr *addr)
{
    if (addr->sa_family == AF_INET)
        return (ntohl(((const struct sockaddr_in *)addr)->sin_addr.s_addr) & 0xfffe0000u) ==
               0xc6120000u;
    return !memcmp(&((const struct sockaddr_in6 *)addr)->sin6_addr, prefix6, sizeof prefix6);
}
