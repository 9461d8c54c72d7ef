/* Messages of G about processes: sandbox/wire/process.h. Private to sandbox/init. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sandbox/init/connect.h"
#include "sandbox/init/process.h"

struct init_requests {
    struct processes *processes;
    struct connects *connects;
    int link;
};

/* false: not a message of this kind. Answers on the link. Descriptors that it takes become -1. */
bool requests_handle(struct init_requests *r, const uint8_t *m, size_t n, int *fds, size_t nfds);
