/* What servers of this host have left when they were killed. Runs in B, before it makes its own. */
#pragma once

/* Removes mount points of dead servers below /run/cellbox. */
void leftovers_sweep(void);
