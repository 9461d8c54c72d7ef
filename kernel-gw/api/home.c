/*
 * The page a person sees who opens the server's address, and signing in with a cookie: browsers
 * cannot send a header with a page or a WebSocket. The token in the address (?token=) signs in as
 * well.
 */
#include <stdio.h>
#include <string.h>

#include "kernel-gw/api/api.h"
#include "sandbox/base/embed.h"

EMBED(home_html, "kernel-gw/api/home.html");

static void send_page(struct gateway *gw, struct exchange *x, int status)
{
    api_count(gw, status);
    exchange_header(x, "Content-Security-Policy",
                    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
                    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'");
    exchange_header(x, "Cache-Control", "no-store");
    exchange_header(x, "Referrer-Policy", "no-referrer");
    exchange_respond(x, status, "text/html; charset=utf-8", home_html, home_html_len);
}

static void answer_not_valid(struct gateway *gw, struct exchange *x)
{
    send_page(gw, x, 403);
}

/* Begins a session and leads to the page, out of the address bar and the history. */
static void sign_in(struct gateway *gw, struct exchange *x, const struct http_request *r)
{
    char id[SESSION_ID], cookie[COOKIE_LINE_MAX];
    if (auth_sessions_begin(gw->auth.sessions, id) < 0) {
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    exchange_trust(x);
    cookie_put_session(r, id, cookie);
    exchange_header(x, "Set-Cookie", cookie);
    cookie_put_xsrf(r, id, cookie);
    exchange_header(x, "Set-Cookie", cookie);
    exchange_header(x, "Cache-Control", "no-store");
    exchange_header(x, "Location", "/");
    api_empty(gw, x, 302);
}

static void home(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct route_params *p)
{
    char token[8];
    (void)p;
    if (http_query(r, "token", token, sizeof token) || strstr(r->query, "token=")) {
        if (auth_check(&gw->auth, r) == AUTH_OK)
            sign_in(gw, x, r);
        else
            api_wrong_token(gw, x, answer_not_valid);
        return;
    }
    send_page(gw, x, 200);
}

/* A form: token=... */
static void login(struct gateway *gw, struct exchange *x, const struct http_request *r,
                  const struct route_params *p)
{
    struct http_request form = {.query = r->body.len ? buf_str((struct buf *)&r->body) : ""};
    char token[512];
    (void)p;
    if (!http_query(&form, "token", token, sizeof token) || !auth_token_is(&gw->auth, token)) {
        api_wrong_token(gw, x, answer_not_valid);
        return;
    }
    sign_in(gw, x, r);
}

static void logout(struct gateway *gw, struct exchange *x, const struct http_request *r,
                   const struct route_params *p)
{
    char id[SESSION_ID], cookie[COOKIE_LINE_MAX];
    (void)p;
    if (cookie_session(gw->auth.sessions, r, id))
        auth_sessions_end(gw->auth.sessions, id);
    cookie_put_end(r, false, cookie);
    exchange_header(x, "Set-Cookie", cookie);
    cookie_put_end(r, true, cookie);
    exchange_header(x, "Set-Cookie", cookie);
    exchange_header(x, "Location", "/");
    api_empty(gw, x, 302);
}

const struct route api_home_routes[] = {
    {"GET", "/", home, ROUTE_OPEN},
    {"GET", "/login", home, ROUTE_OPEN},
    {"POST", "/login", login, ROUTE_OPEN},
    {"POST", "/logout", logout, 0},
};
const size_t api_home_nroutes = sizeof api_home_routes / sizeof *api_home_routes;
