/* What the hostile C programs share: exact errno of each call, a count of checks, one last line. */
#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int checks;
static char problems[16384];

static void check(const char *what, int holds, long got, int error)
{
    checks++;
    if (holds)
        return;
    size_t used = strlen(problems);
    snprintf(problems + used, sizeof problems - used, "%s%s (got %ld, %s)", used ? "; " : "", what,
             got, error ? strerrorname_np(error) : "no error");
}

/* The call must fail with exactly this errno. */
#define REFUSED(want, what, ...)                                      \
    do {                                                              \
        errno = 0;                                                    \
        long r_ = (long)(__VA_ARGS__);                                \
        int e_ = errno;                                               \
        check(what, r_ == -1 && e_ == (want), r_, r_ == -1 ? e_ : 0); \
    } while (0)

/* A positive control. */
#define WORKS(what, ...)                                           \
    do {                                                           \
        errno = 0;                                                 \
        long r_ = (long)(__VA_ARGS__);                             \
        int e_ = errno;                                            \
        check(what " must work", r_ != -1, r_, r_ == -1 ? e_ : 0); \
    } while (0)

static int done(void)
{
    if (!checks)
        printf("ESCAPED: nothing was checked\n");
    else if (*problems)
        printf("ESCAPED: %s\n", problems);
    else
        printf("%d checks\nCONTAINED\n", checks);
    return 0;
}
