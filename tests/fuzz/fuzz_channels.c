/* LINK: cbx_jupyter_frames */
/* PARSES: kernel-gw/jupyter/channels/frames.c */
/* Messages of WebSocket clients in all their forms; what is taken must come back the same after a
 * round trip. */
#include <string.h>

#include "kernel-gw/jupyter/channels/frames.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(enum channels_form form, enum channel ch, const struct jupyter_message *m)
{
    struct jupyter_parts parts = {.msg_type = m->msg_type,
                                  .parent = m->parent,
                                  .metadata = m->metadata,
                                  .content = m->content,
                                  .nbuffers = m->nbuffers,
                                  .buffers = m->buffers};
    struct channels_out o;
    struct jupyter_message back;
    enum channel channel;
    struct buf b = {0};
    if (channels_encode(form, ch, m->header, "id", &parts, &o) == 0) {
        for (unsigned i = 0; i < o.n; i++)
            buf_put(&b, o.parts[i].data, o.parts[i].len);
        const char *why = channels_decode(form, o.binary, b.data, b.len, &channel, &back);
        if (why || channel != ch || back.nbuffers != m->nbuffers ||
            back.content.len != m->content.len)
            __builtin_trap();
    }
    channels_out_deinit(&o);
    buf_deinit(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct jupyter_message m;
    enum channel ch = CHANNEL_SHELL;
    if (size < 1)
        return 0;
    enum channels_form form = data[0] & 1 ? CHANNELS_V1 : CHANNELS_JSON;
    if (!channels_decode(form, data[0] & 2, data + 1, size - 1, &ch, &m))
        again(form, ch, &m);
    return 0;
}
