#include "clients/cli/server.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "clients/cli/util.h"

#define START_ONE "start one with ./bootstrap run, or set CELLBOX_URL and CELLBOX_TOKEN"

static char *copy_url(const char *url)
{
    char *copy = must(strdup(url));
    for (size_t n = strlen(copy); n && copy[n - 1] == '/';)
        copy[--n] = 0;
    return copy;
}

/* The record as JSON, or NULL and why there is none to use. */
static json_t *load_record(char **ret_why)
{
    CLEANUP_STR struct str text = {0};
    int r = read_file(SERVER_RECORD, &text);
    if (r == -EACCES) {
        *ret_why = text_format(
            "no permission to read %s; run this as the user who started the server (sudo), or set "
            "CELLBOX_URL and CELLBOX_TOKEN",
            SERVER_RECORD);
        return NULL;
    }
    if (r < 0) {
        *ret_why = text_format("no Cellbox server was found; " START_ONE);
        return NULL;
    }
    json_t *j = json_loads(text.data ? text.data : "", 0, NULL);
    json_int_t pid = json_integer_value(json_object_get(j, "pid"));
    if (!*json_text(j, "url")) {
        *ret_why = text_format("%s is damaged; remove it and restart the server", SERVER_RECORD);
    } else if (pid > 1 && kill((pid_t)pid, 0) < 0 && errno == ESRCH) {
        *ret_why =
            text_format("the server that ran at %s has ended; " START_ONE, json_text(j, "url"));
    } else {
        return j;
    }
    json_decref(j);
    return NULL;
}

int server_find_quiet(struct server *ret, char **ret_why)
{
    const char *url = getenv("CELLBOX_URL"), *token = getenv("CELLBOX_TOKEN");
    if (url && !*url)
        url = NULL;
    if (token && !*token)
        token = NULL;
    *ret = (struct server){0};
    *ret_why = NULL;
    if (url && strncmp(url, "http://", 7) && strncmp(url, "https://", 8)) {
        *ret_why =
            text_format("CELLBOX_URL is '%s', which does not start with http:// or https://", url);
        return STATUS_USAGE;
    }
    if (url && token) {
        ret->url = copy_url(url);
        ret->token = must(strdup(token));
        return 0;
    }
    CLEANUP_JSON json_t *record = load_record(ret_why);
    if (!url && !record)
        return STATUS_SERVER;
    ret->url = copy_url(url ? url : json_text(record, "url"));
    if (token)
        ret->token = must(strdup(token));
    else if (record && !strncmp(ret->url, json_text(record, "url"), strlen(ret->url) + 1))
        ret->token = must(strdup(json_text(record, "token")));
    free(*ret_why);
    *ret_why = NULL;
    if (ret->token)
        return 0;
    *ret_why = text_format(
        "CELLBOX_URL is set but CELLBOX_TOKEN is not; set it to the token that the server printed");
    server_deinit(ret);
    return STATUS_USAGE;
}

int server_find(struct server *ret)
{
    CLEANUP_FREE char *why = NULL;
    int r = server_find_quiet(ret, &why);
    return r ? fail(r, "%s", why) : 0;
}

void server_deinit(struct server *s)
{
    free(s->url);
    free(s->token);
    *s = (struct server){0};
}
