#include "kernel-gw/net/websocket/codec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

#include "kernel-gw/net/websocket/deflate.h"
#include "sandbox/base/json.h"

struct ws_codec {
    wslay_event_context_ptr wslay;
    struct ws_codec_ops ops;
    struct buf *out;
    struct deflater *deflater; /* NULL: not agreed on */
    size_t message_max;
    const uint8_t *in; /* what feed was given */
    size_t left;
    bool closing; /* our close frame is queued */
    int error;
};

static ssize_t on_recv(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, int flags, void *user)
{
    struct ws_codec *c = user;
    (void)flags;
    size_t n = c->left < len ? c->left : len;
    if (!n) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    memcpy(buf, c->in, n);
    c->in += n;
    c->left -= n;
    return (ssize_t)n;
}

static ssize_t on_send(wslay_event_context_ptr ctx, const uint8_t *data, size_t len, int flags,
                       void *user)
{
    struct ws_codec *c = user;
    (void)flags;
    if (buf_put(c->out, data, len) < 0) {
        wslay_event_set_error(ctx, WSLAY_ERR_CALLBACK_FAILURE);
        return -1;
    }
    return (ssize_t)len;
}

static void pump(struct ws_codec *c)
{
    if (wslay_event_want_write(c->wslay) && wslay_event_send(c->wslay) != 0)
        c->error = -ENOMEM;
}

void ws_codec_close(struct ws_codec *c, unsigned code, const char *reason)
{
    size_t n = strlen(reason);
    if (c->closing)
        return;
    c->closing = true;
    wslay_event_queue_close(c->wslay, (uint16_t)code, (const uint8_t *)reason, n > 120 ? 120 : n);
    pump(c);
}

static void on_inflated(struct ws_codec *c, const struct wslay_event_on_msg_recv_arg *arg)
{
    struct buf *plain = NULL;
    int r = c->deflater
                ? deflater_inflate(c->deflater, arg->msg, arg->msg_length, c->message_max, &plain)
                : -EINVAL;
    if (r == -EMSGSIZE)
        ws_codec_close(c, WS_CLOSE_TOO_BIG, "the message is too big");
    else if (r < 0 || (arg->opcode == WSLAY_TEXT_FRAME && !utf8_valid(plain->data, plain->len)))
        ws_codec_close(c, WS_CLOSE_INVALID_DATA, "the compressed message is malformed");
    else
        c->ops.message(c->ops.user, arg->opcode == WSLAY_BINARY_FRAME, plain->data, plain->len);
}

static void on_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *arg,
                       void *user)
{
    struct ws_codec *c = user;
    (void)ctx;
    if (arg->opcode == WSLAY_PONG && c->ops.pong)
        c->ops.pong(c->ops.user);
    if (wslay_is_ctrl_frame(arg->opcode) || c->closing)
        return;
    if (wslay_get_rsv1(arg->rsv))
        on_inflated(c, arg);
    else
        c->ops.message(c->ops.user, arg->opcode == WSLAY_BINARY_FRAME,
                       arg->msg_length ? arg->msg : (const uint8_t *)"", arg->msg_length);
}

struct ws_codec *ws_codec_new(struct buf *out, size_t message_max, bool deflate,
                              const struct ws_codec_ops *ops)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = on_recv, .send_callback = on_send, .on_msg_recv_callback = on_message};
    struct ws_codec *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->ops = *ops;
    c->out = out;
    c->message_max = message_max;
    if (wslay_event_context_server_init(&c->wslay, &callbacks, c) != 0 ||
        (deflate && !(c->deflater = deflater_new()))) {
        ws_codec_free(c);
        return NULL;
    }
    wslay_event_config_set_max_recv_msg_length(c->wslay, message_max);
    if (deflate)
        wslay_event_config_set_allowed_rsv_bits(c->wslay, WSLAY_RSV1_BIT);
    return c;
}

void ws_codec_free(struct ws_codec *c)
{
    if (!c)
        return;
    if (c->wslay)
        wslay_event_context_free(c->wslay);
    deflater_free(c->deflater);
    free(c);
}

int ws_codec_feed(struct ws_codec *c, const void *data, size_t len)
{
    c->in = data;
    c->left = len;
    while (c->left && wslay_event_want_read(c->wslay) && !c->error)
        if (wslay_event_recv(c->wslay) != 0)
            c->error = -ENOMEM;
    if (!c->error)
        pump(c); /* pongs, the answer to a close, the close that an error of the client calls for */
    if (c->error)
        return c->error;
    return wslay_event_want_read(c->wslay) ? 0 : 1;
}

static int queue(struct ws_codec *c, uint8_t opcode, const void *data, size_t len, uint8_t rsv)
{
    struct wslay_event_msg m = {.opcode = opcode, .msg = data, .msg_length = len};
    int r = wslay_event_queue_msg_ex(c->wslay, &m, rsv);
    if (r == WSLAY_ERR_NO_MORE_MSG)
        return -EPIPE;
    if (r != 0)
        return -ENOMEM;
    pump(c);
    return c->error;
}

/* What wslay would do, without its copy of the message: one unfragmented, unmasked frame. */
static int put_frame(struct ws_codec *c, uint8_t opcode, const struct ws_part *parts, unsigned n,
                     size_t total)
{
    uint8_t head[10] = {(uint8_t)(0x80 | opcode)};
    size_t size = total < 126 ? 2 : total < 65536 ? 4 : 10;
    head[1] = (uint8_t)(size == 2 ? total : size == 4 ? 126 : 127);
    for (size_t i = 2; i < size; i++)
        head[i] = (uint8_t)((uint64_t)total >> (8 * (size - 1 - i)));
    int r = buf_reserve(c->out, size + total);
    if (r < 0)
        return c->error = r;
    buf_put(c->out, head, size);
    for (unsigned i = 0; i < n; i++)
        buf_put(c->out, parts[i].data, parts[i].len);
    return 0;
}

int ws_codec_send(struct ws_codec *c, bool binary, const struct ws_part *parts, unsigned n,
                  bool compress)
{
    uint8_t opcode = binary ? WSLAY_BINARY_FRAME : WSLAY_TEXT_FRAME;
    size_t total = 0;
    if (c->closing || c->error || !wslay_event_want_read(c->wslay))
        return -EPIPE;
    for (unsigned i = 0; i < n; i++)
        total += parts[i].len;
    if (!compress || !c->deflater)
        return put_frame(c, opcode, parts, n, total);
    struct buf *packed = NULL;
    int r = deflater_deflate(c->deflater, parts, n, &packed);
    if (r < 0)
        return r;
    if (packed->len >= total)
        return put_frame(c, opcode, parts, n, total);
    return queue(c, opcode, packed->data, packed->len, WSLAY_RSV1_BIT);
}

void ws_codec_ping(struct ws_codec *c)
{
    if (!c->closing && !c->error)
        queue(c, WSLAY_PING, NULL, 0, WSLAY_RSV_NONE);
}
