/*
 * An image's name is the sha256 of its file. It is compared once for a boot of the host, which
 * takes about a second for a GiB; what was found is kept in /run/cellbox/images with the file's
 * device, inode, size and times, so any change of the file means another look. Blocks: for a child
 * of B.
 */
#pragma once

#include "sandbox/base/err.h"

/* -EBADMSG: the file holds something else. */
int image_verify(const char *image_dir, const char *sha, struct err *err);
