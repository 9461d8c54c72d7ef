/* Walks a JSON text that has been parsed already along a path, to say in which line an error
 * stands. */
#include <ctype.h>
#include <string.h>

#include "sandbox/egress/policy/model.h"

struct walk {
    const char *at, *end;
};

static void blanks(struct walk *w)
{
    while (w->at < w->end && isspace((unsigned char)*w->at))
        w->at++;
}

static void skip_string(struct walk *w)
{
    for (w->at++; w->at < w->end && *w->at != '"'; w->at++)
        if (*w->at == '\\')
            w->at++;
    w->at++;
}

static void skip_value(struct walk *w)
{
    int depth = 0;
    do {
        blanks(w);
        if (w->at >= w->end)
            return;
        if (*w->at == '"') {
            skip_string(w);
        } else {
            if (*w->at == '{' || *w->at == '[')
                depth++;
            else if (*w->at == '}' || *w->at == ']')
                depth--;
            if (depth == 0 && *w->at != '}' && *w->at != ']') {
                while (w->at < w->end && !strchr(",]} \t\r\n", *w->at))
                    w->at++;
                return;
            }
            w->at++;
        }
    } while (depth > 0 && w->at < w->end);
}

/* At the value of that member, or where it was. */
static bool into_member(struct walk *w, const char *name, size_t len)
{
    struct walk start = *w;
    blanks(w);
    if (w->at >= w->end || *w->at++ != '{')
        goto none;
    for (;;) {
        blanks(w);
        if (w->at >= w->end || *w->at != '"')
            goto none;
        const char *key = w->at + 1;
        skip_string(w);
        if (w->at > w->end)
            goto none;
        bool same = (size_t)(w->at - 1 - key) == len && !memcmp(key, name, len);
        blanks(w);
        w->at++; /* : */
        blanks(w);
        if (same)
            return true;
        skip_value(w);
        blanks(w);
        if (w->at >= w->end || *w->at++ != ',')
            goto none;
    }
none:
    *w = start;
    return false;
}

static bool into_item(struct walk *w, unsigned index)
{
    struct walk start = *w;
    blanks(w);
    if (w->at >= w->end || *w->at++ != '[') {
        *w = start;
        return false;
    }
    for (; index; index--) {
        skip_value(w);
        blanks(w);
        if (w->at >= w->end || *w->at++ != ',') {
            *w = start;
            return false;
        }
    }
    blanks(w);
    return true;
}

void locate(const char *json, size_t len, const char *path, unsigned *ret_line,
            unsigned *ret_column)
{
    struct walk w = {json, json + len};
    blanks(&w);
    bool more = true;
    while (*path && more) {
        if (*path == '[') {
            unsigned index = 0;
            for (path++; isdigit((unsigned char)*path); path++)
                index = index * 10 + (unsigned)(*path - '0');
            path += *path == ']';
            more = into_item(&w, index);
        } else {
            path += *path == '.';
            size_t n = strcspn(path, ".[");
            more = n && into_member(&w, path, n);
            path += n;
        }
    }
    *ret_line = 1;
    *ret_column = 1;
    for (const char *p = json; p < w.at && p < json + len; p++) {
        (*ret_column)++;
        if (*p == '\n') {
            (*ret_line)++;
            *ret_column = 1;
        }
    }
}
