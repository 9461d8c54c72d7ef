/*
 * POST .../git:checkout: clones a repository into a directory of the box, by the git of the box.
 * It belongs to its request: whoever closes the request ends it. Credentials never come into the
 * box: egress adds them to what git reads of that repository (grant.h).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/api/box/box.h"
#include "kernel-gw/api/git/grant.h"
#include "kernel-gw/api/git/text.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/json.h"

enum { TIMEOUT_MS = 600000, SAID_MAX = 16 << 10, LINE_MAX_BYTES = 1024 };

/*
 * Arguments: address, directory, "1" if credentials are added on the way (no helper of the box is
 * asked then), then options of git clone. A directory that it made itself goes when it fails.
 */
static const char script[] =
    "url=$1 dir=$2 given=$3; shift 3\n"
    "had=; [ -e \"$dir\" ] || [ -L \"$dir\" ] && had=1\n"
    "set -- clone \"$@\"; [ -z \"$given\" ] || set -- -c credential.helper= \"$@\"\n"
    "clean() { [ -n \"$had\" ] || rm -rf -- \"$dir\"; }\n"
    "trap 'kill $! 2>/dev/null; wait; clean; exit 143' TERM INT HUP\n"
    "git \"$@\" -- \"$url\" \"$dir\" &\n"
    "wait $!; code=$?\n"
    "if [ $code != 0 ]; then clean; exit $code; fi\n"
    "cd -- \"$dir\" || exit 1\n"
    "git rev-parse -q --verify HEAD || echo; pwd -P; git symbolic-ref -q --short HEAD\n"
    "exit 0\n";

struct checkout {
    struct gateway *gw;
    struct exchange *x; /* NULL: the client has gone */
    json_t *body;
    struct git_url url;
    char *target;
    bool wants_events, answered, started, over;
    struct box_command command;
    struct sandbox_hold hold;
    struct git_grant *grant; /* NULL: no credentials */
    char sandbox[WIRE_NAME];
    struct process_stream *stream;
    struct box_events events;
    struct buf out, said, line;
    struct git_progress last;
    uint64_t begun_ns;
};

static void checkout_free(struct checkout *c)
{
    git_grant_end(c->grant);
    sandbox_release(&c->hold);
    process_stream_free(c->stream);
    box_events_forget(&c->events);
    box_command_deinit(&c->command);
    git_url_deinit(&c->url);
    buf_deinit(&c->out);
    buf_deinit(&c->said);
    buf_deinit(&c->line);
    json_decref(c->body);
    free(c->target);
    free(c);
}

/* init's answer is still to come: it finds the checkout and frees it. */
static void let_go(struct checkout *c)
{
    c->over = true;
    process_stream_free(STEAL_PTR(c->stream));
    git_grant_end(STEAL_PTR(c->grant));
    if (c->answered)
        checkout_free(c);
}

static void on_client_gone(void *user)
{
    struct checkout *c = user;
    c->x = NULL;
    box_events_forget(&c->events);
    let_go(c);
}

static void on_drained(void *user)
{
    struct checkout *c = user;
    if (c->stream)
        process_stream_resume(c->stream);
}

static const struct exchange_ops checkout_ops = {.closed = on_client_gone, .drained = on_drained};

static void fail(struct checkout *c, int status, const char *code, const char *text)
{
    struct exchange *x = STEAL_PTR(c->x);
    if (x && c->events.x) {
        struct buf *b = box_event(&c->events, "error", 0, NULL);
        api_member(b, "code", code);
        api_member(b, "message", text);
        buf_printf(b, ",\"status\":%d", status);
        box_event_end(&c->events);
        box_events_end(&c->events);
    } else if (x) {
        exchange_set_ops(x, NULL, NULL);
        api_error_detail(c->gw, x, status, code, "repoUrl", buf_str(&c->url.clean), "%.1500s",
                         text);
    }
    let_go(c);
}

static void fail_err(struct checkout *c, const struct err *e)
{
    int status;
    CLEANUP_BUF struct buf text = {0};
    const char *code = box_error_code(e, &status);
    buf_printf(&text, "git: %s: %s", e->step, e->text);
    fail(c, status, code, buf_str(&text));
}

/* ---- what git says ---- */

/* What must not be seen: an address may have a token in place of the user. */
static const struct buf *secret_of(const struct checkout *c)
{
    return c->url.password.len ? &c->url.password : &c->url.user;
}

/* Without the secret, wherever git has it from, and without the progress. */
static void keep_line(struct checkout *c, const char *line, size_t len)
{
    struct git_progress p;
    const uint8_t *secret = secret_of(c)->data;
    size_t n = secret_of(c)->len;
    if (len == 0 || git_progress_read(line, len, &p) || c->said.len + len > SAID_MAX)
        return;
    for (size_t i = 0; i < len;) {
        bool hides = n && len - i >= n && !memcmp(line + i, secret, n);
        if (hides)
            buf_puts(&c->said, "***");
        else
            buf_putc(&c->said, line[i]);
        i += hides ? n : 1;
    }
    buf_putc(&c->said, '\n');
}

/* true: much is queued. */
static bool tell_progress(struct checkout *c, const char *line, size_t len)
{
    struct git_progress p;
    if (!c->wants_events || !git_progress_read(line, len, &p) ||
        (!strcmp(p.phase, c->last.phase) && p.percent == c->last.percent))
        return false;
    c->last = p;
    struct buf *b = box_event(&c->events, "progress", 0, NULL);
    api_member(b, "phase", p.phase);
    buf_printf(b, ",\"percent\":%u,\"current\":%lu,\"total\":%lu", p.percent, p.current, p.total);
    return box_event_end(&c->events);
}

static void on_said(struct checkout *c, const uint8_t *data, size_t len)
{
    bool full = false;
    for (size_t i = 0; i < len; i++) {
        if (data[i] != '\r' && data[i] != '\n') {
            if (c->line.len < LINE_MAX_BYTES)
                buf_putc(&c->line, (char)data[i]);
            continue;
        }
        full |= tell_progress(c, buf_str(&c->line), c->line.len);
        keep_line(c, buf_str(&c->line), c->line.len);
        buf_reset(&c->line);
    }
    if (full && c->stream)
        process_stream_pause(c->stream);
}

/* ---- its end ---- */

static void put_result(struct checkout *c, struct buf *b)
{
    char *lines[3] = {NULL, NULL, NULL}, *at = (char *)(uintptr_t)buf_str(&c->out);
    for (int i = 0; i < 3 && *at; i++) {
        lines[i] = at;
        at += strcspn(at, "\n");
        if (*at)
            *at++ = 0;
    }
    api_member(b, "repoUrl", buf_str(&c->url.clean));
    api_member(b, "targetDir", lines[1] ? lines[1] : c->target);
    if (lines[2])
        api_member(b, "branch", lines[2]);
    else if (api_string(c->body, "branch"))
        api_member(b, "branch", api_string(c->body, "branch"));
    if (lines[0] && *lines[0]) /* a repository may be empty */
        api_member(b, "commit", lines[0]);
    buf_printf(b, ",\"durationMs\":%.3f", (double)(uv_hrtime() - c->begun_ns) / 1e6);
}

static void succeed(struct checkout *c)
{
    struct exchange *x = STEAL_PTR(c->x);
    if (c->wants_events) {
        put_result(c, box_event(&c->events, "complete", 0, NULL));
        box_event_end(&c->events);
        box_events_end(&c->events);
    } else {
        CLEANUP_BUF struct buf b = {0};
        buf_puts(&b, "{\"success\":true");
        put_result(c, &b);
        buf_putc(&b, '}');
        exchange_set_ops(x, NULL, NULL);
        api_json(c->gw, x, 200, &b);
    }
    let_go(c);
}

/* The last thing that was said, which is the reason. */
static const char *reason(struct checkout *c)
{
    const char *said = buf_str(&c->said), *fatal = strstr(said, "fatal: ");
    for (const char *next = fatal; next; next = strstr(next + 1, "fatal: "))
        fatal = next;
    return fatal ? fatal + 7 : *said ? said : "git has failed and said nothing";
}

static void on_exit_frame(struct checkout *c, const struct wire_process_info *info)
{
    keep_line(c, buf_str(&c->line), c->line.len);
    if (info->marks & WIRE_MARK_TIMED_OUT) {
        fail(c, 408, "TIMEOUT", "the time limit of the checkout was reached");
    } else if (info->status == 0) {
        succeed(c);
    } else if (info->marks & WIRE_MARK_KILLED) {
        fail(c, 500, "GIT_CLONE_FAILED", "git was ended");
    } else {
        CLEANUP_BUF struct buf text = {0};
        struct git_failure f = git_failure_of(buf_str(&c->said));
        buf_puts(&text, reason(c));
        while (text.len && text.data[text.len - 1] == '\n')
            text.len--;
        buf_reserve(&text, 1);
        fail(c, f.status, f.code, buf_str(&text));
    }
}

static void on_frame(void *user, const struct wire_frame *f, const uint8_t *payload)
{
    struct checkout *c = user;
    struct wire_process_info info;
    if (f->type == WIRE_FRAME_STDERR) {
        on_said(c, payload, f->len);
    } else if (f->type == WIRE_FRAME_STDOUT) {
        buf_put(&c->out, payload, f->len);
    } else if (f->type == WIRE_FRAME_EXIT && f->len == sizeof info) {
        memcpy(&info, payload, sizeof info);
        on_exit_frame(c, &info);
    }
}

static void on_stream_closed(void *user)
{
    struct checkout *c = user;
    struct err gone = {0};
    process_stream_free(STEAL_PTR(c->stream));
    if (!c->started) /* init says why */
        return;
    err_set(&gone, -ECONNRESET, "git", "the sandbox ended");
    fail_err(c, &gone);
}

static void on_input_drained(void *user)
{
    (void)user;
}

static const struct process_stream_ops stream_ops = {
    .frame = on_frame, .drained = on_input_drained, .closed = on_stream_closed};

/* ---- its beginning ---- */

static void on_started(void *user, const struct err *error, const struct wire_message *m)
{
    struct checkout *c = user;
    struct err err = *error;
    (void)m;
    c->answered = true;
    if (c->over) {
        checkout_free(c);
        return;
    }
    if (!err.code && !c->stream)
        err_set(&err, -ECONNRESET, "git", "the sandbox ended");
    if (!err.code && c->wants_events &&
        box_events_begin(&c->events, c->gw, c->x, &checkout_ops, c) < 0)
        err_set(&err, -ENOMEM, "git", "out of memory");
    if (err.code) {
        fail_err(c, &err);
        return;
    }
    c->started = true;
    process_stream_input_end(c->stream);
    process_stream_resume(c->stream);
}

static json_t *make_command(const struct checkout *c)
{
    const char *branch = api_string(c->body, "branch");
    json_int_t depth = api_integer(c->body, "depth", 0);
    char number[24];
    json_t *argv = json_pack("[s, s, s, s, s, s, s, s]", "bash", "-c", script, "git-checkout",
                             buf_str(&c->url.clean), c->target, c->grant ? "1" : "", "--progress");
    if (argv && branch) {
        json_array_append_new(argv, json_string("--branch"));
        json_array_append_new(argv, json_string(branch));
    }
    if (argv && depth) {
        snprintf(number, sizeof number, "%lld", (long long)depth);
        json_array_append_new(argv, json_string("--depth"));
        json_array_append_new(argv, json_string(number));
    }
    return argv;
}

static int send_command(struct checkout *c, struct sandbox *sb, int theirs)
{
    struct wire_process_start *st = &c->command.start;
    json_t *argv = make_command(c);
    json_t *o = argv ? json_pack("{s:o, s:{s:s, s:s, s:s, s:s}, s:I}", "command", argv, "env",
                                 "LC_ALL", "C", "GIT_TERMINAL_PROMPT", "0", "GIT_ASKPASS", "",
                                 "GIT_SSH_COMMAND", "ssh -oBatchMode=yes", "timeout",
                                 api_integer(c->body, "timeout", TIMEOUT_MS))
                     : NULL;
    if (o && api_string(c->body, "cwd"))
        json_object_set(o, "cwd", json_object_get(c->body, "cwd"));
    int r = o ? box_command_make(sb, o, NULL, &c->command) : -ENOMEM;
    json_decref(o);
    box_make_id(st->id, "git");
    st->kind = WIRE_PROCESS_COMMAND;
    st->flags |= WIRE_PROCESS_TIED | WIRE_PROCESS_STDIN;
    if (r == 0)
        r = process_link_start(sandbox_init(sb), st, &c->command.spec, theirs, on_started, c);
    buf_deinit(&c->command.spec);
    return r;
}

static void start(struct checkout *c, struct sandbox *sb)
{
    struct err err = {0};
    int theirs = -1;
    c->answered = false;
    c->stream = process_stream_new(c->gw->loop, &stream_ops, c, &theirs);
    int r = c->stream ? 0 : -EMFILE;
    if (r == 0) {
        process_stream_pause(c->stream);
        r = send_command(c, sb, theirs);
    }
    fd_close(theirs);
    if (r == 0)
        return;
    c->answered = true;
    err_set(&err, r, "execute", NULL);
    fail_err(c, &err);
}

static void on_granted(void *user, const struct err *error)
{
    struct checkout *c = user;
    struct sandbox *sb = sandbox_get(c->gw->manager, c->sandbox);
    struct err err = *error;
    if (!err.code && (!sb || !sandbox_box(sb)))
        err_set(&err, -ECONNRESET, "git", "the sandbox ended");
    if (!err.code) {
        start(c, sb);
        return;
    }
    if (error->code)
        fail(c, 503, "EGRESS_UNAVAILABLE", err.text);
    else
        fail_err(c, &err);
}

static void go(void *user, struct sandbox *sb)
{
    struct checkout *c = user;
    struct sandbox_info i;
    exchange_set_ops(c->x, &checkout_ops, c);
    sandbox_hold(sb, &c->hold);
    c->begun_ns = uv_hrtime();
    if (!c->url.remote || !secret_of(c)->len) {
        start(c, sb);
        return;
    }
    sandbox_get_info(sb, &i);
    snprintf(c->sandbox, sizeof c->sandbox, "%s", i.name);
    c->answered = true; /* nothing but the grant is under way, and that can be let go of */
    git_grant_begin(c->gw, c->sandbox, &c->url, on_granted, c, &c->grant);
}

static void drop(void *user)
{
    checkout_free(user);
}

/* ---- the request ---- */

static bool one_line(const char *s)
{
    return s && !strpbrk(s, "\r\n");
}

/* NULL: fine; those of the body come before those of the address. */
static const char *read_credentials(struct checkout *c)
{
    const json_t *o = json_object_get(c->body, "credentials");
    const char *key;
    json_t *v;
    if (!o)
        return NULL;
    json_object_foreach ((json_t *)(uintptr_t)o, key, v) {
        bool user = !strcmp(key, "username");
        if (!user && strcmp(key, "password") != 0 && strcmp(key, "token") != 0)
            return "credentials are {username, password} or {token}";
        if (!one_line(json_string_value(v)))
            return "credentials are strings on one line";
        struct buf *to = user ? &c->url.user : &c->url.password;
        buf_reset(to);
        buf_puts(to, json_string_value(v));
    }
    if (!c->url.password.len)
        return "credentials need a password or a token";
    return c->url.remote ? NULL : "credentials are only for http and https";
}

/* NULL: fine; else the field and what is wrong with it. */
static const char *read_fields(struct checkout *c, const char **ret_field)
{
    const char *url = api_string(c->body, "url"), *branch = api_string(c->body, "branch"),
               *target = api_string(c->body, "targetDir"), *wrong;
    *ret_field = "url";
    if ((wrong = git_url_read(url, strlen(url), &c->url)))
        return wrong;
    *ret_field = "branch";
    if (branch && !git_ref_valid(branch, strlen(branch)))
        return "it is no name of a branch or tag";
    *ret_field = "credentials";
    if ((wrong = read_credentials(c)))
        return wrong;
    *ret_field = "targetDir";
    if (!target && !*c->url.name)
        return "the address has no name for the directory: it must be given";
    if (target && (!*target || *target == '-'))
        return "it is empty or begins with a dash";
    c->target = strdup(target ? target : c->url.name);
    return c->target ? NULL : "out of memory";
}

static const struct api_field fields[] = {
    {.name = "url", .type = API_STRING, .required = true, .max = GIT_URL_MAX},
    {.name = "branch", .type = API_STRING, .max = 255},
    {.name = "targetDir", .type = API_STRING, .max = 4095},
    {.name = "cwd", .type = API_STRING, .max = 4096},
    {.name = "depth", .type = API_INTEGER, .min = 1, .max = 1 << 30},
    {.name = "timeout", .type = API_INTEGER, .min = 1, .max = BOX_TIMEOUT_MAX_MS},
    {.name = "credentials", .type = API_OBJECT},
};

static void checkout(struct gateway *gw, struct exchange *x, const struct http_request *r,
                     const struct route_params *p)
{
    json_t *o = api_body(gw, x, r, fields, COUNT(fields));
    const char *field, *wrong;
    if (!o)
        return;
    struct checkout *c = calloc(1, sizeof *c);
    if (!c) {
        json_decref(o);
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    *c = (struct checkout){.gw = gw, .x = x, .body = o, .wants_events = api_wants_events(r)};
    buf_init(&c->out, 3 * 4200);
    if ((wrong = read_fields(c, &field))) {
        api_error_detail(gw, x, 400, strcmp(field, "url") ? "INVALID_FIELD" : "INVALID_GIT_URL",
                         "field", field, "%s: %s", field, wrong);
        checkout_free(c);
        return;
    }
    box_call(gw, x, p->value[0], true, go, drop, c);
}

const struct route api_git_routes[] = {{"POST", "/v1/sandboxes/{name}/git:checkout", checkout, 0}};
const size_t api_git_nroutes = COUNT(api_git_routes);
