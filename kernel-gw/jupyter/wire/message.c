#include "kernel-gw/jupyter/wire/message.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sandbox/base/json.h"

static const char delimiter[] = "<IDS|MSG>";

struct jupyter_key {
    EVP_MAC_CTX *context;
};

int jupyter_key_new(const char *text, struct jupyter_key **ret)
{
    char sha256[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0),
                           OSSL_PARAM_END};
    *ret = NULL;
    if (!*text)
        return 0;
    struct jupyter_key *k = calloc(1, sizeof *k);
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    if (k && mac)
        k->context = EVP_MAC_CTX_new(mac);
    EVP_MAC_free(mac);
    if (!k || !k->context ||
        !EVP_MAC_init(k->context, (const uint8_t *)text, strlen(text), params)) {
        jupyter_key_free(k);
        return -ENOMEM;
    }
    *ret = k;
    return 0;
}

void jupyter_key_free(struct jupyter_key *k)
{
    if (!k)
        return;
    EVP_MAC_CTX_free(k->context);
    free(k);
}

void jupyter_sign(struct jupyter_key *key, const struct slice parts[4], char *out)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t mac[EVP_MAX_MD_SIZE];
    size_t n = 0;

    *out = 0;
    /* On failure the signature stays empty, which every peer with a key refuses. */
    if (!key || !EVP_MAC_init(key->context, NULL, 0, NULL))
        return;
    for (int i = 0; i < 4; i++)
        EVP_MAC_update(key->context, parts[i].data, parts[i].len);
    if (!EVP_MAC_final(key->context, mac, &n, sizeof mac) || n != JUPYTER_SIGNATURE / 2)
        return;
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[mac[i] >> 4];
        out[2 * i + 1] = digits[mac[i] & 15];
    }
    out[JUPYTER_SIGNATURE] = 0;
}

static int copy_member(const json_t *header, const char *name, char *out, size_t cap)
{
    const json_t *v = json_object_get(header, name);
    if (!json_is_string(v) || json_string_length(v) >= cap ||
        strlen(json_string_value(v)) != json_string_length(v))
        return -EINVAL;
    memcpy(out, json_string_value(v), json_string_length(v) + 1);
    return 0;
}

static enum jupyter_parse read_header(struct jupyter_message *m)
{
    if (m->header.len > 65536)
        return JUPYTER_E_HEADER;
    json_t *j = json_loadb((const char *)m->header.data, m->header.len, 0, NULL);
    int bad = !j || copy_member(j, "msg_id", m->msg_id, sizeof m->msg_id) < 0 ||
              copy_member(j, "msg_type", m->msg_type, sizeof m->msg_type) < 0;
    if (!bad && copy_member(j, "session", m->session, sizeof m->session) < 0)
        *m->session = 0;
    const json_t *subshell = json_object_get(j, "subshell_id");
    m->names_subshell = subshell && !json_is_null(subshell);
    if (copy_member(j, "subshell_id", m->subshell, sizeof m->subshell) < 0)
        *m->subshell = 0;
    json_decref(j);
    return bad ? JUPYTER_E_HEADER : JUPYTER_OK;
}

static int check_signature(struct jupyter_key *key, const struct slice *signature,
                           const struct slice parts[4])
{
    char want[JUPYTER_SIGNATURE + 1];
    if (!key)
        return 0;
    jupyter_sign(key, parts, want);
    return signature->len == JUPYTER_SIGNATURE &&
                   !CRYPTO_memcmp(want, signature->data, JUPYTER_SIGNATURE)
               ? 0
               : -EPERM;
}

void jupyter_put_single(struct jupyter_key *key, struct slice content, char *signature,
                        struct slice ret[JUPYTER_SINGLE_FRAMES])
{
    const struct slice parts[4] = {content};
    jupyter_sign(key, parts, signature);
    ret[0] = (struct slice){(const uint8_t *)delimiter, sizeof delimiter - 1};
    ret[1] = (struct slice){(const uint8_t *)signature, strlen(signature)};
    ret[2] = content;
}

bool jupyter_get_single(struct jupyter_key *key, const struct slice *frames, size_t n,
                        struct slice *ret_content)
{
    if (n == 4 && !frames[0].len) { /* as a REP socket answers */
        frames++;
        n--;
    }
    if (n != JUPYTER_SINGLE_FRAMES || frames[0].len != sizeof delimiter - 1 ||
        memcmp(frames[0].data, delimiter, frames[0].len) != 0)
        return false;
    const struct slice parts[4] = {frames[2]};
    *ret_content = frames[2];
    return check_signature(key, &frames[1], parts) == 0 &&
           json_check_object(frames[2].data, frames[2].len) == 0;
}

enum jupyter_parse jupyter_check(struct jupyter_message *m)
{
    const struct slice *parts[] = {&m->header, &m->parent, &m->metadata, &m->content};
    for (int i = 0; i < 4; i++)
        if (json_check_object(parts[i]->data, parts[i]->len) < 0)
            return JUPYTER_E_JSON;
    return read_header(m);
}

enum jupyter_parse jupyter_parse(const struct slice *frames, size_t n, struct jupyter_key *key,
                                 struct jupyter_message *ret)
{
    struct jupyter_message m = {0};
    size_t at = 0;

    while (at < n && (frames[at].len != sizeof delimiter - 1 ||
                      memcmp(frames[at].data, delimiter, frames[at].len)))
        at++;
    if (at > JUPYTER_IDENTS_MAX || n - at < 6 || n - at - 6 > JUPYTER_BUFFERS_MAX || at == n)
        return JUPYTER_E_FRAMES;
    for (size_t i = 0; i < at; i++)
        m.idents[m.nidents++] = frames[i];
    const struct slice *parts = &frames[at + 2];
    if (check_signature(key, &frames[at + 1], parts) < 0)
        return JUPYTER_E_SIGNATURE;
    m.header = parts[0];
    m.parent = parts[1];
    m.metadata = parts[2];
    m.content = parts[3];
    for (size_t i = at + 6; i < n; i++)
        m.buffers[m.nbuffers++] = frames[i];
    enum jupyter_parse r = jupyter_check(&m);
    if (r == JUPYTER_OK)
        *ret = m;
    return r;
}

void jupyter_message_id(char *out, size_t cap, const char *session, uint64_t n, uint64_t request)
{
    if (request)
        snprintf(out, cap, "%s_%llu_r%llu", session, (unsigned long long)n,
                 (unsigned long long)request);
    else
        snprintf(out, cap, "%s_%llu", session, (unsigned long long)n);
}

uint64_t jupyter_request_of(const char *msg_id)
{
    const char *r = strrchr(msg_id, '_');
    return r && r[1] == 'r' ? strtoull(r + 2, NULL, 10) : 0;
}

int jupyter_put_header(struct buf *b, const char *msg_id, const char *msg_type, const char *session,
                       uint64_t time_us)
{
    time_t s = (time_t)(time_us / 1000000);
    struct tm tm;
    char date[32];
    gmtime_r(&s, &tm);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    return buf_printf(
        b,
        "{\"msg_id\":\"%s\",\"msg_type\":\"%s\",\"session\":\"%s\",\"username\":\"kernel\","
        "\"date\":\"%s.%06uZ\",\"version\":\"5.5\"}",
        msg_id, msg_type, session, date, (unsigned)(time_us % 1000000));
}

int jupyter_put_route(struct buf *b, const struct slice *idents, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint8_t len[2] = {(uint8_t)(idents[i].len & 255), (uint8_t)(idents[i].len >> 8)};
        if (idents[i].len > 4096)
            return -EMSGSIZE;
        buf_put(b, len, 2);
        buf_put(b, idents[i].data, idents[i].len);
    }
    return b->err;
}

int jupyter_get_route(const uint8_t *data, size_t len, struct slice *ret_idents, unsigned *ret_n)
{
    unsigned n = 0;
    while (len) {
        size_t one = len < 2 ? 0 : (size_t)(data[0] | data[1] << 8);
        if (len < 2 || one > len - 2 || n == JUPYTER_IDENTS_MAX)
            return -EINVAL;
        ret_idents[n++] = (struct slice){data + 2, one};
        data += 2 + one;
        len -= 2 + one;
    }
    *ret_n = n;
    return 0;
}
