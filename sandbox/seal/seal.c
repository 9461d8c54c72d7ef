#include "sandbox/seal/seal.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#include "sandbox/base/id.h"

int seal(const uint8_t key[SEAL_KEY], const char *name, const void *text, size_t len,
         struct buf *out)
{
    uint8_t nonce[SEAL_NONCE], tag[SEAL_TAG];
    int n, r = -EIO;
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    if (!c)
        return -ENOMEM;
    id_random(nonce, sizeof nonce);
    size_t at = out->len + sizeof nonce;
    if (buf_put(out, nonce, sizeof nonce) == 0 && buf_reserve(out, len + sizeof tag) == 0 &&
        EVP_EncryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, nonce) &&
        EVP_EncryptUpdate(c, NULL, &n, (const uint8_t *)name, (int)strlen(name)) &&
        EVP_EncryptUpdate(c, out->data + at, &n, text, (int)len) &&
        EVP_EncryptFinal_ex(c, out->data + at + n, &n) &&
        EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, sizeof tag, tag)) {
        out->len += len;
        r = buf_put(out, tag, sizeof tag);
    }
    EVP_CIPHER_CTX_free(c);
    return r;
}

int unseal(const uint8_t key[SEAL_KEY], const char *name, const uint8_t *data, size_t len,
           struct buf *out)
{
    int n, r = -EBADMSG;
    if (len < SEAL_NONCE + SEAL_TAG)
        return -EBADMSG;
    size_t text = len - SEAL_NONCE - SEAL_TAG;
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    if (!c || buf_reserve(out, text + 1) < 0) {
        EVP_CIPHER_CTX_free(c);
        return -ENOMEM;
    }
    if (EVP_DecryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, data) &&
        EVP_DecryptUpdate(c, NULL, &n, (const uint8_t *)name, (int)strlen(name)) &&
        EVP_DecryptUpdate(c, out->data + out->len, &n, data + SEAL_NONCE, (int)text) &&
        EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, SEAL_TAG,
                            (void *)(uintptr_t)(data + len - SEAL_TAG)) &&
        EVP_DecryptFinal_ex(c, out->data + out->len + n, &n) == 1) {
        out->len += text;
        out->data[out->len] = 0;
        r = 0;
    }
    EVP_CIPHER_CTX_free(c);
    return r;
}
