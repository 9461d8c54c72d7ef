/* NAME=VALUE words of the command line as members of a JSON object. */
#pragma once

#include "clients/cli/args.h"
#include "clients/cli/util.h"

/* Sets them in `to`. option: where they come from, for messages; value makes one of the text behind
 * '=' (NULL: a string). 0, or the exit status after a message. */
int pairs_put(json_t *to, const struct opt_list *list, const char *option,
              json_t *(*value)(const char *text));
/* The same as a new member of body, unless there are none. */
int pairs_member(json_t *body, const char *name, const struct opt_list *list, const char *option);
