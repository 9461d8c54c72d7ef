/* LINK: cbx_store */
/* LABELS: threads */
/* The registry: what is written when, in which order, and what a disk that takes nothing does to
 * it. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernel-gw/store/store.h"
#include "sandbox/base/buf.h"

static const uint8_t key[STORE_KEY] = {7};
static char path[] = "/tmp/cellbox-store-XXXXXX", file[64];
static uv_loop_t loop;
static struct store *store;
static uint64_t told;
static int told_status;

static void on_written(void *user, uint64_t number, int status)
{
    (void)user;
    told = number;
    told_status = status;
}

static void open_store(void)
{
    struct err e = {0};
    assert_int_equal(store_open(&loop, file, key, &store, &e), 0);
    store_on_written(store, on_written, NULL);
    told = 0;
}

static void close_store(void)
{
    store_close(store);
    uv_run(&loop, UV_RUN_DEFAULT);
    store = NULL;
}

/* Runs the loop until something was written, or was not. */
static void until_told(void)
{
    told = 0;
    while (!told)
        uv_run(&loop, UV_RUN_ONCE);
}

static void append(void *user, const char *id, const char *json)
{
    buf_printf(user, "%s=%s ", id, json);
}

static void assert_documents(const char *want)
{
    CLEANUP_BUF struct buf got = {0};
    open_store();
    assert_int_equal(store_each_document(store, "k", append, &got), 0);
    close_store();
    assert_string_equal(got.len ? buf_str(&got) : "", want);
}

static int set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(path));
    snprintf(file, sizeof file, "%s/registry.db", path);
    /* A full disk, as far as a process can make one for itself. */
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGXFSZ, &ignore, NULL);
    return uv_loop_init(&loop);
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "%s-wal", file);
    unlink(command);
    snprintf(command, sizeof command, "%s-shm", file);
    unlink(command);
    unlink(file);
    return rmdir(path) | uv_loop_close(&loop);
}

static void test_pending_until_written(void **state)
{
    (void)state;
    open_store();
    assert_int_equal(store_pending(store, NULL, 0), 0);
    store_put_document(store, "k", "box/1", "a", STORE_NOW);
    store_put_document(store, "k", "other", "b", STORE_LATER);
    uint64_t number = store_pending(store, "box/1", 3);
    assert_true(number > 0);
    assert_int_equal(store_pending(store, NULL, 0), number);
    assert_int_equal(store_pending(store, "other", 5), 0); /* nobody is told of it */
    until_told();
    assert_int_equal(told, number);
    assert_int_equal(told_status, 0);
    assert_int_equal(store_pending(store, "box", 3), 0);
    close_store();
    assert_documents("box/1=a other=b "); /* both in one transaction */
}

/* What changes while a transaction runs is in the next one, and the last word counts. */
static void test_changes_during_a_transaction(void **state)
{
    char text[16];
    (void)state;
    open_store();
    for (int i = 0; i < 500; i++) {
        snprintf(text, sizeof text, "%d", i);
        store_put_document(store, "k", "box/1", text, STORE_NOW);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    store_put_document(store, "k", "other", NULL, STORE_NOW);
    while (store_pending(store, NULL, 0))
        uv_run(&loop, UV_RUN_ONCE);
    close_store();
    assert_documents("box/1=499 ");
}

static void test_closed_during_a_transaction(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        open_store();
        store_put_document(store, "k", "box/1", i % 2 ? "odd" : "even", STORE_NOW);
        for (int turns = 0; turns < i % 4; turns++)
            uv_run(&loop, UV_RUN_NOWAIT);
        close_store();
        assert_documents(i % 2 ? "box/1=odd " : "box/1=even ");
    }
}

static void test_disk_that_takes_nothing(void **state)
{
    struct rlimit usual, none;
    (void)state;
    open_store();
    getrlimit(RLIMIT_FSIZE, &usual);
    none = (struct rlimit){0, usual.rlim_max};
    setrlimit(RLIMIT_FSIZE, &none);
    store_put_document(store, "k", "box/1", "first", STORE_NOW);
    until_told();
    assert_true(told_status < 0);
    assert_true(store_pending(store, "box", 3) > 0); /* still not on disk */
    store_put_document(store, "k", "box/1", "second", STORE_NOW);
    store_put_document(store, "k", "box/2", "third", STORE_NOW);
    until_told();
    assert_true(told_status < 0);
    setrlimit(RLIMIT_FSIZE, &usual);
    while (store_pending(store, NULL, 0)) /* it tries again by itself */
        until_told();
    assert_int_equal(told_status, 0);
    close_store();
    assert_documents("box/1=second box/2=third ");
}

/* What a newer server has written is neither read nor changed. */
static void test_newer_schema(void **state)
{
    /* user_version, by SQLite's file format */
    static const uint8_t version[] = {0, 0, 0, 99};
    struct err e = {0};
    (void)state;
    int fd = open(file, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, version, sizeof version, 60), sizeof version);
    close(fd);
    struct store *none = NULL;
    assert_int_equal(store_open(&loop, file, key, &none, &e), -EPROTO);
    assert_non_null(strstr(e.text, "newer version"));
    uv_run(&loop, UV_RUN_DEFAULT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pending_until_written),
        cmocka_unit_test(test_changes_during_a_transaction),
        cmocka_unit_test(test_closed_during_a_transaction),
        cmocka_unit_test(test_disk_that_takes_nothing),
        cmocka_unit_test(test_newer_schema),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
