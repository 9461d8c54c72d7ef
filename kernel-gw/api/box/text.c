#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>

#include "kernel-gw/api/box/box.h"
#include "sandbox/base/json.h"

bool box_read_encoding(struct gateway *gw, struct exchange *x, const json_t *o,
                       enum box_encoding *ret)
{
    const char *word = api_string(o, "encoding");
    if (!word)
        *ret = BOX_AUTO;
    else if (!strcmp(word, "utf-8") || !strcmp(word, "utf8"))
        *ret = BOX_UTF8;
    else if (!strcmp(word, "base64"))
        *ret = BOX_BASE64;
    else {
        api_error_detail(gw, x, 400, "INVALID_FIELD", "field", "encoding",
                         "encoding is utf-8 or base64");
        return false;
    }
    return true;
}

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void box_put_base64(struct buf *out, const void *data, size_t len)
{
    const uint8_t *p = data;
    if (buf_reserve(out, (len + 2) / 3 * 4 + 1) < 0)
        return;
    for (size_t i = 0; i < len; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16;
        v |= i + 1 < len ? (uint32_t)p[i + 1] << 8 : 0;
        v |= i + 2 < len ? p[i + 2] : 0;
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63],
                        i + 1 < len ? digits[v >> 6 & 63] : '=',
                        i + 2 < len ? digits[v & 63] : '='};
        buf_put(out, four, sizeof four);
    }
}

int box_read_base64(const char *text, size_t len, struct buf *out)
{
    uint32_t v = 0;
    unsigned n = 0, bits = 0;
    while (len && text[len - 1] == '=' && n++ < 2)
        len--;
    for (size_t i = 0; i < len; i++) {
        const char *d = text[i] ? strchr(digits, text[i]) : NULL;
        if (!d)
            return -EINVAL;
        v = v << 6 | (uint32_t)(d - digits);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            buf_putc(out, (char)(v >> bits));
        }
    }
    return out->err;
}

void box_put_bytes(struct buf *out, const void *data, size_t len, enum box_encoding e,
                   bool *ret_base64)
{
    *ret_base64 = e == BOX_BASE64 || (e == BOX_AUTO && !utf8_valid(data, len));
    if (!*ret_base64) {
        json_put_string(out, data, len);
        return;
    }
    buf_putc(out, '"');
    box_put_base64(out, data, len);
    buf_putc(out, '"');
}

static void put_data(struct buf *out, const void *data, size_t len, enum box_encoding e)
{
    bool base64;
    buf_puts(out, ",\"data\":");
    box_put_bytes(out, data, len, e, &base64);
    buf_printf(out, ",\"encoding\":\"%s\"", base64 ? "base64" : "utf-8");
}

bool box_put_piece(struct buf *out, struct box_text *t, enum box_encoding e, const void *data,
                   size_t len, bool end)
{
    CLEANUP_BUF struct buf whole = {0};
    if (e == BOX_BASE64) {
        if (len)
            put_data(out, data, len, e);
        return len > 0;
    }
    buf_put(&whole, t->tail, t->len);
    if (len)
        buf_put(&whole, data, len);
    t->len = end ? 0 : utf8_incomplete_tail(whole.data, whole.len);
    whole.len -= t->len;
    memcpy(t->tail, whole.data + whole.len, t->len);
    if (whole.len)
        put_data(out, whole.data, whole.len, e);
    return whole.len > 0;
}

int box_exit_code(int status, uint8_t marks)
{
    enum { CODE_TIMED_OUT = 124, CODE_SIGNAL = 128 }; /* as timeout(1) and shells have it */
    if (marks & WIRE_MARK_TIMED_OUT)
        return CODE_TIMED_OUT;
    return WIFSIGNALED(status) ? CODE_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}

void box_put_end(struct buf *out, int status, uint8_t marks)
{
    const char *name = WIFSIGNALED(status) ? box_signal_name(WTERMSIG(status)) : NULL;
    buf_printf(out, ",\"exitCode\":%d,\"signal\":", box_exit_code(status, marks));
    if (name)
        json_put_cstring(out, name);
    else
        buf_puts(out, "null");
    buf_printf(out, ",\"timedOut\":%s", marks & WIRE_MARK_TIMED_OUT ? "true" : "false");
    if (marks & WIRE_MARK_OUT_OF_MEMORY)
        buf_puts(out, ",\"outOfMemory\":true");
}
