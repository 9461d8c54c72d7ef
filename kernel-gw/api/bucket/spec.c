#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "kernel-gw/api/bucket/bucket.h"

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGIT "0123456789"

enum { TEXT_MAX = 1024, HOST_MAX = 253 };

static bool is_made_of(const char *s, const char *chars, size_t min, size_t max)
{
    size_t n = strlen(s);
    return n >= min && n <= max && strspn(s, chars) == n;
}

static const char *check_endpoint(const char *s)
{
    const char *p = !strncmp(s, "https://", 8) ? s + 8 : !strncmp(s, "http://", 7) ? s + 7 : NULL;
    if (!p)
        return "it begins with https:// or http://";
    size_t host = strcspn(p, ":/");
    if (host == 0 || host > HOST_MAX || strspn(p, LOWER UPPER DIGIT ".-") < host || *p == '-')
        return "it has no host";
    p += host;
    if (*p == ':') {
        size_t digits = strspn(++p, DIGIT);
        if (digits == 0 || digits > 5)
            return "its port is no number";
        p += digits;
    }
    return *p && strcmp(p, "/") != 0 ? "it has a path; give the bucket and a prefix apart" : NULL;
}

/* A rule's path has patterns, and is compared decoded. */
static const char *check_prefix(const char *s)
{
    for (const char *p = s; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7f || strchr("*?#%\\:,;", *p))
            return "it has a character that is none of a plain path";
    if (*s != '/' || strlen(s) > TEXT_MAX || strstr(s, "//") || strstr(s, "/../") ||
        strstr(s, "/./"))
        return "it is a path that begins with /";
    return NULL;
}

static const char *check_path(const char *s)
{
    if (*s != '/' || !s[1] || strlen(s) > TEXT_MAX)
        return "it is an absolute path";
    for (const char *p = s; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            return "it has control characters";
    static const char *const never[] = {"/proc", "/dev", "/sys", "/opt/cellbox"};
    for (size_t i = 0; i < COUNT(never); i++) {
        size_t n = strlen(never[i]);
        if (!strncmp(s, never[i], n) && (!s[n] || s[n] == '/'))
            return "nothing can be mounted there";
    }
    return NULL;
}

static const char *check_options(const json_t *list)
{
    static const char *const known[] = {"stat_cache_expire",
                                        "max_stat_cache_size",
                                        "enable_noobj_cache",
                                        "parallel_count",
                                        "multipart_size",
                                        "multireq_max",
                                        "big_writes",
                                        "kernel_cache",
                                        "umask",
                                        "mp_umask",
                                        "storage_class",
                                        "use_sse",
                                        "use_xattr",
                                        "retries",
                                        "readwrite_timeout",
                                        "connect_timeout"};
    size_t i;
    json_t *v;
    json_array_foreach (list, i, v) {
        const char *s = json_string_value(v);
        size_t name = s ? strcspn(s, "=") : 0, k = 0;
        while (k < COUNT(known) && (strlen(known[k]) != name || strncmp(s, known[k], name)))
            k++;
        if (!s || k == COUNT(known))
            return "that option of s3fs cannot be set here: docs/buckets.md has those that can";
        if (s[name] && !is_made_of(s + name + 1, LOWER UPPER DIGIT "_.-", 1, 64))
            return "an option's value has letters, digits, _ . and -";
    }
    return NULL;
}

static const char *check_credentials(const json_t *o)
{
    const json_t *c = json_object_get(o, "credentials");
    const char *key;
    json_t *v;
    if (!c == !json_object_get(o, "secret"))
        return "one of credentials and secret is needed";
    json_object_foreach ((json_t *)(uintptr_t)c, key, v) {
        if (strcmp(key, "accessKeyId") && strcmp(key, "secretAccessKey") &&
            strcmp(key, "sessionToken"))
            return "they are {accessKeyId, secretAccessKey, sessionToken}";
        if (!json_is_string(v) || !json_string_length(v))
            return "they are strings";
    }
    return c && (!json_object_get(c, "accessKeyId") || !json_object_get(c, "secretAccessKey"))
               ? "accessKeyId and secretAccessKey are needed"
               : NULL;
}

const char *bucket_spec_check(const json_t *o, const char **ret_field)
{
    const char *wrong, *prefix = api_string(o, "prefix"), *region = api_string(o, "region");
    *ret_field = "bucket";
    if (!is_made_of(api_string(o, "bucket"), LOWER UPPER DIGIT "._-", 3, 63) ||
        strchr("._-", *api_string(o, "bucket")))
        return "it is 3-63 of A-Z a-z 0-9 . _ -";
    *ret_field = "path";
    if ((wrong = check_path(api_string(o, "path"))))
        return wrong;
    *ret_field = "endpoint";
    if ((wrong = check_endpoint(api_string(o, "endpoint"))))
        return wrong;
    *ret_field = "prefix";
    if (prefix && (wrong = check_prefix(prefix)))
        return wrong;
    *ret_field = "region";
    if (region && !is_made_of(region, LOWER UPPER DIGIT "-", 1, 63))
        return "it has letters, digits and -";
    *ret_field = "s3fsOptions";
    if ((wrong = check_options(json_object_get(o, "s3fsOptions"))))
        return wrong;
    *ret_field = "credentials";
    return check_credentials(o);
}

void bucket_host(const char *endpoint, char ret[300])
{
    bool https = endpoint[4] == 's';
    const char *p = endpoint + (https ? 8 : 7);
    size_t n = strcspn(p, "/");
    snprintf(ret, 300, "%.*s%s", (int)n, p, memchr(p, ':', n) ? "" : https ? ":443" : ":80");
}

/* An endpoint by address is one that its owner named: it may be a private one. */
static void open_network(json_t *match, const char *host)
{
    char address[300], network[320];
    struct in_addr a;
    snprintf(address, sizeof address, "%.*s", (int)strcspn(host, ":"), host);
    if (inet_pton(AF_INET, address, &a) != 1)
        return;
    snprintf(network, sizeof network, "%s/32", address);
    json_object_set_new(match, "cidrs", json_pack("[s]", network));
}

static json_t *paths_of(const json_t *spec)
{
    char path[2 * TEXT_MAX];
    const char *bucket = api_string(spec, "bucket"), *prefix = api_string(spec, "prefix");
    json_t *list = json_array();
    snprintf(path, sizeof path, "/%s", bucket);
    json_array_append_new(list, json_string(path));
    snprintf(path, sizeof path, "/%s/", bucket);
    json_array_append_new(list, json_string(path));
    bool ends = prefix && prefix[strlen(prefix) - 1] == '/';
    if (prefix && !ends) {
        snprintf(path, sizeof path, "/%s%s", bucket, prefix);
        json_array_append_new(list, json_string(path));
    }
    snprintf(path, sizeof path, "/%s%s%s*", bucket, prefix ? prefix : "",
             prefix && ends ? "" : "/");
    json_array_append_new(list, json_string(path));
    return list;
}

json_t *bucket_rule(const struct bucket *b)
{
    char host[300], name[WIRE_NAME];
    const char *endpoint = api_string(b->spec, "endpoint"), *region = api_string(b->spec, "region");
    bucket_host(endpoint, host);
    snprintf(name, sizeof name, "bucket:%s", b->id);
    json_t *match = json_pack("{s:[s], s:o}", "hosts", host, "paths", paths_of(b->spec));
    open_network(match, host);
    if (json_is_true(json_object_get(b->spec, "readOnly")))
        json_object_set_new(match, "methods", json_pack("[s, s]", "GET", "HEAD"));
    return json_pack("{s:s, s:o, s:s, s:b, s:[{s:s, s:b, s:s, s:s}]}", "name", name, "match", match,
                     "action", "allow", "insecure", 1, "inject", "secret",
                     api_string(b->spec, "secret"), "sigv4", 1, "service", "s3", "region",
                     region ? region : "us-east-1");
}

/*
 * The mount point that s3fs is told is one that it may look at: the real one answers only once it
 * runs. auto_unmount makes libfuse ask fusermount for the mount, which is ours.
 */
json_t *bucket_command(const struct bucket *b)
{
    char options[2048], what[2 * TEXT_MAX];
    const char *prefix = api_string(b->spec, "prefix"), *region = api_string(b->spec, "region");
    snprintf(what, sizeof what, "%s%s%s", api_string(b->spec, "bucket"), prefix ? ":" : "",
             prefix ? prefix : "");
    size_t n = strlen(what);
    if (prefix && what[n - 1] == '/')
        what[n - 1] = 0;
    snprintf(options, sizeof options,
             "url=%s,endpoint=%s,sigv4,use_path_request_style,auto_unmount,nonempty,allow_other,"
             "uid=1000,gid=1000,umask=0022,mp_umask=0022,stat_cache_expire=10,retries=3,"
             "connect_timeout=10",
             api_string(b->spec, "endpoint"), region ? region : "us-east-1");
    json_t *argv = json_pack("[s, s, s, s, s, s]", "s3fs", what, "/tmp", "-f", "-o", options);
    size_t i;
    json_t *v;
    json_array_foreach (json_object_get(b->spec, "s3fsOptions"), i, v) {
        json_array_append_new(argv, json_string("-o"));
        json_array_append(argv, v);
    }
    return argv;
}

struct bucket_failure bucket_failure_of(const char *said)
{
    static const struct {
        const char *text;
        struct bucket_failure is;
    } known[] = {
        {"NoSuchBucket", {404, "BUCKET_NOT_FOUND"}},
        {"Bucket or directory not found", {404, "BUCKET_NOT_FOUND"}},
        {"bucket not found", {404, "BUCKET_NOT_FOUND"}},
        {"bucket or key not found", {404, "BUCKET_NOT_FOUND"}},
        {"AccessDenied", {403, "BUCKET_ACCESS_DENIED"}},
        {"InvalidAccessKeyId", {403, "BUCKET_ACCESS_DENIED"}},
        {"SignatureDoesNotMatch", {403, "BUCKET_ACCESS_DENIED"}},
        {"invalid credentials", {403, "BUCKET_ACCESS_DENIED"}},
        {"response code 403", {403, "BUCKET_ACCESS_DENIED"}},
    };
    for (size_t i = 0; i < COUNT(known); i++)
        if (strstr(said, known[i].text))
            return known[i].is;
    return (struct bucket_failure){502, "BUCKET_MOUNT_FAILED"};
}

void bucket_reason(const char *said, char ret[400])
{
    size_t len = 0;
    *ret = 0;
    for (const char *line = said; *line;) {
        size_t n = strcspn(line, "\n");
        const char *level = memmem(line, n, "[ERR] ", 6);
        if (!level)
            level = memmem(line, n, "[CRT] ", 6);
        const char *from = level ? level + 6 : line;
        bool tells = level || !memmem(line, n, "[INF] ", 6);
        size_t m = n - (size_t)(from - line);
        if (tells && m && m < 390) {
            if (len + m + 2 > 390)
                len = 0; /* the last ones tell most */
            len += (size_t)snprintf(ret + len, 400 - len, "%s%.*s", len ? "; " : "", (int)m, from);
        }
        line += n + (line[n] == '\n');
    }
}
