#include "sandbox/egress/policy/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

static const uint8_t MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static void address_from6(const uint8_t bytes[16], struct address *ret)
{
    *ret = (struct address){.v4 = !memcmp(bytes, MAPPED, sizeof MAPPED)};
    if (ret->v4)
        memcpy(ret->bytes, bytes + 12, 4);
    else
        memcpy(ret->bytes, bytes, 16);
}

bool address_from(const struct sockaddr *sa, struct address *ret)
{
    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, sa, sizeof in);
        *ret = (struct address){.v4 = true};
        memcpy(ret->bytes, &in.sin_addr, 4);
        return true;
    }
    if (sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, sa, sizeof in6);
        address_from6(in6.sin6_addr.s6_addr, ret);
        return true;
    }
    return false;
}

bool address_parse(const char *text, size_t len, struct address *ret)
{
    char copy[INET6_ADDRSTRLEN];
    uint8_t bytes[16];
    bool brackets = len > 2 && text[0] == '[' && text[len - 1] == ']';
    if (brackets) {
        text++;
        len -= 2;
    }
    if (!len || len >= sizeof copy)
        return false;
    memcpy(copy, text, len);
    copy[len] = 0;
    if (!brackets && inet_pton(AF_INET, copy, bytes) == 1) {
        *ret = (struct address){.v4 = true};
        memcpy(ret->bytes, bytes, 4);
        return true;
    }
    if (inet_pton(AF_INET6, copy, bytes) != 1)
        return false;
    address_from6(bytes, ret);
    return true;
}

void address_text(const struct address *a, char ret[46])
{
    if (!inet_ntop(a->v4 ? AF_INET : AF_INET6, a->bytes, ret, 46))
        ret[0] = 0;
}

static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8;
    if (memcmp(a, b, whole) != 0)
        return false;
    return bits % 8 == 0 || !((a[whole] ^ b[whole]) >> (8 - bits % 8));
}

bool network_parse(const char *text, size_t len, struct network *ret)
{
    const char *slash = memchr(text, '/', len);
    size_t address_len = slash ? (size_t)(slash - text) : len;
    struct network n;
    if (!address_parse(text, address_len, &n.base))
        return false;
    unsigned max = n.base.v4 ? 32 : 128, bits = max;
    if (slash) {
        size_t digits = len - address_len - 1;
        if (digits < 1 || digits > 3)
            return false;
        bits = 0;
        for (size_t i = 0; i < digits; i++) {
            if (slash[1 + i] < '0' || slash[1 + i] > '9')
                return false;
            bits = bits * 10 + (unsigned)(slash[1 + i] - '0');
        }
        if (n.base.v4 && memchr(text, ':', address_len)) /* ::ffff:10.0.0.0/104 */
            bits = bits < 96 ? 255 : bits - 96;
        if (bits > max)
            return false;
    }
    for (unsigned i = bits; i < max; i++)
        if (n.base.bytes[i / 8] & (0x80u >> (i % 8)))
            return false;
    n.bits = (uint8_t)bits;
    *ret = n;
    return true;
}

bool network_holds(const struct network *n, const struct address *a)
{
    return n->base.v4 == a->v4 && same_prefix(n->base.bytes, a->bytes, n->bits);
}

struct special {
    uint8_t base[16];
    uint8_t bits;
    const char *what;
};

static const char *look_up(const struct special *list, size_t n, const uint8_t *bytes)
{
    for (size_t i = 0; i < n; i++)
        if (same_prefix(list[i].base, bytes, list[i].bits))
            return list[i].what;
    return NULL;
}

/* IANA special-purpose registry, and addresses at which clouds serve what only the host should see.
 */
static const char *special4(const uint8_t *bytes)
{
    static const struct special list[] = {
        {{0}, 8, "\"this network\""},
        {{10}, 8, "private"},
        {{100, 64}, 10, "carrier-grade NAT"},
        {{127}, 8, "loopback"},
        {{169, 254, 169, 254}, 32, "cloud metadata"},
        {{169, 254}, 16, "link-local"},
        {{172, 16}, 12, "private"},
        {{192, 0, 0}, 24, "reserved"},
        {{192, 0, 2}, 24, "documentation"},
        {{192, 88, 99}, 24, "reserved"},
        {{192, 168}, 16, "private"},
        {{198, 18}, 15, "benchmark"},
        {{198, 51, 100}, 24, "documentation"},
        {{203, 0, 113}, 24, "documentation"},
        {{168, 63, 129, 16}, 32, "cloud metadata"},
        {{224}, 4, "multicast"},
        {{255, 255, 255, 255}, 32, "broadcast"},
        {{240}, 4, "reserved"},
    };
    return look_up(list, sizeof list / sizeof *list, bytes);
}

static const char *special6(const uint8_t *bytes)
{
    static const struct special list[] = {
        {{[15] = 1}, 128, "loopback"},
        {{0}, 96, "reserved"}, /* unspecified, IPv4-compatible */
        {{0x01}, 8, "discard"},
        {{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48, "local NAT64"},
        {{0x20, 0x01, 0x00, 0x02}, 48, "benchmark"},
        {{0x20, 0x01, 0x00, 0x10}, 28, "reserved"},
        {{0x20, 0x01, 0x0d, 0xb8}, 32, "documentation"},
        {{0x3f, 0xff}, 20, "documentation"},
        {{0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54}, 128, "cloud metadata"},
        {{0xfc}, 7, "unique-local"},
        {{0xfe, 0x80}, 10, "link-local"},
        {{0xfe, 0xc0}, 10, "site-local"},
        {{0xff}, 8, "multicast"},
    };
    return look_up(list, sizeof list / sizeof *list, bytes);
}

static struct address inner_address(const uint8_t bytes[4])
{
    struct address a = {.v4 = true};
    memcpy(a.bytes, bytes, 4);
    return a;
}

size_t address_inner(const struct address *a, struct address ret[ADDRESS_INNER_MAX])
{
    static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b}, translated[12] = {[8] = 0xff, 0xff};
    const uint8_t *b = a->bytes;
    if (a->v4)
        return 0;
    if (!memcmp(b, nat64, sizeof nat64) || !memcmp(b, translated, sizeof translated)) {
        ret[0] = inner_address(b + 12);
        return 1;
    }
    if (b[0] == 0x20 && b[1] == 0x02) {
        ret[0] = inner_address(b + 2);
        return 1;
    }
    if (b[0] == 0x20 && b[1] == 0x01 && !b[2] && !b[3]) { /* Teredo: server, inverted client */
        const uint8_t client[4] = {b[12] ^ 0xff, b[13] ^ 0xff, b[14] ^ 0xff, b[15] ^ 0xff};
        ret[0] = inner_address(b + 4);
        ret[1] = inner_address(client);
        return 2;
    }
    return 0;
}

const char *address_special(const struct address *a)
{
    struct address inner[ADDRESS_INNER_MAX];
    const char *what = a->v4 ? special4(a->bytes) : special6(a->bytes);
    size_t n = what ? 0 : address_inner(a, inner);
    for (size_t i = 0; i < n && !what; i++)
        what = special4(inner[i].bytes);
    return what;
}
