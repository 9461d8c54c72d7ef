/* LINK: cbx_fs cbx_base */
/*
 * Landlock domain of a box: what is not below the root it was entered with stays shut, also through
 * a descriptor that was open before.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandbox/fs/confine.h"

struct trees {
    char top[64], inside[96], outside[96];
};

static void make_file(const char *dir, const char *name)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    close(fd);
}

static int setup(void **state)
{
    struct trees *t = calloc(1, sizeof *t);
    snprintf(t->top, sizeof t->top, "/tmp/confine-XXXXXX");
    assert_non_null(mkdtemp(t->top));
    snprintf(t->inside, sizeof t->inside, "%s/inside", t->top);
    snprintf(t->outside, sizeof t->outside, "%s/outside", t->top);
    assert_int_equal(mkdir(t->inside, 0755), 0);
    assert_int_equal(mkdir(t->outside, 0755), 0);
    make_file(t->inside, "mine");
    make_file(t->outside, "theirs");
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct trees *t = *state;
    char path[160];
    static const char *const files[] = {"inside/mine", "inside/new", "outside/theirs",
                                        "inside",      "outside",    "."};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", t->top, files[i]);
        if (unlink(path) < 0)
            rmdir(path);
    }
    rmdir(t->top);
    free(t);
    return 0;
}

/* In the child: the number of the step that went otherwise than it must, 0 for none. */
static int attack(const struct trees *t)
{
    struct err err = {0};
    int outside = open(t->outside, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int file = openat(outside, "theirs", O_RDONLY | O_CLOEXEC);
    char c;

    if (outside < 0 || file < 0)
        return 1;
    if (chroot(t->inside) < 0 || chdir("/") < 0)
        return 2;
    int through =
        openat(outside, "theirs", O_RDONLY | O_CLOEXEC); /* a chroot alone stops nothing */
    if (through < 0)
        return 3;
    if (confine_to_root(&err) < 0)
        return 4;
    if (openat(outside, "theirs", O_RDONLY | O_CLOEXEC) >= 0 || errno != EACCES)
        return 5;
    if (openat(outside, "theirs", O_WRONLY | O_CLOEXEC) >= 0 || errno != EACCES)
        return 6;
    if (openat(outside, "new", O_CREAT | O_WRONLY | O_CLOEXEC, 0600) >= 0 || errno != EACCES)
        return 7;
    if (openat(outside, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) >= 0 || errno != EACCES)
        return 8;
    if (unlinkat(outside, "theirs", 0) == 0 || errno != EACCES)
        return 9;
    if (openat(outside, "../inside/mine", O_RDONLY | O_CLOEXEC) <
        0) /* below the root, by whatever way */
        return 10;
    int mine = open("/mine", O_RDWR | O_CLOEXEC),
        made = open("/new", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (mine < 0 || made < 0 || write(made, "x", 1) != 1 || unlink("/new") < 0)
        return 11;
    return read(file, &c, 1) < 0 ? 12 : 0; /* what was open stays open */
}

static void outside_of_the_root_is_shut(void **state)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(attack(*state));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    if (geteuid() != 0) {
        fprintf(stderr, "test_confine needs root for chroot\n");
        return getenv("MUST_WORK") ? 1 : 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(outside_of_the_root_is_shut, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
