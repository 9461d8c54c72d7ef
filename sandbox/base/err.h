/*
 * An error that crosses a process or reaches a user: a negative errno, the step that failed, and a
 * sentence.
 *
 * Convention of the whole tree: functions return 0 on success, a negative errno for failures that
 * nobody here can handle (passed up unchanged), a positive FOO_E_* for conditions that the caller
 * must handle. Functions that set up kernel state also take a `struct err *` (may be NULL) and fill
 * it once, at the place of the failure.
 */
#pragma once

struct err {
    int code;       /* negative errno, 0 = no error */
    char step[48];  /* e.g. "mount proc" */
    char text[208]; /* e.g. "Operation not permitted" */
};

/* Fills *e (if not NULL) and returns code. fmt == NULL: the text is strerror(-code). The first
 * error wins. */
int err_set(struct err *e, int code, const char *step, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
