/*
 * What every command needs beside the library: messages, files, strings that end the program.
 * Running out of memory ends the program: it holds nothing that needs undoing except the terminal's
 * echo, and the shell restores that.
 */
#pragma once

#include "clients/c/text.h"

/* Exit statuses; docs/cli.md lists them. */
enum {
    STATUS_OK = 0,
    STATUS_FAILED = 1,       /* the code failed, or what was asked for is not there */
    STATUS_USAGE = 2,        /* wrong arguments */
    STATUS_SERVER = 3,       /* no server, or it refused */
    STATUS_INTERRUPTED = 130 /* Ctrl-C */
};

void close_fd(int *fd);

#define CLEANUP_FD __attribute__((cleanup(close_fd)))

void str_add(struct str *s, const void *data, size_t len);
void str_addf(struct str *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *str_take(struct str *s); /* caller frees; never NULL */

void *must(void *p); /* p, or the end of the program when it is NULL */
char *text_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "cellbox: ..." on stderr, control characters made harmless; returns status. */
int fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Whole content of a descriptor or file. 0 or -errno. */
int read_fd(int fd, struct str *ret);
int read_file(const char *path, struct str *ret);
int write_all(int fd, const void *data, size_t len);
int write_new_file(const char *path, const void *data, size_t len); /* -EEXIST when it exists */
int make_dirs(const char *path);

void base64_encode(const void *data, size_t len, struct str *ret);
/* Decodes base64, ignoring white space. false when it is not base64. */
bool base64_decode(const char *text, size_t len, struct str *ret);

/* Directory above the bin/ that this program stands in. */
char *program_prefix(void);
char *program_path(void);

void print_json(const json_t *j);
