/* LINK: cbx_egress_secrets cbx_http_redact */
/* PARSES: sandbox/egress/http/redact.c sandbox/egress/secrets/unchunk.c */
/* aws-chunked framing and credentials in bodies: cut anywhere, the result is the same. */
#include <stdlib.h>
#include <string.h>

#include "sandbox/egress/http/redact.h"
#include "sandbox/egress/secrets/inject.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void redact(const uint8_t *data, size_t size, size_t cut, struct buf *out)
{
    struct redact r;
    redact_init(&r);
    redact_add(&r, "secret-1", 8);
    redact_add(&r, "secsecret", 9);
    redact_feed(&r, data, cut, false, out);
    redact_feed(&r, data + cut, size - cut, true, out);
    redact_deinit(&r);
}

static int unchunk(const uint8_t *data, size_t size, size_t cut, struct buf *out)
{
    struct inject_unchunk u;
    inject_unchunk_init(&u);
    int r = inject_unchunk_feed(&u, data, cut, out);
    return r < 0 ? r : inject_unchunk_feed(&u, data + cut, size - cut, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP_BUF struct buf a = {0}, b = {0}, c = {0}, d = {0};
    if (size < 1)
        return 0;
    size_t cut = data[0] % size;
    data++;
    size--;
    if (cut > size)
        cut = size;
    redact(data, size, cut, &a);
    if (a.len != size || (a.len && memmem(a.data, a.len, "secret-1", 8)))
        __builtin_trap();
    redact(data, size, 0, &b);
    int whole = unchunk(data, size, 0, &c), parts = unchunk(data, size, cut, &d);
    if (whole != parts ||
        (whole == 0 && (c.len != d.len || (c.len && memcmp(c.data, d.data, c.len)))))
        __builtin_trap();
    return 0;
}
