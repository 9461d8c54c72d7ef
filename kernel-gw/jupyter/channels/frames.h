/*
 * Jupyter messages in WebSocket messages, both forms: "v1.kernel.websocket.jupyter.org" (binary,
 * offsets, no JSON to parse) and the older one (JSON text; binary when there are buffers). No I/O,
 * no clock.
 */
#pragma once

#include <stdbool.h>

#include "kernel-gw/jupyter/wire/message.h"
#include "kernel-gw/net/websocket/codec.h"

enum channels_form { CHANNELS_JSON, CHANNELS_V1 };

#define CHANNELS_V1_NAME "v1.kernel.websocket.jupyter.org"

/*
 * A message of a client. *ret points into data; its header is read. NULL: fine; else a sentence
 * that says what is wrong with it, for the close frame and the log.
 */
const char *channels_decode(enum channels_form form, bool binary, const uint8_t *data, size_t len,
                            enum channel *ret_channel, struct jupyter_message *ret);

enum { CHANNELS_PARTS_MAX = 16 + JUPYTER_BUFFERS_MAX };

/* A message to a client, as parts that point into the arguments and into itself: must not move. */
struct channels_out {
    bool binary;
    unsigned n;
    struct ws_part parts[CHANNELS_PARTS_MAX];
    struct buf head; /* table and what else is composed; channels_out_deinit */
};
/* header: the JSON object; msg_id: the one in it. -ENOMEM, -EMSGSIZE (over 4 GiB in the older
 * form). */
int channels_encode(enum channels_form form, enum channel ch, struct slice header,
                    const char *msg_id, const struct jupyter_parts *parts,
                    struct channels_out *ret);
void channels_out_deinit(struct channels_out *o);
