#include "sandbox/egress/handlers/handlers.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/base/id.h"
#include "sandbox/base/log.h"
#include "sandbox/egress/handlers/private.h"
#include "sandbox/egress/secrets/secrets.h"

static void module_free(struct module *m)
{
    free(m->source);
    free(m->options);
    free(m->new_source);
    free(m->new_options);
    free(m);
}

static int send_load(struct handlers *h, const char *name, uint32_t version, const char *source,
                     const char *options)
{
    return worker_send_json(h, HANDLER_LOAD, 0,
                            json_pack("{s:s, s:I, s:s, s:o}", "name", name, "version",
                                      (json_int_t)version, "source", source, "env",
                                      environment_of(h, name, options)));
}

static void answer_put(struct handlers *h, struct module *m, int result, const char *text)
{
    void (*done)(void *arg, int result, const char *text) = m->done;
    void *arg = m->arg;
    m->done = NULL;
    if (result == 0) {
        free(m->source);
        free(m->options);
        m->source = m->new_source;
        m->options = m->new_options;
        m->version = m->new_version;
        m->loaded = true;
        result = store_write(h->config.dir_fd, m->name, m->source, m->options);
    } else {
        free(m->new_source);
        free(m->new_options);
    }
    m->new_source = m->new_options = NULL;
    if (!m->source) {
        map_remove(h->modules, m->name);
        module_free(m);
    }
    if (done)
        done(arg, result, text);
}

static void load_new(struct handlers *h, struct module *m)
{
    if (send_load(h, m->name, m->new_version, m->new_source, m->new_options) < 0)
        answer_put(h, m, HANDLERS_E_INVALID, "the source is not UTF-8, or too large as JSON");
}

void modules_load(struct handlers *h)
{
    size_t cursor = 0;
    for (struct module *m; (m = map_next(h->modules, &cursor, NULL));) {
        m->loaded = false;
        if (m->source && send_load(h, m->name, m->version, m->source, m->options) < 0)
            log_warn("handler", "not_loaded", "name=%s reason=unsendable", log_quote(m->name));
        if (m->new_source)
            load_new(h, m);
    }
}

void modules_loaded(struct handlers *h, const json_t *o)
{
    const char *name = json_string_value(json_object_get(o, "name"));
    const char *error = json_string_value(json_object_get(o, "error"));
    json_int_t version = json_integer_value(json_object_get(o, "version"));
    struct module *m = name ? map_get(h->modules, name) : NULL;
    if (!m)
        return;
    if (m->new_source && version == m->new_version)
        answer_put(h, m, error ? HANDLERS_E_INVALID : 0, error ? error : "");
    else if (version == m->version)
        m->loaded = !error;
    if (error)
        log_warn("handler", "not_loaded", "name=%s reason=%s", log_quote(name), log_quote(error));
}

void modules_failed(struct handlers *h, const char *reason)
{
    size_t cursor = 0;
    for (struct module *m; (m = map_next(h->modules, &cursor, NULL));)
        if (m->new_source)
            answer_put(h, m, HANDLERS_E_INVALID, reason);
}

static bool name_fits(const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '-' && name[i] != '_')
            return false;
    return n > 0 && n <= HANDLER_NAME_MAX;
}

static const char *check_options(const char *options)
{
    json_t *o = json_loads(options, 0, NULL), *v;
    const char *key, *wrong = NULL;
    if (!json_is_object(o))
        wrong = "options must be a JSON object";
    json_object_foreach (o, key, v)
        if (strcmp(key, "env"))
            wrong = "options have no member but env";
    json_object_foreach (json_object_get(o, "env"), key, v)
        if (!json_is_string(v))
            wrong = "env maps names to names of secrets";
    json_decref(o);
    return wrong;
}

void handlers_put(struct handlers *h, const char *name, const char *source, size_t len,
                  const char *options, void (*done)(void *arg, int result, const char *text),
                  void *arg)
{
    char space[208];
    const char *wrong = !name_fits(name)           ? "a name has 1 to 64 letters, digits, - and _"
                        : len == 0                 ? "there is no source"
                        : len > HANDLER_SOURCE_MAX ? "the source is larger than 1 MiB"
                                                   : check_options(*options ? options : "{}");
    if (!wrong)
        wrong = environment_check(h, *options ? options : "{}", space);
    struct module *m = wrong ? NULL : map_get(h->modules, name);
    if (wrong) {
        done(arg, HANDLERS_E_INVALID, wrong);
        return;
    }
    if (m && m->new_source) {
        done(arg, -EBUSY, "it is being replaced right now");
        return;
    }
    if (!m && (!(m = calloc(1, sizeof *m)) || map_add(h->modules, name, m) < 0)) {
        free(m);
        done(arg, -ENOMEM, NULL);
        return;
    }
    snprintf(m->name, sizeof m->name, "%s", name);
    m->new_source = strndup(source, len);
    m->new_options = strdup(*options ? options : "{}");
    m->new_version = ++h->next_version;
    m->done = done;
    m->arg = arg;
    bool running = h->stream != NULL;
    int r = m->new_source && m->new_options ? worker_start(h) : -ENOMEM;
    if (r < 0)
        answer_put(h, m, r,
                   r == -ENOENT ? "handlers need Node on the server's host"
                                : "the worker cannot be started");
    else if (running)
        load_new(h, m);
}

int handlers_remove(struct handlers *h, const char *name)
{
    struct module *m = map_get(h->modules, name);
    if (!m || !m->source)
        return HANDLERS_E_NOT_FOUND;
    if (m->new_source)
        return -EBUSY;
    map_remove(h->modules, name);
    store_delete(h->config.dir_fd, name);
    worker_send_json(h, HANDLER_UNLOAD, 0, json_pack("{s:s}", "name", name));
    module_free(m);
    return 0;
}

int handlers_list(const struct handlers *h, struct buf *out)
{
    size_t cursor = 0;
    const char *sep = "";
    buf_putc(out, '[');
    for (struct module *m; (m = map_next(h->modules, &cursor, NULL));) {
        json_t *o = m->source ? json_loads(m->options, 0, NULL) : NULL,
               *env = json_object_get(o, "env");
        json_t *item = o ? json_pack("{s:s, s:b, s:I, s:o}", "name", m->name, "loaded", m->loaded,
                                     "bytes", (json_int_t)strlen(m->source), "env",
                                     env ? json_incref(env) : json_object())
                         : NULL;
        char *text = item ? json_dumps(item, JSON_COMPACT) : NULL;
        if (text) {
            buf_printf(out, "%s%s", sep, text);
            sep = ",";
        }
        free(text);
        json_decref(item);
        json_decref(o);
    }
    return buf_putc(out, ']');
}

int handlers_source(const struct handlers *h, const char *name, struct buf *out)
{
    const struct module *m = map_get(h->modules, name);
    return m && m->source ? buf_puts(out, m->source) : HANDLERS_E_NOT_FOUND;
}

const struct module *module_find(const struct handlers *h, const char *name)
{
    return map_get(h->modules, name);
}

bool handlers_has(const struct handlers *h, const char *name)
{
    char module[HANDLER_NAME_MAX + 1];
    size_t n = strcspn(name, ".");
    if (n > HANDLER_NAME_MAX)
        return false;
    snprintf(module, sizeof module, "%.*s", (int)n, name);
    const struct module *m = map_get(h->modules, module);
    return m && m->source;
}

void handlers_secrets_changed(struct handlers *h)
{
    if (h->stream)
        modules_load(h);
}

static void adopt(void *user, const char *name, char *take_source, char *take_options)
{
    struct handlers *h = user;
    struct module *m = calloc(1, sizeof *m);
    if (!m || map_add(h->modules, name, m) < 0) {
        free(m);
        free(take_source);
        free(take_options);
        return;
    }
    snprintf(m->name, sizeof m->name, "%s", name);
    m->source = take_source;
    m->options = take_options;
    m->version = ++h->next_version;
}

int handlers_new(uv_loop_t *loop, const struct handlers_config *c, struct handlers **ret)
{
    struct handlers *h = calloc(1, sizeof *h);
    if (!h || !(h->modules = map_new())) {
        free(h);
        return -ENOMEM;
    }
    h->loop = loop;
    h->config = *c;
    h->node = strdup(c->node);
    h->worker = strdup(c->worker);
    h->pid = -1;
    id_random(h->fill_key, sizeof h->fill_key);
    list_init(&h->streams);
    buf_init(&h->in, 2 * HANDLER_PAYLOAD_MAX + STREAM_READ);
    uv_timer_init(loop, &h->timer);
    uv_timer_init(loop, &h->restart);
    h->timer.data = h->restart.data = h;
    int r = h->node && h->worker ? store_load(c->dir_fd, adopt, h) : -ENOMEM;
    if (r == 0 && map_count(h->modules) && (r = worker_start(h)) < 0) {
        log_error("handler", "worker_not_started", "reason=%s", log_quote(strerror(-r)));
        r = 0;
    }
    *ret = h;
    return r;
}
