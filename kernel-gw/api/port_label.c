#include <stdlib.h>
#include <string.h>

#include "kernel-gw/api/ports.h"

bool port_label_parse(const char *s, size_t len, struct port_label *ret)
{
    size_t digits = 0, token = len;
    uint32_t port = 0;
    while (digits < len && digits < 5 && s[digits] >= '0' && s[digits] <= '9')
        port = port * 10 + (uint32_t)(s[digits++] - '0');
    while (token && s[token - 1] != '-')
        token--;
    /* port - name - token: the hyphens are at digits and before token */
    if (!digits || s[0] == '0' || port > 65535 || len <= digits || s[digits] != '-' ||
        token < digits + 3 || len == token || len - token > PORT_TOKEN_MAX)
        return false;
    size_t name = token - 1 - (digits + 1);
    if (name > 63)
        return false;
    memcpy(ret->sandbox, s + digits + 1, name);
    ret->sandbox[name] = 0;
    memcpy(ret->token, s + token, len - token);
    ret->token[len - token] = 0;
    ret->port = port;
    return sandbox_name_valid(ret->sandbox) &&
           strspn(ret->token, "abcdefghijklmnopqrstuvwxyz0123456789_") == len - token;
}
