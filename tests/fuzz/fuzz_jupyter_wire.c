/* LINK: cbx_jupyter_wire */
/* PARSES: kernel-gw/jupyter/wire/message.c */
/* Frames from the network: each is a length byte pair and bytes. */
#include "kernel-gw/jupyter/wire/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice frames[JUPYTER_FRAMES_MAX], route[JUPYTER_IDENTS_MAX];
    struct jupyter_message m;
    unsigned n_route;
    size_t n = 0;

    jupyter_get_route(data, size, route, &n_route);
    while (size >= 2 && n < JUPYTER_FRAMES_MAX) {
        size_t len = (size_t)(data[0] | data[1] << 8);
        data += 2;
        size -= 2;
        if (len > size)
            len = size;
        frames[n++] = (struct slice){data, len};
        data += len;
        size -= len;
    }
    jupyter_parse(frames, n, NULL, &m);
    return 0;
}
