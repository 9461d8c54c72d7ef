/* No way out but the socket it has: a filter on top of E's own for the worker. Private to the
 * module. */
#pragma once

int confine_network(void); /* the calling process; -errno */
