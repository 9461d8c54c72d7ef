/* E's link to B: listeners in, certificates out. Runs in E. */
#pragma once

#include <uv.h>

struct boxd_link;
struct egress;
struct egress_box;

struct boxd_link *boxd_link_new(struct egress *e, int take_fd);
void boxd_link_opened(struct boxd_link *l, const struct egress_box *b);
