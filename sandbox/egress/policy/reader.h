/* JSON members with their types, and errors that name the place. Private to the module. */
#pragma once

#include <jansson.h>

#include "sandbox/egress/policy/model.h"

enum { PATH_TEXT = 128 };

/* All false / NULL once something failed. path: of the object, "" = the document. */
bool read_only_members(struct reader *r, const char *path, const json_t *o,
                       const char *const *names);
const char *read_string(struct reader *r, const char *path, const json_t *o, const char *name,
                        bool required);
bool read_bool(struct reader *r, const char *path, const json_t *o, const char *name,
               bool otherwise);
double read_number(struct reader *r, const char *path, const json_t *o, const char *name,
                   double min, double max);
/* Member as an array (NULL: absent), or as an object. */
const json_t *read_array(struct reader *r, const char *path, const json_t *o, const char *name);
const json_t *read_object(struct reader *r, const char *path, const json_t *o, const char *name);
void read_join(char out[PATH_TEXT], const char *path, const char *name);
void read_index(char out[PATH_TEXT], const char *path, size_t i);

void read_hosts(struct reader *r, const char *path, const json_t *o, const char *name,
                struct host_list *ret);
void read_texts(struct reader *r, const char *path, const json_t *o, const char *name,
                struct text_list *ret);
void read_rate(struct reader *r, const char *path, const json_t *o, struct rate *ret);
void read_quota(struct reader *r, const char *path, const json_t *o, struct quota *ret);
const char *read_keep(struct reader *r, const char *text);     /* in the arena */
const char *read_json_text(struct reader *r, const json_t *v); /* the same, of any value */
bool read_handler_name(const char *name);

void read_rules(struct reader *r, const json_t *doc); /* rules.c */
