/* LINK: cbx_preview */
/* PARSES: kernel-gw/preview/headers.c */
/* Heads of a box's answers as browsers get them. The first byte chooses between by host and by
 * path. */
#include <assert.h>
#include <string.h>
#include <strings.h>

#include "kernel-gw/preview/private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(const char *line, size_t len, bool by_path)
{
    static const char *const never[] = {
        "clear-site-data:",    "nel:", "report-to:", "alt-svc:", "strict-transport-security:",
        "reporting-endpoints:"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        assert(strncasecmp(line, never[i], strlen(never[i])) != 0);
    if (strncasecmp(line, "set-cookie: ", 12) != 0)
        return;
    assert(!by_path);
    assert(strncasecmp(line + 12, COOKIE_PLAIN, sizeof COOKIE_PLAIN - 1) != 0);
    assert(strncasecmp(line + 12, COOKIE_SECURE, sizeof COOKIE_SECURE - 1) != 0);
    for (const char *p = memchr(line, ';', len); p; p = memchr(p, ';', len - (size_t)(p - line))) {
        p++;
        p += strspn(p, " \t");
        assert(strncasecmp(p, "domain=", 7) != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct response in;
    struct http_request r = {.method = HTTP_GET};
    struct preview_target t = {.label = {.port = 3000, .sandbox = "a", .token = "tokentoken"}};
    size_t used = 0;
    if (!size)
        return 0;
    t.by_path = data[0] & 1;
    response_init(&in);
    if (response_feed(&in, (const char *)data + 1, size - 1, &used) == RESPONSE_HEAD) {
        CLEANUP_BUF struct buf out = {0};
        assert(preview_put_response(&out, &in, &r, &t, data[0] & 2) == 0);
        const char *line = buf_str(&out);
        for (const char *end; (end = strstr(line, "\r\n")); line = end + 2)
            check_line(line, (size_t)(end - line), t.by_path);
        assert(!*line); /* whole lines, and no empty one that would end the head */
        assert(!strstr(buf_str(&out), "\r\n\r\n"));
    }
    response_deinit(&in);
    return 0;
}
