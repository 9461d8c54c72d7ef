#include "sandbox/init/trust.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/base/beneath.h"
#include "sandbox/base/buf.h"
#include "sandbox/base/fd.h"
#include "sandbox/wire/trust.h"

enum {
    BUNDLE_MAX = 8 << 20,
    CERTIFICATE_MAX = 16384,
    JKS_MAGIC = 0xfeedfeed,
    JKS_VERSION = 2,
    JKS_TRUSTED = 2
};

static const char begin_mark[] = "\n# Cellbox egress\n", end_mark[] = "# end of Cellbox egress\n";
static const char pem_begin[] = "-----BEGIN CERTIFICATE-----",
                  pem_end[] = "-----END CERTIFICATE-----";

static int write_file(const char *path, const void *data, size_t len)
{
    char temporary[128];
    snprintf(temporary, sizeof temporary, "%s.cellbox", path);
    unlink(temporary);
    CLEANUP_FD int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return -errno;
    int r = fchmod(fd, 0644) < 0 ? -errno : fd_write_all(fd, data, len);
    if (r == 0 && rename(temporary, path) < 0)
        r = -errno;
    if (r < 0)
        unlink(temporary);
    return r;
}

static int read_file(const char *path, struct buf *out)
{
    struct stat st;
    CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > BUNDLE_MAX)
        return -EFBIG;
    int r = buf_reserve(out, (size_t)st.st_size + 1);
    for (ssize_t n;
         r == 0 && (n = read(fd, out->data + out->len, (size_t)st.st_size - out->len)) > 0;)
        out->len += (size_t)n;
    return r;
}

/* What an earlier life of the box has added goes. */
static void cut_ours(struct buf *bundle)
{
    char *text = (char *)bundle->data;
    char *from = bundle->len ? memmem(text, bundle->len, begin_mark, strlen(begin_mark)) : NULL;
    char *to =
        from ? memmem(from, bundle->len - (size_t)(from - text), end_mark, strlen(end_mark)) : NULL;
    if (!to)
        return;
    to += strlen(end_mark);
    memmove(from, to, bundle->len - (size_t)(to - text));
    bundle->len -= (size_t)(to - from);
}

/* ---- Java ---- */

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static size_t decode(const char *p, const char *end, uint8_t out[CERTIFICATE_MAX])
{
    uint32_t bits = 0;
    unsigned have = 0;
    size_t n = 0;
    for (; p < end && n < CERTIFICATE_MAX; p++) {
        int v = value_of(*p);
        if (v < 0)
            continue;
        bits = bits << 6 | (uint32_t)v;
        if ((have += 6) >= 8)
            out[n++] = (uint8_t)(bits >> (have -= 8));
    }
    return n;
}

static void put_be(struct buf *out, uint64_t v, unsigned bytes)
{
    while (bytes--)
        buf_putc(out, (char)(v >> (8 * bytes)));
}

static void put_utf(struct buf *out, const char *s)
{
    put_be(out, strlen(s), 2);
    buf_puts(out, s);
}

/*
 * A key store in Java's own format. Its digest depends on a password; whoever opens a trust store
 * without one (and nobody gives one) does not check it, so zeros stand there.
 */
static int put_java_store(const struct buf *bundle, struct buf *out)
{
    static const uint8_t no_digest[20];
    const char *p = (const char *)bundle->data, *end = p + bundle->len;
    uint8_t der[CERTIFICATE_MAX];
    uint32_t n = 0;
    put_be(out, JKS_MAGIC, 4);
    put_be(out, JKS_VERSION, 4);
    size_t count_at = out->len;
    put_be(out, 0, 4);
    while ((p = memmem(p, (size_t)(end - p), pem_begin, strlen(pem_begin)))) {
        char alias[32];
        p += strlen(pem_begin);
        const char *stop = memmem(p, (size_t)(end - p), pem_end, strlen(pem_end));
        if (!stop)
            break;
        size_t len = decode(p, stop, der);
        snprintf(alias, sizeof alias, "ca-%u", ++n);
        put_be(out, JKS_TRUSTED, 4);
        put_utf(out, alias);
        put_be(out, 0, 8);
        put_utf(out, "X.509");
        put_be(out, len, 4);
        buf_put(out, der, len);
        p = stop;
    }
    buf_put(out, no_digest, sizeof no_digest);
    for (int i = 0; i < 4 && !out->err; i++)
        out->data[count_at + (size_t)i] = (uint8_t)(n >> (24 - 8 * i));
    return out->err;
}

/* The box's user may own what is above, so no link there is followed. */
static int make_directory(const char *path)
{
    CLEANUP_FD int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    CLEANUP_FD int dir = root < 0 ? -errno : beneath_open_dir(root, path, true);
    return dir < 0 ? dir : 0;
}

int trust_install(const char *pem, size_t len, struct err *err)
{
    CLEANUP_BUF struct buf bundle = {0}, store = {0};
    int r = make_directory(TRUST_DIR);
    if (r == 0)
        r = make_directory(TRUST_STORE_DIR);
    if (r == 0)
        r = write_file(TRUST_CA, pem, len);
    if (r == 0 && (r = read_file(TRUST_BUNDLE, &bundle)) == -ENOENT) {
        mkdir("/etc/ssl", 0755);
        mkdir("/etc/ssl/certs", 0755);
        r = 0;
    }
    if (r == 0) {
        cut_ours(&bundle);
        buf_puts(&bundle, begin_mark);
        buf_put(&bundle, pem, len);
        r = buf_puts(&bundle, end_mark);
    }
    if (r == 0)
        r = write_file(TRUST_BUNDLE, bundle.data, bundle.len);
    if (r == 0 && (r = put_java_store(&bundle, &store)) == 0)
        r = write_file(TRUST_JAVA_STORE, store.data, store.len);
    return r < 0 ? err_set(err, r, "trust egress", NULL) : 0;
}
