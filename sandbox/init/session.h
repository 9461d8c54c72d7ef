/*
 * A persistent shell: one interactive bash without a terminal, which is given one script after the
 * other and keeps its directory, variables, functions, jobs and traps between them.
 *
 * A script lies in a memfd of which bash holds a descriptor; a line on its standard input makes it
 * read that, and report the exit status on a pipe of its own. Interactive, because then SIGINT ends
 * whatever runs, loops included, and brings it back to reading lines: a stuck command is cancelled
 * and the shell lives on. Private to sandbox/init.
 */
#pragma once

#include "sandbox/init/process.h"

/* Makes what bash gets as 3 and 4. Negative errno. */
int session_open(struct process *p, int ret_extra[2]);
int session_begin(struct process *p); /* it runs */
void session_free(struct process *p);
/* Queues a script; takes both. bash is started anew if it has ended. -ENOBUFS: too many wait. */
int session_run(struct process *p, const struct wire_session_run *run, char *take_script,
                int take_stream);
void session_drop(struct process *p); /* what waits; its readers see the end of their streams */
void session_reader_gone(struct process *p); /* whoever wanted the running script's output */
void session_ended(struct process *p);       /* bash has: before its end is told */
void session_tick(struct process *p, int64_t now_us);
int64_t session_due(const struct process *p);
