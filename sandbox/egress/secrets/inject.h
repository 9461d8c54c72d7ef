/*
 * Puts credentials into a request on its way out, after the last point that the box can see. Pure
 * but for the clock that SigV4 needs, which is an argument. Runs in E.
 */
#pragma once

#include <time.h>

#include "sandbox/egress/policy/policy.h"
#include "sandbox/egress/secrets/secrets.h"

enum { INJECT_E_NO_SECRET = 1, INJECT_E_NOT_ALLOWED, INJECT_E_BAD_SECRET };

struct inject_context {
    const struct secrets *secrets;
    const char *box_name, *host;
    uint16_t port;
    time_t now;
};

/*
 * Applies in order. On INJECT_E_*: nothing may be sent, ret_reason names rule and secret, not its
 * value. ret_used gets a comma-separated list of the secrets' names. SigV4 (AWS Signature Version
 * 4) signs the head as it leaves: the client's own Authorization and x-amz-security-token are
 * dropped, its x-amz-content-sha256 is kept when it is a hash or UNSIGNED-PAYLOAD, otherwise
 * UNSIGNED-PAYLOAD is signed. ret_aws_chunked: the body is in aws-chunked framing with the client's
 * chunk signatures, which the new key cannot keep: the caller passes it through inject_unchunk.
 */
int inject_apply(struct http_head *head, const struct policy_inject *injects, size_t n,
                 const struct inject_context *ctx, struct buf *ret_used, bool *ret_aws_chunked,
                 char ret_reason[208]);

/* Takes the aws-chunked framing off a body as it streams. Returns 0 or -EPROTO. */
struct inject_unchunk {
    uint64_t left; /* of the current chunk's data */
    unsigned state;
    uint64_t size;
};
void inject_unchunk_init(struct inject_unchunk *u);
int inject_unchunk_feed(struct inject_unchunk *u, const uint8_t *data, size_t len, struct buf *out);
bool inject_unchunk_done(const struct inject_unchunk *u);
