/* Shows what a run produces: text on the stream it was written to, pictures in files, errors on
 * stderr. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

struct show {
    const char *dir;  /* where pictures go */
    bool quiet;       /* nothing is printed; pictures are still saved */
    bool broken;      /* nobody reads our output any more */
    bool line_open;   /* the last byte on stdout was not a newline */
    bool erase;       /* clear_output(wait=True): before the next output */
    int number;       /* last picture number tried */
    json_t *pictures; /* display id -> file, for updates of a picture of this run */
};

void show_text(struct show *s, int fd, const char *text, size_t len);
/* result, display, update_display: one MIME bundle. */
void show_bundle(struct show *s, const json_t *event, bool update);
void show_error(struct show *s, const json_t *error);
void show_clear(struct show *s, bool wait);
void show_deinit(struct show *s);
