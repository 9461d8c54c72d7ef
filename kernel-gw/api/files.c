/* /v1/sandboxes/{name}/files/{path...}: bytes of a file, or a tree as a tar archive. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "kernel-gw/api/files_call.h"

#define UNPACK_MAX (16ull << 30)

/* ---- types ---- */

static const char *type_of(const char *path)
{
    static const struct {
        const char *suffix, *type;
    } types[] = {
        {".txt", "text/plain; charset=utf-8"},
        {".md", "text/markdown; charset=utf-8"},
        {".py", "text/x-python; charset=utf-8"},
        {".c", "text/x-c; charset=utf-8"},
        {".h", "text/x-c; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".mjs", "text/javascript; charset=utf-8"},
        {".ts", "text/typescript; charset=utf-8"},
        {".html", "text/html; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".csv", "text/csv; charset=utf-8"},
        {".log", "text/plain; charset=utf-8"},
        {".yaml", "application/yaml"},
        {".yml", "application/yaml"},
        {".json", "application/json"},
        {".xml", "application/xml"},
        {".ipynb", "application/x-ipynb+json"},
        {".pdf", "application/pdf"},
        {".png", "image/png"},
        {".jpg", "image/jpeg"},
        {".jpeg", "image/jpeg"},
        {".gif", "image/gif"},
        {".webp", "image/webp"},
        {".svg", "image/svg+xml"},
        {".zip", "application/zip"},
        {".gz", "application/gzip"},
        {".tar", "application/x-tar"},
        {".wasm", "application/wasm"},
        {".mp4", "video/mp4"},
        {".mp3", "audio/mpeg"},
    };
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++) {
        if (!strcasecmp(dot, types[i].suffix))
            return types[i].type;
    }
    return "application/octet-stream";
}

/* What a box wrote is shown by this server's origin: a browser must neither run nor guess it. */
static void put_guards(struct exchange *x)
{
    exchange_header(x, "X-Content-Type-Options", "nosniff");
    exchange_header(x, "Content-Security-Policy", "sandbox; default-src 'none'");
    exchange_header(x, "Content-Disposition", "attachment");
}

/* ---- download ---- */

struct download {
    bool ranged;
    uint64_t first, last; /* first UINT64_MAX: the last `last` bytes */
    bool head;
    uint64_t promised; /* UINT64_MAX: until its end */
};

/* "bytes=a-b", "bytes=a-", "bytes=-n"; anything else, also several, asks for the whole (RFC 9110
 * 14.2 allows that). */
static void read_range(const struct http_request *r, struct download *d)
{
    const char *s = http_header(r, "range");
    char *end;
    if (!s || http_header(r, "if-range") || strncasecmp(s, "bytes=", 6) != 0)
        return;
    s += 6;
    bool suffix = *s == '-';
    if ((suffix ? s[1] : *s) < '0' || (suffix ? s[1] : *s) > '9')
        return;
    errno = 0;
    uint64_t a = strtoull(s + suffix, &end, 10);
    uint64_t b = UINT64_MAX;
    if (!suffix) {
        if (*end++ != '-')
            return;
        if (*end) {
            if (*end < '0' || *end > '9')
                return;
            b = strtoull(end, &end, 10);
        }
    }
    if (*end || errno || (!suffix && b < a) || a > INT64_MAX)
        return;
    d->ranged = true;
    d->first = suffix ? UINT64_MAX : a;
    d->last = suffix ? a : b;
}

static void put_validators(struct exchange *x, const struct files_entry *e, char etag[64])
{
    char date[64];
    struct tm tm;
    time_t t = (time_t)(e->mtime_us / 1000000);
    snprintf(etag, 64, "\"%" PRIx64 "-%" PRIx64 "-%" PRIx64 "\"", e->inode, e->size,
             (uint64_t)e->mtime_us);
    exchange_header(x, "ETag", etag);
    exchange_header(x, "Accept-Ranges", "bytes");
    if (gmtime_r(&t, &tm) && strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm))
        exchange_header(x, "Last-Modified", date);
}

/* Answers without a body of its own; the call is over. */
static int answer(struct files_call *c, int status)
{
    struct exchange *x = c->x;
    c->x = NULL;
    exchange_set_ops(x, NULL, NULL);
    if (status == 416)
        api_error(c->gw, x, 416, "RANGE_NOT_SATISFIABLE", "the file has no such range");
    else
        api_empty(c->gw, x, status);
    return -ECANCELED;
}

/* Status of the answer, with what of the file it promises; 416: nothing. */
static int promise(struct files_call *c, const struct files_entry *e)
{
    struct download *d = c->user;
    char text[80];
    uint64_t first = 0, last = e->size ? e->size - 1 : 0;
    d->promised = e->size;
    if (!d->ranged)
        return 200;
    bool suffix = d->first == UINT64_MAX;
    if (suffix ? !d->last || !e->size : d->first >= e->size) {
        snprintf(text, sizeof text, "bytes */%" PRIu64, e->size);
        exchange_header(c->x, "Content-Range", text);
        return 416;
    }
    if (suffix)
        first = e->size > d->last ? e->size - d->last : 0;
    else
        first = d->first;
    if (!suffix && d->last < last)
        last = d->last;
    snprintf(text, sizeof text, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, first, last, e->size);
    exchange_header(c->x, "Content-Range", text);
    d->promised = last - first + 1;
    return 206;
}

static int download_entry(struct files_call *c, uint32_t flags, const uint8_t *data, size_t len)
{
    struct download *d = c->user;
    struct files_entry e;
    const char *name, *link;
    char etag[64];
    if (c->begun || !files_entry_next(&data, &len, &e, &name, &link))
        return -EPROTO;
    bool unsized = flags & FILES_UNSIZED;
    if (d->head && (e.mode & 0170000) != 0100000)
        return (e.mode & 0170000) == 0040000 ? -EISDIR : -EOPNOTSUPP;
    put_validators(c->x, &e, etag);
    const char *known = http_header(exchange_request(c->x), "if-none-match");
    if (known && strstr(known, etag) && !unsized)
        return answer(c, 304);
    int status = unsized ? 200 : promise(c, &e);
    if (status == 416)
        return answer(c, 416);
    put_guards(c->x);
    c->begun = true;
    api_count(c->gw, status);
    if (unsized) {
        d->promised = UINT64_MAX;
        exchange_begin(c->x, status, type_of(buf_str(&c->strings)));
    } else {
        exchange_begin_sized(c->x, status, type_of(buf_str(&c->strings)), d->promised);
    }
    return 0;
}

static int download_data(struct files_call *c, const struct files_head *head, const uint8_t *data,
                         size_t len)
{
    struct download *d = c->user;
    (void)head;
    if (!c->begun || !len || len > d->promised - c->count)
        return -EPROTO;
    c->count += len;
    exchange_write(c->x, data, len);
    return 0;
}

static void download_end(struct files_call *c, const struct files_head *head)
{
    struct download *d = c->user;
    (void)head;
    if (!c->begun || (!d->head && d->promised != UINT64_MAX && c->count != d->promised))
        exchange_abort(c->x); /* it shrank meanwhile: the client must not take it for whole */
    else
        exchange_end(c->x);
}

static void download_freed(struct files_call *c)
{
    free(c->user);
}

static const struct files_call_ops download_ops = {
    .entry = download_entry, .data = download_data, .end = download_end, .freed = download_freed};

/* ---- archives ---- */

/* Only with the first bytes: a tar that cannot start is an error, not a broken answer. */
static void pack_begin(struct files_call *c)
{
    if (c->begun)
        return;
    c->begun = true;
    api_count(c->gw, 200);
    put_guards(c->x);
    exchange_begin(c->x, 200, c->flag ? "application/octet-stream" : "application/x-tar");
}

static int pack_data(struct files_call *c, const struct files_head *head, const uint8_t *data,
                     size_t len)
{
    (void)head;
    if (!len)
        return -EPROTO;
    pack_begin(c);
    exchange_write(c->x, data, len);
    return 0;
}

static void pack_end(struct files_call *c, const struct files_head *head)
{
    (void)head;
    pack_begin(c);
    exchange_end(c->x);
}

static const struct files_call_ops pack_ops = {.data = pack_data, .end = pack_end};

/* The option of tar for "tar", "tar.gz", ...; NULL: answered. */
static const char *compression(struct gateway *gw, struct exchange *x, const char *archive)
{
    static const char *const known[][2] = {
        {"tar", ""}, {"tar.gz", "-z"}, {"tar.zst", "--zstd"}, {"tar.xz", "-J"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!strcmp(archive, known[i][0]))
            return known[i][1];
    }
    api_error_detail(gw, x, 400, "INVALID_PARAMETER", "parameter", "archive",
                     "archive must be tar, tar.gz, tar.zst or tar.xz");
    return NULL;
}

static void pack(struct gateway *gw, struct exchange *x, struct sandbox *sb, const char *path,
                 const char *archive, bool root)
{
    const char *option = compression(gw, x, archive);
    struct files_call *c = option ? files_call_new(gw, x, sb, &pack_ops, FILES_PACK, path) : NULL;
    if (!c)
        return;
    c->root = root;
    c->flag = *option;
    files_call_string(c, option);
    files_call_start(c);
}

static void get(struct gateway *gw, struct exchange *x, const struct http_request *r,
                const struct route_params *p)
{
    char path[FILES_PATH_MAX], archive[16];
    bool root;
    struct sandbox *sb = api_sandbox(gw, x, p->value[0]);
    if (!sb || !files_path(gw, x, p->rest, path) || !files_user(gw, x, r, &root))
        return;
    bool head = r->method == HTTP_HEAD;
    if (!head && http_query(r, "archive", archive, sizeof archive)) {
        pack(gw, x, sb, path, archive, root);
        return;
    }
    struct download *d = calloc(1, sizeof *d);
    struct files_call *c =
        d ? files_call_new(gw, x, sb, &download_ops, head ? FILES_STAT : FILES_READ, path) : NULL;
    if (!c) {
        if (!d)
            api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        free(d);
        return;
    }
    d->head = head;
    if (!head)
        read_range(r, d);
    c->user = d;
    c->root = root;
    c->rq.length = UINT64_MAX;
    if (d->ranged) {
        c->rq.offset = d->first;
        c->rq.length = d->first == UINT64_MAX ? d->last : d->last - d->first;
        if (d->first != UINT64_MAX && d->last != UINT64_MAX)
            c->rq.length++;
    }
    files_call_start(c);
}

/* ---- upload ---- */

static int upload_entry(struct files_call *c, uint32_t flags, const uint8_t *data, size_t len)
{
    struct files_entry e;
    const char *name, *link;
    (void)flags;
    if (!files_entry_next(&data, &len, &e, &name, &link))
        return -EPROTO;
    files_put_entry(&c->out, &e, NULL, name, link);
    return 0;
}

static void upload_end(struct files_call *c, const struct files_head *head)
{
    api_json(c->gw, c->x, head->flags & FILES_CREATED ? 201 : 200, &c->out);
}

static const struct files_call_ops upload_ops = {.entry = upload_entry, .end = upload_end};

static void unpack_end(struct files_call *c, const struct files_head *head)
{
    (void)head;
    api_empty(c->gw, c->x, 204);
}

static const struct files_call_ops unpack_ops = {.end = unpack_end};

static bool query_number(struct gateway *gw, struct exchange *x, const struct http_request *r,
                         const char *name, uint64_t *value)
{
    char text[32], *end;
    if (!strstr(r->query, name))
        return true;
    if (!http_query(r, name, text, sizeof text))
        text[0] = 0;
    errno = 0;
    uint64_t n = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || n > INT64_MAX) {
        api_error_detail(gw, x, 400, "INVALID_PARAMETER", "parameter", name,
                         "%s must be a number of bytes", name);
        return false;
    }
    *value = n;
    return true;
}

static bool upload_options(struct gateway *gw, struct exchange *x, const struct http_request *r,
                           struct files_request *rq)
{
    char text[32] = "";
    const char *none = http_header(r, "if-none-match");
    bool append = false, parents = false, exclusive = none && !strcmp(none, "*");
    bool offset = strstr(r->query, "offset=");
    if (!files_query_flag(gw, x, r, "append", &append) ||
        !files_query_flag(gw, x, r, "parents", &parents) ||
        !files_query_flag(gw, x, r, "exclusive", &exclusive) ||
        !query_number(gw, x, r, "offset", &rq->offset))
        return false;
    rq->h.flags |= (append ? FILES_APPEND : 0) | (parents ? FILES_PARENTS : 0) |
                   (exclusive ? FILES_EXCLUSIVE : 0) | (offset && !append ? FILES_IN_PLACE : 0);
    if (!strstr(r->query, "mode="))
        return true;
    http_query(r, "mode", text, sizeof text);
    return files_mode(gw, x, text, rq);
}

static void put(struct gateway *gw, struct exchange *x, const struct http_request *r,
                const struct route_params *p)
{
    char path[FILES_PATH_MAX], archive[16];
    bool root;
    if (!files_path(gw, x, p->rest, path) || !files_user(gw, x, r, &root))
        return;
    bool tar = http_query(r, "archive", archive, sizeof archive);
    if (tar && !compression(gw, x, archive))
        return;
    struct sandbox *sb = api_sandbox_or_new(gw, x, p->value[0], NULL);
    struct files_call *c = sb ? files_call_new(gw, x, sb, tar ? &unpack_ops : &upload_ops,
                                               tar ? FILES_UNPACK : FILES_WRITE, path)
                              : NULL;
    if (!c)
        return;
    c->root = root;
    c->upload = true;
    c->rq.limit = UNPACK_MAX;
    if (!upload_options(gw, x, r, &c->rq) || !query_number(gw, x, r, "maxBytes", &c->rq.limit)) {
        files_call_free(c);
        return;
    }
    files_call_start(c);
}

/* ---- delete ---- */

static void remove_end(struct files_call *c, const struct files_head *head)
{
    (void)head;
    api_empty(c->gw, c->x, 204);
}

static const struct files_call_ops remove_ops = {.end = remove_end};

static void delete (struct gateway *gw, struct exchange *x, const struct http_request *r,
                    const struct route_params *p)
{
    char path[FILES_PATH_MAX];
    bool root, recursive = false;
    struct sandbox *sb = api_sandbox(gw, x, p->value[0]);
    if (!sb || !files_path(gw, x, p->rest, path) || !files_user(gw, x, r, &root) ||
        !files_query_flag(gw, x, r, "recursive", &recursive))
        return;
    struct files_call *c = files_call_new(gw, x, sb, &remove_ops, FILES_REMOVE, path);
    if (!c)
        return;
    c->root = root;
    c->rq.h.flags = recursive ? FILES_RECURSIVE : 0;
    files_call_start(c);
}

const struct route api_file_routes[] = {
    {"GET", "/v1/sandboxes/{name}/files/{path...}", get, 0},
    {"PUT", "/v1/sandboxes/{name}/files/{path...}", put, ROUTE_STREAM},
    {"DELETE", "/v1/sandboxes/{name}/files/{path...}", delete, 0},
};
const size_t api_file_nroutes = sizeof api_file_routes / sizeof *api_file_routes;
