/* LINK: cbx_egress_hello */
/* PARSES: sandbox/egress/tls/hello.c */
/* ClientHellos: whatever is complete stays so with more bytes behind it, and names are host names.
 */
#include <string.h>

#include "sandbox/egress/tls/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hello h;
    if (hello_parse(data, size, &h) != 0)
        return 0;
    if (strspn(h.server_name, "abcdefghijklmnopqrstuvwxyz0123456789-._") != strlen(h.server_name))
        __builtin_trap();
    return 0;
}
