/*
 * Which uids of the host are in use, by whatever server of it: each holds locks on a file of the
 * host, where byte N stands for uid N. The kernel drops them when a server ends, however it does.
 * Runs in B.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "sandbox/base/err.h"

/* A descriptor for the other calls; it is the owner of the locks. */
int uids_open(struct err *err);
/* False: another server has one of them. Claiming again what one has is fine. */
bool uids_claim(int fd, uint32_t first, uint32_t count);
void uids_release(int fd, uint32_t first, uint32_t count);
