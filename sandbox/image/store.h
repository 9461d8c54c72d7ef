/*
 * The image store: IMAGE_DIR/<sha256>.erofs with <sha256>.json beside it, IMAGE_DIR/refs/<name>
 * holding a sha256. Images are made by `cellbox image build` (sandbox/image/recipe); this side only
 * resolves and mounts them. Runs in B.
 */
#pragma once

#include "sandbox/base/err.h"

enum { IMAGE_SHA = 65 };

/* name: a reference, a full sha256, or "" for "default". -ENOENT with a sentence that says what to
 * do. */
int image_resolve(const char *image_dir, const char *name, char ret_sha[IMAGE_SHA],
                  struct err *err);
/* Mounts the image's tree read-only at the directory target, which is made if it is missing. */
int image_mount_file(const char *file, const char *target, struct err *err);
int image_mount(const char *image_dir, const char *sha, const char *target, struct err *err);
