/*
 * A thread that reads the frame socket while the main thread cannot, because it runs a cell. So
 * control requests and those of subshells are taken in whatever a cell does.
 *
 * Process: the context. The thread has no Python state, except for the moment in which it calls
 * `on_control`, and all signals blocked; it does not exist in a process that user code forks.
 */
#pragma once

#include <stdbool.h>

/* Called by the listener, with the GIL, when the first control message came. */
typedef void (*listener_call)(void);

/*
 * Main thread: it is about to wait for frames itself; and it has something to do. The second starts
 * the thread at its first call. Both cost some atomic operations when cells are short.
 */
void listener_main_waits(void);
void listener_main_works(listener_call on_control);
/* A child of user code: there is no thread. */
void listener_forget(void);
