#include "sandbox/egress/tls/hello.h"

#include <ctype.h>
#include <string.h>

enum { RECORD_HANDSHAKE = 22, CLIENT_HELLO = 1, EXT_SERVER_NAME = 0, EXT_ALPN = 16 };

/* A cursor that stays failed once something did not fit. */
struct reader {
    const uint8_t *at, *end;
    bool bad;
};

static const uint8_t *take(struct reader *r, size_t n)
{
    const uint8_t *p = r->at;
    if (r->bad || (size_t)(r->end - r->at) < n) {
        r->bad = true;
        return NULL;
    }
    r->at += n;
    return p;
}

static size_t number(struct reader *r, unsigned bytes)
{
    const uint8_t *p = take(r, bytes);
    size_t v = 0;
    for (unsigned i = 0; p && i < bytes; i++)
        v = v << 8 | p[i];
    return v;
}

static struct reader block(struct reader *r, unsigned length_bytes)
{
    size_t n = number(r, length_bytes);
    const uint8_t *p = take(r, n);
    return p ? (struct reader){p, p + n, false} : (struct reader){NULL, NULL, true};
}

/* Puts the handshake message together from its records. 0, INCOMPLETE or INVALID. */
static int join(const uint8_t *data, size_t len, uint8_t out[HELLO_MAX], size_t *ret_len)
{
    size_t have = 0, at = 0, want = 4;
    while (have < want) {
        if (len - at < 5)
            return HELLO_INCOMPLETE;
        size_t n = (size_t)data[at + 3] << 8 | data[at + 4];
        if (data[at] != RECORD_HANDSHAKE || data[at + 1] != 3 || n == 0 || n > 16384)
            return HELLO_INVALID;
        size_t there = len - at - 5 < n ? len - at - 5 : n;
        if (have + there > HELLO_MAX)
            return HELLO_INVALID;
        memcpy(out + have, data + at + 5, there);
        have += there;
        if (have >= 4) {
            if (out[0] != CLIENT_HELLO)
                return HELLO_INVALID;
            want = 4 + ((size_t)out[1] << 16 | (size_t)out[2] << 8 | out[3]);
            if (want > HELLO_MAX)
                return HELLO_INVALID;
        }
        if (there < n && have < want)
            return HELLO_INCOMPLETE;
        at += 5 + n;
    }
    *ret_len = want;
    return 0;
}

static bool name_char(uint8_t c)
{
    return isalnum(c) || c == '-' || c == '.' || c == '_';
}

static bool server_name(struct reader ext, struct hello *ret)
{
    struct reader list = block(&ext, 2);
    while (!list.bad && list.at < list.end) {
        size_t type = number(&list, 1);
        struct reader name = block(&list, 2);
        size_t n = name.bad ? 0 : (size_t)(name.end - name.at);
        if (list.bad || type != 0)
            continue;
        if (n == 0 || n >= sizeof ret->server_name)
            return false;
        for (size_t i = 0; i < n; i++) {
            if (!name_char(name.at[i]))
                return false;
            ret->server_name[i] = (char)tolower(name.at[i]);
        }
        if (ret->server_name[n - 1] == '.')
            n--;
        ret->server_name[n] = 0;
        /* "example.com.." would be another name to the policy and the same to a resolver */
        if (n == 0 || ret->server_name[0] == '.' || ret->server_name[n - 1] == '.' ||
            strstr(ret->server_name, ".."))
            return false;
    }
    return !list.bad;
}

static bool protocols(struct reader ext, struct hello *ret)
{
    struct reader list = block(&ext, 2);
    ret->alpn = true;
    while (!list.bad && list.at < list.end) {
        struct reader p = block(&list, 1);
        size_t n = p.bad ? 0 : (size_t)(p.end - p.at);
        ret->h2 |= n == 2 && !memcmp(p.at, "h2", 2);
        ret->http11 |= n == 8 && !memcmp(p.at, "http/1.1", 8);
    }
    return !list.bad;
}

int hello_parse(const uint8_t *data, size_t len, struct hello *ret)
{
    uint8_t message[HELLO_MAX];
    size_t message_len;
    struct hello h = {0};
    int e = join(data, len, message, &message_len);
    if (e)
        return e;
    struct reader r = {message + 4, message + message_len, false};
    take(&r, 2 + 32); /* version, random */
    block(&r, 1);     /* session id */
    block(&r, 2);     /* cipher suites */
    block(&r, 1);     /* compression */
    if (!r.bad && r.at == r.end) {
        *ret = h;
        return 0;
    }
    struct reader exts = block(&r, 2);
    while (!exts.bad && exts.at < exts.end) {
        size_t type = number(&exts, 2);
        struct reader ext = block(&exts, 2);
        if (exts.bad)
            break;
        if ((type == EXT_SERVER_NAME && !server_name(ext, &h)) ||
            (type == EXT_ALPN && !protocols(ext, &h)))
            return HELLO_INVALID;
    }
    if (r.bad || exts.bad)
        return HELLO_INVALID;
    *ret = h;
    return 0;
}
