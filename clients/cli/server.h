/* Which server to talk to: CELLBOX_URL and CELLBOX_TOKEN, else the record that a local server
 * leaves. */
#pragma once

#define SERVER_RECORD "/run/cellbox/server.json"

struct server {
    char *url; /* without a slash at the end */
    char *token;
};

/* 0, or an exit status after a message that says what to do. */
int server_find(struct server *ret);
/* Like server_find(), but the message goes to *ret_why (caller frees) instead of stderr. */
int server_find_quiet(struct server *ret, char **ret_why);
void server_deinit(struct server *s);
