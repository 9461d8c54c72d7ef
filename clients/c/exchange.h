/*
 * One HTTP request over a handle of libcurl: what is sent, and what came back. Performing it is the
 * caller's: curl_easy_perform(), or a multi handle where other things are waited for as well.
 */
#pragma once

#include <curl/curl.h>

#include "clients/c/server.h"

struct request {
    const char *method, *path; /* "/v1/...", with its query */
    const char *accept;        /* NULL: application/json */
    const char *headers[2];    /* "Name: value" */
    const char *type;          /* of the body; NULL: application/json */
    const void *body;          /* NULL: none. Must outlive the exchange */
    size_t len;
    /* Instead of body: bytes as curl's read function gives them; size -1: not known. */
    curl_read_callback read;
    void *read_user;
    curl_off_t size;
    long timeout_ms; /* 0: none */
    /*
     * On a connection of its own. libcurl sends a request again by itself when a connection that it
     * used before turns out to be dead, and nothing tells whether the server had read it.
     */
    bool fresh;
};

enum { EXCHANGE_CONNECT_MS = 5000 };
#define EXCHANGE_BODY_MAX ((size_t)1 << 30)

struct exchange {
    CURL *easy; /* not owned */
    struct curl_slist *headers;
    /* Gets a 2xx body piece by piece; not 0: the transfer ends. NULL: it is kept in body. */
    int (*on_data)(void *user, const char *data, size_t len);
    void *user;
    long status;     /* HTTP; 0 when there was no answer */
    struct str body; /* what did not go to on_data */
    char retry_after[32];
    char problem[CURL_ERROR_SIZE]; /* unless complete */
    CURLcode code;
    bool complete, no_memory;
};

/* Sets easy up; 0 or -ENOMEM. On failure there is nothing to deinit. */
int exchange_init(struct exchange *t, CURL *easy, const struct server *s, const struct request *r);
/* After it was performed. */
void exchange_finish(struct exchange *t, CURLcode code);
void exchange_deinit(struct exchange *t);
