#include "contexts/manager/language.h"

#include <string.h>

static const struct language languages[] = {
    {.name = "python",
     .aliases = {"python3", "py"},
     .display_name = "Python 3 (Cellbox)",
     .kernel_language = "python",
     .debugger = true,
     .pool = POOL_PYTHON,
     .program = WIRE_PROGRAM_FORK,
     .fresh_program = WIRE_PROGRAM_PYTHON,
     .fresh_env = {"PYTHON", "LD_", "OMP_", "OPENBLAS_", "MKL_", "NUMEXPR_"}},
    {.name = "javascript",
     .aliases = {"js", "node"},
     .display_name = "JavaScript (Cellbox)",
     .kernel_language = "javascript",
     .pool = POOL_NODE,
     .program = WIRE_PROGRAM_NODE,
     .fresh_program = WIRE_PROGRAM_NODE,
     .fresh_env = {"NODE_", "LD_", "UV_", "SSL_CERT_", "OPENSSL_", "LANG", "LC_"}},
    {.name = "typescript",
     .aliases = {"ts"},
     .display_name = "TypeScript (Cellbox)",
     .kernel_language = "typescript",
     .pool = POOL_NODE,
     .program = WIRE_PROGRAM_NODE,
     .fresh_program = WIRE_PROGRAM_NODE,
     .fresh_env = {"NODE_", "LD_", "UV_", "SSL_CERT_", "OPENSSL_", "LANG", "LC_"}},
};

enum { COUNT = sizeof languages / sizeof *languages };

const struct language *language_find(const char *name)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (!strcmp(languages[i].name, name))
            return &languages[i];
        for (const char *const *a = languages[i].aliases; *a; a++)
            if (!strcmp(*a, name))
                return &languages[i];
    }
    return NULL;
}

enum pool_kind language_pool(const char *name)
{
    const struct language *l = name ? language_find(name) : NULL;
    return l ? l->pool : languages[0].pool;
}

const struct language *language_next(const struct language *after)
{
    const struct language *next = after ? after + 1 : languages;
    return next < languages + COUNT ? next : NULL;
}
