/* The /v1 interface: one file per resource. Bodies are JSON, errors {"error": {"code", "message",
 * "details"}}. */
#pragma once

#include <jansson.h>

#include "kernel-gw/gateway.h"
#include "sandbox/base/list.h"

int api_attach(struct gateway *gw);       /* adds all routes; -ENOMEM */
int api_buckets_init(struct gateway *gw); /* reads the registry; -ENOMEM */
/* Entry of the HTTP server: token, route, handler. user is the gateway. */
void api_handle(void *user, struct exchange *x, struct http_request *r);
/* Judges a request with a body at its head (http_server_config.judge). */
int64_t api_judge(void *user, struct exchange *x, const struct http_request *r);
/* What the answer to this request waits for (http_server_config.pending). */
uint64_t api_pending(void *user, const struct http_request *r);
/* wrong_token.c: notes a wrong token and answers, at once or after a delay. */
typedef void api_answer_fn(struct gateway *gw, struct exchange *x);
void api_wrong_token(struct gateway *gw, struct exchange *x, api_answer_fn *answer);

/* respond.c */
void api_error(struct gateway *gw, struct exchange *x, int status, const char *code,
               const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* With details: {key: value}. */
void api_error_detail(struct gateway *gw, struct exchange *x, int status, const char *code,
                      const char *key, const char *value, const char *fmt, ...)
    __attribute__((format(printf, 7, 8)));
void api_error_err(struct gateway *gw, struct exchange *x, int status, const char *code,
                   const struct err *e);
void api_json(struct gateway *gw, struct exchange *x, int status,
              struct buf *body); /* 500 if it overflowed */
void api_empty(struct gateway *gw, struct exchange *x, int status);
void api_count(struct gateway *gw, int status);
uint64_t api_now_us(void);                      /* since 1970 */
int api_put_time(struct buf *out, uint64_t us); /* "2026-01-31T23:59:59.123Z", with quotes */
/* ,"name":value pieces of an object under construction */
void api_member(struct buf *out, const char *name, const char *value);

/* params.c */
enum api_type {
    API_STRING,
    API_INTEGER,
    API_BOOLEAN,
    API_STRING_MAP,
    API_STRING_LIST,
    API_OBJECT,
    API_ANY,      /* the handler looks */
    API_COMMAND,  /* a string for the shell, or a list of strings */
    API_DURATION, /* milliseconds, or "500ms", "30s", "10m", "1h"; min and max as of an integer */
    API_UNSUPPORTED
};
struct api_field {
    const char *name;
    enum api_type type;
    bool required;
    json_int_t min, max; /* of an integer, both 0 = no bound; of a string: max length */
};
/*
 * The request's body as an object with these fields and no others. NULL: the error has been
 * answered. An empty body is
 * {} when nothing is required. The caller frees with json_decref.
 */
json_t *api_body(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct api_field *fields, size_t n);
const char *api_string(const json_t *o, const char *name); /* NULL if missing */
json_int_t api_integer(const json_t *o, const char *name, json_int_t otherwise);
/* Milliseconds of an API_DURATION. */
json_int_t api_duration(const json_t *o, const char *name, json_int_t otherwise);
/* Whole-number query parameter; false: answered with 400. */
bool api_query_int(struct gateway *gw, struct exchange *x, const struct http_request *r,
                   const char *name, long min, long max, long *value);

/* Objects of the path; NULL: answered with 400 or 404. */
struct sandbox *api_sandbox(struct gateway *gw, struct exchange *x, const char *name);
/* The same, made if there is none. */
/* language: what it is wanted for, NULL: nothing in particular. */
struct sandbox *api_sandbox_or_new(struct gateway *gw, struct exchange *x, const char *name,
                                   const char *language);
struct context *api_context(struct gateway *gw, struct exchange *x, const struct route_params *p);

/* Its name in the language table; NULL and 400 answered when unknown. NULL name: the default. */
/* A field "typecheck": true if it is absent or one of off, warn, error; else answered. */
bool api_typecheck(struct gateway *gw, struct exchange *x, const json_t *o);
const char *api_language(struct gateway *gw, struct exchange *x, const char *name);

/* usage.c: life of sandboxes in the registry, beyond their row. -ENOMEM */
int api_life_init(struct gateway *gw);
/* listed: one of many, whose environment is told by its names alone (values are "***"). */
int api_put_sandbox(struct buf *out, struct sandbox *sb, bool listed);
int api_put_context(struct buf *out, struct context *c, bool listed);
/* ,"env":{...} of the text of a JSON object */
void api_put_env(struct buf *out, const char *env, bool listed);
void api_put_execution_head(
    struct buf *out, struct request *r); /* {"id":...,"timing":{...} without the brace's end */
/* {"code","name","message","traceback"...} without braces, from the JSON of an EVENT_ERROR. */
void api_put_error(struct buf *out, const struct proto_section *error, bool typed,
                   const struct proto_section *traceback);

/* The response to x becomes the events of r as SSE / r as one JSON document; r is referenced by it.
 */
void api_stream_execution(struct gateway *gw, struct exchange *x, struct request *r, long after);
void api_render_execution(struct gateway *gw, struct exchange *x, struct request *r);
bool api_wants_events(const struct http_request *r);
void api_streams_init(struct gateway *gw);

extern const struct route api_sandbox_routes[], api_context_routes[], api_run_routes[],
    api_execution_routes[], api_health_routes[], api_home_routes[], api_file_routes[],
    api_tree_routes[], api_watch_routes[], api_port_routes[], api_usage_routes[],
    api_egress_routes[], api_git_routes[], api_bucket_routes[];
extern const size_t api_sandbox_nroutes, api_context_nroutes, api_run_nroutes,
    api_execution_nroutes, api_health_nroutes, api_home_nroutes, api_file_nroutes, api_tree_nroutes,
    api_watch_nroutes, api_port_nroutes, api_usage_nroutes, api_egress_nroutes, api_git_nroutes,
    api_bucket_nroutes;
extern const char api_openapi_yaml[]; /* openapi.yaml itself */
extern const size_t api_openapi_yaml_len;
