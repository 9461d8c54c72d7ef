/* Entries, errors, paths and modes of files, as the interface shows and takes them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "kernel-gw/api/files_call.h"
#include "sandbox/base/json.h"

bool files_entry_next(const uint8_t **data, size_t *len, struct files_entry *ret,
                      const char **ret_name, const char **ret_link)
{
    if (*len < sizeof *ret)
        return false;
    memcpy(ret, *data, sizeof *ret);
    size_t left = *len - sizeof *ret;
    if (ret->name_len > left || ret->link_len > left - ret->name_len)
        return false;
    *ret_name = (const char *)*data + sizeof *ret;
    *ret_link = *ret_name + ret->name_len;
    *data += sizeof *ret + ret->name_len + ret->link_len;
    *len = left - ret->name_len - ret->link_len;
    return true;
}

const char *files_type_name(uint32_t mode)
{
    return S_ISREG(mode)   ? "file"
           : S_ISDIR(mode) ? "directory"
           : S_ISLNK(mode) ? "symlink"
                           : "other";
}

static void put_path(struct buf *out, const char *directory, const char *name, size_t len)
{
    CLEANUP_BUF struct buf b = {0};
    size_t n = directory ? strlen(directory) : 0;
    if (*name != '/' && (!directory || *directory != '/'))
        buf_puts(&b, "/workspace/");
    if (directory) {
        buf_put(&b, directory, n);
        if (n && directory[n - 1] != '/')
            buf_putc(&b, '/');
    }
    buf_put(&b, name, len);
    json_put_string(out, b.data, b.len);
}

/* How a name that is no text is written in an address. */
static void put_encoded(struct buf *out, const char *name, size_t len)
{
    buf_puts(out, ",\"encodedPath\":\"");
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        if ((c | 32) >= 'a' && (c | 32) <= 'z')
            buf_putc(out, (char)c);
        else if ((c >= '0' && c <= '9') || strchr("/-_.~", c))
            buf_putc(out, (char)c);
        else
            buf_printf(out, "%%%02X", c);
    }
    buf_putc(out, '"');
}

void files_put_entry(struct buf *out, const struct files_entry *e, const char *directory,
                     const char *name, const char *link)
{
    size_t len = e->name_len, base = len;
    while (base > 1 && name[base - 1] == '/') /* "dir/" is called dir */
        base--, len--;
    while (base && name[base - 1] != '/')
        base--;
    buf_puts(out, "{\"name\":");
    json_put_string(out, name + base, len - base);
    buf_puts(out, ",\"absolutePath\":");
    put_path(out, directory, name, len);
    if (directory) {
        buf_puts(out, ",\"relativePath\":");
        json_put_string(out, name, len);
    }
    if (!utf8_valid(name, len))
        put_encoded(out, name, len);
    api_member(out, "type", files_type_name(e->mode));
    buf_printf(out, ",\"size\":%llu,\"modifiedAt\":", (unsigned long long)e->size);
    api_put_time(out,
                 e->mtime_us > 0 && e->mtime_us < 253402300800000000ll ? (uint64_t)e->mtime_us : 0);
    buf_printf(out, ",\"mode\":\"%04o\",\"uid\":%u,\"gid\":%u", e->mode & 07777, e->uid, e->gid);
    buf_printf(out, ",\"permissions\":{\"readable\":%s,\"writable\":%s,\"executable\":%s}",
               e->access & FILES_READABLE ? "true" : "false",
               e->access & FILES_WRITABLE ? "true" : "false",
               e->access & FILES_EXECUTABLE ? "true" : "false");
    if (S_ISLNK(e->mode)) {
        buf_puts(out, ",\"target\":");
        json_put_string(out, link, e->link_len);
    }
    buf_putc(out, '}');
}

static const struct {
    int error, status;
    const char *code;
} errors[] = {
    {ENOENT, 404, "FILE_NOT_FOUND"},   {EISDIR, 409, "IS_DIRECTORY"},
    {ENOTDIR, 409, "NOT_DIRECTORY"},   {EACCES, 403, "PERMISSION_DENIED"},
    {EPERM, 403, "PERMISSION_DENIED"}, {EROFS, 403, "READ_ONLY"},
    {EEXIST, 409, "FILE_EXISTS"},      {ENOTEMPTY, 409, "DIRECTORY_NOT_EMPTY"},
    {EBUSY, 409, "RESOURCE_BUSY"},     {ETXTBSY, 409, "RESOURCE_BUSY"},
    {EFBIG, 413, "FILE_TOO_LARGE"},    {ENOSPC, 507, "NO_SPACE"},
    {EDQUOT, 507, "QUOTA_EXCEEDED"},   {ENAMETOOLONG, 400, "NAME_TOO_LONG"},
    {ELOOP, 409, "TOO_MANY_LINKS"},    {EMLINK, 409, "TOO_MANY_LINKS"},
    {EOPNOTSUPP, 409, "NOT_A_FILE"},   {ENXIO, 409, "NOT_A_FILE"},
    {ECHILD, 409, "PROGRAM_FAILED"},   {EINVAL, 400, "INVALID_ARGUMENT"},
    {ENOSYS, 501, "NOT_AVAILABLE"},    {EMFILE, 503, "TOO_MANY_FILES"},
    {ENFILE, 503, "TOO_MANY_FILES"},   {ENOMEM, 503, "OUT_OF_MEMORY"},
    {EAGAIN, 503, "QUOTA_EXCEEDED"},   {EHOSTDOWN, 503, "HELPER_GONE"},
    {EPROTO, 502, "PROTOCOL_ERROR"},   {EPIPE, 503, "BOX_GONE"},
    {ECONNRESET, 503, "BOX_GONE"},
};

void files_error(struct gateway *gw, struct exchange *x, int error, const char *path,
                 const char *text)
{
    size_t i = 0, n = sizeof errors / sizeof *errors;
    while (i < n && errors[i].error != error)
        i++;
    api_error_detail(gw, x, i < n ? errors[i].status : 500,
                     i < n ? errors[i].code : "FILESYSTEM_ERROR", "path", path, "%.300s: %s", path,
                     text && *text ? text : strerror(error));
}

bool files_path_text(struct gateway *gw, struct exchange *x, const char *path)
{
    if (!*path) {
        api_error(gw, x, 400, "INVALID_PATH", "a path must not be empty");
        return false;
    }
    if (strlen(path) >= FILES_PATH_MAX) {
        api_error(gw, x, 400, "NAME_TOO_LONG", "a path has at most %d bytes", FILES_PATH_MAX - 1);
        return false;
    }
    return true;
}

bool files_path(struct gateway *gw, struct exchange *x, const char *encoded,
                char out[FILES_PATH_MAX])
{
    CLEANUP_BUF struct buf b = {0};
    size_t len = strlen(encoded);
    if (buf_reserve(&b, len + 1) < 0) {
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return false;
    }
    int n = http_percent_decode(encoded, len, false, (char *)b.data, len + 1);
    const char *path = (const char *)b.data;
    if (n < 0) {
        api_error(gw, x, 400, "INVALID_PATH", "the path is not well encoded, or holds a NUL");
        return false;
    }
    /* /files/etc/x is /etc/x, /files/~/x lies at home; a doubled slash is one. */
    const char *rest = path[0] == '~' && (path[1] == '/' || !path[1]) ? path + 1 : NULL;
    const char *below = path + strspn(path, "/");
    int put = rest ? snprintf(out, FILES_PATH_MAX, "/home/user%s", rest)
                   : snprintf(out, FILES_PATH_MAX, "/%s", below);
    if (put < 0 || put >= FILES_PATH_MAX) {
        api_error(gw, x, 400, "NAME_TOO_LONG", "a path has at most %d bytes", FILES_PATH_MAX - 1);
        return false;
    }
    return true;
}

/* Also with a value that cannot be read. */
static bool query_has(const struct http_request *r, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = r->query; *p; p += strcspn(p, "&"), p += *p == '&') {
        if (!strncmp(p, name, n) && (!p[n] || p[n] == '=' || p[n] == '&'))
            return true;
    }
    return false;
}

bool files_query_flag(struct gateway *gw, struct exchange *x, const struct http_request *r,
                      const char *name, bool *value)
{
    char text[8];
    if (!query_has(r, name))
        return true;
    if (!http_query(r, name, text, sizeof text))
        text[0] = 0;
    *value = !strcmp(text, "true");
    if (*value || !strcmp(text, "false"))
        return true;
    api_error_detail(gw, x, 400, "INVALID_PARAMETER", "parameter", name, "%s must be true or false",
                     name);
    return false;
}

bool files_user(struct gateway *gw, struct exchange *x, const struct http_request *r,
                bool *ret_root)
{
    char value[16];
    *ret_root = false;
    if (!query_has(r, "user"))
        return true;
    if (!http_query(r, "user", value, sizeof value))
        value[0] = 0;
    if (!strcmp(value, "user"))
        return true;
    *ret_root = !strcmp(value, "root");
    if (!*ret_root)
        api_error_detail(gw, x, 400, "INVALID_PARAMETER", "parameter", "user",
                         "user must be user or root");
    return *ret_root;
}

bool files_mode(struct gateway *gw, struct exchange *x, const char *text, struct files_request *rq)
{
    char *end;
    unsigned long mode = strtoul(text, &end, 8);
    if (!*text || *end || strspn(text, "01234567") != strlen(text) || mode > 07777) {
        api_error_detail(gw, x, 400, "INVALID_FIELD", "field", "mode",
                         "mode must be octal, such as 0644");
        return false;
    }
    rq->mode = (uint32_t)mode;
    rq->h.flags |= FILES_HAS_MODE;
    return true;
}
