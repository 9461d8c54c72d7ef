/* The handshake of JEP 66: the kernel chooses its ports and tells its launcher. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/jupyter/raw/kernels.h"
#include "sandbox/base/json.h"
#include "sandbox/base/log.h"

enum { ACK_MS = 10000 };

static void on_ack(void *user, const struct slice *frames, size_t n)
{
    struct served *s = user;
    struct jupyter_key *key = NULL;
    struct slice content;
    bool ok = frames && jupyter_key_new(s->key, &key) == 0 &&
              jupyter_get_single(key, frames, n, &content);
    jupyter_key_free(key);
    if (ok)
        return;
    log_warn("jupyter", "registration_failed", "kernel=%s reason=%s", s->id,
             frames ? "malformed" : "silence");
    kernels_end(s, "registration_failed");
}

static int put_ports(struct buf *b, const struct served *s, const char *kernel_id)
{
    const int *port = s->address.port;
    buf_puts(b, "{\"kernel_id\":");
    json_put_cstring(b, kernel_id);
    return buf_printf(b,
                      ",\"shell_port\":%d,\"control_port\":%d,\"stdin_port\":%d,\"iopub_port\":%d,"
                      "\"hb_port\":%d}",
                      port[CHANNEL_SHELL], port[CHANNEL_CONTROL], port[CHANNEL_STDIN],
                      port[CHANNEL_IOPUB], port[CHANNEL_HB]);
}

int kernels_register(struct served *s, const json_t *connection, struct err *err)
{
    const char *ip = json_string_value(json_object_get(connection, "registration_ip"));
    const char *id = json_string_value(json_object_get(connection, "kernel_id"));
    json_int_t port = json_integer_value(json_object_get(connection, "registration_port"));
    CLEANUP_BUF struct buf content = {0};
    struct slice frames[JUPYTER_SINGLE_FRAMES];
    struct jupyter_key *key = NULL;
    char signature[JUPYTER_SIGNATURE + 1];
    if (!json_object_get(connection, "registration_port"))
        return 0;
    if (!ip || port < 1 || port > 65535)
        return err_set(err, -EINVAL, "read connection",
                       "registration_ip or registration_port is missing or out of range");
    if (put_ports(&content, s, id ? id : s->context) < 0 || jupyter_key_new(s->key, &key) < 0)
        return err_set(err, -ENOMEM, "registration", NULL);
    jupyter_put_single(key, (struct slice){content.data, content.len}, signature, frames);
    jupyter_key_free(key);
    return zmq_errand_send(s->door->node, ip, (int)port, frames, JUPYTER_SINGLE_FRAMES, ACK_MS,
                           on_ack, s, &s->registration, err);
}
