/*
 * Logs: one logfmt line an event on stderr: ts level mod event k=v. No secret, no user code, no
 * output in a log. Modules log at debug; whoever handles an error logs it once.
 */
#pragma once

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_init(const char *process); /* e.g. "boxd"; level from CELLBOX_LOG=debug|info|warn|error,
                                       default info */
int log_enabled(enum log_level level);
/* kv: printf format of "k=v k2=v2" pairs or NULL. Use log_quote for values that may hold spaces. */
void log_event(enum log_level level, const char *mod, const char *event, const char *kv, ...)
    __attribute__((format(printf, 4, 5)));
/* Quotes and escapes into a thread-local ring of 4 buffers (256 bytes each); cut when longer. */
const char *log_quote(const char *s);

#define log_debug(mod, event, ...)                         \
    do {                                                   \
        if (log_enabled(LOG_DEBUG))                        \
            log_event(LOG_DEBUG, mod, event, __VA_ARGS__); \
    } while (0)
#define log_info(mod, event, ...)  log_event(LOG_INFO, mod, event, __VA_ARGS__)
#define log_warn(mod, event, ...)  log_event(LOG_WARN, mod, event, __VA_ARGS__)
#define log_error(mod, event, ...) log_event(LOG_ERROR, mod, event, __VA_ARGS__)
