/* Loop devices. Runs in B. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "sandbox/base/err.h"

/* A device over the file, which frees itself with the last use; its path is in device. The file
 * stays open as long as it. Returns its descriptor. */
int loop_open(int file, bool read_only, char *device, size_t cap, struct err *err);
