/*
 * Takes all that it can get of one counter of the kernel, says how much, and holds it until it is
 * killed: take COUNTER [most].
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <mqueue.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long most = 1L << 40;

static long inotify_instances(void)
{
    long n = 0;
    while (n < most && inotify_init1(0) >= 0)
        n++;
    return n;
}

static int watch_fd;
static long watches;

static int watch_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    if (inotify_add_watch(watch_fd, path, IN_MODIFY) < 0 && errno == ENOSPC)
        return 1;
    watches++;
    return watches >= most;
}

static long inotify_watches(void)
{
    watch_fd = inotify_init1(0);
    nftw("/usr", watch_one, 64, FTW_PHYS);
    nftw("/opt", watch_one, 64, FTW_PHYS);
    return watches;
}

static long aio_events(void)
{
    long n = 0;
    for (unsigned size = 65536; size; size /= 2) {
        unsigned long context = 0;
        while (n < most && syscall(SYS_io_setup, size, &context) == 0) {
            n += size;
            context = 0;
        }
    }
    return n;
}

static long timers(void)
{
    long n = 0;
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    timer_t id;
    while (n < most && timer_create(CLOCK_MONOTONIC, &event, &id) == 0)
        n++;
    return n;
}

static long signals(void)
{
    long n = 0;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    while (n < most && sigqueue(getpid(), SIGRTMIN, (union sigval){0}) == 0)
        n++;
    return n;
}

static long terminals(void)
{
    long n = 0;
    while (n < most && open("/dev/ptmx", O_RDWR | O_NOCTTY) >= 0)
        n++;
    return n;
}

static long queues(void)
{
    long n = 0;
    for (char name[32];; n++) {
        struct mq_attr attr = {.mq_maxmsg = 10, .mq_msgsize = 8192};
        snprintf(name, sizeof name, "/q%ld", n);
        if (n >= most || mq_open(name, O_CREAT | O_RDWR, 0600, &attr) < 0)
            return n;
    }
}

static long sysv(void)
{
    long n = 0;
    while (n < most && semget(IPC_PRIVATE, 100, IPC_CREAT | 0600) >= 0)
        n++;
    for (int i = 0; n < most && msgget(IPC_PRIVATE, IPC_CREAT | 0600) >= 0; i++)
        n++;
    for (int i = 0; n < most && shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600) >= 0; i++)
        n++;
    return n;
}

static long keys(void)
{
    long n = 0;
    for (char name[32];; n++) {
        snprintf(name, sizeof name, "k%ld", n);
        if (n >= most || syscall(SYS_add_key, "user", name, "v", 1, -4) < 0)
            return n;
    }
}

static long pipe_pages(void)
{
    long n = 0;
    for (int p[2]; n < most && pipe(p) == 0; n++)
        if (fcntl(p[1], F_SETPIPE_SZ, 1 << 20) < 0)
            fcntl(p[1], F_SETPIPE_SZ, 4096);
    return n;
}

static long epoll_watches(void)
{
    long n = 0;
    int events[1000];
    for (int i = 0; i < 1000; i++)
        events[i] = eventfd(0, 0);
    while (n < most) {
        int e = epoll_create1(0);
        struct epoll_event ev = {.events = EPOLLIN};
        for (int i = 0; i < 1000; i++)
            if (e < 0 || epoll_ctl(e, EPOLL_CTL_ADD, events[i], &ev) < 0)
                return n;
            else
                n++;
    }
    return n;
}

static long locked(void)
{
    long n = 0;
    for (; n < most; n++) {
        void *m = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (m == MAP_FAILED || mlock(m, 1 << 20) < 0)
            break;
    }
    for (int i = 0; i < 64; i++) {
        int id = shmget(IPC_PRIVATE, 1 << 20, IPC_CREAT | 0600);
        if (id < 0 || shmctl(id, SHM_LOCK, NULL) < 0)
            break;
        n++;
    }
    return n;
}

/* The limit of one process is far below what all processes together may have open. */
static long files(void)
{
    enum { PROCESSES = 3 };
    long *count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    long sum = 0;
    int done[2];
    if (pipe(done) < 0)
        return 0;
    for (int i = 0; i < PROCESSES; i++) {
        if (fork() == 0) {
            while (count[i] < most && open("/dev/null", O_RDONLY) >= 0)
                count[i]++;
            (void)!write(done[1], "x", 1);
            for (;;)
                pause();
        }
    }
    for (char c; sum < PROCESSES && read(done[0], &c, 1) == 1;)
        sum++;
    return count[0] + count[1] + count[2];
}

static long processes(void)
{
    long n = 0;
    for (pid_t pid; n < most && (pid = fork()) >= 0; n++)
        if (pid == 0)
            for (;;)
                pause();
    return n;
}

static void *sleeper(void *arg)
{
    for (;;)
        pause();
    return arg;
}

static long threads(void)
{
    long n = 0;
    pthread_attr_t attr;
    pthread_t t;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 65536);
    while (n < most && pthread_create(&t, &attr, sleeper, NULL) == 0)
        n++;
    return n;
}

static long namespaces(void)
{
    long n = 0;
    while (n < most && unshare(CLONE_NEWUSER) == 0)
        n++;
    return n;
}

/* Bytes that nobody reads, in connections of the box with itself. */
static long tcp_memory(void)
{
    static char bytes[65536];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    long sum = 0;
    if (bind(listener, (void *)&at, len) < 0 || listen(listener, 64) < 0 ||
        getsockname(listener, (void *)&at, &len) < 0)
        return -1;
    for (int i = 0; i < 1000 && sum < most; i++) {
        int c = socket(AF_INET, SOCK_STREAM, 0);
        if (c < 0 || connect(c, (void *)&at, sizeof at) < 0)
            break;
        int peer = accept(listener, NULL, NULL);
        int size = 16 << 20;
        setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
        for (ssize_t n; peer >= 0 && (n = send(c, bytes, sizeof bytes, MSG_DONTWAIT)) > 0;)
            sum += n;
    }
    return sum;
}

static long udp_memory(void)
{
    static char bytes[32768];
    long sum = 0;
    for (int i = 0; i < 20000 && sum < most; i++) {
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof at;
        int s = socket(AF_INET, SOCK_DGRAM, 0);
        if (s < 0 || bind(s, (void *)&at, len) < 0 || getsockname(s, (void *)&at, &len) < 0)
            break;
        for (int j = 0; j < 6; j++) {
            ssize_t n = sendto(s, bytes, sizeof bytes, MSG_DONTWAIT, (void *)&at, sizeof at);
            sum += n > 0 ? n : 0;
        }
    }
    return sum;
}

/* Descriptors on their way: in no table of a process. */
static long in_flight(void)
{
    long n = 0;
    int pair[2];
    while (n < most && socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0) {
        for (int i = 0; i < 10; i++) {
            char room[CMSG_SPACE(200 * sizeof(int))] = {0}, c = 0;
            struct iovec v = {&c, 1};
            struct msghdr m = {
                .msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
            struct cmsghdr *h = CMSG_FIRSTHDR(&m);
            h->cmsg_level = SOL_SOCKET;
            h->cmsg_type = SCM_RIGHTS;
            h->cmsg_len = CMSG_LEN(200 * sizeof(int));
            for (int k = 0; k < 200; k++)
                ((int *)CMSG_DATA(h))[k] = 0;
            if (sendmsg(pair[0], &m, MSG_DONTWAIT) < 0) {
                if (errno == ETOOMANYREFS)
                    return n;
                break;
            }
            n += 200;
        }
    }
    return n;
}

static long connections(void)
{
    long n = 0;
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    for (int port = 1; port < 65536 && n < most; port++)
        for (int last = 1; last < 3; last++) {
            struct sockaddr_in at = {.sin_family = AF_INET,
                                     .sin_port = htons((uint16_t)port),
                                     .sin_addr.s_addr = htonl(0x7f000000u | (uint32_t)last)};
            n += sendto(s, "x", 1, MSG_DONTWAIT, (void *)&at, sizeof at) == 1;
        }
    return n;
}

/* An entry of the table of neighbours, which all network namespaces share, for each address. */
static long link_neighbours(void)
{
    long n = 0;
    int s = socket(AF_INET6, SOCK_DGRAM, 0);
    for (uint32_t i = 1; i < 6000 && n < most; i++) {
        struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
        uint32_t low = htonl(i), high = htonl(0x20010db8);
        memcpy(at.sin6_addr.s6_addr, &high, 4);
        memcpy(at.sin6_addr.s6_addr + 12, &low, 4);
        n += sendto(s, "x", 1, MSG_DONTWAIT, (void *)&at, sizeof at) == 1;
    }
    return n;
}

static long tmpfs_inodes(void)
{
    long n = 0;
    for (char name[64]; n < 3000000 && n < most; n++) {
        snprintf(name, sizeof name, "/dev/shm/inode-%ld", n);
        int fd = open(name, O_CREAT | O_WRONLY, 0600);
        if (fd < 0)
            break;
        close(fd);
    }
    return n;
}

static long dentries(void)
{
    long n = 0;
    struct stat st;
    for (char name[64]; n < 1000000 && n < most; n++) {
        snprintf(name, sizeof name, "/dev/shm/absent-%ld", n);
        if (stat(name, &st) == 0)
            break;
    }
    return n;
}

static long privileged(void)
{
    long n = mount("tmpfs", "/tmp", "tmpfs", 0, NULL) == 0;
    n += swapon("/tmp/swap", 0) == 0;
    n += open("/dev/loop-control", O_RDWR) >= 0;
    n += open("/dev/loop0", O_RDWR) >= 0;
    n += socket(AF_NETLINK, SOCK_RAW, 12 /* netfilter */) >= 0;
    return n;
}

static const struct {
    const char *name;
    long (*take)(void);
} counters[] = {
    {"inotify-instances", inotify_instances},
    {"inotify-watches", inotify_watches},
    {"aio-events", aio_events},
    {"timers", timers},
    {"signals", signals},
    {"terminals", terminals},
    {"queues", queues},
    {"sysv", sysv},
    {"keys", keys},
    {"pipe-pages", pipe_pages},
    {"epoll-watches", epoll_watches},
    {"locked", locked},
    {"files", files},
    {"processes", processes},
    {"threads", threads},
    {"namespaces", namespaces},
    {"tcp-memory", tcp_memory},
    {"udp-memory", udp_memory},
    {"in-flight", in_flight},
    {"connections", connections},
    {"link-neighbours", link_neighbours},
    {"tmpfs-inodes", tmpfs_inodes},
    {"dentries", dentries},
    {"privileged", privileged},
};

int main(int argc, char **argv)
{
    struct rlimit l;
    getrlimit(RLIMIT_NOFILE, &l);
    l.rlim_cur = l.rlim_max;
    setrlimit(RLIMIT_NOFILE, &l);
    if (argc > 2)
        most = strtol(argv[2], NULL, 10);
    for (size_t i = 0; argc > 1 && i < sizeof counters / sizeof *counters; i++) {
        if (strcmp(counters[i].name, argv[1]))
            continue;
        long n = counters[i].take();
        printf("HELD %ld %s\n", n, errno ? strerrorname_np(errno) : "");
        fflush(stdout);
        for (;;)
            pause();
    }
    return 2;
}
