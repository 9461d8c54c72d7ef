#include "sandbox/files/glob.h"

#include <string.h>

/* The end of a set that begins at p ("[..."), NULL if it is not closed. */
static const char *set_end(const char *p)
{
    p += p[1] == '!' || p[1] == '^' ? 2 : 1;
    if (*p == ']') /* first: an ordinary character */
        p++;
    for (; *p && *p != ']'; p++) {
        if (*p == '\\' && p[1])
            p++;
    }
    return *p ? p + 1 : NULL;
}

static bool in_set(const char *p, const char *end, unsigned char c)
{
    bool negated = p[1] == '!' || p[1] == '^', found = false;
    p += negated ? 2 : 1;
    for (const char *first = p; p < end - 1 || p == first; p++) {
        if (*p == '\\' && p + 1 < end - 1)
            p++;
        unsigned char low = (unsigned char)*p, high = low;
        if (p + 2 < end - 1 && p[1] == '-') {
            p += 2;
            if (*p == '\\' && p + 1 < end - 1)
                p++;
            high = (unsigned char)*p;
        }
        found = found || (low <= c && c <= high);
    }
    return found != negated;
}

/* Whether one pattern element takes c; *ret_next is what follows the element. */
static bool element(const char *p, char c, const char **ret_next)
{
    const char *end = *p == '[' ? set_end(p) : NULL;
    if (end) {
        *ret_next = end;
        return c != '/' && in_set(p, end, (unsigned char)c);
    }
    if (*p == '\\' && p[1])
        p++;
    else if (*p == '?') {
        *ret_next = p + 1;
        return c != '/';
    }
    *ret_next = p + 1;
    return *p == c;
}

static bool match(const char *p, const char *s)
{
    /* Where to go back to: after the last * (not over a /), after the last ** (over anything). */
    const char *star = NULL, *star_at = NULL, *deep = NULL, *deep_at = NULL, *next;
    while (*s) {
        if (p[0] == '*' && p[1] == '*') {
            p += 2;
            if (*p == '/') /* "**" and its slash together may stand for nothing */
                p++;
            deep = p;
            deep_at = s;
            star = NULL;
            continue;
        }
        if (*p == '*') {
            star = ++p;
            star_at = s;
            continue;
        }
        if (*p && element(p, *s, &next)) {
            p = next;
            s++;
        } else if (star && *star_at != '/') {
            p = star;
            s = ++star_at;
        } else if (deep) {
            /* After "** /" the rest begins at a new part of the path. */
            while (deep[-1] == '/' && *deep_at && *deep_at != '/')
                deep_at++;
            if (!*deep_at)
                return false;
            star = NULL;
            p = deep;
            s = ++deep_at;
        } else {
            return false;
        }
    }
    while (*p == '*')
        p++;
    return !*p;
}

bool glob_match(const char *pattern, const char *path)
{
    if (!strchr(pattern, '/')) {
        const char *slash = strrchr(path, '/');
        if (strstr(pattern, "**"))
            return match(pattern, path);
        path = slash ? slash + 1 : path;
    }
    return match(pattern, path);
}

bool glob_valid(const char *pattern)
{
    if (!*pattern)
        return false;
    for (const char *p = pattern; *p; p++) {
        if (*p == '\\' && !*++p)
            return false;
        if (*p == '[' && (p == pattern || p[-1] != '\\')) {
            const char *end = set_end(p);
            if (!end)
                return false;
            p = end - 1;
        }
    }
    return true;
}
