#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/log.h"
#include "sandbox/egress/boxd_link.h"
#include "sandbox/egress/egress.h"
#include "sandbox/egress/net/listener.h"

uint64_t egress_clock_us(void)
{
    struct timeval tv;
    gettimeofday(&tv, NULL);
    return (uint64_t)tv.tv_sec * 1000000 + (uint64_t)tv.tv_usec;
}

struct egress_box *box_find(struct egress *e, uint64_t number)
{
    LIST_FOREACH (it, &e->boxes) {
        struct egress_box *b = LIST_ENTRY(it, struct egress_box, link);
        if (b->number == number)
            return b;
    }
    return NULL;
}

static void free_box(struct egress_box *b)
{
    for (int i = 0; i < NETNS_LISTENERS; i++)
        listener_free(b->listeners[i]);
    policy_unref(b->policy);
    policy_meter_free(b->meter);
    egress_log_close(b->log);
    names_free(b->names);
    authority_free(b->authority);
    free(b);
}

int box_open(struct egress *e, uint64_t number, const char *disk, int take_fds[NETNS_LISTENERS])
{
    struct egress_box *b = calloc(1, sizeof *b);
    int r = b ? 0 : -ENOMEM;
    if (b) {
        b->egress = e;
        b->number = number;
        snprintf(b->disk, sizeof b->disk, "%s", disk);
        list_init(&b->conns);
        list_init(&b->exchanges);
        list_init(&b->relays);
        list_init(&b->upstreams);
        r = authority_new(e->ca_key, number, &b->authority);
    }
    for (int i = 0; i < NETNS_LISTENERS; i++) {
        if (r == 0 && !(b->listeners[i] = listener_new(b, STEAL_FD(take_fds[i]), i)))
            r = -ENOMEM;
        take_fds[i] = fd_close(take_fds[i]);
    }
    if (r < 0) {
        if (b)
            free_box(b);
        return r;
    }
    list_append(&e->boxes, &b->link);
    boxd_link_opened(e->boxd, b);
    return 0;
}

void box_close(struct egress_box *b)
{
    exchanges_close(b);
    conns_close(b);
    upstreams_close(b);
    box_save_usage(b);
    list_remove(&b->link);
    free_box(b);
}

/* What only a box that is somebody's needs. */
static int awake(struct egress_box *b)
{
    int r = 0;
    if (!b->names && !(b->names = names_new()))
        r = -ENOMEM;
    if (r == 0 && !b->meter && !(b->meter = policy_meter_new()))
        r = -ENOMEM;
    if (r == 0 && !b->log)
        r = egress_log_open(b->egress->log_dir, b->disk, &b->log);
    return r;
}

int box_set(struct egress_box *b, const char *name, struct policy *take_policy)
{
    bool first = !b->policy;
    int r = awake(b);
    if (r < 0) {
        policy_unref(take_policy);
        return r;
    }
    policy_unref(b->policy);
    b->policy = take_policy;
    snprintf(b->name, sizeof b->name, "%s", name);
    if (first) {
        b->bytes = b->bytes_saved = box_stored_usage(b->egress, b->disk);
        for (int i = 0; i < NETNS_LISTENERS; i++)
            listener_enable(b->listeners[i], true);
        return 0;
    }
    exchanges_check(b);
    relays_check(b);
    upstreams_check(b);
    return 0;
}

void box_accept_again(struct egress_box *b)
{
    listener_enable(b->listeners[NETNS_TCP4], true);
    listener_enable(b->listeners[NETNS_TCP6], true);
}

void box_count(struct egress_box *b, uint64_t bytes)
{
    b->bytes += bytes;
}

/* ---- usage: one small file a sandbox ---- */

void box_save_usage(struct egress_box *b)
{
    char text[24];
    if (b->bytes == b->bytes_saved)
        return;
    snprintf(text, sizeof text, "%llu\n", (unsigned long long)b->bytes);
    CLEANUP_FD int fd =
        openat(b->egress->usage_dir, b->disk, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || fd_write_all(fd, text, strlen(text)) < 0)
        log_warn("egress", "usage_not_saved", "box=%s", log_quote(b->name));
    else
        b->bytes_saved = b->bytes;
}

uint64_t box_stored_usage(struct egress *e, const char *disk)
{
    char text[24];
    return fd_read_file_at(e->usage_dir, disk, text, sizeof text) > 0 ? strtoull(text, NULL, 10)
                                                                      : 0;
}

void box_record(struct egress_box *b, struct egress_record *r)
{
    r->box = b->name;
    counters_request(&b->egress->counters, r);
    if (!b->log)
        return;
    b->log_dirty = true;
    if (egress_log_add(b->log, r) < 0)
        log_warn("egress", "record_lost", "box=%s", log_quote(b->name));
}
