/*
 * The system call filter of a box: an allow-list kept as data (policy.c), compiled once by B with
 * libseccomp and handed to every box as a sealed memfd of BPF instructions. It covers the native
 * ABI; calls through int $0x80 (i386) and x32 kill the process, so there is no second, unfiltered
 * ABI.
 */
#pragma once

#include "sandbox/base/err.h"

enum filter_kind { FILTER_BOX, FILTER_GATEWAY, FILTER_EGRESS };

/* B, once each. *ret_fd: memfd with struct sock_filter[]. */
int filter_compile(enum filter_kind kind, int *ret_fd, struct err *err);
/* The process that becomes init: loads the program for itself and all that it will fork. Needs
 * CAP_SYS_ADMIN or NNP. */
int filter_load(int fd, struct err *err);
