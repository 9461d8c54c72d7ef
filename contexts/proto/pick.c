#include <string.h>

#include "contexts/proto/proto.h"

static const uint8_t *skip_space(const uint8_t *p, const uint8_t *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r'))
        p++;
    return p;
}

/* p at the opening quote; returns one past the closing one. */
static const uint8_t *skip_string(const uint8_t *p, const uint8_t *end)
{
    for (p++; p < end && *p != '"'; p++) {
        if (*p == '\\')
            p++;
    }
    return p < end ? p + 1 : end;
}

static const uint8_t *skip_value(const uint8_t *p, const uint8_t *end)
{
    size_t depth = 0;
    while (p < end) {
        if (*p == '"') {
            p = skip_string(p, end);
        } else if (*p == '{' || *p == '[') {
            depth++;
            p++;
        } else if (*p == '}' || *p == ']') {
            if (depth == 0)
                return p;
            depth--;
            p++;
        } else if (*p == ',' && depth == 0) {
            return p;
        } else {
            p++;
            continue;
        }
        if (depth == 0)
            return p;
    }
    return end;
}

bool json_pick(const void *object, size_t len, const char *key, struct proto_section *ret_value)
{
    const uint8_t *p = object, *end = p + len;
    size_t key_len = strlen(key);

    p = skip_space(p, end);
    if (p == end || *p != '{')
        return false;
    p = skip_space(p + 1, end);
    while (p < end && *p == '"') {
        const uint8_t *name = p + 1;
        p = skip_string(p, end);
        bool hit = (size_t)(p - name) == key_len + 1 && !memcmp(name, key, key_len);
        p = skip_space(p, end);
        if (p == end || *p != ':')
            return false;
        p = skip_space(p + 1, end);
        const uint8_t *value = p;
        p = skip_value(p, end);
        if (hit) {
            const uint8_t *last = p;
            while (last > value &&
                   (last[-1] == ' ' || last[-1] == '\n' || last[-1] == '\t' || last[-1] == '\r'))
                last--;
            *ret_value = (struct proto_section){value, (size_t)(last - value)};
            return true;
        }
        p = skip_space(p, end);
        if (p < end && *p == ',')
            p = skip_space(p + 1, end);
    }
    return false;
}
