/* LINK: cbx_egress_dns */
/* PARSES: sandbox/egress/dns/message.c */
/* Questions and the answers to them; names for addresses and back. */
#include <string.h>

#include "sandbox/egress/dns/message.h"
#include "sandbox/egress/dns/names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dns_question q;
    uint8_t out[DNS_MESSAGE_MAX], v4[4], v6[16], reverse[16];
    int e = dns_parse(data, size, &q);
    if (e == DNS_E_IGNORE)
        return 0;
    if (e) {
        dns_answer(out, sizeof out, data, &q, DNS_FORMAT, NULL, 0, NULL, 0);
        return 0;
    }
    struct names *n = names_new();
    if (!n || names_take(n, q.name, v4, v6) < 0)
        __builtin_trap();
    const char *back = names_find_bytes(n, v6, sizeof v6);
    if (*q.name && (!back || strcmp(back, q.name) != 0))
        __builtin_trap();
    for (size_t cap = 0; cap < 600; cap += 37)
        if (dns_answer(out, cap, data, &q, DNS_OK, v4, 4, NULL, 60) > cap)
            __builtin_trap();
    dns_answer(out, sizeof out, data, &q, DNS_OK, NULL, 0, q.name, 60);
    dns_reverse(q.name, reverse);
    names_free(n);
    return 0;
}
