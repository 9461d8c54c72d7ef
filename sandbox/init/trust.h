/*
 * Makes the programs of a box trust its egress (sandbox/wire/trust.h): the certificate by itself,
 * at the end of the distribution's bundle, and with all of the bundle as a Java key store. Runs in
 * init, as root of the box; what the box has put in the way of it harms nobody but the box.
 */
#pragma once

#include <stddef.h>

#include "sandbox/base/err.h"

int trust_install(const char *pem, size_t len, struct err *err);
