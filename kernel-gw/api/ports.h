/*
 * Ports of sandboxes that are shown to the outside, each under a token of its own. Kept in the
 * registry. A token that was taken back, has expired or was replaced is remembered for as long as
 * its sandbox, so that who still uses it hears "gone" instead of "unknown".
 */
#pragma once

#include "kernel-gw/gateway.h"
#include "sandbox/base/list.h"

#define PORT_LOGIN  "cellbox-login"   /* query parameter */
#define PORT_COOKIE "cellbox_preview" /* holds the key; never shown to a box */
enum { PORT_KEY = 33 };
enum { PORT_TOKEN_MAX = 16, PORT_LABEL_MAX = 5 + 1 + 63 + 1 + PORT_TOKEN_MAX + 1 };

struct port {
    struct list item;
    char sandbox[64], token[PORT_TOKEN_MAX + 1], name[64];
    uint32_t port;
    uint64_t created_us, expires_us; /* expires 0 = never */
    bool revoked;
    char key[PORT_KEY]; /* what a browser needs on top of the address; "" = nothing */
};

/* "3000-demo-a1b2c3": port, sandbox and token, the token behind the last hyphen. Value type. */
struct port_label {
    uint32_t port;
    char sandbox[64], token[PORT_TOKEN_MAX + 1];
};
/* Reads the len bytes of a label. false: it is none. */
bool port_label_parse(const char *s, size_t len, struct port_label *ret);

enum port_verdict { PORT_OPEN, PORT_UNKNOWN, PORT_GONE };
/* Whether the label opens that port now. The token is compared in constant time. */
enum port_verdict ports_check(struct gateway *gw, const struct port_label *label);

/* The key that a browser must have been given for an open port, NULL: none is needed. */
const char *ports_key(struct gateway *gw, const struct port_label *label);

int api_ports_init(struct gateway *gw); /* reads the registry; -ENOMEM */
