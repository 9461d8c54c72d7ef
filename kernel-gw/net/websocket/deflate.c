#include "kernel-gw/net/websocket/deflate.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

enum { LEVEL = 1, WINDOW_BITS = 15, MEM_LEVEL = 8, STEP = 64 << 10 };

/* The streams exist only while a message is worked on: 300 KiB that an idle connection need not
 * hold. */
struct deflater {
    struct buf out;
};

static const uint8_t tail[4] = {0x00, 0x00, 0xff, 0xff};

struct deflater *deflater_new(void)
{
    return calloc(1, sizeof(struct deflater));
}

void deflater_free(struct deflater *d)
{
    if (!d)
        return;
    buf_deinit(&d->out);
    free(d);
}

static int room(struct buf *out, z_stream *z)
{
    int r = buf_reserve(out, STEP);
    z->next_out = r < 0 ? NULL : out->data + out->len;
    z->avail_out = r < 0 ? 0 : STEP;
    return r;
}

static int deflate_part(struct buf *out, z_stream *z, const struct ws_part *part, int flush)
{
    z->next_in = (Bytef *)(uintptr_t)part->data;
    z->avail_in = (uInt)part->len;
    do {
        int r = room(out, z);
        if (r < 0)
            return r;
        deflate(z, flush);
        out->len += STEP - z->avail_out;
    } while (!z->avail_out);
    return 0;
}

int deflater_deflate(struct deflater *d, const struct ws_part *parts, unsigned n, struct buf **ret)
{
    z_stream z = {0};
    int r = 0;
    buf_reset(&d->out);
    d->out.max = 256u << 20;
    if (deflateInit2(&z, LEVEL, Z_DEFLATED, -WINDOW_BITS, MEM_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
        return -ENOMEM;
    for (unsigned i = 0; i < n && r == 0; i++)
        r = deflate_part(&d->out, &z, &parts[i], i + 1 == n ? Z_SYNC_FLUSH : Z_NO_FLUSH);
    deflateEnd(&z);
    if (r == 0 && d->out.len >= sizeof tail)
        d->out.len -= sizeof tail;
    *ret = &d->out;
    return r;
}

static int inflate_part(struct buf *out, z_stream *z, const void *data, size_t len)
{
    z->next_in = (Bytef *)(uintptr_t)data;
    z->avail_in = (uInt)len;
    do {
        int r = room(out, z);
        if (r < 0)
            return r;
        int e = inflate(z, Z_SYNC_FLUSH);
        out->len += STEP - z->avail_out;
        if (e == Z_STREAM_END && z->avail_in == 0)
            return 0;
        if (e != Z_OK && e != Z_BUF_ERROR)
            return -EINVAL;
    } while (!z->avail_out || z->avail_in);
    return 0;
}

int deflater_inflate(struct deflater *d, const void *data, size_t len, size_t max, struct buf **ret)
{
    z_stream z = {0};
    buf_reset(&d->out);
    d->out.max = max + STEP;
    if (inflateInit2(&z, -WINDOW_BITS) != Z_OK)
        return -ENOMEM;
    int r = inflate_part(&d->out, &z, data, len);
    if (r == 0)
        r = inflate_part(&d->out, &z, tail, sizeof tail);
    inflateEnd(&z);
    if (r == 0 && d->out.len > max)
        r = -EMSGSIZE;
    if (r == 0)
        r = buf_reserve(&d->out, 1);
    *ret = &d->out;
    return r;
}
