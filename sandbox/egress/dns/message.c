#include "sandbox/egress/dns/message.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    HEAD = 12,
    RESPONSE = 0x8000,
    OPCODE = 0x7800,
    RECURSION_WANTED = 0x0100,
    RECURSION_THERE = 0x0080,
    TYPE_OPT = 41
};

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint8_t *put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
    return p + 2;
}

static bool host_char(uint8_t c)
{
    return isalnum(c) || c == '-' || c == '_';
}

/* A question's name has no compression. */
static int parse_name(const uint8_t *m, size_t len, size_t *at, char out[DNS_NAME_MAX])
{
    size_t n = 0;
    for (;;) {
        if (*at >= len)
            return DNS_E_INVALID;
        size_t label = m[(*at)++];
        if (label == 0)
            break;
        if (label > 63 || *at + label > len || n + label + 1 >= DNS_NAME_MAX)
            return DNS_E_INVALID;
        if (n)
            out[n++] = '.';
        for (size_t i = 0; i < label; i++) {
            if (!host_char(m[*at + i]))
                return DNS_E_INVALID;
            out[n++] = (char)tolower(m[*at + i]);
        }
        *at += label;
    }
    out[n] = 0;
    return 0;
}

int dns_parse(const uint8_t *m, size_t len, struct dns_question *ret)
{
    struct dns_question q = {0};
    size_t at = HEAD;
    if (len < HEAD || len > DNS_MESSAGE_MAX)
        return DNS_E_IGNORE;
    q.id = get16(m);
    q.flags = get16(m + 2);
    q.end = HEAD;
    if (q.flags & RESPONSE)
        return DNS_E_IGNORE;
    *ret = q;
    if ((q.flags & OPCODE) || get16(m + 4) != 1 || parse_name(m, len, &at, q.name) != 0 ||
        at + 4 > len)
        return DNS_E_INVALID;
    q.type = get16(m + at);
    q.class = get16(m + at + 2);
    q.end = at + 4;
    q.edns = get16(m + 10) == 1 && q.end + 11 <= len && m[q.end] == 0 &&
             get16(m + q.end + 1) == TYPE_OPT;
    *ret = q;
    return 0;
}

static size_t put_name(uint8_t *out, size_t cap, const char *name)
{
    size_t at = 0;
    while (*name) {
        size_t label = strcspn(name, ".");
        if (label == 0 || label > 63 || at + label + 2 > cap)
            return 0;
        out[at++] = (uint8_t)label;
        memcpy(out + at, name, label);
        at += label;
        name += label + (name[label] == '.');
    }
    out[at++] = 0;
    return at;
}

size_t dns_answer(uint8_t *out, size_t cap, const uint8_t *message, const struct dns_question *q,
                  int rcode, const uint8_t *address, size_t address_len, const char *name,
                  uint32_t ttl)
{
    uint8_t data[DNS_NAME_MAX + 2];
    size_t data_len = address_len;
    if (name)
        data_len = put_name(data, sizeof data, name);
    else if (address_len)
        memcpy(data, address, address_len);
    size_t answer = data_len ? 12 + data_len : 0, opt = q->edns ? 11 : 0;
    if (q->end + answer + opt > cap)
        return 0;
    memcpy(out, message, q->end);
    uint8_t *p = put16(out, q->id);
    p = put16(p, RESPONSE | (q->flags & RECURSION_WANTED) | RECURSION_THERE | (unsigned)rcode);
    p = put16(p, q->end > HEAD);
    p = put16(p, data_len ? 1 : 0);
    p = put16(p, 0);
    put16(p, q->edns);
    p = out + q->end;
    if (data_len) {
        p = put16(p, 0xc000 | HEAD); /* the question's name */
        p = put16(p, q->type);
        p = put16(p, 1);
        p = put16(p, ttl >> 16);
        p = put16(p, ttl & 0xffff);
        p = put16(p, (unsigned)data_len);
        memcpy(p, data, data_len);
        p += data_len;
    }
    if (q->edns) {
        *p++ = 0;
        p = put16(p, TYPE_OPT);
        p = put16(p, 1232);
        memset(p, 0, 6);
        p += 6;
    }
    return (size_t)(p - out);
}

/* "4.3.2.1.in-addr.arpa" */
static bool reverse4(const char *name, uint8_t out[4])
{
    for (int i = 3; i >= 0; i--) {
        char *end;
        if (!isdigit((unsigned char)*name))
            return false;
        unsigned long byte = strtoul(name, &end, 10);
        if (end - name > 3 || byte > 255 || *end != '.')
            return false;
        out[i] = (uint8_t)byte;
        name = end + 1;
    }
    return !strcmp(name, "in-addr.arpa");
}

size_t dns_reverse(const char *name, uint8_t out[16])
{
    if (reverse4(name, out))
        return 4;
    if (strlen(name) != 64 + strlen("ip6.arpa") || strcasecmp(name + 64, "ip6.arpa") != 0)
        return 0;
    for (int i = 0; i < 32; i++) {
        const char digit[2] = {name[2 * i], 0};
        if (!isxdigit((unsigned char)digit[0]) || name[2 * i + 1] != '.')
            return 0;
        unsigned v = (unsigned)strtoul(digit, NULL, 16);
        int byte = 15 - i / 2;
        out[byte] = (uint8_t)(i % 2 ? out[byte] | v << 4 : v);
    }
    return 16;
}
