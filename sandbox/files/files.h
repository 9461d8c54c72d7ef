/*
 * cbx-files: the helper that init starts inside a box for file operations that come from outside.
 * It is an ordinary process of the box, with its root, its limits and the rights of the box user
 * (or the box's root): whatever paths and links say, there is nothing else that it could reach.
 * Single-threaded and blocking. Speaks sandbox/wire/files.h on descriptor 3. Private to
 * sandbox/files.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "sandbox/base/buf.h"
#include "sandbox/wire/files.h"

struct helper {
    int sock;
    char text[256]; /* why the operation failed, beyond errno */
    uint8_t in[FILES_MSG_MAX] __attribute__((aligned(16)));
    uint8_t out[FILES_MSG_MAX] __attribute__((aligned(16)));
};

struct operation {
    struct files_request rq;
    const char *strings[FILES_STRINGS_MAX]; /* [0] is the path */
    uint32_t done_flags;                    /* of END */
    uint64_t done_arg;
};

/* main.c. Sending ends the process when G has gone. */
void helper_send(struct helper *h, uint32_t type, uint32_t flags, uint64_t arg, const void *data,
                 size_t len);
/* Bytes of DATA, behind the head in h->in; 0 = END; -ECANCELED: G has gone, tidy up and return it.
 */
ssize_t helper_receive(struct helper *h);
bool helper_cancelled(struct helper *h); /* G has closed the socket */
/* Appends an entry. dirfd and name: to read a link's target. */
int entry_put(struct buf *out, int dirfd, const char *name, const char *shown,
              const struct stat *st);
/* Sends the one of path itself. */
int entry_send(struct helper *h, const char *path, bool follow, uint32_t flags);

/* The operations: 0 or a negative errno. */
int files_read(struct helper *h, struct operation *op);
int files_write(struct helper *h, struct operation *op);
int files_list(struct helper *h, struct operation *op);
int files_mkdir(struct helper *h, struct operation *op);
int files_move(struct helper *h, struct operation *op);
int files_copy(struct helper *h, struct operation *op);
int files_chmod(struct helper *h, struct operation *op);
int files_symlink(struct helper *h, struct operation *op);
int files_remove(struct helper *h, struct operation *op);
int files_search(struct helper *h, struct operation *op);
int files_pack(struct helper *h, struct operation *op);
int files_unpack(struct helper *h, struct operation *op);
int files_watch(struct helper *h, struct operation *op);

/* tree.c */
int make_parents(const char *path); /* the directories above */
int remove_tree(int dirfd, const char *name, uint64_t *count);
/* names.c: what a directory holds, sorted by bytes; free with names_free. */
struct names {
    char **name;
    size_t n, cap;
};
int names_read(int dirfd, struct names *ret);
void names_free(struct names *n);
