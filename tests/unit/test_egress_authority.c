/* LINK: cbx_egress_tls */
/* The authority of a box: short certificates, made anew with the same key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <string.h>
#include <time.h>

#include "sandbox/egress/tls/authority.h"

static X509 *certificate_of(const struct authority *a)
{
    CLEANUP_BUF struct buf pem = {0};
    assert_int_equal(authority_pem(a, &pem), 0);
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    assert_non_null(x);
    return x;
}

static long days_left(const X509 *x)
{
    int days = 0, seconds = 0;
    assert_int_equal(ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(x)), 1);
    return days;
}

/* What a connection would be shown is good for who trusts that certificate. */
static void assert_signed_by(struct authority *a, X509 *ca)
{
    SSL *ssl = authority_accept(a, "one.test", true, 1000);
    assert_non_null(ssl);
    X509 *leaf = SSL_get_certificate(ssl);
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509_STORE_add_cert(store, ca);
    X509_STORE_CTX_init(ctx, store, leaf, NULL);
    X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_NO_CHECK_TIME); /* one of them is of days to come */
    assert_int_equal(X509_verify_cert(ctx), 1);
    assert_true(days_left(leaf) <= AUTHORITY_LEAF_DAYS);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    SSL_free(ssl);
}

static void test_renewal(void **state)
{
    static const uint8_t key[32] = {7};
    struct authority *a, *again;
    time_t now = time(NULL);
    (void)state;
    assert_int_equal(authority_new(key, 3, &a), 0);
    X509 *first = certificate_of(a);
    assert_in_range(days_left(first), AUTHORITY_DAYS - 1, AUTHORITY_DAYS);
    assert_int_equal(authority_renew(a, now + AUTHORITY_RENEW_S - 60), 0);
    assert_int_equal(authority_renew(a, now + AUTHORITY_RENEW_S + 60), 1);
    assert_int_equal(authority_renew(a, now + AUTHORITY_RENEW_S + 120), 0);
    X509 *second = certificate_of(a);
    assert_int_not_equal(X509_cmp(first, second), 0);
    assert_in_range(days_left(second), AUTHORITY_DAYS + 9, AUTHORITY_DAYS + 10);
    assert_signed_by(a, first);
    assert_signed_by(a, second);
    /* and so it is after a restart */
    assert_int_equal(authority_new(key, 3, &again), 0);
    assert_signed_by(again, first);
    authority_free(again);
    authority_free(a);
    X509_free(first);
    X509_free(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_renewal)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
