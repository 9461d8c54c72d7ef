#include "clients/cli/pairs.h"

#include <string.h>

int pairs_put(json_t *to, const struct opt_list *list, const char *option,
              json_t *(*value)(const char *text))
{
    for (size_t i = 0; i < list->n; i++) {
        const char *item = list->items[i], *eq = strchr(item, '=');
        if (!eq || eq == item)
            return fail(STATUS_USAGE, "%s %s is not of the form NAME=VALUE", option, item);
        CLEANUP_FREE char *name = must(strndup(item, (size_t)(eq - item)));
        if (json_object_set_new(to, name, value ? value(eq + 1) : json_string(eq + 1)) < 0)
            return fail(STATUS_USAGE, "%s %s is not UTF-8 text", option, name);
    }
    return 0;
}

int pairs_member(json_t *body, const char *name, const struct opt_list *list, const char *option)
{
    if (!list->n)
        return 0;
    json_t *all = must(json_object());
    json_object_set_new(body, name, all);
    return pairs_put(all, list, option, NULL);
}
