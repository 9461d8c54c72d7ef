/*
 * Everything that came from one process: its session, its descendants, and what left both but still
 * carries the mark in its environment. Found by reading /proc; a program that takes all three off
 * itself escapes, though never from the box.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Name of the variable that marks the environment of whatever init executes; its value is the
 * process's id. */
#define TREE_VARIABLE "CELLBOX_PROCESS"

/* Clock ticks are long: within one, the greatest number of a process tells. */
struct tree_moment {
    uint64_t ticks;
    pid_t last;
};

struct tree {
    pid_t root, session;      /* -1: gone; the session may outlive the process that made it */
    const char *mark;         /* "CELLBOX_PROCESS=..." */
    struct tree_moment since; /* only those that began after it */
};

struct tree_moment tree_moment_now(void);

/* Signals all of it; except: a process that is left out, 0 = none. Returns how many there were. */
unsigned tree_signal(const struct tree *t, int signo, pid_t except);
/* SIGINT once more to those that it would end: what was forked a moment before the first one lost
 * it to the handler that it had from its parent. Returns how many there were of all kinds. */
unsigned tree_interrupt(const struct tree *t, pid_t except);
/* How many there are; zombies do not count. */
unsigned tree_count(const struct tree *t);
