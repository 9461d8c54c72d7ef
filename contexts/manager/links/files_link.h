/*
 * G's end of the socket to a file helper of a box (sandbox/wire/files.h): messages out, messages in
 * while the owner wants them. A helper is as hostile as its box: what is too short to be a message
 * ends the link.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "sandbox/wire/files.h"

struct files_link;

struct files_link_ops {
    /* data: what follows the head, valid during the call. */
    void (*message)(void *user, const struct files_head *head, const uint8_t *data, size_t len);
    void (*writable)(void *user); /* after a send that was refused */
    void (*closed)(void *user);   /* the helper has gone; free the link in or after it */
};

/* Takes fd, also on failure (NULL). Does not read before it is told to. */
struct files_link *files_link_new(uv_loop_t *loop, int take_fd, const struct files_link_ops *ops,
                                  void *user);
void files_link_free(struct files_link *l); /* no callback any more; NULL is fine */
void files_link_set_ops(struct files_link *l, const struct files_link_ops *ops, void *user);
/* Head and up to FILES_DATA_MAX bytes. -EAGAIN: no room, `writable` says when; else negative: gone,
 * `closed` follows if it is read. */
int files_link_send(struct files_link *l, const void *head, size_t head_len, const void *data,
                    size_t len);
void files_link_read(struct files_link *l, bool on);
