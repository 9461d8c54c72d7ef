/* LINK: cbx_websocket */
/* PARSES: kernel-gw/net/websocket/codec.c */
/* WebSocket codec: the first byte says how the rest is cut into reads; the messages may not depend
 * on it. */
#include <string.h>

#include "kernel-gw/net/websocket/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    unsigned messages;
    uint64_t sum;
};

static void on_message(void *user, bool binary, const uint8_t *data, size_t len)
{
    struct outcome *o = user;
    o->messages++;
    o->sum = o->sum * 31 + len + binary;
    for (size_t i = 0; i < len; i++)
        o->sum = o->sum * 31 + data[i];
}

static struct outcome run(const uint8_t *data, size_t size, size_t piece)
{
    struct outcome o = {0};
    struct buf out = {0};
    struct ws_codec_ops ops = {.message = on_message, .user = &o};
    struct ws_codec *c = ws_codec_new(&out, 4096, true, &ops);
    for (size_t at = 0; c && at < size; at += piece)
        if (ws_codec_feed(c, data + at, size - at < piece ? size - at : piece) != 0)
            break;
    ws_codec_free(c);
    buf_deinit(&out);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char header[128], accept[32];
    if (size < 1)
        return 0;
    size_t n = size - 1 < sizeof header - 1 ? size - 1 : sizeof header - 1;
    memcpy(header, data + 1, n);
    header[n] = 0;
    ws_offers_deflate(header);
    ws_accept_key(header, accept);
    struct outcome whole = run(data + 1, size - 1, size);
    struct outcome cut = run(data + 1, size - 1, 1 + data[0] % 16);
    if (whole.messages != cut.messages || whole.sum != cut.sum)
        __builtin_trap();
    return 0;
}
