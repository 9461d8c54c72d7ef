/*
 * cellbox shell: this terminal becomes a terminal of the sandbox. It stays there when we leave, so
 * a connection that is lost is taken up again where it was.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "clients/c/websocket.h"
#include "clients/cli/args.h"
#include "clients/cli/commands.h"
#include "clients/cli/http.h"

enum { DETACH_KEY = 0x1d /* Ctrl-] */, RESUME_MS = 20000 };

struct shell {
    struct server server;
    const char *box;
    char *id;
    bool read_only, raw;
    struct termios before;
    int signals;
    long long cursor; /* bytes of the terminal that have been shown */
    bool ended, detached, input_over;
    int status;
};

/* ---- this terminal ---- */

static void restore(struct shell *s)
{
    if (s->raw)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &s->before);
    s->raw = false;
}

static void make_raw(struct shell *s)
{
    struct termios t;
    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &s->before) < 0)
        return;
    t = s->before;
    cfmakeraw(&t);
    s->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &t) == 0;
}

static void window_size(unsigned *cols, unsigned *rows)
{
    struct winsize w = {0};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) < 0 && ioctl(STDIN_FILENO, TIOCGWINSZ, &w) < 0)
        w = (struct winsize){0};
    *cols = w.ws_col ? w.ws_col : 80;
    *rows = w.ws_row ? w.ws_row : 24;
}

static int open_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGWINCH);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGINT); /* only when the terminal is not raw */
    sigprocmask(SIG_BLOCK, &set, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* ---- what comes ---- */

static void on_control(struct shell *s, const uint8_t *data, size_t len)
{
    CLEANUP_JSON json_t *o = json_loadb((const char *)data, len, 0, NULL);
    const char *type = json_text(o, "type");
    if (!strcmp(type, "ready")) {
        s->cursor = json_integer_value(json_object_get(o, "cursor"));
    } else if (!strcmp(type, "exit")) {
        s->ended = true;
        s->status = (int)json_integer_value(json_object_get(o, "code"));
    } else if (!strcmp(type, "error") && !s->read_only) {
        note("[%s]", json_text(o, "message"));
    }
}

static void on_message(void *user, bool binary, const uint8_t *data, size_t len)
{
    struct shell *s = user;
    if (!binary) {
        on_control(s, data, len);
        return;
    }
    s->cursor += (long long)len;
    write_all(STDOUT_FILENO, data, len);
}

/* ---- what is typed ---- */

static void send_size(struct websocket *ws)
{
    unsigned cols, rows;
    window_size(&cols, &rows);
    CLEANUP_FREE char *text =
        text_format("{\"type\":\"resize\",\"cols\":%u,\"rows\":%u}", cols, rows);
    websocket_send(ws, false, text, strlen(text));
}

static void on_typed(struct shell *s, struct websocket *ws)
{
    char bytes[4096];
    ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
    if (n <= 0) {
        s->input_over = true;
        if (!s->read_only)
            websocket_send(ws, true, "\x04", 1); /* as a person ends input */
        return;
    }
    char *key = s->raw ? memchr(bytes, DETACH_KEY, (size_t)n) : NULL;
    size_t len = key ? (size_t)(key - bytes) : (size_t)n;
    if (len && !s->read_only)
        websocket_send(ws, true, bytes, len);
    s->detached |= key != NULL;
}

static void on_signal(struct shell *s, struct websocket *ws)
{
    struct signalfd_siginfo si;
    while (read(s->signals, &si, sizeof si) == (ssize_t)sizeof si) {
        if (si.ssi_signo == SIGWINCH && !s->read_only)
            send_size(ws);
        else if (si.ssi_signo == SIGINT && !s->read_only)
            websocket_send(ws, true, "\x03", 1);
        else if (si.ssi_signo != SIGWINCH)
            s->detached = true;
    }
}

/* Until the program ends, the user leaves, or the connection is lost. */
static void converse(struct shell *s, struct websocket *ws)
{
    bool open = true;
    while (open && !s->ended && !s->detached) {
        struct pollfd p[] = {
            {.fd = websocket_fd(ws),
             .events = (short)(POLLIN | (websocket_wants_write(ws) ? POLLOUT : 0))},
            {.fd = s->signals, .events = POLLIN},
            {.fd = s->input_over ? -1 : STDIN_FILENO, .events = POLLIN},
        };
        open = websocket_step(ws);
        if (!open || s->ended)
            break;
        if (poll(p, 3, 1000) < 0 && errno != EINTR)
            break;
        if (p[1].revents)
            on_signal(s, ws);
        if (p[2].revents)
            on_typed(s, ws);
    }
}

static int refused(const struct shell *s, long status, const char *why)
{
    CLEANUP_JSON json_t *o = json_loads(why, 0, NULL);
    const json_t *e = json_object_get(o, "error");
    if (*json_text(e, "message"))
        return fail(status == 404 ? STATUS_FAILED : STATUS_SERVER, "%s (%s)",
                    json_text(e, "message"), json_text(e, "code"));
    return fail(STATUS_SERVER, "cannot talk to the server at %s: %s", s->server.url, why);
}

/* Attaches, again when the connection was lost. 0, or an exit status after a message. */
static int attach(struct shell *s)
{
    long long give_up = monotonic_ms() + RESUME_MS;
    bool was_there = false;
    while (!s->ended && !s->detached) {
        long status;
        unsigned cols, rows;
        CLEANUP_STR struct str why = {0};
        window_size(&cols, &rows);
        CLEANUP_FREE char *base = http_path("/v1/sandboxes/%s/terminals/%s/attach", s->box, s->id);
        CLEANUP_FREE char *path = text_format("%s?cols=%u&rows=%u&cursor=%lld%s", base, cols, rows,
                                              s->cursor, s->read_only ? "&readOnly=1" : "");
        struct websocket_handler handler = {on_message, s};
        struct websocket *ws = websocket_open(&s->server, path, &handler, &status, &why);
        if (ws) {
            was_there = true;
            make_raw(s);
            converse(s, ws);
            websocket_close(ws);
            give_up = monotonic_ms() + RESUME_MS;
        }
        bool gone = !ws && (status == 404 || (!was_there && status != 503));
        int r = 0;
        if (gone || (!ws && monotonic_ms() > give_up)) {
            restore(s);
            r = refused(s, status, str_text(&why));
        }
        if (r)
            return r;
        if (!s->ended && !s->detached)
            poll(NULL, 0, HTTP_RETRY_MS);
    }
    restore(s);
    return 0;
}

/* ---- the command ---- */

static int open_terminal(struct shell *s, const char *command, const char *cwd)
{
    CLEANUP_REPLY struct reply reply = {0};
    CLEANUP_JSON json_t *body = must(json_object());
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s/terminals", s->box);
    const char *term = getenv("TERM");
    unsigned cols, rows;
    window_size(&cols, &rows);
    json_object_set_new(body, "cols", json_integer(cols));
    json_object_set_new(body, "rows", json_integer(rows));
    if (command)
        json_object_set_new(body, "command", json_string(command));
    if (cwd)
        json_object_set_new(body, "cwd", json_string(cwd));
    if (term && *term)
        json_object_set_new(body, "env", json_pack("{s:s}", "TERM", term));
    int r = http_do(&s->server, "POST", path, body, &reply);
    if (r == 0)
        s->id = must(strdup(json_text(reply.json, "id")));
    return r;
}

static void forget_terminal(struct shell *s)
{
    CLEANUP_REPLY struct reply reply = {0};
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s/terminals/%s", s->box, s->id);
    http_call(&s->server, "DELETE", path, NULL, 5000, &reply);
}

static int shell(struct shell *s, const char *attach_to, const char *command, const char *cwd)
{
    int r = server_find(&s->server);
    if (r)
        return r;
    s->signals = open_signals();
    if (attach_to)
        s->id = must(strdup(attach_to));
    else
        r = open_terminal(s, command, cwd);
    if (r == 0)
        r = attach(s);
    if (r == 0 && s->detached)
        note("[left; to come back: cellbox shell %s --attach %s]", s->box, s->id);
    else if (r == 0 && !attach_to)
        forget_terminal(s);
    close(s->signals);
    server_deinit(&s->server);
    free(s->id);
    return r ? r : s->status;
}

int command_shell(int argc, char **argv)
{
    struct shell s = {0};
    const char *attach_to = NULL, *command = NULL, *cwd = NULL;
    const struct opt opts[] = {
        {"attach", OPT_TEXT, &attach_to, "ID", "a terminal that is there already: cellbox ps"},
        {"read-only", OPT_FLAG, &s.read_only, NULL, "with --attach: only look"},
        {"command", OPT_TEXT, &command, "LINE", "run this instead of a shell"},
        {"cwd", OPT_TEXT, &cwd, "DIR", "directory to start in (default: /workspace)"},
    };
    struct args a = {
        .synopsis = "shell NAME [OPTION...]",
        .about = "Opens a terminal in the sandbox NAME, which is made when it does not exist. "
                 "Ctrl-] leaves it running;\n"
                 "--attach comes back to it. Several may be attached to one terminal.\n\n"
                 "Exit status: that of the program in the terminal; 0 after Ctrl-]; 2 wrong "
                 "arguments, 3 no server or\nrefused.",
        .opts = opts,
        .nopts = sizeof opts / sizeof *opts,
        .min = 1,
        .max = 1,
    };
    int status = STATUS_USAGE;
    if (!args_parse(&a, argc, argv))
        status = a.status;
    else if (attach_to && (command || cwd))
        fail(STATUS_USAGE, "--attach takes neither --command nor --cwd");
    else if (s.read_only && !attach_to)
        fail(STATUS_USAGE, "--read-only is for --attach");
    else {
        s.box = a.positional[0];
        status = shell(&s, attach_to, command, cwd);
    }
    free(a.positional);
    return status;
}
