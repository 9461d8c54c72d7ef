/* The interface's description, as it lies in the tree. */
#include "kernel-gw/api/api.h"

#define TEXT_(s) #s
#define TEXT(s)  TEXT_(s)

__asm__(".section .rodata\n"
        ".global api_openapi_yaml\n"
        "api_openapi_yaml:\n"
        ".incbin " TEXT(OPENAPI_PATH) "\n"
                                      ".global api_openapi_yaml_end\n"
                                      "api_openapi_yaml_end:\n"
                                      ".byte 0\n"
                                      ".previous\n");
