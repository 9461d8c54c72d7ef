/* Terminals: one viewer over WebSocket, which comes back where it was when its connection is lost.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "clients/c/held.h"
#include "clients/c/websocket.h"
#include "clients/c/wire.h"

#define TERMINALS "/v1/sandboxes/%s/terminals"

enum { TRIES_MAX = 8, QUEUE_MAX = 4 << 20, SLICE_MS = 500 };

struct cellbox_terminal {
    struct cellbox_client *client;
    struct cellbox_attach_options options;
    struct str path; /* of its attach route */
    struct websocket *ws;
    int64_t cursor;
    bool was_ready, replaying;
    struct str replay; /* of a later connection, until it is whole */
    int failures;
    long long next_try_ms;
    bool ended;
    int exit_code;
    int result; /* CELLBOX_E_* of a callback or message; error has it */
    struct cellbox_error error;
};

/* ---- terminals ---- */

/* The one that runs under an id; 0 and *ret_id NULL: none does. */
static int find_running(struct cellbox_client *c, const char *sandbox, const char *id,
                        bool *ret_runs, struct cellbox_error *error)
{
    CLEANUP_JSON json_t *answer = NULL;
    struct cellbox_error e;
    int r = client_json(c, "GET", true, NULL, &answer, &e, TERMINALS "/%s", sandbox, id);
    *ret_runs = r == CELLBOX_OK && !strcmp(json_text(answer, "status"), "running");
    if (r == CELLBOX_OK || (r == CELLBOX_E_SERVER && e.http_status == 404))
        return CELLBOX_OK;
    return error_pass(r, &e, error);
}

static int give_id(const char *id, char **ret, struct cellbox_error *error)
{
    struct str text = {.data = (char *)(uintptr_t)id, .len = strlen(id)};
    return client_give_text(&text, ret, error);
}

int cellbox_terminal_open(struct cellbox_client *client, const char *sandbox,
                          const struct cellbox_terminal_options *options, char **ret_id,
                          struct cellbox_error *error)
{
    static const struct cellbox_terminal_options defaults;
    const struct cellbox_terminal_options *o = options ? options : &defaults;
    CLEANUP_MEMBERS struct members m;
    CLEANUP_JSON json_t *answer = NULL;
    bool runs = false;
    int r = o->id ? find_running(client, sandbox, o->id, &runs, error) : CELLBOX_OK;
    members_init(&m);
    if (r != CELLBOX_OK)
        return r;
    if (runs)
        return give_id(o->id, ret_id, error);
    members_text(&m, "id", o->id);
    members_text(&m, "command", o->command);
    members_text(&m, "cwd", o->cwd);
    members_map(&m, "env", o->env);
    members_int(&m, "cols", o->cols);
    members_int(&m, "rows", o->rows);
    r = client_json(client, "POST", false, &m, &answer, error, TERMINALS, sandbox);
    return r == CELLBOX_OK ? give_id(json_text(answer, "id"), ret_id, error) : r;
}

int cellbox_terminal_delete(struct cellbox_client *client, const char *sandbox, const char *id,
                            struct cellbox_error *error)
{
    return client_json(client, "DELETE", true, NULL, NULL, error, TERMINALS "/%s", sandbox, id);
}

/* ---- what comes ---- */

static void show(struct cellbox_terminal *t, const void *data, size_t len)
{
    if (len && t->options.on_output && t->options.on_output(t->options.user, data, len) != 0)
        t->result = error_set(&t->error, CELLBOX_E_STOPPED, "stopped by the caller");
}

/* A later connection first repeats what is behind the cursor: shown only once all of it has come,
 * so that one that is lost meanwhile shows nothing twice. */
static void end_replay(struct cellbox_terminal *t)
{
    t->replaying = false;
    show(t, str_text(&t->replay), t->replay.len);
    str_clear(&t->replay);
}

static void on_control(struct cellbox_terminal *t, const char *data, size_t len)
{
    CLEANUP_JSON json_t *o = json_loadb(data, len, 0, NULL);
    const char *type = json_text(o, "type");
    if (!strcmp(type, "ready")) {
        end_replay(t);
        t->cursor = wire_int(o, "cursor");
        t->was_ready = true;
        t->failures = 0;
    } else if (!strcmp(type, "exit")) {
        end_replay(t);
        t->ended = true;
        t->exit_code = (int)wire_int(o, "code");
    } else if (!strcmp(type, "error")) {
        t->result = error_set(&t->error, CELLBOX_E_SERVER, "%s", json_text(o, "message"));
        memcpy(t->error.code, "TERMINAL_ERROR", sizeof "TERMINAL_ERROR");
    }
}

static void on_message(void *user, bool binary, const uint8_t *data, size_t len)
{
    struct cellbox_terminal *t = user;
    if (!binary) {
        on_control(t, (const char *)data, len);
    } else if (t->replaying) {
        if (text_add(&t->replay, data, len) < 0)
            t->result = error_memory(&t->error);
    } else {
        t->cursor += t->was_ready ? (int64_t)len : 0;
        show(t, data, len);
    }
}

/* ---- the connection ---- */

static int connect_once(struct cellbox_terminal *t, struct cellbox_error *error)
{
    CLEANUP_STR struct str path = {0}, why = {0};
    const struct websocket_handler handler = {on_message, t};
    long status;
    int r = text_addf(&path, "%s?cursor=%lld", t->path.data, (long long)t->cursor);
    if (r == 0 && t->options.cols > 0 && t->options.rows > 0)
        r = text_addf(&path, "&cols=%d&rows=%d", t->options.cols, t->options.rows);
    if (r == 0 && t->options.read_only)
        r = text_addf(&path, "&readOnly=1");
    if (r < 0)
        return error_memory(error);
    t->replaying = t->was_ready;
    str_clear(&t->replay);
    t->ws = websocket_open(&t->client->server, path.data, &handler, &status, &why);
    if (t->ws)
        return CELLBOX_OK;
    if (status == 0 && !why.len)
        return error_memory(error);
    if (status == 0)
        return error_set(error, CELLBOX_E_CONNECTION, "no connection to the server at %s: %s",
                         t->client->server.url, str_text(&why));
    CLEANUP_JSON json_t *body = json_loads(str_text(&why), 0, NULL);
    return error_of_json(error, (int)status, json_object_get(body, "error"),
                         "the server refused the terminal");
}

static bool may_come_back(const struct cellbox_error *e)
{
    return e->result == CELLBOX_E_CONNECTION ||
           (e->result == CELLBOX_E_SERVER && (e->http_status == 429 || e->http_status >= 502));
}

/* The connection is gone, or another one was not had: when to try again. */
static int lost(struct cellbox_terminal *t, const struct cellbox_error *why,
                struct cellbox_error *error)
{
    websocket_close(t->ws);
    t->ws = NULL;
    if (t->options.no_reconnect || !t->was_ready || !may_come_back(why) ||
        ++t->failures > TRIES_MAX) {
        return error_pass(why->result, why, error);
    }
    t->next_try_ms = monotonic_ms() + client_pause_ms(t->client, t->failures);
    return CELLBOX_OK;
}

int cellbox_terminal_attach(struct cellbox_client *client, const char *sandbox, const char *id,
                            const struct cellbox_attach_options *options,
                            struct cellbox_terminal **ret_terminal, struct cellbox_error *error)
{
    struct cellbox_terminal *t = calloc(1, sizeof *t);
    if (!t)
        return error_memory(error);
    t->client = client;
    t->exit_code = -1;
    if (options)
        t->options = *options;
    t->cursor = t->options.cursor;
    int r = client_address(&t->path, error, TERMINALS "/%s/attach", sandbox, id);
    if (r == CELLBOX_OK)
        r = connect_once(t, error);
    if (r != CELLBOX_OK) {
        cellbox_terminal_close(t);
        return r;
    }
    *ret_terminal = t;
    return CELLBOX_OK;
}

void cellbox_terminal_close(struct cellbox_terminal *terminal)
{
    if (!terminal)
        return;
    websocket_close(terminal->ws);
    str_deinit(&terminal->path);
    str_deinit(&terminal->replay);
    free(terminal);
}

/* Handles what is there; CELLBOX_OK also when the connection was lost and will be tried again. */
static int handle(struct cellbox_terminal *t, struct cellbox_error *error)
{
    struct cellbox_error e;
    t->result = CELLBOX_OK;
    if (!t->ws && monotonic_ms() >= t->next_try_ms && connect_once(t, &e) != CELLBOX_OK)
        return lost(t, &e, error);
    if (!t->ws)
        return CELLBOX_OK;
    bool open = websocket_step(t->ws);
    if (t->result != CELLBOX_OK)
        return error_pass(t->result, &t->error, error);
    if (open || t->ended)
        return CELLBOX_OK;
    error_set(&e, CELLBOX_E_CONNECTION, "the terminal's connection to %s was lost",
              t->client->server.url);
    return lost(t, &e, error);
}

/* Until something can be handled, at most so long. */
static void wait_for(const struct cellbox_terminal *t, long long ms)
{
    struct pollfd p = {.fd = -1, .events = POLLIN};
    long long pause = t->next_try_ms - monotonic_ms();
    if (t->ws) {
        p.fd = websocket_fd(t->ws);
        p.events = (short)(POLLIN | (websocket_wants_write(t->ws) ? POLLOUT : 0));
    } else if (pause < ms) {
        ms = pause > 0 ? pause : 0;
    }
    poll(&p, 1, (int)ms);
}

int cellbox_terminal_step(struct cellbox_terminal *terminal, int timeout_ms, bool *ret_going,
                          struct cellbox_error *error)
{
    long long until = monotonic_ms() + timeout_ms;
    bool waited = timeout_ms == 0;
    int r = CELLBOX_OK;
    while (!terminal->ended) {
        if (client_interrupted(terminal->client))
            return error_set(error, CELLBOX_E_STOPPED, "stopped by the caller");
        int64_t before = terminal->cursor;
        r = handle(terminal, error);
        long long left = timeout_ms < 0 ? SLICE_MS : until - monotonic_ms();
        if (r != CELLBOX_OK || waited || terminal->cursor != before || left <= 0)
            break;
        wait_for(terminal, left < SLICE_MS ? left : SLICE_MS);
    }
    if (r == CELLBOX_OK)
        *ret_going = !terminal->ended;
    return r;
}

int cellbox_terminal_fd(const struct cellbox_terminal *terminal)
{
    return terminal->ws ? websocket_fd(terminal->ws) : -1;
}

int64_t cellbox_terminal_cursor(const struct cellbox_terminal *terminal)
{
    return terminal->cursor;
}

int cellbox_terminal_exit_code(const struct cellbox_terminal *terminal)
{
    return terminal->exit_code;
}

/* ---- what goes ---- */

static int send_message(struct cellbox_terminal *t, bool binary, const void *data, size_t len,
                        struct cellbox_error *error)
{
    if (!t->ws)
        return error_set(error, CELLBOX_E_CONNECTION, "the terminal is not connected just now");
    if (websocket_queued(t->ws) + len > QUEUE_MAX)
        return error_set(error, CELLBOX_E_CONNECTION, "the server does not take more just now");
    if (!websocket_send(t->ws, binary, data, len))
        return error_set(error, CELLBOX_E_CONNECTION, "the terminal's connection was lost");
    return CELLBOX_OK;
}

int cellbox_terminal_write(struct cellbox_terminal *terminal, const void *data, size_t len,
                           struct cellbox_error *error)
{
    return send_message(terminal, true, data, len, error);
}

int cellbox_terminal_resize(struct cellbox_terminal *terminal, int cols, int rows,
                            struct cellbox_error *error)
{
    CLEANUP_STR struct str text = {0};
    if (cols < 1 || rows < 1)
        return error_set(error, CELLBOX_E_ARGUMENT, "a terminal has at least one column and row");
    terminal->options.cols = cols;
    terminal->options.rows = rows;
    if (text_addf(&text, "{\"type\":\"resize\",\"cols\":%d,\"rows\":%d}", cols, rows) < 0)
        return error_memory(error);
    return send_message(terminal, false, text.data, text.len, error);
}

int cellbox_terminal_signal(struct cellbox_terminal *terminal, const char *signal,
                            struct cellbox_error *error)
{
    CLEANUP_MEMBERS struct members m;
    CLEANUP_FREE char *text = NULL;
    members_init(&m);
    members_text(&m, "type", "signal");
    members_text(&m, "signal", signal);
    int r = client_body(&m, &text, error);
    return r == CELLBOX_OK ? send_message(terminal, false, text, strlen(text), error) : r;
}
