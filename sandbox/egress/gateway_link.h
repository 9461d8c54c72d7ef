/* E's link to G: what the API asks for. Replaced whenever G, or E, is started again. Runs in E. */
#pragma once

struct egress;
struct egress_box;

void gateway_link_replace(struct egress *e, int take_fd);
/* New records: those who wait for them are answered. NULL is fine. */
struct gateway_link;
void gateway_link_log_grew(struct gateway_link *l, const struct egress_box *b);
