/* HTTP Archive 1.2 of log lines: entries without bodies. Pure. */
#pragma once

#include "sandbox/base/buf.h"

int har_render(const char *lines, size_t len, struct buf *out);
