/* LINK: cbx_base */
/* PARSES: sandbox/base/json.c sandbox/base/json_check.c */
/* The checker against itself: what json_put_string makes of any bytes must pass json_check, and a
 * cut changes no verdict. */
#include <stdlib.h>

#include "sandbox/base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP_BUF struct buf b = {0};
    json_check(data, size);
    json_check_object(data, size);
    if (size) {
        struct json_checker c;
        size_t cut = data[0] % size;
        json_checker_init(&c);
        json_checker_feed(&c, data, cut);
        json_checker_feed(&c, data + cut, size - cut);
        if (json_checker_end(&c) != json_check(data, size))
            abort();
    }
    if (utf8_incomplete_tail(data, size) > 3 || json_put_string(&b, data, size) < 0 ||
        json_check(b.data, b.len) < 0)
        abort();
    return 0;
}
