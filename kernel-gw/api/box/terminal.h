/* Terminals: what their two files share, and the messages on their WebSocket. */
#pragma once

#include "kernel-gw/api/box/box.h"

enum { TERMINAL_COLS = 80, TERMINAL_ROWS = 24, TERMINAL_SIZE_MAX = 4096 };

void terminal_put(struct buf *out, const struct wire_process_info *i, const char *note);
void terminal_attach(struct gateway *gw, struct exchange *x, const struct http_request *r,
                     const struct route_params *p);

enum terminal_control_type { TERMINAL_RESIZE, TERMINAL_SIGNAL };

struct terminal_control {
    enum terminal_control_type type;
    uint16_t cols, rows;
    int signo;
};

/* Reads a text message of a viewer. NULL: fine; else what is wrong with it. */
const char *terminal_control_read(const uint8_t *data, size_t len, struct terminal_control *ret);
