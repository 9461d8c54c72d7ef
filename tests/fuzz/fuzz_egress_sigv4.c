/* LINK: cbx_egress_secrets */
/* PARSES: sandbox/egress/secrets/sigv4.c */
/*
 * A head as a box sends it, to be signed anew: "METHOD target", then fields, a line each. Whatever
 * it is, one signature stands in it, the same for the same, and every field can be sent.
 */
#include <stdlib.h>
#include <string.h>

#include "sandbox/egress/secrets/sigv4.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read_head(const char *p, size_t n, struct http_head *h)
{
    const char *line = memchr(p, '\n', n), *end = p + n;
    const char *space = line ? memchr(p, ' ', (size_t)(line - p)) : NULL;
    if (!space || head_put(h, p, (size_t)(space - p), &h->method) < 0 ||
        head_put(h, space + 1, (size_t)(line - space - 1), &h->target) < 0 ||
        head_put(h, "s3.eu-west-1.amazonaws.com", 26, &h->authority) < 0)
        return -1;
    h->https = true;
    for (p = line + 1; p < end; p = line + 1) {
        line = memchr(p, '\n', (size_t)(end - p));
        line = line ? line : end;
        const char *colon = memchr(p, ':', (size_t)(line - p));
        if (!colon ||
            head_add(h, p, (size_t)(colon - p), colon + 1, (size_t)(line - colon - 1)) < 0)
            return -1;
    }
    return head_request_fault(h) || !head_fields_fit(h) ? -1 : 0;
}

static void sign(const uint8_t *data, size_t size, struct buf *ret)
{
    static const struct sigv4 with = {.key_id = "AKIA",
                                      .secret = "secret",
                                      .token = "token",
                                      .region = "eu-west-1",
                                      .service = "s3",
                                      .now = 1700000000,
                                      .payload = "UNSIGNED-PAYLOAD"};
    struct http_head h;
    unsigned signatures = 0;
    head_init(&h);
    if (read_head((const char *)data, size, &h) == 0 && sigv4_sign(&h, &with) == 0) {
        for (uint16_t i = 0; i < h.nfields; i++)
            signatures += head_slice_is(&h, h.fields[i].name, "authorization");
        const struct head_field *f = head_find(&h, "authorization");
        if (signatures != 1 || !head_fields_fit(&h))
            __builtin_trap();
        buf_put(ret, head_at(&h, f->value), f->value.len);
    }
    head_deinit(&h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP_BUF struct buf one = {0}, two = {0};
    char service[64], region[64], host[256];
    sign(data, size, &one);
    sign(data, size, &two);
    if (one.len != two.len || (one.len && memcmp(one.data, two.data, one.len)))
        __builtin_trap();
    size_t n = size < sizeof host - 1 ? size : sizeof host - 1;
    memcpy(host, data, n);
    host[n] = 0;
    sigv4_guess(host, service, region);
    return 0;
}
