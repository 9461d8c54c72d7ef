/*
 * The bottom of the library, which the command line stands on as well: a growable string, cleanup
 * attributes, base64, addresses. Nothing here ends the program: what runs out of memory returns
 * -ENOMEM and leaves its arguments as they were.
 */
#pragma once

#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

void free_pointer(void *pp);
void free_json(json_t **j);

#define CLEANUP_FREE __attribute__((cleanup(free_pointer)))
#define CLEANUP_JSON __attribute__((cleanup(free_json)))
#define CLEANUP_STR  __attribute__((cleanup(str_deinit)))

/* Always NUL-terminated once something was added; len does not count the NUL. */
struct str {
    char *data;
    size_t len, cap;
};

int text_add(struct str *s, const void *data, size_t len);
int text_addf(struct str *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
int text_addv(struct str *s, const char *format, va_list ap);
void str_clear(struct str *s);
void str_deinit(struct str *s);
/* Its text, "" for one that nothing was added to. Belongs to it. */
const char *str_text(const struct str *s);

int text_base64(const void *data, size_t len, struct str *ret);
/* Decodes base64, ignoring white space. -EINVAL when it is not base64. */
int text_unbase64(const char *text, size_t len, struct str *ret);

/* Strings of a JSON object; "" when absent. */
const char *json_text(const json_t *object, const char *key);

/* An address: each %s of the pattern stands for one argument, percent-encoded. */
int text_address(struct str *s, const char *pattern, ...);
int text_addressv(struct str *s, const char *pattern, va_list ap);
/* Percent-encoded, but for slashes. */
int text_add_path(struct str *s, const char *path);

long long monotonic_ms(void);
