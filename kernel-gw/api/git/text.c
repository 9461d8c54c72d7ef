#include "kernel-gw/api/git/text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* false: it holds what a line cannot. */
static bool put_decoded(struct buf *out, const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = p[i];
        if (c == '%' && i + 2 < len && hex(p[i + 1]) >= 0 && hex(p[i + 2]) >= 0) {
            c = (char)(hex(p[i + 1]) << 4 | hex(p[i + 2]));
            i += 2;
        }
        if (c == '\n' || c == '\r' || c == 0)
            return false;
        buf_putc(out, c);
    }
    return true;
}

/* The last part of the path, without ".git". */
static void read_name(const char *path, char ret[256])
{
    size_t len = strlen(path), from;
    while (len && path[len - 1] == '/')
        len--;
    if (len > 5 && !strncmp(path + len - 5, "/.git", 5))
        len -= 5;
    else if (len > 4 && !strncmp(path + len - 4, ".git", 4))
        len -= 4;
    while (len && path[len - 1] == '/')
        len--;
    for (from = len; from && path[from - 1] != '/' && path[from - 1] != ':';)
        from--;
    bool fits = len - from > 0 && len - from < 256 && path[from] != '-';
    snprintf(ret, 256, "%.*s", fits ? (int)(len - from) : 0, path + from);
    if (!strcmp(ret, ".") || !strcmp(ret, ".."))
        *ret = 0;
}

/* user:password@ of an authority; *p moves behind it. */
static const char *read_user(const char **p, size_t authority, struct git_url *ret)
{
    const char *at = memrchr(*p, '@', authority);
    if (!at)
        return NULL;
    const char *colon = memchr(*p, ':', (size_t)(at - *p));
    const char *end = colon ? colon : at;
    if (!put_decoded(&ret->user, *p, (size_t)(end - *p)) ||
        (colon && !put_decoded(&ret->password, colon + 1, (size_t)(at - colon - 1))))
        return "its user or password has a line break";
    *p = at + 1;
    return NULL;
}

static const char *read_remote(const char *text, size_t scheme, struct git_url *ret)
{
    const char *p = text + scheme;
    const char *wrong = ret->remote ? read_user(&p, strcspn(p, "/?#"), ret) : NULL;
    if (wrong)
        return wrong;
    size_t host = strcspn(p, "/?#");
    if (host == 0 || *p == '-')
        return "it has no host";
    if (!p[host] || !p[host + 1])
        return "it has no path";
    buf_put(&ret->clean, text, scheme);
    buf_puts(&ret->clean, p);
    read_name(p + host, ret->name);
    return NULL;
}

/* "user@host:path", as ssh is written. */
static bool is_scp(const char *text)
{
    size_t n = strcspn(text, ":/");
    return text[n] == ':' && n > 0 && text[n + 1] && text[n + 1] != ':' && !strstr(text, "://");
}

const char *git_url_read(const char *text, size_t len, struct git_url *ret)
{
    static const char *const schemes[] = {"https://", "http://", "git://", "ssh://", NULL};
    *ret = (struct git_url){0};
    if (len == 0 || len > GIT_URL_MAX)
        return "it is empty or longer than 2048 bytes";
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] <= ' ' || text[i] == 0x7f)
            return "it has spaces or control characters";
    if (*text == '-')
        return "it begins with a dash";
    for (const char *const *s = schemes; *s; s++) {
        ret->remote = s - schemes < 2;
        if (!strncasecmp(text, *s, strlen(*s)))
            return read_remote(text, strlen(*s), ret);
    }
    ret->remote = false;
    bool file = !strncmp(text, "file:///", 8);
    if (!file && *text != '/' && !is_scp(text))
        return "it is none of https, http, git, ssh, file:///path, /path and user@host:path";
    buf_puts(&ret->clean, text);
    read_name(file ? text + 7 : text, ret->name);
    return NULL;
}

void git_url_deinit(struct git_url *u)
{
    buf_deinit(&u->clean);
    buf_deinit(&u->user);
    buf_deinit(&u->password);
}

bool git_ref_valid(const char *name, size_t len)
{
    if (len == 0 || len > 255 || *name == '-' || *name == '/' || name[len - 1] == '/' ||
        name[len - 1] == '.')
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c <= ' ' || c == 0x7f || strchr("~^:?*[\\", c))
            return false;
        if (i && ((c == '.' && name[i - 1] == '.') || (c == '/' && name[i - 1] == '/') ||
                  (c == '{' && name[i - 1] == '@')))
            return false;
    }
    return true;
}

/* Digits at p, at most 18 of them; *p moves behind them. */
static bool read_number(const char **p, const char *end, unsigned long *ret)
{
    const char *from = *p;
    *ret = 0;
    while (*p < end && isdigit((unsigned char)**p) && *p - from < 18)
        *ret = *ret * 10 + (unsigned long)(*(*p)++ - '0');
    return *p > from;
}

bool git_progress_read(const char *line, size_t len, struct git_progress *ret)
{
    static const char remote[] = "remote: ";
    const char *p = line, *end = line + len;
    if (len > sizeof remote - 1 && !memcmp(line, remote, sizeof remote - 1))
        p += sizeof remote - 1;
    const char *colon = memchr(p, ':', (size_t)(end - p));
    if (!colon || colon == p || colon - p >= GIT_PHASE_MAX)
        return false;
    *ret = (struct git_progress){0};
    for (const char *c = p; c < colon; c++) {
        if (!isalpha((unsigned char)*c) && *c != ' ')
            return false;
        ret->phase[c - p] = *c;
    }
    unsigned long percent;
    for (p = colon + 1; p < end && *p == ' ';)
        p++;
    if (!read_number(&p, end, &percent) || percent > 100 || p == end || *p != '%')
        return false;
    ret->percent = (unsigned)percent;
    const char *open = memchr(p, '(', (size_t)(end - p));
    if (open) {
        p = open + 1;
        if (read_number(&p, end, &ret->current) && p < end && *p == '/') {
            p++;
            read_number(&p, end, &ret->total);
        }
    }
    return true;
}

struct git_failure git_failure_of(const char *said)
{
    static const struct {
        const char *text;
        struct git_failure is;
    } known[] = {
        {"already exists and is not an empty directory", {409, "FILE_EXISTS"}},
        {"Remote branch ", {404, "GIT_BRANCH_NOT_FOUND"}},
        {"Authentication failed", {401, "GIT_AUTH_FAILED"}},
        {"could not read Username", {401, "GIT_AUTH_FAILED"}},
        {"could not read Password", {401, "GIT_AUTH_FAILED"}},
        {"Permission denied (publickey", {401, "GIT_AUTH_FAILED"}},
        {"returned error: 401", {401, "GIT_AUTH_FAILED"}},
        {"returned error: 403", {401, "GIT_AUTH_FAILED"}},
        {"No space left on device", {507, "NO_SPACE"}},
        {"could not create leading directories", {403, "PERMISSION_DENIED"}},
        {"could not create work tree dir", {403, "PERMISSION_DENIED"}},
        {"returned error: 404", {404, "GIT_REPOSITORY_NOT_FOUND"}},
        {"does not appear to be a git repository", {404, "GIT_REPOSITORY_NOT_FOUND"}},
        {"' does not exist", {404, "GIT_REPOSITORY_NOT_FOUND"}},
        {"' not found", {404, "GIT_REPOSITORY_NOT_FOUND"}},
        {"not valid: is this a git repository", {404, "GIT_REPOSITORY_NOT_FOUND"}},
        {"Host key verification failed", {502, "GIT_NETWORK_ERROR"}},
        {"Could not resolve host", {502, "GIT_NETWORK_ERROR"}},
        {"unable to access", {502, "GIT_NETWORK_ERROR"}},
        {"unable to connect", {502, "GIT_NETWORK_ERROR"}},
        {"Could not read from remote", {502, "GIT_NETWORK_ERROR"}},
        {"RPC failed", {502, "GIT_NETWORK_ERROR"}},
        {"early EOF", {502, "GIT_NETWORK_ERROR"}},
        {"the remote end hung up", {502, "GIT_NETWORK_ERROR"}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strstr(said, known[i].text))
            return known[i].is;
    return (struct git_failure){500, "GIT_CLONE_FAILED"};
}
