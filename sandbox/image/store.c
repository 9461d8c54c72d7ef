#include "sandbox/image/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/fs/mount.h"

static int is_sha(const char *s)
{
    return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

static int is_name(const char *s)
{
    size_t n = strlen(s);
    return n > 0 && n < 64 && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == n &&
           s[0] != '.';
}

int image_resolve(const char *image_dir, const char *name, char ret_sha[IMAGE_SHA], struct err *err)
{
    char path[512], text[128] = {0};
    const char *want = *name ? name : "default";

    if (is_sha(want)) {
        snprintf(path, sizeof path, "%s/%s.erofs", image_dir, want);
        if (access(path, R_OK) < 0)
            return err_set(err, -ENOENT, "find image",
                           "there is no image %.12s; see `cellbox image ls`", want);
        snprintf(ret_sha, IMAGE_SHA, "%s", want);
        return 0;
    }
    if (!is_name(want))
        return err_set(err, -EINVAL, "find image", "an image name is 1-63 of a-z 0-9 - _ .");
    snprintf(path, sizeof path, "%s/refs/%s", image_dir, want);
    ssize_t n = fd_read_file_at(AT_FDCWD, path, text, sizeof text);
    if (n < 0)
        return err_set(err, -ENOENT, "find image",
                       "there is no image named %s; make it with `cellbox image build --name %s`",
                       want, want);
    text[strcspn(text, " \n")] = 0;
    if (!is_sha(text))
        return err_set(err, -EINVAL, "find image", "the reference %s is damaged", want);
    memcpy(ret_sha, text, IMAGE_SHA);
    return 0;
}

int image_mount_file(const char *file, const char *target, struct err *err)
{
    CLEANUP_FD int mount = -1;
    if (mkdir(target, 0700) < 0 && errno != EEXIST)
        return err_set(err, -errno, "make mount point", "%s: %s", target, strerror(errno));
    if (access(file, R_OK) < 0)
        return err_set(err, -errno, "find image", "%s: %s", file, strerror(errno));
    int r = mount_erofs(file, &mount, err);
    return r < 0 ? r : mount_attach(mount, target, err);
}

int image_mount(const char *image_dir, const char *sha, const char *target, struct err *err)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s.erofs", image_dir, sha);
    return image_mount_file(path, target, err);
}
