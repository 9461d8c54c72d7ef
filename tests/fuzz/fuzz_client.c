/* LINK: cbx_client */
/* PARSES: clients/c/result.c clients/c/text.c */
/* What the C client makes of a server's JSON: executions with their results, pieces of output,
 * errors. Whatever it is given, what it gives can be read to its end and freed. */
#include <stdint.h>
#include <string.h>

#include "clients/c/result.h"
#include "clients/c/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t read_all(const struct cellbox_execution *e)
{
    size_t sum = strlen(e->out) + strlen(e->err) + (e->text ? strlen(e->text) : 0);
    for (size_t i = 0; i < e->n; i++) {
        for (size_t k = 0; k < e->results[i].n; k++) {
            const struct cellbox_mime *m = &e->results[i].data[k];
            size_t len;
            void *bytes = cellbox_mime_bytes(m, &len);
            sum += strlen(m->type) + m->data[m->len];
            cellbox_free(bytes);
        }
    }
    return e->error ? sum + strlen(e->error->traceback) : sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP_STR struct str hold = {0};
    const char *piece;
    size_t len;
    struct cellbox_error error;
    json_t *json = json_loadb((const char *)data, size, JSON_ALLOW_NUL, NULL);
    if (!json)
        return 0;
    if (stream_piece(json, "data", "encoding", &hold, &piece, &len) == 0 && piece[len] != 0)
        abort();
    error_of_json(&error, 500, json, "");
    struct cellbox_execution *e = result_execution(json);
    if (e)
        read_all(e);
    cellbox_free(e);
    return 0;
}
