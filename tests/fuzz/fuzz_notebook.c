/* LINK: cbx_notebook_document */
/* PARSES: kernel-gw/notebook/document.c */
/* Notebooks of clients: checked, cleared, given parameters, and run in the sense that outputs are
 * put in. */
#include <stdint.h>

#include "kernel-gw/notebook/document.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(json_t *notebook)
{
    struct err e = {0};
    struct outputs o;
    size_t i;
    json_t *cell;
    json_t *parameters = json_object_get(notebook, "parameters");
    notebook_language(notebook);
    notebook_clear(notebook);
    notebook_inject(notebook, json_object_size(notebook) % 2 ? "python" : "typescript",
                    json_is_object(parameters) ? parameters : NULL, &e);
    if (outputs_init(&o, 256) < 0)
        return;
    json_array_foreach (json_object_get(notebook, "cells"), i, cell) {
        struct buf source = {0};
        if (notebook_is_code(cell) && notebook_source(cell, &source) == 0) {
            outputs_begin(&o, cell);
            outputs_stream(&o, "stdout", source.data, source.len);
            outputs_display(&o, json_incref(json_object_get(notebook, "metadata")), NULL, "d");
            outputs_update(&o, NULL, NULL, "d");
            outputs_error(&o, json_object_get(notebook, "metadata"));
            outputs_clear(&o, i & 1);
        }
        buf_deinit(&source);
    }
    outputs_deinit(&o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = {0};
    json_t *notebook = json_loadb((const char *)data, size, 0, NULL);
    if (notebook && notebook_check(notebook, &e) == 0)
        use(notebook);
    json_decref(notebook);
    return 0;
}
