#include "clients/c/server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define START_ONE "start one with ./bootstrap run, or set CELLBOX_URL and CELLBOX_TOKEN"

enum { RECORD_MAX = 64 << 10 };

static char *copy_url(const char *url)
{
    char *copy = strdup(url);
    for (size_t n = copy ? strlen(copy) : 0; n && copy[n - 1] == '/';)
        copy[--n] = 0;
    return copy;
}

/* The record as JSON, or NULL and why there is none to use. */
static json_t *load_record(struct str *ret_why)
{
    CLEANUP_FREE char *text = NULL;
    FILE *f = fopen(SERVER_RECORD, "re");
    if (!f && errno == EACCES) {
        text_addf(ret_why,
                  "no permission to read %s; run this as the user who started the server (sudo), "
                  "or set CELLBOX_URL and CELLBOX_TOKEN",
                  SERVER_RECORD);
        return NULL;
    }
    if (!f) {
        text_addf(ret_why, "no Cellbox server was found; " START_ONE);
        return NULL;
    }
    text = malloc(RECORD_MAX);
    size_t len = text ? fread(text, 1, RECORD_MAX, f) : 0;
    fclose(f);
    json_t *j = text ? json_loadb(text, len, 0, NULL) : NULL;
    json_int_t pid = json_integer_value(json_object_get(j, "pid"));
    if (!*json_text(j, "url")) {
        text_addf(ret_why, "%s is damaged; remove it and restart the server", SERVER_RECORD);
    } else if (pid > 1 && kill((pid_t)pid, 0) < 0 && errno == ESRCH) {
        text_addf(ret_why, "the server that ran at %s has ended; " START_ONE, json_text(j, "url"));
    } else {
        return j;
    }
    json_decref(j);
    return NULL;
}

static const char *environment(const char *given, const char *name)
{
    if (!given)
        given = getenv(name);
    return given && *given ? given : NULL;
}

int server_locate(const char *url, const char *token, struct server *ret, struct str *ret_why)
{
    bool given = url != NULL;
    url = environment(url, "CELLBOX_URL");
    token = environment(token, "CELLBOX_TOKEN");
    *ret = (struct server){0};
    if (url && strncmp(url, "http://", 7) && strncmp(url, "https://", 8)) {
        text_addf(ret_why, "%s is '%s', which does not start with http:// or https://",
                  given ? "the address" : "CELLBOX_URL", url);
        return SERVER_E_SETTINGS;
    }
    if (token && strpbrk(token, "\r\n")) {
        text_addf(ret_why, "the token holds a line break");
        return SERVER_E_SETTINGS;
    }
    CLEANUP_JSON json_t *record = url && token ? NULL : load_record(ret_why);
    if (!url && !record)
        return SERVER_E_NONE;
    ret->url = copy_url(url ? url : json_text(record, "url"));
    if (ret->url && !token && !strcmp(ret->url, json_text(record, "url")))
        token = json_text(record, "token");
    ret->token = token ? strdup(token) : NULL;
    if (ret->url && ret->token) {
        str_clear(ret_why);
        return 0;
    }
    server_deinit(ret);
    if (token)
        return -ENOMEM;
    str_clear(ret_why);
    text_addf(ret_why,
              "%s is set but CELLBOX_TOKEN is not; set it to the token that the server "
              "printed",
              given ? "an address" : "CELLBOX_URL");
    return SERVER_E_SETTINGS;
}

void server_deinit(struct server *s)
{
    free(s->url);
    free(s->token);
    *s = (struct server){0};
}

/* A proxy that the environment names for the world must not get what is meant for this machine. */
bool server_is_local(const char *url)
{
    static const char *const local[] = {"127.", "localhost", "[::1]", "0.0.0.0", "[::]"};
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        if (!strncmp(host, local[i], strlen(local[i])))
            return true;
    return false;
}
