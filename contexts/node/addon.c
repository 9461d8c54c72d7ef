/* N-API bindings: what lib/ calls as `native`, and the main loop's handles. */
#include <node_api.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <uv.h>

#include "contexts/node/host.h"

enum { FD_FROM = 512, ARGS_MAX = 8, SMALL_TEXT = 4096 };

/* The main thread's environment. Worker threads may load the addon, too: for reply(). */
static struct {
    napi_env env;
    napi_ref on_message, on_event, on_side, resource;
    napi_async_context async;
    uv_poll_t *frames;
    uv_async_t *wake;
    bool attached;
    bool in_side;
} host;

static napi_value throw_errno(napi_env env, int code, const char *what)
{
    char text[128];
    snprintf(text, sizeof text, "%s: %s", what, strerror(-code));
    napi_throw_error(env, "ECELLBOX", text);
    return NULL;
}

static napi_value message_value(napi_env env, const struct message *m)
{
    napi_value array, v;
    napi_create_array_with_length(env, 4u + m->nsections, &array);
    napi_create_uint32(env, m->type, &v);
    napi_set_element(env, array, 0, v);
    napi_create_uint32(env, m->arg, &v);
    napi_set_element(env, array, 1, v);
    napi_create_double(env, (double)m->req, &v);
    napi_set_element(env, array, 2, v);
    napi_get_boolean(env, m->interrupted, &v);
    napi_set_element(env, array, 3, v);
    for (unsigned i = 0; i < m->nsections; i++) {
        const struct section *s = &m->sections[i];
        if (i < 3)
            napi_create_string_utf8(env, s->data, s->len, &v);
        else
            napi_create_buffer_copy(env, s->len, s->data, NULL, &v);
        napi_set_element(env, array, 4 + i, v);
    }
    return array;
}

/* The runner's own JavaScript failed: a program has changed what it stands on, e.g.
 * Array.prototype. */
static void panic(void)
{
    static const char text[] = "cellbox: the builtins of JavaScript were changed in a way that the "
                               "context cannot live with\n";
    ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);
    (void)n;
    _exit(70);
}

static bool call(napi_ref function, unsigned argc, const napi_value *argv)
{
    napi_value f, undefined, result;
    napi_get_reference_value(host.env, function, &f);
    napi_get_undefined(host.env, &undefined);
    napi_status st = napi_call_function(host.env, undefined, f, argc, argv, &result);
    if (st == napi_ok)
        return true;
    bool pending = false;
    napi_is_exception_pending(host.env, &pending);
    if (pending && !watch_recover())
        panic();
    if (pending)
        napi_get_and_clear_last_exception(host.env, &result);
    return false;
}

/* The main loop's ways in: JavaScript runs in a scope that drains microtasks and ticks. */
static void enter(void (*body)(void))
{
    napi_handle_scope scope;
    napi_callback_scope callbacks;
    napi_value resource;
    napi_open_handle_scope(host.env, &scope);
    napi_get_reference_value(host.env, host.resource, &resource);
    if (napi_open_callback_scope(host.env, resource, host.async, &callbacks) == napi_ok) {
        body();
        napi_close_callback_scope(host.env, callbacks);
    }
    napi_close_handle_scope(host.env, scope);
}

static void attach_scope(napi_env env)
{
    napi_value name, resource;
    napi_create_string_utf8(env, "cellbox", NAPI_AUTO_LENGTH, &name);
    napi_create_object(env, &resource);
    napi_create_reference(env, resource, 1, &host.resource);
    napi_async_init(env, resource, name, &host.async);
}

static void run_events(void)
{
    napi_value v;
    unsigned events = watch_take();
    if (!events)
        return;
    napi_create_uint32(host.env, events, &v);
    call(host.on_event, 1, &v);
}

static void run_message(void)
{
    bool gone = false;
    struct message *m = watch_next(&gone);
    napi_value v;
    if (!m && !gone)
        return;
    if (gone) {
        uv_poll_stop(host.frames);
        napi_get_null(host.env, &v);
    } else {
        v = message_value(host.env, m);
        free(m);
    }
    call(host.on_message, 1, &v);
    if (watch_queued())
        uv_async_send(host.wake); /* each message gets its own turn of the loop */
}

static void on_readable(uv_poll_t *p, int status, int events)
{
    (void)p;
    (void)status;
    (void)events;
    enter(run_message);
}

static void on_wake(uv_async_t *a)
{
    (void)a;
    if (watch_interrupted())
        enter(run_events);
    enter(run_message);
}

static void wake_main(void)
{
    uv_async_send(host.wake);
}

/* Main thread, in the middle of JavaScript: no microtasks, no ticks. */
static void run_side(void)
{
    napi_handle_scope scope;
    struct message *m;
    if (host.in_side)
        return;
    host.in_side = true;
    napi_open_handle_scope(host.env, &scope);
    while ((m = watch_next_side())) {
        napi_value v = message_value(host.env, m);
        free(m);
        if (!call(host.on_side, 1, &v))
            break;
    }
    napi_close_handle_scope(host.env, scope);
    host.in_side = false;
}

static const struct watch_ops ops = {.wake_main = wake_main, .side = run_side};

int host_move_fd(int fd)
{
    int moved = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, FD_FROM);
    if (moved < 0)
        return -errno;
    close(fd);
    return moved;
}

static int attach_descriptors(void)
{
    int frame = host_move_fd(CONTEXT_FD_FRAME), memfd = host_move_fd(CONTEXT_FD_RING),
        doorbell = host_move_fd(CONTEXT_FD_DOORBELL);
    int out = fcntl(1, F_DUPFD_CLOEXEC, FD_FROM), err = fcntl(2, F_DUPFD_CLOEXEC, FD_FROM);
    if (frame < 0 || memfd < 0 || doorbell < 0 || out < 0 || err < 0)
        return -errno;
    void *shared =
        mmap(NULL, sizeof(struct outring_shared), PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    close(memfd);
    if (shared == MAP_FAILED)
        return -errno;
    link_init(frame);
    output_init(shared, doorbell, out, err);
    return 0;
}

static int attach_loop(napi_env env)
{
    uv_loop_t *loop;
    if (napi_get_uv_event_loop(env, &loop) != napi_ok)
        return -ENOSYS;
    /* The size is the running libuv's, not that of the header. */
    host.frames = calloc(1, uv_handle_size(UV_POLL));
    host.wake = calloc(1, uv_handle_size(UV_ASYNC));
    if (!host.frames || !host.wake)
        return -ENOMEM;
    int r = uv_async_init(loop, host.wake, on_wake);
    r = r ? r : uv_poll_init(loop, host.frames, link_fd());
    r = r ? r : uv_poll_start(host.frames, UV_READABLE, on_readable);
    return r;
}

/*
 * Node keeps SIGUSR1 blocked for its inspector, which is switched off: programs that listen to the
 * signal get it, nobody dies of it by default.
 */
static void free_sigusr1(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t set;
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGUSR1, &ignore, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* attach(onMessage, onEvent, onSide): takes the descriptors and begins to receive. */
static napi_value attach(napi_env env, napi_callback_info info)
{
    napi_value argv[3];
    size_t argc = 3;
    napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
    if (host.attached)
        return throw_errno(env, -EBUSY, "attach");
    host.env = env;
    host.attached = true;
    napi_create_reference(env, argv[0], 1, &host.on_message);
    napi_create_reference(env, argv[1], 1, &host.on_event);
    napi_create_reference(env, argv[2], 1, &host.on_side);
    attach_scope(env);
    free_sigusr1();
    prctl(PR_SET_NAME, "cbx-node");
    int r = engine_init();
    r = r ? r : attach_descriptors();
    r = r ? r : attach_loop(env);
    r = r ? r : watch_start(&ops);
    return r ? throw_errno(env, r, "attach") : NULL;
}

struct text {
    char small[SMALL_TEXT];
    char *large; /* NULL: the text is in small */
    const void *data;
    size_t len;
};

static void text_free(struct text *t)
{
    free(t->large);
}

/* Bytes of a string (UTF-8; lone surrogates become U+FFFD) or of a Buffer. */
static int text_get(napi_env env, napi_value v, struct text *t)
{
    napi_valuetype type;
    t->large = NULL;
    t->data = t->small;
    t->len = 0;
    if (napi_typeof(env, v, &type) != napi_ok)
        return -EINVAL;
    if (type != napi_string) {
        void *data = NULL;
        if (napi_get_buffer_info(env, v, &data, &t->len) != napi_ok)
            return -EINVAL;
        t->data = data;
        return 0;
    }
    napi_get_value_string_utf8(env, v, t->small, sizeof t->small, &t->len);
    if (t->len < sizeof t->small - 4)
        return 0;
    napi_get_value_string_utf8(env, v, NULL, 0, &t->len);
    t->large = malloc(t->len + 1);
    if (!t->large)
        return -ENOMEM;
    napi_get_value_string_utf8(env, v, t->large, t->len + 1, &t->len);
    t->data = t->large;
    return 0;
}

/* write(stream, req, text or bytes) */
static napi_value write_text(napi_env env, napi_callback_info info)
{
    napi_value argv[3];
    size_t argc = 3;
    struct text t;
    int stream = 1;
    double req = 0;
    napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
    napi_get_value_int32(env, argv[0], &stream);
    napi_get_value_double(env, argv[1], &req);
    int r = text_get(env, argv[2], &t);
    if (r < 0)
        return throw_errno(env, r, "write");
    output_write(stream == 2 ? 2 : 1, (uint64_t)req, t.data, t.len);
    text_free(&t);
    return NULL;
}

/* send(type, arg, req, [section, ...]); frames that show something wait for earlier text. */
static napi_value send_frame(napi_env env, napi_callback_info info)
{
    napi_value argv[4], v;
    size_t argc = 4;
    uint32_t type = 0, arg = 0, n = 0;
    double req = 0;
    struct text *texts;
    struct section sections[MESSAGE_SECTIONS_MAX];
    napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
    napi_get_value_uint32(env, argv[0], &type);
    napi_get_value_uint32(env, argv[1], &arg);
    napi_get_value_double(env, argv[2], &req);
    napi_get_array_length(env, argv[3], &n);
    if (n > MESSAGE_SECTIONS_MAX)
        return throw_errno(env, -EMSGSIZE, "send");
    texts = malloc((n ? n : 1) * sizeof *texts);
    int r = texts ? 0 : -ENOMEM;
    uint32_t got = 0;
    for (; r == 0 && got < n; got++) {
        napi_get_element(env, argv[3], got, &v);
        r = text_get(env, v, &texts[got]);
        sections[got] = (struct section){texts[got].data, texts[got].len};
    }
    if (r == 0) {
        if (type != FRAME_HELLO && type != FRAME_COMM_OUT)
            output_sync();
        r = link_send((uint16_t)type, arg, (uint64_t)req, n, sections);
    }
    for (uint32_t i = 0; i < got; i++)
        text_free(&texts[i]);
    free(texts);
    return r < 0 ? throw_errno(env, r, "send") : NULL;
}

/* reply(type, arg, req, [section]): as send, from a worker thread of the runner and unsynchronised.
 */
static napi_value reply(napi_env env, napi_callback_info info)
{
    napi_value argv[4], v;
    size_t argc = 4;
    uint32_t type = 0, arg = 0;
    double req = 0;
    struct text t;
    napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
    napi_get_value_uint32(env, argv[0], &type);
    napi_get_value_uint32(env, argv[1], &arg);
    napi_get_value_double(env, argv[2], &req);
    napi_get_element(env, argv[3], 0, &v);
    int r = text_get(env, v, &t);
    if (r < 0)
        return throw_errno(env, r, "reply");
    struct section s = {t.data, t.len};
    r = link_send((uint16_t)type, arg, (uint64_t)req, 1, &s);
    text_free(&t);
    return r < 0 ? throw_errno(env, r, "reply") : NULL;
}

/* guard(function): true when it returned, false when it was terminated; exceptions pass. */
static napi_value guard(napi_env env, napi_callback_info info)
{
    napi_value argv[1], undefined, result;
    size_t argc = 1;
    napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
    napi_get_undefined(env, &undefined);
    bool returned = napi_call_function(env, undefined, argv[0], 0, NULL, &result) == napi_ok;
    if (!returned && !watch_recover())
        return NULL; /* an ordinary exception: it stays pending */
    if (!returned)
        napi_get_and_clear_last_exception(env, &result);
    napi_get_boolean(env, returned, &result);
    return result;
}

static napi_value begin(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    size_t argc = 1;
    double req = 0;
    napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
    napi_get_value_double(env, argv[0], &req);
    watch_begin((uint64_t)req);
    return NULL;
}

static napi_value end(napi_env env, napi_callback_info info)
{
    (void)env;
    (void)info;
    watch_end();
    return NULL;
}

/* take(): the set of events that wait, acknowledged. */
static napi_value take(napi_env env, napi_callback_info info)
{
    napi_value v;
    (void)info;
    napi_create_uint32(env, watch_take(), &v);
    return v;
}

/* interrupted(): whether events wait to be taken. */
static napi_value interrupted(napi_env env, napi_callback_info info)
{
    napi_value v;
    (void)info;
    napi_get_boolean(env, watch_signalled(), &v);
    return v;
}

static napi_value panic_now(napi_env env, napi_callback_info info)
{
    (void)env;
    (void)info;
    panic();
    return NULL;
}

/* kill(pid, signal): 0 or a negative errno. */
static napi_value send_signal(napi_env env, napi_callback_info info)
{
    napi_value argv[2], v;
    size_t argc = 2;
    int32_t pid = 0, signo = 0;
    napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
    napi_get_value_int32(env, argv[0], &pid);
    napi_get_value_int32(env, argv[1], &signo);
    napi_create_int32(env, kill(pid, signo) < 0 ? -errno : 0, &v);
    return v;
}

static napi_value collect(napi_env env, napi_callback_info info)
{
    (void)env;
    (void)info;
    engine_collect();
    return NULL;
}

static napi_value mute(napi_env env, napi_callback_info info)
{
    napi_value argv[1];
    size_t argc = 1;
    bool on = false;
    napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
    napi_get_value_bool(env, argv[0], &on);
    output_mute(on);
    return NULL;
}

/*
 * receive(): sleeps for the next message, for prompt(). A message as onMessage gets it; null when
 * an interrupt came.
 */
static napi_value receive(napi_env env, napi_callback_info info)
{
    bool gone = false;
    (void)info;
    for (;;) {
        struct message *m = watch_next(&gone);
        napi_value v;
        if (m) {
            v = message_value(env, m);
            free(m);
            return v;
        }
        if (gone || watch_interrupted()) {
            napi_get_null(env, &v);
            return v;
        }
        watch_wait();
    }
}

static napi_value init(napi_env env, napi_value exports)
{
    const struct {
        const char *name;
        napi_callback function;
    } functions[] = {
        {"attach", attach},   {"write", write_text},
        {"send", send_frame}, {"guard", guard},
        {"begin", begin},     {"end", end},
        {"take", take},       {"mute", mute},
        {"receive", receive}, {"interrupted", interrupted},
        {"collect", collect}, {"kill", send_signal},
        {"panic", panic_now}, {"reply", reply},
    };
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        napi_value f;
        napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, NULL,
                             &f);
        napi_set_named_property(env, exports, functions[i].name, f);
    }
    return exports;
}

NAPI_MODULE_INIT()
{
    return init(env, exports);
}
