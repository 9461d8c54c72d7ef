/* G as B sees it: a child that is handed everything that lives. */
#include "sandbox/boxd/child.h"
#include "sandbox/boxd/keys.h"
#include "sandbox/boxd/server.h"

static void on_started(void *owner)
{
    struct server *s = owner;
    request_hand_over(s);
    egress_link_gateway(s);
}

static void on_message(void *owner, const uint8_t *msg, size_t len, int *fds, size_t nfds)
{
    request_dispatch(owner, msg, len, fds, nfds);
}

static void on_hopeless(void *owner)
{
    struct server *s = owner;
    if (!s->announced)
        server_give_up(s, "start gateway", "it dies while starting; see the log above");
}

static const struct child_ops ops = {on_started, on_message, on_hopeless};

int gateway_start(struct server *s, struct err *err)
{
    struct child_config c = {.name = "cbx-gateway",
                             .module = "gateway",
                             .program = s->config.gateway,
                             .uid = s->own_uids + UID_GATEWAY,
                             .filter = s->gateway_filter,
                             .jail = &s->gateway_jail,
                             .cgroup = s->gateway_group,
                             .ops = &ops,
                             .owner = s};
    int r = keys_load(config_key_dir(&s->config), "registry.key", s->registry_key, err);
    if (r < 0)
        return r;
    s->gateway = child_start(&s->loop, &c, err);
    return s->gateway ? 0 : err->code;
}

int gateway_send(struct server *s, const void *msg, size_t len, const int *fds, size_t nfds)
{
    return child_send(s->gateway, msg, len, fds, nfds);
}

void gateway_reply(struct server *s, const struct wire_head *to, const struct err *err,
                   int64_t value)
{
    struct wire_reply r = {.h = {.type = WIRE_REPLY, .seq = to->seq, .box = to->box},
                           .value = value};
    if (err)
        r.err = *err;
    gateway_send(s, &r, sizeof r, NULL, 0);
}
