/* cellbox cp */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clients/cli/args.h"
#include "clients/cli/commands.h"
#include "clients/cli/transfer.h"

/* "NAME:PATH", or a path of this machine (box NULL). "-" is standard input or output. */
struct place {
    char *box, *path;
};

enum kind { NOTHING, FILE_, DIRECTORY, FAILED };

static void place_deinit(struct place *p)
{
    free(p->box);
    free(p->path);
}

/* A path with a slash before its colon is one of this machine. */
static struct place place_of(const char *text)
{
    const char *colon = strchr(text, ':'), *slash = strchr(text, '/');
    struct place p = {0};
    if (colon && colon != text && (!slash || slash > colon)) {
        p.box = must(strndup(text, (size_t)(colon - text)));
        const char *rest = colon[1] ? colon + 1 : "/workspace/";
        p.path = *rest == '/' || (*rest == '~' && (!rest[1] || rest[1] == '/'))
                     ? must(strdup(rest))
                     : text_format("/workspace/%s", rest);
    } else {
        p.path = must(strdup(text));
    }
    return p;
}

static const char *last_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void strip_slashes(char *path)
{
    for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
        path[n - 1] = 0;
}

static enum kind kind_here(const char *path)
{
    struct stat st;
    return stat(path, &st) < 0 ? NOTHING : S_ISDIR(st.st_mode) ? DIRECTORY : FILE_;
}

static enum kind kind_there(const struct server *s, const struct place *p)
{
    CLEANUP_REPLY struct reply r = {0};
    /* The home of the box user is spelled out: ~ is one only in addresses. */
    CLEANUP_FREE char *full =
        *p->path == '~' ? text_format("/home/user%s", p->path + 1) : must(strdup(p->path));
    CLEANUP_JSON json_t *body = json_pack("{s:s}", "path", full);
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s/files:stat", p->box);
    http_call(s, "POST", path, body, 0, &r);
    if (r.status == 404)
        return NOTHING;
    if (http_check(s, &r) != 0)
        return FAILED;
    return !strcmp(json_text(r.json, "type"), "directory") ? DIRECTORY : FILE_;
}

static char *address(const struct place *p, const char *query)
{
    CLEANUP_FREE char *path =
        http_path("/v1/sandboxes/%s/files/%s", p->box, p->path + (*p->path == '/'));
    return text_format("%s%s", path, query);
}

/* A local tar whose output or input is *ret_fd. */
static pid_t start_tar(bool pack, const char *dir, int *ret_fd)
{
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(pipe_fds[pack ? 1 : 0], pack ? STDOUT_FILENO : STDIN_FILENO);
        if (pack)
            execlp("tar", "tar", "-C", dir, "-cf", "-", ".", (char *)NULL);
        else
            execlp("tar", "tar", "-C", dir, "-xf", "-", "--no-same-owner", (char *)NULL);
        _exit(127);
    }
    *ret_fd = pipe_fds[pack ? 0 : 1];
    close(pipe_fds[pack ? 1 : 0]);
    if (pid < 0)
        close(*ret_fd);
    return pid;
}

static int end_tar(pid_t pid, int fd, int status)
{
    int how = 0;
    close(fd);
    while (waitpid(pid, &how, 0) < 0 && errno == EINTR)
        ;
    if (status == 0 && (!WIFEXITED(how) || WEXITSTATUS(how) > 1))
        return fail(STATUS_FAILED, "tar failed");
    return status;
}

/* ---- up ---- */

static int send_tree(const struct server *s, const char *dir, const struct place *to)
{
    CLEANUP_FREE char *url = address(to, "?archive=tar&parents=true");
    int fd;
    pid_t pid = start_tar(true, dir, &fd);
    if (pid < 0)
        return fail(STATUS_FAILED, "cannot start tar: %s", strerror(errno));
    return end_tar(pid, fd, transfer_up(s, url, fd, -1, dir));
}

static int send_file(const struct server *s, const char *path, const struct place *to)
{
    struct stat st;
    bool standard = !strcmp(path, "-");
    CLEANUP_FD int fd = standard ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return fail(STATUS_FAILED, "%s: %s", path, strerror(errno));
    char query[64] = "?parents=true";
    if (!standard)
        snprintf(query, sizeof query, "?parents=true&mode=%04o", st.st_mode & 0777);
    CLEANUP_FREE char *url = address(to, query);
    return transfer_up(s, url, fd, S_ISREG(st.st_mode) ? (long long)st.st_size : -1,
                       last_name(path));
}

/* Into a directory that is there, what is copied keeps its name. */
static void go_into(char **path, const char *name, bool directory)
{
    bool slash = (*path)[strlen(*path) - 1] == '/';
    if (!directory && !slash)
        return;
    char *joined = text_format("%s%s%s", *path, slash ? "" : "/", name);
    free(*path);
    *path = joined;
}

static int up(const struct server *s, struct place *from, struct place *to)
{
    bool standard = !strcmp(from->path, "-");
    enum kind kind = standard ? FILE_ : kind_here(from->path);
    if (kind == NOTHING)
        return fail(STATUS_FAILED, "%s: %s", from->path, strerror(ENOENT));
    enum kind there = kind_there(s, to);
    if (there == FAILED)
        return STATUS_SERVER;
    strip_slashes(from->path);
    if (!standard && strcmp(last_name(from->path), ".") != 0)
        go_into(&to->path, last_name(from->path), there == DIRECTORY);
    return kind == DIRECTORY ? send_tree(s, from->path, to) : send_file(s, from->path, to);
}

/* ---- down ---- */

static int fetch_tree(const struct server *s, const struct place *from, const char *dir)
{
    CLEANUP_FREE char *url = address(from, "?archive=tar");
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    int fd;
    sigaction(SIGPIPE, &ignore, NULL); /* a tar that ends early says why itself */
    if (make_dirs(dir) < 0)
        return fail(STATUS_FAILED, "%s: %s", dir, strerror(errno));
    pid_t pid = start_tar(false, dir, &fd);
    if (pid < 0)
        return fail(STATUS_FAILED, "cannot start tar: %s", strerror(errno));
    return end_tar(pid, fd, transfer_down(s, url, fd, from->path));
}

/* Beside its place first: what breaks off leaves what was there. */
static int fetch_file(const struct server *s, const struct place *from, const char *path)
{
    CLEANUP_FREE char *url = address(from, "");
    if (!strcmp(path, "-"))
        return transfer_down(s, url, STDOUT_FILENO, NULL);
    CLEANUP_FREE char *temp = text_format("%s.cellbox-%d", path, (int)getpid());
    CLEANUP_FD int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail(STATUS_FAILED, "%s: %s", path, strerror(errno));
    int status = transfer_down(s, url, fd, last_name(from->path));
    if (status == 0 && rename(temp, path) < 0)
        status = fail(STATUS_FAILED, "%s: %s", path, strerror(errno));
    if (status)
        unlink(temp);
    return status;
}

static int down(const struct server *s, struct place *from, struct place *to)
{
    enum kind kind = kind_there(s, from);
    bool standard = !strcmp(to->path, "-");
    if (kind == FAILED)
        return STATUS_SERVER;
    if (kind == NOTHING)
        return fail(STATUS_FAILED, "%s:%s: %s", from->box, from->path, strerror(ENOENT));
    if (kind == DIRECTORY && standard) {
        CLEANUP_FREE char *url = address(from, "?archive=tar");
        return transfer_down(s, url, STDOUT_FILENO, NULL);
    }
    strip_slashes(from->path);
    if (!standard)
        go_into(&to->path, last_name(from->path), kind_here(to->path) == DIRECTORY);
    return kind == DIRECTORY ? fetch_tree(s, from, to->path) : fetch_file(s, from, to->path);
}

static int copy(const char *a, const char *b)
{
    struct place from = place_of(a), to = place_of(b);
    struct server server;
    int status;
    if (!from.box == !to.box)
        status = fail(STATUS_USAGE, "one of the two must be in a sandbox: NAME:PATH");
    else if ((status = server_find(&server)) == 0) {
        status = to.box ? up(&server, &from, &to) : down(&server, &from, &to);
        server_deinit(&server);
    }
    place_deinit(&from);
    place_deinit(&to);
    return status;
}

int command_cp(int argc, char **argv)
{
    struct args a = {
        .synopsis = "cp SOURCE DESTINATION",
        .about = "Copies a file or a directory into a sandbox or out of it. The one in the sandbox "
                 "is written\n"
                 "NAME:PATH; a path that does not begin with / starts at /workspace. - is standard "
                 "input or\n"
                 "output (of a directory: a tar archive). Into a directory that exists, the name "
                 "is kept.",
        .min = 2,
        .max = 2,
    };
    int status = args_parse(&a, argc, argv) ? copy(a.positional[0], a.positional[1]) : a.status;
    free(a.positional);
    return status;
}
