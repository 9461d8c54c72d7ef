#define PCRE2_CODE_UNIT_WIDTH 8
#include "kernel-gw/api/box/match.h"

#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS_MAX = 100000, DEPTH_MAX = 1000, HEAP_KIB = 1024 };

struct match {
    char *text;
    size_t text_len;
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *limits;
    struct buf line[2];
    int found; /* stream of the line that matched, -1 */
    size_t groups[2 * MATCH_GROUPS];
    unsigned ngroups;
};

static struct match *match_new(void)
{
    struct match *m = calloc(1, sizeof *m);
    if (m)
        m->found = -1;
    return m;
}

void match_free(struct match *m)
{
    if (!m)
        return;
    free(m->text);
    pcre2_code_free(m->code);
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->limits);
    buf_deinit(&m->line[0]);
    buf_deinit(&m->line[1]);
    free(m);
}

struct match *match_text(const char *text, size_t len)
{
    struct match *m = match_new();
    if (!m || !(m->text = malloc(len + 1))) {
        match_free(m);
        return NULL;
    }
    memcpy(m->text, text, len);
    m->text_len = len;
    return m;
}

struct match *match_pattern(const char *pattern, char *ret_why, size_t cap)
{
    int error;
    size_t at;
    struct match *m = match_new();
    snprintf(ret_why, cap, "out of memory");
    if (!m)
        return NULL;
    m->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                            PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C, &error,
                            &at, NULL);
    if (!m->code) {
        char text[120];
        pcre2_get_error_message(error, (PCRE2_UCHAR *)text, sizeof text);
        snprintf(ret_why, cap, "%s at character %zu", text, at);
        match_free(m);
        return NULL;
    }
    m->data = pcre2_match_data_create(MATCH_GROUPS, NULL);
    m->limits = pcre2_match_context_create(NULL);
    if (!m->data || !m->limits) {
        match_free(m);
        return NULL;
    }
    pcre2_set_match_limit(m->limits, STEPS_MAX);
    pcre2_set_depth_limit(m->limits, DEPTH_MAX);
    pcre2_set_heap_limit(m->limits, HEAP_KIB);
    return m;
}

static bool search(struct match *m, int stream)
{
    const struct buf *line = &m->line[stream];
    if (m->text) {
        const uint8_t *at =
            m->text_len ? memmem(line->data, line->len, m->text, m->text_len) : line->data;
        if (!at)
            return false;
        m->groups[0] = (size_t)(at - line->data);
        m->groups[1] = m->groups[0] + m->text_len;
        m->ngroups = 1;
    } else {
        int n = pcre2_match(m->code, line->data, line->len, 0, 0, m->data, m->limits);
        if (n < 0)
            return false;
        m->ngroups = n ? (unsigned)n : MATCH_GROUPS;
        memcpy(m->groups, pcre2_get_ovector_pointer(m->data), 2 * m->ngroups * sizeof *m->groups);
    }
    m->found = stream;
    return true;
}

/* A whole line, or what has come of one: a prompt has no end of line. */
bool match_feed(struct match *m, int stream, const void *data, size_t len)
{
    struct buf *line = &m->line[stream];
    const char *p = data;
    while (len) {
        const char *nl = memchr(p, '\n', len);
        size_t n = nl ? (size_t)(nl - p) : len;
        size_t room = MATCH_LINE_MAX - line->len;
        if (buf_put(line, p, n < room ? n : room) < 0)
            return false;
        if (nl && line->len && line->data[line->len - 1] == '\r')
            line->len--;
        if (line->len && search(m, stream))
            return true;
        if (!nl)
            return false;
        buf_reset(line);
        p = nl + 1;
        len -= n + 1;
    }
    return false;
}

const char *match_line(const struct match *m, size_t *ret_len)
{
    *ret_len = m->line[m->found].len;
    return (const char *)m->line[m->found].data;
}

const char *match_group(const struct match *m, unsigned group, size_t *ret_len)
{
    if (group >= m->ngroups || m->groups[2 * group] == PCRE2_UNSET)
        return NULL;
    *ret_len = m->groups[2 * group + 1] - m->groups[2 * group];
    return (const char *)m->line[m->found].data + m->groups[2 * group];
}
