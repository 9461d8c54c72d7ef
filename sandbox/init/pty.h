/* Pseudo-terminals of the box. */
#pragma once

#include <stdint.h>

struct pty {
    int master; /* non-blocking */
    int slave;
};

enum { PTY_SIZE_MAX = 4096 };

/* Negative errno. */
int pty_open(uint16_t cols, uint16_t rows, struct pty *ret);
int pty_resize(int master, uint16_t cols, uint16_t rows);
