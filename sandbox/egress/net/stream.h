/*
 * A non-blocking byte stream on the loop: TCP, with or without TLS, either role. Writes are
 * gathered and sent once a turn of the loop (or when much has come together); a reader that cannot
 * keep up says so by stream_pause, a writer hears it from stream_write. Runs in E.
 */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <uv.h>

struct stream;

enum {
    STREAM_OK = 0,
    STREAM_FULL = 1,
    STREAM_READ = 65536,
    STREAM_HIGH = 256 << 10,
    STREAM_LOW = 64 << 10
};

/* None is called after stream_close; each may call it. */
struct stream_ops {
    void (*open)(void *user); /* connected, and the handshake is over */
    void (*data)(void *user, const uint8_t *data, size_t len);
    void (*eof)(void *user);                        /* the peer will send nothing more */
    void (*drained)(void *user);                    /* after STREAM_FULL: below STREAM_LOW again */
    void (*failed)(void *user, const char *reason); /* broken: close it */
};

/* Takes fd (non-blocking). connecting: `open` follows when connect() has succeeded. NULL: out of
 * memory. */
struct stream *stream_new(uv_loop_t *loop, int take_fd, bool connecting,
                          const struct stream_ops *ops, void *user);
void stream_set_ops(struct stream *s, const struct stream_ops *ops, void *user);
/* Begins TLS before anything was read or written; `open` follows (again). Takes ssl, also on
 * failure. */
int stream_tls(struct stream *s, SSL *take_ssl, bool server);
SSL *stream_ssl(const struct stream *s); /* borrowed; NULL: plain */
/* Queues all of data. STREAM_FULL: stop until `drained`. Failures come by `failed`. */
int stream_write(struct stream *s, const void *data, size_t len);
bool stream_full(const struct stream *s);
size_t stream_unsent(const struct stream *s);
void stream_pause(struct stream *s, bool paused); /* a stream begins paused */
void stream_shutdown(
    struct stream *s); /* no more writes: the peer sees the end after what is queued */
/* Closes, at once, or after the queue was sent (for a few seconds at most). Frees. NULL is fine. */
void stream_close(struct stream *s);
void stream_close_sent(struct stream *s);
void stream_reset(struct stream *s); /* closes with RST */
int stream_fd(const struct stream *s);
