#include "clients/cli/show.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clients/cli/util.h"

#define MAX_PICTURES 100000

static const struct {
    const char *mime, *suffix;
    bool base64;
} pictures[] = {{"image/png", "png", true},      {"image/jpeg", "jpg", true},
                {"image/svg+xml", "svg", false}, {"image/gif", "gif", true},
                {"image/webp", "webp", true},    {"application/pdf", "pdf", true}};

static void emit(struct show *s, int fd, const char *text, size_t len)
{
    if (s->quiet || s->broken || !len)
        return;
    if (s->erase) {
        s->erase = false;
        show_clear(s, false);
    }
    if (write_all(fd, text, len) < 0)
        s->broken = fd == STDOUT_FILENO;
    if (fd == STDOUT_FILENO)
        s->line_open = text[len - 1] != '\n';
}

void show_text(struct show *s, int fd, const char *text, size_t len)
{
    emit(s, fd, text, len);
}

/* A result starts on a line of its own, also after print(..., end=""). */
static void emit_line(struct show *s, int fd, const char *text)
{
    size_t len = strlen(text);
    if (s->line_open)
        emit(s, STDOUT_FILENO, "\n", 1);
    emit(s, fd, text, len);
    if (!len || text[len - 1] != '\n')
        emit(s, fd, "\n", 1);
}

/* Only a terminal can take back what was printed, and only its last line. */
void show_clear(struct show *s, bool wait)
{
    if (wait) {
        s->erase = true;
    } else if (s->line_open && isatty(STDOUT_FILENO)) {
        emit(s, STDOUT_FILENO, "\r\033[K", 4);
        s->line_open = false;
    }
}

/* The content of a picture, from a string or (as nbformat allows) a list of strings. */
static bool picture_bytes(const json_t *value, bool base64, struct str *ret)
{
    CLEANUP_STR struct str text = {0};
    size_t i;
    json_t *line;
    if (json_is_string(value))
        str_add(&text, json_string_value(value), json_string_length(value));
    json_array_foreach (value, i, line)
        if (json_is_string(line))
            str_add(&text, json_string_value(line), json_string_length(line));
    if (!text.len)
        return false;
    if (base64)
        return base64_decode(text.data, text.len, ret);
    str_add(ret, text.data, text.len);
    return true;
}

/* Writes to the next figure-N that does not exist, or again to the file of the display that is
 * updated. */
static char *save(struct show *s, const char *suffix, const struct str *bytes, const char *again)
{
    int r = -EEXIST;
    char *path = NULL;
    if (again) {
        path = must(strdup(again));
        unlink(path);
        r = write_new_file(path, bytes->data, bytes->len);
    } else {
        make_dirs(s->dir);
    }
    while (r == -EEXIST && s->number < MAX_PICTURES) {
        free(path);
        s->number++;
        path = !strcmp(s->dir, ".") ? text_format("figure-%d.%s", s->number, suffix)
                                    : text_format("%s/figure-%d.%s", s->dir, s->number, suffix);
        r = write_new_file(path, bytes->data, bytes->len);
    }
    if (r == 0)
        return path;
    fail(0, "cannot save %s: %s", path ? path : "a picture", strerror(-r));
    free(path);
    return NULL;
}

/* true when the bundle held a picture (saved or not). */
static bool show_picture(struct show *s, const json_t *data, const char *display_id, bool update)
{
    for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++) {
        CLEANUP_STR struct str bytes = {0};
        const json_t *value = json_object_get(data, pictures[i].mime);
        if (!value)
            continue;
        if (!picture_bytes(value, pictures[i].base64, &bytes)) {
            fail(0, "a picture (%s) could not be read and was not saved", pictures[i].mime);
            return true;
        }
        CLEANUP_FREE char *key = text_format("%s %s", display_id, pictures[i].suffix);
        const char *again =
            update && *display_id ? json_string_value(json_object_get(s->pictures, key)) : NULL;
        CLEANUP_FREE char *path = save(s, pictures[i].suffix, &bytes, again);
        if (!path)
            return true;
        if (*display_id) {
            if (!s->pictures)
                s->pictures = must(json_object());
            json_object_set_new(s->pictures, key, json_string(path));
        }
        CLEANUP_FREE char *line = text_format("[saved %s]\n", path);
        if (s->line_open)
            emit(s, STDOUT_FILENO, "\n", 1);
        emit(s, STDERR_FILENO, line, strlen(line));
        return true;
    }
    return false;
}

/* The text of a bundle: its plain form, unless that only names a Python object whose source is
 * there too. */
static const char *bundle_text(const json_t *data)
{
    static const char *const sources[] = {"text/markdown", "text/latex"};
    const char *plain = json_string_value(json_object_get(data, "text/plain"));
    if (plain && strncmp(plain, "<IPython.core.display.", 22))
        return plain;
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        const char *text = json_string_value(json_object_get(data, sources[i]));
        if (text)
            return text;
    }
    return plain;
}

static const char *first_type(const json_t *data)
{
    void *it = json_object_iter((json_t *)data);
    return it ? json_object_iter_key(it) : NULL;
}

void show_bundle(struct show *s, const json_t *event, bool update)
{
    const json_t *data = json_object_get(event, "data");
    const char *display_id = json_text(json_object_get(event, "transient"), "display_id");
    const char *text = bundle_text(data);
    if (!*display_id)
        display_id = json_text(event, "displayId");
    if (show_picture(s, data, display_id, update))
        return;
    const json_t *document = json_object_get(data, "application/json");
    if (document && (!text || !strncmp(text, "<IPython", 8))) {
        CLEANUP_FREE char *pretty = must(json_dumps(document, JSON_INDENT(2) | JSON_ENCODE_ANY));
        emit_line(s, STDOUT_FILENO, pretty);
    } else if (text) {
        emit_line(s, STDOUT_FILENO, text);
    } else if (first_type(data) && !s->quiet) {
        note("[not shown: %s; --json has it]", first_type(data));
    }
}

/* Removes colours: ESC [ ... letter. */
static void strip_colours(char *text)
{
    char *to = text;
    for (const char *p = text; *p; p++) {
        if (p[0] == '\033' && p[1] == '[') {
            p += 2;
            p += strspn(p, "0123456789;?");
            if (!*p)
                break;
            continue;
        }
        *to++ = *p;
    }
    *to = 0;
}

void show_error(struct show *s, const json_t *error)
{
    CLEANUP_STR struct str text = {0};
    const json_t *traceback = json_object_get(error, "traceback");
    size_t i;
    json_t *line;
    json_array_foreach (traceback, i, line)
        if (json_is_string(line))
            str_addf(&text, "%s%s", i ? "\n" : "", json_string_value(line));
    if (json_is_string(traceback))
        str_addf(&text, "%s", json_string_value(traceback));
    if (!text.len)
        str_addf(&text, "%s: %s", json_text(error, "name"), json_text(error, "message"));
    if (!isatty(STDERR_FILENO))
        strip_colours(text.data);
    emit_line(s, STDERR_FILENO, text.data);
}

void show_deinit(struct show *s)
{
    json_decref(s->pictures);
    s->pictures = NULL;
}
