/*
 * E: the one way from boxes to the world. Owns the listeners inside every box's network, the
 * policies, the secrets and the authorities that boxes trust; has no privilege but to connect.
 * Started by B with a link at descriptor 3, and started again when it dies.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/log.h"
#include "sandbox/egress/boxd_link.h"
#include "sandbox/egress/egress.h"
#include "sandbox/egress/gateway_link.h"
#include "sandbox/egress/net/own.h"
#include "sandbox/egress/start.h"
#include "sandbox/egress/tls/upstream.h"

enum { LINK_FD = 3, DEADLINE_MS = 30000 };

static _Noreturn void die(const char *step, const char *text)
{
    fprintf(stderr, "cbx-egress: cannot start: %s: %s\n", step, text);
    exit(1);
}

static int open_dir(int state, const char *name)
{
    if (mkdirat(state, name, 0700) < 0 && errno != EEXIST)
        die("make directory", name);
    int fd = openat(state, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        die("open directory", name);
    return fd;
}

static void start_handlers(struct egress *e, int state, const char *folder)
{
    char worker[400];
    struct handlers_config c = {.node = "/usr/bin/node",
                                .worker = worker,
                                .deadline_ms = DEADLINE_MS,
                                .dir_fd = open_dir(state, "handlers"),
                                .secrets = e->secrets};
    snprintf(worker, sizeof worker, "%s/worker.mjs", folder);
    int r = handlers_new(&e->loop, &c, &e->handlers);
    if (r < 0)
        die("start handlers", strerror(-r));
}

void egress_configure(struct egress *e, const uint8_t *msg, size_t len, int ca_fd)
{
    const struct wire_egress_hello *m = (const void *)msg;
    struct err err = {0};
    const char *dir, *resolver, *handlers;
    if (len < sizeof *m || e->dialler.resolver)
        die("read configuration", "malformed");
    json_t *j = json_loadb((const char *)msg + sizeof *m, len - sizeof *m, 0, NULL);
    if (!j || json_unpack(j, "{s:s, s:s, s:s}", "state_dir", &dir, "resolver", &resolver,
                          "handlers", &handlers) < 0)
        die("read configuration", "malformed");
    memcpy(e->ca_key, m->ca_key, sizeof e->ca_key);
    int state = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (state < 0)
        die("open state directory", strerror(errno));
    e->log_dir = open_dir(state, "log");
    e->usage_dir = open_dir(state, "usage");
    int r = resolver_new(&e->loop, resolver, &e->dialler.resolver);
    if (r < 0)
        die("use name servers", *resolver ? resolver : strerror(-r));
    e->dialler.loop = &e->loop;
    if ((r = own_open(&e->dialler.own)) < 0)
        die("ask for the host's addresses", strerror(-r));
    if (upstream_context_new(ca_fd, &e->client, &err) < 0)
        die(err.step, err.text);
    r = secrets_open(open_dir(state, "secrets"), m->secrets_key, &e->secrets);
    if (r < 0)
        die("open secrets", strerror(-r));
    start_handlers(e, state, handlers);
    json_decref(j);
}

void egress_stop(struct egress *e)
{
    if (e->stopping)
        return;
    e->stopping = true;
    while (!list_empty(&e->boxes))
        box_close(LIST_ENTRY(e->boxes.next, struct egress_box, link));
    uv_stop(&e->loop);
}

static void on_signal(uv_signal_t *h, int signum)
{
    (void)signum;
    egress_stop(h->data);
}

static void on_sweep(uv_timer_t *t)
{
    struct egress *e = t->data;
    uint64_t now = uv_now(&e->loop);
    LIST_FOREACH_SAFE (it, &e->boxes) {
        struct egress_box *b = LIST_ENTRY(it, struct egress_box, link);
        conns_sweep(b, now);
        upstreams_sweep(b, now);
        box_save_usage(b);
        if (authority_renew(b->authority, time(NULL)) > 0) /* B has it for those that it holds */
            boxd_link_opened(e->boxd, b);
    }
}

/* Records are written once a turn, before the loop sleeps. */
static void on_turn(uv_prepare_t *h)
{
    struct egress *e = h->data;
    LIST_FOREACH (it, &e->boxes) {
        struct egress_box *b = LIST_ENTRY(it, struct egress_box, link);
        if (b->log && b->log_dirty) {
            b->log_dirty = false;
            if (egress_log_flush(b->log) < 0)
                log_warn("egress", "log_not_written", "box=%s", log_quote(b->name));
            gateway_link_log_grew(e->gateway, b);
        }
    }
}

static void on_later(uv_idle_t *h)
{
    uv_idle_stop(h);
    exchanges_postponed(h->data);
}

void egress_wake(struct egress *e)
{
    uv_idle_start(&e->later, on_later);
}

static void set_up_loop(struct egress *e)
{
    uv_loop_init(&e->loop);
    uv_signal_init(&e->loop, &e->term);
    uv_signal_init(&e->loop, &e->interrupt);
    uv_timer_init(&e->loop, &e->sweep);
    uv_idle_init(&e->loop, &e->later);
    uv_prepare_init(&e->loop, &e->turn);
    e->term.data = e->interrupt.data = e->sweep.data = e->later.data = e->turn.data = e;
    uv_signal_start(&e->term, on_signal, SIGTERM);
    uv_signal_start(&e->interrupt, on_signal, SIGINT);
    uv_timer_start(&e->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
    uv_prepare_start(&e->turn, on_turn);
}

int main(void)
{
    static struct egress e;
    struct rlimit l;
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    log_init("egress");
    prctl(PR_SET_NAME, "cbx-egress");
    prctl(PR_SET_DUMPABLE, 0); /* secrets are in there */
    sigaction(SIGPIPE, &ignore, NULL);
    if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
        l.rlim_cur = l.rlim_max;
        setrlimit(RLIMIT_NOFILE, &l);
    }
    list_init(&e.boxes);
    list_init(&e.postponed);
    e.log_dir = e.usage_dir = -1;
    set_up_loop(&e);
    e.boxd = boxd_link_new(&e, LINK_FD);
    if (!e.boxd)
        die("use the link", strerror(errno));
    uv_run(&e.loop, UV_RUN_DEFAULT);
    return 0;
}
