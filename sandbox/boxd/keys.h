/*
 * Keys that outlive the server: what is sealed under them must open again. Each is a file of 32
 * random bytes that only root reads, in the state directory or in --key-dir, which can be a place
 * that no backup of the state holds.
 */
#pragma once

#include <stdint.h>

#include "sandbox/base/err.h"

enum { KEY_BYTES = 32 };

/* Reads DIR/NAME, or makes it when there is none. A file of another length is an error. */
int keys_load(const char *dir, const char *name, uint8_t ret[KEY_BYTES], struct err *err);
