#include "sandbox/boxd/services.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "sandbox/base/log.h"
#include "sandbox/boxd/server.h"

/* Libraries, and the local time of the log. */
static const char *const common[] = {"/usr/lib",
                                     "/usr/lib64",
                                     "/usr/lib32",
                                     "/lib",
                                     "/lib64",
                                     "/lib32",
                                     "/usr/local/lib",
                                     "/etc/ld.so.cache",
                                     "/etc/ld.so.conf",
                                     "/etc/localtime",
                                     "/usr/share/zoneinfo",
                                     "/etc/ssl/openssl.cnf",
                                     NULL};

/* Whom it trusts, how names are found, and Node for handlers. */
static const char *const egress_more[] = {"/etc/ssl/certs",
                                          "/etc/ssl/cert.pem",
                                          "/etc/pki/tls/certs",
                                          "/etc/pki/ca-trust/extracted",
                                          "/usr/share/ca-certificates",
                                          "/usr/local/share/ca-certificates",
                                          "/etc/resolv.conf",
                                          "/etc/hosts",
                                          "/etc/host.conf",
                                          "/etc/nsswitch.conf",
                                          "/etc/gai.conf",
                                          "/usr/bin/node",
                                          "/usr/share/nodejs",
                                          NULL};

enum { PIDS = 4096 };
static const uint64_t least_memory = 1ull << 30;

static void services_files(struct server *s)
{
    size_t n = 0, room = sizeof s->egress_readable / sizeof *s->egress_readable - 1;
    for (const char *const *p = common; *p && n < room; p++)
        s->egress_readable[n++] = *p;
    for (const char *const *p = egress_more; *p && n < room; p++)
        s->egress_readable[n++] = *p;
    if (n < room)
        s->egress_readable[n++] = s->handlers;
    s->gateway_writable[0] = s->gateway_state;
    s->egress_writable[0] = s->egress_state;
    s->gateway_jail = (struct jail){s->jail_root, common, s->gateway_writable};
    s->egress_jail = (struct jail){s->jail_root, s->egress_readable, s->egress_writable};
}

/* So that a flood ends the one that it floods, and not the machine. */
static int services_group(struct server *s, const char *name, uint64_t memory, struct cgroup **ret,
                          struct err *err)
{
    const struct cgroup_limits limits = {.memory = memory < least_memory ? least_memory : memory,
                                         .pids = PIDS};
    int r = cgroup_new(s->cgroups, name, ret, err);
    return r < 0 ? r : cgroup_set_limits(*ret, &limits, err);
}

int services_prepare(struct server *s, struct err *err)
{
    struct sysinfo machine;
    snprintf(s->jail_root, sizeof s->jail_root, "/run/cellbox/root-%d", (int)getpid());
    if (mkdir(s->jail_root, 0700) < 0 && errno != EEXIST)
        return err_set(err, -errno, "make directory", "%s: %s", s->jail_root, strerror(errno));
    services_files(s);
    uint64_t ram = sysinfo(&machine) < 0 ? 0 : (uint64_t)machine.totalram * machine.mem_unit;
    int r = services_group(s, "gateway", ram / 2, &s->gateway_group, err);
    return r < 0 ? r : services_group(s, "egress", ram / 4, &s->egress_group, err);
}

void services_undo(struct server *s)
{
    if (cgroup_free(s->gateway_group) < 0 || cgroup_free(s->egress_group) < 0)
        log_warn("server", "cgroup_busy", NULL);
    rmdir(s->jail_root);
}
