/*
 * Credentials of one checkout, which the box never has: a secret of the server's own in E, and a
 * rule in front of the sandbox's policy that injects it into what git reads of that repository.
 * Both go when the grant ends. Runs in G.
 */
#pragma once

#include "kernel-gw/api/git/text.h"
#include "kernel-gw/gateway.h"

struct git_grant;

/* err->code 0: it holds. Not called any more after git_grant_end. */
typedef void git_grant_fn(void *user, const struct err *err);

int git_grants_init(struct gateway *gw); /* -ENOMEM */
/* url: remote, with a user or a password. done is always called once, perhaps from inside, when
 * *ret is set already; *ret is NULL when there was no memory. */
void git_grant_begin(struct gateway *gw, const char *sandbox, const struct git_url *url,
                     git_grant_fn *done, void *user, struct git_grant **ret);
void git_grant_end(struct git_grant *g); /* NULL is fine */
