#include "sandbox/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *e, int code, const char *step, const char *fmt, ...)
{
    if (!e || e->code)
        return code;
    e->code = code;
    snprintf(e->step, sizeof e->step, "%s", step);
    if (!fmt) {
        snprintf(e->text, sizeof e->text, "%s", strerror(-code));
        return code;
    }
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    return code;
}
