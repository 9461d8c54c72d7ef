/* LINK: cbx_base */
/* PARSES: sandbox/base/json.c */
/* The checker against itself: what json_put_string makes of any bytes must pass json_check. */
#include <stdlib.h>

#include "sandbox/base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP_BUF struct buf b = {0};
    json_check(data, size);
    json_check_object(data, size);
    if (utf8_incomplete_tail(data, size) > 3 || json_put_string(&b, data, size) < 0 ||
        json_check(b.data, b.len) < 0)
        abort();
    return 0;
}
