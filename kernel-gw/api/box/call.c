#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/api/box/box.h"

struct waiting {
    struct gateway *gw;
    struct exchange *x;
    bool created;
    char name[64];
    void (*go)(void *user, struct sandbox *sb);
    void (*drop)(void *user);
    void *user;
};

static void on_client_gone(void *user)
{
    struct waiting *w = user;
    sandbox_forget(w->gw->manager, w);
    w->drop(w->user);
    free(w);
}

static const struct exchange_ops waiting_ops = {.closed = on_client_gone};

static void on_running(void *user, const struct err *e)
{
    struct waiting *w = user;
    struct waiting call = *w;
    struct sandbox *sb = sandbox_get(call.gw->manager, call.name);
    free(w);
    exchange_set_ops(call.x, NULL, NULL);
    if (!e->code && sb && sandbox_init(sb)) {
        call.go(call.user, sb);
        return;
    }
    api_error_err(call.gw, call.x, e->code == -ENOENT ? 404 : 503,
                  e->code == -ENOENT ? "SANDBOX_NOT_FOUND" : "SANDBOX_START_FAILED", e);
    call.drop(call.user);
    if (call.created && sb)
        sandbox_remove(sb, NULL, NULL);
}

/* NULL: answered. */
static struct sandbox *find(struct gateway *gw, struct exchange *x, const char *name, bool create,
                            bool *ret_created)
{
    struct sandbox_spec spec = {.name = name};
    struct sandbox *sb = sandbox_name_valid(name) ? sandbox_get(gw->manager, name) : NULL;
    if (sb)
        return sb;
    int e = create ? sandbox_create(gw->manager, &spec, &sb) : SANDBOX_E_NAME;
    *ret_created = e == 0;
    if (e == SANDBOX_E_NAME)
        api_sandbox(gw, x, name); /* answers */
    else if (e)
        api_error(gw, x, e == SANDBOX_E_LIMIT ? 429 : 503,
                  e == SANDBOX_E_LIMIT ? "TOO_MANY_SANDBOXES" : "OUT_OF_MEMORY",
                  "the sandbox could not be made");
    return e ? NULL : sb;
}

void box_call(struct gateway *gw, struct exchange *x, const char *name, bool create,
              void (*go)(void *user, struct sandbox *sb), void (*drop)(void *user), void *user)
{
    bool created = false;
    struct sandbox *sb = find(gw, x, name, create, &created);
    struct waiting *w = sb ? calloc(1, sizeof *w) : NULL;
    if (!w) {
        if (sb)
            api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        drop(user);
        return;
    }
    *w = (struct waiting){
        .gw = gw, .x = x, .created = created, .go = go, .drop = drop, .user = user};
    box_copy(w->name, sizeof w->name, name);
    exchange_set_ops(x, &waiting_ops, w);
    if (sandbox_when_running(sb, on_running, w) < 0) {
        exchange_set_ops(x, NULL, NULL);
        free(w);
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        drop(user);
    }
}

static void not_found(struct gateway *gw, struct exchange *x, const char *what, const char *id)
{
    char code[40];
    size_t i;
    for (i = 0; i < 20 && what[i]; i++)
        code[i] = (char)(what[i] - 'a' + 'A');
    memcpy(code + i, "_NOT_FOUND", sizeof "_NOT_FOUND");
    api_error_detail(gw, x, 404, code, what, id, "no %s %s in this sandbox", what, id);
}

struct wire_link *box_running(struct gateway *gw, struct exchange *x, const char *name,
                              const char *what, const char *id)
{
    struct sandbox *sb = api_sandbox(gw, x, name);
    struct wire_link *init = sb ? sandbox_init(sb) : NULL;
    if (sb && id && (!init || !box_id_valid(id))) {
        not_found(gw, x, what, id);
        return NULL;
    }
    return init;
}

const char *box_error_code(const struct err *e, int *ret_status)
{
    static const struct {
        const char *step;
        int error, status;
        const char *code;
    } known[] = {
        {"execute", -ENAMETOOLONG, 404, "COMMAND_NOT_FOUND"},
        {"execute", -ELOOP, 404, "COMMAND_NOT_FOUND"},
        {"enter working directory", -ENAMETOOLONG, 404, "CWD_NOT_FOUND"},
        {"enter working directory", -ELOOP, 404, "CWD_NOT_FOUND"},
        {"execute", -ENOENT, 404, "COMMAND_NOT_FOUND"},
        {"execute", -ENOTDIR, 404, "COMMAND_NOT_FOUND"},
        {"execute", -ENOEXEC, 400, "NOT_EXECUTABLE"},
        {"execute", -E2BIG, 413, "COMMAND_TOO_LARGE"},
        {"enter working directory", -ENOENT, 404, "CWD_NOT_FOUND"},
        {"enter working directory", -ENOTDIR, 400, "CWD_NOT_DIRECTORY"},
        {NULL, -EACCES, 403, "PERMISSION_DENIED"},
        {NULL, -EPERM, 403, "PERMISSION_DENIED"},
        {NULL, -EAGAIN, 429, "QUOTA_EXCEEDED"},
        {NULL, -ENOMEM, 429, "QUOTA_EXCEEDED"},
        {NULL, -EMFILE, 429, "QUOTA_EXCEEDED"},
        {NULL, -ENOBUFS, 429, "QUEUE_FULL"},
        {NULL, -ECONNRESET, 503, "BOX_GONE"},
    };
    for (size_t i = 0; i < COUNT(known); i++) {
        if (known[i].error == e->code && (!known[i].step || !strcmp(known[i].step, e->step))) {
            *ret_status = known[i].status;
            return known[i].code;
        }
    }
    bool request = !strcmp(e->step, "execute") || !strcmp(e->step, "enter working directory");
    *ret_status = request ? 400 : 500;
    return "COMMAND_FAILED";
}

void box_error(struct gateway *gw, struct exchange *x, const struct err *e, const char *what,
               const char *name)
{
    int status;
    if (e->code == -ESRCH) {
        not_found(gw, x, what, name);
    } else if (e->code == -EEXIST || e->code == -EBUSY) {
        bool exists = e->code == -EEXIST;
        api_error_detail(gw, x, 409, exists ? "PROCESS_EXISTS" : "PROCESS_RUNNING", what, name,
                         "%s %s %s", what, name, exists ? "exists and runs" : "still runs");
    } else {
        const char *code = box_error_code(e, &status);
        api_error_detail(gw, x, status, code, "step", e->step, "%s: %s: %s", name, e->step,
                         e->text);
    }
}
