/*
 * AWS Signature Version 4, header form (AWS General Reference, "Create a signed AWS API request").
 * Pure but for the time it is given. Private to the module.
 */
#pragma once

#include <time.h>

#include "sandbox/egress/http/head.h"

struct sigv4 {
    const char *key_id, *secret, *token; /* token: NULL = none */
    const char *region, *service;
    time_t now;
    const char *payload; /* hash of the body in hex, or UNSIGNED-PAYLOAD */
};

/* Signs the head as it is: host, every x-amz-* field, content-type. Sets authorization, x-amz-date.
 */
int sigv4_sign(struct http_head *h, const struct sigv4 *s);
/* "s3.eu-west-1.amazonaws.com" -> s3, eu-west-1; falls back to us-east-1. False: no AWS host. */
bool sigv4_guess(const char *host, char service[64], char region[64]);
