/*
 * Notebook documents (nbformat 4): checked, parameters put in, outputs collected. No I/O, no clock,
 * no loop.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "sandbox/base/buf.h"
#include "sandbox/base/err.h"

/* Whether it is a notebook that can be run. -EINVAL with a sentence. */
int notebook_check(const json_t *notebook, struct err *e);
/* Name of the language it was written in, as its metadata say; NULL when they do not. */
const char *notebook_language(const json_t *notebook);
/* Outputs and counts of all code cells are taken out. */
void notebook_clear(json_t *notebook);
/*
 * A cell that assigns the parameters, as papermill puts it: in place of the one tagged
 * "injected-parameters", else behind the one tagged "parameters", else first. language: "python",
 * "javascript" or "typescript". -EINVAL: a name is no identifier; -ENOMEM.
 */
int notebook_inject(json_t *notebook, const char *language, const json_t *parameters,
                    struct err *e);
/* The source of a cell in one piece. */
int notebook_source(const json_t *cell, struct buf *out);
bool notebook_is_code(const json_t *cell); /* and not empty */

/* Outputs of the cells of one run. */
struct outputs {
    json_t *cell;    /* borrowed: the one that runs */
    json_t *display; /* {display_id: [output...]} of the whole notebook */
    size_t bytes, max;
    bool clear_next, truncated;
};
int outputs_init(struct outputs *o, size_t max); /* -ENOMEM */
void outputs_deinit(struct outputs *o);
void outputs_begin(struct outputs *o, json_t *cell);
void outputs_stream(struct outputs *o, const char *name, const void *text, size_t len);
/* Takes its arguments; NULL stands for {}. display_id may be NULL. */
void outputs_display(struct outputs *o, json_t *take_data, json_t *take_metadata,
                     const char *display_id);
void outputs_update(struct outputs *o, json_t *take_data, json_t *take_metadata,
                    const char *display_id);
void outputs_result(struct outputs *o, json_t *take_data, json_t *take_metadata, unsigned count);
void outputs_error(struct outputs *o, const json_t *error);
void outputs_clear(struct outputs *o, bool wait);
