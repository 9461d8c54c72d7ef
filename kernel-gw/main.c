/*
 * G: the process that speaks with the network. Started by B with descriptor 3 = link to B, an own
 * uid and nothing else. B says what it is called for (HELLO), hands over what lives (ADOPT_*), and
 * from then on answers requests.
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
#include <unistd.h>

#include "kernel-gw/api/api.h"
#include "kernel-gw/egress/egress.h"
#include "kernel-gw/gateway.h"
#include "kernel-gw/net/websocket/websocket.h"
#include "kernel-gw/notebook/notebook.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/id.h"
#include "sandbox/base/log.h"

#define MOD "gateway"

enum { LINK_FD = 3, CONNECTIONS_MAX = 10000, BODY_MAX = 32 << 20, HEAD_MAX = 64 << 10 };

static void fatal(const char *what, const char *why)
{
    log_error(MOD, what, "error=%s", log_quote(why));
    exit(1);
}

static int open_journals(const char *state_dir)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/journal", state_dir);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        fatal("create journal directory", strerror(errno));
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        fatal("open journal directory", strerror(errno));
    return fd;
}

static void make_manager(struct gateway *gw, const json_t *config)
{
    const json_t *pool = json_object_get(config, "pool"), *warm = json_object_get(pool, "warm"),
                 *node = json_object_get(pool, "node");
    struct manager_config mc = {
        .loop = gw->loop,
        .boxes = gw->boxes,
        .journal_dir = open_journals(gw->state_dir),
        .pool_warm = warm ? (unsigned)json_integer_value(warm) : 4,
        .pool_node = node ? (unsigned)json_integer_value(node) : 1,
    };
    gw->manager = manager_new(&mc);
    if (!gw->manager)
        fatal("start", "out of memory");
}

static void make_store(struct gateway *gw, const json_t *config)
{
    char path[4096];
    uint8_t key[STORE_KEY];
    struct err e = {0};
    const char *hex = json_string_value(json_object_get(config, "registry_key"));
    if (!hex || id_unhex(hex, key, sizeof key) < 0)
        fatal("hello", "there is no key of the registry");
    snprintf(path, sizeof path, "%s/registry.db", gw->state_dir);
    if (store_open(gw->loop, path, key, &gw->store, &e) < 0 ||
        store_load(gw->store, gw->manager, &e) < 0)
        fatal(e.step, e.text);
    store_follow(gw->store, gw->manager);
}

/* The default policy is the last descriptor, where there is one. */
static void make_egress(struct gateway *gw, const json_t *config, const struct wire_message *m)
{
    bool given = json_is_true(json_object_get(config, "egress"));
    struct err e = {0};
    CLEANUP_FD int fd = -1;
    if (given && m->nfds < 2)
        fatal("hello", "the egress policy is missing");
    if (given)
        fd = STEAL_FD(m->fds[m->nfds - 1]);
    if (egress_attach(gw, fd, &e) < 0)
        fatal(e.step, e.text);
}

static void on_store_written(void *user, uint64_t number, int status)
{
    struct gateway *gw = user;
    http_server_written(gw->server, number, status == 0);
}

static void make_server(struct gateway *gw, const struct wire_message *m)
{
    struct http_server_config sc = {
        .limits = {.head_max = HEAD_MAX, .body_max = BODY_MAX},
        .connections_max = CONNECTIONS_MAX,
        .head_timeout_ms = 15000,
        .idle_timeout_ms = 120000,
        .headers = "Access-Control-Allow-Origin: *\r\n",
        .judge = api_judge,
        .pending = api_pending,
    };
    store_on_written(gw->store, on_store_written, gw);
    gw->router = router_new();
    gw->server = http_server_new(gw->loop, &sc, api_handle, gw);
    if (!gw->router || !gw->server || api_attach(gw) < 0)
        fatal("start", "out of memory");
    if (jupyter_attach(gw) < 0)
        fatal("start", "the Jupyter door failed");
    if (notebook_attach(gw) < 0 || preview_attach(gw) < 0)
        fatal("start", "out of memory");
    for (size_t i = 0; i < m->nfds && m->fds[i] >= 0; i++) {
        int r = http_server_listen(gw->server, STEAL_FD(m->fds[i]));
        if (r < 0)
            fatal("listen", strerror(-r));
    }
}

static char *text_of(const json_t *config, const char *key)
{
    const char *s = json_string_value(json_object_get(config, key));
    char *copy = strdup(s ? s : "");
    if (!copy)
        fatal("start", "out of memory");
    return copy;
}

static void read_options(struct gateway *gw, const json_t *o)
{
    const char *word = json_string_value(json_object_get(o, "compression"));
    gw->options.launchers = text_of(o, "launchers");
    gw->options.cull_idle_s = (uint32_t)json_integer_value(json_object_get(o, "cull_idle"));
    gw->options.compression = word && !strcmp(word, "never")    ? WEBSOCKET_NEVER
                              : word && !strcmp(word, "always") ? WEBSOCKET_ALWAYS
                                                                : WEBSOCKET_AUTO;
}

static void on_hello(struct gateway *gw, const struct wire_message *m)
{
    json_t *config = json_loadb((const char *)(m->head + 1), m->len - sizeof *m->head,
                                JSON_DISABLE_EOF_CHECK, NULL);
    if (!config || gw->manager)
        fatal("hello", "malformed configuration");
    gw->auth.token = text_of(config, "token");
    gw->version = text_of(config, "version");
    gw->state_dir = text_of(config, "state_dir");
    gw->preview_domain = text_of(config, "preview_domain");
    read_options(gw, json_object_get(config, "jupyter"));
    make_manager(gw, config);
    make_store(gw, config);
    gw->auth.sessions = auth_sessions_new(gw->store, gw->auth.token);
    gw->auth.failures = failures_new();
    if (!gw->auth.sessions || !gw->auth.failures)
        fatal("start", "out of memory");
    make_egress(gw, config, m);
    make_server(gw, m);
    json_decref(config);
}

static void on_message(void *user, const struct wire_message *m)
{
    struct gateway *gw = user;
    if (m->head->type == WIRE_HELLO) {
        on_hello(gw, m);
    } else if (!gw->manager) {
        fatal("hello", "B did not begin with it");
    } else if (m->head->type == WIRE_EGRESS_LINK && m->nfds == 1) {
        egress_link(gw, STEAL_FD(m->fds[0]));
    } else if (m->head->type == WIRE_ADOPT_END) {
        manager_adopted(gw->manager);
        gw->ready = true;
        boxes_ready(gw->boxes);
        log_info(MOD, "ready", NULL);
    } else {
        manager_adopt(gw->manager, m);
    }
}

static void on_gone(void *user, const struct wire_gone *m)
{
    struct gateway *gw = user;
    if (gw->manager)
        manager_box_gone(gw->manager, m);
}

static void on_used(void *user, const struct wire_gone *m)
{
    struct gateway *gw = user;
    if (gw->manager)
        manager_box_used(gw->manager, m);
}

static void on_closed(void *user)
{
    struct gateway *gw = user;
    log_info(MOD, "stop", "reason=%s", log_quote("the server has ended"));
    if (gw->store)
        store_close(gw->store);
    exit(0);
}

/* The server stops: what changed in the last moments goes to the registry first. */
static void on_sigterm(uv_signal_t *h, int signum)
{
    struct gateway *gw = h->data;
    (void)signum;
    boxes_drain(gw->boxes);
    on_closed(gw);
}

static const struct boxes_ops boxes_ops = {
    .gone = on_gone, .used = on_used, .message = on_message, .closed = on_closed};

static void prepare_process(void)
{
    struct rlimit files;
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    prctl(PR_SET_NAME, "cbx-gateway");
    umask(077);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 0); /* the token is in here */
    sigaction(SIGPIPE, &ignore, NULL);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

int main(void)
{
    static struct gateway gw;
    uv_loop_t loop;
    uv_signal_t sigterm;
    log_init("gateway");
    prepare_process();
    uv_loop_init(&loop);
    gw.loop = &loop;
    uv_signal_init(&loop, &sigterm);
    sigterm.data = &gw;
    uv_signal_start(&sigterm, on_sigterm, SIGTERM);
    fd_set_cloexec(LINK_FD, 1);
    gw.boxes = boxes_new(&loop, LINK_FD, &boxes_ops, &gw);
    if (!gw.boxes)
        fatal("start", "descriptor 3 is no link");
    uv_run(&loop, UV_RUN_DEFAULT);
    return 0;
}
