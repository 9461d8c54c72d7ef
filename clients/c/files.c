#include <string.h>

#include "clients/c/wire.h"

#define FILES "/v1/sandboxes/%s/files"

/* ---- paths ---- */

/* An address cannot hold "." and "..": they are resolved in the text of the path. */
static int resolve(struct str *to, const char *path)
{
    int r = text_add(to, "", 0);
    while (*path && r == 0) {
        size_t n = strcspn(path, "/");
        if (n == 2 && !memcmp(path, "..", 2)) {
            while (to->len && to->data[--to->len] != '/')
                ;
            to->data[to->len] = 0;
        } else if (n && !(n == 1 && *path == '.')) {
            r = text_add(to, "/", 1);
            if (r == 0)
                r = text_add(to, path, n);
        }
        path += n + (path[n] == '/');
    }
    return r;
}

/* The path as it is in the sandbox: absolute. */
static int absolute(struct str *to, const char *path, struct cellbox_error *error)
{
    CLEANUP_STR struct str whole = {0};
    int r;
    if (!path || !*path)
        return error_set(error, CELLBOX_E_ARGUMENT, "a path is missing");
    if (*path == '~' && (!path[1] || path[1] == '/'))
        r = text_addf(&whole, "/home/user%s", path + 1);
    else
        r = text_addf(&whole, "%s%s", *path == '/' ? "" : "/workspace/", path);
    if (r == 0)
        r = resolve(to, whole.data);
    if (r == 0 && !to->len)
        r = text_add(to, "/", 1);
    return r < 0 ? error_memory(error) : CELLBOX_OK;
}

static int file_address(struct str *to, const char *sandbox, const char *path,
                        struct cellbox_error *error)
{
    CLEANUP_STR struct str full = {0};
    int r = client_address(to, error, FILES, sandbox);
    if (r == CELLBOX_OK)
        r = absolute(&full, path, error);
    if (r == CELLBOX_OK && text_add_path(to, full.data) < 0)
        r = error_memory(error);
    return r;
}

/* ---- bytes ---- */

struct reader {
    int (*on_data)(void *user, const void *data, size_t len);
    void *user;
};

static int on_data(void *user, const char *data, size_t len)
{
    const struct reader *r = user;
    return r->on_data(r->user, data, len);
}

int cellbox_file_read(struct cellbox_client *client, const char *sandbox, const char *path,
                      int64_t offset, int64_t length,
                      int (*data_fn)(void *user, const void *data, size_t len), void *user,
                      struct cellbox_error *error)
{
    CLEANUP_STR struct str address = {0}, range = {0};
    struct reader reader = {data_fn, user};
    int r = file_address(&address, sandbox, path, error);
    if (r != CELLBOX_OK)
        return r;
    if (offset < 0 || length < 0)
        return error_set(error, CELLBOX_E_ARGUMENT, "offset and length are not less than 0");
    if (length && text_addf(&range, "Range: bytes=%lld-%lld", (long long)offset,
                            (long long)(offset + length - 1)) < 0)
        return error_memory(error);
    if (!length && offset && text_addf(&range, "Range: bytes=%lld-", (long long)offset) < 0)
        return error_memory(error);
    struct call call = {.request = {.method = "GET",
                                    .path = address.data,
                                    .accept = "*/*",
                                    .headers = {range.data}},
                        .idempotent = true,
                        .on_data = on_data,
                        .user = &reader};
    return client_call(client, &call, NULL, error);
}

int cellbox_file_get(struct cellbox_client *client, const char *sandbox, const char *path,
                     char **ret_data, size_t *ret_len, struct cellbox_error *error)
{
    CLEANUP_STR struct str address = {0}, data = {0};
    int r = file_address(&address, sandbox, path, error);
    struct call call = {.request = {.method = "GET", .path = address.data, .accept = "*/*"},
                        .idempotent = true};
    if (r == CELLBOX_OK)
        r = client_call(client, &call, &data, error);
    if (r == CELLBOX_OK)
        r = client_give_text(&data, ret_data, error);
    if (r == CELLBOX_OK && ret_len)
        *ret_len = data.len;
    return r;
}

struct writer {
    int (*next)(void *user, void *data, size_t size, size_t *ret_len);
    void *user;
};

static size_t on_read(char *data, size_t size, size_t count, void *user)
{
    const struct writer *w = user;
    size_t n = 0;
    if (w->next(w->user, data, size * count, &n) != 0 || n > size * count)
        return CURL_READFUNC_ABORT;
    return n;
}

static int put_file(struct cellbox_client *client, const char *sandbox, const char *path,
                    const struct cellbox_write_options *o, struct call *call,
                    struct cellbox_error *error)
{
    static const struct cellbox_write_options defaults;
    CLEANUP_STR struct str address = {0};
    if (!o)
        o = &defaults;
    int r = file_address(&address, sandbox, path, error);
    if (r != CELLBOX_OK)
        return r;
    if (o->mode && strspn(o->mode, "01234567") != strlen(o->mode))
        return error_set(error, CELLBOX_E_ARGUMENT, "a mode is octal, like 0755");
    if (text_addf(&address, "?%s%s%s%s%s", o->append ? "append=true&" : "",
                  o->exclusive ? "exclusive=true&" : "", o->parents ? "parents=true&" : "",
                  o->mode ? "mode=" : "", o->mode ? o->mode : "") < 0)
        return error_memory(error);
    if (strchr("?&", address.data[address.len - 1]))
        address.data[--address.len] = 0;
    call->request.method = "PUT";
    call->request.path = address.data;
    call->request.type = "application/octet-stream";
    call->idempotent = !o->append && !o->exclusive; /* appending twice is not writing once */
    return client_call(client, call, NULL, error);
}

int cellbox_file_write(struct cellbox_client *client, const char *sandbox, const char *path,
                       int (*next)(void *user, void *data, size_t size, size_t *ret_len),
                       void *user, const struct cellbox_write_options *options,
                       struct cellbox_error *error)
{
    struct writer w = {next, user};
    struct call call = {.request = {.read = on_read, .read_user = &w, .size = -1}, .one_way = true};
    return put_file(client, sandbox, path, options, &call, error);
}

int cellbox_file_put(struct cellbox_client *client, const char *sandbox, const char *path,
                     const void *data, size_t len, const struct cellbox_write_options *options,
                     struct cellbox_error *error)
{
    struct call call = {.request = {.body = data ? data : "", .len = len}};
    return put_file(client, sandbox, path, options, &call, error);
}

/* ---- what is there ---- */

static void fill_file(void *to, const json_t *from)
{
    *(struct cellbox_file *)to = (struct cellbox_file){
        .name = wire_text(from, "name"),
        .path = wire_text(from, "absolutePath"),
        .relative = wire_text(from, "relativePath"),
        .type = wire_text(from, "type"),
        .modified_at = wire_text(from, "modifiedAt"),
        .mode = wire_text(from, "mode"),
        .target = wire_text(from, "target"),
        .size = wire_int(from, "size"),
        .uid = wire_int(from, "uid"),
        .gid = wire_int(from, "gid"),
    };
}

/* Members of a body: the path, absolute. */
static int add_path(struct members *m, const char *key, const char *path,
                    struct cellbox_error *error)
{
    CLEANUP_STR struct str full = {0};
    int r = absolute(&full, path, error);
    if (r == CELLBOX_OK)
        members_text(m, key, full.data);
    return r;
}

int cellbox_file_list(struct cellbox_client *client, const char *sandbox, const char *path,
                      const struct cellbox_list_options *options, struct cellbox_files **ret_files,
                      struct cellbox_error *error)
{
    CLEANUP_MEMBERS struct members m;
    struct cellbox_files *made = NULL;
    json_t *answer;
    members_init(&m);
    if (options) {
        members_true(&m, "recursive", options->recursive);
        members_true(&m, "includeHidden", options->include_hidden);
        members_list(&m, "include", options->include);
        members_list(&m, "exclude", options->exclude);
        members_int(&m, "limit", options->limit);
    }
    int r = add_path(&m, "path", path, error);
    if (r == CELLBOX_OK)
        r = client_json(client, "POST", true, &m, &answer, error, FILES ":list", sandbox);
    r = WIRE_GIVE(r, &made,
                  WIRE_LIST(answer, "files", struct cellbox_files, struct cellbox_file, fill_file),
                  error);
    if (r != CELLBOX_OK || !made)
        return r;
    made->truncated = wire_true(answer, "truncated");
    *ret_files = made;
    return CELLBOX_OK;
}

int cellbox_file_stat(struct cellbox_client *client, const char *sandbox, const char *path,
                      struct cellbox_file **ret_file, struct cellbox_error *error)
{
    CLEANUP_MEMBERS struct members m;
    json_t *answer;
    members_init(&m);
    int r = add_path(&m, "path", path, error);
    if (r == CELLBOX_OK)
        r = client_json(client, "POST", true, &m, &answer, error, FILES ":stat", sandbox);
    return WIRE_GIVE(r, ret_file, wire_new(answer, sizeof **ret_file, fill_file), error);
}

int cellbox_file_mkdir(struct cellbox_client *client, const char *sandbox, const char *path,
                       bool parents, struct cellbox_error *error)
{
    CLEANUP_MEMBERS struct members m;
    struct cellbox_error e;
    members_init(&m);
    members_true(&m, "recursive", parents);
    int r = add_path(&m, "path", path, error);
    if (r != CELLBOX_OK)
        return r;
    r = client_json(client, "POST", parents, &m, NULL, &e, FILES ":mkdir", sandbox);
    if (client_made(client, sandbox, &r, &e))
        r = client_json(client, "POST", parents, &m, NULL, &e, FILES ":mkdir", sandbox);
    return error_pass(r, &e, error);
}

int cellbox_file_move(struct cellbox_client *client, const char *sandbox, const char *source,
                      const char *destination, struct cellbox_error *error)
{
    CLEANUP_MEMBERS struct members m;
    members_init(&m);
    int r = add_path(&m, "source", source, error);
    if (r == CELLBOX_OK)
        r = add_path(&m, "destination", destination, error);
    return r == CELLBOX_OK
               ? client_json(client, "POST", false, &m, NULL, error, FILES ":move", sandbox)
               : r;
}

int cellbox_file_delete(struct cellbox_client *client, const char *sandbox, const char *path,
                        bool recursive, struct cellbox_error *error)
{
    CLEANUP_STR struct str address = {0};
    int r = file_address(&address, sandbox, path, error);
    if (r == CELLBOX_OK && recursive && text_addf(&address, "?recursive=true") < 0)
        r = error_memory(error);
    struct call call = {.request = {.method = "DELETE", .path = address.data}, .idempotent = true};
    return r == CELLBOX_OK ? client_call(client, &call, NULL, error) : r;
}
