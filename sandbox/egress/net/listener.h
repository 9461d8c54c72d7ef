/* Accepts a box's connections and its DNS questions. Runs in E. */
#pragma once

#include <stdbool.h>

struct egress_box;
struct listener;

struct listener *listener_new(struct egress_box *b, int take_fd, int kind /* NETNS_TCP4... */);
void listener_enable(struct listener *l, bool on);
void listener_free(struct listener *l);
