/* LINK: cbx_net */
/* PARSES: kernel-gw/net/http.c */
/* HTTP engine: the first byte says how the rest is cut into reads and whether bodies are streamed;
 * the result may not depend on the cuts. */
#include <string.h>

#include "kernel-gw/net/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    int status;
    unsigned requests;
    size_t body;
};

static struct outcome run(const char *data, size_t size, size_t piece, bool streaming)
{
    static const struct http_limits limits = {.head_max = 512, .body_max = 256};
    struct http_parser p;
    struct outcome o = {0};
    size_t at = 0;
    http_parser_init(&p, &limits);
    p.stop_at_head = streaming;
    while ((at < size || p.at_piece) && !o.status) {
        size_t used = 0;
        int r = http_parser_feed(&p, data + at, size - at < piece ? size - at : piece, &used);
        at += used;
        if (r == 1) {
            char value[64];
            o.requests++;
            o.body += p.request.body.len;
            http_query(&p.request, "token", value, sizeof value);
            http_percent_decode(p.request.path, strlen(p.request.path), false, value, sizeof value);
            http_has_token(http_header(&p.request, "accept"), "a");
            http_parser_next(&p);
        } else if (r == HTTP_FED_HEAD) {
            http_parser_body(&p, HTTP_BODY_STREAM);
        } else if (r == HTTP_FED_PIECE) {
            o.body += p.piece_len;
        } else {
            o.status = r;
        }
    }
    http_parser_deinit(&p);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    bool streaming = data[0] & 128;
    struct outcome whole = run((const char *)data + 1, size - 1, size, streaming);
    struct outcome cut = run((const char *)data + 1, size - 1, 1 + data[0] % 32, streaming);
    if (whole.requests != cut.requests || whole.body != cut.body || !whole.status != !cut.status)
        __builtin_trap();
    return 0;
}
