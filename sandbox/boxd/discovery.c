#include "sandbox/boxd/discovery.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/id.h"

#define RUN_DIR  "/run/cellbox"
#define RUN_FILE RUN_DIR "/server.json"

static int write_private(const char *path, const char *text)
{
    char tmp[400];
    snprintf(tmp, sizeof tmp, "%s.%d", path, (int)getpid());
    CLEANUP_FD int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int r = fd_write_all(fd, text, strlen(text));
    if (r == 0 && rename(tmp, path) < 0)
        r = -errno;
    if (r < 0)
        unlink(tmp);
    return r;
}

int discovery_token(const char *state_dir, const char *wanted, char *ret, size_t cap,
                    struct err *err)
{
    char path[300];
    snprintf(path, sizeof path, "%s/token", state_dir);
    if (*wanted) {
        snprintf(ret, cap, "%s", wanted);
        return 0;
    }
    ssize_t n = fd_read_file_at(AT_FDCWD, path, ret, cap);
    if (n > 0)
        ret[strcspn(ret, " \n")] = 0;
    if (n > 0 && *ret)
        return 0;
    if (n < 0 && n != -ENOENT)
        return err_set(err, (int)n, "read token", "%s: %s", path, strerror((int)-n));
    id_hex(ret, 32);
    int r = write_private(path, ret);
    return r < 0 ? err_set(err, r, "write token", "%s: %s", path, strerror(-r)) : 0;
}

static bool other_server_lives(void)
{
    json_t *j = json_load_file(RUN_FILE, 0, NULL);
    json_int_t pid = json_integer_value(json_object_get(j, "pid"));
    json_decref(j);
    return pid > 1 && pid != getpid() && kill((pid_t)pid, 0) == 0;
}

void discovery_publish(const char *state_dir, const char *url, const char *token)
{
    char path[300];
    json_t *j = json_pack("{s:s, s:s, s:i}", "url", url, "token", token, "pid", (int)getpid());
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    if (text) {
        snprintf(path, sizeof path, "%s/server.json", state_dir);
        write_private(path, text);
        mkdir(RUN_DIR, 0755);
        if (!other_server_lives())
            write_private(RUN_FILE, text);
    }
    free(text);
    json_decref(j);
}

void discovery_withdraw(const char *state_dir)
{
    char path[300];
    snprintf(path, sizeof path, "%s/server.json", state_dir);
    unlink(path);
    if (!other_server_lives())
        unlink(RUN_FILE);
}
