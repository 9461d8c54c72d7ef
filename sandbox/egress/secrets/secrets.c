#include "sandbox/egress/secrets/secrets.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/json.h"
#include "sandbox/base/log.h"
#include "sandbox/base/map.h"
#include "sandbox/egress/policy/glob.h"
#include "sandbox/seal/seal.h"

struct secret {
    json_t *body; /* the object, as it was given, with createdAt and updatedAt */
};

struct secrets {
    int dir_fd;
    uint8_t key[SECRETS_KEY];
    struct map *all;
};

static const char suffix[] = ".sealed";

static bool name_fits(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > SECRET_NAME_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) &&
            (!strchr("-_.", name[i]) || (i == 0 && name[i] != '_')))
            return false;
    return true;
}

/* Values stay in memory until they are needed no more, and not longer. */
static void wipe(json_t *body)
{
    const char *key;
    json_t *v;
    json_object_foreach (body, key, v) {
        if (json_is_string(v))
            OPENSSL_cleanse((void *)(uintptr_t)json_string_value(v), json_string_length(v));
    }
    json_decref(body);
}

static void secret_free(struct secret *s)
{
    if (!s)
        return;
    wipe(s->body);
    free(s);
}

/* ---- shape ---- */

static const char *const value_members[] = {
    "value", "username", "password", "accessKeyId", "secretAccessKey", "sessionToken", NULL};

static bool is_one_of(const char *name, const char *const *names)
{
    while (*names && strcmp(*names, name))
        names++;
    return *names != NULL;
}

static const char *kind_of(const json_t *o)
{
    if (json_object_get(o, "value"))
        return "value";
    if (json_object_get(o, "password"))
        return "basic";
    return json_object_get(o, "secretAccessKey") ? "aws" : NULL;
}

static const char *check_value(const json_t *v)
{
    const char *s = json_string_value(v);
    if (!s || !*s || json_string_length(v) > SECRET_VALUE_MAX)
        return "must be a string of 1 to 32768 bytes";
    for (size_t i = 0; i < json_string_length(v); i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return "holds a control character, which no header can carry";
    return NULL;
}

static bool is_list_of_globs(const json_t *v)
{
    size_t i;
    json_t *item;
    if (!json_is_array(v) || !json_array_size(v))
        return false;
    json_array_foreach (v, i, item)
        if (!json_is_string(item) || !*json_string_value(item))
            return false;
    return true;
}

static const char *check_member(const char *key, const json_t *v)
{
    if (is_one_of(key, value_members))
        return check_value(v);
    if (!strcmp(key, "hosts") || !strcmp(key, "sandboxes"))
        return is_list_of_globs(v) ? NULL : "must be a list of patterns that is not empty";
    if (!strcmp(key, "handlers"))
        return is_list_of_globs(v) ? NULL : "must be a list of handlers' names that is not empty";
    return "is no member of a secret";
}

static bool check(const json_t *o, char reason[208])
{
    const char *key, *wrong;
    json_t *v;
    if (!json_is_object(o)) {
        snprintf(reason, 208, "a secret is a JSON object");
        return false;
    }
    json_object_foreach ((json_t *)(uintptr_t)o, key, v) {
        if ((wrong = check_member(key, v))) {
            snprintf(reason, 208, "%.60s %s", key, wrong);
            return false;
        }
    }
    const char *kind = kind_of(o);
    if (!kind) {
        snprintf(reason, 208,
                 "it needs value, or username and password, or accessKeyId and secretAccessKey");
        return false;
    }
    if ((!strcmp(kind, "basic") && !json_object_get(o, "username")) ||
        (!strcmp(kind, "aws") && !json_object_get(o, "accessKeyId"))) {
        snprintf(reason, 208, "%s is missing", !strcmp(kind, "aws") ? "accessKeyId" : "username");
        return false;
    }
    if (!json_object_get(o, "hosts")) {
        snprintf(reason, 208,
                 "hosts is missing: the hosts that it may be sent to, [\"*\"] for all");
        return false;
    }
    return true;
}

/* ---- files ---- */

static int store(const struct secrets *s, const char *name, const json_t *body)
{
    char file[100], temporary[110];
    CLEANUP_BUF struct buf out = {0};
    char *text = json_dumps(body, JSON_COMPACT);
    if (!text)
        return -ENOMEM;
    int r = seal(s->key, name, text, strlen(text), &out);
    OPENSSL_cleanse(text, strlen(text));
    free(text);
    snprintf(file, sizeof file, "%s%s", name, suffix);
    snprintf(temporary, sizeof temporary, ".%s", file);
    CLEANUP_FD int fd =
        r < 0 ? -1 : openat(s->dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (r == 0 && fd < 0)
        r = -errno;
    if (r == 0)
        r = fd_write_all(fd, out.data, out.len);
    if (r == 0 && (fsync(fd) < 0 || renameat(s->dir_fd, temporary, s->dir_fd, file) < 0 ||
                   fsync(s->dir_fd) < 0))
        r = -errno;
    if (r < 0)
        unlinkat(s->dir_fd, temporary, 0);
    return r;
}

static int adopt(struct secrets *s, const char *name, json_t *take_body)
{
    struct secret *new = calloc(1, sizeof *new);
    if (!new) {
        wipe(take_body);
        return -ENOMEM;
    }
    new->body = take_body;
    secret_free(map_remove(s->all, name));
    if (map_add(s->all, name, new) < 0) {
        secret_free(new);
        return -ENOMEM;
    }
    return 0;
}

static int load(struct secrets *s, const char *file)
{
    enum { FILE_MAX = 8 * SECRET_VALUE_MAX };
    char name[SECRET_NAME_MAX + 1];
    CLEANUP_BUF struct buf sealed = {0}, text = {0};
    struct stat st;
    size_t len = strlen(file) - strlen(suffix);
    if (len > SECRET_NAME_MAX)
        return -EINVAL;
    snprintf(name, sizeof name, "%.*s", (int)len, file);
    CLEANUP_FD int fd = openat(s->dir_fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > FILE_MAX ||
        buf_reserve(&sealed, (size_t)st.st_size + 1) < 0)
        return -EIO;
    ssize_t n = read(fd, sealed.data, (size_t)st.st_size);
    if (n < 0)
        return -errno;
    int r = unseal(s->key, name, sealed.data, (size_t)n, &text);
    json_t *body = r == 0 ? json_loadb((const char *)text.data, text.len, 0, NULL) : NULL;
    if (text.data)
        OPENSSL_cleanse(text.data, text.cap);
    return body ? adopt(s, name, body) : -EBADMSG;
}

int secrets_open(int dir_fd, const uint8_t key[SECRETS_KEY], struct secrets **ret)
{
    struct secrets *s = calloc(1, sizeof *s);
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;
    if (!s || !d || !(s->all = map_new())) {
        if (d)
            closedir(d);
        else
            fd_close(fd);
        free(s);
        return -ENOMEM;
    }
    s->dir_fd = dir_fd;
    memcpy(s->key, key, sizeof s->key);
    while ((e = readdir(d))) {
        size_t n = strlen(e->d_name);
        if (*e->d_name == '.' || n <= strlen(suffix) ||
            strcmp(e->d_name + n - strlen(suffix), suffix))
            continue;
        int r = load(s, e->d_name);
        if (r < 0)
            log_error("egress", "secret_unreadable", "file=%s reason=%s", log_quote(e->d_name),
                      log_quote(strerror(-r)));
    }
    closedir(d);
    *ret = s;
    return 0;
}

void secrets_close(struct secrets *s)
{
    size_t cursor = 0;
    if (!s)
        return;
    for (struct secret *x; (x = map_next(s->all, &cursor, NULL));)
        secret_free(x);
    map_free(s->all);
    OPENSSL_cleanse(s->key, sizeof s->key);
    free(s);
}

int secrets_put(struct secrets *s, const char *name, const char *json, size_t len,
                char ret_reason[208])
{
    json_error_t e;
    if (!name_fits(name)) {
        snprintf(ret_reason, 208, "a name has 1 to %d letters, digits, - _ and .", SECRET_NAME_MAX);
        return SECRETS_E_INVALID;
    }
    const struct secret *old = map_get(s->all, name);
    if (!old && map_count(s->all) >= SECRETS_MAX)
        return SECRETS_E_TOO_MANY;
    json_t *body = json_loadb(json, len, JSON_REJECT_DUPLICATES, &e);
    if (!body || !check(body, ret_reason)) {
        if (!body)
            snprintf(ret_reason, 208, "%d:%d: it is not valid JSON", e.line,
                     e.column); /* e.text may quote it */
        if (body)
            wipe(body);
        return SECRETS_E_INVALID;
    }
    json_t *created = old ? json_object_get(old->body, "createdAt") : NULL;
    json_int_t now = (json_int_t)time(NULL) * 1000;
    json_object_set_new(body, "createdAt",
                        json_integer(created ? json_integer_value(created) : now));
    json_object_set_new(body, "updatedAt", json_integer(now));
    int r = store(s, name, body);
    if (r < 0) {
        wipe(body);
        return r;
    }
    return adopt(s, name, body);
}

int secrets_remove(struct secrets *s, const char *name)
{
    char file[100];
    if (!map_get(s->all, name))
        return SECRETS_E_NOT_FOUND;
    snprintf(file, sizeof file, "%s%s", name, suffix);
    if (unlinkat(s->dir_fd, file, 0) < 0 && errno != ENOENT)
        return -errno;
    secret_free(map_remove(s->all, name));
    return fsync(s->dir_fd) < 0 ? -errno : 0; /* gone for good, not until the next power cut */
}

const struct secret *secrets_find(const struct secrets *s, const char *name)
{
    return map_get(s->all, name);
}

static bool any_glob(const json_t *list, const char *text)
{
    size_t i;
    json_t *v;
    json_array_foreach (list, i, v)
        if (policy_glob(json_string_value(v), json_string_length(v), text, strlen(text)))
            return true;
    return false;
}

bool secret_allows(const struct secret *s, const char *box_name, const char *host)
{
    return any_glob(json_object_get(s->body, "hosts"), host) && secret_is_for(s, box_name);
}

bool secret_shown_to(const struct secret *s, const char *module)
{
    size_t i;
    json_t *v;
    json_array_foreach (json_object_get(s->body, "handlers"), i, v)
        if (!strcmp(json_string_value(v), module))
            return true;
    return false;
}

bool secret_is_for(const struct secret *s, const char *box_name)
{
    const json_t *boxes = json_object_get(s->body, "sandboxes");
    return !boxes || any_glob(boxes, box_name);
}

const char *secret_get(const struct secret *s, const char *member)
{
    return json_string_value(json_object_get(s->body, member));
}

int secrets_list(const struct secrets *s, struct buf *out)
{
    size_t cursor = 0;
    static const char *const bounds[] = {"sandboxes", "handlers"};
    const char *name, *sep = "";
    buf_putc(out, '[');
    for (const struct secret *x; (x = map_next(s->all, &cursor, &name)); sep = ",") {
        json_t *o = json_pack("{s:s, s:s, s:O, s:O, s:O}", "name", name, "kind", kind_of(x->body),
                              "hosts", json_object_get(x->body, "hosts"), "createdAt",
                              json_object_get(x->body, "createdAt"), "updatedAt",
                              json_object_get(x->body, "updatedAt"));
        for (size_t i = 0; o && i < sizeof bounds / sizeof *bounds; i++)
            if (json_object_get(x->body, bounds[i]))
                json_object_set(o, bounds[i], json_object_get(x->body, bounds[i]));
        char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
        if (!text)
            out->err = -ENOMEM;
        else
            buf_printf(out, "%s%s", sep, text);
        free(text);
        json_decref(o);
    }
    return buf_putc(out, ']');
}
