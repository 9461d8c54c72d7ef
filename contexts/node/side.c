#include "contexts/node/side.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PATIENCE_MS = 1000 };

bool side_is(uint16_t type)
{
    return type == FRAME_COMPLETE || type == FRAME_INSPECT || type == FRAME_IS_COMPLETE ||
           type == FRAME_HISTORY || type == FRAME_COMM_INFO;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

bool side_number(const struct message *m, const char *name, double *ret)
{
    char text[512], key[32];
    size_t n = m->nsections ? m->sections[0].len : 0;
    if (n >= sizeof text)
        n = sizeof text - 1;
    memcpy(text, m->nsections ? m->sections[0].data : "", n);
    text[n] = 0;
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *found = strstr(text, key);
    if (!found)
        return false;
    *ret = strtod(found + strlen(key), NULL);
    return true;
}

bool side_give_up(struct message *m)
{
    char json[160];
    if (!m->waiting_since_ms)
        m->waiting_since_ms = now_ms();
    if (now_ms() - m->waiting_since_ms < PATIENCE_MS)
        return false;
    double cursor = 0;
    side_number(m, "cursor_pos", &cursor);
    unsigned long at = (unsigned long)cursor;
    switch (m->type) {
    case FRAME_COMPLETE:
        snprintf(json, sizeof json,
                 "{\"status\":\"ok\",\"matches\":[],\"cursor_start\":%lu,\"cursor_end\":%lu,"
                 "\"metadata\":{}}",
                 at, at);
        break;
    case FRAME_INSPECT:
        snprintf(json, sizeof json,
                 "{\"status\":\"ok\",\"found\":false,\"data\":{},\"metadata\":{}}");
        break;
    case FRAME_IS_COMPLETE:
        snprintf(json, sizeof json, "{\"status\":\"unknown\"}");
        break;
    case FRAME_HISTORY:
        snprintf(json, sizeof json, "{\"status\":\"ok\",\"history\":[]}");
        break;
    default:
        snprintf(json, sizeof json, "{\"status\":\"ok\",\"comms\":{}}");
    }
    struct section s = {json, strlen(json)};
    link_send(FRAME_DONE, FRAME_OK, m->req, 1, &s);
    return true;
}
