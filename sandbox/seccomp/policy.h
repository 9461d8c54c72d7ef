/* The lists behind the filter; see policy.c. Private to the module. */
#pragma once

extern const char *const policy_allowed[]; /* any arguments */
extern const char *const policy_denied[];  /* EPERM: known, and refused */
extern const char
    *const policy_not_gateway[]; /* of the allowed ones: what the gateway has no business with */
