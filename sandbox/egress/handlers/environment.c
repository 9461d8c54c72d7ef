/*
 * The `env` of a module. It names secrets; a module sees placeholders in their place, which egress
 * fills in when a fetch of that module goes to a host that the secret is for. What a module returns
 * to a box can then hold nothing that is worth anything. Clear text is only for secrets that name
 * the module themselves.
 */
#include <errno.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/egress/handlers/private.h"
#include "sandbox/egress/secrets/secrets.h"

/* The same for a module and a secret as long as egress runs; a guess of it is worth nothing. */
static void environment_placeholder(const struct handlers *h, const char *module,
                                    const char *secret, char out[FILL_PLACEHOLDER])
{
    uint8_t mac[EVP_MAX_MD_SIZE];
    char text[HANDLER_NAME_MAX + SECRET_NAME_MAX + 4];
    int len =
        snprintf(text, sizeof text, "%.*s/%.*s", HANDLER_NAME_MAX, module, SECRET_NAME_MAX, secret);
    int n = snprintf(out, FILL_PLACEHOLDER, "cbx-secret-");
    if (!HMAC(EVP_sha256(), h->fill_key, sizeof h->fill_key, (const uint8_t *)text, (size_t)len,
              mac, NULL))
        memset(mac, 0, sizeof mac); /* it is never filled in for another secret than its own */
    for (int i = 0; i < 16; i++)
        snprintf(out + n + 2 * i, 3, "%02x", mac[i]);
}

static const char *environment_value(const struct secret *s)
{
    const char *value = secret_get(s, "value");
    return value ? value : secret_get(s, "password");
}

/* The secret, if the module gets it in clear text. */
static const struct secret *environment_clear(const struct handlers *h, const char *module,
                                              const json_t *name)
{
    const struct secret *s = secrets_find(h->config.secrets, json_string_value(name));
    return s && secret_shown_to(s, module) && environment_value(s) ? s : NULL;
}

json_t *environment_of(const struct handlers *h, const char *module, const char *options)
{
    json_t *o = json_loads(options, 0, NULL), *env = json_object(), *v;
    char placeholder[FILL_PLACEHOLDER];
    const char *key;
    json_object_foreach (json_object_get(o, "env"), key, v) {
        if (!json_is_string(v))
            continue;
        const struct secret *clear = environment_clear(h, module, v);
        environment_placeholder(h, module, json_string_value(v), placeholder);
        json_object_set_new(env, key, json_string(clear ? environment_value(clear) : placeholder));
    }
    json_decref(o);
    return env;
}

static void environment_module(const char *handler, char module[HANDLER_NAME_MAX + 1])
{
    snprintf(module, HANDLER_NAME_MAX + 1, "%.*s", (int)strcspn(handler, "."), handler);
}

struct fill *environment_fills(const struct handlers *h, const char *handler, size_t *ret_n)
{
    char module[HANDLER_NAME_MAX + 1];
    environment_module(handler, module);
    const struct module *m = module_find(h, module);
    json_t *o = m && m->options ? json_loads(m->options, 0, NULL) : NULL, *v;
    json_t *env = json_object_get(o, "env");
    size_t n = json_object_size(env), room = n * (SECRET_NAME_MAX + 1), i = 0;
    struct fill *list = calloc(1, (n + 1) * sizeof *list + room);
    char *names = list ? (char *)(list + n + 1) : NULL;
    const char *key;
    json_object_foreach (env, key, v) {
        if (!list || !json_is_string(v))
            continue;
        snprintf(names, SECRET_NAME_MAX + 1, "%s", json_string_value(v));
        environment_placeholder(h, module, names, list[i].placeholder);
        list[i++].secret = names;
        names += SECRET_NAME_MAX + 1;
    }
    json_decref(o);
    *ret_n = i;
    return list;
}

const char *environment_check(const struct handlers *h, const char *options, char space[208])
{
    json_t *o = json_loads(options, 0, NULL), *v;
    const char *key, *wrong = NULL;
    json_object_foreach (json_object_get(o, "env"), key, v) {
        const char *name = json_string_value(v);
        const struct secret *s = name ? secrets_find(h->config.secrets, name) : NULL;
        if (wrong || (s && environment_value(s)))
            continue;
        snprintf(space, 208, "env.%.60s: %s \"%.64s\"%s", key,
                 s ? "the secret" : "there is no secret", name ? name : "",
                 s ? " has neither value nor password" : "");
        wrong = space;
    }
    json_decref(o);
    return wrong;
}

int environment_admit(const struct handlers *h, const char *handler, struct exchange *x,
                      char reason[208])
{
    char module[HANDLER_NAME_MAX + 1];
    size_t n = 0;
    struct fill *fills = environment_fills(h, handler, &n);
    int r = fills ? 0 : -ENOMEM;
    environment_module(handler, module);
    if (r == 0 && fill_occurs(exchange_request_head(x), fills, n)) {
        snprintf(reason, 208, "the request holds a placeholder that stands for a handler's secret");
        r = -EPERM;
    }
    for (size_t i = 0; i < n && r == 0; i++) {
        const struct secret *s = secrets_find(h->config.secrets, fills[i].secret);
        if (!s || !secret_shown_to(s, module) || !environment_value(s))
            continue;
        if (secret_is_for(s, exchange_box(x)->name)) {
            exchange_note_secrets(x, fills[i].secret);
            continue;
        }
        snprintf(reason, 208, "secret \"%.64s\" of handler %.64s is not for this sandbox",
                 fills[i].secret, module);
        r = -EPERM;
    }
    free(fills);
    return r;
}
