/*
 * What git reads and writes, as text: addresses of repositories, lines of progress, reasons of a
 * failure. The lines come from a box and are hostile. No I/O.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "sandbox/base/buf.h"

enum { GIT_URL_MAX = 2048, GIT_PHASE_MAX = 64 };

/* Everything NUL-terminated. */
struct git_url {
    struct buf clean;          /* without user and password */
    struct buf user, password; /* percent-decoded; empty if the address has none */
    char name[256];            /* of the directory that git makes: "" if there is none to be had */
    bool remote;               /* http or https, which can take a user and a password */
};

/* NULL: fine; else what is wrong with it. Deinit in any case. */
const char *git_url_read(const char *text, size_t len, struct git_url *ret);
void git_url_deinit(struct git_url *u);
/* A branch or tag that can stand in an argument: git's own rules, and no dash in front. */
bool git_ref_valid(const char *name, size_t len);

struct git_progress {
    char phase[GIT_PHASE_MAX]; /* "Receiving objects" */
    unsigned percent;          /* at most 100 */
    unsigned long current, total;
};

/* "remote: Counting objects:  45% (9/20), done." */
bool git_progress_read(const char *line, size_t len, struct git_progress *ret);

struct git_failure {
    int status;
    const char *code;
};

/* What went wrong, from all that git said. */
struct git_failure git_failure_of(const char *said);
