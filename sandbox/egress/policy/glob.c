#include "sandbox/egress/policy/glob.h"

#include <string.h>

/*
 * With `*` as the only wildcard, taking each literal piece at its leftmost place is never worse
 * than any other place, so nothing is tried twice; memmem() is linear.
 */
bool policy_glob(const char *pattern, size_t pattern_len, const char *text, size_t len)
{
    const char *end = pattern + pattern_len;
    const char *star = memchr(pattern, '*', pattern_len);
    if (!star)
        return pattern_len == len && !memcmp(pattern, text, len);
    size_t head = (size_t)(star - pattern);
    const char *last = memrchr(pattern, '*', pattern_len);
    size_t tail = (size_t)(end - last - 1);
    if (len < head + tail || memcmp(text, pattern, head) ||
        memcmp(text + len - tail, last + 1, tail))
        return false;
    text += head;
    len -= head + tail;
    while (star < last) {
        const char *piece = star + 1;
        star = memchr(piece, '*', (size_t)(end - piece));
        size_t n = (size_t)(star - piece);
        const char *at = n ? memmem(text, len, piece, n) : text;
        if (!at)
            return false;
        len -= (size_t)(at - text) + n;
        text = at + n;
    }
    return true;
}
