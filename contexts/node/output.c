/* Text of process.stdout and process.stderr into the ring that init reads (outring.h). */
#include "contexts/node/host.h"

#include <errno.h>

enum { WAIT_MS = 200, SYNC_MAX_MS = 60000 };

static struct outring ring;
static int pipe_out = -1, pipe_err = -1;
static bool is_muted;

/* Per stream: whether the last byte written ended a line. */
static bool line_start[3] = {true, true, true};

void output_init(struct outring_shared *shared, int doorbell, int out_fd, int err_fd)
{
    ring = (struct outring){.shared = shared, .doorbell = doorbell};
    pipe_out = out_fd;
    pipe_err = err_fd;
}

void output_mute(bool muted)
{
    is_muted = muted;
}

void output_write(int stream, uint64_t req, const char *data, size_t len)
{
    if (!ring.shared || is_muted || !len)
        return;
    /* At the start of a line: text of a subprocess that is still in a pipe goes first. */
    if (line_start[stream] && outring_settle(&ring, pipe_out, pipe_err, 0) < 0)
        outring_settle(&ring, pipe_out, pipe_err, WAIT_MS);
    line_start[stream] = data[len - 1] == '\n';
    for (;;) {
        size_t n = outring_try_write(&ring, req, stream, data, len);
        data += n;
        len -= n;
        if (!len || watch_interrupted())
            return;
        if (outring_wait_room(&ring, WAIT_MS) == -EPIPE)
            return;
    }
}

void output_sync(void)
{
    if (ring.shared && !outring_is_drained(&ring, pipe_out, pipe_err))
        outring_sync(&ring, pipe_out, pipe_err, SYNC_MAX_MS);
    line_start[1] = line_start[2] = true;
}
