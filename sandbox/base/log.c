#include "sandbox/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const names[] = {"debug", "info", "warn", "error"};
static enum log_level threshold = LOG_INFO;
static char process_name[16] = "cellbox";

void log_init(const char *process)
{
    snprintf(process_name, sizeof process_name, "%s", process);
    const char *want = getenv("CELLBOX_LOG");
    for (int i = LOG_DEBUG; want && i <= LOG_ERROR; i++)
        if (!strcmp(want, names[i]))
            threshold = (enum log_level)i;
}

int log_enabled(enum log_level level)
{
    return level >= threshold;
}

void log_event(enum log_level level, const char *mod, const char *event, const char *kv, ...)
{
    char line[1024];
    struct timespec ts;
    struct tm tm;

    if (level < threshold)
        return;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    size_t n = strftime(line, sizeof line, "ts=%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(line + n, sizeof line - n, ".%03ldZ level=%s proc=%s mod=%s event=%s",
                          ts.tv_nsec / 1000000, names[level], process_name, mod, event);
    if (kv && n < sizeof line - 2) {
        line[n++] = ' ';
        va_list ap;
        va_start(ap, kv);
        int m = vsnprintf(line + n, sizeof line - n, kv, ap);
        va_end(ap);
        if (m > 0)
            n += (size_t)m;
    }
    if (n > sizeof line - 2)
        n = sizeof line - 2;
    line[n++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, n);
    (void)ignored;
}

const char *log_quote(const char *s)
{
    static _Thread_local char ring[4][256];
    static _Thread_local unsigned next;
    char *out = ring[next++ % 4];
    size_t n = 0;

    out[n++] = '"';
    for (; s && *s && n < 250; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\') {
            out[n++] = '\\';
            out[n++] = (char)c;
        } else if (c == '\n') {
            out[n++] = '\\';
            out[n++] = 'n';
        } else {
            out[n++] = c < 0x20 || c == 0x7f ? '?' : (char)c;
        }
    }
    out[n++] = '"';
    out[n] = 0;
    return out;
}
