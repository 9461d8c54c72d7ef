/*
 * A system call filter on top of E's own for the worker: no way out but the socket it has, no new
 * process, nothing done to processes of the same uid. Private to the module.
 */
#pragma once

int confine_worker(void); /* the calling process; -errno */
