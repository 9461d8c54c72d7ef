/* MIME bundles, errors of code and whole executions, from the server's JSON. */
#pragma once

#include "clients/c/wire.h"

/* Fills *to; what it points to lives as long as held does, whose owner must hold `from`. -ENOMEM.
 */
int result_fill(void *held, struct cellbox_result *to, json_t *from);
int result_fill_error(void *held, struct cellbox_code_error *to, json_t *from);
/* A whole execution; takes the object. NULL: no memory. */
struct cellbox_execution *result_execution(json_t *take_object);
