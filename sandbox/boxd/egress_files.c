/*
 * The files that options about egress name, read once, before anything starts: what cannot be used
 * stops the server, because whoever named them counts on them. The policy is read by the reader of
 * the API, so both take the same documents.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/boxd/server.h"
#include "sandbox/egress/policy/policy.h"

enum { FILE_MAX = 1 << 20 };

/* The text of a file, NUL-terminated and malloc'ed; NULL: *err says why. */
static char *files_read(const char *option, const char *path, size_t *ret_len, struct err *err)
{
    struct stat st;
    CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    char *text = NULL;
    size_t n = 0;
    ssize_t got = 1;
    if (fd < 0 || fstat(fd, &st) < 0 || S_ISDIR(st.st_mode)) {
        err_set(err, fd < 0 ? -errno : -EISDIR, option, "%s: %s; name a file that can be read",
                path, strerror(fd < 0 ? errno : EISDIR));
        return NULL;
    }
    if (!(text = malloc(FILE_MAX + 1))) {
        err_set(err, -ENOMEM, option, NULL);
        return NULL;
    }
    while (n < FILE_MAX && (got = read(fd, text + n, FILE_MAX - n)) > 0)
        n += (size_t)got;
    if (got != 0) {
        err_set(err, got < 0 ? -errno : -EFBIG, option, "%s: %s", path,
                got < 0 ? strerror(errno) : "it is larger than 1 MiB");
        free(text);
        return NULL;
    }
    text[n] = 0;
    *ret_len = n;
    return text;
}

/* Another that reads it cannot change it. */
static int files_seal(const char *option, const char *text, size_t len, int *ret_fd,
                      struct err *err)
{
    CLEANUP_FD int fd = memfd_create("egress", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || fd_write_all(fd, text, len) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return err_set(err, -errno, option, "cannot keep it: %s", strerror(errno));
    *ret_fd = STEAL_FD(fd);
    return 0;
}

static int files_policy(struct server *s, struct err *err)
{
    static const char step[] = "read --egress-policy";
    const char *path = s->config.egress_policy;
    struct policy_error e;
    struct policy *p;
    size_t len;
    CLEANUP_FREE char *text = files_read(step, path, &len, err);
    if (!text)
        return err->code;
    int r = policy_parse(text, len, &p, &e);
    if (r < 0)
        return err_set(err, r, step, "%s: %s", path, strerror(-r));
    if (r > 0)
        return err_set(err, -EINVAL, step, "%s%.80s:%u:%u: %.40s%s%.60s; correct it",
                       strlen(path) > 80 ? "..." : "",
                       strlen(path) > 80 ? path + strlen(path) - 77 : path, e.line, e.column,
                       e.path, *e.path ? ": " : "", e.reason);
    policy_unref(p);
    return files_seal(step, text, len, &s->egress_policy_fd, err);
}

/* Each certificate is looked at by E, which does not start when one cannot be used. */
static int files_authorities(struct server *s, struct err *err)
{
    static const char step[] = "read --egress-ca";
    const char *path = s->config.egress_ca;
    size_t len;
    CLEANUP_FREE char *text = files_read(step, path, &len, err);
    if (!text)
        return err->code;
    if (!strstr(text, "-----BEGIN CERTIFICATE-----"))
        return err_set(err, -EINVAL, step, "%s: it holds no PEM certificate", path);
    return files_seal(step, text, len, &s->egress_ca_fd, err);
}

/* "ADDR", "ADDR:PORT" or "[ADDR]:PORT", in numbers. */
static bool files_is_server(const char *text)
{
    uint8_t bytes[16];
    char addr[INET6_ADDRSTRLEN + 1], *end;
    if (inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1)
        return true;
    bool v6 = *text == '[';
    const char *colon = v6 ? strstr(text, "]:") : strchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) - v6 : sizeof addr;
    if (len >= sizeof addr || !isdigit((unsigned char)colon[1 + v6]))
        return false;
    memcpy(addr, text + v6, len);
    addr[len] = 0;
    unsigned long port = strtoul(colon + 1 + v6, &end, 10);
    return !*end && port >= 1 && port <= 65535 &&
           inet_pton(v6 ? AF_INET6 : AF_INET, addr, bytes) == 1;
}

/* The resolver's library passes over what it cannot read. */
static int files_resolver(const struct server *s, struct err *err)
{
    char copy[sizeof s->config.egress_resolver], *rest = copy, *one;
    snprintf(copy, sizeof copy, "%s", s->config.egress_resolver);
    while ((one = strsep(&rest, ",")))
        if (!files_is_server(one))
            return err_set(
                err, -EINVAL, "read --egress-resolver",
                "%s: \"%s\" is no ADDR:PORT; give addresses of name servers, with commas "
                "between them",
                s->config.egress_resolver, one);
    return 0;
}

int egress_read_files(struct server *s, struct err *err)
{
    int r = 0;
    s->egress_policy_fd = s->egress_ca_fd = -1;
    if (*s->config.egress_resolver)
        r = files_resolver(s, err);
    if (r == 0 && *s->config.egress_policy)
        r = files_policy(s, err);
    if (r == 0 && *s->config.egress_ca)
        r = files_authorities(s, err);
    return r;
}
