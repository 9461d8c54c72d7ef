/* Cookies of a browser session, and whether a request of a browser comes from a page of ours. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "kernel-gw/auth/session.h"
#include "kernel-gw/net/http.h"

/* Both are followed by the port, since cookies do not tell ports of a host apart. */
#define COOKIE_PLAIN  "cellbox-session-"
#define COOKIE_SECURE "__Host-cellbox-session-" /* behind TLS: no other host can set it */
#define COOKIE_XSRF   "_xsrf"
enum { COOKIE_LINE_MAX = 256 };

/* Whether the client reached the server by TLS, as a proxy in front says it did. */
bool cookie_over_tls(const struct http_request *r);
/* The id of the session that the request's cookies name; false: none of them names a known one. */
bool cookie_session(struct auth_sessions *s, const struct http_request *r, char ret_id[SESSION_ID]);
/* Values for Set-Cookie. */
void cookie_put_session(const struct http_request *r, const char *id, char out[COOKIE_LINE_MAX]);
void cookie_put_xsrf(const struct http_request *r, const char *id, char out[COOKIE_LINE_MAX]);
void cookie_put_end(const struct http_request *r, bool xsrf, char out[COOKIE_LINE_MAX]);
/*
 * Whether a browser says that a page of this very origin sends the request. A request that changes
 * something, or opens a WebSocket, must say so (Origin, Sec-Fetch-Site); one that only reads must
 * not say otherwise, except that a link or the address bar may open a page.
 */
bool cookie_from_own_page(const struct http_request *r);
/* Whether the request repeats the session's word in X-XSRFToken. */
bool cookie_repeats_xsrf(const struct http_request *r, const char *id);
/* Whether a cookie of this name holds a session, which no box may see or set. */
bool cookie_is_session(const char *name, size_t len);
bool cookie_is_xsrf(const char *name, size_t len);
