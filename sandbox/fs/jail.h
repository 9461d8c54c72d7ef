/*
 * The root of a process that speaks with strangers: an empty, read-only file system with the few
 * files and folders that it needs at their own paths, and a /proc of its own processes only. What
 * is not named does not exist for it.
 */
#pragma once

#include "sandbox/base/err.h"

struct jail {
    const char *root; /* an empty directory, used only inside the caller's mount namespace */
    const char *const
        *readable; /* absolute paths of files and folders, NULL ends; absent is fine */
    const char *const *writable; /* the same; nothing in them can be executed */
};

/* Root of the host, first process of new mount and pid namespaces. Descriptors stay what they are.
 */
int jail_enter(const struct jail *j, struct err *err);
