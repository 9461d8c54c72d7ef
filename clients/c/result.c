#include "clients/c/result.h"

#include <errno.h>
#include <string.h>

static const char *json_in(void *held, const json_t *value, size_t *ret_len)
{
    CLEANUP_FREE char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text)
        return NULL;
    *ret_len = strlen(text);
    return held_copy(held, text, *ret_len);
}

int result_fill(void *held, struct cellbox_result *to, json_t *from)
{
    json_t *data = json_object_get(from, "data"), *value;
    struct cellbox_mime *forms = held_more(held, sizeof *forms * json_object_size(data));
    size_t n = 0;
    const char *type;
    if (!forms)
        return -ENOMEM;
    json_object_foreach (data, type, value) {
        struct cellbox_mime *m = &forms[n++];
        *m = (struct cellbox_mime){type, json_string_value(value), json_string_length(value)};
        if (!m->data)
            m->data = json_in(held, value, &m->len);
        if (!m->data)
            return -ENOMEM;
    }
    *to = (struct cellbox_result){.is_main = wire_true(from, "isMainResult"),
                                  .display_id = wire_text(from, "displayId"),
                                  .n = n,
                                  .data = forms};
    return 0;
}

/* The strings of an array, with `between` between two. */
static char *join(void *held, const json_t *array, const char *between, size_t *ret_len)
{
    CLEANUP_STR struct str text = {0};
    size_t i;
    json_t *line;
    json_array_foreach (array, i, line) {
        if (i && text_add(&text, between, strlen(between)) < 0)
            return NULL;
        if (text_add(&text, json_string_value(line), json_string_length(line)) < 0)
            return NULL;
    }
    *ret_len = text.len;
    return held_copy(held, str_text(&text), text.len);
}

int result_fill_error(void *held, struct cellbox_code_error *to, json_t *from)
{
    size_t len;
    *to = (struct cellbox_code_error){
        .code = wire_text(from, "code"),
        .name = wire_text(from, "name"),
        .message = wire_text(from, "message"),
        .traceback = join(held, json_object_get(from, "traceback"), "\n", &len),
    };
    return to->traceback ? 0 : -ENOMEM;
}

static int fill_outcome(struct cellbox_execution *e, json_t *from)
{
    json_t *results = json_object_get(from, "results"), *raised = json_object_get(from, "error");
    const json_t *logs = json_object_get(from, "logs");
    struct cellbox_result *made = held_more(e, sizeof *made * json_array_size(results));
    if (!made)
        return -ENOMEM;
    for (size_t i = 0; i < json_array_size(results); i++) {
        if (result_fill(e, &made[i], json_array_get(results, i)) < 0)
            return -ENOMEM;
        const struct cellbox_mime *plain = cellbox_result_find(&made[i], "text/plain");
        if (made[i].is_main && plain)
            e->text = plain->data;
    }
    e->results = made;
    e->n = json_array_size(results);
    e->out = join(e, json_object_get(logs, "stdout"), "", &e->out_len);
    e->err = join(e, json_object_get(logs, "stderr"), "", &e->err_len);
    if (json_is_object(raised)) {
        struct cellbox_code_error *error = held_more(e, sizeof *error);
        if (!error || result_fill_error(e, error, raised) < 0)
            return -ENOMEM;
        e->error = error;
    }
    return e->out && e->err ? 0 : -ENOMEM;
}

struct cellbox_execution *result_execution(json_t *take_object)
{
    struct cellbox_execution *e = held_new(sizeof *e, take_object);
    if (!e)
        return NULL;
    *e = (struct cellbox_execution){
        .id = wire_text(take_object, "id"),
        .context = wire_text(take_object, "context"),
        .status = wire_text(take_object, "status"),
        .execution_count = wire_int(take_object, "executionCount"),
        .duration_ms = wire_real(json_object_get(take_object, "timing"), "durationMs"),
        .context_restarted = wire_true(take_object, "contextRestarted"),
        .reason = wire_text(take_object, "reason"),
        .truncated = wire_true(take_object, "truncated"),
    };
    if (fill_outcome(e, take_object) == 0)
        return e;
    cellbox_free(e);
    return NULL;
}

const struct cellbox_mime *cellbox_result_find(const struct cellbox_result *result,
                                               const char *type)
{
    for (size_t i = 0; i < result->n; i++)
        if (!strcmp(result->data[i].type, type))
            return &result->data[i];
    return NULL;
}

void *cellbox_mime_bytes(const struct cellbox_mime *mime, size_t *ret_len)
{
    CLEANUP_STR struct str bytes = {0};
    if (text_unbase64(mime->data, mime->len, &bytes) < 0)
        return NULL;
    char *held = held_new(bytes.len + 1, NULL);
    if (!held)
        return NULL;
    memcpy(held, str_text(&bytes), bytes.len);
    *ret_len = bytes.len;
    return held;
}
