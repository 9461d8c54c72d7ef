#include "contexts/manager/language.h"

#include <string.h>

static const struct language languages[] = {
    {"python", {"python3", "py"}, "Python 3 (Cellbox)", "python", true},
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

const struct language *language_next(const struct language *after)
{
    const struct language *next = after ? after + 1 : languages;
    return next < languages + COUNT ? next : NULL;
}
