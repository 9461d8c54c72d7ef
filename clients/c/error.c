#include <stdio.h>
#include <string.h>

#include "clients/c/client.h"

const char *cellbox_strerror(int result)
{
    switch (result) {
    case CELLBOX_OK:
        return "no error";
    case CELLBOX_E_MEMORY:
        return "out of memory";
    case CELLBOX_E_ARGUMENT:
        return "invalid argument";
    case CELLBOX_E_SETTINGS:
        return "no server to talk to";
    case CELLBOX_E_CONNECTION:
        return "connection failed";
    case CELLBOX_E_SERVER:
        return "refused by the server";
    case CELLBOX_E_PROTOCOL:
        return "answer not understood";
    case CELLBOX_E_STOPPED:
        return "stopped by the caller";
    default:
        return "unknown error";
    }
}

/* Messages hold what a server or a sandbox said: no control characters, so one line. */
static void make_harmless(char *text)
{
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
}

static void cut(char *to, size_t size, const char *text)
{
    size_t n = strnlen(text, size - 1);
    if (text[n]) /* not within a character */
        while (n && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--;
    memcpy(to, text, n);
    to[n] = 0;
    make_harmless(to);
}

int error_set(struct cellbox_error *error, int result, const char *format, ...)
{
    CLEANUP_STR struct str text = {0};
    va_list ap;
    if (!error)
        return result;
    *error = (struct cellbox_error){.result = result};
    va_start(ap, format);
    int r = text_addv(&text, format, ap);
    va_end(ap);
    cut(error->message, sizeof error->message, r < 0 ? cellbox_strerror(result) : str_text(&text));
    return result;
}

int error_memory(struct cellbox_error *error)
{
    return error_set(error, CELLBOX_E_MEMORY, "out of memory");
}

int error_pass(int r, const struct cellbox_error *from, struct cellbox_error *error)
{
    if (r != CELLBOX_OK && error)
        *error = *from;
    return r;
}

int error_of_json(struct cellbox_error *error, int status, const json_t *said,
                  const char *otherwise)
{
    const char *message = json_text(said, "message");
    error_set(error, CELLBOX_E_SERVER, "%s", *message ? message : otherwise);
    if (!error)
        return CELLBOX_E_SERVER;
    if (!*message)
        error_set(error, CELLBOX_E_SERVER, "HTTP %d: %s", status, otherwise);
    error->http_status = status;
    cut(error->code, sizeof error->code, json_text(said, "code"));
    return CELLBOX_E_SERVER;
}
