/* LINK: cbx_client */
/* PARSES: clients/c/sse.c */
/* The clients' event stream parser: cut at any place, the same events come out; and base64 on
 * the same bytes. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "clients/c/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void collect(void *user, const struct sse_event *e)
{
    struct str *out = user;
    assert(text_addf(out, "[%s|%s|", e->type, e->id) == 0);
    assert(text_add(out, e->data, e->len) == 0);
    assert(text_add(out, "]", 1) == 0);
}

static void parse(const char *text, size_t size, size_t piece, struct str *out)
{
    struct sse s = {.on_event = collect, .user = out};
    for (size_t i = 0; i < size; i += piece)
        sse_feed(&s, text + i, size - i < piece ? size - i : piece);
    sse_deinit(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP_STR struct str whole = {0}, pieces = {0}, bytes = {0};
    if (size < 1)
        return 0;
    const char *text = (const char *)data + 1;
    parse(text, size - 1, size, &whole);
    parse(text, size - 1, data[0] % 16 + 1, &pieces);
    assert(whole.len == pieces.len);
    assert(!whole.len || !memcmp(whole.data, pieces.data, whole.len));
    text_unbase64(text, size - 1, &bytes);
    return 0;
}
