#include "sandbox/egress/tls/authority.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sandbox/base/map.h"

enum { DAY = 86400, BACKDATE = 2 * DAY };

struct leaf {
    SSL_CTX *ctx;
    time_t made;
};

struct authority {
    EVP_PKEY *key, *leaf_key;
    X509 *cert;
    uint64_t box;
    time_t made;
    struct map *leaves;
    double tokens; /* leaves that may be made now */
    uint64_t filled_ms;
};

static const unsigned char alpn_h2[] = "\x02h2\x08http/1.1", alpn_h1[] = "\x08http/1.1";

/* HKDF-SHA256(secret, box) -> a number in [1, n-1]. */
static int derive(const uint8_t key[32], uint64_t box, uint8_t out[48])
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    char digest[] = "SHA256", info[] = "cellbox egress authority";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("digest", digest, 0),
                           OSSL_PARAM_construct_octet_string("key", (void *)(uintptr_t)key, 32),
                           OSSL_PARAM_construct_octet_string("salt", &box, sizeof box),
                           OSSL_PARAM_construct_octet_string("info", info, sizeof info - 1),
                           OSSL_PARAM_construct_end()};
    int ok = ctx && EVP_KDF_derive(ctx, out, 48, params) == 1;
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    return ok ? 0 : -EIO;
}

static EVP_PKEY *from_scalar(const EC_GROUP *group, const BIGNUM *d)
{
    EVP_PKEY *key = NULL;
    uint8_t pub[65];
    EC_POINT *point = EC_POINT_new(group);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (point && bld && ctx && EC_POINT_mul(group, point, d, NULL, NULL, NULL) &&
        EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, pub, sizeof pub, NULL) ==
            sizeof pub &&
        OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) &&
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PRIV_KEY, d) &&
        OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, pub, sizeof pub) &&
        (params = OSSL_PARAM_BLD_to_param(bld)) && EVP_PKEY_fromdata_init(ctx) == 1)
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    EVP_PKEY_CTX_free(ctx);
    EC_POINT_free(point);
    return key;
}

static EVP_PKEY *make_key(const uint8_t secret[32], uint64_t box)
{
    uint8_t seed[48];
    EVP_PKEY *key = NULL;
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    BN_CTX *bn = BN_CTX_new();
    BIGNUM *d = BN_new(), *limit = BN_new();
    if (group && bn && d && limit && derive(secret, box, seed) == 0 &&
        BN_bin2bn(seed, sizeof seed, d) && BN_copy(limit, EC_GROUP_get0_order(group)) &&
        BN_sub_word(limit, 1) && BN_mod(d, d, limit, bn) && BN_add_word(d, 1))
        key = from_scalar(group, d);
    OPENSSL_cleanse(seed, sizeof seed);
    BN_clear_free(d);
    BN_free(limit);
    BN_CTX_free(bn);
    EC_GROUP_free(group);
    return key;
}

static bool extend(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = e && X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
    return ok;
}

static X509 *blank(const char *common_name, EVP_PKEY *key, int days, time_t now)
{
    X509 *x = X509_new();
    uint8_t serial[16];
    if (!x)
        return NULL;
    RAND_bytes(serial, sizeof serial);
    serial[0] &= 0x7f;
    BIGNUM *bn = BN_bin2bn(serial, sizeof serial, NULL);
    X509_set_version(x, X509_VERSION_3);
    BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(x));
    BN_free(bn);
    X509_time_adj_ex(X509_getm_notBefore(x), 0, -BACKDATE, &now);
    X509_time_adj_ex(X509_getm_notAfter(x), days, 0, &now);
    X509_NAME *name = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const uint8_t *)"Cellbox egress", -1, -1,
                               0);
    if (strlen(common_name) <= 64)
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)common_name, -1, -1,
                                   0);
    X509_set_pubkey(x, key);
    return x;
}

static X509 *self_signed(EVP_PKEY *key, uint64_t box, time_t now)
{
    char name[64];
    snprintf(name, sizeof name, "Cellbox sandbox %llu", (unsigned long long)box);
    X509 *x = blank(name, key, AUTHORITY_DAYS, now);
    if (x && X509_set_issuer_name(x, X509_get_subject_name(x)) &&
        extend(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
        extend(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") &&
        extend(x, x, NID_subject_key_identifier, "hash") && X509_sign(x, key, EVP_sha256()))
        return x;
    X509_free(x);
    return NULL;
}

static bool is_address(const char *host)
{
    uint8_t a[16];
    return inet_pton(AF_INET, host, a) == 1 || inet_pton(AF_INET6, host, a) == 1;
}

static X509 *make_leaf(const struct authority *a, const char *host)
{
    char alt[300];
    snprintf(alt, sizeof alt, "%s:%s", is_address(host) ? "IP" : "DNS", host);
    X509 *x = blank(host, a->leaf_key, AUTHORITY_LEAF_DAYS, time(NULL));
    if (x && X509_set_issuer_name(x, X509_get_subject_name(a->cert)) &&
        extend(x, a->cert, NID_basic_constraints, "critical,CA:FALSE") &&
        extend(x, a->cert, NID_key_usage, "critical,digitalSignature") &&
        extend(x, a->cert, NID_ext_key_usage, "serverAuth") &&
        extend(x, a->cert, NID_authority_key_identifier, "keyid") &&
        extend(x, a->cert, NID_subject_alt_name, alt) && X509_sign(x, a->key, EVP_sha256()))
        return x;
    X509_free(x);
    return NULL;
}

/* The offer of this connection is in its app data. */
static int choose(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                  const unsigned char *in, unsigned in_len, void *arg)
{
    bool h2 = SSL_get_app_data(ssl) != NULL;
    (void)arg;
    if (SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len, h2 ? alpn_h2 : alpn_h1,
                              h2 ? sizeof alpn_h2 - 1 : sizeof alpn_h1 - 1, in,
                              in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    return SSL_TLSEXT_ERR_OK;
}

/* A context per name: a ticket that was given for one is worthless for another. */
static SSL_CTX *make_context(const struct authority *a, const char *host)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    X509 *leaf = ctx ? make_leaf(a, host) : NULL;
    bool ok =
        leaf && SSL_CTX_use_certificate(ctx, leaf) && SSL_CTX_use_PrivateKey(ctx, a->leaf_key);
    X509_free(leaf);
    if (!ok) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_id_context(ctx, (const uint8_t *)host,
                                   (unsigned)(strlen(host) > 32 ? 32 : strlen(host)));
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_alpn_select_cb(ctx, choose, NULL);
    return ctx;
}

/* A leaf costs a quarter of a millisecond: a box that asks for ever new names pays by waiting. */
static bool may_make(struct authority *a, uint64_t now_ms)
{
    a->tokens += (double)(now_ms - a->filled_ms) * AUTHORITY_PER_SECOND / 1000;
    a->filled_ms = now_ms;
    if (a->tokens > AUTHORITY_BURST)
        a->tokens = AUTHORITY_BURST;
    if (a->tokens < 1)
        return false;
    a->tokens--;
    return true;
}

static void leaf_free(struct leaf *l)
{
    if (l)
        SSL_CTX_free(l->ctx); /* open connections keep theirs */
    free(l);
}

static SSL_CTX *leaf_context(struct authority *a, const char *host, uint64_t now_ms)
{
    struct leaf *l = map_get(a->leaves, host);
    time_t now = time(NULL);
    if (l && now - l->made < AUTHORITY_LEAF_RENEW_S && now >= l->made)
        return l->ctx;
    if (!may_make(a, now_ms))
        return NULL;
    leaf_free(map_remove(a->leaves, host));
    if (map_count(a->leaves) >= AUTHORITY_LEAVES_MAX) { /* the oldest goes */
        size_t cursor = 0;
        const char *oldest;
        l = map_next(a->leaves, &cursor, &oldest);
        map_remove(a->leaves, oldest);
        leaf_free(l);
    }
    l = calloc(1, sizeof *l);
    if (!l || !(l->ctx = make_context(a, host)) || map_add(a->leaves, host, l) < 0) {
        leaf_free(l);
        return NULL;
    }
    l->made = now;
    return l->ctx;
}

int authority_renew(struct authority *a, time_t now)
{
    if (now >= a->made && now - a->made < AUTHORITY_RENEW_S)
        return 0;
    X509 *cert = self_signed(a->key, a->box, now);
    if (!cert) {
        ERR_clear_error();
        return -ENOMEM;
    }
    X509_free(a->cert);
    a->cert = cert;
    a->made = now;
    return 1;
}

uint64_t authority_made(const struct authority *a)
{
    return (uint64_t)a->made;
}

SSL *authority_accept(struct authority *a, const char *host, bool h2, uint64_t now_ms)
{
    SSL_CTX *ctx = leaf_context(a, host, now_ms);
    SSL *ssl = ctx ? SSL_new(ctx) : NULL;
    if (ssl)
        SSL_set_app_data(ssl, h2 ? (void *)ssl : NULL);
    return ssl;
}

int authority_new(const uint8_t key[32], uint64_t box, struct authority **ret)
{
    struct authority *a = calloc(1, sizeof *a);
    if (!a)
        return -ENOMEM;
    a->key = make_key(key, box);
    a->leaf_key = EVP_EC_gen("P-256");
    a->box = box;
    a->made = time(NULL);
    a->cert = a->key ? self_signed(a->key, box, a->made) : NULL;
    a->leaves = map_new();
    if (!a->cert || !a->leaf_key || !a->leaves) {
        authority_free(a);
        ERR_clear_error();
        return -ENOMEM;
    }
    *ret = a;
    return 0;
}

void authority_free(struct authority *a)
{
    size_t cursor = 0;
    if (!a)
        return;
    for (struct leaf *l; a->leaves && (l = map_next(a->leaves, &cursor, NULL));)
        leaf_free(l);
    map_free(a->leaves);
    X509_free(a->cert);
    EVP_PKEY_free(a->key);
    EVP_PKEY_free(a->leaf_key);
    free(a);
}

int authority_pem(const struct authority *a, struct buf *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    int r = bio && PEM_write_bio_X509(bio, a->cert) ? 0 : -ENOMEM;
    if (r == 0) {
        long len = BIO_get_mem_data(bio, &data);
        r = buf_put(out, data, (size_t)len);
    }
    BIO_free(bio);
    return r;
}
