/* Spellings of a text that other software gives it on the way. Private to egress. */
#pragma once

#include "sandbox/base/buf.h"

int encode_base64(struct buf *out, const void *data, size_t len); /* with padding */
/* What is not unreserved (RFC 3986 2.3) as %XX. */
void encode_percent(struct buf *out, const char *text, size_t len);
