/* Terminals: what their two files share, and the messages on their WebSocket. */
#pragma once

#include "kernel-gw/api/box/box.h"

enum { TERMINAL_COLS = 80, TERMINAL_ROWS = 24, TERMINAL_SIZE_MAX = 4096 };

box_put_fn terminal_put;
route_fn terminal_attach;

enum terminal_control_type { TERMINAL_RESIZE, TERMINAL_SIGNAL };

struct terminal_control {
    enum terminal_control_type type;
    uint16_t cols, rows;
    int signo;
};

/* Reads a text message of a viewer. NULL: fine; else what is wrong with it. */
const char *terminal_control_read(const uint8_t *data, size_t len, struct terminal_control *ret);
