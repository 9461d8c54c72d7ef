#include "clients/c/members.h"

#include <errno.h>
#include <string.h>

#include "clients/c/text.h"

void members_init(struct members *m)
{
    *m = (struct members){.json = json_object()};
}

void members_deinit(struct members *m)
{
    json_decref(m->json);
    m->json = NULL;
}

/* value NULL: it was no UTF-8 text, or there is no memory for it. */
static void put(struct members *m, const char *key, json_t *value)
{
    if (json_object_set_new(m->json, key, value) < 0)
        m->problem = "not all of it is UTF-8 text";
}

void members_text(struct members *m, const char *key, const char *text)
{
    if (text)
        put(m, key, json_string(text));
}

void members_bytes(struct members *m, const char *key, const void *data, size_t len)
{
    CLEANUP_STR struct str text = {0};
    if (text_base64(data, len, &text) < 0)
        m->no_memory = true;
    else
        put(m, key, json_stringn(str_text(&text), text.len));
}

void members_int(struct members *m, const char *key, int64_t value)
{
    if (value < 0)
        m->problem = "a number is less than 0";
    else if (value)
        put(m, key, json_integer(value));
}

void members_real(struct members *m, const char *key, double value)
{
    if (value != 0)
        put(m, key, json_real(value));
}

void members_true(struct members *m, const char *key, bool value)
{
    if (value)
        put(m, key, json_true());
}

void members_list(struct members *m, const char *key, const char *const *list)
{
    if (!list)
        return;
    json_t *array = json_array();
    for (size_t i = 0; list[i]; i++)
        if (json_array_append_new(array, json_string(list[i])) < 0)
            m->problem = "not all of it is UTF-8 text";
    put(m, key, array);
}

void members_map(struct members *m, const char *key, const char *const *list)
{
    if (!list)
        return;
    json_t *object = json_object();
    for (size_t i = 0; list[i]; i++) {
        const char *eq = strchr(list[i], '=');
        if (!eq || eq == list[i]) {
            m->problem = "a variable or label is not of the form NAME=VALUE";
            continue;
        }
        CLEANUP_FREE char *name = strndup(list[i], (size_t)(eq - list[i]));
        m->no_memory |= !name;
        if (name && json_object_set_new(object, name, json_string(eq + 1)) < 0)
            m->problem = "not all of it is UTF-8 text";
    }
    put(m, key, object);
}

void members_json(struct members *m, const char *key, const char *text)
{
    if (!text)
        return;
    json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (value)
        put(m, key, value);
    else
        m->problem = "what should be JSON is none";
}

void members_command(struct members *m, const char *line, const char *const *argv)
{
    if (!!line == (argv && argv[0]))
        m->problem = "either a command or argv has to be given";
    members_text(m, "command", line);
    if (!line)
        members_list(m, "command", argv);
}
