/*
 * Directories by a path that others can change: each part must be a real directory on the same
 * mount as `root`, never a link, and what was found is held by its descriptor. For everything that
 * root of the host or of a box does by a path of the box.
 */
#pragma once

#include <stdbool.h>

/*
 * path: absolute or not, taken from `root`. make: missing parts are made, 0755. An O_PATH
 * descriptor, or -ELOOP: a link; -EXDEV: another file system is mounted there; -EINVAL: it has
 * ".."; -ENOENT, -ENOTDIR...
 */
int beneath_open_dir(int root, const char *path, bool make);
