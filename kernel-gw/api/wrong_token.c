/* Answers to wrong tokens: counted, and late once there were some (auth/failures.h). */
#include <stdlib.h>

#include "kernel-gw/api/api.h"

struct wrong_token {
    uv_timer_t timer;
    struct gateway *gw;
    struct exchange *x; /* NULL: the client has gone */
    api_answer_fn *answer;
};

static void wrong_token_closed(uv_handle_t *h)
{
    free(h->data);
}

static void wrong_token_client_gone(void *user)
{
    struct wrong_token *w = user;
    w->x = NULL;
    uv_close((uv_handle_t *)&w->timer, wrong_token_closed);
}

static void wrong_token_due(uv_timer_t *t)
{
    struct wrong_token *w = t->data;
    exchange_set_ops(w->x, NULL, NULL);
    w->answer(w->gw, w->x);
    uv_close((uv_handle_t *)&w->timer, wrong_token_closed);
}

void api_wrong_token(struct gateway *gw, struct exchange *x, api_answer_fn *answer)
{
    static const struct exchange_ops ops = {.closed = wrong_token_client_gone};
    char address[64];
    exchange_address(x, address, sizeof address);
    uint32_t delay = failures_note(gw->auth.failures, address, uv_now(gw->loop));
    struct wrong_token *w = delay ? calloc(1, sizeof *w) : NULL;
    if (!w) {
        answer(gw, x);
        return;
    }
    w->gw = gw;
    w->x = x;
    w->answer = answer;
    uv_timer_init(gw->loop, &w->timer);
    w->timer.data = w;
    exchange_set_ops(x, &ops, w);
    uv_timer_start(&w->timer, wrong_token_due, delay, 0);
}
