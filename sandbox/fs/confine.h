/* Landlock round a box: the second line behind its mount namespace. */
#pragma once

#include "sandbox/base/err.h"

/*
 * From now on this process and its descendants can open files only beneath what is / now, whatever
 * descriptors of other trees they may hold. Needs CAP_SYS_ADMIN or no_new_privs. A kernel without
 * Landlock (0 is returned) lacks this line.
 */
int confine_to_root(struct err *err);
