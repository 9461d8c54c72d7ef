/* LINK: cbx_git_text */
/* PARSES: kernel-gw/api/git/text.c */
/* The same bytes as an address, a name of a branch, a line of progress and the words of a failure.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/api/git/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is passed on to git. */
static void check_url(const char *text, size_t len)
{
    struct git_url u;
    if (!git_url_read(text, len, &u)) {
        const char *clean = buf_str(&u.clean);
        if (*clean == '-' || !*clean || strpbrk(clean, " \n\r\t") || strstr(clean, "::") == clean ||
            strpbrk(u.name, "/\n") || !strcmp(u.name, "..") || *u.name == '-')
            __builtin_trap();
        if (strpbrk(buf_str(&u.user), "\n\r") || strpbrk(buf_str(&u.password), "\n\r"))
            __builtin_trap();
        if (u.remote && memchr(clean, '@', strlen(clean)) && u.password.len) {
            size_t scheme = (size_t)(strstr(clean, "://") - clean) + 3;
            if (memchr(clean + scheme, '@', strcspn(clean + scheme, "/?#")))
                __builtin_trap(); /* a password is left in it */
        }
    }
    git_url_deinit(&u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct git_progress p;
    char *s = size <= 4096 ? malloc(size + 1) : NULL;
    if (!s)
        return 0;
    memcpy(s, data, size);
    s[size] = 0;
    size_t len = strlen(s);
    check_url(s, len);
    if (git_ref_valid(s, len) && (*s == '-' || strstr(s, "..")))
        __builtin_trap();
    if (git_progress_read((const char *)data, size, &p) && (p.percent > 100 || !*p.phase))
        __builtin_trap();
    if (!git_failure_of(s).code)
        __builtin_trap();
    free(s);
    return 0;
}
