/* Questions to an init that are answered from its table. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/api/box/box.h"

struct box_question {
    struct gateway *gw;
    struct exchange *x; /* NULL: the client has gone */
    const char *what;
    int status;
    uint8_t kind; /* 0: any */
    box_put_fn *put;
    char id[WIRE_PROCESS_ID];
};

static void on_asker_gone(void *user)
{
    ((struct box_question *)user)->x = NULL;
}

static const struct exchange_ops question_ops = {.closed = on_asker_gone};

struct box_question *box_question_new(struct gateway *gw, struct exchange *x, const char *what,
                                      const char *id, int status, box_put_fn *put)
{
    struct box_question *q = calloc(1, sizeof *q);
    if (!q) {
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return NULL;
    }
    *q = (struct box_question){.gw = gw, .x = x, .what = what, .status = status, .put = put};
    box_copy(q->id, sizeof q->id, id);
    exchange_set_ops(x, &question_ops, q);
    return q;
}

void box_question_fail(struct box_question *q, int error)
{
    struct err e = {0};
    err_set(&e, error, "process", NULL);
    box_question_answer(q, &e, NULL);
}

void box_question_answer(void *user, const struct err *error, const struct wire_message *m)
{
    struct box_question *q = user;
    struct wire_process_info info;
    struct err missing = {.code = -ESRCH};
    const char *note;
    size_t cursor = 0;
    CLEANUP_BUF struct buf b = {0};
    if (!q->x) {
        free(q);
        return;
    }
    exchange_set_ops(q->x, NULL, NULL);
    if (error->code) {
        box_error(q->gw, q->x, error, q->what, q->id);
    } else if (q->status == 204) {
        api_empty(q->gw, q->x, 204);
    } else if (!process_table_next(m, &cursor, &info, &note) || (q->kind && info.kind != q->kind)) {
        box_error(q->gw, q->x, &missing, q->what, q->id);
    } else {
        q->put(&b, &info, note);
        api_json(q->gw, q->x, q->status, &b);
    }
    free(q);
}

void box_get(struct gateway *gw, struct exchange *x, const struct route_params *p, const char *what,
             uint8_t kind, box_put_fn *put)
{
    struct wire_link *init = box_running(gw, x, p->value[0], what, p->value[1]);
    struct box_question *q = init ? box_question_new(gw, x, what, p->value[1], 200, put) : NULL;
    if (!q)
        return;
    q->kind = kind;
    process_link_list(init, p->value[1], 0, 0, box_question_answer, q);
}

void box_remove(struct gateway *gw, struct exchange *x, const struct route_params *p,
                const char *what)
{
    struct wire_link *init = box_running(gw, x, p->value[0], what, p->value[1]);
    struct box_question *q = init ? box_question_new(gw, x, what, p->value[1], 204, NULL) : NULL;
    if (q)
        process_link_remove(init, p->value[1], BOX_GRACE_MS, box_question_answer, q);
}

/* ---- lists: as many messages as it takes ---- */

struct listing {
    struct gateway *gw;
    struct exchange *x;
    char sandbox[64];
    uint8_t kind;
    unsigned n;
    box_put_fn *put;
    struct buf body;
};

static void on_lister_gone(void *user)
{
    ((struct listing *)user)->x = NULL;
}

static const struct exchange_ops listing_ops = {.closed = on_lister_gone};

static void listing_end(struct listing *l, const struct err *error)
{
    if (l->x) {
        exchange_set_ops(l->x, NULL, NULL);
        buf_puts(&l->body, "]}");
        if (error->code)
            box_error(l->gw, l->x, error, "sandbox", l->sandbox);
        else
            api_json(l->gw, l->x, 200, &l->body);
    }
    buf_deinit(&l->body);
    free(l);
}

static void on_table(void *user, const struct err *error, const struct wire_message *m)
{
    struct listing *l = user;
    struct sandbox *sb = sandbox_get(l->gw->manager, l->sandbox);
    struct wire_link *init = sb ? sandbox_init(sb) : NULL;
    struct wire_process_info info;
    const char *note;
    size_t cursor = 0;
    uint32_t last = 0;
    if (error->code || m->head->type != WIRE_PROCESS_TABLE || !l->x) {
        listing_end(l, error);
        return;
    }
    while (process_table_next(m, &cursor, &info, &note)) {
        if (l->n++)
            buf_putc(&l->body, ',');
        l->put(&l->body, &info, note);
        last = info.number;
    }
    const struct wire_process_table *t = (const void *)m->head;
    enum { LIST_MAX = 10000 };
    if (m->len >= sizeof *t && t->more && last && init && l->n < LIST_MAX)
        process_link_list(init, "", l->kind, last, on_table, l);
    else
        listing_end(l, error);
}

void box_list(struct gateway *gw, struct exchange *x, const char *sandbox, uint8_t kind,
              const char *member, box_put_fn *put)
{
    struct sandbox *sb = api_sandbox(gw, x, sandbox);
    struct wire_link *init = sb ? sandbox_init(sb) : NULL;
    struct listing *l = sb ? calloc(1, sizeof *l) : NULL;
    struct err none = {0};
    if (!sb)
        return;
    if (!l) {
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    *l = (struct listing){.gw = gw, .x = x, .kind = kind, .put = put};
    box_copy(l->sandbox, sizeof l->sandbox, sandbox);
    buf_printf(&l->body, "{\"%s\":[", member);
    exchange_set_ops(x, &listing_ops, l);
    if (init)
        process_link_list(init, "", kind, 0, on_table, l);
    else
        listing_end(l, &none);
}
