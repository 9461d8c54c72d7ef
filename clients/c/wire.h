/* From the server's JSON to the structs of cellbox.h, whose strings stand in that JSON. */
#pragma once

#include "clients/c/client.h"
#include "clients/c/held.h"

/* NULL when absent. */
const char *wire_text(const json_t *object, const char *key);
int64_t wire_int(const json_t *object, const char *key);
double wire_real(const json_t *object, const char *key);
bool wire_true(const json_t *object, const char *key);

/* A struct of `size` filled from an object, which is taken. NULL: no memory. */
void *wire_new(json_t *take_object, size_t size, void (*fill)(void *to, const json_t *from));
/*
 * A struct (`size` in all) whose {size_t n; const item *items} at `at` are filled from the array
 * under key. NULL: no memory.
 */
void *wire_new_list(json_t *take_object, const char *key, size_t size, size_t at, size_t item,
                    void (*fill)(void *to, const json_t *from));

/* Unless r says that there is none: gives what was made, or says that there was no memory. */
#define WIRE_GIVE(r, ret, make, error)            \
    ((r) != CELLBOX_OK ? (r) : __extension__({    \
        void *made_ = (make);                     \
        if (made_)                                \
            *(ret) = made_;                       \
        made_ ? CELLBOX_OK : error_memory(error); \
    }))
#define WIRE_LIST(object, key, type, item, fill) \
    wire_new_list(object, key, sizeof(type), offsetof(type, n), sizeof(item), fill)
