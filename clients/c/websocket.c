#include "clients/c/websocket.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <wslay/wslay.h>

enum { HEAD_MAX = 64 << 10, MESSAGE_MAX = 4 << 20, ANSWER_MS = 15000 };

struct websocket {
    CURL *easy;
    curl_socket_t fd;
    wslay_event_context_ptr ctx;
    struct websocket_handler handler;
    struct str early; /* came right behind the answer */
    size_t early_at;
    bool ended;
};

int websocket_fd(const struct websocket *ws)
{
    return ws->fd;
}

static void random_bytes(void *out, size_t n)
{
    uint8_t *p = out;
    for (ssize_t got; n; p += got, n -= (size_t)got)
        if ((got = getrandom(p, n, 0)) < 0)
            got = 0;
}

static ssize_t on_recv(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, int flags, void *user)
{
    struct websocket *ws = user;
    size_t n = 0;
    (void)flags;
    if (ws->early_at < ws->early.len) {
        n = ws->early.len - ws->early_at < len ? ws->early.len - ws->early_at : len;
        memcpy(buf, ws->early.data + ws->early_at, n);
        ws->early_at += n;
        return (ssize_t)n;
    }
    CURLcode r = curl_easy_recv(ws->easy, buf, len, &n);
    if (r == CURLE_OK && n)
        return (ssize_t)n;
    ws->ended |= r != CURLE_AGAIN;
    wslay_event_set_error(ctx,
                          r == CURLE_AGAIN ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

static ssize_t on_send(wslay_event_context_ptr ctx, const uint8_t *data, size_t len, int flags,
                       void *user)
{
    struct websocket *ws = user;
    size_t n = 0;
    (void)flags;
    CURLcode r = curl_easy_send(ws->easy, data, len, &n);
    if (r == CURLE_OK)
        return (ssize_t)n;
    ws->ended |= r != CURLE_AGAIN;
    wslay_event_set_error(ctx,
                          r == CURLE_AGAIN ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

static int on_mask(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, void *user)
{
    (void)ctx;
    (void)user;
    random_bytes(buf, len);
    return 0;
}

static void on_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *arg,
                       void *user)
{
    struct websocket *ws = user;
    (void)ctx;
    if (arg->opcode == WSLAY_TEXT_FRAME || arg->opcode == WSLAY_BINARY_FRAME)
        ws->handler.message(ws->handler.user, arg->opcode == WSLAY_BINARY_FRAME, arg->msg,
                            arg->msg_length);
}

static const struct wslay_event_callbacks callbacks = {.recv_callback = on_recv,
                                                       .send_callback = on_send,
                                                       .genmask_callback = on_mask,
                                                       .on_msg_recv_callback = on_message};

static bool send_all(struct websocket *ws, const char *data, size_t len)
{
    while (len) {
        size_t n = 0;
        struct pollfd p = {.fd = ws->fd, .events = POLLOUT};
        CURLcode r = curl_easy_send(ws->easy, data, len, &n);
        if (r == CURLE_AGAIN && poll(&p, 1, ANSWER_MS) == 1)
            continue;
        if (r != CURLE_OK)
            return false;
        data += n;
        len -= n;
    }
    return true;
}

/* The head of the answer, and whatever came behind it. -ECONNRESET: none came; -ENOMEM. */
static int read_head(struct websocket *ws, struct str *head)
{
    char bytes[4096];
    while (head->len < HEAD_MAX) {
        size_t n = 0;
        struct pollfd p = {.fd = ws->fd, .events = POLLIN};
        CURLcode r = curl_easy_recv(ws->easy, bytes, sizeof bytes, &n);
        if (r == CURLE_AGAIN && poll(&p, 1, ANSWER_MS) == 1)
            continue;
        if (r != CURLE_OK || !n)
            return head->len ? 0 : -ECONNRESET;
        if (text_add(head, bytes, n) < 0)
            return -ENOMEM;
        const char *end = strstr(head->data, "\r\n\r\n");
        if (end && strncmp(head->data + sizeof "HTTP/1.1" - 1, " 101", 4) != 0)
            continue; /* a refusal: its body says why */
        if (end) {
            size_t used = (size_t)(end + 4 - head->data);
            return text_add(&ws->early, head->data + used, head->len - used);
        }
    }
    return -ECONNRESET;
}

static int put_request(const struct server *s, const char *path, struct str *out)
{
    uint8_t key[16];
    CLEANUP_STR struct str text = {0};
    const char *host = strstr(s->url, "://");
    host = host ? host + 3 : s->url;
    random_bytes(key, sizeof key);
    int r = text_base64(key, sizeof key, &text);
    if (r == 0)
        r = text_addf(out,
                      "GET %s%s HTTP/1.1\r\nHost: %.*s\r\nAuthorization: Bearer %s\r\n"
                      "Upgrade: websocket\r\nConnection: Upgrade, close\r\n"
                      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n",
                      host + strcspn(host, "/"), path, (int)strcspn(host, "/"), host, s->token,
                      text.data);
    return r;
}

static bool connect_to(struct websocket *ws, const struct server *s, struct str *ret_why)
{
    char problem[CURL_ERROR_SIZE] = "";
    curl_easy_setopt(ws->easy, CURLOPT_URL, s->url);
    curl_easy_setopt(ws->easy, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(ws->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(ws->easy, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
    curl_easy_setopt(ws->easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(ws->easy, CURLOPT_ERRORBUFFER, problem);
    CURLcode r = curl_easy_perform(ws->easy);
    curl_easy_setopt(ws->easy, CURLOPT_ERRORBUFFER, NULL);
    if (r == CURLE_OK)
        r = curl_easy_getinfo(ws->easy, CURLINFO_ACTIVESOCKET, &ws->fd);
    if (r != CURLE_OK)
        text_addf(ret_why, "%s", *problem ? problem : curl_easy_strerror(r));
    return r == CURLE_OK;
}

static bool shake_hands(struct websocket *ws, const struct server *s, const char *path,
                        long *ret_status, struct str *ret_why)
{
    CLEANUP_STR struct str request = {0};
    CLEANUP_STR struct str head = {0};
    if (put_request(s, path, &request) < 0)
        return false;
    int r = send_all(ws, request.data, request.len) ? read_head(ws, &head) : -ECONNRESET;
    if (r == -ENOMEM)
        return false;
    if (r < 0 || strncmp(head.data, "HTTP/1.", 7) != 0) {
        text_addf(ret_why, "the server did not answer");
        return false;
    }
    *ret_status = strtol(head.data + sizeof "HTTP/1.1 " - 1, NULL, 10);
    if (*ret_status == 101)
        return true;
    const char *body = strstr(head.data, "\r\n\r\n");
    text_addf(ret_why, "%s", body ? body + 4 : "");
    return false;
}

struct websocket *websocket_open(const struct server *s, const char *path,
                                 const struct websocket_handler *handler, long *ret_status,
                                 struct str *ret_why)
{
    struct websocket *ws = calloc(1, sizeof *ws);
    *ret_status = 0;
    if (!ws)
        return NULL;
    ws->easy = curl_easy_init();
    ws->handler = *handler;
    if (ws->easy && connect_to(ws, s, ret_why) && shake_hands(ws, s, path, ret_status, ret_why) &&
        wslay_event_context_client_init(&ws->ctx, &callbacks, ws) == 0) {
        wslay_event_config_set_max_recv_msg_length(ws->ctx, MESSAGE_MAX);
        return ws;
    }
    websocket_close(ws);
    return NULL;
}

void websocket_close(struct websocket *ws)
{
    if (!ws)
        return;
    if (ws->ctx && !ws->ended) {
        wslay_event_queue_close(ws->ctx, WSLAY_CODE_NORMAL_CLOSURE, NULL, 0);
        wslay_event_send(ws->ctx);
    }
    if (ws->ctx)
        wslay_event_context_free(ws->ctx);
    curl_easy_cleanup(ws->easy);
    str_deinit(&ws->early);
    free(ws);
}

bool websocket_wants_write(const struct websocket *ws)
{
    return wslay_event_want_write(ws->ctx);
}

size_t websocket_queued(const struct websocket *ws)
{
    return wslay_event_get_queued_msg_length(ws->ctx);
}

bool websocket_step(struct websocket *ws)
{
    if (wslay_event_recv(ws->ctx) != 0 || wslay_event_send(ws->ctx) != 0)
        ws->ended = true;
    return !ws->ended && !wslay_event_get_close_received(ws->ctx);
}

bool websocket_send(struct websocket *ws, bool binary, const void *data, size_t len)
{
    struct wslay_event_msg m = {
        .opcode = binary ? WSLAY_BINARY_FRAME : WSLAY_TEXT_FRAME, .msg = data, .msg_length = len};
    if (wslay_event_queue_msg(ws->ctx, &m) != 0)
        return false;
    if (wslay_event_send(ws->ctx) != 0)
        ws->ended = true;
    return !ws->ended;
}
