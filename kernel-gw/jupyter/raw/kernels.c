#include "kernel-gw/jupyter/raw/kernels.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel-gw/api/api.h"
#include "kernel-gw/jupyter/raw/private.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/id.h"
#include "sandbox/base/log.h"

/* How long a kernel outlives its client process, and how long a shut-down one waits for its
 * restart. */
enum { ABSENT_MS = 15000, PARKED_MS = 60000 };

static const char *const port_names[CHANNELS] = {"shell_port", "control_port", "stdin_port",
                                                 "iopub_port", "hb_port"};

static int read_curve(const json_t *connection, struct zmq_address *a)
{
    const char *public = json_string_value(json_object_get(connection, "curve_publickey"));
    const char *secret = json_string_value(json_object_get(connection, "curve_secretkey"));
    if (!public && !secret)
        return 0;
    if (!public || !secret || strlen(public) != 40 || strlen(secret) != 40)
        return -EINVAL;
    snprintf(a->curve_public, sizeof a->curve_public, "%s", public);
    snprintf(a->curve_secret, sizeof a->curve_secret, "%s", secret);
    return 0;
}

int kernels_read_connection(const json_t *connection, struct zmq_address *ret, char *key,
                            size_t cap, struct err *err)
{
    const char *transport = json_string_value(json_object_get(connection, "transport"));
    const char *ip = json_string_value(json_object_get(connection, "ip"));
    const char *secret = json_string_value(json_object_get(connection, "key"));
    const char *scheme = json_string_value(json_object_get(connection, "signature_scheme"));
    struct zmq_address a = {0};

    if (scheme && *scheme && strcmp(scheme, "hmac-sha256"))
        return err_set(err, -EINVAL, "read connection",
                       "signature_scheme %.40s is not supported; hmac-sha256 is", scheme);
    if (transport && strcmp(transport, "tcp") && strcmp(transport, "ipc"))
        return err_set(err, -EINVAL, "read connection", "transport must be tcp or ipc");
    snprintf(a.transport, sizeof a.transport, "%s", transport ? transport : "tcp");
    if (!ip || strlen(ip) >= sizeof a.ip)
        return err_set(err, -EINVAL, "read connection", "ip is missing or too long");
    snprintf(a.ip, sizeof a.ip, "%s", ip);
    if (!secret || !*secret || strlen(secret) >= cap) /* whoever reaches the socket runs code */
        return err_set(err, -EINVAL, "read connection", "key is missing, empty or too long");
    snprintf(key, cap, "%s", secret);
    if (read_curve(connection, &a) < 0)
        return err_set(err, -EINVAL, "read connection",
                       "curve_publickey and curve_secretkey are 40 characters of Z85 each");
    bool any = json_object_get(connection, "registration_port") != NULL;
    for (int i = 0; i < CHANNELS; i++) {
        json_int_t port = json_integer_value(json_object_get(connection, port_names[i]));
        if (any && !port)
            continue;
        if (port < 1 || port > 65535)
            return err_set(err, -EINVAL, "read connection", "%s is missing or out of range",
                           port_names[i]);
        a.port[i] = (int)port;
    }
    *ret = a;
    return 0;
}

bool kernels_is_loopback(const char *ip)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (!strcmp(ip, "localhost"))
        return true;
    if (inet_pton(AF_INET, ip, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, ip, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static bool kernels_is_launcher(const struct door *d, const char *ip)
{
    const char *at = d->gw->options.launchers;
    for (size_t n; *at; at += n + (at[n] == ',')) {
        n = strcspn(at, ",");
        if (n == strlen(ip) && !strncmp(at, ip, n))
            return true;
    }
    return kernels_is_loopback(ip);
}

static void ipc_folder(const struct door *d, char *out, size_t cap)
{
    snprintf(out, cap, "%s/ipc/", d->gw->state_dir);
}

/* The client knows our folder by the name that it has outside: only what it is called there counts.
 */
static int place_ipc(const struct door *d, struct zmq_address *a, struct err *err)
{
    static const char known[] = "/gateway/ipc/";
    char folder[256], path[sizeof a->ip];
    const char *slash = strrchr(a->ip, '/');
    size_t dir = slash ? (size_t)(slash + 1 - a->ip) : 0, tail = sizeof known - 1;
    ipc_folder(d, folder, sizeof folder);
    if (dir < tail || strncmp(slash + 1 - tail, known, tail) != 0 || !slash[1] ||
        snprintf(path, sizeof path, "%s%s", folder, slash + 1) >= (int)sizeof path)
        return err_set(err, -EINVAL, "read connection",
                       "the path of an ipc connection must be STATE/gateway/ipc/NAME");
    memcpy(a->ip, path, sizeof path);
    return 0;
}

int kernels_check_connection(const struct door *d, const json_t *connection, struct zmq_address *a,
                             struct err *err)
{
    const char *launcher = json_string_value(json_object_get(connection, "registration_ip"));
    if (launcher && !kernels_is_launcher(d, launcher))
        return err_set(err, -EINVAL, "read connection",
                       "registration_ip must be an address of this machine's loopback, or one that "
                       "the server's option --kernel-launchers names");
    if (!strcmp(a->transport, "tcp"))
        return *a->curve_secret || kernels_is_loopback(a->ip)
                   ? 0
                   : err_set(err, -EPERM, "read connection",
                             "sockets that other machines reach need curve_publickey and "
                             "curve_secretkey");
    return place_ipc(d, a, err);
}

/* ---- records ---- */

static void record_path(const struct door *d, const char *id, char *out, size_t cap)
{
    snprintf(out, cap, "%s/kernel-%s.json", d->gw->state_dir, id);
}

static void save(const struct served *s)
{
    char path[512], tmp[520];
    CLEANUP_BUF struct buf connection = {0};
    if (!s->kernel || kernel_put_connection(s->kernel, &connection) < 0)
        return;
    json_t *j =
        json_pack("{s:s, s:s, s:s, s:b, s:b, s:o}", "id", s->id, "context", s->context, "sandbox",
                  s->sandbox, "owns", s->owns_sandbox, "attended", s->attended, "connection",
                  json_loadb((char *)connection.data, connection.len, 0, NULL));
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    record_path(s->door, s->id, path, sizeof path);
    snprintf(tmp, sizeof tmp, "%s.new", path);
    CLEANUP_FD int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (!text || fd < 0 || fd_write_all(fd, text, strlen(text)) < 0 || rename(tmp, path) < 0)
        log_warn("jupyter", "record_failed", "kernel=%s", s->id);
    free(text);
    json_decref(j);
}

static void forget(const struct served *s)
{
    char path[512];
    record_path(s->door, s->id, path, sizeof path);
    unlink(path);
}

/* ---- life ---- */

static void on_timer_closed(uv_handle_t *h)
{
    free(h->data);
}

static struct served *served_new(struct door *d)
{
    struct served *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->door = d;
    uv_timer_init(d->gw->loop, &s->absence);
    s->absence.data = s;
    list_append(&d->served, &s->link);
    return s;
}

static void served_free(struct served *s)
{
    list_remove(&s->link);
    uv_close((uv_handle_t *)&s->absence, on_timer_closed);
}

static void answer_waiter(struct served *s, const char *reason, bool restart)
{
    CLEANUP_BUF struct buf b = {0};
    struct exchange *x = s->waiter;
    s->waiter = NULL;
    if (!x)
        return;
    exchange_set_ops(x, NULL, NULL);
    buf_printf(&b, "{\"reason\":\"%s\",\"restart\":%s}", reason, restart ? "true" : "false");
    api_json(s->door->gw, x, 200, &b);
}

void kernels_end(struct served *s, const char *reason)
{
    struct gateway *gw = s->door->gw;
    if (s->closing)
        return;
    s->closing = true;
    kernel_close(s->kernel);
    s->kernel = NULL;
    zmq_errand_close(STEAL_PTR(s->registration));
    forget(s);
    answer_waiter(s, reason, false);
    struct sandbox *sb = s->owns_sandbox ? sandbox_get(gw->manager, s->sandbox) : NULL;
    struct context *c = sb ? NULL : context_get(gw->manager, s->context);
    bool remove_context = strcmp(reason, "context_removed") && c;
    log_info("jupyter", "kernel_ended", "kernel=%s reason=%s", s->id, reason);
    served_free(s);
    if (sb)
        sandbox_remove(sb, NULL, NULL);
    else if (remove_context)
        context_remove(c);
}

static void on_absent(uv_timer_t *t)
{
    kernels_end(t->data, "client_gone");
}

void kernels_set_waiter(struct served *s, struct exchange *x)
{
    s->waiter = x;
    if (x)
        uv_timer_stop(&s->absence);
    else if (!s->closing)
        uv_timer_start(&s->absence, on_absent, s->kernel ? ABSENT_MS : PARKED_MS, 0);
}

/* Asked by a client through the protocol. */
static void on_shutdown(void *user, bool restart)
{
    struct served *s = user;
    struct context *c = context_get(s->door->gw->manager, s->context);
    if (!restart) {
        kernels_end(s, "shutdown");
    } else if (!s->attended) {
        if (c)
            context_restart(c);
    } else {
        /* Its client process will end and be started again with the same connection file. */
        kernel_close(s->kernel);
        s->kernel = NULL;
        answer_waiter(s, "shutdown", true);
        uv_timer_start(&s->absence, on_absent, PARKED_MS, 0);
    }
}

static int open_kernel(struct served *s, struct context *c, bool adopted, struct err *err)
{
    struct kernel_config config = {.loop = s->door->gw->loop,
                                   .node = s->door->node,
                                   .context = c,
                                   .address = s->address,
                                   .key = s->key,
                                   .adopted = adopted,
                                   .counters = &s->door->counters,
                                   .shutdown = on_shutdown,
                                   .user = s};
    int r = kernel_open(&config, &s->kernel, err);
    if (r == 0)
        s->address = *kernel_address(s->kernel);
    return r;
}

int kernels_serve(struct door *d, struct context *c, const struct zmq_address *address,
                  const char *key, bool attended, bool owns_sandbox, struct served **ret,
                  struct err *err)
{
    struct context_info info;
    struct sandbox_info box;
    struct served *s = served_new(d);
    if (!s)
        return err_set(err, -ENOMEM, "serve kernel", NULL);
    context_get_info(c, &info);
    sandbox_get_info(info.sandbox, &box);
    id_uuid(s->id);
    snprintf(s->context, sizeof s->context, "%s", info.id);
    snprintf(s->sandbox, sizeof s->sandbox, "%s", box.name);
    snprintf(s->key, sizeof s->key, "%s", key);
    s->address = *address;
    s->attended = attended;
    s->owns_sandbox = owns_sandbox;
    int r = open_kernel(s, c, false, err);
    if (r < 0) {
        served_free(s);
        return r;
    }
    save(s);
    if (attended)
        kernels_set_waiter(s, NULL);
    *ret = s;
    return 0;
}

struct served *kernels_find(struct door *d, const char *id)
{
    LIST_FOREACH (it, &d->served) {
        struct served *s = LIST_ENTRY(it, struct served, link);
        if (!strcmp(s->id, id))
            return s;
    }
    return NULL;
}

struct served *kernels_of_context(struct door *d, const char *context)
{
    LIST_FOREACH (it, &d->served) {
        struct served *s = LIST_ENTRY(it, struct served, link);
        if (!s->attended && s->kernel && !strcmp(s->context, context))
            return s;
    }
    return NULL;
}

struct served *kernels_returning(struct door *d, const struct zmq_address *address, const char *key)
{
    LIST_FOREACH (it, &d->served) {
        struct served *s = LIST_ENTRY(it, struct served, link);
        if (s->attended && !s->waiter && !strcmp(s->key, key) &&
            !memcmp(s->address.port, address->port, sizeof address->port))
            return s;
    }
    return NULL;
}

int kernels_return(struct served *s, struct err *err)
{
    struct context *c = context_get(s->door->gw->manager, s->context);
    if (!c)
        return err_set(err, -ESRCH, "restart kernel", "its context is gone");
    int r = s->kernel ? 0 : open_kernel(s, c, false, err);
    if (r < 0)
        return r;
    context_restart(c);
    kernels_set_waiter(s, NULL);
    return 0;
}

/* ---- hooks ---- */

void kernels_context_opened(struct door *d, struct context *c)
{
    struct context_info info;
    struct err err = {0};
    context_get_info(c, &info);
    LIST_FOREACH (it, &d->served) {
        struct served *s = LIST_ENTRY(it, struct served, link);
        if (s->kernel || strcmp(s->context, info.id))
            continue;
        if (open_kernel(s, c, true, &err) < 0)
            log_error("jupyter", "rebind_failed", "kernel=%s reason=%s", s->id,
                      log_quote(err.text));
        else if (s->attended)
            kernels_set_waiter(s, NULL);
    }
}

void kernels_context_removed(struct door *d, struct context *c)
{
    struct context_info info;
    context_get_info(c, &info);
    LIST_FOREACH_SAFE (it, &d->served) {
        struct served *s = LIST_ENTRY(it, struct served, link);
        if (!s->closing && !strcmp(s->context, info.id))
            kernels_end(s, "context_removed");
    }
}

void kernels_orphan(struct door *d, const struct context_event *ev)
{
    struct context_info info;
    context_get_info(ev->context, &info);
    LIST_FOREACH (it, &d->served) {
        struct served *s = LIST_ENTRY(it, struct served, link);
        if (s->kernel && !strcmp(s->context, info.id)) {
            kernel_orphan(s->kernel, ev);
            return;
        }
    }
}

static void load_record(struct door *d, const char *path)
{
    json_t *j = json_load_file(path, 0, NULL);
    const char *id, *context, *sandbox;
    int owns, attended;
    json_t *connection;
    struct err err = {0};
    if (j && json_unpack(j, "{s:s, s:s, s:s, s:b, s:b, s:o}", "id", &id, "context", &context,
                         "sandbox", &sandbox, "owns", &owns, "attended", &attended, "connection",
                         &connection) == 0) {
        struct served *s = served_new(d);
        if (s &&
            kernels_read_connection(connection, &s->address, s->key, sizeof s->key, &err) < 0) {
            served_free(s);
        } else if (s) {
            snprintf(s->id, sizeof s->id, "%s", id);
            snprintf(s->context, sizeof s->context, "%s", context);
            snprintf(s->sandbox, sizeof s->sandbox, "%s", sandbox);
            s->owns_sandbox = owns;
            s->attended = attended;
        }
    }
    json_decref(j);
}

static void load_records(struct door *d)
{
    char path[512];
    DIR *dir = opendir(d->gw->state_dir);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        size_t n = strlen(e->d_name);
        if (strncmp(e->d_name, "kernel-", 7) || n < 12 || strcmp(e->d_name + n - 5, ".json"))
            continue;
        snprintf(path, sizeof path, "%s/%s", d->gw->state_dir, e->d_name);
        load_record(d, path);
    }
    if (dir)
        closedir(dir);
}

void kernels_settle(struct door *d)
{
    LIST_FOREACH_SAFE (it, &d->served) {
        struct served *s = LIST_ENTRY(it, struct served, link);
        if (!s->kernel && !uv_is_active((uv_handle_t *)&s->absence))
            kernels_end(s, "context_gone");
    }
}

int kernels_init(struct door *d)
{
    char folder[256];
    list_init(&d->served);
    ipc_folder(d, folder, sizeof folder);
    if (mkdir(folder, 0700) < 0 && errno != EEXIST)
        log_warn("jupyter", "no_ipc_folder", "path=%s error=%s", folder, strerror(errno));
    int r = zmq_node_new(d->gw->loop, &d->node);
    if (r < 0)
        return r;
    load_records(d);
    return router_add(d->gw->router, raw_routes, raw_nroutes);
}
