#include "sandbox/egress/http/authority.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/egress/policy/address.h"

static int parse_port(const char *p, size_t len, uint16_t *ret)
{
    unsigned v = 0;
    if (len == 0 || len > 5)
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)p[i]))
            return -EINVAL;
        v = v * 10 + (unsigned)(p[i] - '0');
    }
    if (v == 0 || v > 65535)
        return -EINVAL;
    *ret = (uint16_t)v;
    return 0;
}

static bool authority_is_address(const char *host, union socket_address *ret)
{
    memset(ret, 0, sizeof *ret);
    if (inet_pton(AF_INET, host, &ret->v4.sin_addr) == 1) {
        ret->v4.sin_family = AF_INET;
        return true;
    }
    if (inet_pton(AF_INET6, host, &ret->v6.sin6_addr) == 1) {
        ret->v6.sin6_family = AF_INET6;
        return true;
    }
    return false;
}

/* Lower case, without the final dot. */
static int authority_host(const char *name, size_t n, bool brackets, char host[256])
{
    if (n == 0 || n >= 255)
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        unsigned char ch = (unsigned char)name[i];
        if (!isalnum(ch) && ch != '-' && ch != '.' && ch != '_' && !(brackets && ch == ':'))
            return -EINVAL;
        host[i] = (char)tolower(ch);
    }
    if (host[n - 1] == '.')
        n--;
    host[n] = 0;
    /* "example.com.." would be another name to the policy and the same to a resolver */
    return n == 0 || host[0] == '.' || host[n - 1] == '.' || strstr(host, "..") ? -EINVAL : 0;
}

int authority_split(const char *text, size_t len, struct authority_text *ret)
{
    const char *end = text + len, *name = text, *port = NULL;
    struct address canonical;
    size_t n = len;
    bool brackets = len && *text == '[';
    *ret = (struct authority_text){0};
    if (brackets) {
        const char *close = memchr(text, ']', len);
        if (!close)
            return -EINVAL;
        name = text + 1;
        n = (size_t)(close - name);
        if (close + 1 < end && close[1] != ':')
            return -EINVAL;
        port = close + 1 < end ? close + 2 : NULL;
    } else {
        const char *colon = memchr(text, ':', len);
        if (colon) {
            n = (size_t)(colon - text);
            port = colon + 1;
        }
    }
    if ((port && parse_port(port, (size_t)(end - port), &ret->port) < 0) ||
        authority_host(name, n, brackets, ret->host) < 0)
        return -EINVAL;
    ret->is_address = authority_is_address(ret->host, &ret->addr);
    if (brackets && (!ret->is_address || ret->addr.sa.sa_family != AF_INET6))
        return -EINVAL;
    if (ret->is_address && address_from(&ret->addr.sa, &canonical))
        address_text(&canonical, ret->host);
    return 0;
}

int authority_put(struct http_head *head, const struct authority_text *a, uint16_t port, bool https)
{
    char text[300];
    bool v6 = strchr(a->host, ':') != NULL, with_port = a->port || port != (https ? 443 : 80);
    int n = snprintf(text, sizeof text, "%s%s%s", v6 ? "[" : "", a->host, v6 ? "]" : "");
    if (with_port)
        n += snprintf(text + n, sizeof text - (size_t)n, ":%u", port);
    return head_put(head, text, (size_t)n, &head->authority);
}

/* NULL: the request may call the address so. */
static const char *check_address(const struct conn *c, const struct authority_text *a)
{
    const struct policy_target t = {.host = "", .addr = &c->dst.sa, .port = c->port};
    struct address named, dialled;
    if (!a->is_address)
        return policy_names_network(c->box->policy, &t, &c->dst.sa)
                   ? NULL
                   : "the connection was opened for an address, and the request is for another "
                     "host; "
                     "connect to the name";
    return address_from(&a->addr.sa, &named) && address_from(&c->dst.sa, &dialled) &&
                   !memcmp(&named, &dialled, sizeof named)
               ? NULL
               : "the connection was opened for another host than the request names";
}

const char *authority_origin(const struct conn *c, struct http_head *head,
                             struct origin_space *space, struct exchange_origin *ret)
{
    struct authority_text a;
    struct address dialled;
    const char *why;
    if (authority_split(head_at(head, head->authority), head->authority.len, &a) < 0)
        return "the request names no valid host";
    if (a.port && a.port != c->port)
        return "the connection was opened for another host: its port is not the request's";
    *ret = (struct exchange_origin){
        .box = c->box, .host = space->host, .port = c->port, .https = c->https};
    if (*c->host) {
        if (strcmp(c->host, a.host))
            return "the connection was opened for another host than the request names";
        snprintf(space->host, sizeof space->host, "%s", a.host);
    } else {
        if ((why = check_address(c, &a)))
            return why;
        if (!address_from(&c->dst.sa, &dialled))
            return "the connection has an address of an unknown kind";
        address_text(&dialled, space->host);
        space->addr = c->dst;
        ret->by_address = true;
        ret->addr = &space->addr.sa;
    }
    return authority_put(head, &a, c->port, c->https) < 0 ? "the head is too large" : NULL;
}
