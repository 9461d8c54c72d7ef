/* LINK: cbx_init */
/* Init's side of processes, without a box: start, streams, ends, what a reader may do to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/init/process.h"
#include "sandbox/init/spawn.h"

struct world {
    struct processes table;
    int epoll;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    processes_init(&w->table, w->epoll, false);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    processes_deinit(&w->table);
    close(w->epoll);
    free(w);
    return 0;
}

/* One turn of init's loop. */
static void turn(struct world *w)
{
    struct epoll_event ev;
    int status;
    pid_t pid;
    processes_tick(&w->table, process_now_us());
    if (epoll_wait(w->epoll, &ev, 1, 5) == 1)
        ((struct init_watch *)ev.data.ptr)->ready(ev.data.ptr, ev.events);
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        processes_reaped(&w->table, pid, status);
    processes_settle(&w->table);
}

/* spec of argv, no environment */
static struct process *start(struct world *w, const char *const *argv, uint8_t flags, int stream,
                             struct err *err)
{
    struct wire_process_start st = {
        .kind = WIRE_PROCESS_COMMAND, .flags = flags, .grace_ms = 200, .log_max = 1 << 20};
    char *spec = calloc(1, 4096);
    size_t len = 1;
    snprintf(st.id, sizeof st.id, "t");
    for (; *argv; argv++, st.argc++) {
        memcpy(spec + len, *argv, strlen(*argv) + 1);
        len += strlen(*argv) + 1;
    }
    st.spec_len = (uint32_t)len;
    return process_start(&w->table, &st, spec, -1, stream, err);
}

struct reader {
    int fd;
    uint8_t bytes[1 << 20];
    size_t len;
    char out[4096], err[4096];
    size_t out_len, err_len;
    bool ended;
    struct wire_process_info end;
};

static void reader_open(struct reader *r, int *theirs)
{
    int fds[2];
    memset(r, 0, sizeof *r);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    r->fd = fds[0];
    *theirs = fds[1];
}

static void reader_take(struct reader *r, const struct wire_frame *f, const uint8_t *payload)
{
    if (f->type == WIRE_FRAME_STDOUT && r->out_len + f->len < sizeof r->out) {
        memcpy(r->out + r->out_len, payload, f->len);
        r->out_len += f->len;
    } else if (f->type == WIRE_FRAME_STDERR && r->err_len + f->len < sizeof r->err) {
        memcpy(r->err + r->err_len, payload, f->len);
        r->err_len += f->len;
    } else if (f->type == WIRE_FRAME_EXIT) {
        memcpy(&r->end, payload, sizeof r->end);
        r->ended = true;
    }
}

static void reader_turn(struct reader *r)
{
    struct wire_frame f;
    long n;
    ssize_t got = recv(r->fd, r->bytes + r->len, sizeof r->bytes - r->len, MSG_DONTWAIT);
    r->len += got > 0 ? (size_t)got : 0;
    while ((n = wire_frame_parse(r->bytes, r->len, &f)) > 0) {
        reader_take(r, &f, r->bytes + sizeof f);
        r->len -= (size_t)n;
        memmove(r->bytes, r->bytes + n, r->len);
    }
    assert_int_equal(n, 0);
}

static void until_ended(struct world *w, struct reader *r)
{
    int64_t end = process_now_us() + 20000000;
    while (!r->ended && process_now_us() < end) {
        turn(w);
        reader_turn(r);
    }
    assert_true(r->ended);
}

static void until_empty(struct world *w)
{
    int64_t end = process_now_us() + 20000000;
    while (w->table.count && process_now_us() < end)
        turn(w);
    assert_int_equal(w->table.count, 0);
}

static void send_frame(int fd, uint16_t type, const void *data, uint32_t len)
{
    struct wire_frame f = {.type = type, .len = len};
    assert_int_equal(send(fd, &f, sizeof f, 0), sizeof f);
    if (len)
        assert_int_equal(send(fd, data, len, 0), len);
}

static void test_output_and_end(void **state)
{
    struct world *w = *state;
    static struct reader r;
    struct err err = {0};
    int theirs;
    const char *argv[] = {"/bin/sh", "-c", "echo out; echo err >&2; exit 3", NULL};
    reader_open(&r, &theirs);
    assert_non_null(start(w, argv, WIRE_PROCESS_TIED, theirs, &err));
    until_ended(w, &r);
    assert_int_equal(WEXITSTATUS(r.end.status), 3);
    assert_memory_equal(r.out, "out\n", 4);
    assert_memory_equal(r.err, "err\n", 4);
    until_empty(w);
    close(r.fd);
}

static void test_errors_of_exec(void **state)
{
    struct world *w = *state;
    struct err err = {0};
    const char *missing[] = {"/no/such", NULL}, *denied[] = {"/etc/passwd", NULL};
    assert_null(start(w, missing, 0, -1, &err));
    assert_int_equal(err.code, -ENOENT);
    assert_string_equal(err.step, "execute");
    err = (struct err){0};
    assert_null(start(w, denied, 0, -1, &err));
    assert_int_equal(err.code, -EACCES);
    until_empty(w);
}

static void test_input(void **state)
{
    struct world *w = *state;
    static struct reader r;
    struct err err = {0};
    int theirs;
    const char *argv[] = {"/bin/sh", "-c", "cat; echo end", NULL};
    reader_open(&r, &theirs);
    assert_non_null(start(w, argv, WIRE_PROCESS_TIED | WIRE_PROCESS_STDIN, theirs, &err));
    send_frame(r.fd, WIRE_FRAME_STDIN, "hello", 5);
    send_frame(r.fd, WIRE_FRAME_STDIN_END, NULL, 0);
    until_ended(w, &r);
    assert_memory_equal(r.out, "helloend\n", 9);
    close(r.fd);
    until_empty(w);
}

static void test_owner_that_leaves_kills(void **state)
{
    struct world *w = *state;
    static struct reader r;
    struct err err = {0};
    int theirs;
    const char *argv[] = {"/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done", NULL};
    reader_open(&r, &theirs);
    assert_non_null(start(w, argv, WIRE_PROCESS_TIED, theirs, &err));
    close(r.fd);
    until_empty(w);
}

/* Bytes that are no frames end the stream, and with it the command that it owned. */
static void test_garbage_from_a_reader(void **state)
{
    struct world *w = *state;
    static struct reader r;
    struct err err = {0};
    int theirs;
    const char *argv[] = {"/bin/sh", "-c", "sleep 100", NULL};
    uint8_t garbage[64];
    memset(garbage, 0xff, sizeof garbage);
    reader_open(&r, &theirs);
    assert_non_null(start(w, argv, WIRE_PROCESS_TIED, theirs, &err));
    assert_int_equal(send(r.fd, garbage, sizeof garbage, 0), sizeof garbage);
    until_empty(w);
    close(r.fd);
}

static void test_malformed_specs(void **state)
{
    struct world *w = *state;
    struct wire_process_start good = {.kind = WIRE_PROCESS_COMMAND, .argc = 1, .spec_len = 6};
    static const struct {
        uint32_t argc, envc, note_len, spec_len;
    } bad[] = {{0, 0, 0, 6},   {2, 0, 0, 6},   {1, 1, 0, 6},   {1, 0, 7, 6}, {1, 0, 0, 5},
               {~0u, 0, 0, 6}, {1, ~0u, 0, 6}, {1, 0, ~0u, 6}, {1, 0, 1, 6}, {1, 0, 0, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct wire_process_start st = good;
        struct err err = {0};
        char *spec = malloc(7);
        memcpy(spec, "\0true\0", 7);
        st.argc = bad[i].argc;
        st.envc = bad[i].envc;
        st.note_len = bad[i].note_len;
        st.spec_len = bad[i].spec_len;
        assert_null(process_start(&w->table, &st, spec, -1, -1, &err));
        assert_int_not_equal(err.code, 0);
    }
    assert_int_equal(w->table.count, 0);
}

/* What a child that does not get on may still use is given up, not freed. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:spawn_run\n";
}

/* A working directory whose server answers nothing: whoever waits for the child must not. */
static void test_a_directory_that_never_answers(void **state)
{
    char dir[] = "/tmp/cbx-silent-XXXXXX", data[96], *argv[] = {"true", NULL}, *envp[] = {NULL};
    (void)state;
    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0)
        return;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    int server = open("/dev/fuse", O_RDWR | O_CLOEXEC),
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (server < 0)
        return;
    snprintf(data, sizeof data, "fd=%d,rootmode=40000,user_id=0,group_id=0", server);
    assert_int_equal(mount("silent", dir, "fuse.silent", MS_NOSUID, data), 0);
    struct spawn s = {
        .cwd = dir, .argv = argv, .envp = envp, .fds = {null, null, null}, .extra = {-1, -1}};
    struct err err = {0};
    pid_t pid = -1;
    assert_int_equal(spawn_run(&s, &pid, &err), -ETIMEDOUT);
    assert_string_equal(err.step, SPAWN_STEP_CWD);
    close(server); /* ends whoever still waits */
    umount2(dir, MNT_DETACH);
    rmdir(dir);
    s.cwd = "/";
    assert_int_equal(spawn_run(&s, &pid, &err), 0);
    while (waitpid(-1, NULL, 0) > 0)
        ;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_output_and_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_of_exec, setup, teardown),
        cmocka_unit_test_setup_teardown(test_input, setup, teardown),
        cmocka_unit_test_setup_teardown(test_owner_that_leaves_kills, setup, teardown),
        cmocka_unit_test_setup_teardown(test_garbage_from_a_reader, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed_specs, setup, teardown),
        cmocka_unit_test(test_a_directory_that_never_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
