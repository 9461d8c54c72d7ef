/*
 * cellbox kernel: what Jupyter starts as "the kernel process". The kernel itself lives in a sandbox
 * and the gateway binds the sockets of the connection file; this process stands for it: it ends
 * when the kernel ends, and ends the kernel when it is told to go or when the Jupyter that started
 * it has gone.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clients/cli/args.h"
#include "clients/cli/commands.h"
#include "clients/cli/http.h"

#define PORTS_MS   5000  /* the ports of the kernel before us may still be closing */
#define GATEWAY_MS 10000 /* a gateway that restarts is back long before */
#define RETRY_MS   50

struct kernel {
    struct server server;
    char *id;
    int signals, parent; /* signalfd; pidfd of Jupyter or -1 */
    bool leave;          /* we were told to go, or Jupyter has gone */
};

static char *kernel_path(const struct kernel *k, const char *verb)
{
    CLEANUP_FREE char *path = http_path("/v1/kernels/%s", k->id);
    return text_format("%s%s", path, verb);
}

static void send_verb(const struct kernel *k, const char *method, const char *verb)
{
    CLEANUP_REPLY struct reply reply = {0};
    CLEANUP_FREE char *path = kernel_path(k, verb);
    http_call(&k->server, method, path, NULL, 5000, &reply);
    if (reply.status != 404 && (reply.status < 200 || reply.status > 299))
        http_check(&k->server, &reply);
}

static void handle(struct kernel *k, const struct pollfd *fds)
{
    struct signalfd_siginfo info;
    if (fds[1].revents)
        k->leave = true;
    if (!fds[0].revents || read(k->signals, &info, sizeof info) != sizeof info)
        return;
    if (info.ssi_signo != SIGINT)
        k->leave = true;
    else if (k->id)
        send_verb(k, "POST", "/interrupt");
}

static void pause_ms(struct kernel *k, int ms)
{
    struct pollfd fds[2] = {{.fd = k->signals, .events = POLLIN},
                            {.fd = k->parent, .events = POLLIN}};
    if (poll(fds, 2, ms) > 0)
        handle(k, fds);
}

/*
 * A parent-death signal follows the thread that started us, and Jupyter servers start kernels from
 * threads that end. A pidfd follows the process. JPY_PARENT_PID is not set for kernels that shall
 * outlive their Jupyter.
 */
static int open_parent(bool *ret_gone)
{
    const char *text = getenv("JPY_PARENT_PID");
    char *end = NULL;
    long pid = text ? strtol(text, &end, 10) : 0;
    *ret_gone = false;
    if (pid <= 1 || *end)
        return -1;
    int fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
    *ret_gone = fd < 0 && errno == ESRCH && getppid() == 1;
    return fd;
}

static int open_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

/* Asks the gateway to serve the connection. 0, or an exit status after a message; leave may be set
 * meanwhile. */
static int create(struct kernel *k, const json_t *body)
{
    long long start = monotonic_ms();
    for (;;) {
        CLEANUP_REPLY struct reply reply = {0};
        http_call(&k->server, "POST", "/v1/kernels", body, 0, &reply);
        long long waited = monotonic_ms() - start;
        const char *id = json_text(reply.json, "id");
        if (reply.status >= 200 && reply.status < 300 && *id) {
            k->id = must(strdup(id));
            return 0;
        }
        bool again = (reply.status == 409 && waited < PORTS_MS) ||
                     ((reply.status == 0 || reply.status == 502 || reply.status == 503) &&
                      waited < GATEWAY_MS);
        if (!again && reply.status >= 200 && reply.status < 300)
            return fail(STATUS_SERVER, "the server at %s did not name the new kernel",
                        k->server.url);
        if (!again)
            return http_check(&k->server, &reply);
        pause_ms(k, RETRY_MS);
        if (k->leave)
            return 0;
    }
}

static void on_data(void *user, const char *data, size_t len)
{
    if (((struct str *)user)->len + len < 65536)
        str_add(user, data, len);
}

/* One wait request: HTTP status of its answer, 0 when it was cut off or we have to leave. */
static long wait_once(struct kernel *k, struct str *answer)
{
    CLEANUP_FREE char *path = kernel_path(k, "/wait");
    struct http_stream *h =
        http_open(&k->server, "GET", path, NULL, "application/json", NULL, on_data, answer);
    struct pollfd fds[2];
    do {
        fds[0] = (struct pollfd){.fd = k->signals, .events = POLLIN};
        fds[1] = (struct pollfd){.fd = k->parent, .events = POLLIN};
        if (!http_step(h, fds, k->parent >= 0 ? 2 : 1, 60000))
            break;
        handle(k, fds);
    } while (!k->leave);
    long status = !k->leave && http_complete(h) ? http_result(h)->status : 0;
    http_close(h);
    return status;
}

static int wait_end(struct kernel *k)
{
    long long lost_at = -1;
    while (!k->leave) {
        CLEANUP_STR struct str answer = {0};
        long long begun = monotonic_ms();
        long status = wait_once(k, &answer);
        CLEANUP_JSON json_t *j = answer.len ? json_loadb(answer.data, answer.len, 0, NULL) : NULL;
        if (k->leave || *json_text(j, "reason"))
            break;
        if (status == 404)
            return fail(
                STATUS_FAILED,
                "the kernel %s is gone: the server lost it or it was removed with its sandbox",
                k->id);
        if (status == 401 || status == 403)
            return fail(STATUS_SERVER, "the server at %s does not take our token any more",
                        k->server.url);
        if (monotonic_ms() - begun > 2000 || status == 204)
            lost_at = -1;
        if (lost_at < 0)
            lost_at = monotonic_ms();
        else if (monotonic_ms() - lost_at > GATEWAY_MS)
            return fail(STATUS_SERVER,
                        "the server at %s has been away for %d s: giving the kernel up",
                        k->server.url, GATEWAY_MS / 1000);
        pause_ms(k, RETRY_MS);
    }
    if (k->leave)
        send_verb(k, "DELETE", "");
    return STATUS_OK;
}

static int serve(const char *file, const char *language, const char *sandbox)
{
    CLEANUP_STR struct str text = {0};
    struct kernel k = {.signals = -1, .parent = -1};
    int r = read_file(file, &text);
    if (r < 0)
        return fail(STATUS_USAGE, "cannot read the connection file %s: %s", file, strerror(-r));
    json_t *connection = json_loadb(text.len ? text.data : "", text.len, 0, NULL);
    if (!json_is_object(connection)) {
        json_decref(connection);
        return fail(STATUS_USAGE, "%s is not a Jupyter connection file", file);
    }
    CLEANUP_JSON json_t *body =
        must(json_pack("{s:o, s:s}", "connection", connection, "language", language));
    if (sandbox && *sandbox)
        json_object_set_new(body, "sandbox", json_string(sandbox));
    k.signals = open_signals();
    k.parent = open_parent(&k.leave);
    if (k.leave)
        return STATUS_OK;
    r = server_find(&k.server);
    if (r == 0)
        r = create(&k, body);
    if (r == 0 && k.id)
        r = wait_end(&k);
    free(k.id);
    server_deinit(&k.server);
    return r;
}

int command_kernel(int argc, char **argv)
{
    const char *file = NULL, *sandbox = getenv("CELLBOX_SANDBOX"), *language = "python";
    const struct opt opts[] = {
        {"connection-file", OPT_TEXT, &file, "FILE", "the connection file that Jupyter wrote"},
        {"sandbox", OPT_TEXT, &sandbox, "NAME",
         "sandbox to live in (default: CELLBOX_SANDBOX, else a new one)"},
        {"language", OPT_TEXT, &language, "L", "language of the kernel (default: python)"},
    };
    struct args a = {
        .synopsis = "kernel --connection-file FILE [--sandbox NAME]",
        .about = "Lets the server serve a Jupyter connection file and stands for that kernel until "
                 "it ends. Jupyter starts\n"
                 "this (cellbox kernelspec install). SIGINT interrupts the kernel; SIGTERM ends "
                 "it. A sandbox that was made\n"
                 "for the kernel is removed with it.",
        .opts = opts,
        .nopts = sizeof opts / sizeof *opts,
    };
    int status;
    if (!args_parse(&a, argc, argv))
        status = a.status;
    else if (!file)
        status = fail(STATUS_USAGE, "--connection-file is missing; usage: cellbox %s", a.synopsis);
    else
        status = serve(file, language, sandbox);
    free(a.positional);
    return status;
}
