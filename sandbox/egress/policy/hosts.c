#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/egress/policy/glob.h"
#include "sandbox/egress/policy/model.h"

static bool read_port(const char *text, uint16_t *ret)
{
    char *end;
    if (!isdigit((unsigned char)*text) || strlen(text) > 5)
        return false;
    unsigned long v = strtoul(text, &end, 10);
    if (*end || v == 0 || v > 65535)
        return false;
    *ret = (uint16_t)v;
    return true;
}

static const char *read_glob(struct arena *a, const char *text, size_t len,
                             struct host_pattern *ret)
{
    if (len && text[len - 1] == '.')
        len--;
    if (len == 0 || len > 253)
        return "it is empty or too long for a host";
    char *copy = arena_text(a, text, len);
    if (!copy)
        return "out of memory";
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)copy[i];
        if (!isalnum(c) && !strchr("-._*", c))
            return "a host has letters, digits, - . _ and * alone";
        copy[i] = (char)tolower(c);
    }
    ret->glob = copy;
    ret->len = len;
    const char *star = memrchr(copy, '*', len);
    ret->plain = !star;
    ret->tail = star ? (size_t)(copy + len - star - 1) : len;
    return NULL;
}

const char *host_pattern_read(struct arena *a, const char *text, struct host_pattern *ret)
{
    size_t len = strlen(text);
    const char *port = NULL, *close = strrchr(text, ']');
    *ret = (struct host_pattern){0};
    if (*text == '[') {
        if (!close)
            return "] is missing";
        const char *colon = strchr(close, ':');
        port = colon ? colon + 1 : NULL;
        len = colon ? (size_t)(colon - text) : len;
    } else if (strchr(text, ':') && strchr(text, ':') == strrchr(text, ':')) {
        port = strchr(text, ':') + 1;
        len = (size_t)(port - 1 - text);
    }
    if (port && !read_port(port, &ret->port))
        return "its port is no number from 1 to 65535";
    /* "[2001:db8::]/32" is as good as "2001:db8::/32" */
    char plain[80];
    if (*text == '[' && close && len < sizeof plain) {
        size_t inner = (size_t)(close - text - 1), rest = len - inner - 2;
        memcpy(plain, text + 1, inner);
        memcpy(plain + inner, close + 1, rest);
        if (network_parse(plain, inner + rest, &ret->network))
            return NULL;
        return "it is no IPv6 address or network";
    }
    if (network_parse(text, len, &ret->network))
        return NULL;
    if (memchr(text, '/', len))
        return "it is no network: address/bits, with no bit set behind the prefix";
    if (memchr(text, ':', len))
        return "it is no IPv6 address";
    return read_glob(a, text, len, ret);
}

static bool matches(const struct host_pattern *h, const struct policy_target *t, size_t host_len,
                    const struct address *a, bool has_address)
{
    if (h->port && h->port != t->port)
        return false;
    if (!h->glob)
        return has_address && network_holds(&h->network, a);
    if (!host_len)
        return h->len == 1 && *h->glob == '*';
    /* most patterns of a policy end in another way than the host */
    if (host_len < h->tail || (h->plain && host_len != h->len) ||
        memcmp(t->host + host_len - h->tail, h->glob + h->len - h->tail, h->tail) != 0)
        return false;
    return h->plain || policy_glob(h->glob, h->len, t->host, host_len);
}

bool hosts_match(const struct host_list *l, const struct policy_target *t)
{
    size_t host_len = strlen(t->host);
    struct address a;
    while (host_len && t->host[host_len - 1] == '.')
        host_len--;
    bool has_address = l->n && t->addr && address_from(t->addr, &a);
    for (size_t i = 0; i < l->n; i++)
        if (matches(&l->items[i], t, host_len, &a, has_address))
            return true;
    return false;
}

bool hosts_hold(const struct host_list *l, const struct address *a, uint16_t port)
{
    for (size_t i = 0; i < l->n; i++)
        if (!l->items[i].glob && (!l->items[i].port || l->items[i].port == port) &&
            network_holds(&l->items[i].network, a))
            return true;
    return false;
}

bool host_glob(const char *pattern, const char *host)
{
    return policy_glob(pattern, strlen(pattern), host, strlen(host));
}
