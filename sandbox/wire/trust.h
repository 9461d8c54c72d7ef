/*
 * Where the certificate of a box's egress stands inside the box, and the environment by which
 * programs that do not read the distribution's bundle find it. Shared by init, which writes the
 * files, and by who makes environments. What was found to read what: docs/egress.md.
 */
#pragma once

#define TRUST_DIR        "/usr/local/share/ca-certificates"
#define TRUST_CA         TRUST_DIR "/cellbox.crt" /* update-ca-certificates keeps what is here */
#define TRUST_BUNDLE     "/etc/ssl/certs/ca-certificates.crt"
#define TRUST_STORE_DIR  "/etc/cellbox"
#define TRUST_JAVA_STORE TRUST_STORE_DIR "/truststore.jks"

#define TRUST_ENVIRONMENT                                                                          \
    "SSL_CERT_FILE=" TRUST_BUNDLE, "CURL_CA_BUNDLE=" TRUST_BUNDLE, "GIT_SSL_CAINFO=" TRUST_BUNDLE, \
        "REQUESTS_CA_BUNDLE=" TRUST_BUNDLE, "PIP_CERT=" TRUST_BUNDLE,                              \
        "NODE_EXTRA_CA_CERTS=" TRUST_CA, "npm_config_cafile=" TRUST_BUNDLE,                        \
        "AWS_CA_BUNDLE=" TRUST_BUNDLE, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=" TRUST_BUNDLE,           \
        "CARGO_HTTP_CAINFO=" TRUST_BUNDLE, "DENO_CERT=" TRUST_CA,                                  \
        "HTTPLIB2_CA_CERTS=" TRUST_BUNDLE, "NIX_SSL_CERT_FILE=" TRUST_BUNDLE,                      \
        "JAVA_TOOL_OPTIONS=-Djavax.net.ssl.trustStore=" TRUST_JAVA_STORE
