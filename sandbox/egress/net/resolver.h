/* Names of the world to addresses, without blocking (c-ares): hosts file and the name servers that
 * are configured. Runs in E. */
#pragma once

#include <netinet/in.h>
#include <uv.h>

struct resolver;
struct resolution;

enum { RESOLVED_MAX = 16 };

union socket_address {
    struct sockaddr sa;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* n = 0: reason says why. */
typedef void resolved_fn(void *user, const union socket_address *addrs, size_t n,
                         const char *reason);

/* servers: "ADDR:PORT[,...]", "" = the host's. -errno. */
int resolver_new(uv_loop_t *loop, const char *servers, struct resolver **ret);
/* done is never called from inside. NULL: out of memory. */
struct resolution *resolver_ask(struct resolver *r, const char *host, uint16_t port,
                                resolved_fn *done, void *user);
void resolution_cancel(struct resolution *q); /* done is not called any more */
