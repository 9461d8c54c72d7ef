#include "kernel-gw/notebook/document.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/base/json.h"

/* ---- what a notebook is ---- */

static bool is_source(const json_t *v)
{
    size_t i;
    json_t *line;
    if (json_is_string(v))
        return true;
    json_array_foreach (v, i, line) {
        if (!json_is_string(line))
            return false;
    }
    return json_is_array(v);
}

static bool is_cell_type(const char *s)
{
    return s && (!strcmp(s, "code") || !strcmp(s, "markdown") || !strcmp(s, "raw"));
}

int notebook_check(const json_t *notebook, struct err *e)
{
    const json_t *cells = json_object_get(notebook, "cells");
    json_int_t major = json_integer_value(json_object_get(notebook, "nbformat"));
    size_t i;
    json_t *cell;
    if (major != 4)
        return err_set(e, -EINVAL, "read notebook",
                       "nbformat must be 4 (jupyter nbconvert --to notebook converts)");
    if (!json_is_array(cells))
        return err_set(e, -EINVAL, "read notebook", "cells must be an array");
    json_array_foreach (cells, i, cell) {
        if (!is_cell_type(json_string_value(json_object_get(cell, "cell_type"))) ||
            !is_source(json_object_get(cell, "source")))
            return err_set(e, -EINVAL, "read notebook",
                           "cell %zu is not code, markdown or raw, or has no source of text", i);
    }
    return 0;
}

const char *notebook_language(const json_t *notebook)
{
    const json_t *meta = json_object_get(notebook, "metadata");
    const json_t *spec = json_object_get(meta, "kernelspec");
    const char *name = json_string_value(json_object_get(spec, "language"));
    if (!name)
        name = json_string_value(json_object_get(json_object_get(meta, "language_info"), "name"));
    if (!name)
        name = json_string_value(json_object_get(spec, "name"));
    return name && !strncmp(name, "cellbox-", 8) ? name + 8 : name;
}

bool notebook_is_code(const json_t *cell)
{
    const json_t *source = json_object_get(cell, "source");
    size_t i;
    json_t *line;
    if (strcmp(json_string_value(json_object_get(cell, "cell_type")), "code") != 0)
        return false;
    if (json_is_string(source))
        return strspn(json_string_value(source), " \t\r\n") != strlen(json_string_value(source));
    json_array_foreach (source, i, line) {
        if (strspn(json_string_value(line), " \t\r\n") != strlen(json_string_value(line)))
            return true;
    }
    return false;
}

int notebook_source(const json_t *cell, struct buf *out)
{
    const json_t *source = json_object_get(cell, "source");
    size_t i;
    json_t *line;
    if (json_is_string(source))
        return buf_put(out, json_string_value(source), json_string_length(source));
    json_array_foreach (source, i, line) {
        buf_put(out, json_string_value(line), json_string_length(line));
    }
    return out->err;
}

void notebook_clear(json_t *notebook)
{
    size_t i;
    json_t *cell;
    json_array_foreach (json_object_get(notebook, "cells"), i, cell) {
        if (strcmp(json_string_value(json_object_get(cell, "cell_type")), "code") != 0)
            continue;
        json_object_set_new(cell, "outputs", json_array());
        json_object_set_new(cell, "execution_count", json_null());
    }
}

/* ---- parameters ---- */

static bool is_identifier(const char *s)
{
    if (!isalpha((unsigned char)*s) && *s != '_')
        return false;
    while (isalnum((unsigned char)*s) || *s == '_')
        s++;
    return !*s;
}

static void put_literal(struct buf *b, const json_t *v, bool python)
{
    const char *key;
    json_t *item;
    size_t i;
    char *text;
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        buf_putc(b, '{');
        json_object_foreach ((json_t *)v, key, item) {
            buf_puts(b, b->data[b->len - 1] == '{' ? "" : ", ");
            json_put_cstring(b, key);
            buf_puts(b, ": ");
            put_literal(b, item, python);
        }
        buf_putc(b, '}');
        return;
    case JSON_ARRAY:
        buf_putc(b, '[');
        json_array_foreach (v, i, item) {
            buf_puts(b, i ? ", " : "");
            put_literal(b, item, python);
        }
        buf_putc(b, ']');
        return;
    case JSON_TRUE:
        buf_puts(b, python ? "True" : "true");
        return;
    case JSON_FALSE:
        buf_puts(b, python ? "False" : "false");
        return;
    case JSON_NULL:
        buf_puts(b, python ? "None" : "null");
        return;
    case JSON_STRING:
        json_put_string(b, json_string_value(v), json_string_length(v));
        return;
    default:
        text = json_dumps(v, JSON_ENCODE_ANY);
        buf_puts(b, text ? text : "0");
        free(text);
    }
}

static bool has_tag(const json_t *cell, const char *tag)
{
    const json_t *tags = json_object_get(json_object_get(cell, "metadata"), "tags");
    size_t i;
    json_t *v;
    json_array_foreach (tags, i, v) {
        if (json_is_string(v) && !strcmp(json_string_value(v), tag))
            return true;
    }
    return false;
}

static json_t *parameter_cell(const char *source)
{
    return json_pack("{s:s, s:n, s:s, s:{s:[s]}, s:s, s:[]}", "cell_type", "code",
                     "execution_count", "id", "injected-parameters", "metadata", "tags",
                     "injected-parameters", "source", source, "outputs");
}

static void place(json_t *cells, json_t *take_cell)
{
    size_t i, behind = 0;
    json_t *cell;
    json_array_foreach (cells, i, cell) {
        if (has_tag(cell, "injected-parameters")) {
            json_array_set_new(cells, i, take_cell);
            return;
        }
        if (has_tag(cell, "parameters") && !behind)
            behind = i + 1;
    }
    json_array_insert_new(cells, behind, take_cell);
}

int notebook_inject(json_t *notebook, const char *language, const json_t *parameters, struct err *e)
{
    CLEANUP_BUF struct buf b = {0};
    bool python = !strcmp(language, "python");
    const char *key;
    json_t *v;
    if (!json_object_size(parameters))
        return 0;
    buf_puts(&b, python ? "# Parameters\n" : "// Parameters\n");
    json_object_foreach ((json_t *)parameters, key, v) {
        if (!is_identifier(key))
            return err_set(e, -EINVAL, "read parameters", "%.40s is not a name", key);
        buf_printf(&b, python ? "%s = " : "var %s = ", key);
        put_literal(&b, v, python);
        buf_puts(&b, python ? "\n" : ";\n");
    }
    json_t *cell = b.err ? NULL : parameter_cell(buf_str(&b));
    if (!cell)
        return err_set(e, -ENOMEM, "read parameters", NULL);
    /* Cell ids came with nbformat 4.5. */
    if (json_integer_value(json_object_get(notebook, "nbformat_minor")) < 5)
        json_object_del(cell, "id");
    place(json_object_get(notebook, "cells"), cell);
    return 0;
}

/* ---- outputs ---- */

int outputs_init(struct outputs *o, size_t max)
{
    *o = (struct outputs){.display = json_object(), .max = max};
    return o->display ? 0 : -ENOMEM;
}

void outputs_deinit(struct outputs *o)
{
    json_decref(o->display);
}

void outputs_begin(struct outputs *o, json_t *cell)
{
    o->cell = cell;
    o->clear_next = false;
}

static json_t *list_of(const struct outputs *o)
{
    return json_object_get(o->cell, "outputs");
}

/* false: the bound is reached, and the notebook says so. */
static bool room(struct outputs *o, size_t n)
{
    if (o->clear_next)
        json_array_clear(list_of(o));
    o->clear_next = false;
    o->bytes += n;
    if (o->bytes <= o->max)
        return true;
    if (!o->truncated)
        json_array_append_new(
            list_of(o),
            json_pack("{s:s, s:s, s:s}", "output_type", "stream", "name", "stderr", "text",
                      "cellbox: further outputs of this notebook are left out\n"));
    o->truncated = true;
    return false;
}

/* Text that follows text of the same stream goes into one output, as notebooks keep it. */
void outputs_stream(struct outputs *o, const char *name, const void *text, size_t len)
{
    CLEANUP_BUF struct buf quoted = {0};
    if (!room(o, len))
        return;
    json_t *last = json_array_get(list_of(o), json_array_size(list_of(o)) - 1);
    const char *type = json_string_value(json_object_get(last, "output_type"));
    const char *was = json_string_value(json_object_get(last, "name"));
    json_put_string(&quoted, text, len); /* bytes that are no UTF-8 become U+FFFD */
    json_t *piece =
        json_loadb((char *)quoted.data, quoted.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (!piece)
        return;
    if (type && was && !strcmp(type, "stream") && !strcmp(was, name)) {
        json_t *lines = json_object_get(last, "text");
        json_array_append_new(lines, piece);
        return;
    }
    json_array_append_new(list_of(o), json_pack("{s:s, s:s, s:[o]}", "output_type", "stream",
                                                "name", name, "text", piece));
}

static size_t weight(const json_t *v)
{
    return json_dumpb(v, NULL, 0, JSON_ENCODE_ANY | JSON_COMPACT);
}

static json_t *or_object(json_t *v)
{
    return v ? v : json_object();
}

void outputs_display(struct outputs *o, json_t *take_data, json_t *take_metadata,
                     const char *display_id)
{
    json_t *data = or_object(take_data), *metadata = or_object(take_metadata);
    if (!room(o, weight(data))) {
        json_decref(data);
        json_decref(metadata);
        return;
    }
    json_t *out = json_pack("{s:s, s:o, s:o}", "output_type", "display_data", "data", data,
                            "metadata", metadata);
    json_array_append(list_of(o), out);
    if (display_id && out) {
        json_t *same = json_object_get(o->display, display_id);
        if (!same) {
            same = json_array();
            json_object_set_new(o->display, display_id, same);
        }
        json_array_append(same, out);
    }
    json_decref(out);
}

void outputs_update(struct outputs *o, json_t *take_data, json_t *take_metadata,
                    const char *display_id)
{
    json_t *data = or_object(take_data), *metadata = or_object(take_metadata);
    const json_t *same = display_id ? json_object_get(o->display, display_id) : NULL;
    size_t i;
    json_t *out;
    if (same && room(o, weight(data))) {
        json_array_foreach (same, i, out) {
            json_object_set(out, "data", data);
            json_object_set(out, "metadata", metadata);
        }
    }
    json_decref(data);
    json_decref(metadata);
}

void outputs_result(struct outputs *o, json_t *take_data, json_t *take_metadata, unsigned count)
{
    json_t *data = or_object(take_data), *metadata = or_object(take_metadata);
    if (!room(o, weight(data))) {
        json_decref(data);
        json_decref(metadata);
        return;
    }
    json_array_append_new(list_of(o),
                          json_pack("{s:s, s:o, s:o, s:i}", "output_type", "execute_result", "data",
                                    data, "metadata", metadata, "execution_count", (int)count));
}

void outputs_error(struct outputs *o, const json_t *error)
{
    json_t *traceback = json_object_get(error, "traceback");
    const char *name = json_string_value(json_object_get(error, "ename"));
    const char *value = json_string_value(json_object_get(error, "evalue"));
    room(o, 0);
    json_array_append_new(
        list_of(o), json_pack("{s:s, s:s, s:s, s:o}", "output_type", "error", "ename",
                              name ? name : "Error", "evalue", value ? value : "", "traceback",
                              json_is_array(traceback) ? json_incref(traceback) : json_array()));
}

void outputs_clear(struct outputs *o, bool wait)
{
    o->clear_next = wait;
    if (!wait)
        json_array_clear(list_of(o));
}
