/*
 * Wrong tokens: counted and logged for each address, and answered late from one that goes on
 * guessing. A right token is never held up, so nobody can lock an owner out who shares an address
 * with him; together with the bound of connections without a credential (net/admission.h) the delay
 * bounds how many guesses an address has.
 */
#pragma once

#include <stdint.h>
#include <uv.h>

struct failures;
struct failures *failures_new(void); /* NULL: out of memory */
void failures_free(struct failures *f);
/* Notes a wrong token at a time in milliseconds; how long its answer is to wait, 0 = not at all. */
uint32_t failures_note(struct failures *f, const char *address, uint64_t now_ms);
unsigned long long failures_total(const struct failures *f);
