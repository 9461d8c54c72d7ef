/*
 * Plays init for the tests of the runners: starts contexts, forked from its own warm image or
 * executed fresh, and carries their output as init does.
 *
 *   fake_init warm|fresh CONTROL_FD CBX_PYTHON
 *   fake_init node CONTROL_FD ROOT      Node, in the root directory ROOT, as it is in a box
 *
 * CONTROL_FD is a SEQPACKET socket. A request is "cwd\0NAME=VALUE\0…" with one descriptor, the
 * runner's end of the frame socket; the answer is the decimal pid, then the microseconds that fork
 * took. The socket's end is the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "contexts/python/host.h"
#include "sandbox/base/fd.h"
#include "sandbox/wire/packet.h"
#include "sandbox/wire/wire.h"

enum { CONTEXTS_MAX = 600, PIPE_CHUNK = 60000, COLLECT_US = 300 };

struct context {
    pid_t pid;
    int pidfd, frame, out, err, memfd;
    struct outring ring;
    uint32_t tail;
    uint8_t held_out[PIPE_CHUNK], held_err[PIPE_CHUNK];
};

static struct context *contexts[CONTEXTS_MAX];
static size_t ncontexts;
static int warm;
static const char *program, *root;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void send_packet(struct context *c, uint16_t type, uint32_t arg, uint64_t req, int stream,
                        const void *data, size_t len)
{
    static uint8_t packet[PACKET_MAX];
    uint8_t s = (uint8_t)stream;
    const void *sections[] = {&s, data};
    uint32_t lengths[] = {1, (uint32_t)len};
    size_t n = packet_build(packet, PACKET_FIRST | PACKET_LAST | PACKET_INIT, type, arg, req,
                            stream ? 2 : 0, sections, lengths);
    ssize_t r = fd_send_wait(c->frame, packet, n, NULL, 0, 60000);
    if (r < 0 && r != -EPIPE && r != -ECONNRESET)
        fprintf(stderr, "fake_init: send: %s\n", strerror((int)-r));
}

/* One round as outring.h prescribes: pipes, then ring, ring's text first. */
static void round_of(struct context *c)
{
    static uint8_t text[PIPE_CHUNK];
    uint64_t req;
    int stream;

    outring_begin(&c->ring, OUTRING_BUSY_PIPE);
    ssize_t nout = read(c->out, c->held_out, PIPE_CHUNK);
    ssize_t nerr = read(c->err, c->held_err, PIPE_CHUNK);
    for (;;) {
        ssize_t n = outring_read(&c->ring, &c->tail, &req, &stream, text, sizeof text);
        if (n <= 0)
            break;
        send_packet(c, MESSAGE_STREAM, 0, req, stream, text, (size_t)n);
    }
    if (nout > 0)
        send_packet(c, MESSAGE_STREAM, 0, 0, 1, c->held_out, (size_t)nout);
    if (nerr > 0)
        send_packet(c, MESSAGE_STREAM, 0, 0, 2, c->held_err, (size_t)nerr);
    outring_sent(&c->ring);
}

/* Neighbours of a first text come along, unless somebody waits. */
static void collect(struct context *c)
{
    struct pollfd p = {.fd = c->ring.doorbell, .events = POLLIN};
    struct timespec ts = {.tv_nsec = COLLECT_US * 1000};
    if (!outring_wanted(&c->ring))
        ppoll(&p, 1, &ts, NULL);
}

static void ended(struct context *c)
{
    int status = 0;
    waitpid(c->pid, &status, 0);
    round_of(c);
    round_of(c);
    send_packet(c, MESSAGE_EXITED, (uint32_t)status, 0, 0, NULL, 0);
    close(c->pidfd);
    close(c->frame);
    close(c->out);
    close(c->err);
    close(c->ring.doorbell);
    munmap(c->ring.shared, sizeof *c->ring.shared);
    close(c->memfd);
    c->pid = 0;
}

static void apply_environment(const char *p, const char *end)
{
    if (*p && chdir(p) < 0)
        die("chdir");
    clearenv();
    for (p += strlen(p) + 1; p < end && *p; p += strlen(p) + 1)
        putenv(strdup(p));
}

static _Noreturn void child(struct context *c, int out, int err, const char *request, size_t len)
{
    setsid();
    int null = open("/dev/null", O_RDONLY);
    dup2(null, 0);
    dup2(out, 1);
    dup2(err, 2);
    if (root && (chroot(root) < 0 || chdir("/") < 0))
        die("chroot");
    apply_environment(request, request + len);
    if (warm) {
        struct context_boot boot = {.frame_fd = c->frame, .ring = c->ring};
        boot.frame_fd = fcntl(c->frame, F_DUPFD_CLOEXEC, 3000);
        boot.ring.doorbell = fcntl(c->ring.doorbell, F_DUPFD_CLOEXEC, 3000);
        close_range(3, 2999, 0);
        _exit(python_ops()->context_main(&boot));
    }
    int frame = fcntl(c->frame, F_DUPFD, 100), ring = fcntl(c->memfd, F_DUPFD, 100),
        bell = fcntl(c->ring.doorbell, F_DUPFD, 100);
    dup2(frame, CONTEXT_FD_FRAME);
    dup2(ring, CONTEXT_FD_RING);
    dup2(bell, CONTEXT_FD_DOORBELL);
    close_range(6, ~0u, 0);
    const struct context_program *p =
        context_program_find(root ? WIRE_PROGRAM_NODE : WIRE_PROGRAM_PYTHON);
    execv(root ? p->path : program, (char *const *)p->argv);
    _exit(127);
}

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000ll + t.tv_nsec / 1000;
}

static void start(int control, const char *request, size_t len, int frame)
{
    struct context *c = calloc(1, sizeof *c);
    int out[2], err[2];
    if (!c || ncontexts == CONTEXTS_MAX || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
        die("start");
    c->frame = frame;
    c->memfd = memfd_create("ring", MFD_CLOEXEC);
    if (ftruncate(c->memfd, sizeof *c->ring.shared) < 0)
        die("ring");
    c->ring.shared =
        mmap(NULL, sizeof *c->ring.shared, PROT_READ | PROT_WRITE, MAP_SHARED, c->memfd, 0);
    c->ring.doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    fd_set_nonblock(out[0], 1);
    fd_set_nonblock(err[0], 1);
    int64_t t = now_us();
    if (warm)
        python_ops()->before_fork();
    c->pid = fork();
    if (c->pid == 0)
        child(c, out[1], err[1], request, len);
    if (warm)
        python_ops()->after_fork_parent();
    t = now_us() - t;
    close(out[1]);
    close(err[1]);
    c->out = out[0];
    c->err = err[0];
    c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
    contexts[ncontexts++] = c;
    char answer[64];
    snprintf(answer, sizeof answer, "%d %lld", c->pid, (long long)t);
    fd_send(control, answer, strlen(answer), NULL, 0);
}

static void serve(int control)
{
    static struct pollfd p[1 + 4 * CONTEXTS_MAX];
    static char request[65536];

    for (;;) {
        size_t n = 1;
        p[0] = (struct pollfd){.fd = control, .events = POLLIN};
        for (size_t i = 0; i < ncontexts; i++) {
            struct context *c = contexts[i];
            if (!c->pid)
                continue;
            while (outring_sleep(&c->ring, c->tail))
                round_of(c);
            p[n++] = (struct pollfd){.fd = c->ring.doorbell, .events = POLLIN};
            p[n++] = (struct pollfd){.fd = c->out, .events = POLLIN};
            p[n++] = (struct pollfd){.fd = c->err, .events = POLLIN};
            p[n++] = (struct pollfd){.fd = c->pidfd, .events = POLLIN};
        }
        if (poll(p, n, -1) < 0 && errno != EINTR)
            die("poll");
        n = 1;
        for (size_t i = 0; i < ncontexts; i++) {
            struct context *c = contexts[i];
            if (!c->pid)
                continue;
            uint64_t bell;
            int dead = p[n + 3].revents != 0;
            int some = p[n].revents || (p[n + 1].revents & POLLIN) || (p[n + 2].revents & POLLIN);
            n += 4;
            if (some) {
                ssize_t r = read(c->ring.doorbell, &bell, sizeof bell);
                (void)r;
                collect(c);
                round_of(c);
            }
            if (dead)
                ended(c);
        }
        if (p[0].revents) {
            int fd = -1;
            size_t nfds = 1;
            ssize_t len = fd_recv(control, request, sizeof request - 1, &fd, &nfds);
            if (len <= 0)
                return;
            request[len] = 0;
            start(control, request, (size_t)len, fd);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    warm = !strcmp(argv[1], "warm");
    if (!strcmp(argv[1], "node"))
        root = argv[3];
    program = argv[3];
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
    struct rlimit files = {4096, 4096};
    setrlimit(RLIMIT_NOFILE, &files);
    int64_t t = now_us();
    if (warm && python_ops()->preload() < 0)
        return 1;
    int control = (int)strtol(argv[2], NULL, 10);
    char ready[64];
    snprintf(ready, sizeof ready, "ready %lld", (long long)(now_us() - t));
    fd_send(control, ready, strlen(ready), NULL, 0);
    serve(control);
    for (size_t i = 0; i < ncontexts; i++)
        if (contexts[i]->pid)
            kill(contexts[i]->pid, SIGKILL);
    return 0;
}
