#include "sandbox/fs/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/base/fd.h"

int confine_to_root(struct err *err)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1)
        return 0;
    uint64_t rights = (1ull << 13) - 1; /* ABI 1: all up to MAKE_SYM */
    if (abi >= 2)
        rights |= 1ull << 13; /* REFER */
    if (abi >= 3)
        rights |= 1ull << 14; /* TRUNCATE */
    if (abi >= 5)
        rights |= 1ull << 15; /* IOCTL_DEV */
    struct landlock_ruleset_attr attr = {.handled_access_fs = rights};
    CLEANUP_FD int rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    CLEANUP_FD int root = open("/", O_PATH | O_CLOEXEC);
    if (rules < 0 || root < 0)
        return err_set(err, -errno, "make landlock rules", NULL);
    struct landlock_path_beneath_attr beneath = {.allowed_access = rights, .parent_fd = root};
    if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0)
        return err_set(err, -errno, "add landlock rule", NULL);
    if (syscall(SYS_landlock_restrict_self, rules, 0) < 0)
        return err_set(err, -errno, "enter landlock domain", NULL);
    return 0;
}
