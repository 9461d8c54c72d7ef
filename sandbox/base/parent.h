/* Children that must not outlive who started them. */
#pragma once

#include <sys/types.h>

/* In the child, after its last change of identity (which undoes it). parent: getpid() of before the
 * fork; one that has died meanwhile would send no signal, so then the child ends here. */
void parent_bind(pid_t parent);
