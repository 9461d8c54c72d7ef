/* LINK: cbx_auth */
/* PARSES: kernel-gw/auth/cookie.c */
/* Requests of browsers: only a cookie with the known session's id names it, whatever else is there.
 */
#include <assert.h>
#include <string.h>

#include "kernel-gw/auth/auth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(struct auth_sessions *sessions, const char *known, const struct http_request *r,
                bool holds)
{
    char id[SESSION_ID] = "", line[COOKIE_LINE_MAX];
    if (cookie_session(sessions, r, id)) {
        assert(holds && !strcmp(id, known));
        cookie_repeats_xsrf(r, id);
    }
    cookie_from_own_page(r);
    cookie_put_session(r, known, line);
    assert(!strpbrk(line, "\r\n"));
    cookie_put_end(r, true, line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct http_limits limits = {.head_max = 4096, .body_max = 16};
    static struct auth_sessions *sessions;
    static char known[SESSION_ID];
    struct http_parser p;
    size_t used = 0;
    if (!sessions) {
        sessions = auth_sessions_new(NULL, "token");
        assert(sessions && auth_sessions_begin(sessions, known) == 0);
    }
    CLEANUP_BUF struct buf text = {0}; /* "@" stands for the id, which no corpus can know */
    bool holds = false;
    for (size_t i = 0; i < size; i++) {
        if (data[i] == '@')
            buf_puts(&text, known);
        else
            buf_putc(&text, (char)data[i]);
        holds |= data[i] == '@';
    }
    http_parser_init(&p, &limits);
    if (text.len && http_parser_feed(&p, buf_str(&text), text.len, &used) == 1)
        ask(sessions, known, &p.request, holds);
    http_parser_deinit(&p);
    return 0;
}
