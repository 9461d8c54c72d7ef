/* The interface's description, as it lies in the tree. */
#include "kernel-gw/api/api.h"
#include "sandbox/base/embed.h"

EMBED(api_openapi_yaml, "kernel-gw/api/openapi.yaml");
