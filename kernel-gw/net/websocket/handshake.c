/* The opening handshake (RFC 6455 section 4.2). */
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "kernel-gw/net/websocket/codec.h"

const char ws_deflate_answer[] =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

bool ws_accept_key(const char *key, char *out)
{
    char joined[64];
    unsigned char digest[SHA_DIGEST_LENGTH];
    if (strlen(key) != 24)
        return false;
    int n = snprintf(joined, sizeof joined, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    SHA1((unsigned char *)joined, (size_t)n, digest);
    EVP_EncodeBlock((unsigned char *)out, digest, sizeof digest);
    return true;
}

/* One parameter of the offer that would bind us: a smaller window for what we send. */
static bool parameter_fits(const char *p, size_t n)
{
    static const char *const fine[] = {"server_no_context_takeover", "client_no_context_takeover",
                                       "client_max_window_bits"};
    while (n && (*p == ' ' || *p == '\t')) {
        p++;
        n--;
    }
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
        if (!strncasecmp(p, fine[i], strlen(fine[i])) && n >= strlen(fine[i]))
            return true;
    return n == 0;
}

static bool offer_fits(const char *offer, size_t len)
{
    const char *end = offer + len;
    size_t n = strcspn(offer, ";");
    n = n > len ? len : n;
    while (n && strchr(" \t", *offer))
        offer++, n--;
    size_t name = n;
    while (name && strchr(" \t", offer[name - 1]))
        name--;
    if (name != 18 || strncasecmp(offer, "permessage-deflate", 18))
        return false;
    for (const char *p = offer + n; p < end && *p == ';';) {
        size_t k = strcspn(++p, ";");
        k = k > (size_t)(end - p) ? (size_t)(end - p) : k;
        if (!parameter_fits(p, k))
            return false;
        p += k;
    }
    return true;
}

bool ws_offers_deflate(const char *header)
{
    while (header && *header) {
        size_t n = strcspn(header, ",");
        if (offer_fits(header, n))
            return true;
        header += n + (header[n] == ',');
    }
    return false;
}
