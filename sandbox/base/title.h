/* The name of a process as ps shows it: a clone keeps the name and arguments of what it was cloned
 * from. */
#pragma once

/* Sets the thread's name and overwrites the argument area. Needs /proc; without it only the name is
 * set. */
void title_set(const char *name);
