/*
 * Named secrets. On disk each is sealed with AES-256-GCM under a key that E gets from B at start
 * and never writes; in memory they stay in E. There is no way to read one back but to inject it.
 *
 * A secret is a JSON object: {"value": "…"} or, for basic auth and SigV4, {"username","password"}
 * or
 * {"accessKeyId","secretAccessKey","sessionToken"?}; with "hosts": [globs], the only hosts it may
 * ever be injected for, whatever a policy says (required, "*" allowed), optional "sandboxes":
 * [globs of box names], "handlers": [modules that get it in clear text].
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sandbox/base/buf.h"

enum { SECRETS_KEY = 32, SECRET_NAME_MAX = 64, SECRET_VALUE_MAX = 32768, SECRETS_MAX = 10000 };
enum { SECRETS_E_INVALID = 1, SECRETS_E_NOT_FOUND, SECRETS_E_TOO_MANY };

struct secrets;
struct secret; /* good until the store changes */

/* dir_fd: directory of the sealed files; borrowed. A file that does not open under the key is
 * skipped and logged. */
int secrets_open(int dir_fd, const uint8_t key[SECRETS_KEY], struct secrets **ret);
void secrets_close(struct secrets *s);
/* A name that begins with _ is of the server's own. Replaces or adds; written and synced before it
 * returns. ret_reason: for SECRETS_E_INVALID. */
int secrets_put(struct secrets *s, const char *name, const char *json, size_t len,
                char ret_reason[208]);
int secrets_remove(struct secrets *s, const char *name);
const struct secret *secrets_find(const struct secrets *s, const char *name);
/* May it be injected into a request of that box to that host? */
bool secret_allows(const struct secret *s, const char *box_name, const char *host);
/* The sandboxes' part of it alone. */
bool secret_is_for(const struct secret *s, const char *box_name);
/* Does that handler module get its clear text? */
bool secret_shown_to(const struct secret *s, const char *module);
/* Member of the secret ("value", "username"...), NULL if absent. */
const char *secret_get(const struct secret *s, const char *member);
/* Appends a JSON array [{"name","hosts","sandboxes","handlers","kind","createdAt","updatedAt"}]:
 * never a value. */
int secrets_list(const struct secrets *s, struct buf *out);
