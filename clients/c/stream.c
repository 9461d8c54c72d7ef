#include "clients/c/stream.h"

#include <errno.h>
#include <string.h>

struct reading {
    struct stream *s;
    struct sse sse;
    struct cellbox_error error;
    int state; /* STREAM_* or CELLBOX_E_* */
    int failures;
};

static void on_event(void *user, const struct sse_event *e)
{
    struct reading *r = user;
    if (r->state != STREAM_ON)
        return;
    CLEANUP_JSON json_t *event = json_loadb(e->data, e->len, JSON_ALLOW_NUL, NULL);
    const char *type = *json_text(event, "type") ? json_text(event, "type") : e->type;
    r->failures = 0;
    if (!json_is_object(event))
        r->state = error_set(&r->error, CELLBOX_E_PROTOCOL, "an event of %s is no JSON object",
                             r->s->client->server.url);
    else
        r->state = r->s->on_event(r->s->user, type, event, &r->error);
}

static int on_data(void *user, const char *data, size_t len)
{
    struct reading *r = user;
    int failed = sse_feed(&r->sse, data, len);
    if (failed == -ENOMEM)
        r->state = error_memory(&r->error);
    else if (failed < 0)
        r->state = error_set(&r->error, CELLBOX_E_PROTOCOL, "an event of %s has no end",
                             r->s->client->server.url);
    return r->state != STREAM_ON;
}

/* One connection; 0: it ended by itself. */
static int connect_once(struct reading *r, bool first)
{
    struct stream *s = r->s;
    CLEANUP_STR struct str id = {0};
    struct call call = {
        .request = s->first, .idempotent = s->idempotent || !first, .on_data = on_data, .user = r};
    if (!first)
        call.request = (struct request){.method = "GET", .path = s->again.data};
    call.request.accept = "text/event-stream";
    if (!first && r->sse.id.len) {
        if (text_addf(&id, "Last-Event-ID: %s", r->sse.id.data) < 0)
            return error_memory(&r->error);
        call.request.headers[0] = id.data;
    }
    struct cellbox_error e;
    int result = client_call(s->client, &call, NULL, &e);
    if (r->state < 0)
        return r->state;
    if (result != CELLBOX_OK && r->state != STREAM_OVER)
        r->error = e;
    return result;
}

int stream_run(struct stream *s, struct cellbox_error *error)
{
    struct reading r = {.s = s};
    r.sse = (struct sse){.on_event = on_event, .user = &r};
    int result;
    for (bool first = true;; first = false) {
        result = connect_once(&r, first);
        if (r.state == STREAM_OVER)
            result = CELLBOX_OK;
        if (r.state != STREAM_ON || (result != CELLBOX_OK && result != CELLBOX_E_CONNECTION))
            break;
        if (result == CELLBOX_OK)
            result = error_set(&r.error, CELLBOX_E_CONNECTION,
                               "the events of %s ended before the last one", s->client->server.url);
        if (!s->again.len || ++r.failures > s->client->retries)
            break;
        if (client_pause(s->client, r.failures, NULL, &r.error) != CELLBOX_OK) {
            result = r.error.result;
            break;
        }
        sse_restart(&r.sse);
    }
    sse_deinit(&r.sse);
    return error_pass(result, &r.error, error);
}

int stream_piece(const json_t *event, const char *key, const char *encoding_key, struct str *hold,
                 const char **ret, size_t *ret_len)
{
    const json_t *data = json_object_get(event, key);
    const char *text = json_string_value(data);
    *ret = text ? text : "";
    *ret_len = json_string_length(data);
    if (strcmp(json_text(event, encoding_key), "base64") != 0)
        return 0;
    str_clear(hold);
    int r = text_unbase64(*ret, *ret_len, hold);
    if (r < 0)
        return r;
    *ret = str_text(hold);
    *ret_len = hold->len;
    return 0;
}
