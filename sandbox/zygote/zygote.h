/*
 * Z: a warm interpreter that clones itself into new boxes. Single-threaded, runs no user code,
 * holds no secret, is root of a user namespace that owns nothing of the host, and sees only the
 * image. The child of a clone becomes I.
 */
#pragma once

#include "sandbox/init/boot.h"

enum { ZYGOTE_LINK_FD = 3 };

/* main() of the zygote process; argc and argv are those behind --zygote. Speaks WIRE_CLONE and
 * WIRE_NETNS on fd 3. */
int zygote_main(const struct interpreter_ops *ops, int argc, char **argv);
