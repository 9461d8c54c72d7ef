#include "sandbox/image/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/base/fd.h"

#define RECORDS "/run/cellbox/images"
enum { CHUNK = 1 << 20, HASH = 32 };

static void verify_describe(const struct stat *st, char *out, size_t cap)
{
    snprintf(out, cap, "%llu %llu %lld %lld.%09ld %lld.%09ld\n", (unsigned long long)st->st_dev,
             (unsigned long long)st->st_ino, (long long)st->st_size, (long long)st->st_mtim.tv_sec,
             st->st_mtim.tv_nsec, (long long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
}

static int verify_hash(int fd, char ret_hex[2 * HASH + 1])
{
    unsigned char digest[HASH];
    CLEANUP_FREE uint8_t *chunk = malloc(CHUNK);
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    int r = chunk && c && EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;
    for (ssize_t n = 1; r == 0 && n > 0;) {
        n = read(fd, chunk, CHUNK);
        if (n < 0)
            r = -errno;
        else if (EVP_DigestUpdate(c, chunk, (size_t)n) != 1)
            r = -EIO;
    }
    if (r == 0 && EVP_DigestFinal_ex(c, digest, NULL) != 1)
        r = -EIO;
    EVP_MD_CTX_free(c);
    for (size_t i = 0; r == 0 && i < HASH; i++)
        snprintf(ret_hex + 2 * i, 3, "%02x", digest[i]);
    return r;
}

/* By rename: two servers may do the same. Without a record the next start looks again. */
static void verify_remember(const char *record, const char *text)
{
    char fresh[160];
    mkdir("/run/cellbox", 0755);
    mkdir(RECORDS, 0700);
    snprintf(fresh, sizeof fresh, "%s.%d", record, (int)getpid());
    CLEANUP_FD int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || fd_write_all(fd, text, strlen(text)) < 0 || rename(fresh, record) < 0)
        unlink(fresh);
}

int image_verify(const char *image_dir, const char *sha, struct err *err)
{
    char path[512], record[128], now[160], then[160] = {0}, hash[2 * HASH + 1];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s.erofs", image_dir, sha);
    snprintf(record, sizeof record, RECORDS "/%.64s", sha);
    CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(err, -errno, "check image", "%.150s: %s", path, strerror(errno));
    verify_describe(&st, now, sizeof now);
    if (fd_read_file_at(AT_FDCWD, record, then, sizeof then) > 0 && !strcmp(now, then))
        return 0;
    int r = verify_hash(fd, hash);
    if (r < 0)
        return err_set(err, r, "check image", "%.150s: %s", path, strerror(-r));
    if (strcmp(hash, sha) != 0)
        return err_set(
            err, -EBADMSG, "check image",
            "the file of image %.12s holds something else (sha256 %.12s...); remove it with "
            "`cellbox image rm` and build it again",
            sha, hash);
    verify_remember(record, now);
    return 0;
}
