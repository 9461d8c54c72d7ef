#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "contexts/pool/pool.h"
#include "kernel-gw/api/box/box.h"
#include "sandbox/base/id.h"
#include "sandbox/base/json.h"

/* The kernel takes one argument of at most 128 KiB; longer scripts are given as files. */
enum { ARGUMENT_MAX = 120 << 10 };

#define HOME_DIRECTORY "/workspace"

static void put_string(struct buf *out, const char *s)
{
    buf_put(out, s, strlen(s) + 1);
}

/* Later ones win, and each name comes once: programs disagree on which of two counts. */
static json_t *environment(struct sandbox *sb, const json_t *own)
{
    CLEANUP_BUF struct buf defaults = {0};
    struct sandbox_info info;
    json_t *all = json_object();
    pool_put_environ(&defaults, "");
    for (size_t at = 1; all && at < defaults.len;) {
        const char *s = (const char *)defaults.data + at, *eq = strchr(s, '=');
        json_object_setn_new(all, s, (size_t)(eq - s), json_string(eq + 1));
        at += strlen(s) + 1;
    }
    sandbox_get_info(sb, &info);
    json_t *boxes = json_loads(info.env, 0, NULL);
    json_object_update(all, boxes);
    json_decref(boxes);
    if (own)
        json_object_update(all, (json_t *)own);
    return all;
}

static void put_environment(struct buf *out, const json_t *all, uint32_t *ret_n)
{
    const char *key;
    json_t *v;
    json_object_foreach ((json_t *)all, key, v) {
        buf_puts(out, key);
        buf_putc(out, '=');
        put_string(out, json_string_value(v));
        (*ret_n)++;
    }
}

static void put_arguments(struct box_command *c, const json_t *command)
{
    if (json_is_array(command)) {
        for (size_t i = 0; i < json_array_size(command); i++)
            put_string(&c->spec, json_string_value(json_array_get(command, i)));
        c->start.argc = (uint32_t)json_array_size(command);
        return;
    }
    put_string(&c->spec, "bash");
    c->start.argc = 1;
    if (!command)
        return;
    if (json_string_length(command) > ARGUMENT_MAX)
        c->start.flags |= WIRE_PROCESS_SCRIPT;
    put_string(&c->spec, "-c");
    put_string(&c->spec, json_string_value(command));
    c->start.argc = 3;
}

int box_command_make(struct sandbox *sb, const json_t *o, const char *note, struct box_command *ret)
{
    const char *cwd = api_string(o, "cwd");
    json_int_t grace = api_integer(o, "grace", BOX_GRACE_MS);
    json_t *env = environment(sb, json_object_get(o, "env"));
    if (!env)
        return -ENOMEM;
    buf_init(&ret->spec, WIRE_PROCESS_SPEC_MAX);
    if (cwd && *cwd != '/')
        buf_puts(&ret->spec, HOME_DIRECTORY "/");
    put_string(&ret->spec, cwd ? cwd : HOME_DIRECTORY);
    put_arguments(ret, json_object_get(o, "command"));
    put_environment(&ret->spec, env, &ret->start.envc);
    json_decref(env);
    if (note) {
        ret->start.note_len = (uint32_t)strlen(note);
        buf_puts(&ret->spec, note);
    }
    ret->start.timeout_ms = (uint32_t)api_integer(o, "timeout", 0);
    ret->start.grace_ms = (uint32_t)grace;
    return ret->spec.err;
}

void box_command_deinit(struct box_command *c)
{
    buf_deinit(&c->spec);
}

void box_put_command(struct buf *out, const json_t *command)
{
    CLEANUP_BUF struct buf joined = {0};
    size_t i;
    json_t *v;
    if (json_is_string(command)) {
        json_put_string(out, json_string_value(command), json_string_length(command));
        return;
    }
    json_array_foreach (command, i, v) {
        if (i)
            buf_putc(&joined, ' ');
        buf_puts(&joined, json_string_value(v));
    }
    json_put_string(out, joined.data, joined.len);
}

bool box_id_valid(const char *id)
{
    size_t n = strlen(id);
    return n >= 1 && n < WIRE_PROCESS_ID &&
           strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

void box_copy(char *to, size_t cap, const char *from)
{
    size_t n = strnlen(from, cap - 1);
    memcpy(to, from, n);
    to[n] = 0;
}

void box_make_id(char out[WIRE_PROCESS_ID], const char *prefix)
{
    char hex[25];
    id_hex(hex, 12);
    snprintf(out, WIRE_PROCESS_ID, "%s-%s", prefix, hex);
}

int box_signal(const json_t *v)
{
    const char *name = json_string_value(v);
    if (json_is_number(v)) {
        int n = json_number_value(v) >= 1 && json_number_value(v) <= SIGRTMAX
                    ? (int)json_number_value(v)
                    : 0;
        return n == json_number_value(v) ? n : 0;
    }
    if (!name)
        return 0;
    if (!strncasecmp(name, "SIG", 3))
        name += 3;
    for (int s = 1; s < NSIG; s++) {
        const char *known = sigabbrev_np(s);
        if (known && !strcasecmp(known, name))
            return s;
    }
    return 0;
}

const char *box_signal_name(int signo)
{
    static char name[16];
    const char *known = sigabbrev_np(signo);
    if (!known)
        return NULL;
    snprintf(name, sizeof name, "SIG%s", known);
    return name;
}
