#include "clients/c/client.h"

#include <poll.h>
#include <string.h>
#include <sys/random.h>

#include "clients/c/held.h"

const char *cellbox_version(void)
{
    return CELLBOX_VERSION;
}

int cellbox_client_new(const struct cellbox_client_options *options,
                       struct cellbox_client **ret_client, struct cellbox_error *error)
{
    static const struct cellbox_client_options defaults;
    const struct cellbox_client_options *o = options ? options : &defaults;
    CLEANUP_STR struct str why = {0};
    struct cellbox_client *c = calloc(1, sizeof *c);
    if (!c)
        return error_memory(error);
    int r = server_locate(o->url, o->token, &c->server, &why);
    if (r != 0) {
        free(c);
        return r < 0 ? error_memory(error)
                     : error_set(error, CELLBOX_E_SETTINGS, "%s", str_text(&why));
    }
    /* Counted and locked by libcurl, so clients of several threads and libraries may do it. */
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        server_deinit(&c->server);
        free(c);
        return error_memory(error);
    }
    c->retries = o->retries < 0 ? 0 : o->retries ? o->retries : 4;
    c->delay_ms = o->retry_delay_ms > 0 ? o->retry_delay_ms : 200;
    c->interrupted = o->interrupted;
    c->user = o->user;
    pthread_mutex_init(&c->lock, NULL);
    *ret_client = c;
    return CELLBOX_OK;
}

void client_aside_init(struct cellbox_client *aside, const struct cellbox_client *c)
{
    *aside = (struct cellbox_client){.server = c->server, .timeout_ms = CLIENT_ASIDE_MS};
    pthread_mutex_init(&aside->lock, NULL);
}

void client_aside_deinit(struct cellbox_client *aside)
{
    for (size_t i = 0; i < aside->nidle; i++)
        curl_easy_cleanup(aside->idle[i]);
    pthread_mutex_destroy(&aside->lock);
}

void cellbox_client_free(struct cellbox_client *client)
{
    if (!client)
        return;
    client_aside_deinit(client);
    server_deinit(&client->server);
    free(client);
    curl_global_cleanup();
}

const char *cellbox_client_url(const struct cellbox_client *client)
{
    return client->server.url;
}

bool client_interrupted(const struct cellbox_client *c)
{
    return c->interrupted && c->interrupted(c->user) != 0;
}

/* ---- connections ---- */

static CURL *take_handle(struct cellbox_client *c)
{
    pthread_mutex_lock(&c->lock);
    CURL *easy = c->nidle ? c->idle[--c->nidle] : NULL;
    pthread_mutex_unlock(&c->lock);
    return easy ? easy : curl_easy_init();
}

static void give_handle(struct cellbox_client *c, CURL *easy)
{
    curl_easy_reset(easy);
    pthread_mutex_lock(&c->lock);
    bool kept = c->nidle < CLIENT_IDLE_MAX;
    if (kept)
        c->idle[c->nidle++] = easy;
    pthread_mutex_unlock(&c->lock);
    if (!kept)
        curl_easy_cleanup(easy);
}

static int on_progress(void *user, curl_off_t down_all, curl_off_t down, curl_off_t up_all,
                       curl_off_t up)
{
    (void)down_all, (void)down, (void)up_all, (void)up;
    return client_interrupted(user);
}

/* ---- one call ---- */

/* What an exchange amounts to. */
static int outcome(const struct cellbox_client *c, const struct exchange *x,
                   struct cellbox_error *e)
{
    bool answered = x->status >= 200 && x->status < 300;
    if (x->no_memory)
        return error_memory(e);
    if (x->code == CURLE_ABORTED_BY_CALLBACK || (x->code == CURLE_WRITE_ERROR && answered))
        return error_set(e, CELLBOX_E_STOPPED, "stopped by the caller");
    if (answered && x->complete)
        return CELLBOX_OK;
    CLEANUP_JSON json_t *body = json_loadb(str_text(&x->body), x->body.len, 0, NULL);
    const json_t *said = json_object_get(body, "error");
    if (!x->complete && (answered || !said))
        return error_set(e, CELLBOX_E_CONNECTION, "no connection to the server at %s: %s",
                         c->server.url, x->problem);
    return error_of_json(e, (int)x->status, said, "the server did not say why");
}

static bool may_repeat(const struct call *call, const struct exchange *x, bool delivered,
                       const struct cellbox_error *e)
{
    static const long busy[] = {429, 502, 503, 504};
    if (call->one_way || delivered)
        return false;
    if (e->result == CELLBOX_E_CONNECTION)
        return call->idempotent || x->code == CURLE_COULDNT_CONNECT;
    if (e->result != CELLBOX_E_SERVER)
        return false;
    if (!call->idempotent)
        return x->status == 429 || (x->status == 503 && !strcmp(e->code, "STARTING"));
    for (size_t i = 0; i < sizeof busy / sizeof *busy; i++)
        if (x->status == busy[i])
            return true;
    return false;
}

struct attempt {
    const struct call *call;
    bool delivered; /* something has been seen, so nothing may be shown again */
};

static int pass_on(void *user, const char *data, size_t len)
{
    struct attempt *a = user;
    a->delivered = true;
    return a->call->on_data(a->call->user, data, len);
}

/* *ret_again: it may be sent again after a pause; ret_after is what the server asked for. */
static int try_call(struct cellbox_client *c, const struct call *call, struct str *ret,
                    bool *ret_again, char ret_after[32], struct cellbox_error *e)
{
    struct exchange x;
    struct attempt attempt = {.call = call};
    CURL *easy = take_handle(c);
    *ret_again = false;
    if (!easy)
        return error_memory(e);
    struct request request = call->request;
    request.fresh = !call->idempotent;
    if (exchange_init(&x, easy, &c->server, &request) < 0) {
        give_handle(c, easy);
        return error_memory(e);
    }
    if (call->on_data) {
        x.on_data = pass_on;
        x.user = &attempt;
    }
    if (c->interrupted) {
        curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(easy, CURLOPT_XFERINFODATA, c);
    }
    exchange_finish(&x, curl_easy_perform(easy));
    give_handle(c, easy);
    int r = outcome(c, &x, e);
    if (r == CELLBOX_OK && ret) {
        *ret = x.body;
        x.body = (struct str){0};
    }
    *ret_again = r != CELLBOX_OK && may_repeat(call, &x, attempt.delivered, e);
    memcpy(ret_after, x.retry_after, sizeof x.retry_after);
    exchange_deinit(&x);
    return r;
}

static long random_below(long limit)
{
    unsigned int random = 0;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
        random = (unsigned int)monotonic_ms();
    return limit > 0 ? (long)(random % (unsigned long)limit) : 0;
}

long client_pause_ms(const struct cellbox_client *c, int attempt)
{
    long ms = c->delay_ms;
    for (int i = 1; i < attempt && ms < CLIENT_DELAY_MAX_MS; i++)
        ms *= 2;
    if (ms > CLIENT_DELAY_MAX_MS)
        ms = CLIENT_DELAY_MAX_MS;
    return ms / 2 + random_below(ms / 2);
}

int client_pause(const struct cellbox_client *c, int attempt, const char *retry_after,
                 struct cellbox_error *error)
{
    char *end = NULL;
    long ms = client_pause_ms(c, attempt);
    double asked = retry_after ? strtod(retry_after, &end) : 0;
    if (retry_after && end != retry_after && asked >= 0)
        ms = asked * 1000 < CLIENT_RETRY_AFTER_MAX_MS ? (long)(asked * 1000)
                                                      : CLIENT_RETRY_AFTER_MAX_MS;
    for (long long until = monotonic_ms() + ms; ms > 0; ms = (long)(until - monotonic_ms())) {
        if (client_interrupted(c))
            return error_set(error, CELLBOX_E_STOPPED, "stopped by the caller");
        poll(NULL, 0, ms < 200 ? (int)ms : 200);
    }
    return CELLBOX_OK;
}

int client_call(struct cellbox_client *c, const struct call *call, struct str *ret,
                struct cellbox_error *error)
{
    struct cellbox_error e;
    int r;
    for (int attempt = 1;; attempt++) {
        bool again;
        char after[32];
        r = try_call(c, call, ret, &again, after, &e);
        if (r == CELLBOX_OK)
            return r;
        if (!again || attempt > c->retries)
            break;
        r = client_pause(c, attempt, after, &e);
        if (r != CELLBOX_OK)
            break;
    }
    return error_pass(r, &e, error);
}

/* ---- calls whose answers are JSON ---- */

int client_body(const struct members *m, char **ret, struct cellbox_error *error)
{
    if (!m->json || m->no_memory)
        return error_memory(error);
    if (m->problem)
        return error_set(error, CELLBOX_E_ARGUMENT, "%s", m->problem);
    *ret = json_dumps(m->json, JSON_COMPACT);
    return *ret ? CELLBOX_OK : error_memory(error);
}

static int make_address(struct str *ret, struct cellbox_error *error, const char *pattern,
                        va_list ap)
{
    va_list names;
    va_copy(names, ap);
    bool bad = false;
    for (const char *p = strstr(pattern, "%s"); p; p = strstr(p + 2, "%s")) {
        const char *name = va_arg(names, const char *);
        bad |= !name || !*name;
        if (!name)
            break;
    }
    va_end(names);
    if (bad)
        return error_set(error, CELLBOX_E_ARGUMENT, "a name is missing");
    return text_addressv(ret, pattern, ap) < 0 ? error_memory(error) : CELLBOX_OK;
}

int client_address(struct str *ret, struct cellbox_error *error, const char *pattern, ...)
{
    va_list ap;
    va_start(ap, pattern);
    int r = make_address(ret, error, pattern, ap);
    va_end(ap);
    return r;
}

int client_json(struct cellbox_client *c, const char *method, bool idempotent,
                const struct members *m, json_t **ret, struct cellbox_error *error,
                const char *pattern, ...)
{
    CLEANUP_STR struct str path = {0}, answer = {0};
    CLEANUP_FREE char *body = NULL;
    va_list ap;
    va_start(ap, pattern);
    int r = make_address(&path, error, pattern, ap);
    va_end(ap);
    if (r == CELLBOX_OK && m)
        r = client_body(m, &body, error);
    if (r != CELLBOX_OK)
        return r;
    struct call call = {.request = {.method = method,
                                    .path = path.data,
                                    .body = body                      ? body
                                            : !strcmp(method, "POST") ? "{}"
                                                                      : NULL,
                                    .timeout_ms = c->timeout_ms},
                        .idempotent = idempotent};
    call.request.len = call.request.body ? strlen(call.request.body) : 0;
    r = client_call(c, &call, &answer, error);
    if (r != CELLBOX_OK || !ret)
        return r;
    json_t *json = json_loadb(str_text(&answer), answer.len, JSON_ALLOW_NUL, NULL);
    if (!json_is_object(json)) {
        json_decref(json);
        return error_set(error, CELLBOX_E_PROTOCOL, "the answer of %s is no JSON object",
                         c->server.url);
    }
    *ret = json;
    return CELLBOX_OK;
}

int client_give_text(const struct str *text, char **ret, struct cellbox_error *error)
{
    char *held = held_new(text->len + 1, NULL);
    if (!held)
        return error_memory(error);
    memcpy(held, str_text(text), text->len);
    *ret = held;
    return CELLBOX_OK;
}

int cellbox_request(struct cellbox_client *client, const char *method, const char *path,
                    const char *body, char **ret_body, struct cellbox_error *error)
{
    CLEANUP_STR struct str answer = {0};
    if (!method || !path || *path != '/')
        return error_set(error, CELLBOX_E_ARGUMENT, "a path begins with /");
    struct call call = {.request = {.method = method, .path = path},
                        .idempotent = strcmp(method, "POST") != 0};
    call.request.body = body ? body : strcmp(method, "POST") == 0 ? "{}" : NULL;
    call.request.len = call.request.body ? strlen(call.request.body) : 0;
    int r = client_call(client, &call, &answer, error);
    return r == CELLBOX_OK && ret_body ? client_give_text(&answer, ret_body, error) : r;
}
