#include "clients/cli/server.h"

#include <errno.h>

#include "clients/cli/util.h"

int server_find_quiet(struct server *ret, char **ret_why)
{
    CLEANUP_STR struct str why = {0};
    int r = server_locate(NULL, NULL, ret, &why);
    if (r == -ENOMEM)
        must(NULL);
    *ret_why = r ? str_take(&why) : NULL;
    return r == 0 ? 0 : r == SERVER_E_NONE ? STATUS_SERVER : STATUS_USAGE;
}

int server_find(struct server *ret)
{
    CLEANUP_FREE char *why = NULL;
    int r = server_find_quiet(ret, &why);
    return r ? fail(r, "%s", why) : 0;
}
