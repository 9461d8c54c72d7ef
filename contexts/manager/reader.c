/* Events of one request, pulled from the journal by whoever wants them at its own pace. */
#include <errno.h>
#include <stdlib.h>

#include "contexts/manager/private.h"

struct execution_reader {
    struct request *request;
    struct journal_reader reader;
    struct projector projector;
    uint64_t start;
    bool done;
    void (*event)(void *user, const struct context_event *ev);
    void *user;
};

static void on_event(void *user, const struct context_event *ev)
{
    struct execution_reader *rd = user;
    if (ev->request != rd->request || rd->reader.at <= rd->start || rd->done)
        return;
    rd->event(rd->user, ev);
    rd->done = ev->type == EVENT_REPLY;
}

int execution_reader_open(struct request *r,
                          void (*event)(void *user, const struct context_event *ev), void *user,
                          struct execution_reader **ret)
{
    struct context *c = r->context;
    struct execution_reader *rd = calloc(1, sizeof *rd);
    if (!rd)
        return -ENOMEM;
    request_ref(r);
    r->readers++;
    rd->request = r;
    rd->event = event;
    rd->user = user;
    rd->done = r->state == REQUEST_QUEUED;
    bool ran = r->started_us != 0; /* an aborted one has only its END */
    rd->start = ran ? r->start.start : r->record;
    journal_reader_init(&rd->reader, c->journal, ran ? r->start.scan : r->record);
    projector_init(&rd->projector, c, &c->quotas->readers);
    rd->projector.hint = r;
    rd->projector.emit = on_event;
    rd->projector.user = rd;
    rd->projector.decoder.resync = true;
    *ret = rd;
    return 0;
}

int execution_reader_step(struct execution_reader *rd)
{
    struct journal_record rec;
    if (rd->done)
        return 0;
    if (!proto_decoder_admit(&rd->projector.decoder))
        return -EAGAIN;
    int r = journal_read(&rd->reader, &rec);
    if (r <= 0)
        return r;
    bool before = rec.offset < rd->start;
    if (before && (rec.kind != JOURNAL_PACKET || !rec.len || (rec.data[0] & PACKET_INIT)))
        return 1;
    /* A broken packet is part of the history; what the manager made of it follows. */
    return projector_feed(&rd->projector, &rec) == -ENOMEM ? -ENOMEM : 1;
}

void execution_reader_close(struct execution_reader *rd)
{
    if (!rd)
        return;
    rd->request->readers--;
    journal_reader_deinit(&rd->reader);
    projector_deinit(&rd->projector);
    quotas_settle(rd->request->context->quotas);
    request_unref(rd->request);
    free(rd);
}
