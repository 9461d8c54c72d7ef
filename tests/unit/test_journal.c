/* LINK: cbx_journal */
/* Journal: what was taken from a socket is on file exactly once, also when the writer is killed at
 * a random moment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "contexts/manager/journal/journal.h"

enum { PACKET = 1, OTHER = 2 };

static char dir[64];
static int dirfd_;

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/cellbox-journal-XXXXXX");
    dirfd_ = mkdtemp(dir) ? open(dir, O_DIRECTORY | O_RDONLY) : -1;
    return dirfd_ < 0;
}

static int teardown(void **state)
{
    (void)state;
    unlinkat(dirfd_, "j", 0);
    close(dirfd_);
    return rmdir(dir);
}

static struct journal *open_it(void)
{
    struct journal *j = NULL;
    assert_int_equal(journal_open(dirfd_, "j", PACKET, &j, NULL), 0);
    return j;
}

static void append(struct journal *j, uint8_t kind, const void *data, size_t len)
{
    struct journal_record rec;
    struct iovec iov = {(void *)data, len};
    assert_int_equal(journal_append(j, kind, &iov, 1, &rec), 0);
    assert_int_equal(rec.len, len);
}

static void test_append_and_read(void **state)
{
    struct journal *j = open_it();
    size_t big = 3 << 20;
    char *data = malloc(big);
    (void)state;
    for (int round = 0; round < 2; round++) {
        memset(data, 'a' + round, big);
        append(j, OTHER, data, big);
        for (int i = 0; i < 1000; i++)
            append(j, PACKET, &i, sizeof i);
        journal_close(j);
        j = open_it();
    }
    struct journal_reader r;
    struct journal_record rec;
    journal_reader_init(&r, j, 0);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(journal_read(&r, &rec), 1);
        assert_int_equal(rec.len, big);
        assert_int_equal(rec.data[big - 1], 'a' + round);
        for (int i = 0; i < 1000; i++) {
            assert_int_equal(journal_read(&r, &rec), 1);
            assert_int_equal(rec.kind, PACKET);
            assert_memory_equal(rec.data, &i, sizeof i);
        }
    }
    assert_int_equal(journal_read(&r, &rec), 0);
    journal_reader_deinit(&r);
    journal_close(j);
    free(data);
}

static void test_pending_records(void **state)
{
    struct journal_reader r;
    struct journal_record rec;
    struct journal *j = open_it();
    (void)state;
    append(j, OTHER, "x", 1);
    uint8_t *p = journal_reserve(j, PACKET, 10);
    memcpy(p, "0123456789", 10); /* the kernel filled it, then we were killed */
    journal_close(j);
    j = open_it();
    p = journal_reserve(j, PACKET, 10); /* reserved, but nothing came */
    (void)p;
    journal_close(j);
    j = open_it();
    p = journal_reserve(j, OTHER, 3); /* half-written records of our own do not count */
    memcpy(p, "abc", 3);
    journal_close(j);
    j = open_it();
    p = journal_reserve(j, PACKET, 4000);
    memset(p, 2, 4000); /* looks like record heads */
    journal_discard(j, &rec);
    append(j, OTHER, "y", 1);
    journal_close(j);
    j = open_it();
    journal_reader_init(&r, j, 0);
    const char *want[] = {"x", "0123456789", "y"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(journal_read(&r, &rec), 1);
        assert_int_equal(rec.len, strlen(want[i]));
        assert_memory_equal(rec.data, want[i], rec.len);
    }
    assert_int_equal(journal_read(&r, &rec), 0);
    journal_reader_deinit(&r);
    journal_close(j);
}

static void test_release(void **state)
{
    struct stat before, after;
    struct journal *j = open_it();
    struct journal_reader r;
    struct journal_record rec;
    char block[1000] = {1};
    uint64_t middle = 0;
    (void)state;
    for (int i = 0; i < 4000; i++) {
        if (i == 3000)
            middle = journal_end(j);
        append(j, PACKET, block, sizeof block);
    }
    fstatat(dirfd_, "j", &before, 0);
    journal_release(j, middle);
    fstatat(dirfd_, "j", &after, 0);
    assert_true(after.st_blocks < before.st_blocks / 2);
    journal_close(j);
    j = open_it();
    assert_int_equal(journal_floor(j), middle);
    journal_reader_init(&r, j, 0);
    int n = 0;
    while (journal_read(&r, &rec) == 1)
        n++;
    assert_int_equal(n, 1000);
    journal_reader_deinit(&r);
    journal_close(j);
}

/* Receives numbered packets into the journal as the runner link does, until it is killed. */
static void receiver(int sock)
{
    struct journal *j = NULL;
    struct journal_record rec;
    if (journal_open(dirfd_, "j", PACKET, &j, NULL) < 0)
        _exit(1);
    for (;;) {
        ssize_t n = recv(sock, NULL, 0, MSG_PEEK | MSG_TRUNC);
        if (n <= 0)
            _exit(0);
        uint8_t *p = journal_reserve(j, PACKET, (size_t)n);
        if (recv(sock, p, (size_t)n, MSG_DONTWAIT) != n)
            _exit(2);
        journal_commit(j, &rec);
    }
}

static void sender(int sock, uint32_t packets)
{
    static uint8_t p[4000];
    memset(p, 7, sizeof p);
    for (uint32_t i = 0; i < packets; i++) {
        memcpy(p + 1, &i, sizeof i);
        if (send(sock, p, 100 + i * 7919 % (sizeof p - 100), 0) < 0)
            _exit(1);
    }
    _exit(0);
}

static void test_killed_at_any_moment(void **state)
{
    enum { PACKETS = 20000 };
    int fds[2], status;
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
    pid_t from = fork();
    if (!from)
        sender(fds[1], PACKETS);
    close(fds[1]);
    int kills = 0;
    for (bool done = false; !done; kills++) {
        pid_t pid = fork();
        if (!pid)
            receiver(fds[0]);
        struct timespec t = {.tv_nsec = 5000000 + random() % 10000000};
        nanosleep(&t, NULL);
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        done = WIFEXITED(status);
        if (done)
            assert_int_equal(WEXITSTATUS(status), 0);
    }
    waitpid(from, &status, 0);
    close(fds[0]);
    struct journal *j = open_it();
    struct journal_reader r;
    struct journal_record rec;
    uint32_t i = 0, number;
    journal_reader_init(&r, j, 0);
    for (; journal_read(&r, &rec) == 1; i++) {
        memcpy(&number, rec.data + 1, sizeof number);
        assert_int_equal(number, i);
    }
    assert_int_equal(i, PACKETS);
    assert_true(kills > 3);
    journal_reader_deinit(&r);
    journal_close(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_append_and_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pending_records, setup, teardown),
        cmocka_unit_test_setup_teardown(test_release, setup, teardown),
        cmocka_unit_test_setup_teardown(test_killed_at_any_moment, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
