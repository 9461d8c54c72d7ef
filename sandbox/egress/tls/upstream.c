#include "sandbox/egress/tls/upstream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int add_extra(SSL_CTX *ctx, int fd, struct err *err)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    int copy = dup(fd), n = 0;
    FILE *f = copy >= 0 ? fdopen(copy, "r") : NULL;
    if (!f)
        return err_set(err, -errno, "read additional authorities", NULL);
    rewind(f);
    bool added = true;
    ERR_clear_error();
    for (X509 *x; added && (x = PEM_read_X509(f, NULL, NULL, NULL)); n++) {
        added = X509_STORE_add_cert(store, x) == 1;
        X509_free(x);
    }
    bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    fclose(f);
    ERR_clear_error();
    if (added && at_end && n)
        return 0;
    return err_set(err, -EINVAL, "read --egress-ca", "certificate %d of the file cannot be used",
                   n + added);
}

int upstream_context_new(int extra_fd, SSL_CTX **ret, struct err *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx || !SSL_CTX_set_default_verify_paths(ctx)) {
        SSL_CTX_free(ctx);
        return err_set(err, -ENOMEM, "make TLS context", NULL);
    }
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    int r = extra_fd >= 0 ? add_extra(ctx, extra_fd, err) : 0;
    if (r < 0) {
        SSL_CTX_free(ctx);
        return r;
    }
    *ret = ctx;
    return 0;
}

SSL *upstream_connect(SSL_CTX *ctx, const char *host, bool h2, SSL_SESSION *session)
{
    static const uint8_t both[] = "\x02h2\x08http/1.1", one[] = "\x08http/1.1";
    uint8_t addr[16];
    bool by_address = inet_pton(AF_INET, host, addr) == 1 || inet_pton(AF_INET6, host, addr) == 1;
    SSL *ssl = SSL_new(ctx);
    if (!ssl)
        return NULL;
    bool ok = by_address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host)
                         : SSL_set_tlsext_host_name(ssl, host) && SSL_set1_host(ssl, host);
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (ok)
        ok = SSL_set_alpn_protos(ssl, h2 ? both : one, h2 ? sizeof both - 1 : sizeof one - 1) == 0;
    if (ok && session)
        SSL_set_session(ssl, session);
    if (!ok) {
        SSL_free(ssl);
        return NULL;
    }
    return ssl;
}

bool upstream_chose_h2(const SSL *ssl)
{
    const unsigned char *name;
    unsigned len;
    SSL_get0_alpn_selected(ssl, &name, &len);
    return len == 2 && !memcmp(name, "h2", 2);
}
