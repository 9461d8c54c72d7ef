/* Random identifiers from the kernel. All abort only if getrandom itself fails, which it does not
 * after boot. */
#pragma once

#include <stddef.h>
#include <stdint.h>

void id_random(void *out, size_t n);
void id_hex(char *out, size_t nbytes); /* writes 2*nbytes hex digits and a NUL */
/* Reads 2*nbytes hex digits; -EINVAL: others, or another length. */
int id_unhex(const char *text, uint8_t *ret, size_t nbytes);
void id_uuid(char out[37]); /* random UUID, RFC 9562 version 4 */
