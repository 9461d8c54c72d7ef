/* LINK: cbx_preview_response */
/* PARSES: kernel-gw/preview/response.c */
/* Responses of a hostile box: the first byte says how they are cut; the result may not depend on
 * it.
 */
#include <string.h>

#include "kernel-gw/preview/response.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    unsigned heads, responses, failed;
    size_t body;
};

static struct outcome run(const char *data, size_t size, size_t piece, bool head)
{
    struct response r;
    struct outcome o = {0};
    const char *name, *value;
    size_t at = 0;
    response_init(&r);
    r.no_body = head;
    while ((at < size || r.at_piece || r.at_head) && !o.failed) {
        size_t used = 0;
        int e = response_feed(&r, data + at, size - at < piece ? size - at : piece, &used);
        at += used;
        if (e == RESPONSE_HEAD) {
            o.heads++;
            for (size_t i = 0; response_header(&r, i, &name, &value); i++)
                o.body += strlen(name) + strlen(value);
            o.body += strlen(response_reason(&r));
        } else if (e == RESPONSE_PIECE) {
            o.body += r.piece_len;
        } else if (e == RESPONSE_DONE) {
            o.responses++;
            if (r.status == 101)
                break;
            response_next(&r);
            r.no_body = head;
        } else if (e < 0) {
            o.failed = 1;
        }
    }
    if (!o.failed)
        response_end(&r);
    response_deinit(&r);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    bool head = data[0] & 128;
    struct outcome whole = run((const char *)data + 1, size - 1, size, head);
    struct outcome cut = run((const char *)data + 1, size - 1, 1 + data[0] % 32, head);
    if (whole.heads != cut.heads || whole.responses != cut.responses ||
        whole.failed != cut.failed || (!whole.failed && whole.body != cut.body))
        __builtin_trap();
    return 0;
}
