/* LINK: cbx_cgroup */
/* Both backends against a fake tree: the files that a real hierarchy has are made by hand after
 * each mkdir. */
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
#include <unistd.h>

#include <cmocka.h>

#include "sandbox/cgroup/cgroup.h"

static char top[64];

static void make(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", top, path);
    for (char *p = full + strlen(top) + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        mkdir(full, 0755);
        *p = '/';
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static const char *content(const char *path)
{
    static char text[256];
    char full[512];
    snprintf(full, sizeof full, "%s/%s", top, path);
    FILE *f = fopen(full, "r");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = 0;
    fclose(f);
    return text;
}

static int set_up(void **state)
{
    (void)state;
    snprintf(top, sizeof top, "/tmp/cellbox-cgroup-test-XXXXXX");
    return mkdtemp(top) ? 0 : -1;
}

static void v2_writes_its_files(void **state)
{
    struct cgroup_root *root;
    struct cgroup *g;
    struct err err = {0};
    struct cgroup_usage u;
    struct cgroup_limits limits = {.memory = 1 << 20, .cpu = 1500, .pids = 10};
    (void)state;

    make("proc/self/mountinfo", "30 23 0:26 / /cg rw - cgroup2 cgroup2 rw\n");
    make("proc/self/cgroup", "0::/user\n");
    make("cg/cgroup.controllers", "cpuset cpu io memory pids\n");
    make("cg/cgroup.subtree_control", "");
    make("cg/box/cgroup.subtree_control", "");
    assert_int_equal(cgroup_root_open(top, "box", &root, &err), 0);
    assert_string_equal(cgroup_root_kind(root), "v2");
    assert_string_equal(content("cg/box/cgroup.subtree_control"), "+memory +cpu +pids");
    assert_int_equal(cgroup_new(root, "b1", &g, &err), 0);
    static const char *const files[] = {"memory.max", "memory.swap.max", "cpu.max",
                                        "pids.max",   "cgroup.procs",    "cgroup.freeze"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[128];
        snprintf(path, sizeof path, "cg/box/b1/%s", files[i]);
        make(path, "");
    }
    assert_int_equal(cgroup_set_limits(g, &limits, &err), 0);
    assert_string_equal(content("cg/box/b1/memory.max"), "1048576");
    assert_string_equal(content("cg/box/b1/cpu.max"), "150000 100000");
    assert_string_equal(content("cg/box/b1/pids.max"), "10");
    assert_int_equal(cgroup_attach(g, 4242, &err), 0);
    assert_string_equal(content("cg/box/b1/cgroup.procs"), "4242");
    assert_int_equal(cgroup_freeze(g, 1, &err), 0);
    assert_string_equal(content("cg/box/b1/cgroup.freeze"), "1");
    make("cg/box/b1/cpu.stat", "usage_usec 12\nuser_usec 9\n");
    make("cg/box/b1/memory.current", "4096\n");
    make("cg/box/b1/memory.events", "low 0\nhigh 0\noom 2\noom_kill 1\n");
    make("cg/box/b1/pids.current", "3\n");
    assert_int_equal(cgroup_usage(g, &u), 0);
    assert_int_equal(u.cpu_ns, 12000);
    assert_int_equal(u.memory, 4096);
    assert_int_equal(u.oom_kills, 1);
    assert_int_equal(u.pids, 3);
    assert_int_equal(cgroup_free(g), 0);
    cgroup_root_close(root);
}

static void v1_uses_one_directory_per_controller(void **state)
{
    struct cgroup_root *root;
    struct cgroup *g;
    struct err err = {0};
    struct cgroup_usage u;
    struct cgroup_limits limits = {.memory = 1 << 20, .cpu = 500, .pids = 10};
    (void)state;

    make("proc/self/mountinfo",
         "1 1 0:1 / /m rw - cgroup cgroup rw,memory\n2 1 0:2 / /c rw - cgroup cgroup "
         "rw,cpu,cpuacct\n"
         "3 1 0:3 / /p rw - cgroup cgroup rw,pids\n4 1 0:4 / /f rw - cgroup cgroup rw,freezer\n");
    make("proc/self/cgroup", "3:memory:/own\n2:cpu,cpuacct:/\n1:pids:/\n");
    make("m/own/tasks", "");
    make("c/tasks", "");
    make("p/tasks", "");
    make("f/tasks", "");
    assert_int_equal(cgroup_root_open(top, "box", &root, &err), 0);
    assert_string_equal(cgroup_root_kind(root), "v1");
    assert_int_equal(cgroup_new(root, "b1", &g, &err), 0);
    static const char *const files[] = {"m/own/box/b1/memory.limit_in_bytes",
                                        "m/own/box/b1/cgroup.procs",
                                        "c/box/b1/cpu.cfs_period_us",
                                        "c/box/b1/cpu.cfs_quota_us",
                                        "c/box/b1/cgroup.procs",
                                        "p/box/b1/pids.max",
                                        "p/box/b1/cgroup.procs",
                                        "f/box/b1/freezer.state",
                                        "f/box/b1/cgroup.procs"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        make(files[i], "");
    assert_int_equal(cgroup_set_limits(g, &limits, &err), 0);
    assert_string_equal(content("m/own/box/b1/memory.limit_in_bytes"), "1048576");
    assert_string_equal(content("c/box/b1/cpu.cfs_quota_us"), "50000");
    assert_int_equal(cgroup_attach(g, 99, &err), 0);
    assert_string_equal(content("f/box/b1/cgroup.procs"), "99");
    assert_int_equal(cgroup_freeze(g, 1, &err), 0);
    assert_string_equal(content("f/box/b1/freezer.state"), "FROZEN");
    make("c/box/b1/cpuacct.usage", "77\n");
    make("m/own/box/b1/memory.usage_in_bytes", "4096\n");
    make("m/own/box/b1/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n");
    make("p/box/b1/pids.current", "2\n");
    assert_int_equal(cgroup_usage(g, &u), 0);
    assert_int_equal(u.cpu_ns, 77);
    assert_int_equal(u.oom_kills, 5);
    assert_int_equal(cgroup_free(g), 0);
    cgroup_root_close(root);
}

static void no_hierarchy_is_a_named_error(void **state)
{
    struct cgroup_root *root;
    struct err err = {0};
    (void)state;
    make("proc/self/mountinfo", "1 1 0:1 / / rw - ext4 /dev/x rw\n");
    make("proc/self/cgroup", "");
    assert_int_equal(cgroup_root_open(top, "box", &root, &err), -ENOENT);
    assert_string_equal(err.text, "no memory hierarchy is mounted");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(v2_writes_its_files, set_up),
        cmocka_unit_test_setup(v1_uses_one_directory_per_controller, set_up),
        cmocka_unit_test_setup(no_hierarchy_is_a_named_error, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
