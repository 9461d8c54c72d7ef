/*
 * E as B sees it: a child that gets the listeners of every box's network, also of those that are
 * only prepared, and answers each with the certificate of the CA that it speaks for in there. B
 * keeps the listeners, so connections wait in them while E is started again.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/id.h"
#include "sandbox/base/log.h"
#include "sandbox/boxd/child.h"
#include "sandbox/boxd/keys.h"
#include "sandbox/boxd/server.h"

enum { CERTIFICATE_MAX = 4096 };

static void hello(struct server *s)
{
    static uint8_t space[WIRE_MSG_MAX];
    struct wire_egress_hello h = {.h = {.type = WIRE_EGRESS_HELLO}};
    json_t *j = json_pack("{s:s, s:s, s:s}", "state_dir", s->egress_state, "resolver",
                          s->config.egress_resolver, "handlers", s->handlers);
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    if (!text) { /* without its configuration it may serve nobody */
        server_give_up(s, "configure egress", "out of memory");
        return;
    }
    memcpy(h.ca_key, s->egress_ca_key, sizeof h.ca_key);
    memcpy(h.secrets_key, s->egress_secrets_key, sizeof h.secrets_key);
    memcpy(space, &h, sizeof h);
    memcpy(space + sizeof h, text, strlen(text));
    int r = child_send(s->egress, space, sizeof h + strlen(text), &s->egress_ca_fd,
                       s->egress_ca_fd >= 0);
    if (r < 0)
        log_error("egress", "hello_failed", "reason=%s", log_quote(strerror(-r)));
    free(text);
}

void egress_open(struct server *s, const struct box_parts *p)
{
    struct wire_egress_open m = {.h = {.type = WIRE_EGRESS_OPEN, .box = p->number}};
    memcpy(m.disk, p->disk, sizeof m.disk);
    child_send(s->egress, &m, sizeof m, p->listeners, NETNS_LISTENERS);
}

void egress_close(struct server *s, uint64_t box)
{
    struct wire_head h = {.type = WIRE_EGRESS_CLOSE, .box = box};
    child_send(s->egress, &h, sizeof h, NULL, 0);
}

void egress_link_gateway(struct server *s)
{
    struct wire_head h = {.type = WIRE_EGRESS_LINK};
    int pair[2];
    int r = fd_seqpacket_pair(pair);
    if (r < 0) {
        log_error("egress", "link_failed", "reason=%s", log_quote(strerror(-r)));
        return;
    }
    if (child_send(s->egress, &h, sizeof h, &pair[0], 1) == 0)
        gateway_send(s, &h, sizeof h, &pair[1], 1);
    fd_close(pair[0]);
    fd_close(pair[1]);
}

static void on_started(void *owner)
{
    struct server *s = owner;
    hello(s);
    zygotes_each_parts(s, egress_open);
    LIST_FOREACH (it, &s->boxes)
        egress_open(s, &LIST_ENTRY(it, struct box, link)->parts);
    egress_link_gateway(s);
}

static void on_opened(struct server *s, uint64_t number, const uint8_t *pem, size_t len)
{
    struct box *b = server_find_box(s, number);
    struct box_parts *p = b ? &b->parts : zygotes_find_parts(s, number);
    char *copy = p ? strndup((const char *)pem, len) : NULL;
    if (!copy)
        return;
    free(p->ca);
    p->ca = copy;
    if (b)
        request_box_trusted(s, b);
}

static void on_message(void *owner, const uint8_t *msg, size_t len, int *fds, size_t nfds)
{
    const struct wire_head *h = (const void *)msg;
    (void)fds;
    (void)nfds;
    if (len > sizeof *h && len - sizeof *h <= CERTIFICATE_MAX && h->type == WIRE_EGRESS_OPENED)
        on_opened(owner, h->box, msg + sizeof *h, len - sizeof *h);
    else if (len == sizeof *h && h->type == WIRE_EGRESS_HELLO)
        server_egress_ready(owner);
}

static void on_hopeless(void *owner)
{
    struct server *s = owner;
    if (!s->announced)
        server_give_up(s, "start egress", "it dies while starting; see the log above");
}

static const struct child_ops ops = {on_started, on_message, on_hopeless};

int egress_start(struct server *s, struct err *err)
{
    struct child_config c = {.name = "cbx-egress",
                             .module = "egress",
                             .program = s->config.egress,
                             .uid = s->own_uids + UID_EGRESS,
                             .filter = s->egress_filter,
                             .jail = &s->egress_jail,
                             .cgroup = s->egress_group,
                             .ops = &ops,
                             .owner = s};
    int r = keys_load(config_key_dir(&s->config), "secrets.key", s->egress_secrets_key, err);
    if (r < 0)
        return r;
    id_random(s->egress_ca_key, sizeof s->egress_ca_key);
    s->egress = child_start(&s->loop, &c, err);
    return s->egress ? 0 : err->code;
}
