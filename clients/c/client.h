/*
 * A client: its server, idle connections, and how a call is made, repeated and read. Everything
 * here may run in several threads at once.
 */
#pragma once

#include <pthread.h>

#include "clients/c/exchange.h"
#include "clients/c/include/cellbox.h"
#include "clients/c/members.h"

enum {
    CLIENT_IDLE_MAX = 8,
    CLIENT_DELAY_MAX_MS = 5000,
    CLIENT_RETRY_AFTER_MAX_MS = 60000,
    CLIENT_ASIDE_MS = 5000
};

struct cellbox_client {
    struct server server;
    int retries;
    long delay_ms;
    long timeout_ms; /* of calls whose answers are JSON; 0: none */
    int (*interrupted)(void *user);
    void *user;
    pthread_mutex_t lock; /* of what follows */
    CURL *idle[CLIENT_IDLE_MAX];
    size_t nidle;
};

/* Fills error unless it is NULL; returns result. */
int error_set(struct cellbox_error *error, int result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int error_memory(struct cellbox_error *error);
/* Copies what a call of result r said, where it failed and somebody wants to know; returns r. */
int error_pass(int r, const struct cellbox_error *from, struct cellbox_error *error);
/* What a JSON object {code, message} of the server says, else `otherwise`. */
int error_of_json(struct cellbox_error *error, int status, const json_t *said,
                  const char *otherwise);

struct call {
    struct request request;
    bool idempotent;                                          /* sending it twice does no harm */
    bool one_way;                                             /* its body cannot be sent again */
    int (*on_data)(void *user, const char *data, size_t len); /* as that of an exchange */
    void *user;
};

/*
 * Makes a call until it is answered or may not be repeated. 0: the answer is 2xx, its body in *ret
 * (may be NULL) unless on_data got it.
 */
int client_call(struct cellbox_client *c, const struct call *call, struct str *ret,
                struct cellbox_error *error);

/*
 * Method and body of a call whose answer is JSON, and the pattern of its address: text_address().
 * m may be NULL; its members are those of the body. ret NULL: the answer does not matter.
 */
int client_json(struct cellbox_client *c, const char *method, bool idempotent,
                const struct members *m, json_t **ret, struct cellbox_error *error,
                const char *pattern, ...);
/*
 * For calls that put something into a sandbox: whether *r and error say that there is none and it
 * has been made, so that the call is to be made again. *r is what making it gave.
 */
bool client_made(struct cellbox_client *c, const char *sandbox, int *r,
                 struct cellbox_error *error);
/* The address of a thing, checked: the names in it must not be empty. */
int client_address(struct str *ret, struct cellbox_error *error, const char *pattern, ...);
/* The body as text: freed by the caller. */
int client_body(const struct members *m, char **ret, struct cellbox_error *error);
/* Text as what cellbox_free() takes. */
int client_give_text(const struct str *text, char **ret, struct cellbox_error *error);

long client_pause_ms(const struct cellbox_client *c, int attempt);
/* The pause before repetition `attempt` (1 is the first); CELLBOX_E_STOPPED when interrupted. */
int client_pause(const struct cellbox_client *c, int attempt, const char *retry_after,
                 struct cellbox_error *error);
bool client_interrupted(const struct cellbox_client *c);

/* A client of the same server for what has to be done although the caller wants to stop: it is not
 * interrupted, repeats nothing and gives up after a while. */
void client_aside_init(struct cellbox_client *aside, const struct cellbox_client *c);
void client_aside_deinit(struct cellbox_client *aside);
