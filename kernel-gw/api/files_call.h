/*
 * One operation of a file helper, driven by one exchange: finds or starts a helper in the sandbox,
 * sends the request, moves bodies both ways with back-pressure, turns errors into answers. What is
 * done with the answer is the caller's.
 */
#pragma once

#include "contexts/manager/links/files_link.h"
#include "kernel-gw/api/api.h"

enum { FILES_GLOBS_MAX = 24, FILES_GLOB_LEN = 256 }; /* patterns of a body, bytes */

struct files_call;

struct files_call_ops {
    /* FILES_ENTRY: entries one behind the other (files_entry_next). NULL: ignored. Negative: the
     * call ends with that error. */
    int (*entry)(struct files_call *c, uint32_t flags, const uint8_t *data, size_t len);
    /* FILES_DATA and FILES_EVENT; the same. */
    int (*data)(struct files_call *c, const struct files_head *head, const uint8_t *data,
                size_t len);
    /* FILES_END: answers, or ends the answer that it began. The call is freed after it. */
    void (*end)(struct files_call *c, const struct files_head *head);
    /* The call ended in any way: what user holds is freed. NULL: nothing is. */
    void (*freed)(struct files_call *c);
};

struct files_call {
    struct list item;
    struct gateway *gw;
    struct exchange *x; /* NULL: the client has gone */
    struct files_link *link;
    struct sandbox_hold hold;
    const struct files_call_ops *ops;
    char sandbox[64];
    uint64_t box;
    bool root;
    bool upload;  /* the body of the exchange is sent along as DATA */
    bool begun;   /* the response has begun: what goes wrong from now on cuts it off */
    bool waiting; /* for the sandbox */
    bool over;
    struct files_request rq;
    struct buf strings; /* of the request */
    struct buf unsent;  /* of the body */
    bool body_ended;
    /* of the caller */
    void *user;
    bool flag;
    uint64_t count;
    struct buf out;
};

int api_files_init(struct gateway *gw);   /* -ENOMEM */
int api_watches_init(struct gateway *gw); /* watch.c; -ENOMEM */

/*
 * A call on the path of the route or body: path is decoded. NULL: answered. Fill in rq and further
 * strings, then start.
 */
struct files_call *files_call_new(struct gateway *gw, struct exchange *x, struct sandbox *sb,
                                  const struct files_call_ops *ops, enum files_type type,
                                  const char *path);
int files_call_string(struct files_call *c, const char *s);
void files_call_start(struct files_call *c);
/* Instead of starting it. */
void files_call_free(struct files_call *c);

/* files_entry.c */
/* The next entry of a message: advances *data. false: no more, or malformed. */
bool files_entry_next(const uint8_t **data, size_t *len, struct files_entry *ret,
                      const char **ret_name, const char **ret_link);
/* {"name":...}; directory: what relative names are below, NULL: name is a path itself. */
void files_put_entry(struct buf *out, const struct files_entry *e, const char *directory,
                     const char *name, const char *link);
const char *files_type_name(uint32_t mode);
void files_error(struct gateway *gw, struct exchange *x, int error, const char *path,
                 const char *text);
/*
 * The path of a route: decoded and absolute, ~ is the home of the box user. false: answered.
 */
bool files_path(struct gateway *gw, struct exchange *x, const char *encoded,
                char out[FILES_PATH_MAX]);
/* A path of a body. false: answered. */
bool files_path_text(struct gateway *gw, struct exchange *x, const char *path);
bool files_user(struct gateway *gw, struct exchange *x, const struct http_request *r,
                bool *ret_root);
/* "0644": octal. false: answered. */
bool files_mode(struct gateway *gw, struct exchange *x, const char *text, struct files_request *rq);
/* A parameter that is true or false; value is left alone without one. false: answered. */
bool files_query_flag(struct gateway *gw, struct exchange *x, const struct http_request *r,
                      const char *name, bool *value);
/* files_tree.c: "include" and "exclude" of a body become strings of the request. false: answered.
 */
bool files_patterns(struct gateway *gw, struct exchange *x, struct files_call *c, const json_t *o);
/* files_search.c */
void files_search_route(struct gateway *gw, struct exchange *x, const struct http_request *r,
                        const struct route_params *p);
