/*
 * The warm interpreter that came with a box and that no context has taken yet. It is between two
 * messages and has nothing to say, but programs of the box may kill it or play it: whatever comes
 * from it ends it, and the next context gets an interpreter of its own.
 */
#include <stdlib.h>

#include "contexts/manager/private.h"
#include "sandbox/base/log.h"

void spare_discard(struct sandbox *sb)
{
    runner_link_free(sb->spare.runner);
    free(sb->spare.hello);
    sb->spare = (struct pool_box){0};
}

static void spare_lost(struct sandbox *sb)
{
    log_info(MOD, "spare interpreter lost", "sandbox=%s", sb->name);
    if (sb->init)
        init_context_kill(sb->init, sb->spare.context);
    spare_discard(sb);
}

/* Nothing is expected, so there is no room for it. */
static uint8_t *spare_on_reserve(void *user, size_t len)
{
    (void)user;
    (void)len;
    return NULL;
}

static void spare_on_packet(void *user, const uint8_t *packet, size_t len)
{
    (void)packet;
    (void)len;
    spare_lost(user);
}

static void spare_on_closed(void *user, int error)
{
    (void)error;
    spare_lost(user);
}

static const struct runner_link_ops spare_ops = {
    .reserve = spare_on_reserve, .packet = spare_on_packet, .closed = spare_on_closed};

void spare_take(struct sandbox *sb, const struct pool_box *pb)
{
    sb->spare = *pb;
    runner_link_set_ops(sb->spare.runner, &spare_ops, sb);
}
