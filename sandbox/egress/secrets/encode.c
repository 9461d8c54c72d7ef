#include "sandbox/egress/secrets/encode.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <string.h>

int encode_base64(struct buf *out, const void *data, size_t len)
{
    int r = buf_reserve(out, 4 * ((len + 2) / 3) + 1);
    if (r < 0)
        return r;
    out->len += (size_t)EVP_EncodeBlock(out->data + out->len, data, (int)len);
    return 0;
}

void encode_percent(struct buf *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (isalnum(c) || (c && strchr("-._~", c)))
            buf_putc(out, (char)c);
        else
            buf_printf(out, "%%%02X", c);
    }
}
