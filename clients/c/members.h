/* The JSON body of a call, put together member by member; what is not given is left out. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct members {
    json_t *json;        /* NULL: no memory */
    const char *problem; /* of an argument, for a message; NULL: none */
    bool no_memory;
};

void members_init(struct members *m);
void members_deinit(struct members *m);
#define CLEANUP_MEMBERS __attribute__((cleanup(members_deinit)))

void members_text(struct members *m, const char *key, const char *text);
void members_bytes(struct members *m, const char *key, const void *data, size_t len); /* base64 */
void members_int(struct members *m, const char *key, int64_t value);                  /* not 0 */
void members_real(struct members *m, const char *key, double value);                  /* not 0 */
void members_true(struct members *m, const char *key, bool value);
void members_list(struct members *m, const char *key, const char *const *list);
/* "NAME=VALUE", NULL at the end. */
void members_map(struct members *m, const char *key, const char *const *list);
/* JSON text. */
void members_json(struct members *m, const char *key, const char *text);
/* A line for the shell, or a program and its arguments. */
void members_command(struct members *m, const char *line, const char *const *argv);
