#include "clients/c/wire.h"

#include <string.h>

const char *wire_text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

int64_t wire_int(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

double wire_real(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

bool wire_true(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

void *wire_new(json_t *take_object, size_t size, void (*fill)(void *to, const json_t *from))
{
    void *held = held_new(size, take_object);
    if (held)
        fill(held, take_object);
    return held;
}

void *wire_new_list(json_t *take_object, const char *key, size_t size, size_t at, size_t item,
                    void (*fill)(void *to, const json_t *from))
{
    const json_t *array = json_object_get(take_object, key);
    struct {
        size_t n;
        char *items;
    } list = {json_array_size(array), NULL};
    void *held = held_new(size, take_object);
    list.items = held ? held_more(held, list.n * item) : NULL;
    if (!list.items) {
        cellbox_free(held);
        return NULL;
    }
    for (size_t i = 0; i < list.n; i++)
        fill(list.items + i * item, json_array_get(array, i));
    memcpy((char *)held + at, &list, sizeof list);
    return held;
}
