#include "sandbox/egress/http/authority.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

int authority_split(const char *text, size_t len, bool https, char host[256], uint16_t *ret_port)
{
    const char *end = text + len, *name = text, *port = NULL;
    size_t n = len;
    *ret_port = https ? 443 : 80;
    if (len && *text == '[') {
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
    if (n == 0 || n >= 255 || (port && parse_port(port, (size_t)(end - port), ret_port) < 0))
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        unsigned char ch = (unsigned char)name[i];
        if (!isalnum(ch) && ch != '-' && ch != '.' && ch != '_' && !(*text == '[' && ch == ':'))
            return -EINVAL;
        host[i] = (char)tolower(ch);
    }
    if (host[n - 1] == '.')
        n--;
    host[n] = 0;
    /* "example.com.." would be another name to the policy and the same to a resolver */
    return n == 0 || host[0] == '.' || host[n - 1] == '.' || strstr(host, "..") ? -EINVAL : 0;
}

static bool is_address(const char *host, union socket_address *ret)
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

const char *authority_origin(const struct conn *c, const struct http_head *head,
                             struct origin_space *space, struct exchange_origin *ret)
{
    uint16_t port;
    if (authority_split(head_at(head, head->authority), head->authority.len, c->https, space->host,
                        &port) < 0)
        return "the request names no valid host";
    *ret = (struct exchange_origin){
        .box = c->box, .host = space->host, .port = c->port, .https = c->https};
    if (*c->host) {
        if (strcmp(c->host, space->host))
            return "the connection was opened for another host than the request names";
        return NULL;
    }
    const struct policy_target t = {.host = "", .addr = &c->dst.sa, .port = c->port};
    if (is_address(space->host, &space->addr) ||
        policy_names_network(c->box->policy, &t, &c->dst.sa)) {
        /* Of its address and what the request says, the one that was dialled is the truth. */
        space->addr = c->dst;
        ret->by_address = true; /* a network of one's own may be spoken to under any name */
        ret->addr = &space->addr.sa;
    }
    return NULL;
}
